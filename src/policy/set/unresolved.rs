//! Names that a schema uses and that no file declares: where they stand, and what is missing.

use super::conflict::declared;
use super::error::PolicyProblem;
use super::source::{Source, SourceKind, Sources};
use crate::suggest::nearest;

/// How Cedar begins a report about such names; it has no place for them.
const REPORTS: [&str; 2] = ["failed to resolve type: ", "failed to resolve types: "];

/// What lacks is the shipped schema.
const NOT_HERE: &str = "the shipped schema is not here: use `--config FILE` with `extend_shipped: true`, or write it out with `caxton policy eject`";

/// The problems of a report of Cedar about names that it could not resolve; none when it is about something else.
pub(crate) fn unresolved(report: &str, sources: &Sources) -> Vec<PolicyProblem> {
    let Some(names) = REPORTS.iter().find_map(|begin| report.strip_prefix(begin)) else { return Vec::new() };
    let schemas = || sources.iter().filter(|source| source.kind == SourceKind::Schema);
    let known = || schemas().flat_map(declared).collect::<Vec<_>>();
    let shipped: Vec<String> = Sources::shipped().iter().flat_map(declared).collect();
    let last = |name: &str| name.rsplit("::").next().unwrap_or(name).to_owned();
    let mut problems = Vec::new();
    for name in names.split(", ") {
        let found = schemas().find_map(|source| Some((source, place(source, name)?)));
        let Some((source, offset)) = found else { continue };
        let message = format!("nothing declares the type `{name}`");
        let problem = PolicyProblem::in_file(&source.path, &source.text, message);
        let problem = problem.at(Some((offset, name.len()).into()), "used here");
        let known = known();
        problems.push(match shipped.iter().any(|one| last(one) == last(name)) {
            true => problem.with_advice(NOT_HERE),
            false => {
                match nearest(&last(name), known.iter().map(|one| one.rsplit("::").next().unwrap_or(one))) {
                    Some(near) => problem.with_advice(format!("did you mean `{near}`?")),
                    None => problem.with_advice("declare it, or name the folder with the schema that does"),
                }
            }
        });
    }
    problems
}

/// Where a name stands in the code of a file.
fn place(source: &Source, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut offset = 0;
    for line in source.text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or(line);
        for (at, _) in code.match_indices(name) {
            let before = code.get(..at).and_then(|text| text.chars().next_back());
            let after = code.get(at + name.len()..).and_then(|text| text.chars().next());
            let type_follows = after.is_none_or(|c| !is_part(c));
            if before.is_none_or(|c| !is_part(c) || c == ':') && type_follows {
                return Some(offset + at);
            }
        }
        offset += line.len();
    }
    None
}
