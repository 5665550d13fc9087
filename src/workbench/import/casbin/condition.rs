//! What one rule of Casbin asks of a request: the matcher with the rule's values in it. It can be decided for a request, as
//! Casbin would, and written as Cedar.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{Comparison, Expression, Operand, parse};
use super::model::{Model, Rule};
use super::pattern::KeyPattern;

/// What a field of a request is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Subject,
    Object,
    Action,
    Domain,
}

/// The names that a field has in models.
const FIELDS: [(Part, &[&str]); 4] = [
    (Part::Subject, &["sub", "subject", "user"]),
    (Part::Object, &["obj", "object", "thing", "resource"]),
    (Part::Action, &["act", "action", "method"]),
    (Part::Domain, &["dom", "domain", "tenant", "org"]),
];

/// A value of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Term {
    Part(Part),
    Attribute(Part, String),
}

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    Always(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Is(Part, String),
    /// An attribute with this text.
    HasText(Term, String),
    /// Two texts of the request are the same.
    Same(Term, Term),
    /// A number; the comparison is one of `<`, `<=`, `>`, `>=`, `==`.
    Number(Term, Order, i64),
    /// A list of the request has a text of it.
    Contains {
        list: Term,
        item: Term,
    },
    /// It is this one, or is in it by the lines of this graph, in a domain where they have one.
    In {
        graph: String,
        part: Part,
        role: String,
        domain: Option<DomainName>,
    },
    Key(Part, KeyPattern),
    /// One of the actions that are named anywhere.
    OneOf(BTreeSet<String>),
    /// The subject is an address in this network.
    Network(String),
}

