//! The gateway's own tokens: a short-lived access token and a refresh token for the holder of an API key or a person who
//! has logged in.
//!
//! A token is never worth more than the key or the login it was made from. It names a session; the identity of the caller and
//! what it may do is read from the key, or from what was kept of the login, on every request, so that a revoked key, an
//! ended session or a revoked token counts from the next request on, in every process.
//!
//! A refresh token serves once. A used one is answered with the same successor while that has not been
//! used itself and the first answer may have been lost (`grace`); after that two hold a copy, and the session ends.

mod assertion;
#[cfg(test)]
mod contract;
mod holder;
mod port;
mod refresh;
mod settings;
mod signing;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use self::holder::SessionHolder;
use self::refresh::RefreshText;
use self::signing::{SigningKeys, may_be_ours};
use super::api_key::{self, Pepper};
use super::jwt::JwtAlgorithm;
use super::jwt::parts::{
    Cache, ClaimError, Compact, Ends, Expected, TokenDigest, Validity, VerificationKey, confirmation, kid_of,
    parse, read,
};
use super::scheme::{Refused, RefusedKind};
use super::{AuthnError, KeyRecord, LoggedIn};
use crate::clock::SharedClock;
use crate::model::{HolderKeys, Proof, Subject};
use crate::secret::Secret;

pub use self::port::{
    LoginStore, PendingEvent, PreviousKeys, RefreshHash, Rotated, SessionOwner, StoredRefresh,
    StoredRevocation, StoredSession,
};
pub use self::settings::Settings;
pub use self::store::LocalLogins;

pub(super) const METHOD: &str = "session";
/// The type of access tokens (RFC 9068, section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";
const SESSION: &str = "sid";
const SESSION_LENGTH: usize = 22;
/// A session's last use is written down at most so often.
const TOUCH_INTERVAL: Duration = Duration::from_secs(15);
/// Sessions whose last use is remembered until it is written down.
const MAX_TOUCHED: usize = 100_000;

/// A fresh pair of tokens.
pub struct Issued {
    /// The access token (RFC 9068).
    pub access: Secret<String>,
    /// The refresh token, for once.
    pub refresh: Secret<String>,
    /// How long the access token counts, in seconds.
    pub expires_in: u64,
    /// Which session they belong to.
    pub session: Arc<str>,
    /// Whether they count only with a proof of possession (RFC 9449): `token_type` is `DPoP`.
    pub with_proof: bool,
}

/// A refresh token that was proven: whose it is, and what stands for it and its successor in the store.
pub struct Renewal {
    /// The subject that presented it.
    pub subject: Arc<Subject>,
    /// The keys that its presenter has to prove as well.
    pub bound: HolderKeys,
    /// The presented one.
    pub presented: [u8; 32],
    /// The next one.
    pub successor: [u8; 32],
    text: RefreshText,
}

/// The verified content of an access token.
#[derive(Clone)]
struct ProvenToken {
    validity: Validity,
    bound: HolderKeys,
    session: Arc<str>,
    jti: Arc<str>,
    /// The key that signed it.
    kid: Arc<str>,
}

impl Ends for ProvenToken {
    fn expires(&self) -> i64 {
        self.validity.expires
    }
}

/// A session that counts.
struct LiveSession {
    holder: SessionHolder,
    /// The keys that its tokens are bound to.
    bound: HolderKeys,
    created: i64,
    used: i64,
}

/// Makes, checks and ends own tokens.
pub struct Tokens {
    settings: Settings,
    expected: Expected,
    store: Arc<dyn LoginStore>,
    signing: SigningKeys,
    pepper: Pepper,
    cache: Cache<ProvenToken>,
    /// Public halves by `kid`. A key of ours never changes, so what is here stays right; when it ends is asked of the
    /// store, and its tokens end before.
    keys: Mutex<HashMap<String, Arc<VerificationKey>>>,
    touched: Mutex<HashMap<Arc<str>, i64>>,
    max_key_age: Option<i64>,
    clock: SharedClock,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Takes the store, making a signing key where there is none. Comes after the store of keys, which makes the pepper.
    pub fn open(
        settings: Settings,
        store: Arc<dyn LoginStore>,
        max_key_age: Option<Duration>,
        clock: SharedClock,
    ) -> Result<Self, AuthnError> {
        let tokens = Self::open_to_end(settings, store, max_key_age, clock)?;
        tokens.signing.ensure(&*tokens.store, tokens.clock.now_millis())?;
        Ok(tokens)
    }

