//! Taking a module in: everything it asks for is checked from its bytes before any of it is compiled.

use std::sync::{Arc, Weak};

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::{Engine, ExternType, InstancePre};

use super::wasi::{self, CallState};
use super::{DETAIL_BYTES, INERT_WASI_CALLS, SandboxError, Settings, structure, worker};
use crate::text::one_line;

/// Bytes in a page of linear memory.
const PAGE: u64 = 65_536;

/// A checked and compiled guest, ready for fresh instances. Cheap to clone; usable with the sandbox that made it.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    sha256: String,
    instance: InstancePre<CallState>,
    fuel: Option<u64>,
}

/// The origin of a module.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Part of this program, with a bound on its instructions that fits it.
    Builtin { fuel: u64 },
    /// A file. Nothing is known about it.
    File,
}

impl Module {
    /// The name it was taken in under.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// SHA-256 of the module's bytes, in lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// The most instructions of a call, where the module has a bound of its own.
    pub(super) fn fuel(&self) -> Option<u64> {
        self.inner.fuel
    }

    pub(super) fn known(&self) -> WeakModule {
        WeakModule(Arc::downgrade(&self.inner))
    }

    pub(super) fn instance(&self) -> &InstancePre<CallState> {
        &self.inner.instance
    }

    pub(super) fn compile(
        engine: &Engine,
        settings: &Settings,
        (name, origin): (&str, Origin),
        wasm: &[u8],
        sha256: String,
    ) -> Result<Self, SandboxError> {
        inspect(settings, name, wasm)?;
        let fuel = match (origin, &settings.compile_worker) {
            (Origin::Builtin { fuel }, _) => Some(fuel),
            (Origin::File, Some(program)) => {
                worker::rehearse(program, settings, name, wasm)?;
                None
            }
            (Origin::File, None) => None,
        };
        let unfit = |error: wasmtime::Error| SandboxError::Unfit {
            module: name.to_owned(),
            detail: one_line(&format!("{error:#}"), DETAIL_BYTES),
        };
        let module = wasmtime::Module::from_binary(engine, wasm).map_err(unfit)?;
        match module.get_export("_start") {
            Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0 => {}
            _ => return Err(SandboxError::NoStart { module: name.to_owned() }),
        }
        let instance = wasi::linker(engine, |call| settings.allowed_wasi_calls.contains(call))
            .and_then(|linker| linker.instantiate_pre(&module))
            .map_err(unfit)?;
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), sha256, instance, fuel }) })
    }
}

/// A module for as long as it is in use elsewhere.
pub(super) struct WeakModule(Weak<Inner>);

impl WeakModule {
    /// The module, when it is the one of this name and digest.
    pub(super) fn module(&self, name: &str, sha256: &str) -> Option<Module> {
        let inner = self.0.upgrade().filter(|inner| inner.name == name && inner.sha256 == sha256)?;
        Some(Module { inner })
    }

    pub(super) fn in_use(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Module").field("name", &self.name()).field("sha256", &self.sha256()).finish()
    }
}

/// Checks what can be seen in the bytes: size, imports and memory. Compiling hostile code costs more
/// than reading it, so nothing is compiled that could not run anyway.
fn inspect(settings: &Settings, name: &str, wasm: &[u8]) -> Result<(), SandboxError> {
    if wasm.len() > settings.max_module_bytes {
        return Err(SandboxError::ModuleTooLarge {
            module: name.to_owned(),
            size: wasm.len(),
            limit: settings.max_module_bytes,
        });
    }
    let broken = |detail: String| SandboxError::NotWasm { module: name.to_owned(), detail };
    // The validator lays some of its messages out over several lines.
    let malformed = |error: wasmparser::BinaryReaderError| broken(one_line(error.message(), DETAIL_BYTES));
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(malformed)?;
        structure::check(&payload)
            .map_err(malformed)?
            .map_err(|excess| SandboxError::Compile { module: name.to_owned(), detail: excess })?;
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(broken("it is a component, not a core module".to_owned()));
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(malformed)?;
                    if !may_import(settings, import.module, import.name) {
                        return Err(SandboxError::ForbiddenImport {
                            module: name.to_owned(),
                            import: format!("{}::{}", import.module, import.name),
                        });
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    // A declared maximum above the limit is no reason to refuse: growth is bounded at run time.
                    let needed = memory.map_err(malformed)?.initial.saturating_mul(PAGE);
                    if needed > settings.max_memory_bytes as u64 {
                        return Err(SandboxError::MemoryTooLarge {
                            module: name.to_owned(),
                            needed,
                            limit: settings.max_memory_bytes,
                        });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn may_import(settings: &Settings, module: &str, name: &str) -> bool {
    module == wasi::NAMESPACE
        && (INERT_WASI_CALLS.contains(&name) || settings.allowed_wasi_calls.contains(name))
}
