//! Requests for the tests of an import, and what Casbin decides about each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::cedar::{AttributeType, Names, Written};
use super::condition::{Condition, DomainName, Graphs, Part, Term};
use super::{Attributes, Decision, Meaning};
use crate::text::quote_yaml;
use crate::workbench::import::ImportInput;
use crate::workbench::replay::key;

/// The most requests that are looked at.
const LOOKED_AT: usize = 20_000;
/// Rows for each way in which a request is decided.
const ROWS_EACH: usize = 3;
/// Rows for requests that no rule is about.
const ROWS_WITHOUT_RULE: usize = 12;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sample {
    Number(i64),
    Text(String),
    Texts(Vec<String>),
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) object: String,
    pub(super) action: String,
    pub(super) domain: String,
    pub(super) attributes: BTreeMap<(Part, String), Sample>,
}

impl Request {
    fn part(&self, part: Part) -> &str {
        match part {
            Part::Subject => &self.subject,
            Part::Object => &self.object,
            Part::Action => &self.action,
            Part::Domain => &self.domain,
        }
    }

    fn text(&self, term: &Term) -> Option<&str> {
        match term {
            Term::Part(part) => Some(self.part(*part)),
            Term::Attribute(part, name) => match self.attributes.get(&(*part, name.clone()))? {
                Sample::Text(text) => Some(text),
                Sample::Number(_) | Sample::Texts(_) => None,
            },
        }
    }

    /// Whether a condition holds for it, as Casbin understands it.
    pub(super) fn meets(&self, condition: &Condition, graphs: &Graphs) -> bool {
        match condition {
            Condition::Always(holds) => *holds,
            Condition::All(parts) => parts.iter().all(|part| self.meets(part, graphs)),
            Condition::Any(parts) => parts.iter().any(|part| self.meets(part, graphs)),
            Condition::Not(inner) => !self.meets(inner, graphs),
            Condition::Is(part, name) => self.part(*part) == name,
            Condition::HasText(term, text) => self.text(term) == Some(text),
            Condition::Same(one, two) => self.text(one).is_some() && self.text(one) == self.text(two),
            Condition::Number(term, order, number) => match term {
                Term::Attribute(part, name) => match self.attributes.get(&(*part, name.clone())) {
                    Some(Sample::Number(found)) => order.holds(*found, *number),
                    _ => false,
                },
                Term::Part(_) => false,
            },
            Condition::Contains { list: Term::Attribute(part, name), item } => {
                match self.attributes.get(&(*part, name.clone())) {
                    Some(Sample::Texts(texts)) => {
                        texts.iter().any(|text| Some(text.as_str()) == self.text(item))
                    }
                    _ => false,
                }
            }
            Condition::Contains { .. } => false,
            Condition::In { graph, part, role, domain } => {
                let domain = match domain {
                    None => None,
                    Some(DomainName::Named(name)) => Some(name.as_str()),
                    Some(DomainName::Requested) => Some(self.domain.as_str()),
                };
                graphs.has(graph, domain, self.part(*part), role)
            }
            Condition::Key(part, pattern) => pattern.fits(self.part(*part)),
            Condition::OneOf(actions) => actions.contains(&self.action),
            Condition::Network(network) => is_in_network(&self.subject, network),
        }
    }
}

/// Whether an address is in a network (`10.0.0.0/16`), or is the address itself.
fn is_in_network(address: &str, network: &str) -> bool {
    let (base, prefix) = network.split_once('/').unwrap_or((network, ""));
    let bits = |text: &str| -> Option<(u128, u32)> {
        Some(match text.parse().ok()? {
            std::net::IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
            std::net::IpAddr::V6(ip) => (u128::from(ip), 128),
        })
    };
    let (Some((address, width)), Some((base, base_width))) = (bits(address), bits(base)) else {
        return false;
    };
    let prefix = if prefix.is_empty() { width } else { prefix.parse().unwrap_or(u32::MAX) };
    let shift = width.checked_sub(prefix);
    width == base_width
        && shift.is_some_and(|shift| {
            address.checked_shr(shift).unwrap_or(0) == base.checked_shr(shift).unwrap_or(0)
        })
}

/// What the conditions speak of.
#[derive(Default)]
struct Found {
    parts: BTreeMap<Part, BTreeSet<String>>,
    numbers: BTreeMap<(Part, String), BTreeSet<i64>>,
    texts: BTreeMap<(Part, String), BTreeSet<String>>,
    networks: bool,
}

