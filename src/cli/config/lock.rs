//! `caxton config lock` and `unlock`: an emergency stop for changes, and the way out of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use crate::changes::{ChangeLock, ChangeState, EmergencyLock as _, EngagedLock, PolicyLoader, PolicySource};
use crate::cli::installation::ConfigFile;
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock, rfc3339};
use crate::model::PolicyVersion;
use crate::policy::{Bundle, Sources};
use crate::server::Settings;
use crate::workbench::run::{Settings as TestSettings, Suites, examine};

/// The fewest digits by which another version is accepted.
const FEWEST_DIGITS: usize = 12;

/// How to lock.
#[derive(Debug, clap::Args)]
pub struct Lock {
    /// Required confirmation: nothing changes until `unlock`.
    #[arg(long, required = true)]
    emergency: bool,
    /// Reason; reported with each refused change.
    #[arg(long, value_name = "TEXT", default_value = "emergency")]
    reason: String,
    #[command(flatten)]
    config: ConfigFile,
}

/// How to unlock.
#[derive(Debug, clap::Args)]
pub struct Unlock {
    /// Required confirmation: all checks and tests run first.
    #[arg(long, required = true)]
    enhanced_validation: bool,
    /// Test files or folders of them [default: `policy-tests`, for the built-in policies the built-in tests]
    #[arg(long = "tests", value_name = "FILE")]
    tests: Vec<PathBuf>,
    /// Take over this version although another one was locked: at least the first twelve digits of what is there now.
    #[arg(long, value_name = "DIGITS")]
    accept_version: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// The state of the lock after the command.
#[derive(Serialize)]
struct LockState {
    locked: bool,
    version: PolicyVersion,
    reason: Option<String>,
}

fn settings(file: &ConfigFile, output: &Output) -> anyhow::Result<Result<Settings, Exit>> {
    Ok(file.offline(output)?.map(|loaded| loaded.settings))
}

/// The set that a gateway would read now, as far as it lies in files.
fn there(settings: &Settings) -> anyhow::Result<Sources> {
    let loader =
        PolicyLoader { source: settings.policy_source(), fragments: Arc::new(Vec::new), candidate_dir: None };
    Ok(loader.current_sources(SystemClock.now_millis())?)
}

pub(super) fn lock(options: &Lock, output: &Output) -> anyhow::Result<Exit> {
    let settings = match settings(&options.config, output)? {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let data_dir = &settings.reload.data_dir;
    let lock = ChangeLock::in_directory(data_dir);
    if let Some(engaged) = lock.engaged()? {
        output.say(format_args!("locked already since {}: {}", rfc3339(engaged.time_millis), engaged.reason));
        return Ok(Exit::Found);
    }
    // What the gateway decides by; what lies in the files may be newer, and refused.
    let state = ChangeState::read(data_dir)?;
    let version = match state.stored.or(state.version) {
        Some(version) => version,
        None => there(&settings)?.version(),
    };
    std::fs::create_dir_all(data_dir).with_context(|| format!("making `{}`", data_dir.display()))?;
    let author =
        std::env::var_os("USER").map_or_else(|| "unknown".into(), |name| name.to_string_lossy().into_owned());
    let engaged = EngagedLock {
        reason: options.reason.clone(),
        author,
        time_millis: SystemClock.now_millis(),
        version,
    };
    lock.engage(&engaged)?;
    let state = LockState { locked: true, version: engaged.version, reason: Some(engaged.reason) };
    output.data(&state, |state| {
        format!("locked: policies {} decide until `caxton config unlock`", state.version.short())
    })?;
    Ok(Exit::Fine)
}

pub(super) fn unlock(options: &Unlock, output: &Output) -> anyhow::Result<Exit> {
    let settings = match settings(&options.config, output)? {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let lock = ChangeLock::in_directory(&settings.reload.data_dir);
    let Some(engaged) = lock.engaged()? else {
        output.say("nothing is locked");
        return Ok(Exit::Found);
    };
    let sources = match there(&settings) {
        Ok(sources) => sources,
        Err(error) => return refused(output, &format!("{error:#}")),
    };
    let found = sources.version();
    let accepted =
        |digits: &String| digits.len() >= FEWEST_DIGITS && found.as_str().starts_with(digits.as_str());
    if found != engaged.version && !options.accept_version.as_ref().is_some_and(accepted) {
        output.say(format_args!(
            "help: put the locked version back, or look at what changed and say `--accept-version {}`",
            found.short()
        ));
        let found = found.short();
        let locked = engaged.version.short();
        return refused(output, &format!("the policies there are {found}, and {locked} was locked"));
    }
    let bundle = match Bundle::load_with(sources, settings.policy) {
        Ok(bundle) => bundle,
        Err(errors) => return refused(output, &errors.to_string()),
    };
    let suites = suites(options, &settings)?;
    let summary = examine(&bundle, &suites, &TestSettings::default()).0.summary();
    if summary.failed + summary.broken > 0 || summary.rows == 0 {
        let why =
            format!("{} tests passed, {} failed, {} broken", summary.passed, summary.failed, summary.broken);
        return refused(output, &why);
    }
    lock.release()?;
    let state = LockState { locked: false, version: found, reason: None };
    output.data(&state, |state| {
        format!("unlocked: policies {} are valid and pass {} tests", state.version.short(), summary.passed)
    })?;
    Ok(Exit::Fine)
}

fn refused(output: &Output, why: &str) -> anyhow::Result<Exit> {
    output.say(format_args!("still locked: {why}"));
    Ok(Exit::Found)
}

fn suites(options: &Unlock, settings: &Settings) -> anyhow::Result<Suites> {
    let shipped = matches!(settings.policy_source(), PolicySource::Files { policy_dir: None, .. });
    let default = Path::new("policy-tests");
    Ok(match options.tests.as_slice() {
        [] if shipped => Suites::shipped(),
        [] if default.is_dir() => Suites::from_dir(default)?,
        [] => anyhow::bail!("there is no folder `policy-tests` here: name the tests with `--tests`"),
        files => Suites::from_files(files)?,
    })
}
