//! How fast decisions are: this evaluator beside Cedar's plain authoriser, over the questions of the tests, at several
//! sizes of the set.
//!
//! Both answer the same questions in turns, so that what disturbs the machine disturbs both; the ratio of the medians is
//! what counts. A turn lasts long enough that what the other side's turn drove out of the processor's caches does not
//! count. Every answer is compared first: a faster answer that differs is a mistake, not a success.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedar_policy::{Schema, SchemaFragment, ValidationMode};
use cedar_policy_core::ast::{PolicyID, PolicySet, SlotId, Template};
use cedar_policy_core::authorizer::{AuthorizationError, Authorizer, Response};
use cedar_policy_core::parser::parse_policyset;
use serde::Serialize;

use super::run::{Question, TestQuestions};
use crate::policy::engine::compiled::Effect;
use crate::policy::engine::evaluate::Answer;
use crate::policy::set::error::{PolicyErrors, PolicyProblem};
use crate::policy::set::load::parse_uid;
use crate::policy::{Bundle, Link, SourceKind, Sources};

/// The most questions that are asked; those of a large suite are taken evenly.
const QUESTIONS: usize = 64;
/// Policies in each of the files that only make the set larger.
const PER_FILE: usize = 100;
/// How long each side's turn lasts at least.
const TURN: Duration = Duration::from_millis(5);

/// How to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sizes of the set; policies that match no question are added up to each.
    pub sizes: Vec<usize>,
    /// The longest that one size is measured.
    pub time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sizes: vec![10, 100, 1_000, 10_000], time: Duration::from_secs(2) }
    }
}

/// What was measured at one size.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Policies in the set.
    pub policies: usize,
    /// Questions asked in each round.
    pub questions: usize,
    /// Rounds.
    pub rounds: usize,
    /// Median time of a decision here, in microseconds.
    pub ours_us: f64,
    /// Median time of a decision of Cedar's plain authoriser, in microseconds.
    pub cedar_us: f64,
    /// How many times faster.
    pub ratio: f64,
    /// Questions with another decision, other deciding policies, or another number of errors. Must be 0.
    pub differences: usize,
    /// Time to load the set for use, in milliseconds.
    pub load_ms: f64,
    /// Time that Cedar takes to parse and validate it, in milliseconds.
    pub check_ms: f64,
    /// Time to load the set once more when one of its files has changed, in milliseconds; `None` where none was added.
    pub change_ms: Option<f64>,
}

/// Measures; sizes below that of the set itself are left out.
pub fn measure(
    bundle: &Bundle,
    questions: &TestQuestions,
    settings: &Settings,
    mut step: impl FnMut(usize),
) -> Result<Vec<Measurement>, PolicyErrors> {
    let all: Vec<&Question> = questions.test_rows.iter().flat_map(|test_row| &test_row.questions).collect();
    let stride = all.len().div_ceil(QUESTIONS).max(1);
    let questions: Vec<&Question> = all.into_iter().step_by(stride).collect();
    let own = bundle.policies().count();
    let mut sizes: Vec<usize> = settings.sizes.iter().copied().filter(|size| *size > own).collect();
    sizes.insert(0, own);
    let mut rows = Vec::new();
    for size in sizes {
        step(size);
        let filler = filler(&questions, size.saturating_sub(own));
        rows.push(row(bundle, &filler, &questions, settings.time)?);
    }
    Ok(rows)
}

/// The sources of a set with further policies, and with `changed` at the end of the last file.
fn with_filler(like: &Bundle, filler: &[String], changed: Option<&str>) -> Sources {
    let own = like.sources().iter();
    let mut texts: Vec<(SourceKind, Arc<str>, Arc<str>)> =
        own.map(|file| (file.kind, Arc::clone(&file.name), Arc::clone(&file.text))).collect();
    for (number, file) in filler.chunks(PER_FILE).enumerate() {
        texts.push((SourceKind::Policy, file_name(number).into(), file.concat().into()));
    }
    let last = texts.iter_mut().rev().find(|(kind, ..)| *kind == SourceKind::Policy);
    if let (Some(changed), Some((_, _, text))) = (changed, last) {
        *text = format!("{text}{changed}").into();
    }
    like.sources().links().iter().cloned().fold(Sources::from_texts(texts), Sources::with_link)
}

/// Whether Cedar's own authoriser determines other policies, or errs in others.
fn differs(response: &Response, answer: &Answer<'_>) -> bool {
    let diagnostics = &response.diagnostics;
    let reasons: BTreeSet<String> = diagnostics.reason.iter().map(ToString::to_string).collect();
    let id = |AuthorizationError::PolicyEvaluationError { id, .. }: &AuthorizationError| id.to_string();
    let erred: BTreeSet<String> = diagnostics.errors.iter().map(id).collect();
    let ours: BTreeSet<String> = answer.erred.iter().map(|(policy, _)| policy.id.to_string()).collect();
    reasons != deciding(answer) || erred != ours
}

