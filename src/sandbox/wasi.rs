//! The whole outside world of a guest: fourteen calls of WASI preview 1 over three buffers in memory.
//!
//! It is written here, and not taken from a full WASI implementation, so that there is no code for files,
//! directories, sockets, environment or processes that a mistake in the settings could switch on. What a call
//! can reach is a field of [`CallState`]; nothing else exists.

use aws_lc_rs::rand;
use wasmtime::{Caller, Engine, Error, Extern, Linker, ResourceLimiter, Result};

/// The calls that a command's start-up code makes without wanting anything: each gives back nothing (no
/// arguments, no environment, no directories), the kind of an open stream, or ends the guest.
pub const INERT_WASI_CALLS: [&str; 9] = [
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

/// The only module that guests may import from.
pub(super) const NAMESPACE: &str = "wasi_snapshot_preview1";

/// Buffers in one call; POSIX's usual `IOV_MAX`. Stops a guest from keeping the host in one call for long.
const MAX_BUFFERS: u32 = 1024;
/// Random bytes in one call.
const MAX_RANDOM: u32 = 65_536;

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;
const IO: i32 = 29;
const NOT_SEEKABLE: i32 = 70;

const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// Why a host call ended the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostStop {
    #[error("exit with code {0}")]
    Exit(i32),
    #[error("output too large")]
    OutputTooLarge,
    #[error("memory growth to {0} bytes refused")]
    MemoryGrowth(usize),
}

/// The state of one call: its streams and its limits.
#[derive(Debug)]
pub(super) struct CallState {
    input: Vec<u8>,
    read: usize,
    pub(super) output: Vec<u8>,
    pub(super) message: Vec<u8>,
    max_output: usize,
    max_message: usize,
    max_memory: usize,
}

impl CallState {
    pub(super) fn new(input: Vec<u8>, settings: &super::Settings) -> Self {
        Self {
            input,
            read: 0,
            output: Vec::new(),
            message: Vec::new(),
            max_output: settings.max_output_bytes,
            max_message: settings.max_message_bytes,
            max_memory: settings.max_memory_bytes,
        }
    }

    /// Moves as much input as fits into `buffer`; the count.
    fn read_into(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.input.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        count
    }

    fn write(&mut self, descriptor: i32, bytes: &[u8]) -> Result<()> {
        if descriptor == STDOUT {
            if bytes.len() > self.max_output.saturating_sub(self.output.len()) {
                return Err(Error::new(HostStop::OutputTooLarge));
            }
            self.output.extend_from_slice(bytes);
        } else {
            // A flood on standard error is swallowed: what is kept is the beginning.
            let room = self.max_message.saturating_sub(self.message.len());
            self.message.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        Ok(())
    }
}

impl ResourceLimiter for CallState {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        if desired > self.max_memory {
            // A trap, not a failed `memory.grow`: a guest that retries forever would only burn its fuel.
            return Err(Error::new(HostStop::MemoryGrowth(desired)));
        }
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= super::engine::MAX_TABLE_ELEMENTS)
    }
}

/// A linker with the inert calls and those that `allows` names.
pub(super) fn linker(engine: &Engine, allows: impl Fn(&str) -> bool) -> Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    inert(&mut linker)?;
    if allows("fd_read") {
        linker.func_wrap(NAMESPACE, "fd_read", fd_read)?;
    }
    if allows("fd_write") {
        linker.func_wrap(NAMESPACE, "fd_write", fd_write)?;
    }
    if allows("fd_close") {
        linker.func_wrap(NAMESPACE, "fd_close", |descriptor: i32| match descriptor {
            STDIN..=STDERR => SUCCESS,
            _ => BAD_DESCRIPTOR,
        })?;
    }
    if allows("clock_time_get") {
        linker.func_wrap(NAMESPACE, "clock_time_get", clock_time_get)?;
    }
    if allows("random_get") {
        linker.func_wrap(NAMESPACE, "random_get", random_get)?;
    }
    Ok(linker)
}

fn inert(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(NAMESPACE, "proc_exit", |code: i32| -> Result<()> {
        Err(Error::new(HostStop::Exit(code)))
    })?;
    for name in ["args_get", "environ_get"] {
        linker.func_wrap(NAMESPACE, name, |_list: i32, _text: i32| SUCCESS)?;
    }
    for name in ["args_sizes_get", "environ_sizes_get"] {
        linker.func_wrap(NAMESPACE, name, |mut caller: Caller<'_, CallState>, count: i32, size: i32| {
            with_memory(&mut caller, |memory, _| {
                store(memory, count, &0_u32.to_le_bytes())?;
                store(memory, size, &0_u32.to_le_bytes())
            })
        })?;
    }
    linker.func_wrap(NAMESPACE, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(NAMESPACE, "fd_seek", |descriptor: i32, _: i64, _: i32, _: i32| match descriptor {
        STDIN..=STDERR => NOT_SEEKABLE,
        _ => BAD_DESCRIPTOR,
    })?;
    // No directory is open, and this is how a guest asks which are.
    linker.func_wrap(NAMESPACE, "fd_prestat_get", |_descriptor: i32, _: i32| BAD_DESCRIPTOR)?;
    linker.func_wrap(NAMESPACE, "fd_prestat_dir_name", |_descriptor: i32, _: i32, _: i32| BAD_DESCRIPTOR)?;
    Ok(())
}

