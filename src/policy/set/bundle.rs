//! The live policies: loaded as a whole or not at all, immutable, shared by all requests.

use std::collections::HashSet;
use std::ptr;
use std::sync::Arc;

use cedar_policy_core::ast::{Entity, EntityUID, Request};
use cedar_policy_core::entities::Entities;
use rustc_hash::FxHashSet;

use super::error::{PolicyErrors, PolicyProblem};
use super::load::{CompiledSchema, Loaded, PolicyInfo, Strictness, load};
use super::policy_file::PolicyFile;
use super::settings::{OnPolicyError, Settings};
use super::source::{Link, Sources};
use crate::model::{self, Outcome, PolicyMode, PolicyVersion};
use crate::policy::engine::compiled::CompiledPolicy;
use crate::policy::engine::evaluate::{Answer, Asked, evaluate};
use crate::policy::engine::index::Index;
use crate::policy::engine::projection::Projection;
use crate::policy::engine::request::{Framed, Input, Prepared, Query, prepare};
use crate::policy::engine::schema_index::SchemaIndex;
use crate::policy::engine::types::{Mismatch, Shape};
use crate::policy::engine::verdict::Verdict;

/// A schema and the policies that fit it. An empty set is legal, and denies everything.
#[derive(Debug)]
pub struct Bundle {
    settings: Settings,
    version: PolicyVersion,
    sources: Sources,
    compiled_schema: Arc<CompiledSchema>,
    /// The files by themselves, for the load after this.
    policy_files: Vec<Arc<PolicyFile>>,
    infos: Vec<Arc<PolicyInfo>>,
    links: Vec<Link>,
    warnings: Vec<PolicyProblem>,
    program: Vec<Arc<CompiledPolicy>>,
    index: Index,
    /// Actions that conditions name: they must be there to be asked about, whatever the request's action is.
    named_actions: Vec<Arc<Entity>>,
    /// Policies that name entities and look into them.
    naming: Vec<Arc<CompiledPolicy>>,
}

impl Bundle {
    /// Parses and validates everything; refuses the whole with every problem when there is one.
    pub fn load(sources: Sources) -> Result<Self, PolicyErrors> {
        Self::load_with(sources, Settings::default())
    }

    /// The same with settings.
    pub fn load_with(sources: Sources, settings: Settings) -> Result<Self, PolicyErrors> {
        let loaded = load(&sources, &settings.limits, Strictness::Product, None)?;
        Ok(Self::assemble(sources, loaded, settings))
    }

    /// The same as [`Bundle::load_with`] in less time: what is the same as in this bundle is not read again. The result, or what
    /// is wrong, is exactly that of a load of everything.
    pub fn load_next(&self, sources: Sources, settings: Settings) -> Result<Self, PolicyErrors> {
        let sources = sources.sharing(&self.sources);
        let before = Some((&self.compiled_schema, self.policy_files.as_slice()));
        let loaded = load(&sources, &settings.limits, Strictness::Product, before)?;
        Ok(Self::assemble(sources, loaded, settings))
    }

    /// Takes policies as Cedar's own test data has them: named by position (`policy0`), not validated.
    ///
    /// For measuring this evaluator against Cedar. The gateway never calls it.
    pub fn insecure_load_as_cedar(sources: Sources) -> Result<Self, PolicyErrors> {
        let settings = Settings::default();
        let loaded = load(&sources, &settings.limits, Strictness::AsCedar, None)?;
        Ok(Self::assemble(sources, loaded, settings))
    }

    /// The same policies, in a gateway that treats an error in a policy so.
    #[must_use]
    pub fn with_errors_as(mut self, rule: OnPolicyError) -> Self {
        self.settings.on_policy_error = rule;
        self
    }

