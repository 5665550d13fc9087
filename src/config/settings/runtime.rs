//! `runtime.*`: what a WebAssembly module may use.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, FreeText, Integer, List, Size};
use crate::sandbox::Settings;

/// A page of WebAssembly memory.
const PAGE: usize = 64 * 1024;

/// Calls that can be named: they reach the pipes, a clock and randomness, or give nothing.
const HARMLESS: &[(&str, &str)] = &[
    ("args_get", "args_get"),
    ("args_sizes_get", "args_sizes_get"),
    ("clock_time_get", "clock_time_get"),
    ("environ_get", "environ_get"),
    ("environ_sizes_get", "environ_sizes_get"),
    ("fd_close", "fd_close"),
    ("fd_fdstat_get", "fd_fdstat_get"),
    ("fd_prestat_dir_name", "fd_prestat_dir_name"),
    ("fd_prestat_get", "fd_prestat_get"),
    ("fd_read", "fd_read"),
    ("fd_seek", "fd_seek"),
    ("fd_write", "fd_write"),
    ("proc_exit", "proc_exit"),
    ("random_get", "random_get"),
];

/// Those of them that every WASI program calls to start or end.
const INERT: &[&str] = &[
    "proc_exit",
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "fd_fdstat_get",
    "fd_seek",
    "fd_prestat_get",
    "fd_prestat_dir_name",
];

/// Bounds of what a module does not have at all: any bound holds.
fn without_files(r: &mut Reader<'_>) {
    let none = Integer::new(0..=1_000_000, "files");
    r.value(
        "runtime.limits.max_file_descriptors",
        none,
        0,
        "Open files of a module. It has none, so any bound holds.",
    );
    let bytes = Size(0..=1 << 50);
    r.value(
        "runtime.limits.max_disk_io_bytes",
        bytes,
        0,
        "Bytes that a module reads and writes on disks. It reaches no disk, so any bound holds.",
    );
}

pub(super) fn read(r: &mut Reader<'_>) -> Settings {
    let usual = Settings::default();
    without_files(r);
    let pages: usize = r.value(
        "runtime.security.max_memory_pages",
        Integer::new(1..=65_536, "pages of 64 KiB"),
        usual.max_memory_bytes / PAGE,
        "Memory of an instance.",
    );
    Settings {
        max_memory_bytes: pages.saturating_mul(PAGE),
        max_wasm_stack: r.value(
            "runtime.security.max_stack_size",
            Size(64 << 10..=1 << 20),
            1 << 20,
            "Call stack of an instance.",
        ),
        allowed_wasi_calls: wasi_calls(r),
        max_execution_time: r.value(
            "runtime.limits.max_execution_time",
            DurationRange(Duration::from_millis(10)..=Duration::from_secs(600)),
            usual.max_execution_time,
            "Time for a call.",
        ),
        fuel: r.value(
            "runtime.limits.fuel",
            Integer::new(1_000..=1_000_000_000_000_000, "instructions"),
            usual.fuel,
            "Instructions for a call, roughly.",
        ),
        max_message_bytes: r.value(
            "runtime.limits.max_message_bytes",
            Size(64..=64 << 10),
            usual.max_message_bytes,
            "Bytes that are kept of what a module says on standard error.",
        ),
        max_module_bytes: r.value(
            "runtime.limits.max_module_bytes",
            Size(1 << 10..=256 << 20),
            usual.max_module_bytes,
            "Bytes of a module.",
        ),
        max_input_bytes: r.value(
            "runtime.limits.max_input_bytes",
            Size(1 << 10..=64 << 20),
            usual.max_input_bytes,
            "Bytes of a call's input.",
        ),
        max_output_bytes: r.value(
            "runtime.limits.max_output_bytes",
            Size(1 << 10..=64 << 20),
            usual.max_output_bytes,
            "Bytes of a call's output.",
        ),
        max_compile_time: r.value(
            "runtime.limits.max_compile_time",
            DurationRange::seconds(1, 600),
            usual.max_compile_time,
            "Time for compiling a module; one that takes longer is refused.",
        ),
        max_compile_memory: r.value(
            "runtime.limits.max_compile_memory",
            Size(64 << 20..=8 << 30),
            usual.max_compile_memory,
            "Memory for compiling a module; one that takes more is refused.",
        ),
        max_instances: r.value(
            "runtime.limits.max_instances",
            Integer::new(1..=10_000, "instances"),
            usual.max_instances,
            "Instances at once; address space for their memory is reserved at start.",
        ),
        max_queue_wait: r.value(
            "runtime.limits.queue_timeout",
            DurationRange(Duration::from_millis(10)..=Duration::from_secs(60)),
            usual.max_queue_wait,
            "Time a call may wait for an instance.",
        ),
        compile_worker: None,
    }
}

fn wasi_calls(r: &mut Reader<'_>) -> BTreeSet<String> {
    let usual = vec!["fd_read", "fd_write", "fd_close", "clock_time_get", "random_get"];
    let allowed = r.value(
        "runtime.syscalls.allowed_wasi_calls",
        List(Choice(HARMLESS)),
        usual,
        "WASI calls that a module may import, beside those that give it nothing; a module that imports another is refused. Calls that open files or sockets are not offered.",
    );
    let blocked = r.value(
        "runtime.syscalls.blocked_calls",
        List(FreeText(64)),
        Vec::new(),
        "Calls that are refused in any case. What is not allowed is blocked already.",
    );
    if let Some(inert) = blocked.iter().find(|name| INERT.contains(&name.as_str())) {
        let problem =
            ConfigProblem::error(ProblemCode::Contradiction, format!("`{inert}` cannot be blocked"));
        let problem =
            problem.with_help("every WASI program calls it to start or end; it gives a module nothing");
        r.report(problem, "runtime.syscalls.blocked_calls");
    } else if let Some(both) = blocked.iter().find(|name| allowed.contains(&name.as_str())) {
        let problem =
            ConfigProblem::error(ProblemCode::Contradiction, format!("`{both}` is allowed and blocked"));
        let help = if r.is_given("runtime.syscalls.allowed_wasi_calls") {
            "take it out of one of the lists"
        } else {
            "list the calls you allow in `runtime.syscalls.allowed_wasi_calls`"
        };
        r.report(problem.with_help(help), "runtime.syscalls.blocked_calls");
    }
    allowed.into_iter().map(str::to_owned).collect()
}
