//! What a replay found, in numbers and one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Place;
use super::record::{Asked, Decided, Logged, Without};
use crate::model::PolicyVersion;
use crate::policy::engine::verdict::Verdict;
use crate::workbench::case::shorthand;
use crate::workbench::diff::ComparedSide;

/// The most flips that are kept one by one; others are counted.
const MAX_FLIPS: usize = 20_000;
/// The most decisions kept that did not come out as recorded.
const MAX_UNLIKE: usize = 100;
/// The most records named for a group.
const MAX_NAMED: usize = 1_000;

/// What came of a log.
#[derive(Debug, Clone, Serialize)]
pub struct Replay {
    /// The version that decided.
    pub baseline: PolicyVersion,
    /// The version that is compared with it.
    pub candidate: PolicyVersion,
    /// Records read, without the earlier ones.
    pub records: u64,
    /// Records from before the wanted time.
    pub earlier: u64,
    /// Records that tell of an event, and not of a decision about an action.
    pub events: u64,
    /// Decisions that the recorded version made again as they were recorded.
    pub reproduced: u64,
    /// Decisions that both versions were asked for.
    pub compared: u64,
    /// Decisions that the recorded version makes otherwise than the log says.
    pub not_reproduced: u64,
    /// The first of them.
    pub unlike: Vec<Unlike>,
    /// Decisions that were not evaluated, by cause.
    pub left_out: Vec<LeftOut>,
    /// Decisions of other versions, by digest.
    pub other_versions: BTreeMap<String, u64>,
    /// Decisions that came out otherwise.
    pub flipped: u64,
    /// Flips from a refusal to a permission.
    pub opened: u64,
    /// Flips from a permission to a refusal.
    pub closed: u64,
    /// Decisions that came out alike, by other policies.
    pub other_policies: u64,
    /// Flips by action.
    pub by_action: Vec<Group>,
    /// Flips by principal.
    pub by_principal: Vec<Group>,
    /// Flips by the policy that now decides, else by the one that did.
    pub by_policy: Vec<Group>,
    /// The flips; at most 20,000 of them.
    pub flips: Vec<ReplayFlip>,
    #[serde(skip)]
    causes: BTreeMap<NotEvaluated, LeftOut>,
    #[serde(skip)]
    groups: [BTreeMap<String, Group>; 3],
}

/// Why a decision was not evaluated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum NotEvaluated {
    /// The gateway decided without asking the policies (a rate limit, a tool that is not there).
    Gateway {
        /// The record's reason.
        reason: String,
    },
    /// Another version of the policies decided.
    OtherVersion,
    /// The record holds no entities: the log was not replayable when it was written.
    NoEntities,
    /// The record was too large, and holds its circumstances as a digest.
    NoContext,
    /// A name of the record is cut.
    CutName,
    /// A policy could look at a value that the log masks or has the digest of only.
    Hidden {
        /// The value.
        path: String,
    },
}

/// The cause in words.
impl fmt::Display for NotEvaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { reason } => write!(f, "the gateway decided without the policies (`{reason}`)"),
            Self::OtherVersion => f.write_str("another version of the policies decided"),
            Self::NoEntities => {
                f.write_str("the record holds no entities (`security.audit.replayable` was off)")
            }
            Self::NoContext => f.write_str("the record was too large and has a digest of its context only"),
            Self::CutName => f.write_str("a name in the record is cut"),
            Self::Hidden { path } => write!(f, "a policy looks at `{path}`, which the log does not hold"),
        }
    }
}

impl From<Without> for NotEvaluated {
    fn from(without: Without) -> Self {
        match without {
            Without::Gateway(reason) => Self::Gateway { reason },
            Without::Entities => Self::NoEntities,
            Without::Context => Self::NoContext,
            Without::Name | Without::NoDecision => Self::CutName,
        }
    }
}

/// Decisions that were not evaluated for one cause.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// The cause.
    #[serde(flatten)]
    pub cause: NotEvaluated,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: String,
}

