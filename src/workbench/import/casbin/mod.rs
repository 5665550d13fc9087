//! Casbin: a model with its rules, as policies on entity types of their own, a schema for these, and tests.
//!
//! A rule's values are put into the matcher; what is left is asked of the request. `r.sub` is the principal, `r.obj` the
//! resource, `r.act` the action and `r.dom` a value of the context. Memberships (`g` lines) are parents of entities, which the
//! attribute store keeps; the tests bring them along.

mod cedar;
mod condition;
mod expression;
mod model;
mod pattern;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use super::{Collected, ImportError, ImportInput};
use crate::policy::set::yaml;
use cedar::{Names, Writer};
use condition::{Condition, DomainName, Graphs, Part, Reading, alternatives, part};
use expression::{Expression, Operand};
use model::{Combination, Model, Rule};
use samples::Request;

/// The action of a model whose requests have none.
const ONLY_ACTION: &str = "access";

/// A rule as a condition.
#[derive(Debug, Clone)]
struct ReadRule {
    allows: bool,
    condition: Condition,
    line: u64,
}

/// Everything that the model says, read.
struct Meaning<'m> {
    model: &'m Model,
    graphs: Graphs,
    actions: BTreeSet<String>,
    /// In the order in which they count.
    rules: Vec<ReadRule>,
}

/// What Casbin decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    outcome: &'static str,
    /// The line of the rule that decided.
    line: Option<u64>,
}

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    if input.text.len() > yaml::MAX_BYTES {
        let what = format!("the files have {} bytes, at most {} are read", input.text.len(), yaml::MAX_BYTES);
        return Err(ImportError::Source { line: 1, what });
    }
    let model = model::read(input.text)?;
    let mut collected =
        Collected { heading: format!("Casbin, from {}.", input.file), ..Collected::default() };
    for (name, line) in &model.second {
        let what = format!("`{name}`: a second definition is asked for by name, and is not carried over");
        collected.gap(*line, what);
    }
    let meaning = meaning(&model, &mut collected)?;
    let names = Names::new(input.topic, &meaning.model.request);
    let writer = Writer::new(&names, meaning.actions.clone(), input.lines_before);
    let mut written = writer.written(&meaning).map_err(|what| at_matcher(&model, what))?;
    collected.policies.append(&mut written.policies);
    let requests = samples::requests(&meaning, &written.attributes);
    collected.tests = Some(samples::tests(&meaning, &names, &written, &requests, input));
    collected.schema = Some(written.schema);
    for line in &model.memberships {
        let domain =
            line.domain.as_ref().map(|domain| format!(" in the domain `{domain}`")).unwrap_or_default();
        let what = format!(
            "`{}` is in `{}`{domain}: give it that parent in the attribute store",
            line.member, line.role
        );
        collected.note(line.line, what);
        if line.member.contains('*') || line.member.contains(':') || line.domain.as_deref() == Some("*") {
            let what = "taken to the letter: a pattern in a `g` line needs a function that a program adds"
                .to_owned();
            collected.note(line.line, what);
        }
    }
    Ok(collected)
}

fn at_matcher(model: &Model, what: String) -> ImportError {
    ImportError::Source { line: model.matcher_line, what: format!("the matcher: {what}") }
}

fn meaning<'m>(model: &'m Model, collected: &mut Collected) -> Result<Meaning<'m>, ImportError> {
    for field in &model.request {
        part(field).map_err(|what| ImportError::Source { line: 1, what })?;
    }
    let graphs = Graphs::new(model);
    let actions = actions(model);
    let reading = Reading { model, actions: actions.clone() };
    let mut rules = Vec::new();
    let counted = if uses_rules(&model.matcher) { ordered(model, &graphs) } else { Vec::new() };
    match (counted.is_empty(), model.rules.first()) {
        (true, None) if uses_rules(&model.matcher) => {
            let what = "there is no `p` line: name the file with the rules after the model".to_owned();
            return Err(ImportError::Source { line: model.matcher_line, what });
        }
        // Casbin evaluates such a matcher once, as if a rule allowed.
        (true, first) => {
            let condition = reading.condition(None).map_err(|what| at_matcher(model, what))?;
            rules.push(ReadRule { allows: true, condition, line: model.matcher_line });
            if let Some(rule) = first {
                collected.note(rule.line, "the matcher looks at no rule: the rules count for nothing");
            }
        }
        (false, _) => {}
    }
    for rule in counted {
        let Some(allows) = rule.allows else {
            collected.note(rule.line, "its effect is neither `allow` nor `deny`: it counts for nothing");
            continue;
        };
        match reading.condition(Some(rule)) {
            Ok(condition) => rules.push(ReadRule { allows, condition, line: rule.line }),
            // Without a denial more would be allowed.
            Err(what) if !allows => return Err(ImportError::Source { line: rule.line, what }),
            Err(what) => collected.gap(rule.line, what),
        }
    }
    let rules = rules
        .into_iter()
        .map(|rule| ReadRule { condition: resolved(rule.condition, &graphs, &actions), ..rule });
    let rules = rules.collect();
    Ok(Meaning { model, graphs, actions, rules })
}

