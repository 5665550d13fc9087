//! Whether the tests would notice a mistake: each policy is changed in small ways, one at a time, and every changed set
//! is put to the tests. What no test notices is a survivor.
//!
//! A changed policy is compiled and validated alone; then only its own part of each answer is evaluated anew, because
//! the other policies have not changed. What does not validate never goes live and is not counted. Nor is what means
//! the same: by the schema, or, with a solver, by proof. For the other survivors a test is sketched.

mod compile;
mod mutation_run;
mod operators;
mod sketch;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::Validator;
use serde::Serialize;

use compile::Target;
use mutation_run::{MutantResult, MutationRun, Survivor};
use operators::{Edit, edits};
pub use operators::{OPERATORS, Operator};
pub use sketch::Sketch;
use trial::{Found, Trial};

use super::coverage::{measure_of, percent};
use super::prove::{Rule, Solver};
use super::reported::Reported;
use super::run::TestQuestions;
use crate::model::PolicyVersion;
use crate::policy::Bundle;
use crate::stack;

/// What the tests noticed.
#[derive(Debug, Clone, Serialize)]
pub struct Mutation {
    /// The version of the policies.
    pub policy_version: PolicyVersion,
    /// The solver that sought proofs; none when there was none.
    pub solver: Option<String>,
    /// The counts.
    pub summary: MutationSummary,
    /// Changes that no test noticed, in the order of the files.
    pub survivors: Vec<Mutant>,
}

/// The counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct MutationSummary {
    /// Changes that could have gone live and mean something else.
    pub mutants: usize,
    /// Those that a test noticed.
    pub killed: usize,
    /// Those that no test noticed.
    pub survived: usize,
    /// Of the survivors, those in parts that no test reaches; they were not run.
    pub not_reached: usize,
    /// Changes that the schema refuses.
    pub invalid: usize,
    /// Changes that the schema gives the same meaning.
    pub equivalent: usize,
    /// Changes that were proved to change no decision, nor which policies decide or err.
    pub proven_equivalent: usize,
    /// Templates that nothing links; they decide nothing and were not changed.
    pub unlinked_templates: usize,
    /// Policies that came with the program and were not changed.
    pub left_out: usize,
    /// Hundredths of the mutants that were killed.
    pub score: f64,
}

/// A change that no test noticed.
#[derive(Debug, Clone, Serialize)]
pub struct Mutant {
    /// The policy.
    pub policy: String,
    /// The file.
    pub file: String,
    /// The line the change starts in.
    pub line: usize,
    /// What was changed.
    pub operator: &'static str,
    /// The lines as they are.
    pub before: Vec<String>,
    /// The lines as they were changed; none when the policy was removed.
    pub after: Vec<String>,
    /// Whether a test reaches what was changed.
    pub reached: bool,
    /// The first row that a policy answered otherwise without the test noticing.
    pub unnoticed_in: Option<String>,
    /// What a test needs that notices it.
    pub hint: &'static str,
    /// A test that notices it, or one to start from.
    pub sketch: Option<Sketch>,
}

/// What is told on the way: first the number of steps, with `false`, then each step, with `true`.
type Step<'s> = &'s (dyn Fn(usize, bool) + Sync);

/// Changes every policy of `bundle` in every way, on `threads` threads, without a solver.
pub fn mutate(bundle: &Bundle, questions: &TestQuestions, threads: usize, step: Step<'_>) -> Mutation {
    mutate_with(bundle, questions, threads, None, step)
}

/// The same; with a solver, changes that are proved to mean the same are left out, and the tests that would notice the
/// others come from it.
pub fn mutate_with(
    bundle: &Bundle,
    questions: &TestQuestions,
    threads: usize,
    solver: Option<&Solver>,
    step: Step<'_>,
) -> Mutation {
    mutate_of(bundle, questions, &Reported::all(), threads, solver, step)
}

