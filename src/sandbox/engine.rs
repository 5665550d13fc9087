//! The engine: which WebAssembly is accepted, where instances live, and the tick that ends long calls.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result};

use super::Settings;

/// Function table entries of one instance.
pub(super) const MAX_TABLE_ELEMENTS: usize = 20_000;

/// How often a guest looks at the clock. On a machine whose processors are all busy a tick may come late.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// What stays mapped and is cleared by hand between calls, so that a small guest needs no page faults.
const KEEP_RESIDENT: usize = 256 * 1024;

/// An engine for `settings`. Guard pages around each memory and copy-on-write images (so that every instance
/// starts from the module's own bytes and zeroes) are wasmtime's defaults and stay on.
pub(super) fn engine(settings: &Settings) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(settings.max_instances)
        .total_memories(settings.max_instances)
        .total_tables(settings.max_instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(settings.max_memory_bytes)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT);

    let mut config = code();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(settings.max_wasm_stack)
        // A guest's back trace would put its own words into our errors.
        .wasm_backtrace_max_frames(None);
    Engine::new(&config)
}

/// An engine that compiles the same code and runs none.
pub(super) fn compiler() -> Result<Engine> {
    Engine::new(&code())
}

/// Which WebAssembly is accepted, and which code is made of it.
fn code() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // Answers must be the same on every host.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false);
    config
}

/// Advances the engine's epoch until it is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let engine = engine.weak();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("caxton-wasm-tick".to_owned()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let Some(engine) = engine.upgrade() else { break };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; if it did, there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
