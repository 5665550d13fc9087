//! Runs agents: a message wakes one, a backend completes its turn (a language model, or a module in the sandbox), and each
//! of its calls goes through the same guard as those of other callers, with the agent as principal.

mod connections;
mod effects;
mod extensions;
mod functions;
mod model_backend;
mod servers;
mod turn;

pub use effects::{EffectError, Effects, EffectsParts, NewEntity, NewRelation, ToolCall, VisibleTool};
pub use model_backend::{LanguageModel, ModelSettings, SetupError};
pub use servers::{Listening, ServerItems};
pub use turn::{Reply, Runtime, Settings};
