//! Changes when the lock or the published versions cannot be asked: nothing changes.

use super::*;
use crate::changes::ChangeLock;
use crate::changes::loader::SourceError;
use crate::clock::ManualClock;
use crate::policy::version::contract::UnreachableVersions;
use crate::shared_state::faulty::Unreachable;
use crate::telemetry::Metrics;

fn loader(source: PolicySource) -> PolicyLoader {
    PolicyLoader { source, fragments: Arc::new(Vec::new), candidate_dir: None }
}

fn files() -> PolicySource {
    PolicySource::Files { policy_dir: None, schema_dir: None, extend_shipped: false, roles_file: None }
}

fn published() -> PolicySource {
    PolicySource::Store { store: Arc::new(UnreachableVersions), trusted_keys: None }
}

/// A gateway that has begun with the shipped set, with this lock and this source from then on.
fn reloader(data_dir: &Path, lock: Arc<dyn EmergencyLock>, source: PolicySource) -> Arc<Reloader> {
    let settings = ReloadSettings::in_directory(data_dir);
    let free = ChangeLock::in_directory(data_dir);
    let started = load_startup(&loader(files()), &free, &settings, Default::default(), 0).unwrap();
    let (live, state) = started.split();
    let metrics = Arc::new(Metrics::new());
    let policy = Arc::new(LivePolicy::new(live, Default::default(), Arc::clone(&metrics)));
    let audit = crate::audit::Settings { path: data_dir.join("audit.log"), ..Default::default() };
    let (journal, _) = Journal::open(audit, metrics).unwrap();
    let clock = Arc::new(ManualClock::at_millis(0));
    Arc::new(Reloader::new(policy, (loader(source), lock), settings, state, journal, clock).unwrap())
}

#[tokio::test]
async fn a_lock_that_cannot_be_asked_counts_as_engaged() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ReloadSettings::in_directory(directory.path());
    let started = load_startup(&loader(files()), &Unreachable, &settings, Default::default(), 0);
    assert!(matches!(started, Err(StartupError::Lock(_))));
    let reloader = reloader(directory.path(), Arc::new(Unreachable), files());
    let before = reloader.policy.live();
    assert!(matches!(reloader.reload(Cause::Signal).await, Err(ReloadError::Locked(_))));
    assert!(Arc::ptr_eq(&before, &reloader.policy.live()));
}

#[tokio::test]
async fn versions_that_cannot_be_asked_leave_the_live_set_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ReloadSettings::in_directory(directory.path());
    let free = Arc::new(ChangeLock::in_directory(directory.path()));
    let started = load_startup(&loader(published()), &*free, &settings, Default::default(), 0);
    let unavailable =
        |error: &SourceError| matches!(error, SourceError::Version(VersionError::Unavailable(_)));
    assert!(matches!(started, Err(StartupError::Source(error)) if unavailable(&error)));
    let reloader = reloader(directory.path(), free, published());
    let before = reloader.policy.live();
    assert!(reloader.reload(Cause::Signal).await.is_err());
    assert!(Arc::ptr_eq(&before, &reloader.policy.live()));
}
