//! What is written with `@` in front of a policy.

use std::sync::Arc;

/// Annotations by name, in order; each name is there once. A set has thousands of these with a handful in each, so they lie
/// in one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Box<[(Arc<str>, Arc<str>)]>);

impl Annotations {
    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Each name with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(all: I) -> Self {
        let mut all: Vec<(Arc<str>, Arc<str>)> = all.into_iter().collect();
        all.sort();
        all.dedup_by(|later, first| later.0 == first.0);
        Self(all.into())
    }
}
