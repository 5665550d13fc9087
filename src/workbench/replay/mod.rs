//! Recorded decisions, decided again: first by the version that decided them, which has to come to the same, then by a
//! candidate.
//!
//! Nothing is guessed. A decision that the log does not hold enough of, that another version made, or that hangs on a
//! value of which the log has a digest only, is counted with its reason and not evaluated. Each decision is taken by
//! itself, in the circumstances that were recorded: that an earlier flip would have led to other ones is not followed up.

mod reads;
mod record;
mod recorded;
mod report;
mod test_text;
mod value;

use std::sync::Arc;

use cedar_policy_core::ast::Entity;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use reads::{Hidden, Reads};
use record::{Asked, Decided, Known, Logged, Typed, Without};
pub use recorded::RecordedDecision;
pub use report::{Group, LeftOut, NotEvaluated, Replay, ReplayFlip, Unlike};
pub(in crate::workbench) use test_text::key;
pub use test_text::{TestError, suite_of_flips, suite_of_record};

use super::diff::ComparedSide;
use crate::model::Outcome;
use crate::policy::Bundle;
use crate::policy::engine::request::{Input, Prepared, prepare};
use crate::policy::engine::types::Mismatch;
use crate::policy::engine::verdict::Verdict;

/// Why a line of a log is no record.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Not JSON, or a key is there twice.
    #[error("the line is not JSON: {0}")]
    Json(#[from] crate::json::JsonError),
    /// Fields that every record has are missing or of another type.
    #[error("the line is not a record: {0}")]
    Shape(String),
    /// Of a later version of the log.
    #[error("the record has the shape {found}, and this program knows {known}")]
    Version {
        /// What the record says.
        found: u32,
        /// What is known.
        known: u32,
    },
}

/// What to do with the records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Take decisions of other versions too: what the baseline decides stands for what was recorded.
    pub other_versions: bool,
    /// Keep the records of flips, to write tests of them.
    pub keep_records: bool,
}

/// Takes records one by one.
pub struct Replayer<'b> {
    baseline: &'b Bundle,
    candidate: &'b Bundle,
    settings: Settings,
    /// Whether a question typed for one fits the other.
    same_schema: bool,
    /// The actions that conditions of either version name.
    named_actions: Vec<Arc<Entity>>,
    reads: FxHashMap<*const crate::policy::engine::compiled::CompiledPolicy, Reads>,
    replay: Replay,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The log.
    pub log: &'a str,
    /// The line, from 1.
    pub line: u64,
}

impl<'b> Replayer<'b> {
    /// Compares `candidate` with `baseline`, the version that decided.
    pub fn new(baseline: &'b Bundle, candidate: &'b Bundle, settings: Settings) -> Self {
        let replay = Replay::new(baseline.version().clone(), candidate.version().clone());
        let same_schema = super::diff::schemas(baseline) == super::diff::schemas(candidate);
        let mut named_actions = baseline.named_actions().to_vec();
        for action in candidate.named_actions() {
            if named_actions.iter().all(|known| known.uid() != action.uid()) {
                named_actions.push(Arc::clone(action));
            }
        }
        let reads = FxHashMap::default();
        Self { baseline, candidate, settings, same_schema, named_actions, reads, replay }
    }

