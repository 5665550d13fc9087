//! `caxton start`: runs the gateway until it is told to stop.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::{Exit, Output};
use super::prepare;
use crate::config::Environment;
use crate::server::{Gateway, ReloadOutcome, Settings};

/// Options of `caxton start`.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration file; without one, embedded defaults: loopback only, data under `./.caxton`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the gateway: SIGHUP reloads, SIGTERM and Ctrl-C drain.
pub fn run(options: &Options, environment: &Environment, output: &Output) -> anyhow::Result<Exit> {
    let loaded = match prepare::load(options.config.as_deref(), environment, output)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    prepare::start_log(&loaded);
    let settings = Settings::from(loaded.settings);
    prepare::first_key(&settings, output)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate())?;
        let mut reload = signal(SignalKind::hangup())?;
        let gateway = match Gateway::start(settings).await {
            Ok(gateway) => gateway,
            Err(error) => {
                output.say(prepare::describe(&error));
                return Ok(Exit::Usage);
            }
        };
        output.say(format_args!(
            "caxton {} on http://{}, probes and metrics on http://{}, policies {}",
            env!("CARGO_PKG_VERSION"),
            gateway.address(),
            gateway.operations(),
            gateway.policy_version().short(),
        ));
        loop {
            tokio::select! {
                _ = stop.recv() => break,
                _ = tokio::signal::ctrl_c() => break,
                _ = reload.recv() => match gateway.reload().await {
                    ReloadOutcome::Applied { to, .. } => output.say(format_args!("reloaded: policies {}", to.short())),
                    ReloadOutcome::Refused(report) => output.say(format_args!("reload refused, the old policies stay:\n{report}")),
                },
            }
        }
        output.say("draining");
        gateway.drain().await;
        Ok(Exit::Fine)
    })
}
