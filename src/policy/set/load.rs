//! From texts to a checked policy set: the schema, then every file by itself, then what concerns them all: names that
//! are taken, links, how many there are. Every problem is reported in one go. Nothing half-good comes out.
//!
//! What has not changed since the set before is taken over from it: the schema, and each file of policies under the same
//! schema. That saves time and nothing else; see [`super::policy_file`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Schema, SchemaFragment, Validator};
use cedar_policy_core::ast::{self, Eid, EntityUID, PolicyID, SlotId};

use super::annotations::{PolicyAnnotations, obligations};
use super::conflict::declared_twice;
use super::depth::{self, Language};
use super::error::{PolicyErrors, PolicyProblem, position_in};
use super::links::{self, PlacedLink, problem_at};
use super::policy_file::{Body, Checked, Entry, PolicyFile, check, unusable_id};
use super::settings::Limits;
use super::source::{Link, Source, SourceKind, Sources};
use super::unresolved::unresolved;
use crate::model::{self, PolicyMode};
use crate::policy::engine::compiled::{CompiledPolicy, Effect, PolicyNotes};
use crate::policy::engine::schema_index::SchemaIndex;

/// How strictly texts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Every policy has an `@id` and fits the schema.
    Product,
    /// As Cedar's own data comes: names by position, nothing validated.
    AsCedar,
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
    /// Byte offset of its text in the file.
    pub offset: usize,
    /// All annotations by name.
    pub annotations: PolicyAnnotations,
    /// Whether it is a template, which decides nothing until it is linked.
    pub is_template: bool,
    /// The template it was linked from.
    pub linked_from: Option<Arc<str>>,
    /// File and line of its link, `policies/teams.links.yaml:3`.
    pub linked_at: Option<Arc<str>>,
    /// The text of the file, and how much of it is this policy's. A copy would double what a set takes.
    pub(crate) source: Arc<str>,
    pub(crate) length: usize,
}

impl PolicyInfo {
    /// What its annotations mean for its decisions. They were checked when its file was read.
    pub(crate) fn notes(&self) -> PolicyNotes {
        PolicyNotes {
            mode: self.mode,
            caller_text: self.annotations.get("reason").cloned(),
            obligations: obligations(&self.annotations).unwrap_or_default().into(),
        }
    }

    /// The line that it begins in, from 1; of a linked policy, the template's.
    pub fn line(&self) -> usize {
        position_in(&self.source, self.offset).line
    }

    /// Its text; of a linked policy, the template's.
    pub fn text(&self) -> &str {
        self.source.get(self.offset..self.offset + self.length).unwrap_or_default()
    }
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) compiled_schema: Arc<CompiledSchema>,
    pub(crate) policy_files: Vec<Arc<PolicyFile>>,
    /// Policies and templates in the order of the files, then what was linked.
    pub(crate) infos: Vec<Arc<PolicyInfo>>,
    /// What was linked: by files, then one by one.
    pub(crate) links: Vec<Link>,
    /// What decides, in the same order.
    pub(crate) program: Vec<Arc<CompiledPolicy>>,
    pub(crate) warnings: Vec<PolicyProblem>,
}

/// The schema, which everything else stands on.
#[derive(Debug)]
pub(crate) struct CompiledSchema {
    strictness: Strictness,
    files: Vec<Source>,
    pub(crate) schema: Schema,
    pub(crate) schema_index: SchemaIndex,
    warnings: Vec<PolicyProblem>,
}

impl CompiledSchema {
    /// Whether `sources` have just this schema.
    fn is_of(&self, sources: &Sources, strictness: Strictness) -> bool {
        let alike = |a: &Source, b: &Source| a.name == b.name && a.path == b.path && a.text == b.text;
        let mut given = schema_files(sources);
        self.strictness == strictness
            && self.files.iter().all(|file| given.next().is_some_and(|other| alike(file, other)))
            && given.next().is_none()
    }
}

fn schema_files(sources: &Sources) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.kind == SourceKind::Schema)
}