    /// Takes one line of the log; records before `from` (RFC 3339 as the log spells it) are passed over.
    pub fn line(&mut self, place: Place<'_>, text: &[u8], from: Option<&str>) -> Result<(), BadRecord> {
        let record = Logged::read(crate::json::parse(text)?)?;
        if from.is_some_and(|from| record.time.as_str() < from) {
            self.replay.earlier += 1;
            return Ok(());
        }
        self.replay.records += 1;
        let flips = self.replay.flips.len();
        let mut known = [Known::default(), Known::default()];
        if let Some(decision) = record.decision() {
            self.one(place, &record, None, decision, &mut known);
        }
        for (number, item) in record.items.iter().enumerate() {
            self.one(place, &record, Some(number), record.item(item), &mut known);
        }
        if self.settings.keep_records && self.replay.flips.len() > flips {
            let record: Arc<Logged> = record.into();
            let new = self.replay.flips.iter_mut().skip(flips);
            new.for_each(|flip| flip.kept = Some(Arc::clone(&record)));
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Replay {
        let replay = self.replay;
        // INVARIANT: one part merges into one.
        Replay::merge(vec![replay.clone()]).unwrap_or(replay)
    }

    /// What was found so far by one of several that share a log; [`Replay::merge`] makes one of it.
    pub fn part(self) -> Replay {
        self.replay
    }

    fn one(
        &mut self,
        place: Place<'_>,
        record: &Logged,
        item: Option<usize>,
        question: Result<(Asked<'_>, Decided<'_>), Without>,
        [known, known_to_candidate]: &mut [Known; 2],
    ) {
        let (asked, decided) = match question {
            Err(Without::NoDecision) => return self.replay.events += 1,
            Err(without) => return self.leave_out(record, without.into()),
            Ok(question) => question,
        };
        let own = record.policy_version.as_deref() == Some(self.baseline.version().as_str());
        if !own {
            let version = record.policy_version.clone().unwrap_or_default();
            *self.replay.other_versions.entry(version).or_default() += 1;
            if !self.settings.other_versions {
                return self.leave_out(record, NotEvaluated::OtherVersion);
            }
        }
        let typed = asked.typed(&[self.baseline, self.candidate], known);
        if let Some(hidden) = self.seen(self.baseline, &asked, &typed) {
            return self.leave_out(record, NotEvaluated::Hidden { path: hidden });
        }
        let prepared = self.prepared(self.baseline, &asked, &typed);
        let was = verdict(self.baseline, &asked, &prepared);
        if own && !same(&was, &decided) {
            return self.replay.unlike(place, record, item, &asked, &decided, ComparedSide::of(&was));
        }
        // Most candidates have the same schema, and what was built for one fits both.
        let again = if self.same_schema {
            None
        } else {
            let typed = asked.typed(&[self.candidate, self.baseline], known_to_candidate);
            let prepared = self.prepared(self.candidate, &asked, &typed);
            Some((typed, prepared))
        };
        let (typed, prepared) = again.as_ref().map_or((&typed, &prepared), |(typed, again)| (typed, again));
        if let Some(hidden) = self.seen(self.candidate, &asked, typed) {
            return self.leave_out(record, NotEvaluated::Hidden { path: hidden });
        }
        if let Some(path) = self.unrecorded(typed) {
            return self.leave_out(record, NotEvaluated::Hidden { path });
        }
        let is = verdict(self.candidate, &asked, prepared);
        self.replay.reproduced += u64::from(own);
        self.replay.compared(place, record, item, &asked, &was, &is);
    }

    /// An entity that the candidate looks into and the log does not hold. One that the version that decided looked into as
    /// well did not exist; of another it is not known.
    fn unrecorded(&self, typed: &Result<Typed, Mismatch>) -> Option<String> {
        let query = &typed.as_ref().ok()?.query;
        let mut named = self.candidate.named_for(query);
        named.retain(|uid| query.entities.iter().all(|entity| entity.uid != *uid));
        if named.is_empty() {
            return None;
        }
        let known = self.baseline.named_for(query);
        named.into_iter().find(|uid| !known.contains(uid)).map(|uid| uid.to_string())
    }

    /// The question as Cedar has it, with every action that either version names.
    fn prepared(
        &self,
        bundle: &Bundle,
        asked: &Asked<'_>,
        typed: &Result<Typed, Mismatch>,
    ) -> Result<Prepared, Mismatch> {
        let typed = typed.as_ref().map_err(Clone::clone)?;
        let input = if asked.open_input { Input::Open } else { Input::Given };
        let named = if self.same_schema { &self.named_actions } else { bundle.named_actions() };
        prepare(&typed.query, input, bundle.schema_index(), named)
    }

    fn leave_out(&mut self, record: &Logged, cause: NotEvaluated) {
        self.replay.leave_out(cause, record);
    }

    /// The path of a value that the log does not hold and that a policy of this bundle could look at here.
    fn seen(
        &mut self,
        bundle: &Bundle,
        asked: &Asked<'_>,
        typed: &Result<Typed, Mismatch>,
    ) -> Option<String> {
        let typed = typed.as_ref().ok().filter(|typed| !typed.hidden.is_empty())?;
        let input = if asked.open_input { Input::Open } else { Input::Given };
        for policy in bundle.in_scope(&typed.query, input) {
            let Some(condition) = &policy.condition else { continue };
            // Policies live as long as their bundles, so their addresses are names.
            let reads = self.reads.entry(std::ptr::from_ref(policy)).or_insert_with(|| Reads::of(condition));
            if let Some(hidden) = typed.hidden.iter().find(|hidden| reads.sees(hidden)) {
                return Some(Hidden::path(hidden));
            }
        }
        None
    }
}

fn verdict(bundle: &Bundle, asked: &Asked<'_>, prepared: &Result<Prepared, Mismatch>) -> Verdict {
    match prepared {
        Ok(prepared) => bundle.decide_either(prepared, asked.open_input),
        Err(mismatch) => Verdict::of_mismatch(mismatch),
    }
}

/// Whether a decision came out as it was recorded, by the same policies.
fn same(verdict: &Verdict, decided: &Decided<'_>) -> bool {
    let is_same = |outcome: Outcome| outcome == decided.outcome;
    let mut by = verdict.deciding().map(|policy| policy.id.as_ref());
    let mut recorded = decided.by();
    let policies =
        if decided.complete { by.eq(recorded) } else { recorded.all(|id| by.any(|other| other == id)) };
    is_same(verdict.outcome) && policies
}

/// The record of one line, when it is the wanted one.
pub fn find(text: &[u8], id: &str) -> Result<Option<Json>, BadRecord> {
    let json = crate::json::parse(text)?;
    let id_is = json.get("decision_id").and_then(Json::as_str) == Some(id);
    let number = id.parse::<u64>().ok();
    let seq_is = number.is_some() && json.get("seq").and_then(Json::as_u64) == number;
    Ok((id_is || seq_is).then_some(json))
}
