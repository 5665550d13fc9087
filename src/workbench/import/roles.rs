//! `roles.yaml`: roles with permission words.
//!
//! A word is an action or a group of actions of the schema, so a role becomes one permit with the words as they were
//! written. A word that the schema does not have gives nothing, and is listed as a gap.

use super::suite::Test;
use super::{Collected, ImportError, ImportInput};
use crate::model::EntityUid;
use crate::policy::set::roles::{PermissionWords, WordError, read as read_roles};
use crate::policy::set::text::slug;
use crate::workbench::case::shorthand;
use crate::workbench::matrix::{Subject, subjects};
use crate::workbench::replay::key;

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let roles = read_roles(input.text)?;
    let mut collected =
        Collected { heading: format!("The roles of {}.", input.file), ..Collected::default() };
    let known = Known::new(input);
    for role in &roles {
        collected.roles.push(role.name.clone());
        let mut words = Vec::new();
        for permission in &role.permissions {
            match known.word(&permission.word) {
                Ok(()) => words.push(permission.word.clone()),
                Err(why) => collected.gap(permission.line, format!("{}: {why}", role.name)),
            }
        }
        known.role(&mut collected, &role.name, &role.description_in(input.file), &words);
    }
    Ok(collected)
}

/// What the schema has words for, and the requests that tell whether a role has them.
pub(super) struct Known<'i> {
    words: PermissionWords<'i>,
    subjects: Vec<Subject>,
}

impl<'i> Known<'i> {
    pub(super) fn new(input: &'i ImportInput<'i>) -> Self {
        let mut seen = std::collections::BTreeSet::new();
        let subjects = subjects(input.schema).into_iter().filter(|subject| {
            // A role is asked about types: one resource of each is enough.
            let kind = (subject.action.clone(), subject.resource.type_name().to_owned());
            subject.is_for(input.schema, "Caxton::User") && seen.insert(kind)
        });
        let subjects = subjects.collect();
        Self { words: PermissionWords::new(input.schema), subjects }
    }

    /// Whether a word gives something.
    pub(super) fn word(&self, word: &str) -> Result<(), WordError> {
        self.words.check(word)
    }

    /// One permit for a role, and what it may and may not.
    pub(super) fn role(&self, collected: &mut Collected, name: &str, description: &str, words: &[String]) {
        if words.is_empty() {
            return;
        }
        collected.policies.push(self.words.policy(name, description, words));
        let holder = format!("User::\"import|{}\"", slug(name));
        let role = shorthand(&EntityUid::caxton("Role", name));
        collected.suite.exists(&role);
        collected.suite.entities.insert(holder.clone(), format!("{{ in: [{}] }}", key(&role)));
        for (may, outcome) in [(true, "allow"), (false, "deny_default")] {
            let wanted =
                |subject: &&Subject| words.iter().any(|word| self.words.gives(word, &subject.action)) == may;
            let rows = self.subjects.iter().filter(wanted).map(|subject| {
                collected.suite.exists(&shorthand(&subject.resource));
                vec![("action", subject.action.id().to_owned()), ("resource", shorthand(&subject.resource))]
            });
            let rows = rows.collect();
            collected.suite.tests.push(Test {
                name: format!("what the role {name} {}", if may { "may do" } else { "may not do" }),
                entities: Default::default(),
                rows,
                principal: holder.clone(),
                action: "${action}".to_owned(),
                resource: "${resource}".to_owned(),
                outcome,
            });
        }
    }
}
