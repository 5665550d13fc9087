//! `caxton policy matrix`: who may do what, as a table under version control.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::changes::changes;
use super::files::replace;
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render::{GREEN, PLAIN, RED, counted};
use crate::cli::output::{Exit, Output};
use crate::workbench::matrix::Matrix;

/// The most bytes of a table that is read.
const MAX_BYTES: u64 = 16 << 20;

/// What to do with the table.
#[derive(Debug, Default, clap::Args)]
pub struct MatrixOptions {
    /// Compare with this file; exit code 1 when it differs.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    pub check: Option<PathBuf>,
    /// Write to this file.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// What the gateway knows.
    #[command(flatten)]
    pub world: WorldOptions,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// Whether a file is as it would be written.
#[derive(Serialize)]
struct CheckedFile<'m> {
    same: bool,
    rows: usize,
    #[serde(flatten)]
    matrix: &'m Matrix,
}

pub(super) fn run(base: &Path, options: &MatrixOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = match options.check.is_some() {
        true => options.folders.load(base, output),
        false => options.folders.load_any(base, output),
    }?
    else {
        return Ok(Exit::Usage);
    };
    let known = known_world(&options.folders, &options.world, output)?;
    let matrix = Matrix::in_gateway(&bundle, known.as_ref());
    let table = matrix.markdown();
    if let Some(file) = &options.write {
        replace(file, &table)?;
        let rows = counted(matrix.rows.len(), "row");
        output.say(format_args!(
            "{rows} for {} written to `{}`",
            counted(matrix.principals.len(), "principal"),
            file.display()
        ));
        return Ok(Exit::Fine);
    }
    let Some(file) = &options.check else {
        output.data(&matrix, |_| table.clone())?;
        return Ok(Exit::Fine);
    };
    let found = read(file)?;
    let checked = CheckedFile { same: found == table, rows: matrix.rows.len(), matrix: &matrix };
    let name = file.display().to_string();
    output.data(&checked, |checked| match checked.same {
        true => format!("{GREEN}unchanged{PLAIN}: {}", counted(checked.rows, "row")),
        false => format!(
            "{}\n{RED}changed{PLAIN}: `{name}` is not what the policies say",
            changes(&name, &found, &table)
        ),
    })?;
    if checked.same {
        return Ok(Exit::Fine);
    }
    output.say(format_args!("help: if this is meant, run `caxton policy matrix --write {name}`"));
    Ok(Exit::Found)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let failed = || format!("reading `{}`", file.display());
    let bytes = std::fs::metadata(file).with_context(failed)?.len();
    anyhow::ensure!(bytes <= MAX_BYTES, "`{}` is larger than {MAX_BYTES} bytes", file.display());
    std::fs::read_to_string(file).with_context(failed)
}
