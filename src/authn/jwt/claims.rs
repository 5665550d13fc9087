//! What a proven token says, read strictly: a claim that is missing or of the wrong JSON type refuses the token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::confirmation;
use crate::authn::Person;
use crate::json;
use crate::model::{Delegate, HolderKeys, Proof, RoleName, Subject};
use crate::text::is_hidden;

const MAX_TEXT_BYTES: usize = 256;
/// 9999-12-31T23:59:59Z, the last instant that a record can show.
const MAX_DATE: i64 = 253_402_300_799;

/// The most parties in a chain of delegation.
const MAX_DELEGATES: usize = 8;

/// Claims that have a meaning of their own; all others become tags.
const KNOWN: [&str; 15] = [
    "act",
    "cnf",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "email",
    "email_verified",
    "roles",
    "permissions",
    "groups",
    "scope",
];

/// Claims of an ID token that are about the login and not about the person (OpenID Connect Core 1.0, sections 2 and
/// 3.3.2.11); providers add `typ` and `session_state`.
const OF_PROTOCOL: [&str; 8] = ["nonce", "at_hash", "c_hash", "s_hash", "azp", "sid", "typ", "session_state"];

/// A fault of the claims.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::authn) enum ClaimError {
    #[error("the claims are not a JSON object with each name once")]
    Malformed,
    #[error("the claim `{0}` is missing")]
    Missing(&'static str),
    #[error("the claim `{0}` has the wrong JSON type")]
    Type(&'static str),
    #[error("the claim `{0}` is empty, too long, or has characters that have no place in it")]
    Value(&'static str),
    #[error("the issuer is not the configured one")]
    Issuer,
    #[error("the configured audience is not in `aud`")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the claim `{0}` limits who may use the token, which this version cannot check")]
    Unsupported(&'static str),
}

impl ClaimError {
    pub(in crate::authn) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Missing(_) => "claim_missing",
            Self::Type(_) => "claim_type",
            Self::Value(_) => "claim_value",
            Self::Issuer => "wrong_issuer",
            Self::Audience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Unsupported(_) => "claim_unsupported",
        }
    }
}

/// The values that the claims must match.
#[derive(Debug)]
pub(in crate::authn) struct Expected {
    pub(in crate::authn) issuer: Arc<str>,
    pub(in crate::authn) audience: Arc<str>,
    /// Each as good as the audience.
    pub(in crate::authn) resources: Vec<Arc<str>>,
    pub(in crate::authn) leeway_seconds: i64,
    /// Whether a token may have been delegated to another party (`act`).
    pub(in crate::authn) delegated: bool,
}

/// When the token counts; seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authn) struct Validity {
    pub(in crate::authn) expires: i64,
    /// The later of `nbf` and `iat`, when there is one.
    pub(in crate::authn) begins: Option<i64>,
    /// `iat`, when there is one.
    pub(in crate::authn) issued: Option<i64>,
}

impl Validity {
    pub(in crate::authn) fn check(self, now: i64, leeway: i64) -> Result<(), ClaimError> {
        // RFC 7519 section 4.1.4: on or after `exp` it must not be accepted.
        if now.saturating_sub(leeway) >= self.expires {
            return Err(ClaimError::Expired);
        }
        if self.begins.is_some_and(|begins| now.saturating_add(leeway) < begins) {
            return Err(ClaimError::NotYetValid);
        }
        Ok(())
    }
}

/// The claims of a token for us.
#[derive(Debug)]
pub(in crate::authn) struct Claims {
    pub(in crate::authn) validity: Validity,
    pub(in crate::authn) subject: String,
    /// The keys that its holder has to prove as well.
    pub(in crate::authn) holder: HolderKeys,
    jti: Option<Arc<str>>,
    email: Option<String>,
    roles: BTreeSet<RoleName>,
    groups: BTreeSet<Arc<str>>,
    tags: Vec<(Arc<str>, BTreeSet<Arc<str>>)>,
    delegation: Vec<Delegate>,
}

impl Claims {
    pub(in crate::authn) fn jti(&self) -> Option<Arc<str>> {
        self.jti.clone()
    }

    /// A claim without a meaning of its own that is one text.
    pub(in crate::authn) fn text_tag(&self, name: &str) -> Option<Arc<str>> {
        let (_, values) = self.tags.iter().find(|(tag, _)| tag.as_ref() == name)?;
        values.first().filter(|_| values.len() == 1).cloned()
    }

