//! One file of policies by itself: parsed, named, validated and made ready to run, with everything that is wrong in it.
//!
//! What a file comes to hangs on its own text and on the schema alone. So a file that is the same as before is taken
//! over from the set before, and the result is that of reading everything again: there is only this one way to read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Schema, ValidationMode, ValidationWarning, Validator};
use cedar_policy_core::ast::{self, ActionConstraint, EntityUID, PolicyID, Template};
use cedar_policy_core::parser;
use cedar_policy_core::validator::ValidatorSchema;
use miette::{Diagnostic, SourceSpan};

use super::annotations::{PolicyAnnotations, VIOLATIONS, obligations, refusal};
use super::depth::{self, Language};
use super::error::PolicyProblem;
use super::load::{PolicyInfo, Strictness};
use super::source::Source;
use crate::model::PolicyMode;
use crate::policy::engine::compiled::CompiledPolicy;
use crate::suggest::nearest;

/// The longest policy id, in characters.
const ID_CHARACTERS: usize = 128;

/// What one file came to.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub(crate) source: Source,
    /// What stands in it, in order.
    pub(crate) entries: Vec<Entry>,
}

/// One thing that stands in a file.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A policy or template with a name.
    Policy(ParsedPolicy),
    /// What cannot be taken in at all.
    Invalid(Vec<PolicyProblem>),
}

/// A policy or template that has a name, and what validation says of it.
#[derive(Debug)]
pub(crate) struct ParsedPolicy {
    pub(crate) info: Arc<PolicyInfo>,
    /// The line it begins in.
    pub(crate) line: usize,
    span: Option<SourceSpan>,
    pub(crate) body: Body,
    pub(crate) checked: Checked,
}

/// What runs, or what is linked.
#[derive(Debug)]
pub(crate) enum Body {
    Static(Arc<CompiledPolicy>),
    Template(Arc<Template>),
}

/// What validation found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) errors: Vec<PolicyProblem>,
    pub(crate) warnings: Vec<PolicyProblem>,
}

impl PolicyFile {
    /// Reads a file. `validator` is `None` where nothing is validated.
    pub(crate) fn read(
        source: &Source,
        strictness: Strictness,
        validator: Option<(&Validator, &Schema)>,
    ) -> Self {
        let mut reader = Reader {
            source,
            strictness,
            set: ast::PolicySet::new(),
            entries: Vec::new(),
            names: BTreeSet::new(),
        };
        reader.read();
        let Reader { set, mut entries, .. } = reader;
        if let Some((validator, schema)) = validator {
            let mut checked = check(validator, schema, set, |_| Some(source));
            for entry in &mut entries {
                if let Entry::Policy(named) = entry {
                    named.checked = checked.remove(named.info.id.as_ref()).unwrap_or_default();
                }
            }
        }
        Self { source: source.clone(), entries }
    }

    /// Whether reading `source` again would come to the same.
    pub(crate) fn is_of(&self, source: &Source) -> bool {
        let (mine, theirs) = (&self.source, source);
        mine.name == theirs.name && mine.path == theirs.path && mine.text == theirs.text
    }

    /// That an id is taken.
    pub(crate) fn repeats(&self, named: &ParsedPolicy, before: &PolicyInfo, line: usize) -> PolicyProblem {
        let id = &named.info.id;
        let message = format!("the id `{id}` is already used in `{}:{line}`", before.file);
        let problem = PolicyProblem::in_file(&self.source.path, &self.source.text, message);
        problem
            .at(named.span, "used again here")
            .about(id)
            .with_advice("give every policy an `@id` of its own")
    }
}

