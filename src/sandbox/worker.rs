//! Compiling in a process that can be ended.
//!
//! A thread that compiles cannot be stopped, and its memory is the gateway's. So a module from a file is first
//! compiled by a child process, within bounds of time and memory; only a module that passed is compiled here. The
//! child's result is thrown away: loading machine code from another process would mean trusting its bytes.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DETAIL_BYTES, SandboxError, Settings, engine};
use crate::text::one_line;

/// How often the child is looked at.
const PERIOD: Duration = Duration::from_millis(5);
/// Bytes of its message that are kept.
const LONGEST_MESSAGE: u64 = 512;
/// The command of the program that does the child's part.
const COMMAND: &str = "compile-module";

/// The child's part: compiles the module on `input` and throws the result away.
///
/// # Errors
/// Why it is not a module that compiles, in one line.
pub fn compile_only(mut input: impl Read, most_bytes: u64) -> Result<(), String> {
    let mut wasm = Vec::new();
    input.by_ref().take(most_bytes).read_to_end(&mut wasm).map_err(|error| error.to_string())?;
    let compiler = engine::compiler().map_err(|error| format!("{error:#}"))?;
    let compiled = wasmtime::Module::from_binary(&compiler, &wasm);
    compiled.map(drop).map_err(|error| one_line(&format!("{error:#}"), DETAIL_BYTES))
}

/// Has `program` compile the module, within the bounds of `settings`. Blocks until it has, or is ended.
pub(super) fn rehearse(
    program: &Path,
    settings: &Settings,
    name: &str,
    wasm: &[u8],
) -> Result<(), SandboxError> {
    let refused = |detail: String| SandboxError::Compile { module: name.to_owned(), detail };
    let spawned = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| refused(format!("no process to compile it: {error}")))?;
    let input = child.stdin.take();
    let ended = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Fails when the child has been ended, which is reported below.
            input.map(|mut input| input.write_all(wasm))
        });
        watch(&mut child, settings)
    });
    let mut message = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What is not text, or cannot be read, is left out of the message; the outcome is the exit code.
        let _ = stderr.take(LONGEST_MESSAGE).read_to_string(&mut message);
    }
    match ended {
        Ok(true) => Ok(()),
        Ok(false) => Err(SandboxError::Unfit {
            module: name.to_owned(),
            detail: one_line(message.trim(), DETAIL_BYTES),
        }),
        Err(excess) => Err(refused(excess)),
    }
}

/// Waits for the child; ends it when it takes more than it may. Whether it compiled the module.
fn watch(child: &mut Child, settings: &Settings) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => {}
            Err(error) => return Err(end(child, error.to_string())),
        }
        if began.elapsed() > settings.max_compile_time {
            return Err(end(
                child,
                format!("compiling it takes longer than {:?}", settings.max_compile_time),
            ));
        }
        if resident(child.id()) > settings.max_compile_memory {
            let bound = settings.max_compile_memory;
            return Err(end(child, format!("compiling it takes more than {bound} bytes of memory")));
        }
        std::thread::sleep(PERIOD);
    }
}

fn end(child: &mut Child, why: String) -> String {
    // Both fail when it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    why
}

/// Bytes of memory that a process has in use; 0 when it has ended.
fn resident(process: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}