/// The same of the policies that are `reported`.
pub fn mutate_of(
    bundle: &Bundle,
    questions: &TestQuestions,
    reported: &Reported,
    threads: usize,
    solver: Option<&Solver>,
    step: Step<'_>,
) -> Mutation {
    let coverage = measure_of(bundle, questions, reported);
    let targets = Target::all(bundle, reported);
    let tries: Vec<(&Target<'_>, Edit)> = targets
        .iter()
        .flat_map(|target| {
            edits(&target.anatomy, bundle.schema_index()).into_iter().map(move |edit| (target, edit))
        })
        .collect();
    step(tries.len(), false);
    let mutation_run = MutationRun::new(bundle, questions, &coverage);
    let validator = || Validator::new(bundle.schema().clone());
    let fates = in_threads(threads, tries.len(), &validator, &|number, validator| {
        let result_of =
            tries.get(number).map(|(target, edit)| mutation_run.result_of(validator, target, edit));
        step(1, true);
        result_of
    });
    let fates = look_closer(&mutation_run, fates.into_iter().flatten().collect(), threads, solver, step);
    let mut mutation = count(bundle, fates);
    mutation.solver = solver.map(|solver| solver.version().to_owned());
    mutation.summary.unlinked_templates = unlinked_templates(bundle, reported);
    mutation.summary.left_out = reported.left_out(bundle);
    mutation
}

/// Proves of survivors that they mean the same, or finds a test that would notice them.
fn look_closer<'t>(
    mutation_run: &MutationRun<'_>,
    mut fates: Vec<MutantResult<'t>>,
    threads: usize,
    solver: Option<&Solver>,
    step: Step<'_>,
) -> Vec<MutantResult<'t>> {
    let rules = Rule::all(mutation_run.bundle);
    let survivors: Vec<&Survivor<'_>> = fates.iter().filter_map(MutantResult::survivor).collect();
    step(fates.len() + survivors.len(), false);
    let trial = |number: usize| Some(Trial::new(mutation_run, survivors.get(number)?, &rules));
    let found: Vec<Option<Found>> = match solver {
        Some(solver) => {
            let proved = solver.in_parallel(survivors.len(), &|number, session| {
                step(1, true);
                trial(number).map(|trial| trial.prove(session))
            });
            proved.into_iter().map(Option::flatten).collect()
        }
        None => in_threads(threads, survivors.len(), &|| (), &|number, ()| {
            step(1, true);
            trial(number).map(|trial| trial.nearest())
        }),
    };
    let mut found = found.into_iter();
    for result_of in &mut fates {
        if let MutantResult::Survived(survivor) = result_of {
            match found.next().flatten() {
                Some(Found::Equivalent) => *result_of = MutantResult::ProvenEquivalent,
                Some(Found::Sketch(sketch)) => survivor.mutant.sketch = Some(sketch),
                Some(Found::Nothing) | None => {}
            }
        }
    }
    fates
}

/// Does `count` pieces of work on several threads, each with tools of its own; results in the order of the numbers.
fn in_threads<S, T: Send>(
    threads: usize,
    count: usize,
    tools: &(dyn Fn() -> S + Sync),
    work: &(dyn Fn(usize, &S) -> T + Sync),
) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let labour = || {
        let tools = tools();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let result = work(number, &tools);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            // The work of a thread that cannot be had is done here.
            if stack::spawn_scoped(scope, labour).is_err() {
                labour();
            }
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn unlinked_templates(bundle: &Bundle, reported: &Reported) -> usize {
    let linked = |id: &str| bundle.policies().any(|other| other.linked_from.as_deref() == Some(id));
    let templates = bundle.policies().filter(|info| info.is_template && reported.is_about(info));
    templates.filter(|info| !linked(&info.id)).count()
}

fn count(bundle: &Bundle, fates: Vec<MutantResult<'_>>) -> Mutation {
    let mut summary = MutationSummary::default();
    let mut survivors = Vec::new();
    for result_of in fates {
        match result_of {
            MutantResult::Killed => summary.killed += 1,
            MutantResult::Survived(survivor) => survivors.push(survivor.mutant),
            MutantResult::Invalid => summary.invalid += 1,
            MutantResult::Equivalent => summary.equivalent += 1,
            MutantResult::ProvenEquivalent => summary.proven_equivalent += 1,
        }
    }
    summary.survived = survivors.len();
    summary.not_reached = survivors.iter().filter(|mutant| !mutant.reached).count();
    summary.mutants = summary.killed + summary.survived;
    summary.score = percent(summary.killed, summary.mutants);
    Mutation { policy_version: bundle.version().clone(), solver: None, summary, survivors }
}