impl Found {
    fn part(&mut self, part: Part, name: &str) {
        self.parts.entry(part).or_default().insert(name.to_owned());
    }

    fn look(&mut self, condition: &Condition) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| self.look(part)),
            Condition::Not(inner) => self.look(inner),
            Condition::Is(part, name) => self.part(*part, name),
            Condition::In { part, role, .. } => self.part(*part, role),
            Condition::Key(part, pattern) => {
                pattern.samples().iter().filter(|key| !key.is_empty()).for_each(|key| self.part(*part, key));
            }
            Condition::Network(network) => {
                self.networks = true;
                let address = network.split('/').next().unwrap_or_default();
                self.part(Part::Subject, address);
                self.part(Part::Subject, "203.0.113.9");
            }
            Condition::Number(Term::Attribute(part, name), _, number) => {
                let near = [number.saturating_sub(1), *number, number.saturating_add(1)];
                self.numbers.entry((*part, name.clone())).or_default().extend(near);
            }
            Condition::HasText(Term::Attribute(part, name), text) => {
                self.texts.entry((*part, name.clone())).or_default().insert(text.clone());
            }
            Condition::Always(_)
            | Condition::HasText(..)
            | Condition::Number(..)
            | Condition::Same(..)
            | Condition::Contains { .. }
            | Condition::OneOf(_) => {}
        }
    }
}

/// Requests about everything that the rules name, and about what they do not name.
pub(super) fn requests(meaning: &Meaning<'_>, attributes: &Attributes) -> Vec<Request> {
    let mut found = Found::default();
    meaning.rules.iter().for_each(|rule| found.look(&rule.condition));
    for line in &meaning.model.memberships {
        // A graph of objects has names of objects; more names than needed do no harm.
        for part in [Part::Subject, Part::Object] {
            if found.parts.get(&part).is_some_and(|names| names.contains(&line.role)) {
                found.part(part, &line.member);
            }
        }
        if let Some(domain) = &line.domain {
            found.part(Part::Domain, domain);
        }
    }
    let listed = |part: Part, other: &str| -> Vec<String> {
        let known = found.parts.get(&part).into_iter().flatten().cloned();
        known.chain([other.to_owned()]).collect()
    };
    let subjects = if found.networks {
        listed(Part::Subject, "198.51.100.1")
    } else {
        listed(Part::Subject, "stranger")
    };
    let objects = listed(Part::Object, "something-else");
    let domains = listed(Part::Domain, "elsewhere");
    let actions: Vec<String> = meaning.actions.iter().cloned().collect();
    let mut all: Vec<Request> = vec![Request::default()];
    all = spread(all, &subjects, |request, value| request.subject.clone_from(value));
    all = spread(all, &objects, |request, value| request.object.clone_from(value));
    all = spread(all, &actions, |request, value| request.action.clone_from(value));
    if meaning.model.request.iter().any(|field| super::part(field) == Ok(Part::Domain)) {
        all = spread(all, &domains, |request, value| request.domain.clone_from(value));
    }
    for ((part, name), kind) in attributes {
        let place = (*part, name.clone());
        let values: Vec<Sample> = match kind {
            AttributeType::Long => {
                let numbers = found.numbers.get(&place).cloned().unwrap_or_else(|| BTreeSet::from([0, 1]));
                numbers.into_iter().map(Sample::Number).collect()
            }
            AttributeType::String => {
                let texts = found.texts.get(&place).into_iter().flatten().cloned();
                let names = subjects.iter().take(2).cloned();
                texts.chain(names).chain(["other".to_owned()]).map(Sample::Text).collect()
            }
            AttributeType::Texts => {
                let names: Vec<String> = subjects.iter().take(1).cloned().collect();
                vec![Sample::Texts(names), Sample::Texts(Vec::new())]
            }
        };
        all = spread(all, &values, |request, value| {
            request.attributes.insert(place.clone(), value.clone());
        });
    }
    all
}

/// Each request with each value; evenly fewer where that would be too many.
fn spread<T>(requests: Vec<Request>, values: &[T], set: impl Fn(&mut Request, &T)) -> Vec<Request> {
    let total = requests.len() * values.len();
    let stride = total.div_ceil(LOOKED_AT).max(1);
    let mut all = Vec::with_capacity(total / stride + 1);
    for (number, (request, value)) in
        requests.iter().flat_map(|request| values.iter().map(move |value| (request, value))).enumerate()
    {
        if number % stride == 0 {
            let mut changed = request.clone();
            set(&mut changed, value);
            all.push(changed);
        }
    }
    all
}

