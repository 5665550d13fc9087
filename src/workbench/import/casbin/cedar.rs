//! Conditions as Cedar: policies, and the schema of the types that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::condition::{Condition, DomainName, Part, Term, part};
use super::{Attributes, Combination, Meaning, ReadRule};
use crate::policy::set::text::PolicyText;
use crate::text::quote;

/// The context's key for the address of a subject.
const ADDRESS: &str = "ip";

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeType {
    Long,
    String,
    Texts,
}

/// The names in the written files.
pub(super) struct Names {
    /// The namespace, made from the topic: `RbacPolicy`.
    pub(super) namespace: String,
    /// The context's key for the domain.
    pub(super) domain: String,
    pub(super) has_domain: bool,
}

impl Names {
    pub(super) fn new(topic: &str, request: &[String]) -> Self {
        let words = topic.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let capital = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        let domain = request.iter().find(|field| part(field) == Ok(Part::Domain));
        Self {
            namespace: words.map(capital).collect(),
            domain: domain.cloned().unwrap_or_else(|| "dom".to_owned()),
            has_domain: domain.is_some(),
        }
    }

    pub(super) fn subject(&self, id: &str) -> String {
        format!("{}::Subject::{}", self.namespace, quote(id))
    }

    pub(super) fn object(&self, id: &str) -> String {
        format!("{}::Object::{}", self.namespace, quote(id))
    }

    pub(super) fn action(&self, id: &str) -> String {
        format!("{}::Action::{}", self.namespace, quote(id))
    }
}

/// A role that a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Role {
    pub(super) part: Part,
    pub(super) graph: String,
    pub(super) name: String,
    pub(super) domain: Option<String>,
}

impl Role {
    /// The id of its entity: `admin`, or in a domain `admin@domain1`.
    pub(super) fn id(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}@{domain}", self.name),
            None => self.name.clone(),
        }
    }
}

/// The policies, and what they are about.
pub(super) struct Written {
    pub(super) policies: Vec<PolicyText>,
    pub(super) schema: String,
    pub(super) attributes: Attributes,
    pub(super) roles: BTreeSet<Role>,
    /// Whether subjects or objects have their id as an attribute.
    pub(super) ids: BTreeSet<Part>,
    /// Whether the context has the subject's address.
    pub(super) has_address: bool,
}

/// Writes Cedar.
pub(super) struct Writer<'w> {
    names: &'w Names,
    actions: BTreeSet<String>,
    /// Lines of the model, which stand before the rules.
    lines_before: u64,
}

/// What conditions need of the schema.
#[derive(Default)]
struct Needs {
    attributes: Attributes,
    roles: BTreeSet<Role>,
    ids: BTreeSet<Part>,
    has_address: bool,
    graphs: BTreeMap<Part, String>,
}

/// A policy in the making: what can be merged stands apart from the actions.
struct Draft {
    allows: bool,
    principal: String,
    resource: String,
    when: String,
    unless: String,
    actions: BTreeSet<String>,
    lines: BTreeSet<u64>,
}

impl<'w> Writer<'w> {
    pub(super) fn new(names: &'w Names, actions: BTreeSet<String>, lines_before: u64) -> Self {
        Self { names, actions, lines_before }
    }

    /// All policies and the schema.
    pub(super) fn written(&self, meaning: &Meaning<'_>) -> Result<Written, String> {
        let mut needs = Needs::default();
        let mut drafts: Vec<Draft> = Vec::new();
        let combination = meaning.model.combination;
        if combination == Combination::DenyOverride {
            let all = ReadRule {
                allows: true,
                condition: Condition::Always(true),
                line: meaning.model.matcher_line,
            };
            self.draft(&all, &[], &mut drafts, &mut needs)?;
        }
        let mut denied: Vec<Condition> = Vec::new();
        for rule in &meaning.rules {
            match combination {
                Combination::AllowOverride if !rule.allows => {}
                Combination::DenyOverride if rule.allows => {}
                Combination::AllowOverride | Combination::DenyOverride | Combination::AllowAndDeny => {
                    self.draft(rule, &[], &mut drafts, &mut needs)?;
                }
                Combination::Priority | Combination::SubjectPriority if rule.allows => {
                    self.draft(rule, &denied, &mut drafts, &mut needs)?;
                }
                Combination::Priority | Combination::SubjectPriority => {
                    if !denied.contains(&rule.condition) {
                        denied.push(rule.condition.clone());
                    }
                }
            }
        }
        let policies = drafts.iter().map(|draft| self.policy(draft)).collect();
        let schema = self.schema(&needs);
        let Needs { attributes, roles, ids, has_address, .. } = needs;
        Ok(Written { policies, schema, attributes, roles, ids, has_address })
    }

