//! The neutral default: what a test means by what it does not say.
//!
//! Circumstances: from 127.0.0.1 without TLS, at the suite's `now` (2026-01-01T12:00:00Z, a Thursday, when it has
//! none), no lockdown, a fresh session named like the principal, nothing found by the screens. Entities: as the
//! gateway would build them for something ordinary: an active agent, a tool with MCP's default hints, pinned and
//! not drifted. Everything else is `false`, 0 or empty. `docs/policies.md` has the list for readers.

use std::str::FromStr as _;

use crate::model::{Entity, EntityUid, MemoryScope, ToolId, Value};

/// 2026-01-01T12:00:00Z.
pub(in crate::workbench) const NOW_MILLIS: i64 = 1_767_268_800_000;

const FAR_FUTURE_MILLIS: i64 = 253_402_214_400_000;

/// The circumstances: a value for each path of the context that is not just `false`, 0 or empty.
pub(super) fn context(path: &str, now: i64, principal: &EntityUid, version: &str) -> Option<Value> {
    match path {
        "source.ip" => Some(Value::Ip("127.0.0.1".into())),
        "system.now" => Some(Value::Datetime(now)),
        "system.hour" => Some(Value::Long(now.div_euclid(3_600_000).rem_euclid(24))),
        // 1970-01-01 was a Thursday, ISO day 4.
        "system.weekday" => Some(Value::Long((now.div_euclid(86_400_000) + 3).rem_euclid(7) + 1)),
        "system.policy_version" => Some(Value::text(version)),
        "session.id" => Some(Value::text(principal.id())),
        "input.performative" => Some(Value::text("request")),
        _ => None,
    }
}

/// An entity's neutral attributes and the parents that its name implies.
pub(super) fn entity(uid: &EntityUid) -> Entity {
    let bare = Entity::bare(uid.clone());
    match uid.type_name() {
        "Caxton::User" => {
            let (issuer, subject) = uid.id().split_once('|').unwrap_or(("", uid.id()));
            bare.with("id", Value::text(subject)).with("issuer", Value::text(issuer))
        }
        "Caxton::Service" => bare
            .with("name", Value::text(uid.id()))
            .with("created", Value::Datetime(0))
            .with("expires", Value::Datetime(FAR_FUTURE_MILLIS)),
        "Caxton::Agent" => bare
            .with("name", Value::text(uid.id()))
            .with("version", Value::text("1.0.0"))
            .with("memory_scope", Value::text("agent"))
            .with("status", Value::text("active"))
            .with("signed", Value::Bool(true)),
        "Caxton::Tool" => tool(bare, uid.id()),
        "Caxton::MemoryScope" => match MemoryScope::from_str(uid.id()) {
            Ok(scope) => scope.mark(bare),
            Err(_) => bare,
        },
        "Caxton::MemoryEntity" | "Caxton::MemoryRelation" => memory_row(bare, uid.id()),
        _ => bare,
    }
}

fn tool(bare: Entity, id: &str) -> Entity {
    let Ok(tool) = ToolId::parse(id) else { return bare };
    bare.with("id", Value::text(id))
        .with("name", Value::text(tool.tool()))
        .with("server", Value::text(tool.server()))
        .with("destructive", Value::Bool(true))
        .with("open_world", Value::Bool(true))
        .with("pinned", Value::Bool(true))
        .in_parent(EntityUid::caxton("McpServer", tool.server()))
}

/// The id of a row is `<scope>/<name>`.
fn memory_row(bare: Entity, id: &str) -> Entity {
    match id.split_once('/').map(|(scope, _)| MemoryScope::from_str(scope)) {
        Some(Ok(scope)) => scope.mark(bare).in_parent(scope.uid()),
        _ => bare,
    }
}
