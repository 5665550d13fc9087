//! The token of one holder at one server: kept until shortly before its end, and requested by one at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::BearerToken;
use super::error::TokenError;
use crate::model::Subject;

/// After a failure nobody asks again for so long: an authorization server in trouble is not helped by more requests.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// After a token that the server refused, another refused one is not replaced for so long: a server that refuses
/// everything would have a token requested for each call.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);

/// Whose token it is.
#[derive(Debug)]
pub(super) enum Holder {
    /// The gateway's own.
    Gateway,
    /// A caller's.
    Caller(Arc<Subject>),
}

/// The place of one holder's token.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) holder: Holder,
    kept: Mutex<Kept>,
    /// Held by whoever requests a token.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    was_cleared: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Arc<BearerToken>>,
    failure: Option<(Instant, Arc<TokenError>)>,
    /// A refused token is not replaced before this.
    no_other_before: Option<Instant>,
    /// The server has refused the token that was here last.
    was_refused: bool,
    /// Counts how often all was forgotten.
    cleared: u64,
}

/// What the place has at a moment.
pub(super) enum Look {
    /// A token that counts.
    Fresh(Arc<BearerToken>),
    /// A token that counts, and ends soon.
    Ageing(Arc<BearerToken>),
    /// There was a failure a moment ago.
    Failed(Arc<TokenError>),
    /// Nothing that helps.
    Nothing,
}

impl Slot {
    pub(super) fn new(holder: Holder) -> Self {
        Self { holder, kept: Mutex::default(), turn: Arc::default(), was_cleared: Notify::new() }
    }

    /// What there is for who took this place when all had been forgotten `cleared` times. Since then it may be another account's,
    /// of which nothing is given.
    pub(super) fn look(&self, cleared: u64, now: Instant) -> Look {
        let kept = self.kept.lock();
        if kept.cleared != cleared {
            return Look::Failed(Arc::new(TokenError::NotConnected));
        }
        let failed = kept.failure.as_ref().filter(|(at, _)| now < *at + FAILURE_PAUSE);
        match (&kept.token, failed) {
            (Some(token), _) if now < token.renew_at => Look::Fresh(Arc::clone(token)),
            (Some(token), None) if now < token.ends_at => Look::Ageing(Arc::clone(token)),
            (Some(token), Some(_)) if now < token.ends_at => Look::Fresh(Arc::clone(token)),
            (_, Some((_, error))) => Look::Failed(Arc::clone(error)),
            (_, None) => Look::Nothing,
        }
    }

