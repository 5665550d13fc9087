//! Sees that files of policies have changed, by looking at them again and again.
//!
//! The kernel's notices are about the directory that a path led to when it was asked for them. After a link was set to
//! another directory, or another directory was put in the old one's place, they go on about the old one, and nothing says
//! so. Each look here follows the paths anew, and a look that is not possible is an error that operators see.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::follow::FollowSettings;
use crate::api::Api;
use crate::blocking;
use crate::changes::{Cause, Reloader};
use crate::policy::Limits;

/// What a look shows: another one when a file came, went, or was written.
type Glance = Vec<u8>;

/// Looks in a row that must fail before that is told: between two renames there may be nothing for a moment.
const PATIENCE: u32 = 4;

/// Reads the policies again when their files have changed, until the gateway stops.
pub(super) async fn files(
    reloader: &Arc<Reloader>,
    api: &Arc<Api>,
    paths: Vec<PathBuf>,
    settings: &FollowSettings,
) {
    let paths: Arc<[PathBuf]> = paths.into();
    let (mut before, mut failed) = (None, 0_u32);
    let mut ticks = tokio::time::interval(settings.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look_at(&paths).await {
            Ok(now) => {
                if failed >= PATIENCE {
                    tracing::info!("policy files can be watched again");
                }
                failed = 0;
                api.watching(true);
                // The first look takes over what changed while the gateway came up.
                if before.as_ref() != Some(&now) {
                    before = settled(&paths, now, settings.quiet).await;
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

/// Waits until two looks, `quiet` apart, show the same: a file that is being written, or the second of two files that is
/// not there yet, must not decide. What cannot be looked at is for the reload to refuse.
async fn settled(paths: &Arc<[PathBuf]>, mut seen: Glance, quiet: Duration) -> Option<Glance> {
    loop {
        tokio::time::sleep(quiet).await;
        let now = look_at(paths).await.ok()?;
        if now == seen {
            return Some(now);
        }
        seen = now;
    }
}

async fn look_at(paths: &Arc<[PathBuf]>) -> io::Result<Glance> {
    let paths = Arc::clone(paths);
    blocking::try_run(move || look(&paths, &Limits::default())).await
}

/// Looks at files and directories, links followed, hidden names left out.
fn look(paths: &[PathBuf], limits: &Limits) -> io::Result<Glance> {
    let mut digest = Context::new(&SHA256);
    let mut left = limits.files;
    for path in paths {
        let mut pending = vec![(path.clone(), 0_usize)];
        while let Some((path, depth)) = pending.pop() {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            let found = std::fs::metadata(&path).map_err(named)?;
            note(&mut digest, &path, &found);
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

fn note(digest: &mut Context, path: &Path, found: &Metadata) {
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
        let mut before = look(&watched, &Limits::default()).unwrap();
        assert_eq!(before, look(&watched, &Limits::default()).unwrap());
        let mut changes = |what: &str, change: &dyn Fn()| {
            change();
            let now = look(&watched, &Limits::default()).unwrap();
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
        let error = look(&watched, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("live"), "{error}");
    }
}
