//! Who may do what: every role on every action on every type of resource, as one table that people review like an API.
//!
//! The circumstances are the neutral ones of tests, and so are the entities: what hangs on anything else (a limit in the
//! input, lockdown, an agent's own tools) is for tests to say. A role is what policies name as `Role::"…"`; those that
//! are named like an action are permission words, which are many and say one thing each, and so have a list of their own.

mod shift;

pub use shift::{Shift, Shifted, shift};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use cedar_policy_core::ast::{EntityUID, Expr, ExprKind, Literal};
use serde::Serialize;
use serde_json::Map;

use super::case::{World, shorthand};
use crate::model::{EntityUid, Outcome, ReasonCode};
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, ScopeConstraint};
use crate::policy::engine::request::Query;

/// The table.
#[derive(Debug, Clone, Serialize)]
pub struct Matrix {
    /// Who, by column.
    pub principals: Vec<String>,
    /// A row for each action and resource.
    pub rows: Vec<MatrixRow>,
    /// What each permission word gives.
    pub words: Vec<Word>,
}

/// An action on a resource.
#[derive(Debug, Clone, Serialize)]
pub struct MatrixRow {
    /// The action of the request.
    pub action: String,
    /// The resource of the request.
    pub resource: String,
    /// What is decided, for each column.
    pub cells: Vec<Cell>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What is decided; `None` when the action is not for this kind of principal.
    pub outcome: Option<Outcome>,
    /// By which policies.
    pub policies: Vec<String>,
}

/// A permission word.
#[derive(Debug, Clone, Serialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// The actions it permits; with the resource where it does not permit it on all.
    pub permits: Vec<String>,
}

/// Who stands in a column.
struct Principal {
    name: String,
    uid: EntityUid,
    role: Option<EntityUid>,
}

impl Principal {
    /// A user without a role, a user of each role, an agent, and the gateway itself.
    fn all(roles: &[String]) -> Vec<Self> {
        let mut all = vec![Self::user(None)];
        all.extend(roles.iter().map(|role| Self::user(Some(role))));
        for (kind, id) in [("Agent", "a"), ("System", "gateway")] {
            let uid = EntityUid::caxton(kind, id);
            all.push(Self { name: shorthand(&uid), uid, role: None });
        }
        all
    }

    fn user(role: Option<&String>) -> Self {
        Self {
            name: role.map_or_else(|| "nobody".to_owned(), Clone::clone),
            uid: EntityUid::caxton("User", "issuer|somebody"),
            role: role.map(|role| EntityUid::caxton("Role", role.as_str())),
        }
    }
}

/// An action and a resource that it is for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) action: EntityUid,
    pub(super) resource: EntityUid,
}

impl Subject {
    /// Whether principals of a type can be asked about.
    pub(super) fn is_for(&self, bundle: &Bundle, principal: &str) -> bool {
        let known = bundle.schema_index().action(&self.action);
        known.is_ok_and(|action| action.principals.iter().any(|kind| kind.to_string() == principal))
    }
}

impl Matrix {
    /// Asks a bundle about everything.
    pub fn of(bundle: &Bundle) -> Self {
        let (words, roles): (Vec<String>, Vec<String>) = roles(bundle)
            .into_iter()
            .partition(|role| bundle.knows_action(&EntityUid::action(role.as_str())));
        let principals = Principal::all(&roles);
        let subjects = subjects(bundle);
        let rows = subjects.iter().map(|subject| MatrixRow {
            action: subject.action.id().to_owned(),
            resource: shorthand(&subject.resource),
            cells: principals.iter().map(|principal| cell(bundle, principal, subject)).collect(),
        });
        let rows = rows.collect();
        let words =
            words.iter().map(|word| permits(bundle, &Principal::user(Some(word)), &subjects)).collect();
        Self { principals: principals.into_iter().map(|principal| principal.name).collect(), rows, words }
    }

