//! Patterns of one name: `*` for any bytes, `?` for one. For names that this chapter spells out;
//! what users write is matched elsewhere. Knows nothing of paths.

/// Tells whether the whole name fits.
pub(super) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last star stands, and how much of the name it has swallowed.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut seen) = (0, 0);
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(b'?') => (at, seen) = (at + 1, seen + 1),
            Some(byte) if name.get(seen) == Some(byte) => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((place, swallowed)) => {
                    star = Some((place, swallowed + 1));
                    (at, seen) = (place + 1, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

/// Tells whether the name fits one of the patterns.
pub(super) fn fits_any(patterns: &[&str], name: &[u8]) -> bool {
    patterns
        .iter()
        .any(|pattern| fits(pattern.as_bytes(), name))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn matches_the_whole_name() {
        for (pattern, name, expected) in [
            ("ssh.service", "ssh.service", true),
            ("ssh.service", "ssh.services", false),
            ("wicked*", "wickedd-dhcp4.service", true),
            ("wicked*", "wicke", false),
            ("*.wants", "multi-user.target.wants", true),
            ("*.wants", ".wants", true),
            ("rc?.d", "rc5.d", true),
            ("rc?.d", "rc.d", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
