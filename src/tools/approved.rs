//! The tools that a gateway with these settings would know, as policies see them, by its files alone: no server is asked
//! and nothing is compiled.

use std::sync::Arc;

use super::builtin;
use super::definition::DefinitionError;
use super::error::RegistryError;
use super::pin::{PinError, Pins};
use super::settings::Settings;
use super::tool::{OperatorSettings, PinStatus, entity};
use crate::model::Entity;

/// The built-in tools and those that are approved in files, with hints, labels and pins; as if each server offered just
/// what was approved. A server whose tools are taken over as they are first seen has none here.
///
/// # Errors
/// A file of pins cannot be trusted.
pub fn approved_tools(settings: &Settings) -> Result<Vec<Arc<Entity>>, RegistryError> {
    const APPROVED: PinStatus = PinStatus { pinned: true, drifted: false };
    let mut tools = Vec::new();
    for (id, definition) in builtin::definitions(settings)? {
        tools.push(entity(&id, &definition, APPROVED, &OperatorSettings::default(), true).into());
    }
    for server in &settings.servers {
        let pins = Pins::load(&settings.pin_dir(), &server.name, settings.max_definition_bytes)?;
        for definition in pins.iter().flat_map(Pins::definitions) {
            let id = definition.id(&server.name).map_err(|source| refused(&definition.name, source))?;
            if settings.admits(&id) {
                let operator = OperatorSettings::of(server, &definition.name);
                tools.push(entity(&id, definition, APPROVED, &operator, false).into());
            }
        }
    }
    Ok(tools)
}

fn refused(tool: &str, source: impl Into<DefinitionError>) -> PinError {
    PinError::Definition { tool: tool.to_owned(), source: source.into() }
}