    /// Keeps what a request gave, and gives it on. `cleared` is how often all had been forgotten when it began: what was asked
    /// for before is not used after.
    pub(super) fn keep(
        &self,
        cleared: u64,
        outcome: Result<BearerToken, TokenError>,
        now: Instant,
    ) -> Result<Arc<BearerToken>, Arc<TokenError>> {
        let mut kept = self.kept.lock();
        if kept.cleared != cleared {
            return Err(Arc::new(TokenError::NotConnected));
        }
        match outcome {
            Ok(token) => {
                let token = Arc::new(token);
                (kept.token, kept.failure) = (Some(Arc::clone(&token)), None);
                Ok(token)
            }
            Err(error) => {
                let error = Arc::new(error);
                kept.failure = Some((now, Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// The server refused this token. Says whether there is, or may be requested, another one.
    pub(super) fn refuse(&self, token: &Arc<BearerToken>, now: Instant) -> bool {
        let mut kept = self.kept.lock();
        if kept.token.as_ref().is_some_and(|known| !Arc::ptr_eq(known, token)) {
            return true;
        }
        if kept.no_other_before.is_some_and(|moment| now < moment) {
            return false;
        }
        (kept.token, kept.no_other_before) = (None, Some(now + REFUSAL_PAUSE));
        kept.was_refused = true;
        true
    }

    /// Whether the server has refused the token that was here last: a kept one has to be refreshed.
    pub(super) fn take_refused(&self) -> bool {
        std::mem::take(&mut self.kept.lock().was_refused)
    }

    /// Forgets the token: it belongs to an account that is not connected any more, or to an earlier one.
    pub(super) fn clear(&self) {
        let mut kept = self.kept.lock();
        *kept = Kept { cleared: kept.cleared + 1, ..Kept::default() };
        drop(kept);
        self.was_cleared.notify_waiters();
    }

    /// Waits until all has been forgotten more often than `cleared` times.
    pub(super) async fn forgotten(&self, cleared: u64) {
        let mut told = std::pin::pin!(self.was_cleared.notified());
        // From here on a clearing is noticed.
        told.as_mut().enable();
        if self.cleared() == cleared {
            told.await;
        }
    }

    /// How often all was forgotten.
    pub(super) fn cleared(&self) -> u64 {
        self.kept.lock().cleared
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::answer::TokenAnswer;
    use super::*;
    use crate::secret::Secret;

    fn token(life: u64, now: Instant) -> BearerToken {
        let token = Secret::new("t".to_owned());
        let answer = TokenAnswer { token, life: Duration::from_secs(life), refresh: None };
        BearerToken::new(&answer, now).unwrap()
    }

    #[test]
    fn a_token_is_kept_while_it_counts_and_a_failure_for_a_moment() {
        let slot = Slot::new(Holder::Gateway);
        let start = Instant::now();
        assert!(matches!(slot.look(0, start), Look::Nothing));
        slot.keep(0, Err(TokenError::Status(500)), start).unwrap_err();
        assert!(matches!(slot.look(0, start), Look::Failed(_)));
        let now = start + FAILURE_PAUSE;
        assert!(matches!(slot.look(0, now), Look::Nothing));
        slot.keep(0, Ok(token(100, now)), now).unwrap();
        assert!(matches!(slot.look(0, now), Look::Fresh(_)));
        let soon = now + Duration::from_secs(75);
        assert!(matches!(slot.look(0, soon), Look::Ageing(_)));
        slot.keep(0, Err(TokenError::Status(500)), soon).unwrap_err();
        assert!(matches!(slot.look(0, soon), Look::Fresh(_)), "it counts still, and nobody asks right now");
        assert!(matches!(slot.look(0, now + Duration::from_secs(100)), Look::Nothing), "it has ended");
    }

    /// The attack: an account is disconnected while a token of it is being fetched.
    #[test]
    fn what_was_asked_for_before_all_was_forgotten_is_not_kept() {
        let (slot, now) = (Slot::new(Holder::Gateway), Instant::now());
        slot.keep(0, Ok(token(100, now)), now).unwrap();
        let cleared = slot.cleared();
        slot.clear();
        assert!(matches!(slot.look(slot.cleared(), now), Look::Nothing));
        slot.keep(cleared, Ok(token(100, now)), now).unwrap_err();
        assert!(matches!(slot.look(slot.cleared(), now), Look::Nothing));
        slot.keep(slot.cleared(), Ok(token(100, now)), now).unwrap();
        assert!(matches!(slot.look(slot.cleared(), now), Look::Fresh(_)));
        // The attack: a connection that was opened as the account before goes on with the token of the one after.
        assert!(matches!(slot.look(cleared, now), Look::Failed(_)));
    }

    #[tokio::test]
    async fn a_wait_ends_when_all_is_forgotten() {
        let slot = Slot::new(Holder::Gateway);
        let cleared = slot.cleared();
        let mut waiting = Box::pin(slot.forgotten(cleared));
        assert!((&mut waiting).now_or_never().is_none());
        slot.clear();
        waiting.await;
        slot.forgotten(cleared).await;
    }

    #[test]
    fn a_refused_token_is_replaced_once_in_a_while() {
        let slot = Slot::new(Holder::Gateway);
        let now = Instant::now();
        let first = slot.keep(0, Ok(token(100, now)), now).unwrap();
        assert!(slot.refuse(&first, now));
        assert!(matches!(slot.look(0, now), Look::Nothing));
        let second = slot.keep(0, Ok(token(100, now)), now).unwrap();
        assert!(slot.refuse(&first, now), "another is there already");
        assert!(!slot.refuse(&second, now), "the server refuses everything");
        assert!(matches!(slot.look(0, now), Look::Fresh(_)));
        assert!(slot.refuse(&second, now + REFUSAL_PAUSE));
    }
}
