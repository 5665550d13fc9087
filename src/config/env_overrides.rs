//! The `CAXTON_…` variables that win over the file.
//!
//! Most of them name a protection. It is on in any case, so only the value that says so is accepted: a switch that
//! looks as if it had turned something off would be worse than none.

use super::document::Node;
use super::environment::Environment;
use super::problem::{ConfigProblem, ProblemCode};
use crate::suggest::nearest_within;

/// A key whose value comes from the environment.
pub(super) struct EnvOverride {
    pub(super) path: &'static str,
    pub(super) variable: &'static str,
    pub(super) node: Node,
}

/// The effect of a variable.
pub(super) enum VariableEffect {
    /// It is the value of this key.
    KeyInfo(&'static str),
    /// It confirms that a protection is on.
    AlwaysOn {
        /// The only accepted value.
        value: &'static str,
    },
}

/// One variable.
pub(super) struct EnvVariable {
    pub(super) name: &'static str,
    pub(super) effect: VariableEffect,
    pub(super) doc: &'static str,
}

const fn always(name: &'static str, value: &'static str, doc: &'static str) -> EnvVariable {
    EnvVariable { name, effect: VariableEffect::AlwaysOn { value }, doc }
}

const fn key(name: &'static str, path: &'static str, doc: &'static str) -> EnvVariable {
    EnvVariable { name, effect: VariableEffect::KeyInfo(path), doc }
}

/// All variables that the gateway itself reads.
pub(super) const VARIABLES: &[EnvVariable] = &[
    key("CAXTON_LOG_LEVEL", "server.log_level", "the level of the program log"),
    key("CAXTON_MEMORY_BACKEND", "memory.backend", "where memory is kept"),
    always("CAXTON_CONFIG_AGENT_VALIDATION", "strict", "agent files are read strictly"),
    always("CAXTON_WASM_ISOLATION", "strict", "each WebAssembly call runs in a fresh, bounded instance"),
    always("CAXTON_SECURITY_AUDIT", "enabled", "no effect without its record in the decision log"),
    always("CAXTON_MEMORY_SCOPE_ISOLATION", "enabled", "memory of one scope is not seen from another"),
    always("CAXTON_TOOL_ACCESS_CONTROL", "enabled", "each tool call is decided by policy"),
    always("CAXTON_HOT_RELOAD_VALIDATION", "strict", "a reloaded policy set is validated whole or refused"),
];

/// Reads the variables; a value that would weaken, or a name that is nearly one of ours, is a mistake.
pub(super) fn read(environment: &Environment) -> (Vec<EnvOverride>, Vec<ConfigProblem>) {
    let mut overrides = Vec::new();
    let mut problems = Vec::new();
    for switch in VARIABLES {
        let Some(text) = environment.read(switch.name) else { continue };
        match switch.effect {
            VariableEffect::KeyInfo(path) => {
                overrides.push(EnvOverride { path, variable: switch.name, node: Node::word(text) });
            }
            VariableEffect::AlwaysOn { value } if text == value => {}
            VariableEffect::AlwaysOn { value } => problems.push(
                ConfigProblem::error(
                    ProblemCode::Weakens,
                    format!("only `{value}` is accepted: {}, always", switch.doc),
                )
                .of_variable(switch.name)
                .with_help(format!("unset the variable, or set it to `{value}`")),
            ),
        }
    }
    problems.extend(environment.names_with("CAXTON_").into_iter().filter_map(misspelt));
    (overrides, problems)
}

/// A misspelt name. Other names are accepted: Kubernetes sets `CAXTON_SERVICE_HOST` and the like.
fn misspelt(name: &str) -> Option<ConfigProblem> {
    if VARIABLES.iter().any(|switch| switch.name == name) {
        return None;
    }
    let near = nearest_within(2, name, VARIABLES.iter().map(|switch| switch.name))?;
    Some(
        ConfigProblem::error(ProblemCode::UnknownKey, "no such switch")
            .of_variable(name)
            .with_help(format!("did you mean `{near}`?")),
    )
}
