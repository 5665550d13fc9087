//! "Did you mean": the known name that is nearest to a misspelt one.

/// The known name nearest to `written` by Damerau-Levenshtein distance, if the distance is small enough for a typing
/// mistake: at most one edit for each three letters, and three in all.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    nearest_within((written.chars().count() / 3).clamp(1, 3), written, known)
}

/// The same with `limit` edits in all.
pub(crate) fn nearest_within<'k>(
    limit: usize,
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let near = known.into_iter().map(|known| (strsim::damerau_levenshtein(written, known), known));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, known)| known)
}

/// The same for names with a namespace in front: a name that lacks only its namespace comes before all others.
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
    fn a_typing_mistake_is_recognised_and_another_word_is_not() {
        let known = ["tool:list", "tool:call", "Shop::Order", "a"];
        assert_eq!(nearest("tool:lst", known), Some("tool:list"));
        assert_eq!(nearest("tool:clal", known), Some("tool:call"));
        assert_eq!(nearest("memory:read", known), None);
        // A short word has no room for three mistakes.
        assert_eq!(nearest("xy", known), None);
        assert_eq!(nearest("b", known), Some("a"));
        assert_eq!(nearest("Order", known), None);
        assert_eq!(nearest_qualified("Order", known), Some("Shop::Order"));
        assert_eq!(nearest_qualified("tool:lst", known), Some("tool:list"));
    }
}
