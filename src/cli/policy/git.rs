//! Policies as a git commit has them. Only the commands that read objects are used: they run no hook and no filter of
//! the repository.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::policy::{Sources, is_links_file};

/// Reads `policies/` and `schemas/` below `base` at a commit.
pub(super) fn sources(
    base: &Path,
    reference: &str,
    policies: &str,
    schemas: &str,
) -> anyhow::Result<Sources> {
    let named = format!("{reference}^{{commit}}");
    let commit = git(base, &["rev-parse", "--verify", "--quiet", "--end-of-options", &named])
        .with_context(|| format!("`{reference}` is neither a folder nor a commit of this repository"))?;
    let commit = commit.trim();
    let listed = git(base, &["ls-tree", "-r", "-z", "--name-only", commit, "--", policies, schemas])?;
    let mut sources = Sources::new();
    let mut found = 0;
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let hidden = path.split('/').any(|part| part.starts_with('.'));
        let below = |folder: &str| path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        let text = || git(base, &["cat-file", "blob", &format!("{commit}:./{path}")]);
        if hidden {
            continue;
        }
        if let Some(name) = below(policies).filter(|name| name.ends_with(".cedar")) {
            sources = sources.with_policy(name, &text()?);
            found += 1;
        } else if let Some(name) = below(policies).filter(|name| is_links_file(name)) {
            sources = sources.with_links_file(name, &text()?);
        } else if let Some(name) = below(schemas).filter(|name| is_schema(name)) {
            sources = sources.with_schema(name, &text()?);
        }
    }
    anyhow::ensure!(found > 0, "`{reference}` has no `*.cedar` file in `{policies}`");
    Ok(sources)
}

fn is_schema(name: &str) -> bool {
    name.ends_with(".cedarschema") || name.ends_with(".cedarschema.json")
}

fn git(base: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let folder = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let output =
        Command::new("git").arg("-C").arg(folder).args(arguments).output().context("running `git`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it said nothing");
        anyhow::bail!("`git {}` failed: {said}", arguments.first().copied().unwrap_or_default());
    }
    String::from_utf8(output.stdout).context("a file in the repository is not UTF-8 text")
}
