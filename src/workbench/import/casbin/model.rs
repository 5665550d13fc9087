//! A model of Casbin and the rules beside it, as they are written.

use super::expression::{self, Expression};
use crate::workbench::import::ImportError;

/// How rules are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combination {
    /// `some(where (p.eft == allow))`: one rule that allows is enough.
    AllowOverride,
    /// `!some(where (p.eft == deny))`: allowed, unless a rule denies.
    DenyOverride,
    /// Both: a rule allows and none denies.
    AllowAndDeny,
    /// `priority(p.eft) || deny`: the first rule that fits.
    Priority,
    /// `subjectPriority(p.eft) || deny`: the first rule that fits, those of subjects far from the root first.
    SubjectPriority,
}

const COMBINATIONS: [(&str, Combination); 5] = [
    ("some(where(p.eft==allow))", Combination::AllowOverride),
    ("!some(where(p.eft==deny))", Combination::DenyOverride),
    ("some(where(p.eft==allow))&&!some(where(p.eft==deny))", Combination::AllowAndDeny),
    ("priority(p.eft)||deny", Combination::Priority),
    ("subjectPriority(p.eft)||deny", Combination::SubjectPriority),
];

/// A `p` line.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// By the names of the policy definition.
    pub(super) values: Vec<(String, String)>,
    /// Whether it allows; `None` for an effect that is neither `allow` nor `deny`, which counts for nothing.
    pub(super) allows: Option<bool>,
    pub(super) line: u64,
}

impl Rule {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A `g` line: member, role, and if there is one a domain.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub(super) graph: String,
    pub(super) member: String,
    pub(super) role: String,
    pub(super) domain: Option<String>,
    pub(super) line: u64,
}

/// A model with its rules.
#[derive(Debug)]
pub(super) struct Model {
    /// The fields of a request, in order.
    pub(super) request: Vec<String>,
    pub(super) combination: Combination,
    pub(super) matcher: Expression,
    pub(super) matcher_line: u64,
    /// Whether there is a policy definition that rules fill.
    pub(super) rules: Vec<Rule>,
    pub(super) memberships: Vec<Membership>,
    /// Second definitions (`p2`), which are asked for by name, with the lines of their rules.
    pub(super) second: Vec<(String, u64)>,
}

/// A definition of the model.
struct Definition {
    value: String,
    line: u64,
}

#[derive(Default)]
struct Sections {
    definitions: Vec<(String, Definition)>,
    rows: Vec<(Vec<String>, u64)>,
}

/// Reads the model and the rules that stand after it.
pub(super) fn read(text: &str) -> Result<Model, ImportError> {
    let sections = sections(text)?;
    let find =
        |name: &str| sections.definitions.iter().find(|(known, _)| known == name).map(|(_, found)| found);
    let wanted = |name: &str, what: &str| {
        find(name).ok_or_else(|| ImportError::Source {
            line: 1,
            what: format!("the model has no {what} (`{name} = …`): name the model before the rules"),
        })
    };
    let list = |definition: &Definition| -> Vec<String> {
        definition.value.split(',').map(|field| field.trim().to_owned()).collect()
    };
    let request = list(wanted("r", "request definition")?);
    let policy = list(wanted("p", "policy definition")?);
    let effect = wanted("e", "policy effect")?;
    let plain: String = effect.value.chars().filter(|c| !c.is_whitespace()).collect();
    let plain = plain.replace("p_eft", "p.eft");
    let combination = COMBINATIONS.iter().find(|(known, _)| *known == plain).map(|(_, found)| *found);
    let combination = combination.ok_or_else(|| ImportError::Source {
        line: effect.line,
        what: format!("the effect `{}` is not known here", effect.value),
    })?;
    let matcher = wanted("m", "matcher")?;
    let expression = expression::parse(&matcher.value)
        .map_err(|what| ImportError::Source { line: matcher.line, what: format!("the matcher: {what}") })?;

    let mut model = Model {
        request,
        combination,
        matcher: expression,
        matcher_line: matcher.line,
        rules: Vec::new(),
        memberships: Vec::new(),
        second: Vec::new(),
    };
    for (name, definition) in &sections.definitions {
        if matches!(name.as_str(), "r2" | "p2" | "m2" | "e2") {
            model.second.push((name.clone(), definition.line));
        }
    }
    for (row, line) in &sections.rows {
        row_of(&mut model, &policy, row, *line)?;
    }
    if policy.iter().any(|field| field == "priority") {
        let wrong = |rule: &Rule| ImportError::Source {
            line: rule.line,
            what: "the priority is not a whole number".to_owned(),
        };
        let mut keyed = Vec::new();
        for rule in std::mem::take(&mut model.rules) {
            let priority: i64 =
                rule.value("priority").and_then(|text| text.parse().ok()).ok_or_else(|| wrong(&rule))?;
            keyed.push((priority, rule));
        }
        keyed.sort_by_key(|(priority, _)| *priority);
        model.rules = keyed.into_iter().map(|(_, rule)| rule).collect();
    }
    Ok(model)
}

