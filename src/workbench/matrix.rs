//! Who may do what: every role on every action on every type of resource, as one table that people review like an API.
//!
//! The circumstances are the neutral ones of tests, and so are the entities: what hangs on anything else (a limit in the
//! input, lockdown, an agent's own tools) is for tests to say. A role is what policies name as `Role::"…"`; those that
//! are named like an action are permission words, which are many and say one thing each, and so have a list of their own.

mod columns;
mod notes;
mod shift;

use columns::{Principal, own_files};
pub use notes::Footnote;
use notes::Notes;
pub use shift::{Shift, Shifted, shift};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use cedar_policy_core::ast::{EntityUID, Expr, ExprKind, Literal};
use serde::Serialize;
use serde_json::Map;

use super::case::{KnownWorld, World, shorthand};
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
    /// Conditions of own policies, to which cells refer.
    pub notes: Vec<Footnote>,
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
    /// Own policies with conditions that are about this: the numbers of [`Matrix::notes`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<usize>,
}

/// A permission word.
#[derive(Debug, Clone, Serialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// The actions it permits; with the resource where it does not permit it on all.
    pub permits: Vec<String>,
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
        Self::in_gateway(bundle, None)
    }

    /// The same in the world of a gateway.
    pub fn in_gateway(bundle: &Bundle, known: Option<&KnownWorld>) -> Self {
        let words = roles(bundle).into_iter();
        let words = words.filter(|role| bundle.knows_action(&EntityUid::action(role.as_str())));
        let principals = Principal::of(&[bundle]);
        let subjects = subjects(bundle);
        let mut notes = Notes::new(bundle);
        let rows = subjects.iter().map(|subject| MatrixRow {
            action: subject.action.id().to_owned(),
            resource: shorthand(&subject.resource),
            cells: principals
                .iter()
                .map(|principal| {
                    let Some(query) = question(bundle, principal, subject, known) else {
                        return Cell::none();
                    };
                    let notes = if principal.is_named { notes.about(bundle, &query) } else { Vec::new() };
                    Cell { notes, ..Cell::of(bundle, &query) }
                })
                .collect(),
        });
        let rows = rows.collect();
        let words = words.map(|word| permits(bundle, &Principal::user(Some(&word)), &subjects)).collect();
        let principals = principals.into_iter().map(|principal| principal.name).collect();
        Self { principals, rows, words, notes: notes.used() }
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
            line.extend(row.cells.iter().map(Cell::text));
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
        if !self.notes.is_empty() {
            text.push_str("\n## Conditions\n\n");
            for note in &self.notes {
                let Footnote { number, effect, policy, conditions } = note;
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "- [{number}] {effect} {}: {}", code(policy), code(conditions));
            }
        }
        text
    }
}

impl Cell {
    fn none() -> Self {
        Self { outcome: None, policies: Vec::new(), notes: Vec::new() }
    }

    fn of(bundle: &Bundle, query: &Query) -> Self {
        let verdict = bundle.decide(query);
        if verdict.reason == ReasonCode::SchemaMismatch {
            return Self::none();
        }
        let policies = verdict.deciding().map(|policy| policy.id.to_string()).collect();
        Self { outcome: Some(verdict.outcome), policies, notes: Vec::new() }
    }

    fn text(&self) -> String {
        let notes = self.notes.iter().map(|number| format!(" [{number}]"));
        std::iter::once(self.word().to_owned()).chain(notes).collect()
    }

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
    question(bundle, principal, subject, None).map_or_else(Cell::none, |query| Cell::of(bundle, &query))
}

/// The question with everything neutral; none when the action is not for the principal.
fn question(
    bundle: &Bundle,
    principal: &Principal,
    subject: &Subject,
    known: Option<&KnownWorld>,
) -> Option<Query> {
    let mut world = World::new(bundle).with_stand_ins("x").in_gateway(known.cloned());
    let mut who = world.neutral(&principal.uid)?;
    if subject.resource != principal.uid {
        world.neutral(&subject.resource)?;
    }
    let mut query = world.query(&principal.uid, &subject.action, &subject.resource, &Map::new()).ok()?;
    Arc::make_mut(&mut who).parents.extend(principal.parents.iter().cloned());
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
        let who =
            Principal { name: String::new(), uid: principal.clone(), parents: Vec::new(), is_named: false };
        let subjects = subjects(self);
        let fitting =
            subjects.iter().filter(means).filter(|subject| subject.is_for(self, principal.type_name()));
        let mut questions: Vec<Query> =
            fitting.filter_map(|subject| question(self, &who, subject, None)).collect();
        for query in &mut questions {
            // Of an agent its definition says everything; of a person the name says what the schema requires.
            for entity in query.entities.iter_mut().filter(|entity| entity.uid == *principal) {
                if principal.type_name() == "Caxton::Agent" {
                    *entity = Arc::new(crate::model::Entity::bare(principal.clone()));
                }
                Arc::make_mut(entity).parents.clear();
            }
            // Of a tool that has an action of its own, hints and labels are what was approved.
            for entity in query.entities.iter_mut().filter(|entity| is_tool(&entity.uid, &query.action)) {
                *entity = Arc::new(crate::model::Entity::bare(entity.uid.clone()));
            }
        }
        questions
    }
}

fn is_tool(uid: &EntityUid, action: &EntityUid) -> bool {
    uid.type_name() == "Caxton::Tool" && uid.id() == action.id()
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

fn model_name(uid: &EntityUID) -> EntityUid {
    EntityUid::new(uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid()))
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
