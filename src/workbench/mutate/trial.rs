//! One survivor looked at closer: does it mean the same after all, and if not, which request tells the two apart?

use cedar_policy_symcc::{
    CompiledPolicy as SymbolicPolicy, Env, equivalent_asserts, matches_equivalent_asserts,
    never_errors_asserts, never_matches_asserts,
};

use super::mutation_run::{MutationRun, Survivor, replaced};
use super::sketch::Sketch;
use crate::model::PolicyMode;
use crate::policy::Query;
use crate::policy::engine::compiled::{CompiledPolicy, Effect};
use crate::policy::engine::evaluate::Asked;
use crate::policy::engine::verdict::Verdict;
use crate::workbench::coverage::matches;
use crate::workbench::prove::witness::{confirmed, of_query, small};
use crate::workbench::prove::{Answer, Decided, Environment, Rule, Session, relevant, together};
use crate::workbench::run::{Question, SingleRequest};

/// What came of a closer look.
pub(super) enum Found {
    /// No decision changes, nor which policies decide, nor which err.
    Equivalent,
    Sketch(Sketch),
    Nothing,
}

/// One survivor with the policies around it.
pub(super) struct Trial<'t> {
    mutation_run: &'t MutationRun<'t>,
    survivor: &'t Survivor<'t>,
    rules: &'t [Rule<'t>],
}

