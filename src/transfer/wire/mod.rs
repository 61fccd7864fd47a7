//! The wire: frames, messages and the two ends of a link. `docs/protocol.md` is its description;
//! the tags in brackets there stand here as `WIRE[tag]`. Knows nothing of files.

pub mod frame;
pub mod handshake;
pub mod link;
pub mod message;
pub mod packing;
mod rate_limit;