/// Loads `sources`. `before` is a set whose schema and files are taken over as far as they are the same.
pub(crate) fn load(
    sources: &Sources,
    limits: &Limits,
    strictness: Strictness,
    before: Option<(&Arc<CompiledSchema>, &[Arc<PolicyFile>])>,
) -> Result<Loaded, PolicyErrors> {
    let mut loader = Loader::default();
    loader.refuse_repeated_names(sources);
    let before = before.filter(|(compiled_schema, _)| compiled_schema.is_of(sources, strictness));
    let compiled_schema = match before {
        Some((compiled_schema, _)) => Some(Arc::clone(compiled_schema)),
        None => loader.compiled_schema(sources, strictness).map(Arc::new),
    };
    loader
        .warnings
        .extend(compiled_schema.iter().flat_map(|compiled_schema| compiled_schema.warnings.iter().cloned()));
    // Validation against a schema that did not load would only repeat its problems for every policy.
    let schema = compiled_schema
        .as_ref()
        .filter(|_| strictness == Strictness::Product)
        .map(|compiled_schema| &compiled_schema.schema);
    let validator = schema.map(|schema| (Validator::new(schema.clone()), schema));
    let validator = validator.as_ref().map(|(validator, schema)| (validator, *schema));
    let known: HashMap<&str, &Arc<PolicyFile>> = before
        .iter()
        .flat_map(|(_, policy_files)| {
            policy_files.iter().map(|policy_file| (policy_file.source.name.as_ref(), policy_file))
        })
        .collect();
    for source in sources.iter().filter(|source| source.kind == SourceKind::Policy) {
        let same = known.get(source.name.as_ref()).filter(|policy_file| policy_file.is_of(source));
        let read = || Arc::new(PolicyFile::read(source, strictness, validator));
        loader.take(same.map_or_else(read, |policy_file| Arc::clone(policy_file)));
    }
    let links = loader.all_links(sources, compiled_schema.as_deref());
    loader.links(&links, validator);
    if strictness == Strictness::Product {
        loader.warn_of_unlinked();
    }
    if loader.infos.len() > limits.policies {
        let message =
            format!("{} policies are more than the {} allowed", loader.infos.len(), limits.policies);
        loader.problems.push(PolicyProblem::general(message));
    }
    loader.problems.append(&mut loader.invalid);
    PolicyErrors::check(loader.problems)?;
    let compiled_schema =
        compiled_schema.ok_or_else(|| PolicyProblem::general("the schema could not be read"))?;
    let Loader { policy_files, infos, program, warnings, .. } = loader;
    let links = links.into_iter().map(|found| found.link).collect();
    Ok(Loaded { compiled_schema, policy_files, infos, links, program, warnings })
}

/// A link, and where it stands when that is in a file.
struct FoundLink {
    link: Link,
    place: Option<(Source, u64)>,
}

#[derive(Default)]
struct Loader {
    problems: Vec<PolicyProblem>,
    /// What validation found; reported after all else.
    invalid: Vec<PolicyProblem>,
    warnings: Vec<PolicyProblem>,
    policy_files: Vec<Arc<PolicyFile>>,
    infos: Vec<Arc<PolicyInfo>>,
    program: Vec<Arc<CompiledPolicy>>,
    /// Where a policy stands in `infos`, and its line.
    by_id: HashMap<Arc<str>, (usize, usize)>,
}

impl Loader {
    fn refuse_repeated_names(&mut self, sources: &Sources) {
        let mut previous: Option<&Source> = None;
        for source in sources.iter() {
            if previous.is_some_and(|before| (before.kind, &before.name) == (source.kind, &source.name)) {
                let problem = PolicyProblem::in_file(&source.path, &source.text, "the file is given twice");
                self.problems.push(problem.with_advice("give each file of a bundle a name of its own"));
            }
            previous = Some(source);
        }
    }

