//! Which policies a report is about: an author's own. Those that came with the program count as tested by the tests that
//! came with it, at their version.

use std::collections::HashSet;
use std::sync::Arc;

use crate::policy::{Bundle, PolicyInfo, SourceKind};

/// The policies that a report is about.
#[derive(Debug, Clone, Default)]
pub struct Reported {
    /// Paths of the files that are left out.
    left_out: HashSet<Arc<str>>,
}

impl Reported {
    /// All policies.
    pub fn all() -> Self {
        Self::default()
    }

    /// The policies of files that did not come with the program. A set that has no others is reported as a whole.
    pub fn own(bundle: &Bundle) -> Self {
        let policies = || bundle.sources().iter().filter(|source| source.kind == SourceKind::Policy);
        if policies().all(crate::policy::Source::is_built_in) {
            return Self::all();
        }
        let built_in = policies().filter(|source| source.is_built_in());
        Self { left_out: built_in.map(|source| Arc::clone(&source.path)).collect() }
    }

    /// Whether the report is about the policies of a file.
    pub fn has(&self, file: &str) -> bool {
        !self.left_out.contains(file)
    }

    /// Policies of the set that the report is not about.
    pub fn left_out(&self, bundle: &Bundle) -> usize {
        bundle.policies().filter(|policy| !self.has(&policy.file)).count()
    }

    /// Whether the report is about a policy.
    pub(in crate::workbench) fn is_about(&self, policy: &PolicyInfo) -> bool {
        self.has(&policy.file)
    }
}