/// Every action that a rule or the matcher names.
fn actions(model: &Model) -> BTreeSet<String> {
    let fields = model.request.iter().filter(|field| part(field) == Ok(Part::Action));
    let mut actions = BTreeSet::new();
    for field in fields {
        for rule in &model.rules {
            if let Some(value) = rule.value(field) {
                actions.extend(alternatives(value).unwrap_or_default());
            }
        }
        literals(&model.matcher, field, &mut actions);
    }
    if actions.is_empty() {
        actions.insert(ONLY_ACTION.to_owned());
    }
    actions
}

fn literals(expression: &Expression, field: &str, found: &mut BTreeSet<String>) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| literals(part, field, found));
        }
        Expression::Not(inner) => literals(inner, field, found),
        Expression::Compare(Operand::Request(name, None), _, Operand::Text(text)) if name == field => {
            found.insert(text.clone());
        }
        Expression::Always(_) | Expression::Compare(..) | Expression::In(..) | Expression::Call(..) => {}
    }
}

fn uses_rules(expression: &Expression) -> bool {
    let rule = |operand: &Operand| matches!(operand, Operand::Rule(_));
    match expression {
        Expression::All(parts) | Expression::Any(parts) => parts.iter().any(uses_rules),
        Expression::Not(inner) => uses_rules(inner),
        Expression::Compare(left, _, right) => rule(left) || rule(right),
        Expression::In(item, list) => rule(item) || list.iter().any(rule),
        Expression::Call(_, arguments) => arguments.iter().any(rule),
        Expression::Always(_) => false,
    }
}

/// The rules in the order in which they count.
fn ordered<'m>(model: &'m Model, graphs: &Graphs) -> Vec<&'m Rule> {
    let mut rules: Vec<&Rule> = model.rules.iter().collect();
    if model.combination == Combination::SubjectPriority {
        let of = |rule: &Rule, wanted: Part| -> Option<String> {
            let field = model.request.iter().find(|field| part(field) == Ok(wanted))?;
            rule.value(field).map(str::to_owned)
        };
        let with_domains = model.memberships.iter().any(|line| line.domain.is_some());
        let mut depths = Depths::default();
        // Those far from the root count first; the sort keeps the order of the others.
        rules.sort_by_cached_key(|rule| {
            let domain = of(rule, Part::Domain).filter(|_| with_domains);
            let depth = |subject: String| depths.of(graphs, domain.as_deref(), &subject);
            std::cmp::Reverse(of(rule, Part::Subject).map_or(0, depth))
        });
    }
    rules
}

/// How many roles stand above each name, one in the other.
#[derive(Default)]
struct Depths(BTreeMap<(Option<String>, String), usize>);

impl Depths {
    /// Each name is looked at once: a chain of roles has as many ways up as there are sets of its links.
    fn of(&mut self, graphs: &Graphs, domain: Option<&str>, name: &str) -> usize {
        let place = (domain.map(str::to_owned), name.to_owned());
        if let Some(known) = self.0.get(&place) {
            return *known;
        }
        let above = graphs.above("g", domain, name);
        let others = above.iter().filter(|other| other.as_str() != name);
        // A circle would not end: what is in both directions counts as the same depth.
        let others = others.filter(|other| !graphs.has("g", domain, other, name));
        let depth = others.map(|other| self.of(graphs, domain, other) + 1).max().unwrap_or(0);
        self.0.insert(place, depth);
        depth
    }
}

