//! One record as one line of the log, and the check that a line is what it was.
//!
//! The line is the record's canonical JSON (RFC 8785) with `hash` added at the end; `hash` is the SHA-256 of
//! the canonical JSON without it, `prev_hash` the hash of the line before. Characters that cannot be seen are
//! escaped on disk only: they are part of the hashed text as themselves, as any other implementation of
//! RFC 8785 would have them after parsing the line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::AuditError;
use super::digest::Digest;
use super::escape::{escape_json, unescape_json};
use super::items::{CutError, DetailLevel, LoggedEntity, LoggedItem, entities};
use super::record::{AgentRecord, Record, Shadow};
use super::redact::{CutText, LoggedValue, MaskedName, ValueDigest, mask_name};
use crate::clock::rfc3339;
use crate::model::{CallId, DecisionId, EventType, Outcome, PolicyRef, ReasonCode};

/// The longest line that is read back, in bytes.
pub const LINE_LIMIT: usize = 1 << 20;
/// The version of the record's shape; only an incompatible change would raise it.
pub const SCHEMA_VERSION: u32 = 1;

const POLICIES: usize = 256;
const ERRORS: usize = 32;
const MASKED: usize = 64;
const OBLIGATIONS: usize = 64;
/// The most lines of one list.
const PARTS: usize = 256;

/// A place in the chain: the number and hash of the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: u64,
    pub(super) hash: Digest,
}

impl ChainHead {
    /// Before the first record.
    pub(super) const GENESIS: Self = Self { seq: 0, hash: Digest::GENESIS };
}

/// Turns records into lines; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    canonical: Vec<u8>,
    /// The hashes of the lines since they were taken.
    hashes: Vec<Digest>,
}

/// One of the lines of a list that is too long for one.
#[derive(Debug, Clone, Copy)]
struct ListPart {
    number: usize,
    of: usize,
}

impl Encoder {
    /// Gives away the hashes of all lines that were made since the last time, in order.
    pub(super) fn take_hashes(&mut self, mut take: impl FnMut(&Digest)) {
        self.hashes.drain(..).for_each(|hash| take(&hash));
    }

    /// Appends the line of `record`, which follows `last`, to `out`; returns the place in the chain of what was written
    /// last: a list that is too long for one line has several.
    pub(super) fn line(
        &mut self,
        record: &Record,
        last: ChainHead,
        limit: usize,
        out: &mut String,
    ) -> Result<ChainHead, AuditError> {
        let (start, hashes) = (out.len(), self.hashes.len());
        let mut bytes = 0;
        for level in [DetailLevel::Whole, DetailLevel::Bare] {
            let items = logged(record, level);
            let head = self.encode(&Canonical::new(record, &items, None, last, level), last, out)?;
            bytes = out.len() - start;
            if bytes <= limit {
                return Ok(head);
            }
            out.truncate(start);
            self.hashes.truncate(hashes);
        }
        if record.items.is_empty() {
            return Err(AuditError::TooLarge { bytes, limit });
        }
        self.parts(record, last, limit, out)
    }

    /// The list with as many of its items on each line as it takes.
    fn parts(
        &mut self,
        record: &Record,
        last: ChainHead,
        limit: usize,
        out: &mut String,
    ) -> Result<ChainHead, AuditError> {
        let (start, hashes) = (out.len(), self.hashes.len());
        let items = logged(record, DetailLevel::Short);
        // The first line has the most beside its items.
        let first = ListPart { number: 1, of: items.len() };
        self.encode(&Canonical::new(record, &[], Some(first), last, DetailLevel::Short), last, out)?;
        // With the name of the field and its brackets, and longer numbers.
        let room =
            limit.saturating_sub(out.len() - start + ",\"items\":[]".len() + 2 * PARTS.to_string().len());
        out.truncate(start);
        self.hashes.truncate(hashes);
        let mut ends = Vec::new();
        let mut bytes = 0;
        for (number, item) in items.iter().enumerate() {
            let length = self.length(item)? + 1;
            if length > room {
                return Err(AuditError::TooLarge { bytes: limit - room.min(limit) + length, limit });
            }
            if bytes + length > room {
                ends.push(number);
                bytes = 0;
            }
            bytes += length;
        }
        ends.push(items.len());
        if ends.len() > PARTS {
            return Err(AuditError::TooLarge { bytes: ends.len() * room, limit });
        }
        let mut head = last;
        let mut from = 0;
        for (number, &end) in ends.iter().enumerate() {
            let part = (ends.len() > 1).then_some(ListPart { number: number + 1, of: ends.len() });
            let items = items.get(from..end).unwrap_or_default();
            let line = Canonical::new(record, items, part, head, DetailLevel::Short);
            head = self.encode(&line, head, out)?;
            from = end;
        }
        Ok(head)
    }

