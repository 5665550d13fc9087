//! The tools that come with the gateway: WebAssembly modules in the sandbox, as the server `builtin`.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::model::{EntityUid, ServerName, ToolId};
use crate::sandbox::{Module, Sandbox, builtin_tools};

use super::arguments::ArgumentSchema;
use super::definition::Definition;
use super::error::{RegistryError, ToolError};
use super::result::ToolResult;
use super::schema_fragment::cedar_fragment;
use super::settings::Settings;
use super::tool::{Backend, OperatorSettings, PinStatus, Tool};

/// The server name of the built-in tools.
pub(super) const SERVER: &str = "builtin";

/// The definitions are part of the program and small.
const MAX_DEFINITION_BYTES: usize = 64 * 1024;

pub(super) fn server() -> Result<ServerName, RegistryError> {
    ServerName::parse(SERVER).map_err(|error| RegistryError::Builtin(Box::new(error)))
}

fn definition(text: &str) -> Result<Definition, RegistryError> {
    let json =
        crate::json::parse(text.as_bytes()).map_err(|error| RegistryError::Builtin(Box::new(error)))?;
    Definition::read(&json, MAX_DEFINITION_BYTES).map_err(|error| RegistryError::Builtin(Box::new(error)))
}

/// The schema fragment of the built-in tools: what `schemas/tools/builtin.cedarschema` holds.
pub fn builtin_fragment() -> Result<String, RegistryError> {
    let server = server()?;
    let mut tools = Vec::new();
    for builtin in builtin_tools() {
        let definition = definition(builtin.definition)?;
        let id = definition.id(&server).map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        let schema = ArgumentSchema::compile(&definition.input_schema)
            .map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        tools.push((id, schema));
    }
    Ok(cedar_fragment(&server, tools.iter().map(|(id, schema)| (id, schema.input()))))
}

/// The built-in tools that the settings admit, with their definitions.
pub(super) fn definitions(settings: &Settings) -> Result<Vec<(ToolId, Definition)>, RegistryError> {
    let server = server()?;
    let mut all = Vec::new();
    for builtin in builtin_tools() {
        let definition = definition(builtin.definition)?;
        let id = definition.id(&server).map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        if settings.admits(&id) {
            all.push((id, definition));
        }
    }
    Ok(all)
}

/// Compiles the modules; done once at the start, never for a call.
pub(super) fn load(sandbox: &Sandbox, settings: &Settings) -> Result<Vec<Arc<Tool>>, RegistryError> {
    let server = server()?;
    let mut tools = Vec::new();
    for builtin in builtin_tools() {
        let definition = definition(builtin.definition)?;
        let id = definition.id(&server).map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        if !settings.admits(&id) {
            continue;
        }
        let module = sandbox
            .compile_builtin(builtin.name, builtin.wasm, builtin.fuel)
            .map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        let pin_status = PinStatus { pinned: true, drifted: false };
        let tool =
            Tool::new(&server, definition, pin_status, OperatorSettings::default(), Backend::Builtin(module))
                .map_err(|error| RegistryError::Builtin(Box::new(error)))?;
        tools.push(Arc::new(tool));
    }
    Ok(tools)
}

/// Runs a built-in tool on a fresh instance, in its turn among the guests of `caller`.
pub(super) async fn call(
    sandbox: &Sandbox,
    caller: &EntityUid,
    module: &Module,
    arguments: Map<String, Json>,
    max_response_bytes: usize,
) -> Result<ToolResult, ToolError> {
    let input = Json::Object(arguments).to_string().into_bytes();
    let result = match sandbox.run(caller, module, input).await {
        Ok(completed) => ToolResult::structured(completed.output),
        // The tool's own message about bad input: for the caller, who can correct it.
        Err(error) if error.is_tool_error() => ToolResult::text(error.client_text(), true),
        Err(error) => {
            return Err(ToolError::Sandbox {
                tool: module.name().to_owned(),
                message: super::error::chain(&error),
                told: error.client_text(),
            });
        }
    };
    if result.fits(max_response_bytes) {
        Ok(result)
    } else {
        Err(ToolError::TooLarge { limit: max_response_bytes })
    }
}