    fn assemble(sources: Sources, loaded: Loaded, settings: Settings) -> Self {
        let Loaded { compiled_schema, policy_files, infos, links, program, warnings } = loaded;
        let index = Index::new(&program);
        let named_actions = named_actions(&program, &compiled_schema.schema_index);
        let naming = program.iter().filter(|policy| !policy.looked_into.is_empty()).cloned().collect();
        let version = sources.version();
        Self {
            settings,
            version,
            sources,
            compiled_schema,
            policy_files,
            infos,
            links,
            warnings,
            program,
            index,
            named_actions,
            naming,
        }
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
    pub fn warnings(&self) -> &[PolicyProblem] {
        &self.warnings
    }

    /// All policies and templates, in the order of the files.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyInfo> {
        self.infos.iter().map(AsRef::as_ref)
    }

    /// What was made of templates.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The policy of this id.
    pub fn policy(&self, id: &str) -> Option<&PolicyInfo> {
        self.policies().find(|info| info.id.as_ref() == id)
    }

    /// Whether the schema has this action.
    pub fn knows_action(&self, action: &model::EntityUid) -> bool {
        self.compiled_schema.schema_index.action(action).is_ok()
    }

    /// Whether one action is in a group, at any depth.
    pub(crate) fn is_action_in(&self, action: &model::EntityUid, group: &model::EntityUid) -> bool {
        match (
            self.compiled_schema.schema_index.action(action),
            self.compiled_schema.schema_index.action(group),
        ) {
            (Ok(action), Ok(group)) => action.entity.is_descendant_of(group.entity.uid()),
            _ => false,
        }
    }

