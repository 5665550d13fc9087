//! The live policies: loaded as a whole or not at all, immutable, shared by all requests.

use std::sync::Arc;

use cedar_policy_core::ast::{self, Entity, EntityUID, Expr, ExprKind, Literal, Request};
use cedar_policy_core::entities::Entities;
use smol_str::SmolStr;

use super::error::{PolicyErrors, Problem};
use super::evaluate::{Answer, Asked, evaluate};
use super::index::Index;
use super::load::{Loaded, PolicyInfo, Strictness, annotation, load};
use super::program::Compiled;
use super::request::{Framed, Input, Prepared, Query, prepare};
use super::settings::{OnPolicyError, Settings};
use super::shape::{Mismatch, Shape};
use super::source::Sources;
use super::verdict::Verdict;
use super::vocabulary::Vocabulary;
use crate::model::{self, PolicyMode, PolicyVersion};

/// A schema and the policies that fit it. An empty set is legal, and denies everything.
#[derive(Debug)]
pub struct Bundle {
    settings: Settings,
    version: PolicyVersion,
    sources: Sources,
    schema: cedar_policy::Schema,
    words: Vocabulary,
    about: Vec<PolicyInfo>,
    warnings: Vec<Problem>,
    program: Vec<Compiled>,
    index: Index,
    /// Actions that conditions name: they must be there to be asked about, whatever the request's action is.
    named_actions: Vec<Arc<Entity>>,
}

impl Bundle {
    /// Parses and validates everything; refuses the whole with every problem when there is one.
    pub fn load(sources: Sources) -> Result<Self, PolicyErrors> {
        Self::load_with(sources, Settings::default())
    }

    /// The same with settings.
    pub fn load_with(sources: Sources, settings: Settings) -> Result<Self, PolicyErrors> {
        let loaded = load(&sources, &settings.limits, Strictness::Product)?;
        Self::assemble(sources, loaded, settings)
    }

    /// Takes policies as Cedar's own test data has them: named by position (`policy0`), not validated.
    ///
    /// For measuring this evaluator against Cedar. The gateway never calls it.
    pub fn insecure_load_as_cedar(sources: Sources) -> Result<Self, PolicyErrors> {
        let settings = Settings::default();
        let loaded = load(&sources, &settings.limits, Strictness::AsCedar)?;
        Self::assemble(sources, loaded, settings)
    }

    /// The same policies, in a gateway that treats an error in a policy so.
    #[must_use]
    pub fn with_errors_as(mut self, rule: OnPolicyError) -> Self {
        self.settings.on_policy_error = rule;
        self
    }

    fn assemble(sources: Sources, loaded: Loaded, settings: Settings) -> Result<Self, PolicyErrors> {
        let Loaded { schema, policies: policy_set, about, warnings } = loaded;
        let words = Vocabulary::new(&schema);
        let mut program = Vec::with_capacity(about.len());
        for info in about.iter().filter(|info| !info.is_template) {
            let policy = policy_set.get(&ast::PolicyID::from_string(&info.id));
            let compiled =
                policy.and_then(|policy| Compiled::new(policy, info.mode, annotation(policy, "reason")));
            let lost = || Problem::general(format!("the policy `{}` could not be prepared", info.id));
            program.push(compiled.ok_or_else(lost)?);
        }
        let index = Index::new(&program);
        let named_actions = named_actions(&program, &words);
        let version = sources.version();
        Ok(Self { settings, version, sources, schema, words, about, warnings, program, index, named_actions })
    }

