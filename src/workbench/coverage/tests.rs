//! Taking a policy apart and evaluating the parts must come to what evaluating the whole comes to.

use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::matches;
use crate::policy::{Bundle, Sources};
use crate::workbench::clauses::Anatomy;
use crate::workbench::run::{Settings, Suites, examine};

#[test]
fn the_parts_come_to_the_same_as_the_whole() {
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let program: Vec<_> =
        Anatomy::all(&bundle).into_iter().map(|(anatomy, _, compiled)| (anatomy, compiled)).collect();
    assert_eq!(program.len(), bundle.policies().count());
    let mut compared = 0;
    for question in questions.test_rows.iter().flat_map(|test_row| &test_row.questions) {
        let prepared = &question.prepared;
        let answer = bundle.answer(&prepared.request, &prepared.entities);
        let evaluator =
            Evaluator::new(prepared.request.clone(), &prepared.entities, Extensions::all_available());
        for (anatomy, compiled) in &program {
            let in_scope = matches(compiled, &question.asked().unwrap()) == [true; 3];
            let by_parts = in_scope.then(|| anatomy.evaluate(&evaluator, &compiled.slots, &mut |_, _| {}));
            let held = answer.held.iter().any(|policy| policy.id == compiled.id);
            let erred = answer.erred.iter().any(|(policy, _)| policy.id == compiled.id);
            assert_eq!(
                (by_parts == Some(Some(true)), by_parts == Some(None)),
                (held, erred),
                "{}",
                compiled.id
            );
            compared += 1;
        }
    }
    assert!(compared > 30_000);
}
