//! What a guest may use. Every bound has a sound default; `config` overwrites what the operator names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// The calls that give a guest something from outside: its input and output, a clock and randomness. The
/// operator may take any of them away.
pub const DEFAULT_WASI_CALLS: [&str; 5] = ["fd_read", "fd_write", "fd_close", "clock_time_get", "random_get"];

/// The largest stack that is safe on a thread of tokio's blocking pool (2 MiB): the host's frames need the rest.
/// A guest that got past its own limit into the thread's guard page would take the process down.
pub const STACK_CEILING: usize = 1024 * 1024;

/// Limits of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Linear memory of one instance, in bytes. Default 64 MiB (1,024 pages).
    pub max_memory_bytes: usize,
    /// Stack of one instance, in bytes. Default 512 KiB; at most 1 MiB.
    pub max_wasm_stack: usize,
    /// Instructions of one call, in wasmtime's fuel units (about one an instruction). Default 10 thousand million.
    pub fuel: u64,
    /// Wall-clock time of one call, from its first instruction. Default 30 s; looked at every 20 ms.
    pub max_execution_time: Duration,
    /// Input document, in bytes. Default 8 MiB.
    pub max_input_bytes: usize,
    /// Output document, in bytes. Default 4 MiB.
    pub max_output_bytes: usize,
    /// The longest part of a guest's message on standard error that is kept, in bytes. Default 1 KiB.
    pub max_message_bytes: usize,
    /// A module's own size, in bytes. Default 8 MiB.
    pub max_module_bytes: usize,
    /// The program that compiles modules of others before this process does: `caxton` itself. `None` where there is no
    /// such program (an embedding program): then only the bounds on a module's structure hold.
    pub compile_worker: Option<PathBuf>,
    /// Time for compiling one module in that program. Default 30 s.
    pub max_compile_time: Duration,
    /// Memory of that program, in bytes. Default 512 MiB.
    pub max_compile_memory: usize,
    /// Instances alive at once; memory for them is reserved (not used) at start. Default 32.
    pub max_instances: u32,
    /// How long a call waits for a free instance before it is refused. Default 5 s.
    pub max_queue_wait: Duration,
    /// The WASI calls that a module may import beside the inert ones, see [`super::INERT_WASI_CALLS`].
    pub allowed_wasi_calls: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_memory_bytes: 64 * 1024 * 1024,
            max_wasm_stack: 512 * 1024,
            fuel: 10_000_000_000,
            max_execution_time: Duration::from_secs(30),
            max_input_bytes: 8 * 1024 * 1024,
            max_output_bytes: 4 * 1024 * 1024,
            max_message_bytes: 1024,
            max_module_bytes: 8 * 1024 * 1024,
            compile_worker: None,
            max_compile_time: Duration::from_secs(30),
            max_compile_memory: 512 * 1024 * 1024,
            max_instances: 32,
            max_queue_wait: Duration::from_secs(5),
            allowed_wasi_calls: DEFAULT_WASI_CALLS.into_iter().map(str::to_owned).collect(),
        }
    }
}
