//! `caxton start`: runs the gateway until the signal to stop.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::installation::ConfigFile;
use super::output::{Exit, Output};
use super::prepare::{self, Prepared};
use super::reload_settings::RunningSettings;
use crate::authn::AuthnError;
use crate::config::Environment;
use crate::secrets::VaultProvider;
use crate::server::{Gateway, ReloadOutcome, StartError, TlsReload};
use crate::telemetry::LogFormat;
use crate::text::clean;

/// Options of `caxton start`.
#[derive(Debug, Args)]
pub struct StartOptions {
    #[command(flatten)]
    config: ConfigFile,
    /// How the lines on stderr are written: `auto` is text on a terminal and JSON elsewhere.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// Runs the gateway: SIGHUP reloads, SIGTERM and Ctrl-C drain.
pub fn run(options: &StartOptions, environment: &Environment, output: &Output) -> anyhow::Result<Exit> {
    let output = &prepare::start_log(options.log_format, output);
    match serve(options, environment, output) {
        // Otherwise it would be told as text by who called.
        Err(error) if output.logs() => {
            output.error(format_args!("{error:#}"));
            Ok(Exit::Usage)
        }
        ended => ended,
    }
}

/// How long the end of the process waits for threads that still work.
const LAST_THREADS: Duration = Duration::from_secs(5);

fn serve(options: &StartOptions, environment: &Environment, output: &Output) -> anyhow::Result<Exit> {
    let Prepared { loaded, vault } = match prepare::load(options.config.named(), environment, output)? {
        Ok(prepared) => prepared,
        Err(exit) => return Ok(exit),
    };
    prepare::set_log_level(&loaded);
    prepare::raise_open_files();
    prepare::warn(&loaded, output);
    let mut running =
        RunningSettings::new(options.config.named().map(Path::to_owned), environment, &loaded.values);
    let mut settings = loaded.settings;
    settings.sandbox.compile_worker = Some(super::compile_worker());
    let keys = settings.authn.api_keys.clone();
    let tokens = settings.authn.jwt.is_some();
    let runtime = prepare::runtime()?;
    let ended = runtime.block_on(async {
        // Listened to from here on: a signal that comes while something else is being done is not lost.
        let mut stop = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut reload = signal(SignalKind::hangup())?;
        let gateway = match Gateway::start(settings).await {
            Ok(gateway) => gateway,
            Err(error) => {
                refuse(&error, output);
                give_back(vault).await;
                return Ok(Exit::Usage);
            }
        };
        // Only now: a key of a start that failed would never be shown again.
        if !tokens && let Err(error) = tokio::task::block_in_place(|| prepare::first_key(&keys, output)) {
            gateway.drain().await;
            give_back(vault).await;
            return Err(error);
        }
        output.say(format_args!(
            "caxton {} on {}://{}, probes and metrics on http://{}, policies {}",
            env!("CARGO_PKG_VERSION"),
            gateway.scheme(),
            gateway.address(),
            gateway.operations(),
            gateway.policy_version().short(),
        ));
        let ended = CancellationToken::new();
        let kept = vault.map(|vault| tokio::spawn(vault.keep(ended.clone())));
        loop {
            tokio::select! {
                _ = stop.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => {
                    running.reload(&gateway, output).await;
                    reload_all(&gateway, output).await;
                }
            }
        }
        output.say("draining");
        gateway.drain().await;
        ended.cancel();
        if let Some(kept) = kept {
            let _ = kept.await;
        }
        Ok(Exit::Fine)
    });
    // A thread that hangs, on a disk that does not answer, does not keep the process.
    runtime.shutdown_timeout(LAST_THREADS);
    ended
}

/// Changes that a reload tells of.
const CHANGES: usize = 20;

/// Reads policies, agents and certificates again, and says what came of it.
async fn reload_all(gateway: &Gateway, output: &Output) {
    match gateway.reload().await {
        ReloadOutcome::Applied { to, changes, .. } => {
            output.say(format_args!("reloaded: policies {}", to.short()));
            for change in changes.iter().take(CHANGES) {
                output.say(format_args!("  {}", clean(change)));
            }
            match changes.len().saturating_sub(CHANGES) {
                _ if changes.is_empty() => output.say("  nothing changed"),
                0 => {}
                more => output.say(format_args!("  and {more} more")),
            }
        }
        ReloadOutcome::Refused(report) => {
            output.error(format_args!("reload refused, the old policies stay:\n{report}"));
        }
    }
    match gateway.reload_tls().await {
        TlsReload::NotInUse => {}
        TlsReload::Applied(summary) => output.say(format_args!("reloaded: {summary}")),
        TlsReload::Refused(report) => {
            output.error(format_args!("reload refused, the old certificate stays:\n{report}"));
        }
    }
}

/// A login at the Vault that no gateway keeps alive is ended.
async fn give_back(vault: Option<VaultProvider>) {
    if let Some(vault) = vault {
        vault.end().await;
    }
}

/// Says why the gateway did not start, of the policies every mistake, and what can be done.
fn refuse(error: &StartError, output: &Output) {
    match error {
        StartError::Policies(errors) => {
            output.error(error);
            for problem in errors.problems().iter().filter(|problem| problem.fatal) {
                output.say(format_args!("  {problem}"));
            }
        }
        _ => output.error(prepare::describe(error)),
    }
    if let Some(help) = help(error) {
        output.say(format_args!("help: {help}"));
    }
}

/// What the operator can do about it.
fn help(error: &StartError) -> Option<Cow<'static, str>> {
    match error {
        StartError::Audit(error) => error.help().map(Cow::from),
        StartError::Tls(error) => Some(error.help()),
        StartError::Authn(AuthnError::ClientTrust(error)) => Some(error.help().into()),
        StartError::Policies(_) => {
            Some("`caxton policy validate` shows the lines and what to write instead".into())
        }
        StartError::Bind { .. } => Some(
            "stop what listens there, or give `server.port` and `server.metrics_port` other values".into(),
        ),
        _ => None,
    }
}
