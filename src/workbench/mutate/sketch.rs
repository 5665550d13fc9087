//! The test that would notice a change, ready to be pasted.

use serde::Serialize;

use crate::workbench::prove::Decided;
use crate::workbench::prove::paste::{Expectation, test_case};
use crate::workbench::run::SingleRequest;

/// A test that notices a change, or one to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sketch {
    /// Whether it was evaluated and found to notice the change.
    pub notices: bool,
    /// The test, as it stands under `tests:`.
    pub test: String,
}

impl Sketch {
    /// A test that passes now and fails with the change.
    pub(super) fn noticing(policy: &str, request: &SingleRequest, now: &Decided, changed: &Decided) -> Self {
        let comments = [format!("with the change: {}", changed.words())];
        // Where the outcome is the same, the policies that decide tell the two apart.
        let policies = (now.outcome == changed.outcome).then_some(now.policies.as_slice());
        let expect = Expectation { outcome: now.outcome, policies };
        Self { notices: true, test: test_case(&name(policy, request), &comments, request, &expect) }
    }

    /// The nearest test's request, which does not notice the change yet.
    pub(super) fn to_start_from(
        policy: &str,
        request: &SingleRequest,
        now: &Decided,
        test: &str,
        hint: &str,
    ) -> Self {
        let comments = [format!("as in `{test}`; change it to be {hint}")];
        let expect = Expectation { outcome: now.outcome, policies: Some(&now.policies) };
        Self { notices: false, test: test_case(&name(policy, request), &comments, request, &expect) }
    }
}

fn name(policy: &str, request: &SingleRequest) -> String {
    let kind = |name: &str| name.split("::\"").next().unwrap_or_default().to_owned();
    let (principal, resource) = (kind(&request.principal), kind(&request.resource));
    format!("{policy} where {principal} asks for {} on {resource}", request.action)
}
