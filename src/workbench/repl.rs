//! A set of policies to try things on: entities and policies come and go in memory, and one question is asked again and
//! again. Nothing here touches a file.

use std::collections::BTreeMap;

use cedar_policy_core::ast::{EntityUID, PolicySet};
use cedar_policy_core::parser::{parse_policyset, text_to_cst};
use serde_json::{Map, Value as Json, json};

use super::case::{FixtureFile, KnownWorld, core_shorthand};
use super::explain::{Explanation, explain};
use super::run::{self, SingleRequest, TestResult};
use crate::policy::set::depth;
use crate::policy::set::depth::Language;
use crate::policy::{Bundle, SourceKind, Sources};

/// The file that policies made here stand in.
const MADE: &str = "made-here.cedar";

/// Why something cannot be done here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkbenchError {
    /// What was said makes no sense.
    #[error("{0}")]
    Said(String),
    /// The set would not be valid any more; it stays as it is.
    #[error("the policies would not be valid: {0}")]
    Invalid(String),
    /// There is no policy of that id.
    #[error("there is no policy `{0}`")]
    NoPolicy(String),
    /// Nothing was asked yet.
    #[error("no request yet: use `ask PRINCIPAL ACTION RESOURCE`")]
    NotAsked,
}

/// Policies, entities and the last question.
#[derive(Debug)]
pub struct Workbench {
    sources: Sources,
    bundle: Bundle,
    entities: BTreeMap<String, Json>,
    context: Map<String, Json>,
    now: Option<String>,
    last: Option<SingleRequest>,
    known: Option<KnownWorld>,
}

impl Workbench {
    /// Begins with a bundle.
    pub fn new(bundle: Bundle) -> Self {
        let sources = bundle.sources().clone();
        let (entities, context) = (BTreeMap::new(), Map::new());
        Self { sources, bundle, entities, context, now: None, last: None, known: None }
    }

    /// The same in the world of a gateway.
    #[must_use]
    pub fn in_gateway(mut self, known: Option<KnownWorld>) -> Self {
        self.known = known;
        self
    }

    /// Takes another bundle and forgets edits; entities and the question stay.
    pub fn load(&mut self, bundle: Bundle) {
        self.sources = bundle.sources().clone();
        self.bundle = bundle;
    }

    /// The policies as they are now.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What exists, by name.
    pub fn entities(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.entities.iter().map(|(name, entity)| (name.as_str(), entity))
    }

    /// Says what an entity is: `{ attrs: {…}, in: […], tags: {…} }`. Parents that are not there yet are added.
    pub fn set(&mut self, name: &str, entity: &str) -> Result<(), WorkbenchError> {
        let name = entity_name(name)?;
        let entity = object(entity)?;
        let text = json!({ "entities": { &name: &entity } }).to_string();
        FixtureFile::parse(&text).map_err(|problem| WorkbenchError::Said(problem.error.to_string()))?;
        for parent in entity.get("in").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
        {
            let parent = entity_name(parent)?;
            self.entities.entry(parent).or_insert_with(|| json!({}));
        }
        self.entities.insert(name, Json::Object(entity));
        Ok(())
    }

    /// Adds the entities of a `*.fixtures.yaml` text; how many.
    pub fn add_fixtures(&mut self, text: &str) -> Result<usize, WorkbenchError> {
        let read = FixtureFile::parse(text);
        let file = read
            .map_err(|problem| WorkbenchError::Said(format!("line {}: {}", problem.line, problem.error)))?;
        let count = file.entities.len();
        for (name, entry) in file.entities {
            let entry = entry.value;
            let entity = json!({ "attrs": entry.attrs, "in": entry.parents, "tags": entry.tags });
            self.entities.insert(name, entity);
        }
        Ok(count)
    }

    /// Takes an entity away.
    pub fn unset(&mut self, name: &str) -> Result<(), WorkbenchError> {
        let removed = self.entities.remove(&entity_name(name)?);
        removed.map(drop).ok_or_else(|| WorkbenchError::Said(format!("there is no entity `{name}`")))
    }

    /// What is not neutral about the circumstances of every question.
    pub fn set_context(&mut self, context: &str) -> Result<(), WorkbenchError> {
        self.context = object(context)?;
        Ok(())
    }

    /// The instant of every question, RFC 3339; the neutral one with an empty text.
    pub fn set_now(&mut self, now: &str) {
        self.now = (!now.is_empty()).then(|| now.to_owned());
    }

