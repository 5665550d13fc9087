//! A server as a child process: an empty environment, a process group of its own, and an end with the connection.

use std::process::Stdio;

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio_util::task::AbortOnDropHandle;

use crate::model::ServerName;
use crate::secret::Secret;
use crate::tools::error::UpstreamError;

use super::UpstreamLimits;
use super::lines::LineTransport;
use crate::text::one_line;

/// Where programs are looked for when the settings give no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Lines of a child's standard error that are logged for one connection; the rest is read and dropped.
const MAX_LOGGED_LINES: usize = 500;
/// The longest of these lines that is logged, in bytes.
const MAX_LINE_BYTES: usize = 500;

/// The process; dropping this kills its whole group, by the id that this gateway started.
#[derive(Debug)]
pub(in crate::tools) struct Child {
    process: Box<dyn ChildWrapper>,
    _stderr: Option<AbortOnDropHandle<()>>,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails when the group has ended already.
        if let Err(error) = self.process.start_kill() {
            tracing::debug!(%error, "child process had ended");
        }
    }
}

pub(super) fn spawn(
    server: &ServerName,
    command: &str,
    args: &[String],
    env: &[(String, Secret<String>)],
    limits: &UpstreamLimits,
) -> Result<(LineTransport, Child), UpstreamError> {
    let mut wrap = CommandWrap::with_new(command, |process| {
        process
            .args(args)
            .env_clear()
            .env("PATH", DEFAULT_PATH)
            .envs(env.iter().map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    });
    wrap.wrap(KillOnDrop).wrap(ProcessGroup::leader());
    let mut process = wrap.spawn().map_err(UpstreamError::Spawn)?;
    let (Some(input), Some(output)) = (process.stdin().take(), process.stdout().take()) else {
        return Err(UpstreamError::Spawn(std::io::Error::other(
            "the process has no standard input or output",
        )));
    };
    let stderr = process
        .stderr()
        .take()
        .map(|stderr| AbortOnDropHandle::new(tokio::spawn(log_stderr(server.clone(), stderr))));
    let transport = LineTransport::new(output, input, limits.response_bytes);
    Ok((transport, Child { process, _stderr: stderr }))
}

/// Reads to the end, so that the child never blocks; logs a bounded part of it, cleaned.
async fn log_stderr(server: ServerName, mut stderr: ChildStderr) {
    let mut lines = StderrLines::default();
    let mut buffer = [0_u8; 4096];
    let mut logged = 0;
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        for line in lines.take_in(buffer.get(..read).unwrap_or_default()) {
            logged += 1;
            match logged {
                ..=MAX_LOGGED_LINES => tracing::info!(%server, line, "standard error of the server"),
                _ if logged == MAX_LOGGED_LINES + 1 => {
                    tracing::warn!(%server, "further standard error of the server is not logged");
                }
                _ => {}
            }
        }
    }
}

/// Splits bytes into cleaned lines, and keeps no more of an endless line than is logged.
#[derive(Default)]
struct StderrLines {
    open: Vec<u8>,
}

impl StderrLines {
    fn take_in(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = one_line(&String::from_utf8_lossy(&self.open), MAX_LINE_BYTES);
                if !line.trim().is_empty() {
                    ended.push(line);
                }
                self.open.clear();
            } else if self.open.len() < MAX_LINE_BYTES * 4 {
                self.open.push(byte);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_is_cleaned_and_bounded() {
        let mut lines = StderrLines::default();
        assert!(lines.take_in(b"a\x1b[31mb").is_empty());
        assert_eq!(lines.take_in(b"c\n\n  \nd\xff\n"), ["a [31mbc", "d\u{fffd}"]);
        assert!(lines.take_in(&vec![b'x'; 1_000_000]).is_empty());
        assert_eq!(lines.open.len(), MAX_LINE_BYTES * 4);
        assert_eq!(lines.take_in(b"\n")[0].len(), MAX_LINE_BYTES);
    }
}