    /// The same for the code that ends tokens and replaces the signing key: the private half may be lost, stolen and deleted,
    /// or unreadable, and what is done then must not hang on it.
    pub fn open_to_end(
        settings: Settings,
        store: Arc<dyn LoginStore>,
        max_key_age: Option<Duration>,
        clock: SharedClock,
    ) -> Result<Self, AuthnError> {
        let signing = SigningKeys::new(settings.signing_dir.clone());
        Ok(Self {
            expected: Expected {
                issuer: Arc::clone(&settings.issuer),
                audience: Arc::clone(&settings.audience),
                resources: Vec::new(),
                leeway_seconds: i64::try_from(settings.leeway.as_secs()).unwrap_or(0),
                delegated: false,
            },
            store,
            signing,
            pepper: Pepper::open(&settings.pepper, false)?,
            cache: Cache::new(settings.cache_entries),
            keys: Mutex::default(),
            touched: Mutex::default(),
            max_key_age: max_key_age.map(millis),
            settings,
            clock,
        })
    }

    // ---- access tokens ----

    /// Whether the token names a key that could be ours. Says nothing about whether it is true.
    pub(super) fn claims_to_be_ours(token: &str) -> bool {
        kid_of(token).is_some_and(|kid| may_be_ours(&kid))
    }

    /// Bytes of the longest token that is looked at.
    pub(super) fn longest(&self) -> usize {
        self.settings.max_token_bytes
    }

    #[cfg(test)]
    fn verify(&self, text: &str) -> Result<(Arc<Subject>, HolderKeys), Refused> {
        use futures::FutureExt as _;
        // The local store answers at once.
        self.examine(text, TokenDigest::of(text)).now_or_never().unwrap()
    }

    /// The caller behind an access token, whose digest is `digest`, and what it has to prove as well.
    pub(super) async fn examine(
        &self,
        text: &str,
        digest: TokenDigest,
    ) -> Result<(Arc<Subject>, HolderKeys), Refused> {
        if text.len() > self.settings.max_token_bytes {
            return Err(Refused::invalid(METHOD, "too_long"));
        }
        let now = self.clock.now_millis();
        let leeway = self.expected.leeway_seconds;
        let proven = match self.cache.find(&digest) {
            Some(proven) => {
                // A key that was taken away takes its tokens with it, also those that were proven before.
                let since = self.still_signed(now);
                if self.store.known_signing_key(&proven.kid, since).await.map_err(unavailable)?.is_none() {
                    return Err(Refused::invalid(METHOD, "unknown_key"));
                }
                proven
            }
            None => {
                let proven = self.prove(text, now).await?;
                let oldest = now.div_euclid(1000).saturating_sub(leeway);
                self.cache.remember(digest, proven.clone(), oldest);
                proven
            }
        };
        proven.validity.check(now.div_euclid(1000), leeway).map_err(refuse_claim)?;
        let found = self.store.session(&proven.session).await.map_err(unavailable)?;
        let LiveSession { holder, bound, created, used } = self.live_session(&proven.session, found, now)?;
        // A stolen signing key could leave the binding out.
        if bound != proven.bound {
            return Err(Refused::invalid(METHOD, "claim_value").because("`cnf` is not that of the session"));
        }
        let (session, jti) = (Arc::clone(&proven.session), Arc::clone(&proven.jti));
        let subject = Arc::new(holder.into_subject(session, jti));
        self.check_revoked(&digest, Some(&proven.jti), &subject, (Some(created), METHOD)).await?;
        self.touch(&proven.session, used, now);
        Ok((subject, bound))
    }

    async fn prove(&self, text: &str, now: i64) -> Result<ProvenToken, Refused> {
        let token = Compact::parse(text).map_err(|e| Refused::invalid(METHOD, e.reason()).because(e))?;
        // Our own are all of this one type (RFC 9068, section 2.1).
        if token.media_type.as_deref() != Some(ACCESS_TOKEN) {
            return Err(Refused::invalid(METHOD, "wrong_type"));
        }
        let kid = token.kid.as_deref().filter(|kid| may_be_ours(kid)).unwrap_or_default();
        let key = self.key(kid, now).await?.ok_or_else(|| Refused::invalid(METHOD, "unknown_key"))?;
        if token.algorithm != JwtAlgorithm::EdDsa.as_str() {
            return Err(Refused::invalid(METHOD, "wrong_algorithm"));
        }
        if !key.check(&token) {
            return Err(Refused::invalid(METHOD, "bad_signature"));
        }
        let claims = read(&token.payload, &self.expected).map_err(refuse_claim)?;
        let missing = || Refused::invalid(METHOD, "claim_missing");
        let session = claims.text_tag(SESSION).ok_or_else(missing)?;
        let jti = claims.jti().ok_or_else(missing)?;
        // Our own say when they were made, and none lives longer than the setting says: a stolen key makes none either.
        let made = claims.validity.issued.ok_or_else(missing)?;
        if claims.validity.expires.saturating_sub(made) > millis(self.settings.access).div_euclid(1000) {
            return Err(Refused::invalid(METHOD, "claim_value")
                .because("`exp` is further from `iat` than our tokens live"));
        }
        Ok(ProvenToken { validity: claims.validity, bound: claims.holder, session, jti, kid: kid.into() })
    }

