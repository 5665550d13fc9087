//! The conditions of own policies, as footnotes of the cells that they are about: a table of neutral circumstances shows
//! only what they come to there.

use std::collections::BTreeSet;

use serde::Serialize;

use super::own_files;
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, Effect};
use crate::policy::engine::evaluate::Asked;
use crate::policy::engine::request::Query;
use crate::workbench::clauses::{Anatomy, code_line};
use crate::workbench::coverage::matches;

/// A condition that cells refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Footnote {
    /// Its number, from 1.
    pub number: usize,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The policy.
    pub policy: String,
    /// Its clauses, on one line.
    pub conditions: String,
}

/// Conditions, numbered as cells need them.
pub(super) struct Notes<'b> {
    conditional: Vec<(&'b CompiledPolicy, Anatomy)>,
    /// Places in `conditional`, in the order of the numbers.
    numbers: Vec<usize>,
}

impl<'b> Notes<'b> {
    pub(super) fn new(bundle: &'b Bundle) -> Self {
        let own: BTreeSet<&str> = own_files(bundle).collect();
        let all = Anatomy::all(bundle).into_iter();
        let own =
            all.filter(|(_, info, policy)| own.contains(info.file.as_ref()) && policy.condition.is_some());
        Self { conditional: own.map(|(anatomy, _, policy)| (policy, anatomy)).collect(), numbers: Vec::new() }
    }

    /// The numbers of the policies whose scope a question is in.
    pub(super) fn about(&mut self, bundle: &Bundle, query: &Query) -> Vec<usize> {
        let Ok(prepared) = bundle.prepare(query) else { return Vec::new() };
        let Some(asked) = Asked::of(&prepared.request, &prepared.entities) else { return Vec::new() };
        let mut about = Vec::new();
        for (place, (policy, _)) in self.conditional.iter().enumerate() {
            if matches(policy, &asked) != [true; 3] {
                continue;
            }
            let number = self.numbers.iter().position(|known| *known == place).unwrap_or_else(|| {
                self.numbers.push(place);
                self.numbers.len() - 1
            });
            about.push(number + 1);
        }
        about
    }

    /// The footnotes that cells refer to.
    pub(super) fn used(self) -> Vec<Footnote> {
        let all = self.numbers.iter().filter_map(|place| self.conditional.get(*place));
        let text = |anatomy: &Anatomy| {
            let clauses =
                anatomy.clauses.iter().map(|clause| code_line(clause.span.text(&anatomy.source.text)));
            clauses.collect::<Vec<_>>().join(" ")
        };
        all.enumerate()
            .map(|(number, (policy, anatomy))| Footnote {
                number: number + 1,
                effect: Effect::as_str(policy.effect),
                policy: policy.id.to_string(),
                conditions: text(anatomy),
            })
            .collect()
    }
}
