//! From texts to a checked policy set: parse everything, name every policy, validate strictly, and report
//! every problem in one go. Nothing half-good comes out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cedar_policy::{Schema, SchemaFragment, ValidationMode, Validator};
use cedar_policy_core::ast::{self, AnyId, Eid, EntityUID, PolicyID, SlotId, Template};
use cedar_policy_core::parser;
use miette::Diagnostic;

use super::error::{PolicyErrors, Problem};
use super::program::Effect;
use super::settings::Limits;
use super::source::{Link, Source, SourceKind, Sources};
use crate::model::{self, PolicyMode};
use crate::nearest::nearest;

/// The longest policy id, in characters.
const ID_CHARACTERS: usize = 128;

/// How strictly texts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Every policy has an `@id` and fits the schema.
    Product,
    /// As Cedar's own data comes: names by position, nothing validated.
    AsCedar,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) schema: Schema,
    pub(crate) policies: ast::PolicySet,
    pub(crate) about: Vec<PolicyInfo>,
    pub(crate) warnings: Vec<Problem>,
}

/// What is known about a policy besides its meaning.
#[derive(Debug, Clone)]
pub struct PolicyInfo {
    /// Its `@id`.
    pub id: Arc<str>,
    /// Whether it grants or denies.
    pub effect: Effect,
    /// Whether it decides or only watches.
    pub mode: PolicyMode,
    /// The file it stands in.
    pub file: Arc<str>,
    /// Its text; of a linked policy, the template's.
    pub text: Arc<str>,
    /// Byte offset of its text in the file.
    pub offset: usize,
    /// All annotations by name.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether it is a template, which decides nothing until it is linked.
    pub is_template: bool,
    /// The template it was linked from.
    pub linked_from: Option<Arc<str>>,
}

pub(crate) fn load(
    sources: &Sources,
    limits: &Limits,
    strictness: Strictness,
) -> Result<Loaded, PolicyErrors> {
    let mut loader = Loader { strictness, ..Loader::default() };
    loader.refuse_repeated_names(sources);
    let schema = loader.schema(sources);
    for source in sources.iter().filter(|source| source.kind == SourceKind::Policy) {
        loader.policies(source);
    }
    for link in sources.links() {
        loader.link(link);
    }
    if loader.about.len() > limits.policies {
        let message =
            format!("{} policies are more than the {} allowed", loader.about.len(), limits.policies);
        loader.problems.push(Problem::general(message));
    }
    // Validation against a schema that did not load would only repeat its problems for every policy.
    if let (Some(schema), Strictness::Product) = (&schema, strictness) {
        loader.validate(schema, sources);
    }
    PolicyErrors::check(loader.problems)?;
    let schema = schema.ok_or_else(|| Problem::general("the schema could not be read"))?;
    Ok(Loaded { schema, policies: loader.set, about: loader.about, warnings: loader.warnings })
}

struct Loader {
    strictness: Strictness,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    set: ast::PolicySet,
    about: Vec<PolicyInfo>,
    by_id: HashMap<Arc<str>, usize>,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            strictness: Strictness::Product,
            problems: Vec::new(),
            warnings: Vec::new(),
            set: ast::PolicySet::new(),
            about: Vec::new(),
            by_id: HashMap::new(),
        }
    }
}

impl Loader {
    fn refuse_repeated_names(&mut self, sources: &Sources) {
        let mut previous: Option<&Source> = None;
        for source in sources.iter() {
            if previous.is_some_and(|before| (before.kind, &before.name) == (source.kind, &source.name)) {
                let problem = Problem::in_file(&source.path, &source.text, "the file is given twice");
                self.problems.push(problem.with_advice("give each file of a bundle a name of its own"));
            }
            previous = Some(source);
        }
    }

