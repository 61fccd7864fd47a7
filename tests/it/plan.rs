//! The plan: every check, from facts and from small roots.

#[test]
fn placeholder() {}
