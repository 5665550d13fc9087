//! Runs guest WebAssembly: built-in tools, an operator's own tools, and agents' handlers.
//!
//! A guest is a WASI preview 1 command. It reads one JSON document from standard input, writes one to standard
//! output and exits with 0; another exit code is a failure, with a message on standard error. That is all it can do:
//! no files, no network, no environment, no arguments, no running clock. What is promised to the gateway:
//!
//! - each call gets a fresh instance: nothing of one call is left for the next one;
//! - memory, stack, instructions, time, input, output and the number of instances are bounded, and a
//!   guest that breaks a bound ends alone;
//! - a module is checked import by import before it is compiled, and compiled before the first request.
//!
//! The sandbox does not decide whether a call is allowed. Its callers, `tools` and `runtime`, hold the permit.

mod builtin;
mod engine;
mod error;
mod module;
mod run;
mod settings;
mod structure;
#[cfg(test)]
mod tests;
mod wasi;
mod worker;

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use aws_lc_rs::digest;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::heavy;
use crate::limit::{Turn, Turns};
use crate::model::EntityUid;
use crate::telemetry::Metrics;

pub use builtin::{BuiltinTool, builtin_handler, builtin_tools};
pub use error::SandboxError;
pub use module::Module;
pub use settings::{DEFAULT_WASI_CALLS, STACK_CEILING, Settings};
pub use wasi::INERT_WASI_CALLS;
pub use worker::compile_only;

/// The longest message of the engine or of a guest in an error, in bytes.
const DETAIL_BYTES: usize = 512;

/// The answer of a guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The JSON document that it wrote, read strictly. Still untrusted text.
    pub output: serde_json::Value,
    /// Fuel units it took.
    pub fuel: u64,
}

/// The place where guests run. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    engine: wasmtime::Engine,
    slots: Arc<Semaphore>,
    turns: Arc<Turns<EntityUid>>,
    metrics: Arc<Metrics>,
    /// The modules in use, so that a reload compiles none of them again.
    compiled: Mutex<Vec<module::WeakModule>>,
    _ticker: engine::Ticker,
}

