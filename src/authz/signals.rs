//! What is counted and logged of a decision, beside its record.

use super::decide::RequestState;
use super::guard::Guard;
use crate::audit::Shadow;
use crate::events::{JudgedRequest, SecurityEvent};
use crate::model::{Action, DecisionId, EntityUid, EventType, Outcome, ReasonCode, Screening};
use crate::policy::shadow;
use crate::policy::{Bundle, Verdict};
use crate::telemetry::metrics::{DecisionLabels, ShadowLabels};

impl Guard {
    /// What would have been decided otherwise, counted: by the candidate, else by policies in `log_only` mode.
    pub(super) fn shadow(
        &self,
        state: &RequestState<'_>,
        decision: DecisionId,
        action: &Action,
        verdict: &Verdict,
        candidate: Option<Outcome>,
    ) -> Option<Shadow> {
        let count = |source, to| {
            let labels = ShadowLabels { source, change: shadow::change(verdict.outcome, to) };
            self.metrics.shadow_flips.get_or_create(&labels).inc();
        };
        let version = || state.bundle.version().clone();
        let log_only = verdict.shadow.map(|outcome| Shadow { outcome, policy_version: version() });
        log_only.iter().for_each(|flip| count("log_only", flip.outcome));
        let flip = state.candidate.as_ref().zip(candidate);
        let flip = flip.and_then(|(candidate, to)| candidate.note(decision, action, verdict.outcome, to));
        let flip = flip.map(|(outcome, policy_version)| Shadow { outcome, policy_version });
        flip.iter().for_each(|flip| count("candidate", flip.outcome));
        flip.or(log_only)
    }

    pub(super) fn count(&self, action: &Action, verdict: &Verdict) {
        let labels = DecisionLabels { action: action.kind().as_str(), decision: verdict.outcome.as_str() };
        self.metrics.decisions.get_or_create(&labels).inc();
    }

    /// One line for the security log of each refusal and each injection, in the words that alerts match on.
    pub(super) fn security_log(
        &self,
        event: EventType,
        state: &RequestState<'_>,
        resource: &EntityUid,
        screening: &Screening,
        verdict: &Verdict,
        decision: DecisionId,
    ) {
        let subject = state.subject;
        let agent = subject.as_agent();
        let request = JudgedRequest {
            agent: agent.as_ref(),
            principal: subject.principal(),
            resource,
            reason: verdict.reason,
            decision,
        };
        let event = match event {
            _ if screening.injection => SecurityEvent::PromptInjection(request),
            _ if verdict.outcome == Outcome::Allow => return,
            _ if verdict.reason == ReasonCode::ArgumentsInvalid => {
                SecurityEvent::ToolArgumentsRefused(request)
            }
            EventType::ToolCall => SecurityEvent::ToolAccessDenied(request),
            EventType::MemoryAccess if crosses_scopes(verdict, &state.bundle) => {
                SecurityEvent::MemoryScopeViolation(request)
            }
            EventType::MemoryAccess
            | EventType::Authentication
            | EventType::Authorization
            | EventType::AgentCreation
            | EventType::AgentDeletion
            | EventType::ConfigurationChange
            | EventType::AdminAction
            | EventType::Message
            | EventType::Application => SecurityEvent::RequestDenied(request),
        };
        event.emit(&self.metrics);
    }
}

/// Whether a policy denied it that says so of itself: `@violation("memory_scope")`. A missing permission is none.
fn crosses_scopes(verdict: &Verdict, bundle: &Bundle) -> bool {
    let says_so = |id: &str| {
        let violation = bundle.policy(id).and_then(|policy| policy.annotations.get("violation"));
        violation.is_some_and(|word| word.as_ref() == "memory_scope")
    };
    verdict.outcome == Outcome::DenyExplicit && verdict.policies.iter().any(|policy| says_so(&policy.id))
}
