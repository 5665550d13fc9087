//! One call: a fresh instance, its limits, and the result or error of its end.

use std::time::Instant;

use wasmtime::{Store, Trap, UpdateDeadline};

use super::wasi::{CallState, HostStop};
use super::{Completed, DETAIL_BYTES, Module, SandboxError, Settings};
use crate::text::one_line;

/// Runs `module` on the calling thread, which may take as long as the settings allow.
pub(super) fn call(
    settings: &Settings,
    module: &Module,
    input: Vec<u8>,
) -> (Result<Completed, SandboxError>, u64) {
    let mut store = Store::new(module.instance().module().engine(), CallState::new(input, settings));
    store.limiter(|call| call);
    // Ticks only say when to look: where they come late, as many late ticks would be much more time than was given.
    let deadline = Instant::now() + settings.max_execution_time;
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| match Instant::now() < deadline {
        true => Ok(UpdateDeadline::Continue(1)),
        false => Err(Trap::Interrupt.into()),
    });

    let ended = start(settings, module, &mut store);
    let fuel = fuel(settings, module).saturating_sub(store.get_fuel().unwrap_or(0));
    let call = store.into_data();
    let result = match ended {
        Ok(()) | Err(CallEnd::Exit(0)) => completed(module, &call.output, fuel),
        Err(CallEnd::Exit(code)) => Err(SandboxError::Exited {
            module: module.name().to_owned(),
            code,
            message: one_line(&String::from_utf8_lossy(&call.message), settings.max_message_bytes),
        }),
        Err(CallEnd::Failed(error)) => Err(error),
    };
    (result, fuel)
}

/// Instructions that a call may take: the module's own bound, where it has a lower one.
fn fuel(settings: &Settings, module: &Module) -> u64 {
    module.fuel().map_or(settings.fuel, |fuel| fuel.min(settings.fuel))
}

enum CallEnd {
    Exit(i32),
    Failed(SandboxError),
}

fn start(settings: &Settings, module: &Module, store: &mut Store<CallState>) -> Result<(), CallEnd> {
    let failed = |error| explain(settings, module, &error);
    // INVARIANT: fuel is set before the first instruction; a module's own start function runs in `instantiate`.
    store.set_fuel(fuel(settings, module)).map_err(failed)?;
    let instance = module.instance().instantiate(&mut *store).map_err(failed)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start").map_err(failed)?;
    start.call(store, ()).map_err(failed)
}

fn explain(settings: &Settings, module: &Module, error: &wasmtime::Error) -> CallEnd {
    let fuel = fuel(settings, module);
    let module = module.name().to_owned();
    if let Some(ended) = error.downcast_ref::<HostStop>() {
        return match *ended {
            HostStop::Exit(code) => CallEnd::Exit(code),
            HostStop::OutputTooLarge => {
                CallEnd::Failed(SandboxError::OutputTooLarge { module, limit: settings.max_output_bytes })
            }
            HostStop::MemoryGrowth(wanted) => CallEnd::Failed(SandboxError::MemoryGrowth {
                module,
                wanted,
                limit: settings.max_memory_bytes,
            }),
        };
    }
    CallEnd::Failed(match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => SandboxError::OutOfFuel { module, fuel },
        Some(Trap::Interrupt) => SandboxError::Deadline { module, limit: settings.max_execution_time },
        Some(Trap::StackOverflow) => SandboxError::StackOverflow { module },
        Some(trap) => SandboxError::Trapped {
            module,
            detail: trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        },
        None => SandboxError::Internal { module, detail: one_line(&format!("{error:#}"), DETAIL_BYTES) },
    })
}

fn completed(module: &Module, output: &[u8], fuel: u64) -> Result<Completed, SandboxError> {
    match crate::json::parse(output) {
        Ok(output) => Ok(Completed { output, fuel }),
        Err(error) => Err(SandboxError::OutputNotJson {
            module: module.name().to_owned(),
            detail: one_line(&error.to_string(), DETAIL_BYTES),
        }),
    }
}
