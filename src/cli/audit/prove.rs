//! `caxton audit prove` and `caxton audit check-proof`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::verify::read_key;
use crate::audit::prove::{ProveError, prove_growth, prove_record, record_hash};
use crate::audit::query::{Filter, LogSearch, search};
use crate::audit::{InclusionProof, LogProof};
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Output};
use crate::json;

/// What to prove.
#[derive(Debug, Args)]
pub struct LogProofOptions {
    /// The decision or the number of the record.
    #[arg(required_unless_present = "since")]
    id: Option<String>,
    /// Prove that the log continues this older checkpoint.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "id")]
    since: Option<PathBuf>,
    #[command(flatten)]
    log: LogFile,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckProofOptions {
    /// The proof, as `caxton audit prove` prints it.
    proof: PathBuf,
    /// The record that it is about, as JSON (`caxton audit query --id ID --format json`).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The public key of the log: a file (`audit.log.pub`), or the key itself.
    #[arg(long, value_name = "KEY")]
    key: String,
}

pub(super) fn prove(options: LogProofOptions, output: &Output) -> anyhow::Result<Exit> {
    let log = options.log.path(output)?;
    let made = match (&options.since, &options.id) {
        (Some(older), _) => prove_growth(&log, older).map(|proof| proof.to_string()),
        (None, id) => {
            let seq = seq_of(&log, id.as_deref().unwrap_or_default())?;
            prove_record(&log, seq).map(|proof| proof.to_string())
        }
    };
    match made {
        Ok(proof) => {
            output.line(proof.trim_end())?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            let help = error.help();
            let found = matches!(&error, ProveError::Log(failure) if failure.is_finding());
            output.error(format_args!("{:#}", anyhow::Error::new(error)));
            if let Some(help) = help {
                output.say(format_args!("help: {help}"));
            }
            Ok(if found { Exit::Found } else { Exit::Usage })
        }
    }
}

/// The number of the record with this id.
fn seq_of(log: &Path, id: &str) -> anyhow::Result<u64> {
    if let Ok(seq) = id.parse() {
        return Ok(seq);
    }
    let filter = Filter { id: Some(id.to_owned()), limit: Some(2), ..Filter::all() };
    let found = search(log, &LogSearch::newest(&filter))?;
    match found.records.as_slice() {
        [record] => Ok(record.seq),
        [] => anyhow::bail!("there is no record of `{id}` in `{}`", log.display()),
        _ => anyhow::bail!(
            "`{id}` has several records: name one by its number, which `caxton audit query --id {id}` shows"
        ),
    }
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    /// Records in the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn check_proof(options: &CheckProofOptions, output: &Output) -> anyhow::Result<Exit> {
    let verifier = read_key(&options.key)?;
    let name = options.proof.display();
    let text =
        std::fs::read_to_string(&options.proof).with_context(|| format!("`{name}` could not be read"))?;
    // `prove` prints a line end less than the note has.
    let text = format!("{}\n", text.trim_end());
    let proof = LogProof::parse(&text).with_context(|| format!("`{name}` cannot be used"))?;
    let checked = match &proof {
        LogProof::Inclusion(proof) => check_record(options, proof, &verifier)?,
        LogProof::Consistency(proof) => proof.verify(&verifier).map(|(old, new)| {
            let said =
                format!("ok: the checkpoint of {} records continues the one of {}", new.size, old.size);
            (new.size, said)
        }),
    };
    match checked {
        Ok((size, said)) => {
            output.data(&Checked { ok: true, size: Some(size), problem: None }, |_| said)?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            let problem = format!("{:#}", anyhow::Error::new(error));
            let shown = format!("not ok: {problem}");
            output.data(&Checked { ok: false, size: None, problem: Some(problem) }, |_| shown)?;
            Ok(Exit::Found)
        }
    }
}

type CheckResult = Result<(u64, String), crate::audit::ProofError>;

fn check_record(
    options: &CheckProofOptions,
    proof: &InclusionProof,
    verifier: &crate::audit::NoteVerifier,
) -> anyhow::Result<CheckResult> {
    let path = options
        .record
        .as_ref()
        .context("this proof is about a record: name the file with it, `--record FILE`")?;
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("`{name}` could not be read"))?;
    let json = json::parse(&bytes).with_context(|| format!("`{name}` is not JSON"))?;
    // `query` gives a list, here with one record.
    let record = match json.as_array().map(Vec::as_slice) {
        Some([record]) => record,
        Some(_) => anyhow::bail!("`{name}` has not exactly one record in it"),
        None => &json,
    };
    let Some(hash) = record_hash(record) else { return Ok(Err(crate::audit::ProofError::Root)) };
    Ok(proof.verify(&hash, verifier).map(|checkpoint| {
        let said = format!("ok: it is record {} of the log `{}`", proof.index + 1, checkpoint.origin);
        (checkpoint.size, said)
    }))
}