    /// Bytes of the item on its line.
    fn length(&mut self, item: &LoggedItem<'_>) -> Result<usize, AuditError> {
        self.canonical.clear();
        item.serialize(&mut serde_json::Serializer::new(&mut self.canonical)).map_err(AuditError::Encode)?;
        let mut escaped = String::with_capacity(self.canonical.len());
        escape_json(str::from_utf8(&self.canonical).unwrap_or_default(), &mut escaped);
        Ok(escaped.len())
    }

    fn encode(
        &mut self,
        line: &Canonical<'_>,
        last: ChainHead,
        out: &mut String,
    ) -> Result<ChainHead, AuditError> {
        self.canonical.clear();
        line.serialize(&mut serde_json::Serializer::new(&mut self.canonical)).map_err(AuditError::Encode)?;
        let hash = Digest::of(&self.canonical);
        let json = str::from_utf8(&self.canonical).unwrap_or_default();
        escape_json(json.strip_suffix('}').unwrap_or(json), out);
        out.push_str(SEAL_START);
        out.push_str(str::from_utf8(&hash.hex()).unwrap_or_default());
        out.push_str(SEAL_END);
        out.push('\n');
        self.hashes.push(hash);
        Ok(ChainHead { seq: last.seq + 1, hash })
    }
}

const SEAL_START: &str = ",\"hash\":\"";
const SEAL_END: &str = "\"}";

/// The record with its fields in canonical order; nested types declare theirs in canonical order too. That this
/// is RFC 8785 is proven against an independent implementation in the tests.
#[derive(Serialize)]
struct Canonical<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<CutText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<CutText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args_sha256: Option<&'a str>,
    call_id: CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<LoggedContext<'a>>,
    #[serde(skip_serializing_if = "is_one")]
    count: u64,
    decision_id: DecisionId,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegation: Vec<CutText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<CutText<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entities: Vec<LoggedEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_age_seconds: Option<u64>,
    entity_version: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<CutError<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    errors_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    event_type: EventType,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    items: &'a [LoggedItem<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<CutText<'a>>,
    latency_us: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    masked: Vec<CutText<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    obligations: Vec<CutText<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    open_input: bool,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<usize>,
    policies: &'a [PolicyRef],
    #[serde(skip_serializing_if = "is_zero")]
    policies_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<&'a str>,
    prev_hash: Digest,
    reason_code: ReasonCode,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<MaskedName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<CutText<'a>>,
    schema_version: u32,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a Shadow>,
    source: CutSource<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<CutText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<CutSubject<'a>>,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<CutText<'a>>,
}

impl<'a> Canonical<'a> {
    fn new(
        record: &'a Record,
        items: &'a [LoggedItem<'a>],
        part: Option<ListPart>,
        last: ChainHead,
        level: DetailLevel,
    ) -> Self {
        let whole = level == DetailLevel::Whole;
        // The lines after the first have the items and the fields that identify the request.
        let first = part.is_none_or(|part| part.number == 1);
        let context = |value| match whole {
            true => LoggedContext::Whole(LoggedValue::new(value)),
            false => LoggedContext::ValueDigest(ValueDigest(value)),
        };
        Self {
            action: record.action.as_deref().map(CutText),
            actor: record.actor.as_deref().map(CutText),
            agent: record.agent.as_ref(),
            args_sha256: record.args_sha256.as_deref(),
            call_id: record.request_id.call(),
            context: record.context().filter(|_| first).map(context),
            count: record.count,
            decision_id: record.decision_id,
            delegation: record.delegation.iter().map(|name| CutText(name)).collect(),
            detail: record.detail.as_deref().map(CutText),
            entities: if whole { entities(record.entities()) } else { Vec::new() },
            entity_age_seconds: record.entity_age_seconds,
            entity_version: record.entity_version,
            errors: record
                .errors
                .iter()
                .take(ERRORS)
                .map(|error| CutError { error, short: level == DetailLevel::Short })
                .collect(),
            errors_omitted: record.errors.len().saturating_sub(ERRORS),
            event: record.event,
            event_type: record.event_type,
            items,
            key_id: record.key_id.as_deref().map(CutText),
            latency_us: record.latency_us,
            masked: masked(record),
            obligations: record.obligations.iter().take(OBLIGATIONS).map(|text| CutText(text)).collect(),
            open_input: record.open_input,
            outcome: record.outcome,
            part: part.map(|part| part.number),
            parts: part.map(|part| part.of),
            policies: record.policies.get(..POLICIES).unwrap_or(&record.policies),
            policies_omitted: record.policies.len().saturating_sub(POLICIES),
            policy_version: record.policy_version.as_ref().map(|version| version.as_str()),
            prev_hash: last.hash,
            reason_code: record.reason_code,
            request_id: record.request_id.as_str(),
            resource: record.resource.as_deref().map(MaskedName),
            route: record.route.as_deref().map(CutText),
            schema_version: SCHEMA_VERSION,
            seq: last.seq + 1,
            shadow: record.shadow.as_ref(),
            source: CutSource::new(record),
            span_id: record.trace.as_ref().map(|(_, span)| CutText(span)),
            subject: record.subject.as_ref().map(|subject| CutSubject {
                credential: subject.credential.as_deref().map(CutText),
                method: subject.method,
                principal: CutText(&subject.principal),
            }),
            time: rfc3339(record.time_millis),
            trace_id: record.trace.as_ref().map(|(trace, _)| CutText(trace)),
        }
    }
}

