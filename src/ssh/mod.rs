//! SSH to the target.

pub mod address;
pub mod known_hosts;
