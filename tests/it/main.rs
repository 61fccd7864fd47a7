//! The tests that need more than one part of the crate, in one binary.

mod ssh;
mod support;
