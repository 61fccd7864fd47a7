//! Lists in sentences. Pure.

/// LIMIT: names in one sentence; more would hide what it says.
const MAX_NAMED: usize = 6;

/// Returns `a, b and c`, or the first few and how many more there are.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let named: Vec<&str> = names.iter().take(MAX_NAMED).map(AsRef::as_ref).collect();
    let rest = names.len() - named.len();
    match named.split_last() {
        None => "nothing".to_owned(),
        Some(_) if rest > 0 => format!("{} and {rest} more", named.join(", ")),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Returns the version text, or that there is none.
pub(super) fn version(text: &str) -> &str {
    if text.is_empty() {
        "without a version"
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn lists_read_well_and_end() {
        let names: Vec<String> = ('a'..='i').map(String::from).collect();
        assert_eq!(list::<&str>(&[]), "nothing");
        assert_eq!(list(&names[..1]), "a");
        assert_eq!(list(&names[..3]), "a, b and c");
        assert_eq!(list(&names[..6]), "a, b, c, d, e and f");
        assert_eq!(list(&names), "a, b, c, d, e, f and 3 more");
    }
}
