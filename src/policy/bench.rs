//! How fast decisions are: this evaluator beside Cedar's plain authoriser, over the questions of the tests, at several
//! sizes of the set.
//!
//! Both answer the same questions in turns, so that what disturbs the machine disturbs both; the ratio of the medians is
//! what counts. Every answer is compared first: a faster answer that differs is a mistake, not a success.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy_core::authorizer::Authorizer;
use serde::Serialize;

use super::error::PolicyErrors;
use super::evaluate::Answer;
use super::load::{Strictness, load};
use super::program::Effect;
use super::run::{Exam, Question};
use super::{Bundle, Sources};

/// The most questions that are asked; those of a large suite are taken evenly.
const QUESTIONS: usize = 64;
/// The name of the file of policies that only make the set larger.
const FILLER: &str = "caxton-bench-filler.cedar";

/// How to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sizes of the set; policies about nobody are added up to each.
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
pub struct Row {
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
    /// Time of this that parsing and validating alone takes, in milliseconds.
    pub check_ms: f64,
}

/// Measures; sizes below that of the set itself are left out.
pub fn measure(
    bundle: &Bundle,
    exam: &Exam,
    settings: &Settings,
    mut step: impl FnMut(usize),
) -> Result<Vec<Row>, PolicyErrors> {
    let all: Vec<&Question> = exam.exercises.iter().flat_map(|exercise| &exercise.questions).collect();
    let stride = all.len().div_ceil(QUESTIONS).max(1);
    let questions: Vec<&Question> = all.into_iter().step_by(stride).collect();
    let own = bundle.policies().count();
    let mut sizes: Vec<usize> = settings.sizes.iter().copied().filter(|size| *size > own).collect();
    sizes.insert(0, own);
    let mut rows = Vec::new();
    for size in sizes {
        step(size);
        let filler = filler(&questions, size.saturating_sub(own));
        let sources = match filler.is_empty() {
            true => bundle.sources().clone(),
            false => bundle.sources().clone().with_policy(FILLER, &filler),
        };
        rows.push(row(sources, bundle, &questions, settings.time)?);
    }
    Ok(rows)
}

fn row(
    sources: Sources,
    like: &Bundle,
    questions: &[&Question],
    time: Duration,
) -> Result<Row, PolicyErrors> {
    let settings = *like.settings();
    let begun = Instant::now();
    // What cannot be spared: parsing and validating.
    let loaded = load(&sources, &settings.limits, Strictness::Product)?;
    let cedar_load = begun.elapsed();
    let begun = Instant::now();
    let bundle = Bundle::load_with(sources, settings)?;
    let own_load = begun.elapsed();

    let authorizer = Authorizer::new();
    let plain = |question: &Question| {
        authorizer.is_authorized(
            question.prepared.request.clone(),
            &loaded.policies,
            &question.prepared.entities,
        )
    };
    let ours = |question: &Question| bundle.answer(&question.prepared.request, &question.prepared.entities);
    let differences = questions
        .iter()
        .filter(|question| {
            let response = plain(question);
            let reasons: BTreeSet<String> =
                response.diagnostics.reason.iter().map(ToString::to_string).collect();
            reasons != deciding(&ours(question))
                || response.diagnostics.errors.len() != ours(question).erred.len()
        })
        .count();

    let (mut of_ours, mut of_cedar) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while of_ours.is_empty() || begun.elapsed() < time {
        of_ours.push(timed(questions, |question| drop(black_box(ours(black_box(question))))));
        of_cedar.push(timed(questions, |question| drop(black_box(plain(black_box(question))))));
    }
    let rounds = of_ours.len();
    let (ours_us, cedar_us) = (median(of_ours), median(of_cedar));
    Ok(Row {
        policies: bundle.policies().count(),
        questions: questions.len(),
        rounds,
        ours_us,
        cedar_us,
        ratio: cedar_us / ours_us,
        differences,
        load_ms: own_load.as_secs_f64() * 1e3,
        check_ms: cedar_load.as_secs_f64() * 1e3,
    })
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

/// Microseconds for one question.
fn timed(questions: &[&Question], mut ask: impl FnMut(&Question)) -> f64 {
    let begun = Instant::now();
    questions.iter().for_each(|question| ask(question));
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    let count = questions.len().max(1) as f64;
    begun.elapsed().as_secs_f64() * 1e6 / count
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Grants to principals that nobody asks about, of the kinds of the questions, so that the set's schema knows them.
fn filler(questions: &[&Question], count: usize) -> String {
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
    let mut text = String::new();
    for (number, (principal, action, resource)) in (0..count).zip(scopes.iter().cycle()) {
        text.push_str(&format!(
            "@id(\"caxton-bench-{number}\") permit (principal == {principal}::\"caxton-bench-{number}\", action == {action}, resource is {resource});\n"
        ));
    }
    text
}
