//! Detects changes of policy files by checking them at an interval.
//!
//! The kernel's notices are about the directory that a path led to when it was asked for them. After a link was set to
//! another directory, or another directory was put in the old one's place, they go on about the old one without an
//! error. Each check here resolves the paths anew, and a check that fails is an error that operators see.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::FollowSettings;
use crate::api::Api;
use crate::blocking;
use crate::changes::{Cause, Reloader};
use crate::policy::Limits;

/// A digest of the files' metadata: different when a file was added, removed or written.
type FileDigest = Vec<u8>;

/// Failed checks in a row before the failure is reported: between two renames a file may be absent for a moment.
const PATIENCE: u32 = 4;

/// Reads the policies again when their files have changed, until the gateway stops.
pub(super) async fn files(
    reloader: &Arc<Reloader>,
    api: &Arc<Api>,
    paths: Vec<PathBuf>,
    settings: &FollowSettings,
) {
    let paths: Arc<[PathBuf]> = paths.into();
    let mut before = None;
    let mut failed = 0_u32;
    let mut ticks = tokio::time::interval(settings.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match digest_off_thread(&paths).await {
            Ok(now) => {
                if failed >= PATIENCE {
                    tracing::info!("policy files can be watched again");
                }
                failed = 0;
                api.watching(true);
                // The first look takes over what changed while the gateway came up.
                if before.as_ref() != Some(&now) {
                    before = until_quiet(&paths, now, settings.quiet).await;
                    let _ = reloader.reload(Cause::Watch).await;
                }
            }
            Err(error) => {
                failed = failed.saturating_add(1);
                if failed == PATIENCE {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "policy files cannot be watched: their changes are not seen");
                    api.watching(false);
                    // What is there when they come back is read, whether it looks the same or not.
                    before = None;
                }
            }
        }
    }
}

/// Waits until two checks, `quiet` apart, find the same: a file that is being written, or the second of two files that is
/// not there yet, must not decide. Files that cannot be read are refused by the reload.
async fn until_quiet(paths: &Arc<[PathBuf]>, mut seen: FileDigest, quiet: Duration) -> Option<FileDigest> {
    loop {
        tokio::time::sleep(quiet).await;
        let now = digest_off_thread(paths).await.ok()?;
        if now == seen {
            return Some(now);
        }
        seen = now;
    }
}

async fn digest_off_thread(paths: &Arc<[PathBuf]>) -> io::Result<FileDigest> {
    let paths = Arc::clone(paths);
    blocking::try_run(move || digest_files(&paths, &Limits::default())).await
}

/// The digest of files and directories, following links, without hidden names.
fn digest_files(paths: &[PathBuf], limits: &Limits) -> io::Result<FileDigest> {
    let mut digest = Context::new(&SHA256);
    let mut left = limits.files;
    for path in paths {
        let mut pending = vec![(path.clone(), 0_usize)];
        while let Some((path, depth)) = pending.pop() {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            let found = std::fs::metadata(&path).map_err(named)?;
            add_metadata(&mut digest, &path, &found);
            if !found.is_dir() {
                continue;
            }
            left = left.checked_sub(1).ok_or_else(|| io::Error::other("there are too many files"))?;
            // What is nested deeper no reload reads.
            if depth > limits.depth {
                continue;
            }
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(named)? {
                let entry = entry.map_err(named)?;
                if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                    inside.push(entry.path());
                }
                if inside.len() > limits.files {
                    return Err(io::Error::other("there are too many files"));
                }
            }
            inside.sort();
            pending.extend(inside.into_iter().map(|path| (path, depth + 1)));
        }
    }
    Ok(digest.finish().as_ref().to_vec())
}

fn add_metadata(digest: &mut Context, path: &Path, found: &Metadata) {
    let name = path.as_os_str().as_encoded_bytes();
    digest.update(&(name.len() as u64).to_be_bytes());
    digest.update(name);
    // The time of a change of the entry itself cannot be set back.
    let numbers = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    numbers.iter().for_each(|number| digest.update(&number.to_be_bytes()));
    [found.dev(), found.ino(), found.size()].iter().for_each(|number| digest.update(&number.to_be_bytes()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_change_what_a_path_leads_to_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for version in ["one", "two"] {
            std::fs::create_dir_all(path(version).join("sub")).unwrap();
            std::fs::write(path(version).join("sub/a.cedar"), "a").unwrap();
        }
        symlink(path("one"), path("live")).unwrap();
        let watched = [path("live")];
        let mut before = digest_files(&watched, &Limits::default()).unwrap();
        assert_eq!(before, digest_files(&watched, &Limits::default()).unwrap());
        let mut changes = |what: &str, change: &dyn Fn()| {
            change();
            let now = digest_files(&watched, &Limits::default()).unwrap();
            assert_ne!(now, before, "{what}");
            before = now;
        };
        changes("a link is set anew, as git-sync does", &|| {
            symlink(path("two"), path("next")).unwrap();
            std::fs::rename(path("next"), path("live")).unwrap();
        });
        changes("a file is written", &|| std::fs::write(path("two/sub/a.cedar"), "bb").unwrap());
        changes("a file comes", &|| std::fs::write(path("two/b.cedar"), "b").unwrap());
        changes("a directory is put in the place of another", &|| {
            std::fs::rename(path("two"), path("old")).unwrap();
            std::fs::rename(path("one"), path("two")).unwrap();
        });
        std::fs::remove_file(path("live")).unwrap();
        let error = digest_files(&watched, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("live"), "{error}");
    }
}
