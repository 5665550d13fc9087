//! The short way, one policy evaluated anew, must tell what the long way tells: the changed set loaded and all tests run.

use cedar_policy::Validator;

use super::operators::edits;
use super::{MutantResult, MutationRun, Target};
use crate::policy::{Bundle, SourceKind, Sources};
use crate::workbench::coverage::measure;
use crate::workbench::reported::Reported;
use crate::workbench::run::{Settings, Suites, examine, run};

/// Every so many changes one is compared: loading the whole set is slow in an unoptimised build.
const EVERY: usize = 23;

#[test]
fn the_short_way_tells_what_the_long_way_tells() {
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let coverage = measure(&bundle, &questions);
    let mutation_run = MutationRun::new(&bundle, &questions, &coverage);
    let validator = Validator::new(bundle.schema().clone());
    let targets = Target::all(&bundle, &Reported::all());
    let all = targets.iter().flat_map(|target| {
        edits(&target.anatomy, bundle.schema_index()).into_iter().map(move |edit| (target, edit))
    });
    let mut compared = 0;
    for (target, edit) in all.step_by(EVERY) {
        let anatomy = &target.anatomy;
        let sources = bundle.sources().iter().fold(Sources::new(), |sources, source| match source.kind {
            SourceKind::Schema => sources.with_schema(&source.name, &source.text),
            SourceKind::Policy if source.path == anatomy.source.path => {
                let (before, after) = (&source.text[..edit.span.start], &source.text[edit.span.end..]);
                sources.with_policy(&source.name, &format!("{before}{}{after}", edit.with))
            }
            SourceKind::Policy => sources.with_policy(&source.name, &source.text),
            SourceKind::Links => sources.with_links_file(&source.name, &source.text),
        });
        // A removed policy that a test names makes the test broken, which is noticed as well.
        let noticed = Bundle::load(sources).ok().map(|changed| {
            let summary = run(&changed, &Suites::shipped(), &Settings::default()).summary();
            summary.failed + summary.broken > 0
        });
        let short = match mutation_run.result_of(&validator, target, &edit) {
            MutantResult::Killed => Some(true),
            MutantResult::Survived(_) | MutantResult::Equivalent | MutantResult::ProvenEquivalent => {
                Some(false)
            }
            MutantResult::Invalid => None,
        };
        assert_eq!(short, noticed, "{} of `{}`: {}", edit.operator.id, target.id, edit.with);
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}