/// The guests of one caller that run at once: half of the cores, at least one. Guests compute, and share the cores with
/// those of all callers.
pub fn guests_at_once() -> usize {
    available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

impl Sandbox {
    /// Reserves the address space for all instances and starts the thread that ends long calls.
    ///
    /// # Errors
    /// A setting that cannot be honoured, or a host on which the engine cannot start.
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Result<Self, SandboxError> {
        check(&settings)?;
        let engine =
            engine::engine(&settings).map_err(|error| SandboxError::Engine(error.into_boxed_dyn_error()))?;
        let ticker = engine::Ticker::start(&engine).map_err(|error| SandboxError::Engine(error.into()))?;
        let slots = Arc::new(Semaphore::new(settings.max_instances as usize));
        let inner = Inner {
            settings,
            engine,
            slots,
            turns: Turns::new(guests_at_once()),
            metrics,
            compiled: Mutex::default(),
            _ticker: ticker,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks and compiles a module, unless one of this name and these bytes is still in use. Takes milliseconds to seconds,
    /// so: at start-up and when something is read again, never on the request path.
    ///
    /// # Errors
    /// Why the module is not taken in.
    pub fn compile(&self, name: &str, wasm: &[u8]) -> Result<Module, SandboxError> {
        self.take_in((name, module::Origin::File), wasm)
    }

    /// The same, of a module that is part of this program. A call of it may take `fuel` instructions, or as many as the
    /// settings allow, whichever is less.
    ///
    /// # Errors
    /// Why the module is not taken in.
    pub fn compile_builtin(&self, name: &str, wasm: &[u8], fuel: u64) -> Result<Module, SandboxError> {
        self.take_in((name, module::Origin::Builtin { fuel }), wasm)
    }

    fn take_in(&self, (name, origin): (&str, module::Origin), wasm: &[u8]) -> Result<Module, SandboxError> {
        let inner = &self.inner;
        let sha256 = hex::encode(digest::digest(&digest::SHA256, wasm));
        let known = inner.compiled.lock().iter().find_map(|known| known.module(name, &sha256));
        if let Some(known) = known {
            return Ok(known);
        }
        let module = Module::compile(&inner.engine, &inner.settings, (name, origin), wasm, sha256)?;
        let mut compiled = inner.compiled.lock();
        compiled.retain(module::WeakModule::in_use);
        compiled.push(module.known());
        Ok(module)
    }

    /// Runs `module` once on `input` for `caller`, on a thread of low priority. A caller has as many guests at once as
    /// [`guests_at_once`] says; more of its calls wait for them.
    ///
    /// A caller that goes away does not stop the guest, which keeps its instance, and its caller's turn, until it ends or its
    /// time is up.
    ///
    /// # Errors
    /// Why there is no answer; see [`SandboxError::is_tool_error`] for whose fault it is.
    pub async fn run(
        &self,
        caller: &EntityUid,
        module: &Module,
        input: Vec<u8>,
    ) -> Result<Completed, SandboxError> {
        let settings = &self.inner.settings;
        // A foreign module's instances would come from a pool whose slots are counted elsewhere.
        if !wasmtime::Engine::same(&self.inner.engine, module.instance().module().engine()) {
            let detail = "the module was compiled by another sandbox".to_owned();
            return Err(SandboxError::Internal { module: module.name().to_owned(), detail });
        }
        if input.len() > settings.max_input_bytes {
            return Err(SandboxError::InputTooLarge {
                module: module.name().to_owned(),
                size: input.len(),
                limit: settings.max_input_bytes,
            });
        }
        let held = self.place(caller, module, settings.max_queue_wait).await?;
        let (inner, guest) = (Arc::clone(&self.inner), module.clone());
        let call = move || {
            // INVARIANT: the instance's place is given back after the instance is gone, so the pool never runs out.
            // The attack: call a guest that computes and hang up, again and again. So the turn is held here as well.
            let _held = held;
            let _alive = InstanceGauge::new(&inner.metrics);
            let (result, fuel) = run::call(&inner.settings, &guest, input);
            inner.metrics.wasm_fuel.inc_by(fuel);
            result
        };
        heavy::compute(call).await.unwrap_or_else(|error| {
            Err(SandboxError::Internal { module: module.name().to_owned(), detail: error.to_string() })
        })
    }

    /// The caller's turn, and then an instance: a caller who waits for itself has no instance that others wait for.
    async fn place(
        &self,
        caller: &EntityUid,
        module: &Module,
        wait: Duration,
    ) -> Result<Place, SandboxError> {
        let place = async {
            let turn = self.inner.turns.turn(caller.clone()).await?;
            let slot = Arc::clone(&self.inner.slots).acquire_owned().await.ok()?;
            Some(Place { _slot: slot, _turn: turn })
        };
        let placed = tokio::time::timeout(wait, place).await.ok().flatten();
        placed.ok_or_else(|| SandboxError::Busy { module: module.name().to_owned(), waited: wait })
    }
}

/// The right to one instance: given back when this is dropped.
struct Place {
    _slot: OwnedSemaphorePermit,
    _turn: Turn<EntityUid>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// Counts an instance in the metrics while it lives.
struct InstanceGauge<'a>(&'a Metrics);

impl<'a> InstanceGauge<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.wasm_instances.inc();
        Self(metrics)
    }
}

impl Drop for InstanceGauge<'_> {
    fn drop(&mut self) {
        self.0.wasm_instances.dec();
    }
}

fn check(settings: &Settings) -> Result<(), SandboxError> {
    let refuse = |setting, detail: String| Err(SandboxError::Setting { setting, detail });
    if settings.max_instances == 0 {
        return refuse("max_instances", "it must be at least 1".to_owned());
    }
    if settings.max_wasm_stack == 0 || settings.max_wasm_stack > STACK_CEILING {
        return refuse("max_wasm_stack", format!("it must be between 1 and {STACK_CEILING} bytes"));
    }
    if settings.max_memory_bytes == 0 || settings.max_memory_bytes as u64 > u64::from(u32::MAX) {
        return refuse("max_memory_bytes", "it must be between 1 byte and 4 GiB".to_owned());
    }
    let known = |call: &str| DEFAULT_WASI_CALLS.contains(&call) || INERT_WASI_CALLS.contains(&call);
    match settings.allowed_wasi_calls.iter().find(|call| !known(call)) {
        Some(call) => refuse("allowed_wasi_calls", format!("the sandbox has no call `{call}`")),
        None => Ok(()),
    }
}
