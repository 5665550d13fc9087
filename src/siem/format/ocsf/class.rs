//! Which OCSF class and activity a record is.

use super::super::OcsfVersion;
use super::super::logged::LoggedFields;

/// The event class of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::siem::format) enum EventClass {
    /// 2004, a request that the screens took for an injection.
    Detection,
    /// 3002, a credential was taken or refused, a login was ended.
    Authentication,
    /// 3003, sessions of others were ended.
    Session,
    /// 3004, a policy, key, agent, setting or attribute.
    Entity,
    /// 3008 of OCSF 1.9, a role.
    Role,
    /// 6003, everything else that was asked for.
    ApiActivity,
}

impl EventClass {
    pub(in crate::siem::format) fn of(record: LoggedFields<'_>) -> Self {
        if record.is_injection() {
            return Self::Detection;
        }
        let of_a_role = record.resource().is_some_and(|resource| resource.kind == "Role");
        match record.action() {
            Some("auth:token" | "auth:logout") => return Self::Authentication,
            Some("auth:session:revoke") => return Self::Session,
            Some(action) if action.starts_with("auth:role") => return Self::Role,
            Some("entity:write" | "entity:import") if of_a_role => return Self::Role,
            Some("policy:publish" | "policy:rollback" | "entity:write" | "entity:import") => {
                return Self::Entity;
            }
            Some(action) if action.starts_with("auth:key:") || action == "auth:connection" => {
                return Self::Entity;
            }
            _ => {}
        }
        match record.event_type() {
            "authentication" => Self::Authentication,
            "agent_creation" | "agent_deletion" | "configuration_change" | "admin_action" => Self::Entity,
            _ => Self::ApiActivity,
        }
    }

    /// OCSF 1.8 has no class for roles.
    pub(super) fn in_version(self, version: OcsfVersion) -> Self {
        match (self, version) {
            (Self::Role, OcsfVersion::V1_8) => Self::Entity,
            (class, _) => class,
        }
    }

    /// `class_uid` and `class_name`.
    pub(super) fn class(self) -> (u32, &'static str) {
        match self {
            Self::Detection => (2004, "Detection Finding"),
            Self::Authentication => (3002, "Authentication"),
            Self::Session => (3003, "Authorize Session"),
            Self::Entity => (3004, "Entity Management"),
            Self::Role => (3008, "Role Management"),
            Self::ApiActivity => (6003, "API Activity"),
        }
    }

    /// `category_uid` and `category_name`.
    pub(super) fn category(self) -> (u8, &'static str) {
        match self {
            Self::Detection => (2, "Findings"),
            Self::Authentication | Self::Session | Self::Entity | Self::Role => {
                (3, "Identity & Access Management")
            }
            Self::ApiActivity => (6, "Application Activity"),
        }
    }
}

const OTHER: u32 = 99;

/// `activity_id` and `activity_name`.
pub(in crate::siem::format) fn activity(record: LoggedFields<'_>, class: EventClass) -> (u32, &'static str) {
    let operation = record.operation();
    match class {
        EventClass::Detection => (1, "Create"),
        EventClass::Authentication if operation == "auth:logout" => (2, "Logoff"),
        EventClass::Authentication => (1, "Logon"),
        EventClass::Session => (OTHER, "Revoke Session"),
        // What was asked of a role; OCSF has no activity for reading one.
        EventClass::Role => (2, "Update"),
        EventClass::Entity => entity_activity(operation),
        EventClass::ApiActivity => api_activity(record, operation),
    }
}

fn entity_activity(operation: &str) -> (u32, &'static str) {
    match operation {
        "auth:key:create" | "policy:publish" | "agent_deployed" | "candidate_loaded" => (1, "Create"),
        "auth:key:list" => (2, "Read"),
        "auth:key:revoke" | "agent_removed" => (4, "Delete"),
        "gateway_started" => (10, "Activate"),
        "gateway_stopped" => (11, "Deactivate"),
        "changes_locked" => (9, "Disable"),
        "changes_unlocked" => (8, "Enable"),
        _ => (3, "Update"),
    }
}

fn api_activity(record: LoggedFields<'_>, operation: &str) -> (u32, &'static str) {
    if record.event_type() == "tool_call" {
        return (OTHER, "Invoke");
    }
    match operation.rsplit(':').next().unwrap_or_default() {
        "list" | "read" | "get" | "search" | "receive" | "head" | "options" | "test" => (2, "Read"),
        "send" | "create" | "post" => (1, "Create"),
        "write" | "update" | "put" | "patch" | "set" => (3, "Update"),
        "delete" | "cancel" => (4, "Delete"),
        _ => (OTHER, "Other"),
    }
}

/// `type_uid`: the class and the activity in one number.
pub(in crate::siem::format) fn type_uid(record: LoggedFields<'_>, version: OcsfVersion) -> u32 {
    let class = EventClass::of(record).in_version(version);
    class.class().0 * 100 + activity(record, class).0
}