/// A decision that came out otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayFlip {
    /// The `decision_id` of the record.
    pub record: String,
    /// Its number in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Which item of a list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// The log.
    pub log: String,
    /// Its line there.
    pub line: u64,
    /// When it was decided.
    pub time: String,
    /// The principal of the request.
    pub principal: String,
    /// The action of the request.
    pub action: String,
    /// The resource of the request.
    pub resource: String,
    /// What was decided.
    pub old: ComparedSide,
    /// What the candidate decides.
    pub new: ComparedSide,
    /// Why the request does not fit the candidate's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<String>,
    #[serde(skip)]
    pub(super) kept: Option<Arc<Logged>>,
}

/// A decision that the recorded version makes otherwise than the log says.
#[derive(Debug, Clone, Serialize)]
pub struct Unlike {
    /// The `decision_id` of the record.
    pub record: String,
    /// Which item of a list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// The log.
    pub log: String,
    /// Its line there.
    pub line: u64,
    /// Who, what, on what.
    pub asked: String,
    /// What the log says.
    pub recorded: ComparedSide,
    /// What the recorded version decides.
    pub now: ComparedSide,
}

/// Flips that have something in common.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// How many.
    pub flips: u64,
    /// From a refusal to a permission.
    pub opened: u64,
    /// From a permission to a refusal.
    pub closed: u64,
    /// Their records; at most 1,000 of them.
    pub records: Vec<String>,
}

impl Replay {
    pub(super) fn new(baseline: PolicyVersion, candidate: PolicyVersion) -> Self {
        Self {
            baseline,
            candidate,
            records: 0,
            earlier: 0,
            events: 0,
            reproduced: 0,
            compared: 0,
            not_reproduced: 0,
            unlike: Vec::new(),
            left_out: Vec::new(),
            other_versions: BTreeMap::new(),
            flipped: 0,
            opened: 0,
            closed: 0,
            other_policies: 0,
            by_action: Vec::new(),
            by_principal: Vec::new(),
            by_policy: Vec::new(),
            flips: Vec::new(),
            causes: BTreeMap::new(),
            groups: Default::default(),
        }
    }

    /// Whether there is something to look at: a flip, or a log that its own version does not bear out.
    pub fn has_findings(&self) -> bool {
        self.flipped > 0 || self.not_reproduced > 0
    }

