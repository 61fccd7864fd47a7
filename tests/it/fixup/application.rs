//! Edits applied to real trees.
