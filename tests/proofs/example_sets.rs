//! The example sets of Cedar's own authors, which have no namespace: each question about them is settled.

use std::fs;
use std::path::Path;

use caxton::policy::{Bundle, Sources};
use caxton::workbench::prove::{Claim, ProofVerdict, prove};

use crate::support::solver::solver;

/// Policies have no ids there: each gets one by its place.
fn with_ids(text: &str) -> String {
    let mut number = 0;
    let lines = text.lines().map(|line| {
        let effect = ["permit", "forbid"].into_iter().find(|word| line.starts_with(word));
        let Some(effect) = effect else { return line.to_owned() };
        number += 1;
        let reason = if effect == "forbid" { "@reason(\"no\")\n" } else { "" };
        format!("@id(\"p.{number}\")\n@description(\"An example.\")\n{reason}{line}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn example_sets_without_a_namespace_are_settled() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/oopsla");
    if !data.is_dir() {
        return;
    }
    let Some(solver) = solver() else { return };
    for (name, policies) in [("gdrive", "policies"), ("github", "policies"), ("tinytodo", "tinytodo")] {
        let read = |file: String| fs::read_to_string(data.join(name).join(file)).unwrap();
        let schema = read(format!("{name}.cedarschema.json"));
        let text = with_ids(&read(format!("{policies}.cedar")));
        let sources = Sources::new().with_schema("s.cedarschema.json", &schema).with_policy("p.cedar", &text);
        let bundle = Bundle::load(sources).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        for claim in [Claim::never_errors(&bundle, &[]).unwrap(), Claim::none_needless()] {
            let result = prove(&bundle, &claim, &solver, &|_, _| {});
            assert_eq!(result.verdict, ProofVerdict::Proven, "{name}: {result:?}");
        }
    }
}
