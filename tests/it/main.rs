//! The integration tests, one binary: each module below tests one promise from outside.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod booted;
mod check;
mod cleanup;
mod cli;
mod differential;
mod exclude;
mod exits;
mod facts;
mod far;
mod faults;
mod fixup;
mod flags;
mod fuzz;
mod hostile;
mod kill;
mod later;
mod live;
mod machines;
mod model;
mod pair;
mod patching;
mod plan;
mod profiles;
mod proof;
mod races;
mod secrets;
mod ssh;
mod staged;
mod support;
mod switch;
mod system;
mod tidy;
mod wire_golden;