/// The test file, and how many rows it has.
pub(super) fn tests(
    meaning: &Meaning<'_>,
    names: &Names,
    written: &Written,
    requests: &[Request],
    input: &ImportInput<'_>,
) -> (String, usize) {
    let mut kept: BTreeMap<(Option<u64>, &'static str), usize> = BTreeMap::new();
    let mut text = format!(
        "# What {} means; the rows come from there, not from the policies.\nsuite: {}\ntests:\n",
        crate::text::one_line(input.file, usize::MAX),
        key(input.topic)
    );
    let mut rows = 0;
    // Requests that differ from each other first: the order of the lists would take those of the first name only.
    let stride = 7919 % requests.len().max(1);
    let count = requests.len();
    let order = (0..count).map(|number| (number * stride.max(1)) % count.max(1));
    let mut seen = BTreeSet::new();
    for request in order.filter(|at| seen.insert(*at)).filter_map(|at| requests.get(at)) {
        let decision = meaning.decide(request);
        let most = if decision.line.is_none() { ROWS_WITHOUT_RULE } else { ROWS_EACH };
        let already = kept.entry((decision.line, decision.outcome)).or_default();
        if *already >= most {
            continue;
        }
        *already += 1;
        rows += 1;
        row(&mut text, rows, meaning, names, written, request, decision, input.lines_before);
    }
    (text, rows)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one row")]
fn row(
    text: &mut String,
    number: usize,
    meaning: &Meaning<'_>,
    names: &Names,
    written: &Written,
    request: &Request,
    decision: Decision,
    lines_before: u64,
) {
    let domain = if names.has_domain { format!(" in {}", request.domain) } else { String::new() };
    let by = match decision.line {
        Some(line) if line > lines_before => format!(", line {}", line - lines_before),
        _ => String::new(),
    };
    let title = format!("{number}: {} {} {}{domain}{by}", request.subject, request.action, request.object);
    let mut entities: BTreeMap<String, String> = BTreeMap::new();
    for (part, name) in [(Part::Subject, &request.subject), (Part::Object, &request.object)] {
        let named = |id: &str| if part == Part::Subject { names.subject(id) } else { names.object(id) };
        let mut attributes: Vec<String> =
            written.ids.contains(&part).then(|| format!("id: {}", quote_yaml(name))).into_iter().collect();
        for ((owner, attribute), sample) in &request.attributes {
            let value = match sample {
                Sample::Number(number) => number.to_string(),
                Sample::Text(text) => quote_yaml(text),
                Sample::Texts(texts) => {
                    let texts: Vec<String> = texts.iter().map(|text| quote_yaml(text)).collect();
                    format!("[{}]", texts.join(", "))
                }
            };
            attributes.extend((*owner == part).then(|| format!("{attribute}: {value}")));
        }
        let parents = meaning.parents(part, name, &written.roles);
        for parent in &parents {
            entities.entry(named(parent)).or_insert_with(|| "{}".to_owned());
        }
        let parents: Vec<String> = parents.iter().map(|id| key(&named(id))).collect();
        let mut parts = Vec::new();
        parts.extend((!attributes.is_empty()).then(|| format!("attrs: {{ {} }}", attributes.join(", "))));
        parts.extend((!parents.is_empty()).then(|| format!("in: [{}]", parents.join(", "))));
        let entry = if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) };
        entities.insert(named(name), entry);
    }
    let mut context = Vec::new();
    context.extend(names.has_domain.then(|| format!("{}: {}", names.domain, quote_yaml(&request.domain))));
    context.extend(written.has_address.then(|| format!("ip: {}", quote_yaml(&request.subject))));
    let context = match context.is_empty() {
        true => String::new(),
        false => format!(", context: {{ {} }}", context.join(", ")),
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "  - name: {}\n    entities:", quote_yaml(&title));
    for (name, entry) in &entities {
        let _ = writeln!(text, "      {}: {entry}", key(name));
    }
    let (subject, object) = (key(&names.subject(&request.subject)), key(&names.object(&request.object)));
    let action = key(&names.action(&request.action));
    let _ = writeln!(
        text,
        "    request: {{ principal: {subject}, action: {action}, resource: {object}{context} }}\n    expect: {{ outcome: {} }}",
        decision.outcome
    );
}