    /// Puts policies into the set, each in the place of the one with its id; their ids.
    pub fn put(&mut self, text: &str) -> Result<Vec<String>, WorkbenchError> {
        let said = |error: &dyn std::fmt::Display| WorkbenchError::Said(error.to_string());
        depth::check(text, Language::Policy).map_err(|deep| said(&deep))?;
        let ids = ids(&parse_policyset(text).map_err(|error| said(&error))?)?;
        let (mut sources, mut made) = (self.sources.clone(), String::new());
        for id in &ids {
            sources = without(&sources, id).0;
        }
        let old = sources.iter().find(|source| &*source.name == MADE);
        made.extend(old.map(|source| source.text.to_string()));
        made.push_str(text);
        made.push('\n');
        self.take(with(&sources, MADE, &made))?;
        Ok(ids)
    }

    /// Takes a policy out of the set.
    pub fn drop_policy(&mut self, id: &str) -> Result<(), WorkbenchError> {
        match without(&self.sources, id) {
            (sources, true) => self.take(sources),
            (_, false) => Err(WorkbenchError::NoPolicy(id.to_owned())),
        }
    }

    /// The text of a policy.
    pub fn text(&self, id: &str) -> Result<String, WorkbenchError> {
        let all = self.sources.iter().filter(|source| source.kind == SourceKind::Policy);
        let found = all.flat_map(|source| pieces(&source.text).into_iter().map(move |piece| (source, piece)));
        let mut found = found.filter(|(_, piece)| piece.id.as_deref() == Some(id));
        let (source, piece) = found.next().ok_or_else(|| WorkbenchError::NoPolicy(id.to_owned()))?;
        Ok(source.text.get(piece.start..piece.end).unwrap_or_default().to_owned())
    }

    /// Asks, and remembers the question.
    pub fn ask(
        &mut self,
        principal: &str,
        action: &str,
        resource: &str,
        context: &str,
    ) -> Result<Explanation, WorkbenchError> {
        let request = SingleRequest {
            principal: entity_name(principal)?,
            action: action.to_owned(),
            resource: entity_name(resource)?,
            context: object(context)?,
            ..SingleRequest::default()
        };
        let explanation = self.explain(request.clone())?;
        self.last = Some(request);
        Ok(explanation)
    }

    /// Asks the last question again.
    pub fn ask_again(&self) -> Result<Explanation, WorkbenchError> {
        self.explain(self.last.clone().ok_or(WorkbenchError::NotAsked)?)
    }

    /// Whether there is a last question.
    pub fn has_asked(&self) -> bool {
        self.last.is_some()
    }

    /// The last question as a test that states what is decided now.
    pub fn test(&self) -> Result<String, WorkbenchError> {
        let last = self.last.clone().ok_or(WorkbenchError::NotAsked)?;
        let answer = self.explain(last.clone())?;
        let mut context = self.context.clone();
        merge(&mut context, last.context.clone());
        let policies: Vec<&str> =
            answer.decided.iter().filter(|one| !one.log_only).map(|one| one.id.as_str()).collect();
        let mut entities: Map<String, Json> =
            self.entities.iter().map(|(name, entity)| (name.clone(), entity.clone())).collect();
        for name in [&last.principal, &last.resource] {
            entities.entry(name.clone()).or_insert_with(|| json!({}));
        }
        let mut suite = json!({
            "suite": "tried out",
            "entities": entities,
            "tests": [{
                "name": format!("{} {} {}", last.principal, last.action, last.resource),
                "request": {
                    "principal": last.principal, "action": last.action, "resource": last.resource,
                    "context": context,
                },
                "expect": { "outcome": answer.outcome, "policies": policies },
            }],
        });
        if let (Some(now), Some(suite)) = (&self.now, suite.as_object_mut()) {
            suite.insert("now".to_owned(), now.as_str().into());
        }
        serde_json::to_string_pretty(&suite).map_err(|error| WorkbenchError::Said(error.to_string()))
    }

    /// Words that can come next: entities, actions, policies.
    pub fn words(&self) -> Vec<String> {
        let actions = self.bundle.schema_index().action_entities();
        let mut words: Vec<String> = self.entities.keys().cloned().collect();
        words.extend(actions.map(|action| AsRef::<str>::as_ref(action.uid().eid()).to_owned()));
        words.extend(self.bundle.policies().map(|policy| policy.id.to_string()));
        words.extend(
            self.bundle
                .schema_index()
                .type_names()
                .map(|name| format!("{}::\"", name.strip_prefix("Caxton::").unwrap_or(name))),
        );
        words.sort();
        words.dedup();
        words
    }

