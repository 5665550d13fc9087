//! `caxton policy promote`: a candidate that was watched becomes a version, with what it would have changed in view.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value as Json;

use super::checks::{PublishChecks, check};
use super::folders::PolicyFolders;
use super::publish::put;
use super::render::{PLAIN, RED, YELLOW, counted};
use super::store::{InstalledStore, PublicationOptions, report_error};
use super::versions::Versions;
use crate::audit::record_reader::{ChainCheck, RecordReader};
use crate::cli::output::{Exit, Output, table};
use crate::policy::version::Kind;
use crate::text::clean;

/// What to promote.
#[derive(Debug, Default, clap::Args)]
pub struct PromoteOptions {
    /// The folder that `security.authorization.candidate_dir` names.
    #[arg(long, value_name = "DIR")]
    pub candidate: String,
    /// The decision log of the gateway that watched it [default: the configuration's, else `.caxton/audit.log`]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Promote although so many decisions, at most, would have come out otherwise.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub accept_flips: u64,
    /// Who, why, with which key.
    #[command(flatten)]
    pub deed: PublicationOptions,
    /// What it has to pass.
    #[command(flatten)]
    pub demands: PublishChecks,
    /// Where it is published.
    #[command(flatten)]
    pub store: InstalledStore,
}

/// The shadow decisions of a candidate in the log.
#[derive(Debug, Default, Serialize)]
struct ShadowReport {
    version: String,
    /// Decisions since it was first loaded.
    decisions: u64,
    /// Those that would have come out otherwise.
    flips: u64,
    kinds: Vec<FlipCount>,
}

/// Flips of one kind.
#[derive(Debug, Serialize)]
struct FlipCount {
    action: String,
    from: String,
    to: String,
    count: u64,
    /// A decision of this kind, for `caxton policy test --from-log`.
    last: String,
}

pub(super) fn run(base: &Path, options: &PromoteOptions, output: &Output) -> anyhow::Result<Exit> {
    let folders = PolicyFolders::default();
    let sources = Versions::of(base, &folders, output)?.folder(&options.candidate)?;
    let version = sources.version();
    let log = options.store.log(base, options.log.as_deref(), output)?;
    let Some(watched) = watched(&log, version.as_str())? else {
        output.say(format_args!(
            "{RED}refused{PLAIN}: `{}` has no shadow decisions of version {}",
            log.display(),
            version.short()
        ));
        output.say("help: name the folder in `security.authorization.candidate_dir`, reload, and let the gateway evaluate it for a while; publish without that with `caxton policy publish`");
        return Ok(Exit::Found);
    };
    output.say(text(&watched));
    if watched.flips > options.accept_flips {
        output.say(format_args!(
            "{YELLOW}not promoted{PLAIN}: pass `--accept-flips {}` if each of them is intended",
            watched.flips
        ));
        return Ok(Exit::Found);
    }
    if let Err(error) = options.deed.key() {
        report_error(&error, output);
        return Ok(Exit::Usage);
    }
    let checks = match check(base, sources.clone(), &folders, &options.demands, output)? {
        Ok((_, checks)) => checks,
        Err(exit) => return Ok(exit),
    };
    let what = (Kind::Promote, options.deed.expires());
    put(&options.store.open(base, output)?, &sources, what, checks, &options.deed, output)
}

/// What the log says; `None` when the candidate was never loaded.
fn watched(log: &Path, version: &str) -> anyhow::Result<Option<ShadowReport>> {
    let mut records = RecordReader::open(log, ChainCheck::Verify)?;
    let mut found: Option<ShadowReport> = None;
    let mut kinds: BTreeMap<(String, String, String), (u64, String)> = BTreeMap::new();
    while let Some(line) = records.next_record()? {
        let Ok(record) = crate::json::parse(line.text) else { continue };
        let text = |name: &str| record.get(name).and_then(Json::as_str).unwrap_or_default();
        if text("event") == "candidate_loaded" && text("detail") == version {
            found.get_or_insert_with(|| ShadowReport {
                version: version.to_owned(),
                ..ShadowReport::default()
            });
        }
        let Some(watched) = &mut found else { continue };
        if text("action").is_empty() {
            continue;
        }
        watched.decisions += 1;
        let items = record.get("items").and_then(Json::as_array);
        for one in std::iter::once(&record).chain(items.into_iter().flatten()) {
            let of = |value: Option<&Json>| value.and_then(Json::as_str).unwrap_or_default().to_owned();
            let Some(shadow) = one.get("shadow").filter(|shadow| of(shadow.get("policy_version")) == version)
            else {
                continue;
            };
            let action = one.get("action").or(record.get("action"));
            let kind = (of(action), of(one.get("outcome")), of(shadow.get("outcome")));
            let counted = kinds.entry(kind).or_default();
            counted.0 += 1;
            counted.1 = text("decision_id").to_owned();
            watched.flips += 1;
        }
    }
    let kind = |((action, from, to), (count, last))| FlipCount { action, from, to, count, last };
    Ok(found.map(|watched| ShadowReport { kinds: kinds.into_iter().map(kind).collect(), ..watched }))
}

fn text(watched: &ShadowReport) -> String {
    let flips = usize::try_from(watched.flips).unwrap_or(usize::MAX);
    let asked = usize::try_from(watched.decisions).unwrap_or(usize::MAX);
    let digits = watched.version.get(..12).unwrap_or(&watched.version);
    let line = format!("version {digits} watched {}: {}", counted(asked, "decision"), counted(flips, "flip"));
    if watched.kinds.is_empty() {
        return line;
    }
    let mut rows = table(["action", "decided", "would be", "count", "for example"]);
    for kind in &watched.kinds {
        rows.add_row([
            clean(&kind.action),
            clean(&kind.from),
            clean(&kind.to),
            kind.count.to_string(),
            clean(&kind.last),
        ]);
    }
    format!("{rows}\n{line}")
}
