//! `caxton policy init` and `eject`: a repository of one's own policies that passes its own checks, and the shipped set as
//! files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::files::create;
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render::{GREEN, PLAIN, counted};
use crate::cli::output::{Exit, Output};
use crate::policy::Sources;
use crate::workbench::matrix::Matrix;
use crate::workbench::run::Suites;

/// Where to write.
#[derive(Debug, Default, clap::Args)]
pub struct InitOptions {
    /// The folder of the repository [default: the working directory]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Where to write.
#[derive(Debug, Default, clap::Args)]
pub struct EjectOptions {
    /// The folder in which `policies`, `schemas` and `policy-tests` are written [default: the working directory]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// A file that `init` writes, and whether it is a program.
struct LaidOut {
    path: &'static str,
    text: &'static str,
    runs: bool,
}

macro_rules! laid_out {
    ($($path:literal: $file:literal $(runs $runs:literal)?),* $(,)?) => {
        [$(LaidOut { path: $path, text: include_str!(concat!("init/", $file)), runs: false $(|| $runs)? }),*]
    };
}

const FILES: [LaidOut; 5] = laid_out![
    "caxton.yaml": "caxton.yaml",
    "policies/limits.cedar": "limits.cedar",
    "policy-tests/limits.test.yaml": "limits.test.yaml",
    ".github/workflows/policies.yml": "policies.yaml",
    ".githooks/pre-commit": "pre-commit" runs true,
];
/// The table of who may do what, which is made from the policies.
const MATRIX: &str = "policy-tests/matrix.md";

/// What was written.
#[derive(Serialize)]
struct Written {
    folder: String,
    files: Vec<String>,
}

pub(super) fn init(base: &Path, options: &InitOptions, output: &Output) -> anyhow::Result<Exit> {
    let folder = base.join(options.folder.as_deref().unwrap_or(Path::new("")));
    let mut files: Vec<(PathBuf, &str, bool)> =
        FILES.iter().map(|file| (folder.join(file.path), file.text, file.runs)).collect();
    let matrix = folder.join(MATRIX);
    anyhow::ensure!(
        !matrix.exists(),
        "`{}` is there already; name another folder, or move it away",
        matrix.display()
    );
    // So that it is in the repository, and the configuration finds it.
    files.push((folder.join("schemas/.gitkeep"), "", false));
    write(&files)?;
    // Of what was just written, as `matrix --check` will see it.
    let folders = PolicyFolders { config: Some(folder.join("caxton.yaml")), ..PolicyFolders::default() };
    let bundle = folders.load(&folder, output)?.context("the laid out policies are not valid")?;
    let known = known_world(&folders, &WorldOptions::default(), output)?;
    create(&matrix, &Matrix::in_gateway(&bundle, known.as_ref()).markdown())?;
    files.push((matrix, "", false));
    report(&folder, &files, output)?;
    output.say("next: `caxton policy test --config caxton.yaml`; `git config core.hooksPath .githooks` puts the hook in force");
    Ok(Exit::Fine)
}

pub(super) fn eject(base: &Path, options: &EjectOptions, output: &Output) -> anyhow::Result<Exit> {
    let folder = base.join(options.folder.as_deref().unwrap_or(Path::new("")));
    let shipped = Sources::shipped();
    let policies = shipped.iter().map(|source| (source.kind.directory(), &*source.name, &*source.text));
    let tests = Suites::shipped_files().map(|(name, text)| ("policy-tests", name, text));
    let files: Vec<(PathBuf, &str, bool)> =
        policies.chain(tests).map(|(kind, name, text)| (folder.join(kind).join(name), text, false)).collect();
    write(&files)?;
    report(&folder, &files, output)?;
    output.say("note: these files are now your own: a newer program does not change them");
    Ok(Exit::Fine)
}

/// Writes all files or none: one that is there already stays as it is.
fn write(files: &[(PathBuf, &str, bool)]) -> anyhow::Result<()> {
    if let Some((path, ..)) = files.iter().find(|(path, ..)| path.exists()) {
        anyhow::bail!("`{}` is there already; name another folder, or move it away", path.display());
    }
    for (path, text, runs) in files {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("creating `{}`", parent.display()))?;
        }
        create(path, text)?;
        if *runs {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, mode).with_context(|| format!("writing `{}`", path.display()))?;
        }
    }
    Ok(())
}

fn report(folder: &Path, files: &[(PathBuf, &str, bool)], output: &Output) -> anyhow::Result<()> {
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let written = Written {
        folder: shown.display().to_string(),
        files: files.iter().map(|(path, ..)| path.display().to_string()).collect(),
    };
    output.data(&written, |written| {
        let mut lines: Vec<String> = written.files.iter().map(|file| format!("  {file}")).collect();
        lines.push(format!("{GREEN}{} written{PLAIN}", counted(written.files.len(), "file")));
        lines.join("\n")
    })
}
