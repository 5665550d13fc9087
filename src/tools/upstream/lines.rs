//! One message a line, as servers over standard input and output speak.

use std::io;
use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;

use super::message;

/// The pipes of a child, each line read strictly and within a bound.
#[derive(Debug)]
pub(super) struct LineTransport {
    output: BufReader<ChildStdout>,
    /// The line so far. A read that is cancelled goes on here.
    line: Vec<u8>,
    /// Whether the rest of a line that was too long is being skipped.
    skipping: bool,
    limit: usize,
    input: Arc<Mutex<Option<ChildStdin>>>,
}

impl LineTransport {
    /// LineTransport of at most `limit` bytes.
    pub(super) fn new(output: ChildStdout, input: ChildStdin, limit: usize) -> Self {
        Self {
            output: BufReader::new(output),
            line: Vec::new(),
            skipping: false,
            limit,
            input: Arc::new(Mutex::new(Some(input))),
        }
    }

    /// Whether a whole line is there; `false` at the end of the output.
    async fn fill(&mut self) -> io::Result<bool> {
        loop {
            let part = self.output.fill_buf().await?;
            if part.is_empty() {
                return Ok(false);
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(part.len(), |end| end + 1);
            if self.line.len().saturating_add(taken) > self.limit {
                self.skipping = true;
                self.line.clear();
            } else if !self.skipping {
                self.line.extend_from_slice(part.get(..taken).unwrap_or_default());
            }
            self.output.consume(taken);
            if end.is_some() {
                if !self.skipping {
                    return Ok(true);
                }
                tracing::warn!(limit = self.limit, "a line of the server is too long and was left out");
                self.skipping = false;
            }
        }
    }
}

impl Transport<RoleClient> for LineTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let input = input.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            input.write_all(&line).await?;
            input.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(%error, "the output of the server cannot be read");
                    return None;
                }
            }
            let read = message::read(self.line.trim_ascii());
            self.line.clear();
            match read {
                Some(message) => return Some(message),
                None => tracing::debug!("a line of the server belongs to no call and was left out"),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        drop(self.input.lock().await.take());
        Ok(())
    }
}
