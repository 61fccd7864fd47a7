//! The profiles that are compiled in: one line for each file of the directory `profiles`.
//!
//! Knows nothing of what is in them.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../profiles/", $name, ".toml")))),*]
    };
}

/// Names and texts; a test compares the list with the directory.
pub(super) const SHIPPED: &[(&str, &str)] = shipped!["core", "network-netplan",];