    fn schema(&mut self, sources: &Sources) -> Option<Schema> {
        let mut fragments = Vec::new();
        let before = self.problems.len();
        for source in sources.iter().filter(|source| source.kind == SourceKind::Schema) {
            let file = Some((&source.path, &source.text));
            if source.name.ends_with(".json") {
                match SchemaFragment::from_json_str(&source.text) {
                    Ok(fragment) => fragments.push(fragment),
                    Err(error) => self.problems.extend(Problem::from_cedar(file, &error)),
                }
                continue;
            }
            match SchemaFragment::from_cedarschema_str(&source.text) {
                Ok((fragment, warnings)) => {
                    for warning in warnings {
                        let found = Problem::from_cedar(file, &warning);
                        self.warnings.extend(found.into_iter().map(Problem::into_warning));
                    }
                    fragments.push(fragment);
                }
                Err(error) => self.problems.extend(Problem::from_cedar(file, &error)),
            }
        }
        if self.problems.len() > before {
            return None;
        }
        let complete = Schema::from_schema_fragments(fragments);
        match complete {
            Ok(schema) if schema.is_complete() => Some(schema),
            Ok(_) => {
                let problem = Problem::general("the schema leaves names external that no file defines");
                self.problems.push(problem);
                None
            }
            Err(error) => {
                self.problems.extend(Problem::from_cedar(None, &error));
                None
            }
        }
    }

    fn policies(&mut self, source: &Source) {
        let parsed = match parser::parse_policyset(&source.text) {
            Ok(parsed) => parsed,
            Err(errors) => {
                for error in errors.iter() {
                    self.problems.extend(Problem::from_cedar(Some((&source.path, &source.text)), error));
                }
                return;
            }
        };
        let mut templates: Vec<&Template> = parsed.all_templates().collect();
        templates.sort_by_key(|template| template.loc().map_or(0, parser::Loc::start));
        for template in templates {
            self.policy(source, template);
        }
    }

    /// Takes one static policy or template in. (To Cedar a static policy is a template without slots.)
    fn policy(&mut self, source: &Source, template: &Template) {
        let annotations: BTreeMap<Arc<str>, Arc<str>> = template
            .annotations()
            .map(|(name, value)| (AsRef::<str>::as_ref(name).into(), value.val.as_str().into()))
            .collect();
        let Some(id) = self.id_of(source, template, &annotations) else { return };
        let Some(mode) = self.mode_of(source, template, &annotations) else { return };
        if let Some(other) = self.by_id.get(&id).and_then(|index| self.about.get(*index)) {
            let message = format!("the id `{id}` is already used in `{}`", other.file);
            let problem = place(source, template, &message, "used again here").about(&id);
            self.problems.push(problem.with_advice("give every policy an `@id` of its own"));
            return;
        }
        let named = template.new_id(PolicyID::from_string(&id));
        let is_template = !named.is_static();
        let text = template.loc().and_then(parser::Loc::snippet).unwrap_or_default();
        let info = PolicyInfo {
            id: Arc::clone(&id),
            effect: named.effect().into(),
            mode,
            file: Arc::clone(&source.path),
            text: text.into(),
            offset: template.loc().map_or(0, parser::Loc::start),
            annotations,
            is_template,
            linked_from: None,
        };
        let added = if is_template {
            self.set.add_template(named).map_err(|error| error.to_string())
        } else {
            let policy = Template::try_as_policy(Arc::new(named)).map_err(|error| error.to_string());
            policy.and_then(|policy| self.set.add(policy).map_err(|error| error.to_string()))
        };
        match added {
            Ok(()) => {
                self.by_id.insert(id, self.about.len());
                self.about.push(info);
            }
            Err(message) => self.problems.push(place(source, template, &message, "here").about(&id)),
        }
    }

    fn id_of(
        &mut self,
        source: &Source,
        template: &Template,
        annotations: &BTreeMap<Arc<str>, Arc<str>>,
    ) -> Option<Arc<str>> {
        let given = annotations.get("id");
        let (message, advice) = match given {
            _ if self.strictness == Strictness::AsCedar => {
                return Some(AsRef::<str>::as_ref(template.id()).into());
            }
            None => ("the policy has no `@id`", "write `@id(\"area.what-it-does\")` in front of it"),
            Some(id) if id.trim().is_empty() => ("the policy's `@id` is empty", "give it a stable name"),
            Some(id) if id.chars().count() > ID_CHARACTERS => {
                ("the policy's `@id` is longer than 128 characters", "give it a shorter name")
            }
            Some(id) if id.chars().any(char::is_control) => {
                ("the policy's `@id` has a control character", "use letters, digits and marks")
            }
            Some(id) => return Some(Arc::clone(id)),
        };
        self.problems.push(place(source, template, message, "this policy").with_advice(advice));
        None
    }

