//! The integration tests, one binary: each module below tests one promise from outside.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod cli;
mod differential;
mod exclude;
mod exits;
mod fixup;
mod flags;
mod fuzz;
mod hostile;
mod kill;
mod live;
mod pair;
mod proof;
mod ssh;
mod support;
mod tidy;
mod wire_golden;