    /// Adds what others found in other lines of the same log.
    pub fn merge(parts: Vec<Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            all.add(part);
        }
        all.flips.sort_by(|a, b| (&a.log, a.line, a.item).cmp(&(&b.log, b.line, b.item)));
        all.flips.truncate(MAX_FLIPS);
        all.unlike.sort_by(|a, b| (&a.log, a.line, a.item).cmp(&(&b.log, b.line, b.item)));
        all.unlike.truncate(MAX_UNLIKE);
        all.finish();
        Some(all)
    }

    fn add(&mut self, part: Self) {
        self.records += part.records;
        self.earlier += part.earlier;
        self.events += part.events;
        self.reproduced += part.reproduced;
        self.compared += part.compared;
        self.not_reproduced += part.not_reproduced;
        self.flipped += part.flipped;
        self.opened += part.opened;
        self.closed += part.closed;
        self.other_policies += part.other_policies;
        self.unlike.extend(part.unlike);
        self.flips.extend(part.flips);
        for (version, count) in part.other_versions {
            *self.other_versions.entry(version).or_default() += count;
        }
        for (cause, left) in part.causes {
            match self.causes.get_mut(&cause) {
                Some(known) => {
                    known.count += left.count;
                    // Ids of records sort as time does.
                    known.first = std::mem::take(&mut known.first).min(left.first);
                }
                None => drop(self.causes.insert(cause, left)),
            }
        }
        for (groups, others) in self.groups.iter_mut().zip(part.groups) {
            for (name, group) in others {
                let known = groups.entry(name.clone()).or_insert_with(|| Group { name, ..Group::default() });
                known.flips += group.flips;
                known.opened += group.opened;
                known.closed += group.closed;
                known.records.extend(group.records);
            }
        }
    }

    /// Decisions that were not evaluated.
    pub fn unknown(&self) -> u64 {
        self.left_out.iter().map(|left| left.count).sum()
    }

    fn finish(&mut self) {
        for group in self.groups.iter_mut().flat_map(BTreeMap::values_mut) {
            group.records.sort_unstable();
            group.records.truncate(MAX_NAMED);
        }
        self.left_out = std::mem::take(&mut self.causes).into_values().collect();
        let [action, principal, policy] = std::mem::take(&mut self.groups).map(|groups| {
            let mut groups: Vec<Group> = groups.into_values().collect();
            groups.sort_by(|a, b| b.flips.cmp(&a.flips).then_with(|| a.name.cmp(&b.name)));
            groups
        });
        (self.by_action, self.by_principal, self.by_policy) = (action, principal, policy);
    }

    pub(super) fn leave_out(&mut self, cause: NotEvaluated, record: &Logged) {
        let left = self.causes.entry(cause.clone());
        let first = || LeftOut { cause, count: 0, first: record.decision_id.clone() };
        left.or_insert_with(first).count += 1;
    }

    pub(super) fn unlike(
        &mut self,
        place: Place<'_>,
        record: &Logged,
        item: Option<usize>,
        asked: &Asked<'_>,
        decided: &Decided<'_>,
        now: ComparedSide,
    ) {
        self.not_reproduced += 1;
        if self.unlike.len() < MAX_UNLIKE {
            self.unlike.push(Unlike {
                record: record.decision_id.clone(),
                item: item.map(|item| item + 1),
                log: place.log.to_owned(),
                line: place.line,
                asked: format!(
                    "{} {} {}",
                    shorthand(&asked.principal),
                    shorthand(&asked.action),
                    shorthand(&asked.resource)
                ),
                recorded: ComparedSide::of_parts(decided.outcome, decided.by()),
                now,
            });
        }
    }

    pub(super) fn compared(
        &mut self,
        place: Place<'_>,
        record: &Logged,
        item: Option<usize>,
        asked: &Asked<'_>,
        was: &Verdict,
        is: &Verdict,
    ) {
        self.compared += 1;
        let by =
            |verdict: &Verdict| verdict.deciding().map(|policy| Arc::clone(&policy.id)).collect::<Vec<_>>();
        if was.outcome == is.outcome {
            self.other_policies += u64::from(by(was) != by(is));
            return;
        }
        let flip = ReplayFlip {
            record: record.decision_id.clone(),
            seq: record.seq,
            item: item.map(|item| item + 1),
            log: place.log.to_owned(),
            line: place.line,
            time: record.time.clone(),
            principal: shorthand(&asked.principal),
            action: shorthand(&asked.action),
            resource: shorthand(&asked.resource),
            old: ComparedSide::of(was),
            new: ComparedSide::of(is),
            mismatch: is.mismatch.as_ref().map(ToString::to_string),
            kept: None,
        };
        self.flipped += 1;
        self.opened += u64::from(flip.new.allows);
        self.closed += u64::from(flip.old.allows);
        let deciding = if flip.new.policies.is_empty() { &flip.old.policies } else { &flip.new.policies };
        let policies = if deciding.is_empty() { flip.new.outcome.to_owned() } else { deciding.join(", ") };
        let names = [flip.action.clone(), flip.principal.clone(), policies];
        for (groups, name) in self.groups.iter_mut().zip(names) {
            groups.entry(name.clone()).or_insert_with(|| Group { name, ..Group::default() }).add(&flip);
        }
        if self.flips.len() < MAX_FLIPS {
            self.flips.push(flip);
        }
    }
}

impl Group {
    fn add(&mut self, flip: &ReplayFlip) {
        self.flips += 1;
        self.opened += u64::from(flip.new.allows);
        self.closed += u64::from(flip.old.allows);
        // The items of a list have one record.
        if self.records.len() < MAX_NAMED && self.records.last() != Some(&flip.record) {
            self.records.push(flip.record.clone());
        }
    }
}
