//! `caxton agents hot-reload-security-status`: how changes of policies and agents are controlled.

use std::path::PathBuf;

use serde::Serialize;

use super::super::output::{Exit, Output, table};
use crate::agents::AgentProblem;
use crate::changes::{ChangeLock, ChangeState, EmergencyLock as _, PolicySource};
use crate::clock::{Clock as _, SystemClock, rfc3339};
use crate::policy::version::{Rules, Seen, TrustedKeys, VersionError, VersionSource};
use crate::server::Settings;

/// The controls of changes.
#[derive(Debug, Serialize)]
struct ChangeControls {
    /// `files` or `published`.
    source: &'static str,
    watched: bool,
    validation_timeout_ms: u64,
    signatures_required: bool,
    trusted_keys: Vec<SignerKey>,
    locked: Option<String>,
    live_version: Option<String>,
    newest_accepted: Option<u64>,
    newest_published: Option<u64>,
    last_refusal: Option<String>,
    agents: Option<AgentControls>,
    problems: Vec<String>,
    notes: Vec<String>,
}

/// The files of agents.
#[derive(Debug, Serialize)]
struct AgentControls {
    directory: PathBuf,
    /// Files that are agents.
    valid: usize,
    /// The most agents that there may be.
    most: usize,
    refused: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SignerKey {
    key_id: String,
    not_after: Option<String>,
    over: bool,
}

/// Shows the controls of changes.
pub(super) fn run(settings: &Settings, output: &Output) -> anyhow::Result<Exit> {
    let mut status = status(settings, SystemClock.now_millis())?;
    status.agents = agents(settings)?;
    for refused in status.agents.iter().flat_map(|agents| &agents.refused) {
        status.problems.push(format!("an agent file is refused: {refused}"));
    }
    output.data(&status, text)?;
    Ok(if status.problems.is_empty() { Exit::Fine } else { Exit::Found })
}

/// The agents as the gateway would read them now.
fn agents(settings: &Settings) -> anyhow::Result<Option<AgentControls>> {
    let Some(directory) = &settings.agents.directory else { return Ok(None) };
    let (register, known) = super::register(settings)?;
    let loaded = register.load(&known);
    let lines = |problems: &[AgentProblem]| problems.iter().map(ToString::to_string).collect();
    Ok(Some(AgentControls {
        directory: directory.clone(),
        valid: loaded.agents,
        most: settings.agents.max_agents,
        refused: lines(&loaded.problems),
        warnings: lines(&loaded.warnings),
    }))
}

fn status(settings: &Settings, now: i64) -> anyhow::Result<ChangeControls> {
    let state = ChangeState::read(&settings.reload.data_dir)?;
    let locked = ChangeLock::in_directory(&settings.reload.data_dir).engaged()?;
    let source = settings.policy_source();
    let mut status = ChangeControls {
        source: if matches!(source, PolicySource::Files { .. }) { "files" } else { "published" },
        watched: settings.follow.watch || matches!(source, PolicySource::Store { .. }),
        validation_timeout_ms: u64::try_from(settings.reload.timeout.as_millis()).unwrap_or(u64::MAX),
        signatures_required: false,
        trusted_keys: Vec::new(),
        locked: locked.map(|engaged| engaged.reason),
        live_version: state.version.as_ref().map(|version| version.as_str().to_owned()),
        newest_accepted: state.seen.as_ref().map(|seen| seen.sequence),
        newest_published: None,
        last_refusal: state.refused.as_ref().map(|one| {
            format!(
                "{} ({}): {}",
                rfc3339(one.time_millis),
                one.cause,
                one.why.lines().next().unwrap_or_default()
            )
        }),
        agents: None,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    match source {
        PolicySource::Files { .. } => {
            status.notes.push(
                "files carry no signature: every user who can write them can change decisions".to_owned(),
            );
        }
        PolicySource::Store { store, trusted_keys } => {
            published(&mut status, &*store, trusted_keys.as_deref(), state.seen, now);
        }
    }
    if let Some(reason) = &status.locked {
        status.notes.push(format!("changes are locked: {reason}"));
    }
    if status.last_refusal.is_some() {
        status.problems.push("the last change was refused; the previous set stays in force".to_owned());
    }
    Ok(status)
}

fn published(
    status: &mut ChangeControls,
    store: &dyn VersionSource,
    trusted: Option<&std::path::Path>,
    seen: Option<Seen>,
    now: i64,
) {
    let keys = match trusted.map(TrustedKeys::read) {
        Some(Ok(keys)) => Some(keys),
        Some(Err(error)) => {
            status.problems.push(format!("no key is trusted: {error}"));
            Some(TrustedKeys::default())
        }
        None => {
            status.notes.push(
                "no signature is required: every user who can write the version store can change decisions"
                    .to_owned(),
            );
            None
        }
    };
    status.signatures_required = keys.is_some();
    for key in keys.iter().flat_map(|keys| &keys.keys) {
        let over = key.is_over(now);
        if over {
            status.notes.push(format!("the key `{}` has run out", key.key_id));
        }
        status.trusted_keys.push(SignerKey {
            key_id: key.key_id.clone(),
            not_after: key.not_after.clone(),
            over,
        });
    }
    let rules = Rules { trusted: keys, seen, expired_too: false };
    let judged = store.newest().and_then(|newest| {
        status.newest_published = Some(newest.manifest.sequence);
        store.sources(&newest.manifest)?;
        rules.accept(&newest, now).map(|_| newest.manifest)
    });
    match judged {
        Ok(manifest)
            if status.live_version.as_deref().is_some_and(|live| live != manifest.version.as_str()) =>
        {
            status.notes.push(format!("@{} is the newest version and is not in force", manifest.sequence));
        }
        Ok(_) => {}
        Err(error) => status.problems.push(refused(&error)),
    }
}

fn refused(error: &VersionError) -> String {
    format!("the newest publication may not decide: {error}")
}

fn agents_text(agents: &AgentControls) -> String {
    let AgentControls { directory, valid, most, refused, warnings } = agents;
    let (refused, warnings) = (refused.len(), warnings.len());
    format!(
        "{valid} of at most {most} in {}, {refused} files refused, {warnings} warnings",
        directory.display()
    )
}

fn text(status: &ChangeControls) -> String {
    let mut rows = table(["what", "is"]);
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let none = || "none".to_owned();
    let keys: Vec<String> = status
        .trusted_keys
        .iter()
        .map(|key| format!("{} until {}", key.key_id, key.not_after.as_deref().unwrap_or("taken out")))
        .collect();
    let number = |number: Option<u64>| number.map_or_else(none, |number| format!("@{number}"));
    for (what, is) in [
        ("policies come from", status.source.to_owned()),
        ("changes are noticed at once", word(status.watched)),
        ("longest check", format!("{} ms", status.validation_timeout_ms)),
        ("signatures required", word(status.signatures_required)),
        ("trusted keys", if keys.is_empty() { none() } else { keys.join(", ") }),
        ("locked", status.locked.clone().unwrap_or_else(|| word(false))),
        ("live version", status.live_version.clone().unwrap_or_else(none)),
        ("newest accepted", number(status.newest_accepted)),
        ("newest published", number(status.newest_published)),
        ("last refusal", status.last_refusal.clone().unwrap_or_else(none)),
        ("agents", status.agents.as_ref().map_or_else(none, agents_text)),
    ] {
        rows.add_row([what.to_owned(), is]);
    }
    let mut text = rows.to_string();
    for note in &status.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    for problem in &status.problems {
        text.push_str(&format!("\nproblem: {problem}"));
    }
    text
}
