//! Clones from virtual machine to virtual machine, each with firmware, boot loader, kernel and
//! partitioned disk of its own. What needs no kernel of its own is proven by `booted`.
//!
//! Emulated, each takes minutes: `scripts/test --machines` runs them, and `INSTANCESYNC_ALL=1`
//! tries every pair of the table.

mod kernels;
mod pair;
mod power;
mod sabotage;
mod table;