    /// The table as Markdown, one line for each action and resource, so that a change of it can be read as a diff.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# Who may do what\n\n\
             Written by `caxton policy matrix --write`; `--check` compares. In neutral circumstances: `allow`, `forbid` (a\n\
             forbid holds), `-` (nothing permits it), `error`; empty where the action is not for that principal.\n\n",
        );
        let mut lines = vec![["action", "resource"].map(str::to_owned).to_vec()];
        lines.iter_mut().for_each(|head| head.extend(self.principals.iter().map(|name| code(name))));
        for row in &self.rows {
            let mut line = vec![code(&row.action), code(&row.resource)];
            line.extend(row.cells.iter().map(|cell| cell.word().to_owned()));
            lines.push(line);
        }
        table(&mut text, &lines);
        if !self.words.is_empty() {
            text.push_str("\n## Permission words\n\n");
            let mut lines = vec![vec!["word".to_owned(), "permits".to_owned()]];
            for word in &self.words {
                let permits = word.permits.iter().map(|what| code(what)).collect::<Vec<_>>().join(", ");
                lines.push(vec![code(&word.word), permits]);
            }
            table(&mut text, &lines);
        }
        text
    }
}

impl Cell {
    fn word(&self) -> &'static str {
        match self.outcome {
            None => "",
            Some(Outcome::Allow) => "allow",
            Some(Outcome::DenyExplicit) => "forbid",
            Some(Outcome::DenyDefault) => "-",
            Some(Outcome::DenyError) => "error",
            Some(outcome @ (Outcome::Limited | Outcome::ApprovalRequired)) => outcome.as_str(),
        }
    }
}

fn permits(bundle: &Bundle, holder: &Principal, subjects: &[Subject]) -> Word {
    let mut by_action: BTreeMap<&EntityUid, Vec<(&Subject, bool)>> = BTreeMap::new();
    for subject in subjects {
        let allowed = cell(bundle, holder, subject).outcome == Some(Outcome::Allow);
        by_action.entry(&subject.action).or_default().push((subject, allowed));
    }
    let mut permits = Vec::new();
    for (action, asked) in by_action {
        let on = |wanted: bool| -> Vec<String> {
            let some = asked.iter().filter(|(_, allowed)| *allowed == wanted);
            some.map(|(subject, _)| shorthand(&subject.resource)).collect()
        };
        let (yes, no) = (on(true), on(false));
        match (yes.len(), no.len()) {
            (0, _) => {}
            (_, 0) => permits.push(action.id().to_owned()),
            (some, others) if some < others => {
                permits.push(format!("{} on {}", action.id(), yes.join(" and ")))
            }
            _ => permits.push(format!("{} except on {}", action.id(), no.join(" and "))),
        }
    }
    Word { word: holder.name.clone(), permits }
}

fn cell(bundle: &Bundle, principal: &Principal, subject: &Subject) -> Cell {
    let none = Cell { outcome: None, policies: Vec::new() };
    let Some(query) = question(bundle, principal, subject) else { return none };
    let verdict = bundle.decide(&query);
    if verdict.reason == ReasonCode::SchemaMismatch {
        return none;
    }
    let policies = verdict.deciding().map(|policy| policy.id.to_string()).collect();
    Cell { outcome: Some(verdict.outcome), policies }
}

/// The question with everything neutral; none when the action is not for the principal.
fn question(bundle: &Bundle, principal: &Principal, subject: &Subject) -> Option<Query> {
    let mut world = World::new(bundle).with_stand_ins("x");
    let mut who = world.neutral(&principal.uid)?;
    if subject.resource != principal.uid {
        world.neutral(&subject.resource)?;
    }
    let mut query = world.query(&principal.uid, &subject.action, &subject.resource, &Map::new()).ok()?;
    let parents = principal.role.clone().into_iter();
    let home = (principal.uid.type_name() == "Caxton::Agent").then(|| EntityUid::caxton("Workspace", "w"));
    Arc::make_mut(&mut who).parents.extend(parents.chain(home));
    query.entities.retain(|entity| entity.uid != who.uid);
    query.entities.push(who);
    Some(query)
}

impl Bundle {
    /// The roles that policies name.
    pub fn named_roles(&self) -> Vec<String> {
        roles(self)
    }

    /// What a permission word is about, asked of a principal: each of its actions on one resource of each kind. Of the
    /// principal nothing is said, and the circumstances are whatever they are when it is asked.
    pub fn permission_questions(&self, principal: &EntityUid, word: &str) -> Vec<Query> {
        let mut questions = self.neutral_permission_questions(principal, word);
        for query in &mut questions {
            if let crate::model::Value::Record(context) = &mut query.context {
                context.retain(|name, _| name == crate::policy::engine::request::INPUT);
            }
        }
        questions
    }