fn row(
    like: &Bundle,
    filler: &[String],
    questions: &[&Question],
    time: Duration,
) -> Result<Measurement, PolicyErrors> {
    let settings = *like.settings();
    let whole = with_filler(like, filler, None);
    let changed = with_filler(like, filler, Some("// Changed.\n"));
    let (check_ms, set) = cedar(&whole, like.links())?;
    let begun = Instant::now();
    let bundle = Bundle::load_with(whole, settings)?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    drop(bundle.load_next(changed, settings)?);
    let change_ms = (!filler.is_empty()).then(|| begun.elapsed().as_secs_f64() * 1e3);

    let authorizer = Authorizer::new();
    let plain = |question: &Question| {
        authorizer.is_authorized(question.prepared.request.clone(), &set, &question.prepared.entities)
    };
    let ours = |question: &Question| bundle.answer(&question.prepared.request, &question.prepared.entities);
    let differences = questions.iter().filter(|question| differs(&plain(question), &ours(question))).count();

    let mut of_ours = Vec::new();
    let mut of_cedar = Vec::new();
    let begun = Instant::now();
    while of_ours.is_empty() || begun.elapsed() < time {
        of_ours.push(turn(questions, |question| drop(black_box(ours(black_box(question))))));
        of_cedar.push(turn(questions, |question| drop(black_box(plain(black_box(question))))));
    }
    let rounds = of_ours.len();
    let (ours_us, cedar_us) = (median(of_ours), median(of_cedar));
    Ok(Measurement {
        policies: bundle.policies().count(),
        questions: questions.len(),
        rounds,
        ours_us,
        cedar_us,
        ratio: cedar_us / ours_us,
        differences,
        load_ms,
        check_ms,
        change_ms,
    })
}

fn file_name(number: usize) -> String {
    // Behind the set's own.
    format!("~caxton-bench-{number:05}.cedar")
}

/// How long Cedar takes to parse and validate the set, in milliseconds, and the set.
fn cedar(sources: &Sources, links: &[Link]) -> Result<(f64, PolicySet), PolicyErrors> {
    let general =
        |error: &dyn std::error::Error| PolicyErrors::from(PolicyProblem::general(error.to_string()));
    let begun = Instant::now();
    let (mut fragments, mut set) = (Vec::new(), PolicySet::new());
    for source in sources.iter() {
        match source.kind {
            SourceKind::Schema if source.name.ends_with(".json") => {
                fragments.push(SchemaFragment::from_json_str(&source.text).map_err(|error| general(&error))?)
            }
            SourceKind::Schema => fragments
                .push(SchemaFragment::from_cedarschema_str(&source.text).map_err(|error| general(&error))?.0),
            SourceKind::Links => {}
            SourceKind::Policy => {
                let parsed = parse_policyset(&source.text).map_err(|error| general(&error))?;
                for template in parsed.all_templates() {
                    let id = template.annotations().find(|(name, _)| AsRef::<str>::as_ref(name) == "id");
                    let id =
                        id.map_or_else(|| template.id().clone(), |(_, id)| PolicyID::from_string(&id.val));
                    let template = template.new_id(id);
                    let added = match template.is_static() {
                        false => set.add_template(template),
                        true => Template::try_as_policy(Arc::new(template))
                            .map_err(|error| general(&error))
                            .map(|policy| set.add(policy))?,
                    };
                    added.map_err(|error| general(&error))?;
                }
            }
        }
    }
    let schema = Schema::from_schema_fragments(fragments).map_err(|error| general(&error))?;
    let validator = cedar_policy::Validator::new(schema);
    black_box(validator.validate(&set.clone().into(), ValidationMode::Strict).validation_passed());
    let took = begun.elapsed().as_secs_f64() * 1e3;
    for link in links {
        let slots = [(SlotId::principal(), &link.principal), (SlotId::resource(), &link.resource)];
        let slots = slots.into_iter().filter_map(|(slot, uid)| Some((slot, parse_uid(uid.as_ref()?).ok()?)));
        let (template, id) = (PolicyID::from_string(&link.template), PolicyID::from_string(&link.id));
        set.link(template, id, slots.collect()).map_err(|error| general(&error))?;
    }
    Ok((took, set))
}

/// The policies that decide, as Cedar counts them.
fn deciding(answer: &Answer<'_>) -> BTreeSet<String> {
    let of = |effect: Effect| -> BTreeSet<String> {
        let held = answer.held.iter().filter(|policy| policy.effect == effect);
        held.map(|policy| policy.id.to_string()).collect()
    };
    match of(Effect::Forbid) {
        forbids if forbids.is_empty() => of(Effect::Permit),
        forbids => forbids,
    }
}

/// Microseconds for one question, over a turn.
fn turn(questions: &[&Question], mut ask: impl FnMut(&Question)) -> f64 {
    let (begun, mut asked) = (Instant::now(), 0_u32);
    while asked == 0 || begun.elapsed() < TURN {
        questions.iter().for_each(|question| ask(question));
        asked = asked.saturating_add(u32::try_from(questions.len()).unwrap_or(1).max(1));
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(asked)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Permits for principals that no question is about, of the kinds of the questions, so that the set's schema knows them.
fn filler(questions: &[&Question], count: usize) -> Vec<String> {
    let scopes: Vec<(String, String, String)> = questions
        .iter()
        .filter_map(|question| {
            let request = &question.prepared.request;
            let (principal, action, resource) =
                (request.principal().uid()?, request.action().uid()?, request.resource().uid()?);
            Some((
                principal.entity_type().to_string(),
                action.to_string(),
                resource.entity_type().to_string(),
            ))
        })
        .collect();
    let policy = |(number, (principal, action, resource)): (usize, &(String, String, String))| {
        format!(
            "@id(\"caxton-bench-{number}\") permit (principal == {principal}::\"caxton-bench-{number}\", action == {action}, resource is {resource});\n"
        )
    };
    (0..count).zip(scopes.iter().cycle()).map(policy).collect()
}
