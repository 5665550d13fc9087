//! `caxton demo`: a throw-away gateway and a dozen real calls over the wire, each with the decision and the policy
//! that made it. Succeeds only if every call was decided as expected.

mod show;
mod stage;
mod steps;

use clap::Args;
use serde::Serialize;

use super::output::{Exit, Format, Output};
use crate::audit::verify::{VerifyReport, verify};
use crate::blocking;

/// Options of `caxton demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Keep the gateway running and print how to connect to it.
    #[arg(long)]
    serve: bool,
}

/// One call and how it was decided.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) who: &'static str,
    pub(super) did: &'static str,
    pub(super) what: String,
    pub(super) decision: String,
    pub(super) policy: String,
    pub(super) micros: u64,
    pub(super) answer: String,
    pub(super) as_expected: bool,
}

#[derive(Serialize)]
struct Report {
    calls: Vec<Outcome>,
    log: String,
    verified: VerifyReport,
    as_expected: bool,
}

/// Runs the demo.
pub fn run(options: &DemoOptions, output: &Output) -> anyhow::Result<Exit> {
    let runtime = super::prepare::runtime()?;
    runtime.block_on(demo(options, output))
}

async fn demo(options: &DemoOptions, output: &Output) -> anyhow::Result<Exit> {
    let stage = stage::DemoGateway::set_up().await?;
    output.say(format_args!(
        "gateway on http://{} (data in {})",
        stage.address(),
        stage.directory().display()
    ));
    let calls = steps::play(&stage).await?;
    let log = stage.log();
    let verified = {
        let log = log.clone();
        blocking::run(move || verify(&log)).await??
    };
    let as_expected = calls.iter().all(|call| call.as_expected);
    let report = Report { calls, log: log.display().to_string(), verified, as_expected };
    output.data(&report, |report| show::table(&report.calls, &report.log, &report.verified))?;
    if !as_expected {
        output.say("some calls were not decided as the demo expects: see the lines marked `!`");
    }
    if options.serve {
        if output.format() == Format::Table {
            output.line(&show::how_to_talk(&stage))?;
        }
        output.say("serving until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    stage.close().await;
    Ok(if as_expected { Exit::Fine } else { Exit::Found })
}