/// Domains of the request are named, and what is known of fields with few values is said by these.
fn resolved(condition: Condition, graphs: &Graphs, actions: &BTreeSet<String>) -> Condition {
    let several = |parts: Vec<Condition>| -> Vec<Condition> {
        parts.into_iter().map(|part| resolved(part, graphs, actions)).collect()
    };
    match condition {
        Condition::All(parts) => {
            let domain = parts.iter().find_map(|part| match part {
                Condition::Is(Part::Domain, name) => Some(name.clone()),
                _ => None,
            });
            let parts = parts.into_iter().map(|part| match &domain {
                Some(name) if part != Condition::Is(Part::Domain, name.clone()) => in_domain(part, name),
                _ => part,
            });
            condition::simple(Condition::All(several(parts.collect())))
        }
        Condition::Any(parts) => condition::simple(Condition::Any(several(parts))),
        Condition::Not(inner) => {
            condition::simple(Condition::Not(Box::new(resolved(*inner, graphs, actions))))
        }
        Condition::In { graph, part: Part::Domain, role, domain: None } => {
            let inside =
                graphs.names(&graph).into_iter().filter(|name| graphs.has(&graph, None, name, &role));
            let all: BTreeSet<&str> = inside.chain([role.as_str()]).collect();
            let all = all.into_iter().map(|name| Condition::Is(Part::Domain, name.to_owned()));
            condition::simple(Condition::Any(all.collect()))
        }
        Condition::In { graph, part, role, domain: Some(DomainName::Requested) } => {
            let domains: BTreeSet<String> = graphs.domains(&graph).map(str::to_owned).collect();
            let in_each = domains.into_iter().map(|name| {
                let role = Condition::In {
                    graph: graph.clone(),
                    part,
                    role: role.clone(),
                    domain: Some(DomainName::Named(name.clone())),
                };
                Condition::All(vec![Condition::Is(Part::Domain, name), role])
            });
            // Everybody is in itself, in every domain.
            let all = in_each.chain([Condition::Is(part, role.clone())]).collect();
            condition::simple(Condition::Any(all))
        }
        Condition::Key(Part::Action, pattern) => {
            let fit = actions.iter().filter(|action| pattern.fits(action)).cloned().collect();
            condition::simple(Condition::OneOf(fit))
        }
        other => other,
    }
}

/// The condition for requests of one domain.
fn in_domain(condition: Condition, name: &str) -> Condition {
    let several = |parts: Vec<Condition>| parts.into_iter().map(|part| in_domain(part, name)).collect();
    match condition {
        Condition::All(parts) => Condition::All(several(parts)),
        Condition::Any(parts) => Condition::Any(several(parts)),
        Condition::Not(inner) => Condition::Not(Box::new(in_domain(*inner, name))),
        Condition::Is(Part::Domain, other) => Condition::Always(other == name),
        Condition::In { graph, part, role, domain: Some(DomainName::Requested) } => {
            Condition::In { graph, part, role, domain: Some(DomainName::Named(name.to_owned())) }
        }
        other => other,
    }
}

impl Meaning<'_> {
    /// What Casbin decides about a request.
    fn decide(&self, request: &Request) -> Decision {
        let holds = |rule: &&ReadRule| request.meets(&rule.condition, &self.graphs);
        let first = |allows: bool| self.rules.iter().filter(|rule| rule.allows == allows).find(holds);
        let (allowed, denied) = (first(true), first(false));
        let decision =
            |outcome, rule: Option<&ReadRule>| Decision { outcome, line: rule.map(|rule| rule.line) };
        match self.model.combination {
            Combination::AllowOverride => match allowed {
                Some(rule) => decision("allow", Some(rule)),
                None => decision("deny_default", None),
            },
            Combination::DenyOverride => match denied {
                Some(rule) => decision("deny_explicit", Some(rule)),
                None => decision("allow", None),
            },
            Combination::AllowAndDeny => match (allowed, denied) {
                (_, Some(rule)) => decision("deny_explicit", Some(rule)),
                (Some(rule), None) => decision("allow", Some(rule)),
                (None, None) => decision("deny_default", None),
            },
            Combination::Priority | Combination::SubjectPriority => match self.rules.iter().find(holds) {
                Some(rule) if rule.allows => decision("allow", Some(rule)),
                other => decision("deny_default", other),
            },
        }
    }

    /// The parents of a name: of the roles that are asked for, those that it is in.
    fn parents(&self, part: Part, name: &str, asked: &BTreeSet<cedar::Role>) -> Vec<String> {
        let roles = asked.iter().filter(|role| role.part == part);
        let roles = roles.filter(|role| {
            self.graphs.has(&role.graph, role.domain.as_deref(), name, &role.name)
                && (role.domain.is_some() || role.name != name)
        });
        roles.map(cedar::Role::id).collect()
    }
}

/// Types of the attributes that conditions name.
type Attributes = BTreeMap<(Part, String), cedar::AttributeType>;
