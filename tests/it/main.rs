//! The integration tests, one binary: each module below tests one promise from outside.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod exclude;
mod tidy;
