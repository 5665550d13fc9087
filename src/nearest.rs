//! The name that was most likely meant: what every "did you mean" goes by.

/// The known name that `written` is nearest to, if it is near enough to be a slip of the pen: one letter in three, and
/// three at most. Letters left out, added, changed or swapped count one each.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    nearest_within((written.chars().count() / 3).clamp(1, 3), written, known)
}

/// The same with a bound of its own.
pub(crate) fn nearest_within<'k>(
    limit: usize,
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let near = known.into_iter().map(|known| (strsim::damerau_levenshtein(written, known), known));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, known)| known)
}

/// The same for names with a namespace in front: a name that has only lost its namespace is meant before all others.
pub(crate) fn nearest_qualified<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let base = |name: &'k str| name.rsplit("::").next() == Some(written);
    known.clone().into_iter().find(|name| base(name)).or_else(|| nearest(written, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["tool:list", "tool:call", "Shop::Order", "a"];
        assert_eq!(nearest("tool:lst", known), Some("tool:list"));
        assert_eq!(nearest("tool:clal", known), Some("tool:call"));
        assert_eq!(nearest("memory:read", known), None);
        // A short word has no room for three slips.
        assert_eq!(nearest("xy", known), None);
        assert_eq!(nearest("b", known), Some("a"));
        assert_eq!(nearest("Order", known), None);
        assert_eq!(nearest_qualified("Order", known), Some("Shop::Order"));
        assert_eq!(nearest_qualified("tool:lst", known), Some("tool:list"));
    }
}