    fn compiled_schema(&mut self, sources: &Sources, strictness: Strictness) -> Option<CompiledSchema> {
        let (mut fragments, mut warnings) = (Vec::new(), Vec::new());
        let before = self.problems.len();
        for source in schema_files(sources) {
            let file = Some((&source.path, &source.text));
            if source.name.ends_with(".json") {
                match SchemaFragment::from_json_str(&source.text) {
                    Ok(fragment) => fragments.push(fragment),
                    Err(error) => self.problems.extend(PolicyProblem::from_cedar(file, &error)),
                }
                continue;
            }
            if let Err(deep) = depth::check(&source.text, Language::Schema) {
                self.problems.push(deep.problem(&source.path, &source.text));
                continue;
            }
            match SchemaFragment::from_cedarschema_str(&source.text) {
                Ok((fragment, cautions)) => {
                    for warning in cautions {
                        let found = PolicyProblem::from_cedar(file, &warning);
                        warnings.extend(found.into_iter().map(PolicyProblem::into_warning));
                    }
                    fragments.push(fragment);
                }
                Err(error) => self.problems.extend(PolicyProblem::from_cedar(file, &error)),
            }
        }
        if self.problems.len() > before {
            return None;
        }
        let complete = Schema::from_schema_fragments(fragments);
        match complete {
            Ok(schema) if schema.is_complete() => {
                let schema_index = SchemaIndex::new(&schema);
                let files = schema_files(sources).cloned().collect();
                Some(CompiledSchema { strictness, files, schema, schema_index, warnings })
            }
            Ok(_) => {
                let problem = PolicyProblem::general("the schema leaves names external that no file defines");
                self.problems.push(problem);
                None
            }
            Err(error) => {
                // Cedar says what is there twice, but not where.
                let mut found = declared_twice(sources);
                if found.is_empty() {
                    found = unresolved(&error.to_string(), sources);
                }
                match found.is_empty() {
                    true => self.problems.extend(PolicyProblem::from_cedar(None, &error)),
                    false => self.problems.extend(found),
                }
                None
            }
        }
    }

    /// Takes a file in.
    fn take(&mut self, policy_file: Arc<PolicyFile>) {
        for entry in &policy_file.entries {
            let named = match entry {
                Entry::Policy(named) => named,
                Entry::Invalid(problems) => {
                    self.problems.extend(problems.iter().cloned());
                    continue;
                }
            };
            if let Some((before, line)) = self.known(&named.info.id) {
                let problem = policy_file.repeats(named, before, line);
                self.problems.push(problem);
                continue;
            }
            self.by_id.insert(Arc::clone(&named.info.id), (self.infos.len(), named.line));
            self.infos.push(Arc::clone(&named.info));
            if let Body::Static(compiled) = &named.body {
                self.program.push(Arc::clone(compiled));
            }
            self.note(&named.checked);
        }
        self.policy_files.push(policy_file);
    }

    fn known(&self, id: &str) -> Option<(&Arc<PolicyInfo>, usize)> {
        let (position, line) = self.by_id.get(id)?;
        Some((self.infos.get(*position)?, *line))
    }

    fn note(&mut self, checked: &Checked) {
        self.invalid.extend(checked.errors.iter().cloned());
        self.warnings.extend(checked.warnings.iter().cloned());
    }

    /// A template that nothing links decides nothing, whatever its author thinks.
    fn warn_of_unlinked(&mut self) {
        let linked: HashSet<Arc<str>> =
            self.infos.iter().filter_map(|info| info.linked_from.clone()).collect();
        let unlinked = self.infos.iter().filter(|info| info.is_template && !linked.contains(&info.id));
        let warnings = unlinked.filter_map(|info| {
            let mut files = self.policy_files.iter().map(|policy_file| &policy_file.source);
            let source = files.find(|source| source.path == info.file)?;
            let message = format!("nothing links the template `{}`: it decides nothing", info.id);
            let problem = PolicyProblem::in_file(&source.path, &source.text, message);
            let problem = problem.at(Some((info.offset, info.length).into()), "this template");
            Some(problem.about(&info.id).into_warning())
        });
        self.warnings.extend(warnings.collect::<Vec<_>>());
    }