    /// The policies of a rule: one for each alternative, where that says the same.
    fn draft(
        &self,
        rule: &ReadRule,
        denied: &[Condition],
        drafts: &mut Vec<Draft>,
        needs: &mut Needs,
    ) -> Result<(), String> {
        let alternatives = match &rule.condition {
            Condition::Always(false) => return Ok(()),
            Condition::Any(parts) => parts.clone(),
            one => vec![one.clone()],
        };
        for alternative in alternatives {
            let before = denied.iter().filter(|one| can_meet(one, &alternative));
            let unless: Vec<String> =
                before.map(|one| self.condition(one, false, needs)).collect::<Result<_, _>>()?;
            let parts = match alternative {
                Condition::All(parts) => parts,
                one => vec![one],
            };
            let (mut principal, mut resource) = ("principal".to_owned(), "resource".to_owned());
            let (mut actions, mut when) = (None, Vec::new());
            for part in &parts {
                match part {
                    Condition::Always(true) => {}
                    Condition::Is(Part::Subject, _) | Condition::In { part: Part::Subject, .. }
                        if principal == "principal" =>
                    {
                        principal = self.condition(part, false, needs)?;
                    }
                    Condition::Is(Part::Object, _) | Condition::In { part: Part::Object, .. }
                        if resource == "resource" =>
                    {
                        resource = self.condition(part, false, needs)?;
                    }
                    Condition::Is(Part::Action, name) if actions.is_none() => {
                        actions = Some(BTreeSet::from([name.clone()]));
                    }
                    Condition::OneOf(names) if actions.is_none() => actions = Some(names.clone()),
                    other => when.push(self.condition(other, true, needs)?),
                }
            }
            let draft = Draft {
                allows: rule.allows,
                principal,
                resource,
                when: when.join(" && "),
                unless: unless.join(" || "),
                actions: actions.unwrap_or_default(),
                lines: BTreeSet::from([rule.line]),
            };
            match drafts.iter_mut().find(|known| known.says_the_same(&draft)) {
                Some(known) => {
                    known.actions.extend(draft.actions);
                    known.lines.extend(draft.lines);
                }
                None => drafts.push(draft),
            }
        }
        Ok(())
    }

    fn policy(&self, draft: &Draft) -> PolicyText {
        let who = draft.principal.rsplit("::").next().unwrap_or_default().trim_matches('"');
        let what = draft.resource.rsplit("::").next().unwrap_or_default().trim_matches('"');
        let actions = draft.actions.iter().cloned().collect::<Vec<_>>();
        let id = [who, what].into_iter().chain(actions.iter().map(String::as_str));
        let id = id.filter(|word| !matches!(*word, "principal" | "resource")).collect::<Vec<_>>().join("-");
        let own = draft.lines.iter().filter_map(|line| line.checked_sub(self.lines_before));
        let lines: Vec<String> = own.filter(|line| *line > 0).map(|line| line.to_string()).collect();
        let description = match lines.as_slice() {
            [] => "The matcher of the model.".to_owned(),
            [line] => format!("Line {line} of the rules."),
            _ => format!("Lines {} of the rules.", lines.join(", ")),
        };
        let mut policy = match draft.allows {
            true => PolicyText::permit(&id, description),
            false => PolicyText::forbid(&format!("no-{id}"), description, "a rule denies this"),
        };
        // Other types and actions of the schema are none of its business.
        let of_type = |scope: &str, variable: &str, kind: &str| match scope == variable {
            true => format!("{variable} is {}::{kind}", self.names.namespace),
            false => scope.to_owned(),
        };
        policy.principal = of_type(&draft.principal, "principal", "Subject");
        policy.resource = of_type(&draft.resource, "resource", "Object");
        let all: Vec<String> = self.actions.iter().cloned().collect();
        let actions = if actions.is_empty() { all } else { actions };
        policy.action = match actions.as_slice() {
            [one] => format!("action == {}", self.names.action(one)),
            several => {
                let several: Vec<String> = several.iter().map(|one| self.names.action(one)).collect();
                format!("action in [{}]", several.join(", "))
            }
        };
        policy.when = (!draft.when.is_empty()).then(|| draft.when.clone());
        policy.unless = (!draft.unless.is_empty()).then(|| draft.unless.clone());
        policy
    }

