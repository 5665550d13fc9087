//! A counterexample without what does not matter: everything that can be left out, or be called by a plainer name, without the
//! request ceasing to be one.

use serde_json::{Map, Value as Json};

use crate::workbench::run::SingleRequest;

/// The most requests that are tried on the way.
const TRIES: usize = 600;

/// Numbers that people would think of.
const SMALL: [i64; 9] = [1, 2, 3, 4, 5, 10, 100, 1000, -1];

/// The most names of one type that are tried in place of one that the solver made up.
const NAMES: usize = 12;

/// The request as small as it gets, if it is `still` one that speaks against the statement; about entities of `names` where it
/// can be.
pub(super) fn shrunk(
    request: SingleRequest,
    names: &[String],
    still: &dyn Fn(&SingleRequest) -> bool,
) -> Option<SingleRequest> {
    if !still(&request) {
        return None;
    }
    let mut shrinking = Shrinking { request, names, still, tries: 0 };
    // What matters of the entities can hang on the circumstances, and the other way round: again until nothing changes.
    let mut before = None;
    while before.as_ref() != Some(&shrinking.request) && shrinking.tries < TRIES {
        before = Some(shrinking.request.clone());
        shrinking.drop_from(&[Step::Context]);
        shrinking.drop_from(&[Step::Entities]);
    }
    shrinking.tries = 0;
    shrinking.rename();
    Some(shrinking.request)
}

struct Shrinking<'s> {
    request: SingleRequest,
    names: &'s [String],
    still: &'s dyn Fn(&SingleRequest) -> bool,
    tries: usize,
}

/// A step on the way to a part of a request.
#[derive(Debug, Clone)]
enum Step {
    Entities,
    Context,
    Key(String),
    Item(usize),
}

impl Shrinking<'_> {
    fn attempt(&mut self, changed: SingleRequest) -> bool {
        self.tries += 1;
        let fits = self.tries <= TRIES && (self.still)(&changed);
        if fits {
            self.request = changed;
        }
        fits
    }

    /// Tries to leave out each part below `path`; what cannot be left out is looked into.
    fn drop_from(&mut self, path: &[Step]) {
        for step in self.steps(path).into_iter().rev() {
            let below = [path, &[step]].concat();
            let mut changed = self.request.clone();
            if remove(&mut changed, &below) && !self.attempt(changed) {
                self.lower(&below);
                self.drop_from(&below);
            }
        }
    }

    /// Tries small numbers in place of the one that the solver thought of.
    fn lower(&mut self, path: &[Step]) {
        let mut changed = self.request.clone();
        let Some(number) = find(&mut changed, path).and_then(|value| value.as_i64()) else { return };
        for smaller in SMALL.into_iter().filter(|small| small.unsigned_abs() < number.unsigned_abs()) {
            let mut changed = self.request.clone();
            if let Some(value) = find(&mut changed, path) {
                *value = smaller.into();
            }
            if self.attempt(changed) {
                return;
            }
        }
    }

    fn steps(&self, path: &[Step]) -> Vec<Step> {
        let keys = |fields: &Map<String, Json>| fields.keys().cloned().map(Step::Key).collect();
        match path {
            [Step::Entities] => keys(&self.request.entities),
            [Step::Context] => keys(&self.request.context),
            _ => match find(&mut self.request.clone(), path) {
                Some(Json::Object(fields)) => keys(fields),
                Some(Json::Array(items)) => (0..items.len()).map(Step::Item).collect(),
                _ => Vec::new(),
            },
        }
    }

    /// A name that exists, else `Agent::"agent-1"`, for a name that the solver made up. A name that a policy knows does not
    /// bear it.
    fn rename(&mut self) {
        let mut names: Vec<String> = [&self.request.principal, &self.request.resource]
            .into_iter()
            .chain(self.request.entities.keys())
            .cloned()
            .collect();
        names.dedup();
        let tool = format!("Tool::\"{}\"", self.request.action);
        for name in names {
            let Some((kind, _)) = name.split_once("::\"") else { continue };
            let stem = stem(kind);
            let plain = |number: usize| format!("{kind}::\"{stem}-{number}\"");
            let free = (1..100).map(plain).find(|plain| !self.mentions(plain));
            let wanted = if kind == "Tool" && !self.mentions(&tool) { Some(tool.clone()) } else { None };
            let existing: Vec<String> = match self.names.contains(&name) {
                true => continue,
                false => self.existing(kind).cloned().collect(),
            };
            for plainer in existing.into_iter().chain(wanted).chain(free) {
                let changed = renamed(&self.request, &name, &plainer);
                if self.attempt(changed) {
                    break;
                }
            }
        }
    }

    /// Names of this type that the request does not have yet.
    fn existing(&self, kind: &str) -> impl Iterator<Item = &String> {
        let of_kind =
            self.names.iter().filter(move |name| name.split_once("::\"").is_some_and(|(its, _)| its == kind));
        of_kind.filter(|name| !self.mentions(name)).take(NAMES)
    }

    fn mentions(&self, name: &str) -> bool {
        let request = &self.request;
        request.principal == name || request.resource == name || request.entities.contains_key(name)
    }
}

