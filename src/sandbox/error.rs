//! Why a module was not taken in, or a call did not complete.

use std::time::Duration;

/// A refusal or failure of the sandbox. `Display` is for the operator; [`SandboxError::client_text`] for the caller.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A setting cannot be honoured.
    #[error("sandbox setting `{setting}` cannot be honoured: {detail}")]
    Setting {
        /// The field of `Settings`.
        setting: &'static str,
        /// The fault.
        detail: String,
    },
    /// The engine or its thread could not be made.
    #[error("the WebAssembly engine cannot start")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes are not a WebAssembly module that this engine accepts.
    #[error("module `{module}` is not valid WebAssembly: {detail}")]
    NotWasm {
        /// The module.
        module: String,
        /// The message of the validator.
        detail: String,
    },
    /// The module's bytes exceed the limit.
    #[error("module `{module}` has {size} bytes, more than the {limit} allowed")]
    ModuleTooLarge {
        /// The module.
        module: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The module is valid, but uses what this engine does not offer.
    #[error("module `{module}` does not fit the sandbox: {detail}")]
    Unfit {
        /// The module.
        module: String,
        /// The message of the engine.
        detail: String,
    },
    /// The module asks for something that guests do not get.
    #[error("module `{module}` imports `{import}`, which is not allowed")]
    ForbiddenImport {
        /// The module.
        module: String,
        /// `module::name` of the import.
        import: String,
    },
    /// The module is not a command.
    #[error("module `{module}` does not export a function `_start` without parameters and results")]
    NoStart {
        /// The module.
        module: String,
    },
    /// The module needs more memory from the start than an instance may have.
    #[error("module `{module}` needs {needed} bytes of memory, more than the {limit} allowed")]
    MemoryTooLarge {
        /// The module.
        module: String,
        /// Its smallest memory in bytes.
        needed: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The input document exceeds the limit.
    #[error("the input for `{module}` has {size} bytes, more than the {limit} allowed")]
    InputTooLarge {
        /// The module.
        module: String,
        /// The input's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// All instances stayed taken for the time that a call may wait.
    #[error("no free instance for `{module}` within {waited:?}")]
    Busy {
        /// The module.
        module: String,
        /// How long the call waited.
        waited: Duration,
    },
    /// The guest used up its instructions.
    #[error("`{module}` ran out of fuel after {fuel} units")]
    OutOfFuel {
        /// The module.
        module: String,
        /// The limit.
        fuel: u64,
    },
    /// The guest ran longer than it may.
    #[error("`{module}` ran longer than {limit:?}")]
    Deadline {
        /// The module.
        module: String,
        /// The limit.
        limit: Duration,
    },
    /// The guest asked for more memory than an instance may have.
    #[error("`{module}` asked for {wanted} bytes of memory, more than the {limit} allowed")]
    MemoryGrowth {
        /// The module.
        module: String,
        /// The size that it asked for, in bytes.
        wanted: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The guest used up its stack.
    #[error("`{module}` used up its stack")]
    StackOverflow {
        /// The module.
        module: String,
    },
    /// The guest did something that WebAssembly forbids, or gave up.
    #[error("`{module}` trapped: {detail}")]
    Trapped {
        /// The module.
        module: String,
        /// The kind of trap.
        detail: String,
    },
    /// The guest reported a failure of its own.
    #[error("`{module}` exited with code {code}: {message}")]
    Exited {
        /// The module.
        module: String,
        /// Never 0.
        code: i32,
        /// Its standard error: one line, bounded, without control characters. Still a guest's words.
        message: String,
    },
    /// The guest wrote more than it may.
    #[error("`{module}` wrote more than the {limit} bytes allowed")]
    OutputTooLarge {
        /// The module.
        module: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Compiling the module would take more than it may.
    #[error("the module `{module}` was not compiled: {detail}")]
    Compile {
        /// The module.
        module: String,
        /// The limit that is exceeded, in words.
        detail: String,
    },
    /// The guest's output is not one JSON document.
    #[error("the output of `{module}` is not one JSON document: {detail}")]
    OutputNotJson {
        /// The module.
        module: String,
        /// The error of the JSON reader.
        detail: String,
    },
    /// The host's own part failed.
    #[error("the sandbox failed while it ran `{module}`: {detail}")]
    Internal {
        /// The module.
        module: String,
        /// The error of the engine.
        detail: String,
    },
}

impl SandboxError {
    /// The text for the caller of a tool or agent: without limits and internal names.
    pub fn client_text(&self) -> String {
        match self {
            Self::Exited { message, .. } if !message.is_empty() => message.clone(),
            Self::Exited { code, .. } => format!("the tool failed with code {code}"),
            Self::InputTooLarge { .. } => "the input is too large".to_owned(),
            Self::Busy { .. } => "the tool is busy, try again later".to_owned(),
            Self::OutOfFuel { .. } | Self::Deadline { .. } => "the tool took too long".to_owned(),
            Self::MemoryGrowth { .. } | Self::StackOverflow { .. } => {
                "the tool needed too much memory".to_owned()
            }
            Self::OutputTooLarge { .. } => "the tool's answer is too large".to_owned(),
            Self::Trapped { .. } | Self::OutputNotJson { .. } => "the tool crashed".to_owned(),
            Self::Setting { .. }
            | Self::Engine(_)
            | Self::NotWasm { .. }
            | Self::Unfit { .. }
            | Self::Compile { .. }
            | Self::ModuleTooLarge { .. }
            | Self::ForbiddenImport { .. }
            | Self::NoStart { .. }
            | Self::MemoryTooLarge { .. }
            | Self::Internal { .. } => "the tool is not available".to_owned(),
        }
    }

    /// Whether the guest itself reported the failure, so that it is a tool's answer and not a fault of the gateway.
    pub fn is_tool_error(&self) -> bool {
        matches!(self, Self::Exited { .. })
    }
}
