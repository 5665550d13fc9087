//! Names that two schema files declare: both places, so that the author of an extension sees which name is taken.

use std::collections::BTreeMap;

use cedar_policy::SchemaFragment;
use serde_json::Value as Json;

use super::error::{PolicyProblem, position_in};
use super::source::{Source, SourceKind, Sources};

/// What a name is declared as, and the words with which a schema says so.
const KINDS: [(&str, &str); 3] = [("entityTypes", "entity"), ("actions", "action"), ("commonTypes", "type")];

/// Everything that is declared in more than one file, or outside of all namespaces by a name that one of them has: Cedar
/// would have it hide the other.
pub(crate) fn declared_twice(sources: &Sources) -> Vec<PolicyProblem> {
    let mut seen: BTreeMap<(usize, String), &Source> = BTreeMap::new();
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.kind == SourceKind::Schema) {
        for (kind, name) in names(source) {
            let Some(first) = seen.get(&(kind, name.clone())) else {
                seen.insert((kind, name), source);
                continue;
            };
            problems.push(taken(kind, (source, &name), (first, &name)));
        }
    }
    for ((kind, name), first) in &seen {
        let Some(plain) = without_namespace(name) else { continue };
        if let Some(source) = seen.get(&(*kind, plain.to_owned())) {
            problems.push(taken(*kind, (source, plain), (first, name)));
        }
    }
    problems
}

/// The full names of the types that a file declares.
pub(crate) fn declared(source: &Source) -> Vec<String> {
    if source.kind != SourceKind::Schema {
        return Vec::new();
    }
    let is_type = |kind: usize| KINDS.get(kind).is_some_and(|(_, word)| *word != "action");
    names(source).into_iter().filter(|(kind, _)| is_type(*kind)).map(|(_, name)| name).collect()
}

/// That a name is taken by an earlier one.
fn taken(kind: usize, (source, name): (&Source, &str), (first, known): (&Source, &str)) -> PolicyProblem {
    let word = KINDS.get(kind).map_or("", |(_, word)| word);
    let line = find(first, word, known).map_or(1, |offset| position_in(&first.text, offset).line);
    let as_what = if name == known { String::new() } else { format!(" as `{known}`") };
    let message = format!("the {word} `{name}` is already declared{as_what} in `{}:{line}`", first.path);
    let problem = PolicyProblem::in_file(&source.path, &source.text, message);
    let span = find(source, word, name).map(|offset| (offset, word.len()).into());
    problem.at(span, "declared again here").with_advice("declare it in a namespace of your own")
}

/// What is left of a name without its namespace; `None` when it has none.
fn without_namespace(name: &str) -> Option<&str> {
    match name.split_once("Action::\"") {
        Some((before, _)) => name.get(before.len()..).filter(|_| !before.is_empty()),
        None => name.rsplit_once("::").map(|(_, last)| last),
    }
}

/// The full names of what a file declares, by kind.
fn names(source: &Source) -> Vec<(usize, String)> {
    let fragment = match source.name.ends_with(".json") {
        true => SchemaFragment::from_json_str(&source.text).ok(),
        false => SchemaFragment::from_cedarschema_str(&source.text).ok().map(|(fragment, _)| fragment),
    };
    let Some(Json::Object(spaces)) = fragment.and_then(|fragment| fragment.to_json_value().ok()) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for (space, content) in &spaces {
        for (kind, (key, word)) in KINDS.iter().enumerate() {
            for name in content[*key].as_object().into_iter().flat_map(|declared| declared.keys()) {
                let name = match (space.as_str(), *word) {
                    ("", "action") => format!("Action::\"{name}\""),
                    ("", _) => name.clone(),
                    (space, "action") => format!("{space}::Action::\"{name}\""),
                    (space, _) => format!("{space}::{name}"),
                };
                names.push((kind, name));
            }
        }
    }
    names
}

/// Where a file declares a name: the first place where its word and its last part stand on one line.
fn find(source: &Source, word: &str, name: &str) -> Option<usize> {
    let last = name.rsplit("::").next().unwrap_or(name);
    let mut offset = 0;
    for line in source.text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or(line);
        let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let begins = code.trim_start().starts_with(word);
        let named = code.contains(last) && (word == "action" || words.any(|part| part == last));
        if begins && named {
            return Some(offset + (code.len() - code.trim_start().len()));
        }
        offset += line.len();
    }
    None
}