fn fd_read(mut caller: Caller<'_, CallState>, descriptor: i32, buffers: i32, count: i32, read: i32) -> i32 {
    if descriptor != STDIN {
        return BAD_DESCRIPTOR;
    }
    with_memory(&mut caller, |memory, call| {
        let mut total = 0_u32;
        for index in 0..buffer_count(count)? {
            let (start, length) = buffer(memory, buffers, index)?;
            let moved = call.read_into(memory.get_mut(range(start, length)).ok_or(FAULT)?);
            total = total.saturating_add(u32::try_from(moved).map_err(|_| FAULT)?);
            if moved < length as usize {
                break;
            }
        }
        store(memory, read, &total.to_le_bytes())
    })
}

fn fd_write(
    mut caller: Caller<'_, CallState>,
    descriptor: i32,
    buffers: i32,
    count: i32,
    written: i32,
) -> Result<i32> {
    if !matches!(descriptor, STDOUT | STDERR) {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut ended = None;
    let code = with_memory(&mut caller, |memory, call| {
        let mut total = 0_u32;
        for index in 0..buffer_count(count)? {
            let (start, length) = buffer(memory, buffers, index)?;
            if let Err(error) = call.write(descriptor, memory.get(range(start, length)).ok_or(FAULT)?) {
                ended = Some(error);
                return Err(IO);
            }
            total = total.saturating_add(length);
        }
        store(memory, written, &total.to_le_bytes())
    });
    ended.map_or(Ok(code), Err)
}

/// The kind of a stream (a character device, as of a terminal or pipe) without any further right.
fn fd_fdstat_get(mut caller: Caller<'_, CallState>, descriptor: i32, to: i32) -> i32 {
    const CHARACTER_DEVICE: u8 = 2;
    if !matches!(descriptor, STDIN..=STDERR) {
        return BAD_DESCRIPTOR;
    }
    let mut stat = [0_u8; 24];
    stat[0] = CHARACTER_DEVICE;
    with_memory(&mut caller, |memory, _| store(memory, to, &stat))
}

/// A clock that stands still at the epoch: a guest's answer depends on its input alone, and it cannot time its
/// neighbours.
fn clock_time_get(mut caller: Caller<'_, CallState>, _clock: i32, _precision: i64, to: i32) -> i32 {
    with_memory(&mut caller, |memory, _| store(memory, to, &0_u64.to_le_bytes()))
}

fn random_get(mut caller: Caller<'_, CallState>, to: i32, length: i32) -> i32 {
    with_memory(&mut caller, |memory, _| {
        let length = length.cast_unsigned();
        if length > MAX_RANDOM {
            return Err(INVALID);
        }
        let bytes = memory.get_mut(range(to.cast_unsigned(), length)).ok_or(FAULT)?;
        rand::fill(bytes).map_err(|_| IO)
    })
}

/// Runs `body` on the guest's memory; its error number, or 0.
fn with_memory(
    caller: &mut Caller<'_, CallState>,
    body: impl FnOnce(&mut [u8], &mut CallState) -> std::result::Result<(), i32>,
) -> i32 {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return FAULT };
    let (memory, call) = memory.data_and_store_mut(caller);
    match body(memory, call) {
        Ok(()) => SUCCESS,
        Err(code) => code,
    }
}

fn buffer_count(count: i32) -> std::result::Result<u32, i32> {
    let count = count.cast_unsigned();
    if count > MAX_BUFFERS { Err(INVALID) } else { Ok(count) }
}

/// Start and length of the `index`th buffer of a scatter list.
fn buffer(memory: &[u8], list: i32, index: u32) -> std::result::Result<(u32, u32), i32> {
    let at = list.cast_unsigned().checked_add(index.saturating_mul(8)).ok_or(FAULT)?;
    let word = |at: u32| {
        let bytes = memory.get(range(at, 4)).ok_or(FAULT)?;
        bytes.try_into().map(u32::from_le_bytes).map_err(|_| FAULT)
    };
    Ok((word(at)?, word(at.checked_add(4).ok_or(FAULT)?)?))
}

fn store(memory: &mut [u8], at: i32, bytes: &[u8]) -> std::result::Result<(), i32> {
    let start = at.cast_unsigned() as usize;
    let end = start.checked_add(bytes.len()).ok_or(FAULT)?;
    memory.get_mut(start..end).ok_or(FAULT)?.copy_from_slice(bytes);
    Ok(())
}

/// As `usize` has 64 bits on every host that the engine supports, the sum cannot wrap.
fn range(start: u32, length: u32) -> std::ops::Range<usize> {
    let start = start as usize;
    start..start.saturating_add(length as usize)
}
