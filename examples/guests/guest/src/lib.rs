//! The guest side of the sandbox's contract: read one JSON document from standard input, write one to
//! standard output, exit with 0. A refusal is a line on standard error and exit code 1.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Runs `answer` on the input document and writes what it returns.
pub fn run<I: DeserializeOwned, O: Serialize>(answer: impl FnOnce(I) -> Result<O, String>) -> ExitCode {
    match read().and_then(answer).and_then(|output| write(&output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The exit code already says that it failed.
            let _ = std::io::stderr().write_all(message.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn read<I: DeserializeOwned>() -> Result<I, String> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).map_err(|_| "the input cannot be read".to_owned())?;
    serde_json::from_slice(&text).map_err(|error| format!("the input does not fit: {error}"))
}

fn write<O: Serialize>(output: &O) -> Result<(), String> {
    let text =
        serde_json::to_vec(output).map_err(|error| format!("the output cannot be written: {error}"))?;
    let mut stdout = std::io::stdout();
    stdout.write_all(&text).and_then(|()| stdout.flush()).map_err(|_| "the output is too large".to_owned())
}
