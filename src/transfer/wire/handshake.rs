//! The greeting: how both ends know that they are the same build before anything else is said.
//! Knows nothing of how the agent was started.

/// What the agent prints before its first frame. A login shell may print before it; the zero
/// bytes keep any text from looking like it.
pub const MAGIC: &[u8] = b"\0instancesync agent\0\n";

/// LIMIT: how much noise of a login shell is skipped, in bytes.
pub const MAX_NOISE_LEN: usize = 64 * 1024;

/// The version that both ends compare.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
