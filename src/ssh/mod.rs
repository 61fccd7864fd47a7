//! SSH to the target: connect, check the host key, log in, run commands, start the agent.
//!
//! Everything here blocks and can be called from any thread. Knows nothing of what is copied
//! and of the frames that the agent speaks.

pub mod address;
mod auth;
mod channel;
mod clean;
mod connection;
pub mod deploy;
mod error;
mod host_key;
mod identity;
mod known_hosts;
mod open;
mod pace;
mod process;
mod question;
mod session;
mod stream;
pub mod stripes;

pub use address::{Address, AddressError};
pub use auth::LoginSettings;
pub use clean::clean_text;
pub use connection::{Connection, Output};
pub use error::{LinkLost, ProcessEnded, SshError};
pub use host_key::{HostKeyError, fingerprints};
pub use identity::RunKey;
pub use known_hosts::Place;
pub use process::{Exit, Process, ProcessEnd, ProcessInput, ProcessOutput};