/// The domain in which a role is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DomainName {
    Named(String),
    /// That of the request.
    Requested,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Equal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Order {
    pub(super) fn cedar(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    pub(super) fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// Which part a field of a request is.
pub(super) fn part(field: &str) -> Result<Part, String> {
    let found = FIELDS.iter().find(|(_, names)| names.contains(&field)).map(|(part, _)| *part);
    found.ok_or_else(|| format!("the field `{field}` of a request is not known here"))
}

/// Makes conditions of a matcher and rules.
pub(super) struct Reading<'m> {
    pub(super) model: &'m Model,
    /// Every action that a rule names.
    pub(super) actions: BTreeSet<String>,
}

impl Reading<'_> {
    /// What the matcher comes to for a rule, or alone in a model without rules.
    pub(super) fn condition(&self, rule: Option<&Rule>) -> Result<Condition, String> {
        Ok(simple(self.read(&self.model.matcher, rule)?))
    }

    fn read(&self, expression: &Expression, rule: Option<&Rule>) -> Result<Condition, String> {
        let several = |parts: &[Expression]| -> Result<Vec<Condition>, String> {
            parts.iter().map(|part| self.read(part, rule)).collect()
        };
        Ok(match expression {
            Expression::Always(holds) => Condition::Always(*holds),
            Expression::All(parts) => Condition::All(several(parts)?),
            Expression::Any(parts) => Condition::Any(several(parts)?),
            Expression::Not(inner) => Condition::Not(Box::new(self.read(inner, rule)?)),
            Expression::Compare(left, comparison, right) => self.compare(left, *comparison, right, rule)?,
            Expression::In(item, list) => self.is_in(item, list, rule)?,
            Expression::Call(name, arguments) => self.call(name, arguments, rule)?,
        })
    }

    fn term(&self, field: &str, attribute: Option<&str>) -> Result<Term, String> {
        if !self.model.request.iter().any(|known| known == field) {
            return Err(format!("a request has no `{field}`"));
        }
        let part = part(field)?;
        match (part, attribute) {
            (part, None) => Ok(Term::Part(part)),
            (Part::Subject | Part::Object, Some(name)) => Ok(Term::Attribute(part, name.to_owned())),
            (_, Some(name)) => Err(format!("`{field}.{name}` is not understood")),
        }
    }

    /// A value of the rule or a literal, as text.
    fn text(operand: &Operand, rule: Option<&Rule>) -> Result<Option<String>, String> {
        match operand {
            Operand::Text(text) => Ok(Some(text.clone())),
            Operand::Rule(name) => match rule.map(|rule| (rule, rule.value(name))) {
                Some((_, Some(value))) => Ok(Some(value.to_owned())),
                _ => Err(format!("no rule has a value `{name}`")),
            },
            Operand::Number(_) | Operand::Request(..) => Ok(None),
        }
    }

    fn compare(
        &self,
        left: &Operand,
        comparison: Comparison,
        right: &Operand,
        rule: Option<&Rule>,
    ) -> Result<Condition, String> {
        let order = match comparison {
            Comparison::Unequal => {
                return Ok(Condition::Not(Box::new(self.compare(left, Comparison::Equal, right, rule)?)));
            }
            Comparison::Equal => Order::Equal,
            Comparison::Less => Order::Less,
            Comparison::AtMost => Order::AtMost,
            Comparison::More => Order::More,
            Comparison::AtLeast => Order::AtLeast,
        };
        let (field, attribute, other, order) = match (left, right) {
            (Operand::Request(one, first), Operand::Request(two, second)) => {
                let (one, two) = (self.term(one, first.as_deref())?, self.term(two, second.as_deref())?);
                return match order {
                    Order::Equal => Ok(Condition::Same(one, two)),
                    _ => Err("two values of a request can only be compared by `==` and `!=`".to_owned()),
                };
            }
            (Operand::Request(field, attribute), other) => (field, attribute, other, order),
            (other, Operand::Request(field, attribute)) => (field, attribute, other, turned(order)),
            (one, two) => {
                let (one, two) = (Self::text(one, rule)?, Self::text(two, rule)?);
                return match (one, two, order) {
                    (Some(one), Some(two), Order::Equal) => Ok(Condition::Always(one == two)),
                    _ => Err("a comparison of two constants is not understood".to_owned()),
                };
            }
        };
        let term = self.term(field, attribute.as_deref())?;
        if let (Operand::Number(number), Term::Attribute(..)) = (other, &term) {
            return Ok(Condition::Number(term, order, *number));
        }
        match (Self::text(other, rule)?, term, order) {
            (Some(text), Term::Part(part), Order::Equal) => Ok(Condition::Is(part, text)),
            (Some(text), term, Order::Equal) => Ok(Condition::HasText(term, text)),
            _ => Err("texts can only be compared by `==` and `!=`".to_owned()),
        }
    }

    fn is_in(&self, item: &Operand, list: &[Operand], rule: Option<&Rule>) -> Result<Condition, String> {
        let Operand::Request(field, attribute) = item else {
            return Err("what is `in` a list has to be a value of the request".to_owned());
        };
        let item = self.term(field, attribute.as_deref())?;
        if let [Operand::Request(field, Some(attribute))] = list {
            let list = self.term(field, Some(attribute))?;
            return Ok(Condition::Contains { list, item });
        }
        let texts: Option<Vec<String>> =
            list.iter().map(|one| Self::text(one, rule)).collect::<Result<_, _>>()?;
        let texts = texts.ok_or("a list has to hold texts")?;
        let one_of = texts.into_iter().map(|text| match &item {
            Term::Part(part) => Condition::Is(*part, text),
            term => Condition::HasText(term.clone(), text),
        });
        Ok(Condition::Any(one_of.collect()))
    }

    fn call(&self, name: &str, arguments: &[Operand], rule: Option<&Rule>) -> Result<Condition, String> {
        if name == "eval" {
            let [Operand::Rule(field)] = arguments else {
                return Err("`eval` is understood with a field of the rule".to_owned());
            };
            let text = rule
                .and_then(|rule| rule.value(field))
                .ok_or_else(|| format!("no rule has a value `{field}`"))?;
            let inner = parse(text)?;
            return match has_eval(&inner) {
                true => Err("`eval` in `eval` is not understood".to_owned()),
                false => self.read(&inner, rule),
            };
        }
        let [Operand::Request(field, None), others @ ..] = arguments else {
            return Err(format!("`{name}` is understood with a field of the request first"));
        };
        let Term::Part(part) = self.term(field, None)? else {
            return Err(format!("`{name}`: no such field"));
        };
        let first = |rest: &[Operand]| -> Result<String, String> {
            let text = rest.first().map(|one| Self::text(one, rule)).transpose()?.flatten();
            text.ok_or_else(|| format!("`{name}` is understood with a value of the rule second"))
        };
        let graph =
            |name: &str| name.strip_prefix('g').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        match (name, others) {
            (graph_name, [_] | [_, _]) if graph(graph_name) => {
                let domain = match others.get(1) {
                    None => None,
                    Some(Operand::Request(field, None)) => match self.term(field, None)? {
                        Term::Part(Part::Domain) => Some(DomainName::Requested),
                        _ => return Err(format!("`{name}`: the third has to be the domain")),
                    },
                    Some(other) => {
                        let text = Self::text(other, rule)?;
                        Some(DomainName::Named(text.ok_or("the third has to be the domain")?))
                    }
                };
                let role = first(others)?;
                Ok(Condition::In { graph: name.to_owned(), part, role, domain })
            }
            ("keyMatch" | "keyMatch2" | "keyMatch3", [_]) => {
                Ok(Condition::Key(part, KeyPattern::read(name, &first(others)?)?))
            }
            ("keyGet2", [_, Operand::Text(of)]) => {
                // The text that it gives is empty where nothing fits, and counts as false then.
                let pattern = KeyPattern::read("keyMatch2", &first(others)?)?;
                Ok(if pattern.has(of) { Condition::Key(part, pattern) } else { Condition::Always(false) })
            }
            ("regexMatch", [_]) => self.regex(part, &first(others)?),
            ("ipMatch", [_]) if part == Part::Subject => Ok(Condition::Network(first(others)?)),
            ("globMatch", _) => {
                Err("`globMatch` means something else in each of Casbin's languages".to_owned())
            }
            _ => Err(format!("the function `{name}` is not known here")),
        }
    }

    /// An expression on the action is asked of each action that any rule names; there are no others.
    fn regex(&self, part: Part, pattern: &str) -> Result<Condition, String> {
        if part != Part::Action {
            return Err("`regexMatch` is understood on the action only".to_owned());
        }
        let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        let regex = regex.map_err(|_| format!("the expression `{pattern}` cannot be read"))?;
        Ok(Condition::OneOf(self.actions.iter().filter(|action| regex.is_match(action)).cloned().collect()))
    }
}