    /// Types the values of a question from outside, and fills in what its context lacks and the action's schema
    /// requires, as far as `known` has it. Only a question that would be denied as a mismatch is changed by this.
    pub fn complete<'a>(&self, query: &mut Query, known: impl FnOnce() -> &'a model::Value) {
        self.type_query(query);
        if let (Ok(action), model::Value::Record(given)) =
            (self.compiled_schema.schema_index.action(&query.action), &mut query.context)
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

    /// Decides, and tells what another set would have decided. What the two have in common is asked once: the question is
    /// built once for both under the same schema, and a policy that stands in both, in files that are the same, is
    /// evaluated once.
    pub fn decide_beside(
        &self,
        other: Option<&Self>,
        query: &Query,
        open: bool,
    ) -> (Verdict, Option<Outcome>) {
        let input = if open { Input::Open } else { Input::Given };
        let Some(other) = other else { return (self.decide_with(query, input), None) };
        if !Arc::ptr_eq(&self.compiled_schema, &other.compiled_schema) {
            return (self.decide_with(query, input), Some(other.decide_with(query, input).outcome));
        }
        let verdict = |bundle: &Self, answer| Verdict::of_answer(&answer, bundle.settings.on_policy_error);
        match self.answer_both(other, query, input) {
            Ok((mine, theirs)) => (verdict(self, mine), Some(verdict(other, theirs).outcome)),
            Err(mismatch) => {
                let verdict = Verdict::of_mismatch(&mismatch);
                let outcome = verdict.outcome;
                (verdict, Some(outcome))
            }
        }
    }

    fn answer_both<'b>(
        &'b self,
        other: &'b Self,
        query: &Query,
        input: Input,
    ) -> Result<(Answer<'b>, Answer<'b>), Mismatch> {
        let schema_index = &self.compiled_schema.schema_index;
        let framed = Framed::of(query, schema_index)?;
        let mut all = self.index.candidates(&self.program, &framed.asked());
        let theirs = other.index.candidates(&other.program, &framed.asked());
        let of_mine: FxHashSet<*const CompiledPolicy> =
            all.iter().map(|policy| ptr::from_ref(*policy)).collect();
        let of_theirs: FxHashSet<*const CompiledPolicy> =
            theirs.iter().map(|policy| ptr::from_ref(*policy)).collect();
        all.extend(theirs.into_iter().filter(|policy| !of_mine.contains(&ptr::from_ref(*policy))));
        let mut also = self.named_actions.clone();
        let known = |entity: &&Arc<Entity>| !self.named_actions.iter().any(|one| one.uid() == entity.uid());
        also.extend(other.named_actions.iter().filter(known).cloned());
        let prepared = framed.complete(&query.context, input, schema_index, &also, &Projection::of(&all))?;
        let mut answer = evaluate(&all, prepared.request, &prepared.entities);
        if input == Input::Open {
            answer.suppose_input();
        }
        let policy_file =
            |of: &FxHashSet<*const CompiledPolicy>| answer.only(|policy| of.contains(&ptr::from_ref(policy)));
        Ok((policy_file(&of_mine), policy_file(&of_theirs)))
    }

    /// Context and attributes are checked as a whole, but only what the policies in question can see is handed to them.
    fn answer_query(&self, query: &Query, input: Input) -> Result<Answer<'_>, Mismatch> {
        let schema_index = &self.compiled_schema.schema_index;
        let framed = Framed::of(query, schema_index)?;
        let candidates = self.index.candidates(&self.program, &framed.asked());
        if candidates.iter().all(|policy| policy.condition.is_none()) {
            framed.check(&query.context, input, schema_index)?;
            return Ok(Answer { held: candidates, erred: Vec::new() });
        }
        let sight = Projection::of(&candidates);
        let prepared = framed.complete(&query.context, input, schema_index, &self.named_actions, &sight)?;
        let mut answer = evaluate(&candidates, prepared.request, &prepared.entities);
        if input == Input::Open {
            answer.suppose_input();
        }
        Ok(answer)
    }

    /// The question as it is evaluated.
    pub(crate) fn prepare(&self, query: &Query) -> Result<Prepared, Mismatch> {
        prepare(query, Input::Given, &self.compiled_schema.schema_index, &self.named_actions)
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

    /// The policies that name entities and look into them.
    pub(crate) fn naming(&self) -> &[Arc<CompiledPolicy>] {
        &self.naming
    }

    /// The policies whose scope matches a question; none for one that does not fit the schema.
    pub(crate) fn in_scope(&self, query: &Query, input: Input) -> Vec<&CompiledPolicy> {
        let Ok(prepared) = prepare(query, input, &self.compiled_schema.schema_index, &self.named_actions)
        else {
            return Vec::new();
        };
        let asked = Asked::of(&prepared.request, &prepared.entities);
        asked.map(|asked| self.index.candidates(&self.program, &asked)).unwrap_or_default()
    }

    pub(crate) fn decide_prepared(&self, request: &Request, entities: &Entities) -> Verdict {
        Verdict::of_answer(&self.answer(request, entities), self.settings.on_policy_error)
    }

    /// Which policies hold for a request.
    pub(crate) fn answer(&self, request: &Request, entities: &Entities) -> Answer<'_> {
        let Some(asked) = Asked::of(request, entities) else { return Answer::default() };
        evaluate(&self.index.candidates(&self.program, &asked), request.clone(), entities)
    }

    pub(crate) fn schema(&self) -> &cedar_policy::Schema {
        &self.compiled_schema.schema
    }

    pub(crate) fn schema_index(&self) -> &SchemaIndex {
        &self.compiled_schema.schema_index
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every policy that decides with what is known about it, in the order of the files.
    pub(crate) fn program(&self) -> impl Iterator<Item = (&PolicyInfo, &CompiledPolicy)> {
        let policies = self.policies().filter(|info| !info.is_template);
        policies.zip(self.program.iter().map(AsRef::as_ref))
    }

    /// Whether any policy is in `log_only` mode.
    pub fn has_log_only(&self) -> bool {
        self.program.iter().any(|policy| policy.mode == PolicyMode::LogOnly)
    }
}

fn named_actions(program: &[Arc<CompiledPolicy>], schema_index: &SchemaIndex) -> Vec<Arc<Entity>> {
    let named: HashSet<&EntityUID> = program.iter().flat_map(|policy| &policy.names_actions).collect();
    if named.is_empty() {
        return Vec::new();
    }
    schema_index.action_entities().filter(|entity| named.contains(entity.uid())).cloned().collect()
}