    /// What a session keeps. Claims of the protocol itself say nothing about the person.
    pub(in crate::authn) fn into_person(self, issuer: &str) -> Person {
        let texts = |values: BTreeSet<Arc<str>>| values.iter().map(ToString::to_string).collect();
        let tags = self.tags.into_iter().filter(|(name, _)| !OF_PROTOCOL.contains(&name.as_ref()));
        Person {
            issuer: issuer.to_owned(),
            subject: self.subject,
            email: self.email,
            roles: self.roles,
            groups: texts(self.groups),
            tags: tags.map(|(name, values)| (name.to_string(), texts(values))).collect(),
        }
    }

    pub(in crate::authn) fn into_subject(self, issuer: &str, key: Arc<str>) -> Subject {
        let proof = Proof::Jwt { key, jti: self.jti };
        let email = self.email.as_deref();
        Subject::user(issuer, &self.subject, email, self.roles, self.groups, self.tags, proof)
            .delegated_to(self.delegation)
    }
}

/// Reads the claims and checks all that does not change with time.
pub(in crate::authn) fn read(payload: &[u8], expected: &Expected) -> Result<Claims, ClaimError> {
    let claims = json::parse_object(payload).map_err(|_| ClaimError::Malformed)?;
    check_audience(&claims, expected)?;
    let delegation = delegation(&claims, expected)?;
    let words = |name| words(&claims, name, is_name);
    let mut roles = BTreeSet::new();
    for name in ["roles", "permissions"] {
        // However long: a role that a name has no room for is there by its digest, so that a forbid may hang on it.
        for word in self::words(&claims, name, |word| !word.is_empty() && !word.contains(is_hidden))? {
            roles.insert(RoleName::of_claim(&word).map_err(|_| ClaimError::Value(name))?);
        }
    }
    let mut tags = tags(&claims);
    let scope = words("scope")?;
    if !scope.is_empty() {
        tags.push(("scope".into(), scope));
    }
    Ok(Claims {
        validity: validity(&claims)?,
        holder: confirmation::read(claims.get("cnf"))?,
        subject: text(&claims, "sub")?.ok_or(ClaimError::Missing("sub"))?.to_owned(),
        jti: text(&claims, "jti")?.map(Arc::from),
        email: email(&claims)?,
        roles,
        groups: words("groups")?,
        tags,
        delegation,
    })
}

fn check_audience(claims: &Map<String, Value>, expected: &Expected) -> Result<(), ClaimError> {
    if text(claims, "iss")?.ok_or(ClaimError::Missing("iss"))? != expected.issuer.as_ref() {
        return Err(ClaimError::Issuer);
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        None => return Err(ClaimError::Missing("aud")),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(ClaimError::Type("aud"))?
        }
        Some(_) => return Err(ClaimError::Type("aud")),
    };
    let ours = |audience: &str| {
        std::iter::once(&expected.audience).chain(&expected.resources).any(|known| known.as_ref() == audience)
    };
    if audiences.into_iter().any(ours) { Ok(()) } else { Err(ClaimError::Audience) }
}

/// Those that the token was delegated to (RFC 8693, section 4.1): the one that acts now first. To ignore `act` would make
/// the token worth more than its issuer meant, so it refuses the token where the operator has not said that policies look at it.
fn delegation(claims: &Map<String, Value>, expected: &Expected) -> Result<Vec<Delegate>, ClaimError> {
    let mut chain = Vec::new();
    let mut next = claims.get("act");
    while let Some(actor) = next {
        if !expected.delegated {
            return Err(ClaimError::Unsupported("act"));
        }
        let Value::Object(actor) = actor else { return Err(ClaimError::Type("act")) };
        if chain.len() >= MAX_DELEGATES {
            return Err(ClaimError::Value("act"));
        }
        let subject = text(actor, "sub")?.ok_or(ClaimError::Missing("act.sub"))?;
        let issuer = text(actor, "iss")?.unwrap_or(&expected.issuer);
        chain.push(Delegate { issuer: issuer.into(), subject: subject.into() });
        next = actor.get("act");
    }
    Ok(chain)
}

fn validity(claims: &Map<String, Value>) -> Result<Validity, ClaimError> {
    let expires = date(claims, "exp")?.ok_or(ClaimError::Missing("exp"))?;
    let issued = date(claims, "iat")?;
    Ok(Validity { expires, begins: date(claims, "nbf")?.max(issued), issued })
}

