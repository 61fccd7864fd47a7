//! The integration tests: one program, one file for each topic.

mod cli;