/// Validates a set; what is found, by policy.
pub(crate) fn check<'s>(
    validator: &Validator,
    schema: &Schema,
    set: ast::PolicySet,
    source_of: impl Fn(&str) -> Option<&'s Source>,
) -> HashMap<String, Checked> {
    let forbids = forbids(&set);
    let result = validator.validate(&cedar_policy::PolicySet::from(set), ValidationMode::Strict);
    let mut found: HashMap<String, Checked> = HashMap::new();
    let reported = |report: &dyn Diagnostic, id: &str| {
        let file = source_of(id).map(|source| (&source.path, &source.text));
        PolicyProblem::from_cedar(file, report)
            .into_iter()
            .map(|problem| problem.about(id))
            .collect::<Vec<_>>()
    };
    for error in result.validation_errors() {
        let id: &str = error.policy_id().as_ref();
        let mut problems = reported(error, id);
        if matches!(error, cedar_policy::ValidationError::UnrecognizedActionId(_)) {
            problems.iter_mut().for_each(|problem| problem.advice = nearest_action(&problem.message, schema));
        }
        found.entry(id.to_owned()).or_default().errors.extend(problems);
    }
    for warning in result.validation_warnings() {
        let id: &str = warning.policy_id().as_ref();
        let problems = reported(warning, id);
        let checked = found.entry(id.to_owned()).or_default();
        match (warning, forbids.get(id)) {
            (ValidationWarning::ImpossiblePolicy(_), Some(action)) => {
                let advice = action.as_ref().and_then(|action| group_advice(action, schema));
                let advice = advice.unwrap_or_else(|| STOPS_NOTHING.to_owned());
                checked
                    .errors
                    .extend(problems.into_iter().map(|problem| problem.with_advice(advice.as_str())));
            }
            _ => checked.warnings.extend(problems.into_iter().map(PolicyProblem::into_warning)),
        }
    }
    // Cedar gives what it finds in one policy in no order.
    for checked in found.values_mut() {
        for problems in [&mut checked.errors, &mut checked.warnings] {
            problems.sort_by_cached_key(|problem| (problem.offset(), problem.message.clone()));
        }
        checked.errors = gathered(std::mem::take(&mut checked.errors));
    }
    found
}

/// The error about a `forbid` that can never hold: its author believes that it stops something.
pub(crate) const STOPS_NOTHING: &str =
    "a `forbid` that can never hold stops nothing: look at its scope and its conditions, or remove it";

/// The policies that forbid by id, each with the one action that its scope names, if it does.
fn forbids(set: &ast::PolicySet) -> HashMap<String, Option<Arc<EntityUID>>> {
    let action = |constraint: &ActionConstraint| match constraint {
        ActionConstraint::Eq(uid) => Some(Arc::clone(uid)),
        ActionConstraint::Any | ActionConstraint::In(_) => None,
    };
    let templates = set.all_templates().filter(|template| template.effect() == ast::Effect::Forbid);
    let templates =
        templates.map(|template| (template.id().to_string(), action(template.action_constraint())));
    let policies = set.policies().filter(|policy| policy.effect() == ast::Effect::Forbid);
    templates
        .chain(policies.map(|policy| (policy.id().to_string(), action(policy.action_constraint()))))
        .collect()
}

/// The fix for a scope that names a group as if it were an action: no request is for a group.
fn group_advice(action: &EntityUID, schema: &Schema) -> Option<String> {
    let schema: &ValidatorSchema = schema.as_ref();
    let known = schema.get_action_id(action)?;
    let is_group = known.applies_to_principals().next().is_none();
    is_group
        .then(|| format!("`{}` is a group: write `action in {action}`", AsRef::<str>::as_ref(action.eid())))
}

/// More problems than this at one place are told as one.
const AT_ONE_PLACE: usize = 3;

/// A policy that is about everything is wrong in one place for each type or action that does not have what it looks at.
fn gathered(problems: Vec<PolicyProblem>) -> Vec<PolicyProblem> {
    let alike =
        |one: &PolicyProblem, other: &PolicyProblem| !one.spans.is_empty() && one.spans == other.spans;
    let groups = problems.chunk_by(alike).flat_map(|group| match group {
        [first, rest @ ..] if group.len() > AT_ONE_PLACE => {
            let mut first = first.clone();
            first.message = format!("{}, and {} more like this at this place", first.message, rest.len());
            // A misspelt name is the same slip for each of them.
            let slip = |problem: &PolicyProblem| {
                problem.advice.clone().filter(|advice| advice.starts_with("did you mean"))
            };
            if let Some(meant) = slip(&first).filter(|meant| rest.iter().all(|one| slip(one).as_ref() == Some(meant))) {
                return vec![first.with_advice(meant)];
            }
            let narrow = "not everything in the policy's scope has this: narrow the scope, as with `action in […]` or `resource is …`";
            vec![first.with_advice(narrow)]
        }
        few => few.to_vec(),
    });
    groups.collect()
}

