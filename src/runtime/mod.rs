//! Where agents act: a message wakes one, it thinks (a language model, or a module in the sandbox), and each of its
//! calls goes through the same guard as anybody's, with the agent as principal.

mod functions;
mod gate;
mod mind;
mod turn;

pub use gate::{Gate, GateError, GateParts, NewEntity, NewRelation, SeenTool};
pub use mind::{LanguageModel, ModelSettings, SetupError};
pub use turn::{Reply, Runtime, Settings};
