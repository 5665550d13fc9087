//! What a change of the policies changes in the table of who may do what.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Cell, Principal, cell, subjects};
use crate::model::Outcome;
use crate::policy::Bundle;
use crate::workbench::case::shorthand;
use crate::workbench::diff::ComparedSide;

/// Two versions, cell by cell.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Shift {
    /// Cells that both were asked for: each principal of either on each action and resource of either.
    pub cells: usize,
    /// Those that came out otherwise.
    pub flips: Vec<Shifted>,
}

/// A cell that is decided otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Shifted {
    /// Who: a role, a permission word, or an entity.
    pub principal: String,
    /// The action of the request.
    pub action: String,
    /// The resource of the request.
    pub resource: String,
    /// What the older version decides; none when the action is not for this principal there.
    pub old: Option<ComparedSide>,
    /// What the newer one decides, likewise.
    pub new: Option<ComparedSide>,
}

/// Asks both about everything that either knows of.
pub fn shift(old: &Bundle, new: &Bundle) -> Shift {
    let principals = Principal::of(&[old, new]);
    let subjects: BTreeSet<_> = subjects(old).into_iter().chain(subjects(new)).collect();
    let mut shift = Shift::default();
    for subject in &subjects {
        for principal in &principals {
            let (was, is) = (cell(old, principal, subject), cell(new, principal, subject));
            shift.cells += usize::from(was.outcome.is_some() || is.outcome.is_some());
            if same(was.outcome, is.outcome) {
                continue;
            }
            shift.flips.push(Shifted {
                principal: principal.name.clone(),
                action: subject.action.id().to_owned(),
                resource: shorthand(&subject.resource),
                old: side(was),
                new: side(is),
            });
        }
    }
    shift
}

/// An action that was added or removed, and that no principal may perform, changes no decision.
fn same(was: Option<Outcome>, is: Option<Outcome>) -> bool {
    match (was, is) {
        (Some(was), Some(is)) => was == is,
        (one, other) => one.or(other) != Some(Outcome::Allow),
    }
}

fn side(cell: Cell) -> Option<ComparedSide> {
    Some(ComparedSide::of_parts(cell.outcome?, cell.policies.iter().map(String::as_str)))
}
