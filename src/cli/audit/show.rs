//! `caxton audit show`: one decision as a person reads it, within 80 columns.

use clap::Args;
use serde_json::Value as Json;

use super::plain_json;
use super::rows::short_name;
use crate::audit::query::{Filter, LogSearch, search};
use crate::audit::visible;
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Format, Output};

/// Records of one request that are shown.
const MOST: usize = 100;
/// Columns of a terminal that everybody has, and of the names of what is shown.
const COLUMNS: usize = 80;
const NAMES: usize = 12;

/// Which record.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// A `decision_id`, `request_id` or `call_id`, or the number of a record
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    log: LogFile,
}

pub(super) fn run(asked: &ShowOptions, output: &Output) -> anyhow::Result<Exit> {
    let log = asked.log.path(output)?;
    let filter = Filter { id: Some(asked.id.clone()), limit: Some(MOST), ..Filter::all() };
    let found = search(&log, &LogSearch::newest(&filter))?;
    let records: Vec<Json> = found.records.into_iter().rev().map(|record| record.json).collect();
    if records.is_empty() {
        output.error(format_args!("no record has `{}` as its decision, request, call or number", asked.id));
        return Ok(Exit::Found);
    }
    match (output.format(), records.as_slice()) {
        (Format::Table, records) => {
            let shown: Vec<String> = records.iter().map(shown).collect();
            output.line(&shown.join("\n\n"))?;
        }
        (_, [record]) => output.line(&plain_json(&serde_json::to_string_pretty(record)?))?,
        (_, records) => output.line(&plain_json(&serde_json::to_string_pretty(records)?))?,
    }
    if found.next.is_some() {
        output.say(format_args!("more records have this id: the newest {MOST} are shown"));
    }
    Ok(Exit::Fine)
}

/// A record as lines of a name and a text.
struct Sheet<'r> {
    record: &'r Json,
    lines: Vec<String>,
}

pub(super) fn shown(record: &Json) -> String {
    let mut sheet = Sheet { record, lines: Vec::new() };
    sheet.head();
    sheet.who();
    sheet.what();
    sheet.why();
    sheet.circumstances();
    sheet.place_in_the_chain();
    sheet.lines.join("\n")
}

impl Sheet<'_> {
    fn text(&self, pointer: &str) -> Option<String> {
        match self.record.pointer(pointer)? {
            Json::String(text) => Some(visible(text).into_owned()),
            Json::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Json> {
        self.record.get(name).and_then(Json::as_array).into_iter().flatten()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).filter_map(Json::as_str).map(|text| visible(text).into_owned()).collect()
    }

    /// A name and its text, which goes on below itself.
    fn add(&mut self, name: &str, text: &str) {
        let room = COLUMNS - NAMES - 2;
        for (number, line) in wrapped(text, room).into_iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            self.lines.push(format!("  {name:<NAMES$}{line}"));
        }
    }

    fn add_some(&mut self, name: &str, text: Option<String>) {
        if let Some(text) = text {
            self.add(name, &text);
        }
    }

    fn head(&mut self) {
        let outcome = self.text("/outcome").unwrap_or_else(|| "no outcome".to_owned());
        let seq = self.text("/seq").unwrap_or_default();
        self.lines.push(format!("Record {seq}: {}", outcome.replace('_', " ")));
        let time =
            self.text("/time").map(|time| format!("{} UTC", time.replace('T', " ").trim_end_matches('Z')));
        self.add_some("when", time);
        self.add_some("decision", self.text("/decision_id"));
        let request = self.text("/request_id").map(|request| match self.text("/call_id") {
            Some(call) => format!("{request}, call {call}"),
            None => request,
        });
        self.add_some("request", request);
        self.add_some("trace", self.text("/trace_id"));
    }

    fn who(&mut self) {
        let principal = self.text("/subject/principal").map(|name| short_name(&name));
        let actor = self.text("/actor").map(|name| short_name(&name));
        let who = match (principal, actor) {
            (Some(principal), Some(actor)) => format!("{principal} for {actor}"),
            (Some(principal), None) => principal,
            (None, _) => "nobody who was authenticated".to_owned(),
        };
        self.add("who", &who);
        let proof = self.text("/subject/method").map(|method| match self.text("/subject/credential") {
            Some(credential) => format!("{method}, credential {credential}"),
            None => method,
        });
        self.add_some("proven by", proof);
        let delegation: Vec<String> = self.texts("delegation").iter().map(|name| short_name(name)).collect();
        if !delegation.is_empty() {
            self.add("delegation", &delegation.join(", before that "));
        }
        let agent = self.text("/agent/id").map(|id| {
            let version =
                self.text("/agent/version").map(|version| format!(" {version}")).unwrap_or_default();
            let digest = self.text("/agent/definition_sha256").unwrap_or_default();
            format!("{id}{version}, definition sha256:{digest}")
        });
        self.add_some("agent", agent);
    }

    fn what(&mut self) {
        let kind = self.text("/event_type").unwrap_or_else(|| "event".to_owned());
        let what = self.text("/action").or_else(|| self.text("/event"));
        self.add("what", &what.map_or_else(|| kind.clone(), |what| format!("{what} ({kind})")));
        self.add_some("on", self.text("/resource").map(|name| short_name(&name)));
        self.add_some("times", self.text("/count"));
        self.add_some("route", self.text("/route"));
        self.add_some("arguments", self.text("/args_sha256").map(|digest| format!("sha256:{digest}")));
        let application = self.record.pointer("/context/application").map(plain);
        self.add_some("application", application);
        let items: Vec<&Json> = self.list("items").collect();
        if !items.is_empty() {
            let allowed =
                items.iter().filter(|item| item.get("outcome").and_then(Json::as_str) == Some("allow"));
            let part = self.text("/part").zip(self.text("/parts"));
            let part = part.map(|(part, parts)| format!(", part {part} of {parts}")).unwrap_or_default();
            self.add("list", &format!("{} items, {} allowed{part}", items.len(), allowed.count()));
        }
    }

    fn why(&mut self) {
        let reason = self.text("/reason_code").unwrap_or_default();
        if self.text("/event").as_deref() == Some("application_event") {
            self.add("why", "a program says so: no policy was asked about it");
        } else {
            self.add("why", &format!("{} ({reason})", in_words(&reason)));
        }
        let policies: Vec<String> = self.list("policies").map(policy).collect();
        for (number, policy) in policies.iter().enumerate() {
            self.add(if number == 0 { "policies" } else { "" }, policy);
        }
        let errors: Vec<String> = self.list("errors").map(error).collect();
        errors.iter().for_each(|text| self.add("error", text));
        let shadow = self.text("/shadow/outcome");
        self.add_some("candidate", shadow.map(|outcome| format!("would have decided {outcome}")));
        self.add_some("detail", self.text("/detail"));
        let version = self.text("/policy_version").map(|version| match self.text("/entity_version") {
            Some(entities) => format!("policies {version}, attributes {entities}"),
            None => format!("policies {version}"),
        });
        self.add_some("versions", version);
    }

    fn circumstances(&mut self) {
        let address = self.text("/source/ip").map(|ip| {
            let tls =
                if self.text("/source/tls").as_deref() == Some("true") { "with TLS" } else { "without TLS" };
            let agent = self.text("/source/user_agent").map(|agent| format!(", {agent}")).unwrap_or_default();
            format!("{ip} {tls}{agent}")
        });
        self.add_some("from", address);
        self.add_some("took", self.text("/latency_us").map(|micros| format!("{micros} µs")));
        for (name, field) in [("to be done", "obligations"), ("masked", "masked")] {
            let texts = self.texts(field);
            if !texts.is_empty() {
                self.add(name, &texts.join(", "));
            }
        }
    }

    fn place_in_the_chain(&mut self) {
        self.add_some("hash", self.text("/hash"));
        self.add_some("after", self.text("/prev_hash"));
    }
}

