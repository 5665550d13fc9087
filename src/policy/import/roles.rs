//! `roles.yaml`: roles with permission words.
//!
//! A word is an action or a group of actions of the schema, so a role becomes one permit with the words as they were
//! written. A word that nothing in the schema answers to gives nothing there, and is told.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::emit::{Policy, entity};
use super::suite::Test;
use super::{Collected, ImportError, Input, yaml};
use crate::model::EntityUid;
use crate::policy::case::shorthand;
use crate::policy::matrix::{Subject, subjects};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    name: Spanned<String>,
    #[serde(default)]
    description: Option<String>,
    permissions: Vec<Spanned<String>>,
}

pub(super) fn read(input: &Input<'_>) -> Result<Collected, ImportError> {
    let file: File = yaml::parse(input.text)?;
    let mut collected =
        Collected { heading: format!("The roles of {}.", input.file), ..Collected::default() };
    let known = Known::new(input);
    let mut names = std::collections::BTreeSet::new();
    for role in &file.roles {
        let (name, line) = (&role.name.value, role.name.referenced.line());
        if name.is_empty() || !names.insert(name.clone()) {
            let what = format!("the role `{name}` has no name, or is there twice");
            return Err(ImportError::Source { line, what });
        }
        collected.roles.push(name.clone());
        let mut words = Vec::new();
        for word in &role.permissions {
            match known.word(&word.value) {
                Ok(()) => words.push(word.value.clone()),
                Err(why) => collected.gap(word.referenced.line(), format!("{name}: {why}")),
            }
        }
        let description =
            role.description.clone().unwrap_or_else(|| format!("The role `{name}`, from {}.", input.file));
        known.role(&mut collected, name, &description, &words);
    }
    Ok(collected)
}

/// What the schema has words for.
pub(super) struct Known<'i> {
    input: &'i Input<'i>,
    subjects: Vec<Subject>,
}

impl<'i> Known<'i> {
    pub(super) fn new(input: &'i Input<'i>) -> Self {
        let mut seen = std::collections::BTreeSet::new();
        let subjects = subjects(input.schema).into_iter().filter(|subject| {
            // A role is asked about types: one resource of each is enough.
            let kind = (subject.action.clone(), subject.resource.type_name().to_owned());
            subject.is_for(input.schema, "Caxton::User") && seen.insert(kind)
        });
        let subjects = subjects.collect();
        Self { input, subjects }
    }

    /// Whether a word gives something.
    pub(super) fn word(&self, word: &str) -> Result<(), String> {
        let action = EntityUid::action(word);
        if !self.input.schema.knows_action(&action) {
            return Err(format!("there is no action or group `{word}`"));
        }
        match self.subjects.iter().any(|subject| self.gives(word, subject)) {
            true => Ok(()),
            false => Err(format!("`{word}` has no actions yet that a user can be asked about")),
        }
    }

    fn gives(&self, word: &str, subject: &Subject) -> bool {
        let group = EntityUid::action(word);
        subject.action == group || self.input.schema.is_action_in(&subject.action, &group)
    }

    /// One permit for a role, and what it may and may not.
    pub(super) fn role(&self, collected: &mut Collected, name: &str, description: &str, words: &[String]) {
        if words.is_empty() {
            return;
        }
        let policy = Policy {
            principal: format!("principal in {}", entity("Role", name)),
            action: self.scope(words),
            ..Policy::permit(name, description)
        };
        collected.policies.push(policy);
        let holder = format!("User::\"import|{}\"", super::emit::slug(name));
        let role = shorthand(&EntityUid::caxton("Role", name));
        collected.suite.exists(&role);
        collected
            .suite
            .entities
            .insert(holder.clone(), format!("{{ in: [{}] }}", crate::policy::replay::key(&role)));
        for (may, outcome) in [(true, "allow"), (false, "deny_default")] {
            let wanted = |subject: &&Subject| words.iter().any(|word| self.gives(word, subject)) == may;
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

    /// `action == …` for one action, `action in …` for a group or several.
    pub(super) fn scope(&self, words: &[String]) -> String {
        let is_action = |word: &str| self.subjects.iter().any(|subject| subject.action.id() == word);
        match words {
            [one] if is_action(one) => format!("action == {}", entity("Action", one)),
            [one] => format!("action in {}", entity("Action", one)),
            many => {
                let names: Vec<String> = many.iter().map(|word| entity("Action", word)).collect();
                format!("action in [{}]", names.join(", "))
            }
        }
    }
}