fn row_of(model: &mut Model, policy: &[String], row: &[String], line: u64) -> Result<(), ImportError> {
    let wrong = |what: String| Err(ImportError::Source { line, what });
    let Some((kind, values)) = row.split_first() else { return Ok(()) };
    match kind.as_str() {
        "p" => {
            // An effect may stand at the end although the definition has none.
            let has_effect = policy.iter().any(|field| field == "eft");
            let fits = values.len() == policy.len() || (!has_effect && values.len() == policy.len() + 1);
            if !fits {
                return wrong(format!(
                    "{} values stand where the model defines {}",
                    values.len(),
                    policy.len()
                ));
            }
            let named: Vec<(String, String)> = policy.iter().cloned().zip(values.iter().cloned()).collect();
            let effect = match has_effect {
                true => named.iter().find(|(name, _)| name == "eft").map(|(_, value)| value.as_str()),
                // Without a column it counts for nothing, as in Casbin.
                false => Some("allow"),
            };
            let allows = match effect {
                Some("allow") => Some(true),
                Some("deny") => Some(false),
                _ => None,
            };
            model.rules.push(Rule { values: named, allows, line });
        }
        graph if graph.starts_with('g') => match values {
            [member, role] | [member, role, _] => model.memberships.push(Membership {
                graph: graph.to_owned(),
                member: member.clone(),
                role: role.clone(),
                domain: values.get(2).cloned(),
                line,
            }),
            _ => return wrong(format!("`{graph}` has {} values, two or three are known here", values.len())),
        },
        other if other.starts_with('p') => model.second.push((other.to_owned(), line)),
        other => return wrong(format!("`{other}` is neither `p` nor `g`")),
    }
    Ok(())
}

fn sections(text: &str) -> Result<Sections, ImportError> {
    let mut sections = Sections::default();
    let mut lines = (1_u64..).zip(text.lines());
    while let Some((line, written)) = lines.next() {
        let written = written.trim_start_matches('\u{feff}').trim();
        if written.is_empty() || written.starts_with(['#', ';']) || written.starts_with('[') {
            continue;
        }
        let definition = match written.find([',', '=']) {
            Some(at) if written.get(at..).is_some_and(|rest| rest.starts_with('=')) => Some(at),
            _ => None,
        };
        let Some(at) = definition else {
            sections.rows.push((fields(written, line)?, line));
            continue;
        };
        let (name, value) = written.split_at(at);
        let mut value = without_comment(value.get(1..).unwrap_or_default()).to_owned();
        while let Some(before) = value.strip_suffix('\\') {
            let Some((_, next)) = lines.next() else { break };
            value = format!("{} {}", before.trim_end(), without_comment(next));
        }
        let name = name.trim().to_owned();
        if sections.definitions.iter().any(|(known, _)| *known == name) {
            let what = format!("`{name}` is defined twice");
            return Err(ImportError::Source { line, what });
        }
        sections.definitions.push((name, Definition { value, line }));
    }
    Ok(sections)
}

fn without_comment(text: &str) -> &str {
    text.split('#').next().unwrap_or_default().trim()
}

/// The fields of a line of comma-separated values; quotes hold commas.
fn fields(line: &str, number: u64) -> Result<Vec<String>, ImportError> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(ImportError::Source { line: number, what: "a quote has no end".to_owned() });
    }
    Ok(fields.iter().map(|field| field.trim().to_owned()).collect())
}