    fn mode_of(
        &mut self,
        source: &Source,
        template: &Template,
        annotations: &BTreeMap<Arc<str>, Arc<str>>,
    ) -> Option<PolicyMode> {
        match annotations.get("mode").map(AsRef::as_ref) {
            _ if self.strictness == Strictness::AsCedar => Some(PolicyMode::Enforce),
            None => Some(PolicyMode::Enforce),
            Some("log_only") => Some(PolicyMode::LogOnly),
            // A misspelt mode would silently enforce, or silently not: neither is for us to choose.
            Some(other) => {
                let message = format!("`@mode(\"{}\")` is not known", other.escape_debug());
                let problem = place(source, template, &message, "this policy");
                self.problems
                    .push(problem.with_advice("`log_only` is the only mode; leave it out to enforce"));
                None
            }
        }
    }

    fn link(&mut self, link: &Link) {
        let trouble = |message: String| Problem::general(message).about(&link.id);
        let Some(template) = self.by_id.get(link.template.as_str()).and_then(|index| self.about.get(*index))
        else {
            let message =
                format!("the link `{}` names the template `{}`, which is not there", link.id, link.template);
            self.problems.push(trouble(message));
            return;
        };
        let info = PolicyInfo {
            id: link.id.as_str().into(),
            is_template: false,
            linked_from: Some(Arc::clone(&template.id)),
            ..template.clone()
        };
        let mut slots = HashMap::new();
        for (slot, uid) in [(SlotId::principal(), &link.principal), (SlotId::resource(), &link.resource)] {
            match uid.as_ref().map(parse_uid) {
                Some(Ok(uid)) => drop(slots.insert(slot, uid)),
                Some(Err(message)) => return self.problems.push(trouble(message)),
                None => {}
            }
        }
        let id = PolicyID::from_string(&link.id);
        match self.set.link(PolicyID::from_string(&link.template), id, slots) {
            Ok(_) => {
                self.by_id.insert(Arc::clone(&info.id), self.about.len());
                self.about.push(info);
            }
            Err(error) => {
                let message = format!("the link `{}` does not fit: {error}", link.id);
                self.problems.push(trouble(message));
            }
        }
    }

    fn validate(&mut self, schema: &Schema, sources: &Sources) {
        let set = cedar_policy::PolicySet::from(self.set.clone());
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        for error in result.validation_errors() {
            let mut found = self.reported(error, AsRef::<str>::as_ref(error.policy_id()), sources);
            if matches!(error, cedar_policy::ValidationError::UnrecognizedActionId(_)) {
                found
                    .iter_mut()
                    .for_each(|problem| problem.advice = nearest_action(&problem.message, schema));
            }
            self.problems.extend(found);
        }
        for warning in result.validation_warnings() {
            let found = self.reported(warning, AsRef::<str>::as_ref(warning.policy_id()), sources);
            self.warnings.extend(found.into_iter().map(Problem::into_warning));
        }
    }

    fn reported(&self, report: &dyn Diagnostic, id: &str, sources: &Sources) -> Vec<Problem> {
        let info = self.by_id.get(id).and_then(|index| self.about.get(*index));
        let file = info.and_then(|info| sources.iter().find(|source| source.path == info.file));
        let found = Problem::from_cedar(file.map(|source| (&source.path, &source.text)), report);
        found.into_iter().map(|problem| problem.about(id)).collect()
    }
}

/// The action that was meant. Cedar's own guess is often `"*"`, which is the last thing to advise.
fn nearest_action(message: &str, schema: &Schema) -> Option<String> {
    let written = message.rsplit("unrecognized action `").next()?.trim_end_matches('`');
    let known: Vec<String> = schema.actions().map(ToString::to_string).collect();
    let nearest = nearest(written, known.iter().map(String::as_str))?;
    Some(format!("did you mean `{nearest}`?"))
}

fn place(source: &Source, template: &Template, message: &str, label: &str) -> Problem {
    Problem::in_file(&source.path, &source.text, message).at(template.loc().map(Into::into), label)
}

/// The Cedar name of an entity of any type.
pub(crate) fn parse_uid(uid: &model::EntityUid) -> Result<EntityUID, String> {
    let kind = uid.type_name().parse().map_err(|_| format!("`{}` is not a type name", uid.type_name()))?;
    Ok(EntityUID::from_components(kind, Eid::new(uid.id()), None))
}

/// The annotation of a policy by name.
pub(crate) fn annotation(policy: &ast::Policy, name: &str) -> Option<Arc<str>> {
    let key: AnyId = name.parse().ok()?;
    policy.annotation(&key).map(|value| value.val.as_str().into())
}