impl<'t> Trial<'t> {
    pub(super) fn new(
        mutation_run: &'t MutationRun<'t>,
        survivor: &'t Survivor<'t>,
        rules: &'t [Rule<'t>],
    ) -> Self {
        Self { mutation_run, survivor, rules }
    }

    /// Looks for a proof that no request is decided otherwise, else for a request that is.
    pub(super) fn prove(&self, session: &mut Session<'_>) -> Found {
        // What one that only watches would decide is seen in the log, and by no test: nothing is proved of it.
        if self.survivor.target.members.iter().any(|policy| policy.mode == PolicyMode::LogOnly) {
            return self.nearest();
        }
        let mut open = false;
        let mut other_policies = None;
        for env in self.environments() {
            let found = match self.alike(&env, session) {
                Answer::Holds => continue,
                Answer::Broken(found) => Some(found),
                Answer::Open(_) => None,
            };
            open |= found.is_none();
            match self.decides_alike(&env, session) {
                Answer::Broken(found) => match self.sketched(&found) {
                    Some(sketch) => return Found::Sketch(sketch),
                    None => open = true,
                },
                Answer::Open(_) => open = true,
                Answer::Holds => match self.counts_alike(&env, session) {
                    Some(Answer::Holds) => {}
                    Some(Answer::Broken(found)) => drop(other_policies.get_or_insert(found)),
                    Some(Answer::Open(_)) => open = true,
                    None => other_policies = other_policies.or(found),
                },
            }
        }
        let told = other_policies.as_deref().and_then(|found| self.sketched(found));
        match (told, other_policies, open) {
            (Some(sketch), ..) => Found::Sketch(sketch),
            (None, None, false) => Found::Equivalent,
            (None, ..) => self.nearest(),
        }
    }

    /// Every environment that the policy is about, before or after the change.
    fn environments(&self) -> Vec<Environment> {
        let words = self.mutation_run.bundle.schema_index();
        let policies = || self.survivor.target.members.iter().copied().chain(&self.survivor.changed);
        let mut all = Environment::all(words);
        all.retain(|env| policies().any(|policy| env.matches(&policy.scope, words)));
        all
    }

    /// Whether the policies match the same requests before and after, and cannot err.
    fn alike(&self, env: &Environment, session: &mut Session<'_>) -> Answer {
        let Survivor { target, changed, .. } = self.survivor;
        let mut after = changed.iter();
        for before in &target.members {
            match self.one_alike(before, after.next(), env, session) {
                Answer::Holds => {}
                other => return other,
            }
        }
        Answer::Holds
    }

    fn one_alike(
        &self,
        before: &CompiledPolicy,
        after: Option<&CompiledPolicy>,
        env: &Environment,
        session: &mut Session<'_>,
    ) -> Answer {
        let alone = |policy: &CompiledPolicy| Rule::new(policy).alone(env, self.mutation_run.bundle.schema());
        let after = match after.map(alone).transpose() {
            Ok(after) => after,
            Err(why) => return Answer::Open(why),
        };
        let before_alone = match alone(before) {
            Ok(policy) => policy,
            Err(why) => return Answer::Open(why),
        };
        let mut errs = |policy: &SymbolicPolicy| session.ask(&never_errors_asserts(policy));
        for policy in std::iter::once(&before_alone).chain(&after) {
            match errs(policy) {
                Answer::Holds => {}
                Answer::Broken(_) => return Answer::Open("it can err".to_owned()),
                open @ Answer::Open(_) => return open,
            }
        }
        match &after {
            Some(after) if after.effect() == before_alone.effect() => {
                session.ask(&matches_equivalent_asserts(&before_alone, after))
            }
            // Removed, or turned round: the same only if it never matches.
            Some(_) | None => session.ask(&never_matches_asserts(&before_alone)),
        }
    }

    /// Whether the whole set decides alike.
    fn decides_alike(&self, env: &Environment, session: &mut Session<'_>) -> Answer {
        self.equivalent(env, session, &|_| true)
    }

    /// Whether a permit is among the policies that decide for the same requests: only what is permitted in the end names
    /// its permits. None for a forbid, which is named wherever it matches.
    fn counts_alike(&self, env: &Environment, session: &mut Session<'_>) -> Option<Answer> {
        let Survivor { target, changed, .. } = self.survivor;
        let mut policies = target.members.iter().copied().chain(changed);
        let permits = policies.all(|policy| policy.effect == Effect::Permit);
        let counts = |policy: &CompiledPolicy| policy.effect == Effect::Forbid || target.has(&policy.id);
        permits.then(|| self.equivalent(env, session, &counts))
    }

    /// Whether the policies that count decide alike before and after the change.
    fn equivalent(
        &self,
        env: &Environment,
        session: &mut Session<'_>,
        counts: &dyn Fn(&CompiledPolicy) -> bool,
    ) -> Answer {
        let (bundle, Survivor { target, changed, .. }) = (self.mutation_run.bundle, self.survivor);
        let mut before = relevant(self.rules, env, bundle.schema_index());
        before.retain(|rule| counts(rule.policy()));
        let changed: Vec<Rule<'_>> =
            changed.iter().filter(|policy| policy.mode == PolicyMode::Enforce).map(Rule::new).collect();
        let mut after: Vec<&Rule<'_>> =
            before.iter().copied().filter(|rule| !target.has(&rule.policy().id)).collect();
        after.extend(relevant(&changed, env, bundle.schema_index()));
        let sets = together(&before, env, bundle.schema())
            .and_then(|before| Ok((before, together(&after, env, bundle.schema())?)));
        match sets {
            Ok((before, after)) => session.ask(&equivalent_asserts(&before, &after)),
            Err(why) => Answer::Open(why),
        }
    }

    /// What is decided about a query before and after the change.
    fn decided(&self, query: &Query) -> Option<(Decided, Decided)> {
        let bundle = self.mutation_run.bundle;
        let prepared = bundle.prepare(query).ok()?;
        let answer = bundle.answer(&prepared.request, &prepared.entities);
        let changed = replaced(&prepared, &answer, self.survivor.target, &self.survivor.changed)?;
        let verdict = |answer| Verdict::of_answer(answer, bundle.settings().on_policy_error);
        Some((Decided::new("now", &verdict(&answer)), Decided::new("with the change", &verdict(&changed))))
    }

    /// Whether a test with this query can tell.
    fn tells(&self, query: &Query) -> bool {
        self.decided(query)
            .is_some_and(|(now, changed)| now.outcome != changed.outcome || now.policies != changed.policies)
    }

    fn sketched(&self, found: &Env) -> Option<Sketch> {
        let bundle = self.mutation_run.bundle;
        self.small(confirmed(&[bundle], found, &|query| self.tells(query))?)
    }

    /// The request made small, with a change of the outcome kept if there is one.
    fn small(&self, request: SingleRequest) -> Option<Sketch> {
        let bundle = self.mutation_run.bundle;
        let turns =
            |query: &Query| self.decided(query).is_some_and(|(now, changed)| now.outcome != changed.outcome);
        let small = small(&[bundle], request.clone(), &[], &turns)
            .or_else(|| small(&[bundle], request, &[], &|query| self.tells(query)));
        let (request, query) = small?;
        let (now, changed) = self.decided(&query)?;
        Some(Sketch::noticing(&self.survivor.target.id, &request, &now, &changed))
    }

    /// A test made of one that is there: the row that came near noticing, else one that the policy is about.
    pub(super) fn nearest(&self) -> Found {
        let rows = &self.mutation_run.rows;
        if let Some((test_row, _)) = self.survivor.unnoticed.and_then(|number| rows.get(number)) {
            let queries = test_row.questions.iter().filter_map(|question| question.query.as_ref());
            let noticing =
                queries.filter(|query| self.tells(query)).find_map(|query| self.small(of_query(query)));
            if let Some(sketch) = noticing {
                return Found::Sketch(sketch);
            }
        }
        let near = [3, 2].into_iter().find_map(|fitting| {
            rows.iter().find_map(|(test_row, _)| {
                let question =
                    test_row.questions.iter().find(|question| self.fitting(question) >= fitting)?;
                Some((test_row.name(), question.query.as_ref()?))
            })
        });
        match near.and_then(|(name, query)| self.to_start_from(&name, query)) {
            Some(sketch) => Found::Sketch(sketch),
            None => Found::Nothing,
        }
    }

    /// How many of the three elements of the scope a question fits.
    fn fitting(&self, question: &Question) -> usize {
        let fits = |asked: &Asked<'_>, policy: &CompiledPolicy| {
            matches(policy, asked).into_iter().filter(|fits| *fits).count()
        };
        question.asked().map_or(0, |asked| {
            self.survivor.target.members.iter().map(|policy| fits(&asked, policy)).max().unwrap_or(0)
        })
    }

    fn to_start_from(&self, test: &str, query: &Query) -> Option<Sketch> {
        let bundle = self.mutation_run.bundle;
        let policy = self.survivor.target.members.first()?;
        let seen = |query: &Query| {
            let prepared = bundle.prepare(query).ok()?;
            let asked = Asked::of(&prepared.request, &prepared.entities)?;
            let verdict = bundle.decide(query);
            Some((matches(policy, &asked), verdict.outcome, verdict.policies))
        };
        let wanted = seen(query)?;
        let same = |query: &Query| seen(query).is_some_and(|seen| seen == wanted);
        let (request, query) = small(&[bundle], of_query(query), &[], &same)?;
        let now = Decided::new("now", &bundle.decide(&query));
        let mutant = &self.survivor.mutant;
        Some(Sketch::to_start_from(&mutant.policy, &request, &now, test, mutant.hint))
    }
}