    /// The links of all files, then those that were added one by one.
    fn all_links(&mut self, sources: &Sources, compiled_schema: Option<&CompiledSchema>) -> Vec<FoundLink> {
        let types: Vec<&str> =
            compiled_schema.iter().flat_map(|schema| schema.schema_index.type_names()).collect();
        let mut found = Vec::new();
        for source in sources.iter().filter(|source| source.kind == SourceKind::Links) {
            match links::read(source, &types) {
                Ok(placed) => found.extend(placed.into_iter().map(|PlacedLink { link, line }| FoundLink {
                    link,
                    place: Some((source.clone(), line)),
                })),
                Err(problem) => self.problems.push(*problem),
            }
        }
        let single = sources.links().iter().cloned();
        found.extend(single.map(|link| FoundLink { link, place: None }));
        found
    }

    /// Makes policies of templates.
    fn links(&mut self, links: &[FoundLink], validator: Option<(&Validator, &Schema)>) {
        if links.is_empty() {
            return;
        }
        let mut set = ast::PolicySet::new();
        for entry in self.policy_files.iter().flat_map(|policy_file| &policy_file.entries) {
            if let Entry::Policy(named) = entry
                && let Body::Template(template) = &named.body
            {
                // One whose id is taken is reported already.
                let _ = set.add_template(template.as_ref().clone());
            }
        }
        for found in links {
            if let Err(message) = self.link(found, &mut set) {
                let problem = match &found.place {
                    Some((source, line)) => problem_at(source, *line, message),
                    None => PolicyProblem::general(message),
                };
                self.problems.push(problem.about(&found.link.id));
            }
        }
        let Some((validator, schema)) = validator else { return };
        let policy_files = std::mem::take(&mut self.policy_files);
        let file = |id: &str| {
            let (info, _) = self.known(id)?;
            policy_files.iter().map(|policy_file| &policy_file.source).find(|source| source.path == info.file)
        };
        let mut checked = check(validator, schema, set, file);
        self.policy_files = policy_files;
        for FoundLink { link, .. } in links {
            if let Some(checked) = checked.remove(&link.id) {
                self.note(&checked);
            }
        }
    }

    fn link(&mut self, found: &FoundLink, set: &mut ast::PolicySet) -> Result<(), String> {
        let FoundLink { link, place } = found;
        let Some((template, line)) = self.known(&link.template) else {
            return Err(format!(
                "the link `{}` names the template `{}`, which is not there",
                link.id, link.template
            ));
        };
        if !template.is_template {
            return Err(format!(
                "`{}` in `{}:{line}` is no template: it has no slot",
                link.template, template.file
            ));
        }
        if let Some((what, advice)) = unusable_id(&link.id) {
            return Err(format!("the id `{}` {what}: {advice}", link.id.escape_debug()));
        }
        let info = PolicyInfo {
            id: link.id.as_str().into(),
            is_template: false,
            linked_from: Some(Arc::clone(&template.id)),
            linked_at: place.as_ref().map(|(source, line)| format!("{}:{line}", source.path).into()),
            ..template.as_ref().clone()
        };
        if let Some((before, line)) = self.known(&link.id) {
            return Err(format!("the id `{}` is already used in `{}:{line}`", link.id, before.file));
        }
        let mut slots = HashMap::new();
        for (slot, uid) in [(SlotId::principal(), &link.principal), (SlotId::resource(), &link.resource)] {
            if let Some(uid) = uid {
                slots.insert(slot, parse_uid(uid)?);
            }
        }
        let id = PolicyID::from_string(&link.id);
        let linked = set.link(PolicyID::from_string(&link.template), id, slots);
        let policy = linked.map_err(|error| format!("the link `{}` does not fit: {error}", link.id))?;
        let compiled = CompiledPolicy::new(policy, Arc::clone(&info.id), info.notes());
        let compiled = compiled.ok_or_else(|| format!("the policy `{}` could not be prepared", info.id))?;
        self.program.push(Arc::new(compiled));
        self.by_id.insert(Arc::clone(&info.id), (self.infos.len(), 1));
        self.infos.push(Arc::new(info));
        Ok(())
    }
}

/// The Cedar name of an entity of any type.
pub(crate) fn parse_uid(uid: &model::EntityUid) -> Result<EntityUID, String> {
    let kind = uid.type_name().parse().map_err(|_| format!("`{}` is not a type name", uid.type_name()))?;
    Ok(EntityUID::from_components(kind, Eid::new(uid.id()), None))
}