fn has_eval(expression: &Expression) -> bool {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => parts.iter().any(has_eval),
        Expression::Not(inner) => has_eval(inner),
        Expression::Call(name, _) => name == "eval",
        Expression::Always(_) | Expression::Compare(..) | Expression::In(..) => false,
    }
}

fn turned(order: Order) -> Order {
    match order {
        Order::Equal => Order::Equal,
        Order::Less => Order::More,
        Order::AtMost => Order::AtLeast,
        Order::More => Order::Less,
        Order::AtLeast => Order::AtMost,
    }
}

/// The words of `(GET)|(POST)`, `(read|write)` or `GET`.
pub(super) fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let whole = pattern.strip_prefix('^').unwrap_or(pattern);
    let whole = whole.strip_suffix('$').unwrap_or(whole);
    let inner = match whole.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) if !inner.contains(['(', ')']) => inner,
        _ => whole,
    };
    let words = inner.split('|').map(|word| {
        let word = word.strip_prefix('(').and_then(|word| word.strip_suffix(')')).unwrap_or(word);
        let plain = !word.is_empty()
            && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '/'));
        plain.then(|| word.to_owned())
    });
    words.collect()
}

/// Nothing in it that always holds or never does, nothing in brackets of its own kind, nothing twice.
pub(super) fn simple(condition: Condition) -> Condition {
    match condition {
        Condition::All(parts) => {
            let mut all = Vec::new();
            for part in parts.into_iter().map(simple) {
                match part {
                    Condition::Always(true) => {}
                    Condition::Always(false) => return Condition::Always(false),
                    Condition::All(inner) => inner.into_iter().for_each(|one| push_new(&mut all, one)),
                    part => push_new(&mut all, part),
                }
            }
            one_or(all, Condition::Always(true), Condition::All)
        }
        Condition::Any(parts) => {
            let mut any = Vec::new();
            for part in parts.into_iter().map(simple) {
                match part {
                    Condition::Always(false) => {}
                    Condition::Always(true) => return Condition::Always(true),
                    Condition::Any(inner) => inner.into_iter().for_each(|one| push_new(&mut any, one)),
                    part => push_new(&mut any, part),
                }
            }
            one_or(any, Condition::Always(false), Condition::Any)
        }
        Condition::Not(inner) => match simple(*inner) {
            Condition::Always(holds) => Condition::Always(!holds),
            Condition::Not(inner) => *inner,
            inner => Condition::Not(Box::new(inner)),
        },
        Condition::OneOf(actions) if actions.is_empty() => Condition::Always(false),
        other => other,
    }
}

fn push_new(all: &mut Vec<Condition>, one: Condition) {
    if !all.contains(&one) {
        all.push(one);
    }
}

fn one_or(mut all: Vec<Condition>, none: Condition, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match all.len() {
        0 => none,
        1 => all.swap_remove(0),
        _ => several(all),
    }
}

/// Who is in what: by graph and domain, from the `g` lines.
#[derive(Debug, Default)]
pub(super) struct Graphs(BTreeMap<(String, Option<String>), BTreeMap<String, BTreeSet<String>>>);

impl Graphs {
    pub(super) fn new(model: &Model) -> Self {
        let mut graphs = Self::default();
        for line in &model.memberships {
            let graph = graphs.0.entry((line.graph.clone(), line.domain.clone())).or_default();
            graph.entry(line.member.clone()).or_default().insert(line.role.clone());
        }
        graphs
    }

    /// Whether one is the other, or in it.
    pub(super) fn has(&self, graph: &str, domain: Option<&str>, member: &str, role: &str) -> bool {
        self.above(graph, domain, member).contains(role)
    }

    /// Everything that one is in, with itself.
    pub(super) fn above(&self, graph: &str, domain: Option<&str>, member: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::from([member.to_owned()]);
        let mut pending = vec![member.to_owned()];
        let lines = self.0.get(&(graph.to_owned(), domain.map(str::to_owned)));
        while let Some(one) = pending.pop() {
            for role in lines.and_then(|lines| lines.get(&one)).into_iter().flatten() {
                if all.insert(role.clone()) {
                    pending.push(role.clone());
                }
            }
        }
        all
    }

    /// The domains of a graph.
    pub(super) fn domains(&self, graph: &str) -> impl Iterator<Item = &str> {
        self.0.keys().filter(move |(known, _)| known == graph).filter_map(|(_, domain)| domain.as_deref())
    }

    /// Every member and role of a graph.
    pub(super) fn names(&self, graph: &str) -> BTreeSet<&str> {
        let lines = self.0.iter().filter(|((known, _), _)| known == graph).flat_map(|(_, lines)| lines);
        lines.flat_map(|(member, roles)| roles.iter().map(String::as_str).chain([member.as_str()])).collect()
    }
}