    /// The digest of everything the bundle was made of.
    pub fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// What the bundle was made of.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is suspicious without being wrong (a policy that can never hold).
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// All policies and templates, in the order of the files.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyInfo> {
        self.about.iter()
    }

    /// The policy of this id.
    pub fn policy(&self, id: &str) -> Option<&PolicyInfo> {
        self.about.iter().find(|info| info.id.as_ref() == id)
    }

    /// Whether the schema has this action.
    pub fn knows_action(&self, action: &model::EntityUid) -> bool {
        self.words.action(action).is_ok()
    }

    /// Whether one action is in a group, at any depth.
    pub(crate) fn is_action_in(&self, action: &model::EntityUid, group: &model::EntityUid) -> bool {
        match (self.words.action(action), self.words.action(group)) {
            (Ok(action), Ok(group)) => action.entity.is_descendant_of(group.entity.uid()),
            _ => false,
        }
    }

    /// Types the values of a question from outside, and fills in what its context lacks and the action's schema
    /// requires, as far as `known` has it. Only a question that would be denied as a mismatch is changed by this.
    pub fn complete<'a>(&self, query: &mut Query, known: impl FnOnce() -> &'a model::Value) {
        self.type_query(query);
        if let (Ok(action), model::Value::Record(given)) =
            (self.words.action(&query.action), &mut query.context)
            && let Shape::Record(shape) = &action.context
            && shape.lacks_any(given)
            && let model::Value::Record(known) = known()
        {
            shape.complete(given, known);
        }
    }

    /// Decides. Never fails: what cannot be decided is denied.
    pub fn decide(&self, query: &Query) -> Verdict {
        self.decide_with(query, Input::Given)
    }

    /// Whether some input could be permitted, for a list of what a caller may use: `context.input` is left out of
    /// the query. A permit that hangs on the input counts as one that holds, a forbid that does as one that does
    /// not; so nothing that can be called is hidden, and each call is still decided by itself.
    pub fn decide_open(&self, query: &Query) -> Verdict {
        self.decide_with(query, Input::Open)
    }

    fn decide_with(&self, query: &Query, input: Input) -> Verdict {
        match self.answer_query(query, input) {
            Ok(answer) => Verdict::of_answer(&answer, self.settings.on_policy_error),
            Err(mismatch) => Verdict::of_mismatch(&mismatch),
        }
    }

    /// The context is checked as a whole, but only what the policies in question can see of it is handed to them.
    fn answer_query(&self, query: &Query, input: Input) -> Result<Answer<'_>, Mismatch> {
        let framed = Framed::of(query, &self.words, &self.named_actions)?;
        let asked =
            Asked::among(&framed.entities, &framed.principal, framed.action.entity.uid(), &framed.resource);
        let candidates = self.index.candidates(&self.program, &asked);
        let wanted = |field: &SmolStr| candidates.iter().any(|policy| policy.reads.has(field));
        let prepared = framed.with_context(&query.context, input, &self.words, wanted)?;
        let mut answer = evaluate(&candidates, &prepared.request, &prepared.entities);
        if input == Input::Open {
            answer.suppose_input();
        }
        Ok(answer)
    }

    /// The question as it is evaluated.
    pub(crate) fn prepare(&self, query: &Query) -> Result<Prepared, Mismatch> {
        prepare(query, Input::Given, &self.words, &self.named_actions)
    }

    /// Decides a question that was built, with its input or without.
    pub(crate) fn decide_either(&self, prepared: &Prepared, open: bool) -> Verdict {
        let mut answer = self.answer(&prepared.request, &prepared.entities);
        if open {
            answer.suppose_input();
        }
        Verdict::of_answer(&answer, self.settings.on_policy_error)
    }

    /// The actions that conditions name.
    pub(crate) fn named_actions(&self) -> &[Arc<Entity>] {
        &self.named_actions
    }

    /// The policies whose scope matches a question; none for one that does not fit the schema.
    pub(crate) fn in_scope(&self, query: &Query, input: Input) -> Vec<&Compiled> {
        let Ok(prepared) = prepare(query, input, &self.words, &self.named_actions) else { return Vec::new() };
        let asked = Asked::of(&prepared.request, &prepared.entities);
        asked.map(|asked| self.index.candidates(&self.program, &asked)).unwrap_or_default()
    }

    pub(crate) fn decide_prepared(&self, request: &Request, entities: &Entities) -> Verdict {
        Verdict::of_answer(&self.answer(request, entities), self.settings.on_policy_error)
    }

    /// Which policies hold for a request.
    pub(crate) fn answer(&self, request: &Request, entities: &Entities) -> Answer<'_> {
        let Some(asked) = Asked::of(request, entities) else { return Answer::default() };
        evaluate(&self.index.candidates(&self.program, &asked), request, entities)
    }

    pub(crate) fn schema(&self) -> &cedar_policy::Schema {
        &self.schema
    }

    pub(crate) fn words(&self) -> &Vocabulary {
        &self.words
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every policy that decides with what is known about it, in the order of the files.
    pub(crate) fn program(&self) -> impl Iterator<Item = (&PolicyInfo, &Compiled)> {
        self.about.iter().filter(|info| !info.is_template).zip(&self.program)
    }

    /// Whether any policy is in `log_only` mode.
    pub fn has_log_only(&self) -> bool {
        self.program.iter().any(|policy| policy.mode == PolicyMode::LogOnly)
    }
}

fn named_actions(program: &[Compiled], words: &Vocabulary) -> Vec<Arc<Entity>> {
    let conditions = program.iter().filter_map(|policy| policy.condition.as_deref());
    let mut named: Vec<&EntityUID> =
        conditions.flat_map(Expr::subexpressions).filter_map(action_named).collect();
    named.sort();
    named.dedup();
    let entities = words.action_entities();
    entities.filter(|entity| named.binary_search(&entity.uid()).is_ok()).cloned().collect()
}

fn action_named(expression: &Expr) -> Option<&EntityUID> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(uid)) if uid.is_action() => Some(uid),
        _ => None,
    }
}