/// The paths of what is masked, the name of the resource among them.
fn masked(record: &Record) -> Vec<CutText<'_>> {
    let in_name = record.resource.as_deref().is_some_and(|name| matches!(mask_name(name), Cow::Owned(_)));
    let paths = record.masked().iter().take(MASKED).map(|path| CutText(path));
    paths.chain(in_name.then_some(CutText("resource"))).collect()
}

fn logged(record: &Record, level: DetailLevel) -> Vec<LoggedItem<'_>> {
    record.items.iter().map(|item| LoggedItem::new(item, level)).collect()
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
#[serde(untagged)]
enum LoggedContext<'a> {
    Whole(LoggedValue<'a>),
    ValueDigest(ValueDigest<'a>),
}

#[derive(Serialize)]
struct CutSource<'a> {
    ip: std::net::IpAddr,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<CutText<'a>>,
}

impl<'a> CutSource<'a> {
    fn new(record: &'a Record) -> Self {
        let source = &record.source;
        Self { ip: source.ip, tls: source.tls, user_agent: source.user_agent.as_deref().map(CutText) }
    }
}

#[derive(Serialize)]
struct CutSubject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<CutText<'a>>,
    method: &'static str,
    principal: CutText<'a>,
}

/// The fault of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Longer than any record can be.
    #[error("the line is longer than {LINE_LIMIT} bytes")]
    TooLong,
    /// Not a record at all, or one without its hash at the end.
    #[error("the line is not a record")]
    NotARecord,
    /// Spelled in a way that the journal does not spell.
    #[error("the line is not in the journal's canonical encoding")]
    Spelling,
    /// Content and hash differ.
    #[error("the content does not match the hash: the record was changed")]
    Hash,
    /// The number does not follow.
    #[error(
        "record {found} stands where record {expected} should be: records were deleted, repeated or moved"
    )]
    Sequence {
        /// The number that should be here.
        expected: u64,
        /// The number that is.
        found: u64,
    },
    /// The link to the record before does not hold.
    #[error("the record does not continue the one before it: the log was spliced")]
    Chain,
}

/// Checks one line (without its newline) by itself; returns its place in the chain and what it says came before.
pub(super) fn check(line: &[u8]) -> Result<(ChainHead, Digest), LineFault> {
    #[derive(Deserialize)]
    struct ChainFields {
        seq: u64,
        prev_hash: Digest,
    }
    let text = str::from_utf8(line).map_err(|_| LineFault::NotARecord)?;
    let (body, hash) = unseal(text).ok_or(LineFault::NotARecord)?;
    let mut canonical = unescape_json(body);
    let mut again = String::with_capacity(body.len());
    escape_json(&canonical, &mut again);
    if again != body {
        // Else `\u202E` for `\u202e` would be a change that no hash sees.
        return Err(LineFault::Spelling);
    }
    canonical.push('}');
    if Digest::of(canonical.as_bytes()) != hash {
        return Err(LineFault::Hash);
    }
    let ChainFields { seq, prev_hash } =
        serde_json::from_str(&canonical).map_err(|_| LineFault::NotARecord)?;
    Ok((ChainHead { seq, hash }, prev_hash))
}

/// Checks one line by itself and as the successor of `last`.
pub(super) fn check_next(line: &[u8], last: ChainHead) -> Result<ChainHead, LineFault> {
    let (head, prev) = check(line)?;
    let expected = last.seq + 1;
    if head.seq != expected {
        return Err(LineFault::Sequence { expected, found: head.seq });
    }
    if prev != last.hash {
        return Err(LineFault::Chain);
    }
    Ok(head)
}

fn unseal(line: &str) -> Option<(&str, Digest)> {
    let sealed = line.strip_suffix(SEAL_END)?;
    let (rest, hex) = sealed.split_at_checked(sealed.len().checked_sub(64)?)?;
    Some((rest.strip_suffix(SEAL_START)?, Digest::from_hex(hex.as_bytes())?))
}
