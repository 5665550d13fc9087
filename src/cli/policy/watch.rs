//! `caxton policy test --watch`: runs the tests again when a file changes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::{Event, EventKind, RecursiveMode, Watcher as _};

use super::folders::{POLICIES, PolicyFolders, SCHEMAS, chosen};
use super::render::{DIM, PLAIN};
use crate::cli::output::{Exit, Output};

/// An editor writes a file in several steps; this long nothing must happen before the tests run.
const QUIET: Duration = Duration::from_millis(120);
/// The longest that changes are gathered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `once`, and again whenever policies, schemas or tests change. Ends only with the process.
pub(super) fn watch(
    base: &Path,
    files: &[PathBuf],
    folders: &PolicyFolders,
    output: &Output,
    mut once: impl FnMut() -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let (sender, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| matters(&event)) {
            // The receiver is gone when the process ends.
            let _ = sender.send(());
        }
    })?;
    let tests = folders.test_folder(base);
    let mut folders: Vec<PathBuf> = match folders.settings(output)? {
        Some(settings) => {
            let config = folders.config.as_deref().map(folder_of);
            let read = [settings.policy_dir, settings.schema_dir, settings.agents.directory, config];
            read.into_iter().flatten().collect()
        }
        None => [
            chosen(base, folders.policies.as_ref(), POLICIES),
            chosen(base, folders.schemas.as_ref(), SCHEMAS),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    match files {
        [] => folders.extend(tests),
        files => folders.extend(files.iter().map(|file| folder_of(file))),
    }
    folders.sort();
    folders.dedup();
    anyhow::ensure!(
        !folders.is_empty(),
        "there is nothing to watch here: no `policies`, `schemas` or `policy-tests`"
    );
    for folder in &folders {
        let failed = || format!("watching `{}`", folder.display());
        watcher.watch(folder, RecursiveMode::Recursive).with_context(failed)?;
    }
    loop {
        // What is wrong with a file that is being written is said; the next change may put it right.
        if let Err(error) = once() {
            output.say(format_args!("error: {error:#}"));
        }
        output.say(format_args!("{DIM}waiting for changes; Ctrl-C ends{PLAIN}"));
        if !changed(&changes) {
            return Ok(Exit::Fine);
        }
    }
}

/// A file is watched through its folder, because editors put a new file in its place.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        _ if file.is_dir() => file.to_owned(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Waits for a change and for the quiet after it; `false` when there can be no more.
fn changed(changes: &Receiver<()>) -> bool {
    if changes.recv().is_err() {
        return false;
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && changes.recv_timeout(QUIET).is_ok() {}
    true
}

fn matters(event: &Event) -> bool {
    let written = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_));
    let ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let endings = [".cedar", ".cedarschema", ".cedarschema.json", ".yaml", ".json"];
        !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending))
    };
    written && event.paths.iter().any(ours)
}
