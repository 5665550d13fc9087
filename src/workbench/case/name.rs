//! Names in tests: `Agent::"researcher"` is `Caxton::Agent::"researcher"`, and every name has to exist.

use cedar_policy_core::ast::{EntityType, EntityUID};
use cedar_policy_core::validator::ValidatorSchema;
use cedar_policy_core::validator::types::{Attributes, Type};

use super::CaseError;
use crate::model::EntityUid;

/// The namespace that names without one are in.
const NAMESPACE: &str = "Caxton";

/// The names that the schema knows.
#[derive(Clone, Copy)]
pub(in crate::workbench) struct SchemaNames<'s> {
    schema: &'s ValidatorSchema,
}

impl<'s> SchemaNames<'s> {
    /// The names of `schema`.
    pub(in crate::workbench) fn new(schema: &'s ValidatorSchema) -> Self {
        Self { schema }
    }

    /// An entity's name; its type exists.
    pub(in crate::workbench) fn entity(self, text: &str) -> Result<EntityUid, CaseError> {
        let written: EntityUID = text.parse().map_err(|_| CaseError::EntityName(text.to_owned()))?;
        let type_name = self.entity_type(&written.entity_type().to_string())?;
        Ok(EntityUid::new(type_name, written.eid().as_ref()))
    }

    /// A type's full name.
    pub(in crate::workbench) fn entity_type(self, text: &str) -> Result<String, CaseError> {
        [format!("{NAMESPACE}::{text}"), text.to_owned()]
            .into_iter()
            .find(|name| self.lookup_type(name).is_some())
            .ok_or_else(|| self.unknown_type(text))
    }

    /// An action's name, by id alone or in full.
    pub(in crate::workbench) fn action(self, text: &str) -> Result<EntityUid, CaseError> {
        let candidates = [
            text.parse::<EntityUID>().ok(),
            format!("{NAMESPACE}::{text}").parse::<EntityUID>().ok(),
            core_uid(&EntityUid::action(text)),
            core_uid(&EntityUid::new("Action", text)),
            self.only_action(text),
        ];
        candidates
            .into_iter()
            .flatten()
            .find(|uid| self.schema.get_action_id(uid).is_some())
            .map(|uid| EntityUid::new(uid.entity_type().to_string(), uid.eid().as_ref()))
            .ok_or_else(|| self.unknown_action(text))
    }

    /// The action of this id, when there is one in one namespace only.
    fn only_action(self, id: &str) -> Option<EntityUID> {
        let mut named =
            self.schema.action_ids().map(|known| known.name()).filter(|uid| uid.eid().as_ref() == id);
        let first = named.next()?;
        named.next().is_none().then(|| first.clone())
    }

    /// Attributes of an entity type.
    pub(in crate::workbench) fn attributes(self, type_name: &str) -> Option<&'s Attributes> {
        self.lookup_type(type_name).map(|found| found.attributes())
    }

    /// The type of an entity type's tags.
    pub(in crate::workbench) fn tags(self, type_name: &str) -> Option<&'s Type> {
        self.lookup_type(type_name)?.tag_type()
    }

    /// Whether an entity of one type can be in one of another.
    pub(in crate::workbench) fn can_be_in(self, child: &str, parent: &str) -> bool {
        let Ok(child) = child.parse::<EntityType>() else { return false };
        self.lookup_type(parent).is_some_and(|found| found.has_descendant_entity_type(&child))
    }

    /// The context that an action's requests have; none for a group.
    pub(in crate::workbench) fn context(self, action: &EntityUid) -> Option<&'s Attributes> {
        let action = self.schema.get_action_id(&core_uid(action)?)?;
        action.applies_to_principals().next()?;
        match action.context_type()? {
            Type::Record { attrs, .. } => Some(attrs),
            _ => None,
        }
    }

    /// Whether `action` is a member of `group`, at any depth.
    pub(in crate::workbench) fn is_member(self, action: &EntityUid, group: &EntityUid) -> bool {
        let (Some(action), Some(group)) = (core_uid(action), core_uid(group)) else { return false };
        self.schema
            .get_action_id(&group)
            .is_some_and(|group| group.descendants().any(|member| *member == action))
    }

    fn lookup_type(self, name: &str) -> Option<&'s cedar_policy_core::validator::ValidatorEntityType> {
        self.schema.get_entity_type(&name.parse::<EntityType>().ok()?)
    }

    fn unknown_type(self, text: &str) -> CaseError {
        let known: Vec<String> =
            self.schema.entity_type_names().map(|name| short(&name.to_string())).collect();
        CaseError::unknown("entity type", text, known.iter().map(String::as_str))
    }

    fn unknown_action(self, text: &str) -> CaseError {
        CaseError::unknown("action", text, self.schema.action_ids().map(|id| id.name().eid().as_ref()))
    }
}

/// A type's name as tests write it.
fn short(name: &str) -> String {
    name.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix("::")).unwrap_or(name).to_owned()
}

/// An entity's name as tests write it.
pub(in crate::workbench) fn shorthand(uid: &EntityUid) -> String {
    short(&uid.to_string())
}

/// The same of a name as Cedar has it.
pub(in crate::workbench) fn core_shorthand(uid: &EntityUID) -> String {
    shorthand(&EntityUid::new(uid.entity_type().to_string(), uid.eid().as_ref()))
}

/// A type's name as tests write it.
pub(in crate::workbench) fn type_shorthand(kind: &EntityType) -> String {
    short(&kind.to_string())
}

fn core_uid(uid: &EntityUid) -> Option<EntityUID> {
    let type_name: EntityType = uid.type_name().parse().ok()?;
    Some(EntityUID::from_components(type_name, cedar_policy_core::ast::Eid::new(uid.id()), None))
}