    fn explain(&self, mut request: SingleRequest) -> Result<Explanation, WorkbenchError> {
        request.entities =
            self.entities.iter().map(|(name, entity)| (name.clone(), entity.clone())).collect();
        request.now.clone_from(&self.now);
        let own = std::mem::replace(&mut request.context, self.context.clone());
        merge(&mut request.context, own);
        let said = |text: String| WorkbenchError::Said(text);
        let suites = request.into_suites(None).map_err(|problem| said(problem.error.to_string()))?;
        let (report, questions) = run::examine(
            &self.bundle,
            &suites,
            &run::Settings { known: self.known.clone(), ..run::Settings::default() },
        );
        for suite in report.suites {
            let broken = suite.tests.into_iter().find_map(|test| match test.result {
                TestResult::Broken { problem } => Some(problem),
                TestResult::Passed | TestResult::Failed { .. } => None,
            });
            if let Some(problem) = suite.problem.or(broken) {
                let help = problem.help.filter(|help| !help.starts_with("write `outcome"));
                return Err(said(
                    help.map_or(problem.message.clone(), |help| format!("{}; {help}", problem.message)),
                ));
            }
        }
        explain(&self.bundle, &questions)
            .pop()
            .ok_or_else(|| said("the question does not fit the schema".to_owned()))
    }

    fn take(&mut self, sources: Sources) -> Result<(), WorkbenchError> {
        let bundle = Bundle::load(sources.clone()).map_err(|errors| {
            let problems = errors.problems().iter().filter(|problem| problem.fatal);
            WorkbenchError::Invalid(
                problems.map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; "),
            )
        })?;
        (self.sources, self.bundle) = (sources, bundle);
        Ok(())
    }
}

/// `Caxton::Agent::"a"` and `Agent::"a"` are one name, written the short way.
fn entity_name(name: &str) -> Result<String, WorkbenchError> {
    let wrong = |_| {
        WorkbenchError::Said(format!("`{name}` is not the name of an entity, as `Agent::\"researcher\"` is"))
    };
    name.trim().parse::<EntityUID>().map(|uid| core_shorthand(&uid)).map_err(wrong)
}

/// JSON or YAML in braces.
fn object(text: &str) -> Result<Map<String, Json>, WorkbenchError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    // The bounds and the strictness are those of test files.
    super::import::object(text).map_err(WorkbenchError::Said)
}

fn merge(into: &mut Map<String, Json>, from: Map<String, Json>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Json::Object(inside)), Json::Object(value)) => merge(inside, value),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

fn ids(set: &PolicySet) -> Result<Vec<String>, WorkbenchError> {
    let ids = set.all_templates().map(|template| {
        let mut annotations = template.annotations();
        annotations.find(|(name, _)| name.as_ref() == "id").map(|(_, value)| value.val.to_string())
    });
    let missing = || WorkbenchError::Said("a policy needs an `@id`".to_owned());
    let ids: Option<Vec<String>> = ids.collect();
    ids.filter(|ids| !ids.is_empty()).ok_or_else(missing)
}

/// A policy in a text.
struct Piece {
    id: Option<String>,
    start: usize,
    end: usize,
}

fn pieces(text: &str) -> Vec<Piece> {
    let Ok(cst) = text_to_cst::parse_policies(text) else { return Vec::new() };
    let policies = cst.as_inner().map(|policies| policies.0.as_slice()).unwrap_or_default();
    let piece = |loc: &cedar_policy_core::parser::Loc| {
        let own = text.get(loc.start()..loc.end()).unwrap_or_default();
        let id = parse_policyset(own).ok().and_then(|set| ids(&set).ok()).and_then(|mut ids| ids.pop());
        Piece { id, start: loc.start(), end: loc.end() }
    };
    policies.iter().filter_map(|policy| policy.loc()).map(piece).collect()
}

/// The sources without a policy, and whether it was there.
fn without(sources: &Sources, id: &str) -> (Sources, bool) {
    for source in sources.iter().filter(|source| source.kind == SourceKind::Policy) {
        let found = pieces(&source.text).into_iter().find(|piece| piece.id.as_deref() == Some(id));
        if let Some(Piece { start, end, .. }) = found {
            let (before, after) = (source.text.get(..start), source.text.get(end..));
            let text = format!("{}{}", before.unwrap_or_default(), after.unwrap_or_default());
            return (with(sources, &source.name, &text), true);
        }
    }
    (sources.clone(), false)
}

/// The sources with another text for one file of policies.
fn with(sources: &Sources, name: &str, text: &str) -> Sources {
    let others = sources.iter().filter(|source| source.kind != SourceKind::Policy || &*source.name != name);
    let rest = others.fold(Sources::new(), |rest, source| match source.kind {
        SourceKind::Schema => rest.with_schema(&source.name, &source.text),
        SourceKind::Policy => rest.with_policy(&source.name, &source.text),
        SourceKind::Links => rest.with_links_file(&source.name, &source.text),
    });
    let rest = rest.with_policy(name, text);
    sources.links().iter().fold(rest, |rest, link| rest.with_link(link.clone()))
}