    async fn key(&self, kid: &str, now: i64) -> Result<Option<Arc<VerificationKey>>, Refused> {
        let stored = self.store.signing_key(kid, self.still_signed(now)).await;
        let Some(public) = stored.map_err(unavailable)? else {
            self.keys.lock().remove(kid);
            return Ok(None);
        };
        if let Some(key) = self.keys.lock().get(kid) {
            return Ok(Some(Arc::clone(key)));
        }
        let public = parse(JwtAlgorithm::EdDsa, &public).map_err(|reason| {
            Refused::new(RefusedKind::Unavailable, METHOD, "store_unavailable").because(reason)
        })?;
        let key =
            Arc::new(VerificationKey::public(kid.into(), Some(kid.to_owned()), JwtAlgorithm::EdDsa, public));
        self.keys.lock().insert(kid.to_owned(), Arc::clone(&key));
        Ok(Some(key))
    }

    /// Keys that were retired before this have no tokens any more.
    fn still_signed(&self, now: i64) -> i64 {
        now.saturating_sub(millis(self.settings.access)).saturating_sub(millis(self.settings.leeway))
    }

    /// The session that was `found`, if it still counts.
    fn live_session(&self, id: &str, found: Option<StoredSession>, now: i64) -> Result<LiveSession, Refused> {
        let session = found.ok_or_else(|| Refused::new(RefusedKind::Expired, METHOD, "ended"))?;
        if session.ended {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "ended"));
        }
        let used = session.used.max(self.touched.lock().get(id).copied().unwrap_or(session.used));
        if now.saturating_sub(used) >= millis(self.settings.idle) {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "idle"));
        }
        let (bound, created) = (session.bound, session.created);
        Ok(LiveSession { holder: self.holder(session, now)?, bound, created, used })
    }

    fn holder(&self, session: StoredSession, now: i64) -> Result<SessionHolder, Refused> {
        SessionHolder::of(session, now, self.max_key_age, self.settings.login_issuer.as_deref())
    }

    /// Remembers that the session is in use. It is written down from time to time, by a thread that may wait.
    fn touch(&self, session: &Arc<str>, used: i64, now: i64) {
        if now.saturating_sub(used) < millis(self.touch_interval()) {
            return;
        }
        let mut touched = self.touched.lock();
        if touched.len() >= MAX_TOUCHED {
            touched.clear();
        }
        touched.insert(Arc::clone(session), now);
    }

    fn touch_interval(&self) -> Duration {
        TOUCH_INTERVAL.min(self.settings.idle / 8)
    }

    /// Writes down which sessions were in use. To be called every few seconds, off the async threads.
    pub fn write_touched(&self) -> Result<(), AuthnError> {
        let touched = std::mem::take(&mut *self.touched.lock());
        if touched.is_empty() {
            return Ok(());
        }
        self.store.touch(&touched.into_iter().collect::<Vec<_>>())
    }

    // ---- making and going on ----

    /// Begins a session of a key, which the caller has proven. All its tokens are bound to `bound`.
    pub fn issue(&self, record: KeyRecord, bound: HolderKeys) -> Result<Issued, AuthnError> {
        self.begin((&SessionHolder::Key(record), &bound), "", self.clock.now_millis())
    }

    /// Begins a session of a person who has logged in, for `longest` at most. All its tokens are bound to `bound`.
    pub fn log_in(
        &self,
        login: LoggedIn,
        longest: Duration,
        bound: HolderKeys,
    ) -> Result<Issued, AuthnError> {
        // It began when it was proven: a revocation since then counts, and a login cannot be kept for later.
        let now = login.at_millis;
        let until = now.saturating_add(millis(longest));
        let principal = login.subject.principal().to_string();
        let holder = SessionHolder::Person { person: Box::new(login.person), until };
        self.begin((&holder, &bound), &principal, now)
    }

    fn begin(
        &self,
        (holder, bound): (&SessionHolder, &HolderKeys),
        principal: &str,
        now: i64,
    ) -> Result<Issued, AuthnError> {
        let session: Arc<str> = api_key::random_text(SESSION_LENGTH)?.into();
        let refresh = RefreshText::random()?;
        let expires = now.saturating_add(millis(self.settings.refresh)).min(holder.ends());
        let longest = self.settings.refresh.max(self.settings.access);
        let times = (now, expires, now.saturating_sub(millis(longest)));
        let most = self.settings.max_sessions_per_key;
        let owner = holder.owner(principal)?;
        let first = refresh.hash(&self.pepper);
        self.store.begin(&session, (&owner, bound), &first, times, most)?;
        self.pair(session, (holder, bound), refresh, now)
    }

    /// The session of a refresh token. One that another party has used before ends the session at once.
    pub fn recognise(&self, text: &str) -> Result<Renewal, Refused> {
        let text = RefreshText::parse(text).ok_or_else(|| Refused::invalid(METHOD, "malformed"))?;
        let presented = text.hash(&self.pepper);
        let now = self.clock.now_millis();
        let found = self
            .store
            .refresh(&presented)
            .map_err(unavailable)?
            .ok_or_else(|| Refused::invalid(METHOD, "unknown_token"))?;
        if self.is_replay(&found, now) {
            self.store.end(&found.session, now).map_err(unavailable)?;
            return Err(
                Refused::invalid(METHOD, "refresh_reused").because(format!("session `{}`", found.session))
            );
        }
        if now >= found.expires {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "expired"));
        }
        let session = self.store.find_session(&found.session).map_err(unavailable)?;
        let LiveSession { holder, bound, created, .. } = self.live_session(&found.session, session, now)?;
        let jti = format!("refresh-{}", found.generation).into();
        let subject = Arc::new(holder.into_subject(found.session.into(), jti));
        let revoked = self.store.find_revocation(None, subject.principal()).map_err(unavailable)?;
        refuse_revoked(revoked, (Some(created), METHOD))?;
        let successor = text.successor(&self.pepper).hash(&self.pepper);
        Ok(Renewal { subject, bound, presented, successor, text })
    }

    fn is_replay(&self, found: &StoredRefresh, now: i64) -> bool {
        found.used.is_some_and(|(at, onward)| onward || now.saturating_sub(at) > millis(self.settings.grace))
    }

    /// Uses a refresh token that was recognised. `None` when it was used or ended in the meantime.
    pub fn renew(&self, renewal: Renewal) -> Result<Option<Issued>, AuthnError> {
        let now = self.clock.now_millis();
        let Proof::Session { id, key, .. } = renewal.subject.proof() else { return Ok(None) };
        let times = (now, now.saturating_add(millis(self.settings.refresh)), millis(self.settings.grace));
        let Rotated::Done(session) = self.store.rotate(&renewal.presented, &renewal.successor, times)? else {
            return Ok(None);
        };
        let Some(found) = self.store.find_session(&session)? else { return Ok(None) };
        let bound = found.bound;
        let holder = self.holder(found, now).ok();
        let same = |holder: &SessionHolder| session == id.as_ref() && holder.key() == key.as_ref();
        let Some(holder) = holder.filter(same) else { return Ok(None) };
        let next = renewal.text.successor(&self.pepper);
        self.pair(session.into(), (&holder, &bound), next, now).map(Some)
    }

    fn pair(
        &self,
        session: Arc<str>,
        (holder, bound): (&SessionHolder, &HolderKeys),
        refresh: RefreshText,
        now: i64,
    ) -> Result<Issued, AuthnError> {
        // Not longer than the key, or the login.
        let left = holder.ends().saturating_sub(now).div_euclid(1000);
        let lifetime = i64::try_from(self.settings.access.as_secs()).unwrap_or(i64::MAX).min(left).max(0);
        let mut claims = self.claims(&session, holder, lifetime, now)?;
        claims.extend(confirmation(bound).map(|cnf| ("cnf".to_owned(), cnf)));
        let access = self.signing.sign(&*self.store, ACCESS_TOKEN, claims)?;
        let expires_in = u64::try_from(lifetime).unwrap_or(0);
        let with_proof = bound.dpop.is_some();
        Ok(Issued { access, refresh: refresh.into_secret(), expires_in, session, with_proof })
    }

    fn claims(
        &self,
        session: &str,
        holder: &SessionHolder,
        lifetime: i64,
        now: i64,
    ) -> Result<Map<String, Value>, AuthnError> {
        let (name, client) = holder.names();
        let issued = now.div_euclid(1000);
        let claims = json!({
            "iss": &*self.settings.issuer, "aud": &*self.settings.audience, "sub": name, "client_id": client,
            "iat": issued, "exp": issued.saturating_add(lifetime),
            "jti": api_key::random_text(SESSION_LENGTH)?, SESSION: session,
        });
        match claims {
            Value::Object(claims) => Ok(claims),
            _ => Ok(Map::new()),
        }
    }

    // ---- ending ----

    /// Ends a session; `false` when it had ended before.
    pub fn end(&self, session: &str) -> Result<bool, AuthnError> {
        self.store.end(session, self.clock.now_millis())
    }

    /// Ends every session and every token that was made until now, of other issuers too; answers how many sessions.
    pub fn revoke_all(&self) -> Result<usize, AuthnError> {
        self.store.revoke_all(self.clock.now_millis())
    }

    /// Ends one token by its `jti`.
    pub fn revoke_token(&self, jti: &str) -> Result<(), AuthnError> {
        self.store.revoke_token(jti, self.clock.now_millis())
    }

    /// Ends every token of a principal, in Cedar's notation, that was made until now.
    pub fn revoke_subject(&self, principal: &str) -> Result<(), AuthnError> {
        self.store.revoke_subject(principal, self.clock.now_millis())
    }

    /// Refuses a token that was revoked by name, or that was made before its subject's tokens were. `made` is in
    /// milliseconds since the Unix epoch; a token that does not say when it was made counts as old.
    pub(super) async fn check_revoked(
        &self,
        digest: &TokenDigest,
        jti: Option<&str>,
        subject: &Subject,
        (made, method): (Option<i64>, &'static str),
    ) -> Result<(), Refused> {
        let found = self.store.revocation_of(digest, jti, subject.principal()).await;
        let found = found.map_err(|why| {
            Refused::new(RefusedKind::Unavailable, method, "store_unavailable").because(why)
        })?;
        refuse_revoked(found, (made, method))
    }

    // ---- keys and events ----

    /// Makes a new signing key; answers with its `kid`. Tokens under the old one count until they end.
    pub fn rotate_signing_key(&self) -> Result<String, AuthnError> {
        self.signing.rotate(&*self.store, self.clock.now_millis(), PreviousKeys::Retired)
    }

    /// Makes a new signing key, because the old one is in wrong hands; answers with its `kid`. No token under an old one
    /// counts from the next request on; sessions go on with their refresh tokens.
    pub fn replace_compromised_key(&self) -> Result<String, AuthnError> {
        self.signing.rotate(&*self.store, self.clock.now_millis(), PreviousKeys::Compromised)
    }

    /// The public signing keys, as `/.well-known/jwks.json` shows them.
    pub fn key_set(&self) -> Result<Value, AuthnError> {
        let now = self.clock.now_millis();
        Ok(signing::key_set(&self.store.signing_keys(self.still_signed(now))?))
    }

    /// Whether own tokens can be made and checked, for the operator.
    pub(super) fn status(&self) -> Result<String, AuthnError> {
        let kid = self.store.signing_kid()?.ok_or(AuthnError::SigningKey)?;
        let since = self.clock.now_millis().saturating_sub(millis(self.settings.idle));
        Ok(format!("{} sessions, signed with `{kid}`", self.store.count_sessions(since)?))
    }

    /// Events of programs that do not hold the decision log, the oldest first; see [`Tokens::forget_events`].
    pub fn pending_events(&self, most: u32) -> Result<Vec<PendingEvent>, AuthnError> {
        self.store.events(most)
    }

    /// Forgets events up to and with this one, after they were recorded.
    pub fn forget_events(&self, until: i64) -> Result<(), AuthnError> {
        self.store.forget_events(until)
    }
}

fn refuse_revoked(
    found: StoredRevocation,
    (made, method): (Option<i64>, &'static str),
) -> Result<(), Refused> {
    let old = found.before.is_some_and(|before| made.is_none_or(|made| made <= before));
    if found.token || old {
        return Err(Refused::new(RefusedKind::Expired, method, "token_revoked"));
    }
    Ok(())
}

fn unavailable(error: impl ToString) -> Refused {
    Refused::new(RefusedKind::Unavailable, METHOD, "store_unavailable").because(error)
}

fn refuse_claim(error: ClaimError) -> Refused {
    let kind = match error {
        ClaimError::Expired => RefusedKind::Expired,
        _ => RefusedKind::Invalid,
    };
    Refused::new(kind, METHOD, error.reason()).because(error)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
