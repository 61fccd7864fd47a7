//! Plans of pairs of small roots, as the facts of both say.