/// `memory-entity` for `MemoryEntity`.
fn stem(kind: &str) -> String {
    let mut stem = String::new();
    for c in kind.rsplit("::").next().unwrap_or(kind).chars() {
        if c.is_uppercase() && !stem.is_empty() {
            stem.push('-');
        }
        stem.extend(c.to_lowercase());
    }
    stem
}

fn root<'r>(request: &'r mut SingleRequest, step: &Step) -> Option<&'r mut Map<String, Json>> {
    match step {
        Step::Entities => Some(&mut request.entities),
        Step::Context => Some(&mut request.context),
        Step::Key(_) | Step::Item(_) => None,
    }
}

fn find<'r>(request: &'r mut SingleRequest, path: &[Step]) -> Option<&'r mut Json> {
    let (first, rest) = path.split_first()?;
    let (second, rest) = rest.split_first()?;
    let Step::Key(key) = second else { return None };
    let mut found = root(request, first)?.get_mut(key)?;
    for step in rest {
        found = match step {
            Step::Key(key) => found.get_mut(key)?,
            Step::Item(index) => found.get_mut(*index)?,
            Step::Entities | Step::Context => return None,
        };
    }
    Some(found)
}

/// Whether there was something to remove.
fn remove(request: &mut SingleRequest, path: &[Step]) -> bool {
    match path {
        [first, Step::Key(key)] => root(request, first).is_some_and(|fields| fields.remove(key).is_some()),
        [before @ .., last] => match (find(request, before), last) {
            (Some(Json::Object(fields)), Step::Key(key)) => fields.remove(key).is_some(),
            (Some(Json::Array(items)), Step::Item(index)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        },
        [] => false,
    }
}

fn renamed(request: &SingleRequest, from: &str, to: &str) -> SingleRequest {
    let name = |text: &str| if text == from { to.to_owned() } else { text.to_owned() };
    let entities = request.entities.iter().map(|(key, value)| (name(key), replaced(value, from, to)));
    let context = request.context.iter().map(|(key, value)| (key.clone(), replaced(value, from, to)));
    SingleRequest {
        principal: name(&request.principal),
        action: request.action.clone(),
        resource: name(&request.resource),
        context: context.collect(),
        entities: entities.collect(),
        now: request.now.clone(),
    }
}

fn replaced(value: &Json, from: &str, to: &str) -> Json {
    match value {
        Json::String(text) if text == from => Json::String(to.to_owned()),
        Json::Array(items) => items.iter().map(|item| replaced(item, from, to)).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(key, value)| (key.clone(), replaced(value, from, to))).collect())
        }
        other => other.clone(),
    }
}
