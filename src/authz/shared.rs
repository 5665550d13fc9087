//! What a decision takes from the state that gateways share, and what it leaves there. What cannot be asked denies.

use std::sync::Arc;

use super::decide::labels;
use super::guard::Guard;
use super::screening::Screened;
use crate::model::{
    Entity, Operation, Outcome, ReasonCode, RequestContext, SessionFacts, Subject, ToolDescriptor,
};
use crate::policy::Verdict;
use crate::shared_state::{Counted, Labels, Limited, SessionKey, SessionTurn, Unavailable};
use crate::telemetry::Stage;

/// What is asked once for each request.
#[derive(Clone, Default)]
pub(super) struct SharedFacts {
    /// The facts of the session as they stand before the decision.
    pub(super) session: SessionFacts,
    pub(super) lockdown: bool,
}

/// What the rate says of a request, and what the screens say of one that is let through.
pub(super) struct Counting {
    pub(super) screened: Screened,
    /// The refusal, when the request is not let through.
    pub(super) refused: Option<(Verdict, Option<Limited>)>,
}

impl Counting {
    fn unavailable(why: &Unavailable) -> Self {
        Self { screened: Screened::default(), refused: Some((unavailable(why), None)) }
    }
}

/// The refusal of what would have been decided by an answer that does not come.
pub(super) fn unavailable(why: &Unavailable) -> Verdict {
    why.report();
    Verdict::without_policy(Outcome::DenyError, ReasonCode::StateUnavailable)
}

impl Guard {
    /// Counts the request, and has its texts screened when it is let through.
    pub(super) async fn count_request<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        operation: &O,
        context: &RequestContext,
    ) -> Counting {
        let span = context.span.stage(Stage::Limit);
        let taken = self.limiter.take(subject.principal()).await;
        drop(span);
        let left = match taken {
            Ok(Ok(left)) => left.remaining,
            Ok(Err(limited)) => {
                context.meter.note(0);
                let verdict = Verdict::without_policy(Outcome::Limited, ReasonCode::RateLimited);
                return Counting { screened: Screened::default(), refused: Some((verdict, Some(limited))) };
            }
            Err(why) => return Counting::unavailable(&why),
        };
        let span = context.span.stage(Stage::Screen);
        let screened = self.screener.screen(subject.principal(), operation).await;
        drop(span);
        if let Err(why) = self.limiter.owe(subject.principal(), screened.more).await {
            return Counting::unavailable(&why);
        }
        context.meter.note(left.saturating_sub(screened.more));
        Counting { screened, refused: None }
    }

    /// The turn of the session's tool calls, for a call of a tool. To be held until the call is counted.
    pub(super) async fn turn(
        &self,
        key: &SessionKey,
        tool: Option<&ToolDescriptor>,
    ) -> Result<Option<SessionTurn>, Unavailable> {
        match tool {
            Some(_) => self.sessions.turn(key).await.map(Some),
            None => Ok(None),
        }
    }

    /// What is asked of the shared state before a decision.
    pub(super) async fn shared_facts(&self, key: &SessionKey) -> Result<SharedFacts, Unavailable> {
        let session = self.sessions.facts(key).await?;
        let lockdown = self.lockdown.is_on().await?;
        Ok(SharedFacts { session, lockdown })
    }

    /// Counts an allowed operation, what is read by it and what its permits put on the session, before anything is shown or
    /// waits. It is denied when the session has no room for the labels, or cannot be asked.
    pub(super) async fn count_on_session<O: Operation>(
        &self,
        key: &SessionKey,
        operation: &O,
        resource: &Entity,
        verdict: &mut Verdict,
    ) {
        if verdict.outcome != Outcome::Allow {
            return;
        }
        let mut read = if O::READS { labels(resource) } else { Labels::new() };
        read.extend(verdict.obligations.labels().cloned());
        let tool = operation.tool();
        read.extend(tool.iter().flat_map(|tool| tool.labels.iter().cloned()));
        if tool.is_none() && read.is_empty() {
            return;
        }
        // The labels go on the session before the call is made: what it answers may be read even when it fails half way.
        match self.sessions.count(key, tool.map(|tool| &tool.id), &read).await {
            Ok(Counted::Counted) => {}
            Ok(Counted::NoRoom) => {
                *verdict = Verdict::without_policy(Outcome::DenyError, ReasonCode::LabelsFull);
            }
            Err(why) => *verdict = unavailable(&why),
        }
    }

    /// Counts a refusal on its session. One that cannot be counted is a refusal all the same.
    pub(super) async fn count_denied(&self, key: &SessionKey, verdict: &Verdict) {
        if verdict.outcome != Outcome::Allow
            && let Err(why) = self.sessions.denied(key).await
        {
            why.report();
        }
    }
}
