//! instancesync clones a running Linux server onto another over SSH.
//!
//! Reading order: the vocabulary (no I/O), then `fs` (every file-system call), then the
//! chapters that do not know each other (`exclude`, `ssh`, `transfer`), then the story of one
//! run (`clone`), then the edge (`cli`, `settings`, `ui`). `docs/architecture.md` has the map.

pub mod agent;
pub mod authorized_keys;
pub mod boot;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod clone;
pub mod commands;
pub mod distro;
pub mod entry;
pub mod exclude;
pub mod exit;
pub mod facts;
pub mod failure;
pub mod fixup;
pub mod fs;
pub mod inspect;
pub mod interrupt;
pub mod layout;
pub mod loader;
pub mod merger;
pub mod monitor;
pub mod orders;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod prompter;
pub mod record;
pub mod relpath;
pub mod report;
pub mod session;
pub mod settings;
pub mod source;
pub mod ssh;
pub mod switch;
pub mod transfer;
pub mod ui;
pub mod units;
