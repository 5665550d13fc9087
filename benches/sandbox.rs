//! What the sandbox's promises cost: one call through [`Sandbox::run`] against wasmtime's own floor, which is
//! `InstancePre::instantiate` and `_start` of the same bytes in a bare store: no fuel, no deadline, no limits, no
//! queue, no thread. Both run in this process, in turns, so that noise hits both. Prints medians and their ratio.
//!
//! `cargo bench --bench sandbox`; the target is a ratio of at most 3 for a built-in tool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::model::EntityUid;
use caxton::sandbox::{Sandbox, Settings, builtin_handler, builtin_tools};
use caxton::telemetry::Metrics;
use wasmtime::{
    Caller, Config, Engine, Extern, InstanceAllocationStrategy, InstancePre, Linker, PoolingAllocationConfig,
    Store,
};

const ROUNDS: usize = 21;
const CALLS: u32 = 50;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The bare store's data: input, its place, output.
#[derive(Default)]
struct Streams {
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
}

struct Floor {
    engine: Engine,
    linker: Linker<Streams>,
}

impl Floor {
    fn new() -> Result<Self, Failure> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(32).total_memories(32).total_tables(32).max_memory_size(64 << 20);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        const WASI: &str = "wasi_snapshot_preview1";
        linker.func_wrap(
            WASI,
            "fd_read",
            |caller: Caller<'_, Streams>, _: i32, list: i32, _: i32, count: i32| {
                transfer(caller, list, count, true)
            },
        )?;
        linker.func_wrap(
            WASI,
            "fd_write",
            |caller: Caller<'_, Streams>, _: i32, list: i32, _: i32, count: i32| {
                transfer(caller, list, count, false)
            },
        )?;
        linker.func_wrap(WASI, "random_get", |_: i32, _: i32| 0)?;
        linker.func_wrap(WASI, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg(format!("exit {code}")))
        })?;
        Ok(Self { engine, linker })
    }

    fn call(&self, guest: &InstancePre<Streams>, input: &[u8]) -> Result<usize, Failure> {
        let mut store = Store::new(&self.engine, Streams { input: input.to_vec(), ..Streams::default() });
        let instance = guest.instantiate(&mut store)?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
        Ok(store.data().output.len())
    }
}

/// Moves the first buffer of the list; guests ask again for the rest.
fn transfer(mut caller: Caller<'_, Streams>, list: i32, count: i32, read: bool) -> i32 {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return 21 };
    let (memory, streams) = memory.data_and_store_mut(&mut caller);
    let word = |at: usize| {
        memory.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    };
    let (start, length) = (word(list as usize), word(list as usize + 4));
    let Some(buffer) = memory.get_mut(start..start + length) else { return 21 };
    let moved = if read {
        let rest = streams.input.get(streams.read..).unwrap_or_default();
        let moved = rest.len().min(length);
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        streams.read += moved;
        moved
    } else {
        streams.output.extend_from_slice(buffer);
        length
    };
    match memory.get_mut(count as usize..count as usize + 4) {
        Some(place) => {
            place.copy_from_slice(&(moved as u32).to_le_bytes());
            0
        }
        None => 21,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default() / CALLS
}

fn cases() -> Vec<(&'static str, Vec<u8>, String)> {
    let tools = builtin_tools();
    let wasm = |name: &str| {
        tools.iter().find(|tool| tool.name == name).map(|tool| tool.wasm.to_vec()).unwrap_or_default()
    };
    let table = "name,price\n".to_owned() + &"tea,=1+1\n".repeat(2000);
    let csv = |text: &str| serde_json::json!({ "text": text }).to_string();
    let json = serde_json::json!({ "document": r#"{"n": 1}"#, "schema": r#"{"properties": {"n": {"minimum": 1}}}"# });
    let turn = serde_json::json!({ "messages": [{ "role": "user", "content": "hello" }] });
    vec![
        ("csv_parser, 1 row", wasm("csv_parser"), csv("name,price\ntea,3\n")),
        ("csv_parser, 2000 rows", wasm("csv_parser"), csv(&table)),
        ("json_validator", wasm("json_validator"), json.to_string()),
        ("echo_agent", builtin_handler("echo_agent").unwrap_or_default().to_vec(), turn.to_string()),
    ]
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let sandbox = Sandbox::new(Settings::default(), Arc::new(Metrics::new()))?;
    let floor = Floor::new()?;
    let mut report = String::from("case                      compile ms   floor us   caxton us   ratio\n");
    for (name, wasm, input) in cases() {
        let before = Instant::now();
        let module = sandbox.compile(name, &wasm)?;
        let compiled = before.elapsed();
        let bare = floor.linker.instantiate_pre(&wasmtime::Module::from_binary(&floor.engine, &wasm)?)?;
        let (mut floors, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = Instant::now();
            for _ in 0..CALLS {
                std::hint::black_box(floor.call(&bare, input.as_bytes())?);
            }
            floors.push(before.elapsed());
            // From a task, as a request is one.
            let (sandbox, module, input) = (sandbox.clone(), module.clone(), input.clone());
            let caller = EntityUid::caxton("Service", "bench");
            let task = runtime.spawn(async move {
                let before = Instant::now();
                for _ in 0..CALLS {
                    std::hint::black_box(sandbox.run(&caller, &module, input.clone().into_bytes()).await?);
                }
                Ok::<_, caxton::sandbox::SandboxError>(before.elapsed())
            });
            calls.push(runtime.block_on(task)??);
        }
        let (floor, call) = (median(floors).as_secs_f64() * 1e6, median(calls).as_secs_f64() * 1e6);
        let compiled = compiled.as_secs_f64() * 1e3;
        report += &format!("{name:<24} {compiled:>11.1} {floor:>10.1} {call:>11.1} {:>7.2}\n", call / floor);
    }
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes())?;
    Ok(())
}