/// What a program said, on one line.
fn plain(said: &Json) -> String {
    visible(&said.to_string()).into_owned()
}

fn policy(policy: &Json) -> String {
    let text = |name: &str| visible(policy.get(name).and_then(Json::as_str).unwrap_or("-")).into_owned();
    match text("mode").as_str() {
        "enforce" | "-" => format!("{} {}", text("effect"), text("id")),
        mode => format!("{} {} ({mode}: it does not decide)", text("effect"), text("id")),
    }
}

fn error(error: &Json) -> String {
    let text = |name: &str| visible(error.get(name).and_then(Json::as_str).unwrap_or("-")).into_owned();
    format!("{}: {}", text("policy"), text("message"))
}

/// A reason code as a sentence.
fn in_words(code: &str) -> &'static str {
    match code {
        "permitted" => "a permit held, and no forbid",
        "forbidden" => "a forbid held",
        "no_permit" => "no permit held",
        "policy_error" => "a policy could not be evaluated",
        "schema_mismatch" => "the request does not fit the schema",
        "bundle_expired" => "the live policies have expired",
        "principal_unknown" => "the principal is not known",
        "tool_unknown" => "the tool is not known",
        "arguments_invalid" => "the arguments are not what the tool takes",
        "task_unknown" => "the task is none of the caller's",
        "receiver_unknown" => "no agent takes the message",
        "receiver_denied" => "no agent that takes the message may be sent it",
        "labels_full" => "the session has as many labels as it can hold",
        "obligation_unsupported" => "what the permit demands cannot be done",
        "rate_limited" => "a rate limit was reached",
        "audit_unavailable" => "the decision could not be recorded",
        "unauthenticated" => "the caller could not be authenticated",
        "peer_unknown" => "the caller is not a known proxy",
        "attributes_unavailable" => "attributes are too old or too many",
        "state_unavailable" => "shared state could not be asked",
        "changes_locked" => "the emergency lock is engaged",
        _ => "a reason that this version does not know",
    }
}

/// The text in lines of at most `room` characters, cut between words where that is possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() {
            if line.chars().count() + 1 + word.chars().count() <= room {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(std::mem::take(&mut line));
        }
        while let Some((cut, _)) = word.char_indices().nth(room) {
            let (begin, rest) = word.split_at(cut);
            lines.push(begin.to_owned());
            word = rest;
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
