//! Every message and every report of the workbench, as people and programs get it: golden files that read like a session.
//!
//! `TRYCMD=overwrite cargo test --test proofs golden` writes them anew; the difference is for a person to read. Then put
//! `[..]` back in place of the solver's version.

use crate::support::solver::solver;

fn golden(cases: &str) {
    let tests = trycmd::TestCases::new();
    tests.register_bin("caxton", trycmd::schema::Bin::Path(env!("CARGO_BIN_EXE_caxton").into()));
    tests.case(cases);
    tests.run();
}

#[test]
fn every_message_and_report_is_the_golden_one() {
    golden("tests/golden/workbench/*.md");
}

#[test]
fn so_is_what_the_solver_finds() {
    if solver().is_some() {
        golden("tests/golden/workbench-solver/*.md");
    }
}
