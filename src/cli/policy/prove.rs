//! `caxton policy prove`: the statements under `prove` in the test files.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folders::PolicyFolders;
use super::proofs::{Search, seek};
use super::render::{PLAIN, RED, counted};
use super::show;
use super::versions::{Versions, load};
use crate::cli::output::{Exit, Output};
use crate::policy::{Bundle, PolicyErrors};
use crate::text::clean;
use crate::workbench::prove::{Claim, Stated, StatedError, VersionName, stated};
use crate::workbench::run::Suites;

/// Whose statements to prove, and how long to try.
#[derive(Debug, Default, clap::Args)]
pub struct ProveOptions {
    /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
    pub files: Vec<PathBuf>,
    /// Bounds of the search for proofs.
    #[command(flatten)]
    pub search: Search,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

pub(super) fn run(base: &Path, options: &ProveOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load(base, output)? else { return Ok(Exit::Usage) };
    let suites = options.folders.tests(base, &options.files, output)?;
    let Some(statements) = statements(&suites, output) else { return Ok(Exit::Usage) };
    anyhow::ensure!(!statements.is_empty(), "there is nothing to prove: no test file has `prove`");
    let versions = Versions::of(base, &options.folders, output)?;
    match claims(&versions, &bundle, &statements, output) {
        Some(claims) => seek(&bundle, &claims, &suites, &options.search, output),
        None => Ok(Exit::Usage),
    }
}

/// The statements of the test files; `None` when one of them cannot be read, which has been reported.
pub(super) fn statements(suites: &Suites, output: &Output) -> Option<Vec<Stated>> {
    match stated(suites) {
        Ok(statements) => Some(statements),
        Err(broken) => {
            for (file, problem) in &broken {
                output.say(format_args!(
                    "{}:{}: {}",
                    clean(file),
                    problem.line,
                    clean(&problem.error.to_string())
                ));
            }
            output.say(format_args!(
                "{RED}nothing was proved{PLAIN}: {} broken",
                counted(broken.len(), "file")
            ));
            None
        }
    }
}

/// Every statement as a claim; `None` when one is not valid; all such have been reported.
pub(super) fn claims(
    others: &Versions,
    bundle: &Bundle,
    statements: &[Stated],
    output: &Output,
) -> Option<Vec<Claim>> {
    let mut versions: BTreeMap<VersionName, Arc<Bundle>> = BTreeMap::new();
    let mut other = |name: &VersionName| -> Result<Arc<Bundle>, String> {
        if let Some(known) = versions.get(name) {
            return Ok(Arc::clone(known));
        }
        let loaded = version(others, name, output).map_err(|error| format!("{error:#}"))?;
        versions.insert(name.clone(), Arc::clone(&loaded));
        Ok(loaded)
    };
    let mut claims = Vec::new();
    let mut broken = 0;
    for statement in statements {
        match statement.claim(bundle, &mut other) {
            Ok(claim) => claims.push(claim),
            Err(error) => {
                report_error(statement, &error, output);
                broken += 1;
            }
        }
    }
    if broken > 0 {
        output.say(format_args!("{RED}nothing was proved{PLAIN}: {} broken", counted(broken, "statement")));
    }
    (broken == 0).then_some(claims)
}

fn report_error(statement: &Stated, error: &StatedError, output: &Output) {
    if let Some(errors) = error.source().and_then(|source| source.downcast_ref::<PolicyErrors>()) {
        show(errors.problems(), output);
    }
    output.say(format_args!("{}: {}", clean(&statement.place()), clean(&error.to_string())));
    if let StatedError::Statement(inner) = error
        && let Some(help) = inner.help()
    {
        output.say(format_args!("help: {}", clean(&help)));
    }
}

fn version(others: &Versions, name: &VersionName, output: &Output) -> anyhow::Result<Arc<Bundle>> {
    let (sources, named) = match name {
        VersionName::Reference(reference) => (others.commit(reference)?, reference),
        VersionName::Folder(folder) => (others.folder(folder)?, folder),
    };
    let loaded = load(sources, named, output);
    loaded.map(Arc::new).ok_or_else(|| anyhow::anyhow!("`{named}` is refused"))
}
