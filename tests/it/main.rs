//! The integration tests, one binary: each module below is one file.

mod exclude;
mod tidy;