    /// A condition as an expression; `inside` another one it stands in brackets where it has to.
    fn condition(&self, condition: &Condition, inside: bool, needs: &mut Needs) -> Result<String, String> {
        let bracketed = |text: String| if inside { format!("({text})") } else { text };
        Ok(match condition {
            Condition::Always(holds) => holds.to_string(),
            Condition::All(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| self.condition(part, true, needs)).collect::<Result<_, _>>()?;
                bracketed(parts.join(" && "))
            }
            Condition::Any(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| self.condition(part, true, needs)).collect::<Result<_, _>>()?;
                bracketed(parts.join(" || "))
            }
            Condition::Not(inner) => format!("!({})", self.condition(inner, false, needs)?),
            Condition::Is(Part::Subject, name) => format!("principal == {}", self.names.subject(name)),
            Condition::Is(Part::Object, name) => format!("resource == {}", self.names.object(name)),
            Condition::Is(Part::Action, name) => match self.actions.contains(name) {
                true => format!("action == {}", self.names.action(name)),
                false => "false".to_owned(),
            },
            Condition::Is(Part::Domain, name) => format!("context.{} == {}", self.names.domain, quote(name)),
            Condition::HasText(term, text) => {
                let of = self.term(term, AttributeType::String, needs)?;
                format!("{of} == {}", quote(text))
            }
            Condition::Same(one, two) => {
                let one = self.term(one, AttributeType::String, needs)?;
                format!("{one} == {}", self.term(two, AttributeType::String, needs)?)
            }
            Condition::Number(term, order, number) => {
                let of = self.term(term, AttributeType::Long, needs)?;
                format!("{of} {} {number}", order.cedar())
            }
            Condition::Contains { list, item } => {
                let list = self.term(list, AttributeType::Texts, needs)?;
                format!("{list}.contains({})", self.term(item, AttributeType::String, needs)?)
            }
            Condition::In { graph, part, role, domain } => {
                self.role(graph, *part, role, domain.as_ref(), needs)?
            }
            Condition::Key(part, pattern) => {
                let of = self.term(&Term::Part(*part), AttributeType::String, needs)?;
                let conditions = pattern.cedar(&of);
                if conditions.len() == 1 { conditions.concat() } else { bracketed(conditions.join(" && ")) }
            }
            Condition::OneOf(names) => {
                let names: Vec<String> = names.iter().map(|name| self.names.action(name)).collect();
                format!("action in [{}]", names.join(", "))
            }
            Condition::Network(network) => {
                needs.has_address = true;
                let (address, prefix) = network.split_once('/').unwrap_or((network, ""));
                let known: Option<std::net::IpAddr> = address.parse().ok();
                let fits = known.is_some() && (prefix.is_empty() || prefix.parse::<u8>().is_ok());
                if !fits {
                    return Err(format!("`{network}` is no network"));
                }
                format!("context.{ADDRESS}.isInRange(ip({}))", quote(network))
            }
        })
    }

    fn role(
        &self,
        graph: &str,
        part: Part,
        role: &str,
        domain: Option<&DomainName>,
        needs: &mut Needs,
    ) -> Result<String, String> {
        let domain = match domain {
            None => None,
            Some(DomainName::Named(name)) => Some(name.clone()),
            Some(DomainName::Requested) => return Err("a domain stayed open".to_owned()),
        };
        if needs.graphs.entry(part).or_insert_with(|| graph.to_owned()) != graph {
            return Err("one field is looked up in two kinds of `g` lines".to_owned());
        }
        let role = Role { part, graph: graph.to_owned(), name: role.to_owned(), domain };
        let text = match part {
            Part::Subject => format!("principal in {}", self.names.subject(&role.id())),
            Part::Object => format!("resource in {}", self.names.object(&role.id())),
            Part::Action | Part::Domain => {
                return Err("roles are understood of subjects and objects".to_owned());
            }
        };
        needs.roles.insert(role);
        Ok(text)
    }

    fn term(&self, term: &Term, wanted: AttributeType, needs: &mut Needs) -> Result<String, String> {
        let (Term::Part(part) | Term::Attribute(part, _)) = term;
        let of = match part {
            Part::Subject => "principal",
            Part::Object => "resource",
            Part::Domain => return Ok(format!("context.{}", self.names.domain)),
            Part::Action => return Err("the action can be compared with names only".to_owned()),
        };
        let Term::Attribute(part, name) = term else {
            needs.ids.insert(*part);
            return Ok(format!("{of}.id"));
        };
        if name == "id" || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("the attribute `{name}` cannot be said"));
        }
        if *needs.attributes.entry((*part, name.clone())).or_insert(wanted) != wanted {
            return Err(format!(
                "`{name}` is compared with a number, a text or a list, and not with one of these only"
            ));
        }
        Ok(format!("{of}.{name}"))
    }

    fn schema(&self, needs: &Needs) -> String {
        let mut text = format!("namespace {} {{\n", self.names.namespace);
        for (part, name) in [(Part::Subject, "Subject"), (Part::Object, "Object")] {
            let mut fields: Vec<String> =
                needs.ids.contains(&part).then(|| "id: String".to_owned()).into_iter().collect();
            for ((owner, attribute), kind) in &needs.attributes {
                let kind = match kind {
                    AttributeType::Long => "Long",
                    AttributeType::String => "String",
                    AttributeType::Texts => "Set<String>",
                };
                fields.extend((*owner == part).then(|| format!("{attribute}: {kind}")));
            }
            let fields =
                if fields.is_empty() { String::new() } else { format!(" = {{ {} }}", fields.join(", ")) };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  entity {name} in [{name}]{fields};");
        }
        let mut context: Vec<String> = Vec::new();
        context.extend(self.names.has_domain.then(|| format!("{}: String", self.names.domain)));
        context.extend(needs.has_address.then(|| format!("{ADDRESS}: ipaddr")));
        let actions: Vec<String> = self.actions.iter().map(|action| quote(action)).collect();
        let _ = writeln!(
            text,
            "  action {} appliesTo {{\n    principal: [Subject],\n    resource: [Object],\n    context: {{ {} }},\n  }};\n}}",
            actions.join(", "),
            context.join(", ")
        );
        text
    }
}

impl Draft {
    /// Whether both say the same of other actions. A policy of any action stays by itself.
    fn says_the_same(&self, other: &Self) -> bool {
        let fixed = |draft: &Self| {
            (
                draft.allows,
                draft.principal.clone(),
                draft.resource.clone(),
                draft.when.clone(),
                draft.unless.clone(),
            )
        };
        fixed(self) == fixed(other) && self.actions.is_empty() == other.actions.is_empty()
    }
}

/// Whether some request can meet both; `true` where that is not seen at once.
fn can_meet(one: &Condition, two: &Condition) -> bool {
    let fixed = |condition: &Condition, wanted: Part| -> Option<String> {
        let parts = match condition {
            Condition::All(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        parts.iter().find_map(|part| match part {
            Condition::Is(part, name) if *part == wanted => Some(name.clone()),
            _ => None,
        })
    };
    [Part::Subject, Part::Object, Part::Action, Part::Domain].into_iter().all(|part| {
        match (fixed(one, part), fixed(two, part)) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        }
    })
}
