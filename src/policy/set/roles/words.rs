//! Permission words: actions and groups of actions of the schema.

use std::collections::BTreeSet;

use crate::model::EntityUid;
use crate::policy::Bundle;
use crate::policy::set::text::{PolicyText, entity};

/// Why a permission word gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordError {
    /// The schema has no action and no group of this name.
    #[error("there is no action or group `{0}`")]
    Unknown(String),
    /// The group has no action that a user can be asked about.
    #[error("`{0}` has no actions yet that a user can be asked about")]
    Empty(String),
}

/// The permission words of a schema.
pub(crate) struct PermissionWords<'s> {
    schema: &'s Bundle,
    /// The actions that a user can be asked about.
    actions: BTreeSet<EntityUid>,
}

impl<'s> PermissionWords<'s> {
    pub(crate) fn new(schema: &'s Bundle) -> Self {
        let environments = schema.schema_index().environments();
        let of_users = environments
            .filter(|(_, principal, _)| principal.to_string() == EntityUid::caxton("User", "").type_name());
        let actions = of_users.map(|(action, ..)| {
            EntityUid::new(action.uid().entity_type().to_string(), action.uid().eid().as_ref())
        });
        Self { schema, actions: actions.collect() }
    }

    /// Whether a word gives something.
    pub(crate) fn check(&self, word: &str) -> Result<(), WordError> {
        if !self.schema.knows_action(&EntityUid::action(word)) {
            return Err(WordError::Unknown(word.to_owned()));
        }
        match self.actions.iter().any(|action| self.gives(word, action)) {
            true => Ok(()),
            false => Err(WordError::Empty(word.to_owned())),
        }
    }

    /// Whether a word gives an action.
    pub(crate) fn gives(&self, word: &str, action: &EntityUid) -> bool {
        let group = EntityUid::action(word);
        *action == group || self.schema.is_action_in(action, &group)
    }

    /// One permit for a role.
    pub(crate) fn policy(&self, role: &str, description: &str, words: &[String]) -> PolicyText {
        PolicyText {
            principal: format!("principal in {}", entity("Role", role)),
            action: self.scope(words),
            ..PolicyText::permit(role, description)
        }
    }

    /// `action == …` for one action, `action in …` for a group or several.
    fn scope(&self, words: &[String]) -> String {
        let is_action = |word: &str| self.actions.iter().any(|action| action.id() == word);
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