struct Reader<'s> {
    source: &'s Source,
    strictness: Strictness,
    /// What is to be validated.
    set: ast::PolicySet,
    entries: Vec<Entry>,
    /// Names of annotations so far: most policies have the same few.
    names: BTreeSet<Arc<str>>,
}

impl Reader<'_> {
    fn read(&mut self) {
        if let Err(deep) = depth::check(&self.source.text, Language::Policy) {
            let problem = deep.problem(&self.source.path, &self.source.text);
            return self.entries.push(Entry::Invalid(vec![problem]));
        }
        let parsed = match parser::parse_policyset(&self.source.text) {
            Ok(parsed) => parsed,
            Err(errors) => {
                let file = Some((&self.source.path, &self.source.text));
                let problems =
                    errors.iter().flat_map(|error| PolicyProblem::from_cedar(file, error)).collect();
                return self.entries.push(Entry::Invalid(problems));
            }
        };
        let mut templates: Vec<&Template> = parsed.all_templates().collect();
        templates.sort_by_key(|template| template.loc().map_or(0, parser::Loc::start));
        let (mut line, mut counted) = (1, 0);
        for template in templates {
            let offset = template.loc().map_or(0, parser::Loc::start);
            line += self.source.text.get(counted..offset).map_or(0, |text| text.matches('\n').count());
            counted = offset;
            let entry = self.entry(template, line).map_or_else(Entry::Invalid, Entry::Policy);
            self.entries.push(entry);
        }
    }

    /// Takes one static policy or template. (To Cedar a static policy is a template without slots.)
    fn entry(&mut self, template: &Template, line: usize) -> Result<ParsedPolicy, Vec<PolicyProblem>> {
        let annotations: PolicyAnnotations = template
            .annotations()
            .map(|(name, value)| (self.name(AsRef::<str>::as_ref(name)), value.val.as_str().into()))
            .collect();
        let id = self.id_of(template, &annotations)?;
        self.refuse_unknown(template, &annotations, &id)?;
        self.check_obligations(template, &annotations, &id)?;
        let mode = self.mode_of(template, &annotations)?;
        let named = Arc::new(template.new_id(PolicyID::from_string(&id)));
        let info = PolicyInfo {
            id: Arc::clone(&id),
            effect: named.effect().into(),
            mode,
            file: Arc::clone(&self.source.path),
            source: Arc::clone(&self.source.text),
            length: template.loc().and_then(parser::Loc::snippet).map_or(0, str::len),
            offset: template.loc().map_or(0, parser::Loc::start),
            annotations,
            is_template: !named.is_static(),
            linked_from: None,
            linked_at: None,
        };
        let trouble = |message: String| vec![self.place(template, &message, "here").about(&id)];
        let body = match info.is_template {
            true => Body::Template(Arc::clone(&named)),
            false => {
                let policy = Template::try_as_policy(Arc::clone(&named));
                let policy = policy.map_err(|error| trouble(error.to_string()))?;
                let compiled = CompiledPolicy::new(&policy, Arc::clone(&id), info.notes());
                let lost = || trouble(format!("the policy `{id}` could not be prepared"));
                Body::Static(Arc::new(compiled.ok_or_else(lost)?))
            }
        };
        // One whose id stands further up in this file is refused in any case, and not validated.
        let _ = match &body {
            Body::Template(template) => self.set.add_template(template.as_ref().clone()).is_ok(),
            Body::Static(_) => {
                Template::try_as_policy(named).is_ok_and(|policy| self.set.add(policy).is_ok())
            }
        };
        let span = template.loc().map(Into::into);
        Ok(ParsedPolicy { info: Arc::new(info), line, span, body, checked: Checked::default() })
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.names.insert(Arc::clone(&new));
        new
    }

    fn id_of(
        &self,
        template: &Template,
        annotations: &PolicyAnnotations,
    ) -> Result<Arc<str>, Vec<PolicyProblem>> {
        let given = annotations.get("id");
        let (message, advice) = match given {
            _ if self.strictness == Strictness::AsCedar => {
                return Ok(AsRef::<str>::as_ref(template.id()).into());
            }
            None => {
                ("the policy has no `@id`".to_owned(), "write `@id(\"area.what-it-does\")` in front of it")
            }
            Some(id) => match unusable_id(id) {
                None => return Ok(Arc::clone(id)),
                Some((what, advice)) => (format!("the policy's `@id` {what}"), advice),
            },
        };
        Err(vec![self.place(template, &message, "this policy").with_advice(advice)])
    }

    fn refuse_unknown(
        &self,
        template: &Template,
        annotations: &PolicyAnnotations,
        id: &str,
    ) -> Result<(), Vec<PolicyProblem>> {
        if self.strictness == Strictness::AsCedar {
            return Ok(());
        }
        let refused = annotations.iter().filter_map(|(name, _)| refusal(name));
        let problems: Vec<PolicyProblem> = refused
            .map(|(message, advice)| {
                self.place(template, &message, "this policy").with_advice(advice).about(id)
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Obligations are read here, so that one that cannot be carried out refuses the set.
    fn check_obligations(
        &self,
        template: &Template,
        annotations: &PolicyAnnotations,
        id: &str,
    ) -> Result<(), Vec<PolicyProblem>> {
        if self.strictness == Strictness::AsCedar {
            return Ok(());
        }
        let refuse = |message: &str, advice: &str| {
            Err(vec![self.place(template, message, "this policy").with_advice(advice).about(id)])
        };
        if let Some(word) = annotations.get("violation") {
            if !VIOLATIONS.contains(&word.as_ref()) {
                return refuse(&format!("`@violation` names no violation: {word:?}"), "write `memory_scope`");
            }
            if template.effect() == ast::Effect::Permit {
                return refuse("`@violation` has no effect on a `permit`", "write it on a `forbid`");
            }
        }
        match obligations(annotations) {
            Err(error) => refuse(&error.to_string(), "separate several with spaces"),
            Ok(all) if !all.is_empty() && template.effect() == ast::Effect::Forbid => refuse(
                "`@label` and `@redact` have no effect on a `forbid`",
                "write them on the `permit` that allows the operation",
            ),
            Ok(_) => Ok(()),
        }
    }

    fn mode_of(
        &self,
        template: &Template,
        annotations: &PolicyAnnotations,
    ) -> Result<PolicyMode, Vec<PolicyProblem>> {
        match annotations.get("mode").map(|mode| mode.as_ref()) {
            _ if self.strictness == Strictness::AsCedar => Ok(PolicyMode::Enforce),
            None => Ok(PolicyMode::Enforce),
            Some("log_only") => Ok(PolicyMode::LogOnly),
            // A misspelt mode would silently enforce, or silently not: neither is for us to choose.
            Some(other) => {
                let message = format!("`@mode(\"{}\")` is not known", other.escape_debug());
                let problem = self.place(template, &message, "this policy");
                Err(vec![problem.with_advice("`log_only` is the only mode; leave it out to enforce")])
            }
        }
    }

    fn place(&self, template: &Template, message: &str, label: &str) -> PolicyProblem {
        let problem = PolicyProblem::in_file(&self.source.path, &self.source.text, message);
        problem.at(template.loc().map(Into::into), label)
    }
}

/// The action that was meant. Cedar's own guess is often `"*"`, which is the last thing to advise.
fn nearest_action(message: &str, schema: &Schema) -> Option<String> {
    let written = message.rsplit("unrecognized action `").next()?.trim_end_matches('`');
    let known: Vec<String> = schema.actions().map(ToString::to_string).collect();
    let nearest = nearest(written, known.iter().map(String::as_str))?;
    Some(format!("did you mean `{nearest}`?"))
}

/// What is wrong with the id of a policy, and what to do.
pub(super) fn unusable_id(id: &str) -> Option<(&'static str, &'static str)> {
    match id {
        _ if id.trim().is_empty() => Some(("is empty", "give it a stable name")),
        _ if id.chars().count() > ID_CHARACTERS => {
            Some(("is longer than 128 characters", "give it a shorter name"))
        }
        _ if id.chars().any(char::is_control) => {
            Some(("has a control character", "use letters, digits and marks"))
        }
        _ => None,
    }
}
