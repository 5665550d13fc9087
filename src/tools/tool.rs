//! A tool of the live bundle: its attributes for policies, its definition for clients, and its backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::mcp::ParamHeaders;
use crate::model::{Entity, EntityUid, InvokeTool, ServerName, ToolDescriptor, ToolId, Value};
use crate::sandbox::Module;

use super::arguments::ArgumentSchema;
use super::definition::{Definition, DefinitionError};
use super::error::PrepareError;
use super::settings::ServerSettings;
use super::typing::RecordType;
use super::upstream::Upstream;

/// Whether a tool's definition is the approved one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PinStatus {
    /// A person approved the definition: it is in a file, or built in.
    pub(super) pinned: bool,
    /// The server says something else today.
    pub(super) drifted: bool,
}

/// The executor of a tool's calls.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    /// A server.
    Upstream(Arc<Upstream>),
    /// A WebAssembly module in the sandbox.
    Builtin(Module),
}

/// A tool that can be listed, asked about and, with a permit, called.
#[derive(Debug)]
pub struct Tool {
    descriptor: Arc<ToolDescriptor>,
    definition: Definition,
    schema: ArgumentSchema,
    param_headers: ParamHeaders,
    server: ServerName,
    pin_status: PinStatus,
    backend: Backend,
}

/// The settings of the operator for one tool.
#[derive(Debug, Clone, Default)]
pub(super) struct OperatorSettings {
    /// The labels of its answers.
    pub(super) labels: BTreeSet<Arc<str>>,
    /// Whether an agent calls it for an actor only where the actor may call it too.
    pub(super) actor_bound: bool,
}

impl OperatorSettings {
    /// Those of the tool that its server calls `name`.
    pub(super) fn of(server: &ServerSettings, name: &str) -> Self {
        let bound = &server.actor_bound;
        Self {
            labels: server.labels.get(name).cloned().unwrap_or_default(),
            actor_bound: bound.contains("*") || bound.contains(name),
        }
    }
}

impl Tool {
    pub(super) fn new(
        server: &ServerName,
        definition: Definition,
        pin_status: PinStatus,
        operator: OperatorSettings,
        backend: Backend,
    ) -> Result<Self, DefinitionError> {
        let id = definition.id(server)?;
        let schema = ArgumentSchema::compile(&definition.input_schema)?;
        let sandboxed = matches!(backend, Backend::Builtin(_));
        let entity = entity(&id, &definition, pin_status, &operator, sandboxed);
        let descriptor = Arc::new(ToolDescriptor { id, entity: entity.into(), labels: operator.labels });
        let param_headers = ParamHeaders::of_schema(&definition.input_schema);
        Ok(Self {
            descriptor,
            definition,
            schema,
            param_headers,
            server: server.clone(),
            pin_status,
            backend,
        })
    }

    /// The tool's id.
    pub fn id(&self) -> &ToolId {
        &self.descriptor.id
    }

    /// The tool as policies see it.
    pub fn descriptor(&self) -> &Arc<ToolDescriptor> {
        &self.descriptor
    }

    /// The approved definition; for a drifted tool not what the server says today.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The types of `context.input`.
    pub fn input_type(&self) -> &RecordType {
        self.schema.input()
    }

    /// The arguments that a request of version 2026-07-28 repeats in header fields.
    pub fn param_headers(&self) -> &ParamHeaders {
        &self.param_headers
    }

    /// The server that offers it.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Whether the server's definition is no longer the approved one: not callable until it is.
    pub fn drifted(&self) -> bool {
        self.pin_status.drifted
    }

    /// Whether a person approved the definition.
    pub fn pinned(&self) -> bool {
        self.pin_status.pinned
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Whether a new listing leaves this tool as it is.
    pub(super) fn is(&self, definition: &Definition, pin_status: PinStatus) -> bool {
        self.definition == *definition && self.pin_status == pin_status
    }

    /// The arguments with the defaults of the schema where the caller gave none, so that a policy sees what the tool will
    /// do. Of built-in tools only: another server's schema says nothing for sure of what the server does without them.
    fn with_defaults(&self, mut arguments: Map<String, Json>) -> Map<String, Json> {
        if matches!(self.backend, Backend::Builtin(_)) {
            for (name, default) in defaults(&self.definition.input_schema) {
                if !arguments.contains_key(name) {
                    arguments.insert(name.clone(), default.clone());
                }
            }
        }
        arguments
    }

    /// The call with these arguments, to be asked about. Checked and typed; nothing has happened yet.
    pub fn prepare(&self, arguments: Map<String, Json>) -> Result<InvokeTool, PrepareError> {
        if self.drifted() {
            return Err(PrepareError::Drifted(self.id().clone()));
        }
        let arguments = self.with_defaults(arguments);
        let (arguments, input) = self.schema.check(arguments)?;
        let tool = Arc::clone(&self.descriptor);
        Ok(InvokeTool { tool, arguments, input, rest: Map::new(), redact: Vec::new() })
    }
}

/// What a schema gives for arguments that a caller leaves out.
fn defaults(schema: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    let properties = schema.get("properties").and_then(Json::as_object);
    properties.into_iter().flatten().filter_map(|(name, property)| Some((name, property.get("default")?)))
}

/// `Caxton::Tool` with every attribute of the schema. Hints have MCP's defaults when the server is silent.
pub(super) fn entity(
    id: &ToolId,
    definition: &Definition,
    pin_status: PinStatus,
    operator: &OperatorSettings,
    sandboxed: bool,
) -> Entity {
    let said = definition.annotations.clone().unwrap_or_default();
    let hints = [
        ("read_only", "declared_read_only", said.read_only_hint, false),
        ("destructive", "declared_destructive", said.destructive_hint, true),
        ("idempotent", "declared_idempotent", said.idempotent_hint, false),
        ("open_world", "declared_open_world", said.open_world_hint, true),
    ];
    let bare = Entity::bare(EntityUid::caxton("Tool", id.shared()))
        .with("id", Value::text(id.as_str()))
        .with("name", Value::text(id.tool()))
        .with("server", Value::text(id.server()))
        .with("definition_sha256", Value::text(definition.sha256()))
        .with("pinned", Value::Bool(pin_status.pinned))
        .with("drifted", Value::Bool(pin_status.drifted))
        .with("labels", Value::texts(&operator.labels))
        .with("actor_bound", Value::Bool(operator.actor_bound))
        .with("sandboxed", Value::Bool(sandboxed))
        .in_parent(EntityUid::caxton("McpServer", id.server()));
    hints.into_iter().fold(bare, |entity, (name, declared, hint, default)| {
        entity.with(name, Value::Bool(hint.unwrap_or(default))).with(declared, Value::Bool(hint.is_some()))
    })
}
