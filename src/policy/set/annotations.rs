//! What is written with `@` in front of a policy.

use std::sync::Arc;

use crate::model::{Obligation, ObligationError};
use crate::suggest::nearest;

/// Annotations that the gateway carries out or shows.
const KNOWN: [&str; 10] =
    ["id", "description", "owner", "severity", "control", "reason", "mode", "label", "redact", "violation"];

/// The violations that `@violation` may name: words of the security log.
pub(crate) const VIOLATIONS: [&str; 1] = ["memory_scope"];

/// What begins so is the author's own, and means nothing to the gateway.
const OWN: &str = "x_";

/// Annotations that mean something elsewhere, or will here, and what says the same in this version.
const NOT_CARRIED_OUT: [(&str, &str); 4] = [
    ("expires", "write `when { context.system.now < datetime(\"2026-01-01T00:00:00Z\") }`"),
    ("not_before", "write `when { context.system.now >= datetime(\"2026-01-01T00:00:00Z\") }`"),
    ("rate_limit", "bound callers with `limits` in the configuration, and remove the annotation"),
    ("require_approval", "write a `forbid` for what has to be approved, and remove the annotation"),
];

/// Annotations by name, in order; each name is there once. A set has thousands of these with a handful in each, so they lie
/// in one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyAnnotations(Box<[(Arc<str>, Arc<str>)]>);

impl PolicyAnnotations {
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

impl FromIterator<(Arc<str>, Arc<str>)> for PolicyAnnotations {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(all: I) -> Self {
        let mut all: Vec<(Arc<str>, Arc<str>)> = all.into_iter().collect();
        all.sort();
        all.dedup_by(|later, first| later.0 == first.0);
        Self(all.into())
    }
}

/// The obligations that the annotations of a policy impose.
///
/// # Errors
/// The text of one is not what it should be.
pub(crate) fn obligations(annotations: &PolicyAnnotations) -> Result<Vec<Obligation>, ObligationError> {
    let labels = annotations.get("label").map(|text| Obligation::labels(text)).transpose()?;
    let redactions = annotations.get("redact").map(|text| Obligation::redactions(text)).transpose()?;
    Ok(labels.into_iter().chain(redactions).flatten().collect())
}

/// What is wrong with the name of an annotation, and the fix. Cedar takes any: a permit with one that was to limit it, and
/// that nothing carries out, would simply hold.
pub(crate) fn refusal(name: &str) -> Option<(String, String)> {
    if KNOWN.contains(&name) || name.strip_prefix(OWN).is_some_and(|own| !own.is_empty()) {
        return None;
    }
    if let Some((_, instead)) = NOT_CARRIED_OUT.iter().find(|(known, _)| *known == name) {
        let message =
            format!("`@{name}` is not carried out by this version: the policy would hold without it");
        return Some((message, (*instead).to_owned()));
    }
    let promised = NOT_CARRIED_OUT.iter().map(|(known, _)| *known);
    let near = nearest(name, KNOWN.into_iter().chain(promised));
    let meant = near.map(|near| format!("did you mean `@{near}`? ")).unwrap_or_default();
    let known = KNOWN.map(|known| format!("`@{known}`")).join(", ");
    let advice = format!("{meant}known are {known}; one of your own begins with `@{OWN}`");
    Some((format!("`@{name}` is not known"), advice))
}