/// A `NumericDate` (RFC 7519 section 2) in whole seconds; what is behind the point is cut off.
pub(in crate::authn) fn date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<i64>, ClaimError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(ClaimError::Type(name)) };
    let seconds = number.as_i64().or_else(|| {
        #[expect(clippy::cast_possible_truncation, reason = "it is in range")]
        let whole = |float: f64| (0.0..=MAX_DATE as f64).contains(&float).then_some(float.floor() as i64);
        number.as_f64().and_then(whole)
    });
    match seconds {
        Some(seconds) if (0..=MAX_DATE).contains(&seconds) => Ok(Some(seconds)),
        Some(_) | None => Err(ClaimError::Value(name)),
    }
}

/// Text that may become part of a name: not empty, bounded, nothing that hides or turns around in a log.
pub(in crate::authn) fn text<'c>(
    claims: &'c Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'c str>, ClaimError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text)),
        Some(Value::String(_)) => Err(ClaimError::Value(name)),
        Some(_) => Err(ClaimError::Type(name)),
    }
}

pub(in crate::authn) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.contains(is_hidden)
}

/// An address that the issuer says it has not checked is no attribute of the user.
fn email(claims: &Map<String, Value>) -> Result<Option<String>, ClaimError> {
    match claims.get("email_verified") {
        Some(Value::Bool(false)) => Ok(None),
        None | Some(Value::Bool(true)) => Ok(text(claims, "email")?.map(str::to_owned)),
        // Some providers write it as text.
        Some(Value::String(word)) if word == "false" => Ok(None),
        Some(Value::String(word)) if word == "true" => Ok(text(claims, "email")?.map(str::to_owned)),
        Some(_) => Err(ClaimError::Type("email_verified")),
    }
}

/// A list of texts, or one text with spaces between its words (RFC 6749 section 3.3).
fn words(
    claims: &Map<String, Value>,
    name: &'static str,
    is_word: impl Fn(&str) -> bool,
) -> Result<BTreeSet<Arc<str>>, ClaimError> {
    let check = |word: &str| if is_word(word) { Ok(Arc::from(word)) } else { Err(ClaimError::Value(name)) };
    match claims.get(name) {
        None => Ok(BTreeSet::new()),
        Some(Value::String(text)) => text.split_ascii_whitespace().map(check).collect(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().ok_or(ClaimError::Type(name)).and_then(check)).collect()
        }
        Some(_) => Err(ClaimError::Type(name)),
    }
}

/// The texts of a claim that is a text or a list of texts.
fn texts_of(value: &Value) -> Option<BTreeSet<Arc<str>>> {
    match value {
        Value::String(text) => Some([Arc::from(text.as_str())].into()),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(Arc::from)).collect(),
        _ => None,
    }
}

/// Bytes of the path of a claim inside of others, and how deep it may be.
const MAX_PATH_BYTES: usize = 256;
const MAX_DEPTH: usize = 4;

type Tags = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// All other claims that are texts or lists of texts; inside of an object, under the path (`realm_access.roles`). Others are of
/// no use to a policy and stay out.
fn tags(claims: &Map<String, Value>) -> Vec<(Arc<str>, BTreeSet<Arc<str>>)> {
    let (mut own, mut inner) = (Tags::new(), Tags::new());
    for (name, value) in claims.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        match value {
            Value::Object(fields) => inner_tags(name, fields, 1, &mut inner),
            value => own.extend(texts_of(value).map(|texts| (Arc::from(name.as_str()), texts))),
        }
    }
    // A claim whose own name looks like a path is the one that is meant.
    let others = inner.into_iter().filter(|(path, _)| !claims.contains_key(path.as_ref()));
    let others: Vec<_> = others.collect();
    own.into_iter().chain(others).collect()
}

fn inner_tags(path: &str, fields: &Map<String, Value>, depth: usize, found: &mut Tags) {
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        if path.len() > MAX_PATH_BYTES {
            continue;
        }
        match value {
            Value::Object(fields) if depth < MAX_DEPTH => inner_tags(&path, fields, depth + 1, found),
            value => {
                if let Some(texts) = texts_of(value) {
                    // Of two claims of one path neither hides the other.
                    found.entry(path.into()).or_default().extend(texts);
                }
            }
        }
    }
}