    /// The same in a neutral context, where no request gives one: on a weekday, with nothing screened and nothing called.
    pub fn neutral_permission_questions(&self, principal: &EntityUid, word: &str) -> Vec<Query> {
        let group = EntityUid::action(word);
        let means =
            |subject: &&Subject| subject.action == group || self.is_action_in(&subject.action, &group);
        let who = Principal { name: String::new(), uid: principal.clone(), role: None };
        let subjects = subjects(self);
        let fitting =
            subjects.iter().filter(means).filter(|subject| subject.is_for(self, principal.type_name()));
        let mut questions: Vec<Query> = fitting.filter_map(|subject| question(self, &who, subject)).collect();
        for query in &mut questions {
            // Of an agent its definition says everything; of a person the name says what the schema requires.
            for entity in query.entities.iter_mut().filter(|entity| entity.uid == *principal) {
                if principal.type_name() == "Caxton::Agent" {
                    *entity = Arc::new(crate::model::Entity::bare(principal.clone()));
                }
                Arc::make_mut(entity).parents.clear();
            }
        }
        questions
    }
}

/// Every action with the resources it is for: one of each type, and of memory one of each kind of owner.
pub(super) fn subjects(bundle: &Bundle) -> Vec<Subject> {
    let mut subjects = BTreeSet::new();
    for (action, _, resource) in bundle.schema_index().environments() {
        let action = EntityUid::new(action.uid().entity_type().to_string(), action.uid().eid().as_ref());
        let kind = resource.to_string();
        for id in samples(&kind, action.id()) {
            subjects.insert(Subject { action: action.clone(), resource: EntityUid::new(kind.as_str(), id) });
        }
    }
    subjects.into_iter().collect()
}

fn samples(kind: &str, action: &str) -> Vec<String> {
    const OWNERS: [&str; 5] = ["agent:a", "agent:b", "workspace:w", "workspace:x", "global"];
    match kind {
        "Caxton::MemoryScope" => OWNERS.map(str::to_owned).to_vec(),
        "Caxton::MemoryEntity" | "Caxton::MemoryRelation" => {
            OWNERS.map(|owner| format!("{owner}/row")).to_vec()
        }
        // A tool has an action of its name.
        "Caxton::Tool" if action.contains("___") => vec![action.to_owned()],
        "Caxton::Tool" => vec!["server___tool".to_owned()],
        "Caxton::Agent" => vec!["b".to_owned()],
        _ => vec!["x".to_owned()],
    }
}

/// The ids of all roles that policies name.
fn roles(bundle: &Bundle) -> Vec<String> {
    let mut roles = BTreeSet::new();
    for (_, policy) in bundle.program() {
        named(policy, &mut |uid| {
            if uid.entity_type().to_string() == "Caxton::Role" {
                roles.insert(AsRef::<str>::as_ref(uid.eid()).to_owned());
            }
        });
    }
    roles.into_iter().collect()
}

fn named(policy: &CompiledPolicy, visit: &mut dyn FnMut(&EntityUID)) {
    for reach in [&policy.scope.principal, &policy.scope.resource] {
        match reach {
            ScopeConstraint::Eq(uid) | ScopeConstraint::In(uid) | ScopeConstraint::IsIn(_, uid) => visit(uid),
            ScopeConstraint::Any | ScopeConstraint::Is(_) => {}
        }
    }
    let condition = policy.condition.as_deref().into_iter();
    for expression in condition.flat_map(Expr::subexpressions) {
        if let ExprKind::Lit(Literal::EntityUID(uid)) = expression.expr_kind() {
            visit(uid);
        }
    }
}

/// A name as code, which must not end the code or the cell.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

/// Columns of one width each: then a change of one cell is a change of one line.
fn table(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    // The last column of a list of words has any width.
    let widths: Vec<usize> =
        (0..columns).map(|column| if columns == 2 && column == 1 { 0 } else { width(column) }).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().map(|width| "-".repeat((*width).max(3)));
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
}
