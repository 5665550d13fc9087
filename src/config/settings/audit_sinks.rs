//! `security.audit.sinks`, `mask` and what belongs to them: where the decision log is sent.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{
    Choice, DurationRange, FilePath, FreeText, HttpsUrl, Integer, NamedValues, ParsedWord, SecretText, Size,
};
use crate::secret::{Address, Secret};
use crate::shared_state::FollowerName;
use crate::siem::Settings;
use crate::siem::format::{OcsfVersion, RecordFormat};
use crate::siem::mask::{MaskAction, MaskPointer, MaskRule};
use crate::siem::settings::{
    BackOff, BatchLimits, ElasticLogin, ElasticSettings, FileSinkSettings, HostPort, OtlpSettings,
    ReceiverSettings, SENTINEL_CALL_BYTES, SentinelSettings, SinkSecret, SinkSettings, SplunkHecSettings,
    StartAt, SyslogSettings, SyslogTransport, TlsFiles, WebhookBody, WebhookSettings,
};

/// `type` of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SinkKind {
    File,
    Syslog,
    Webhook,
    SplunkHec,
    Elastic,
    Otlp,
    Sentinel,
}

const KINDS: &[(&str, SinkKind)] = &[
    ("file", SinkKind::File),
    ("syslog", SinkKind::Syslog),
    ("webhook", SinkKind::Webhook),
    ("splunk_hec", SinkKind::SplunkHec),
    ("elastic", SinkKind::Elastic),
    ("otlp", SinkKind::Otlp),
    ("sentinel", SinkKind::Sentinel),
];

/// Keys that only some kinds have, with those kinds.
const OWN_KEYS: &[(&str, &[SinkKind])] = {
    use SinkKind::{Elastic, File, Otlp, Sentinel, SplunkHec, Syslog, Webhook};
    &[
        ("path", &[File]),
        ("address", &[Syslog]),
        ("transport", &[Syslog]),
        ("facility", &[Syslog]),
        ("max_datagram", &[Syslog]),
        ("url", &[Webhook, SplunkHec, Elastic, Otlp, Sentinel]),
        ("secret", &[Webhook, SplunkHec, Elastic, Sentinel]),
        ("secret_file", &[Webhook, SplunkHec, Elastic, Sentinel]),
        ("user", &[Elastic]),
        ("headers", &[Webhook, Otlp]),
        ("body", &[Webhook]),
        ("index", &[SplunkHec, Elastic]),
        ("source_type", &[SplunkHec]),
        ("rule_id", &[Sentinel]),
        ("stream", &[Sentinel]),
        ("token_url", &[Sentinel]),
        ("client_id", &[Sentinel]),
        ("scope", &[Sentinel]),
        ("ca_file", &[Syslog, Webhook, SplunkHec, Elastic, Otlp, Sentinel]),
        ("client_cert", &[Syslog, Webhook, SplunkHec, Elastic, Otlp, Sentinel]),
        ("client_key", &[Syslog, Webhook, SplunkHec, Elastic, Otlp, Sentinel]),
    ]
};

const FORMATS: &[(&str, RecordFormat)] = &[
    ("caxton", RecordFormat::Caxton),
    ("ocsf", RecordFormat::Ocsf),
    ("cef", RecordFormat::Cef),
    ("leef", RecordFormat::Leef),
    ("ecs", RecordFormat::Ecs),
    ("asim", RecordFormat::Asim),
];

impl SinkKind {
    fn word(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map(|(word, _)| *word).unwrap_or_default()
    }

    fn usual_format(self) -> RecordFormat {
        match self {
            Self::Elastic => RecordFormat::Ecs,
            Self::Sentinel => RecordFormat::Asim,
            Self::File | Self::Syslog | Self::Webhook | Self::SplunkHec | Self::Otlp => RecordFormat::Caxton,
        }
    }

    /// A format that the receiver could not read.
    fn refuses(self, format: RecordFormat) -> Option<&'static str> {
        match self {
            Self::Elastic if !format.is_json() => {
                Some("Elasticsearch takes JSON: write `ecs`, `ocsf` or `caxton`")
            }
            Self::Sentinel if format != RecordFormat::Asim => {
                Some("the columns of the table are those of `asim`")
            }
            _ => None,
        }
    }

    /// The longest batch.
    fn most_bytes(self) -> u64 {
        match self {
            Self::Sentinel => SENTINEL_CALL_BYTES as u64 * 9 / 10,
            _ => 16 << 20,
        }
    }
}

pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path, log: &Path) -> Settings {
    let usual = Settings::in_directory(data_dir);
    let instance = r.optional(
        "security.audit.instance",
        FreeText(255),
        "The name of this gateway in records that are sent. Without the key, the host name.",
    );
    let ocsf_version = r.value(
        "security.audit.ocsf_version",
        Choice(&[("1.9", OcsfVersion::V1_9), ("1.8", OcsfVersion::V1_8)]),
        usual.ocsf_version,
        "The version of OCSF in which `format: ocsf` is written.",
    );
    let mask = mask(r);
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::from([log.to_owned()]);
    let sinks = r.records(
        "security.audit.sinks",
        "Receivers of the decision log. Each has a cursor of its own and gets every record at least once, in order.",
        |r, _| {
            let sink = sink(r)?;
            if sink.name.as_str() == "file" {
                let message = "is the name of the decision log itself in the metrics";
                r.report(ConfigProblem::error(ProblemCode::Contradiction, message).with_help("choose another name"), "name");
                return None;
            }
            if !names.insert(sink.name.clone()) {
                let problem = ConfigProblem::error(ProblemCode::Contradiction, "is the name of another sink");
                r.report(problem.with_help("choose another name: it is that of the sink's cursor"), "name");
                return None;
            }
            if let ReceiverSettings::File(file) = &sink.receiver
                && !files.insert(file.path.clone())
            {
                let message = "is the decision log, or the file of another sink";
                r.report(ConfigProblem::error(ProblemCode::Contradiction, message).with_help("choose another file"), "path");
                return None;
            }
            Some(sink)
        },
    );
    Settings { sinks, mask, ocsf_version, instance: instance.map(Arc::from), ..usual }
}

fn mask(r: &mut Reader<'_>) -> Vec<MaskRule> {
    r.records("security.audit.mask", "What is taken out of records before they are sent. The decision log keeps it.", |r, _| {
        let pointer = r.required(
            "pointer",
            ParsedWord::<MaskPointer>::new("a JSON Pointer"),
            "Which field, such as `/source/ip`; `*` stands for each element of a list, as in `/items/*/resource`.",
        );
        let action = r.required(
            "action",
            Choice(&[("drop", MaskAction::Drop), ("hash", MaskAction::Hash)]),
            "`drop` takes it out. `hash` puts an HMAC-SHA-256 with the key of this installation (`audit-mask.key` in the data directory) in its place, so that equal values can still be counted.",
        );
        Some(MaskRule { pointer: pointer?, action: action? })
    })
}

fn sink(r: &mut Reader<'_>) -> Option<SinkSettings> {
    let name = r.required(
        "name",
        ParsedWord::<FollowerName>::new("a sink name"),
        "Its name: that of its cursor, its dead letters and its metrics.",
    );
    let kind = r.required("type", Choice(KINDS), "The kind of receiver.");
    let format = r.optional(
        "format",
        Choice(FORMATS),
        "The format of a record. Without the key: `ecs` for `elastic`, `asim` for `sentinel`, else `caxton`, the record as it stands in the log.",
    );
    let from = r.value(
        "from",
        Choice(&[("beginning", StartAt::Beginning), ("now", StartAt::Now)]),
        StartAt::default(),
        "Where a new sink begins: with the first record that the log has, or with what is recorded from its first start on.",
    );
    let batch_records = r.value(
        "batch_records",
        Integer::new(1..=10_000, "records"),
        500,
        "The most records that are sent at once.",
    );
    let batch_bytes = r.value(
        "batch_bytes",
        Size(16 << 10..=16 << 20),
        SENTINEL_CALL_BYTES * 9 / 10,
        "The most bytes of records that are sent at once; for `sentinel` at most 900,000. A longer record goes alone.",
    );
    let linger = r.value(
        "batch_wait",
        DurationRange::millis(0, 60_000),
        Duration::from_millis(200),
        "How long a batch that is not full waits for more records.",
    );
    let timeout =
        r.value("timeout", DurationRange::seconds(1, 300), Duration::from_secs(10), "Time for one batch.");
    let longest = r.value(
        "retry_max",
        DurationRange::seconds(1, 3_600),
        BackOff::default().longest,
        "The longest wait after failures; the first is half a second, and each doubles it.",
    );
    let receiver = receiver(r, kind);
    let kind = kind?;
    let format = format.unwrap_or_else(|| kind.usual_format());
    if let Some(help) = kind.refuses(format) {
        let message = format!("`{format}` is not a format for `type: {}`", kind.word());
        r.report(ConfigProblem::error(ProblemCode::Contradiction, message).with_help(help), "format");
        return None;
    }
    if batch_bytes as u64 > kind.most_bytes() {
        let message = format!("is more than the receiver takes at once ({} bytes)", kind.most_bytes());
        r.report(
            ConfigProblem::error(ProblemCode::OutOfRange, message).with_help("write a smaller size"),
            "batch_bytes",
        );
        return None;
    }
    let receiver = receiver?;
    if let ReceiverSettings::Webhook(webhook) = &receiver
        && webhook.body == WebhookBody::Array
        && !format.is_json()
    {
        let message = format!("`array` is JSON, and `{format}` is not");
        r.report(
            ConfigProblem::error(ProblemCode::Contradiction, message).with_help("write `body: ndjson`"),
            "body",
        );
        return None;
    }
    Some(SinkSettings {
        from,
        batch: BatchLimits { records: batch_records, bytes: batch_bytes },
        linger,
        timeout,
        back_off: BackOff { longest, ..BackOff::default() },
        ..SinkSettings::new(name?, receiver, format)
    })
}

/// What some kinds have, read for all of them.
struct Given {
    path: Option<std::path::PathBuf>,
    address: Option<HostPort>,
    transport: SyslogTransport,
    facility: Option<u8>,
    max_datagram: usize,
    url: Option<Address>,
    secret: Option<SinkSecret>,
    user: Option<String>,
    headers: Vec<(String, Secret<String>)>,
    body: WebhookBody,
    index: Option<String>,
    source_type: String,
    rule_id: Option<String>,
    stream: Option<String>,
    token_url: Option<Address>,
    client_id: Option<String>,
    scope: String,
    tls: TlsFiles,
}

/// A part of the path of an address.
#[derive(Debug)]
struct PathPart(String);

impl std::str::FromStr for PathPart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        match first && text.len() <= 255 && text.chars().all(legal) {
            true => Ok(Self(text.to_owned())),
            false => Err("write letters, digits, `-`, `_` and `.`, a letter or digit first"),
        }
    }
}

impl std::fmt::Display for PathPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn given(r: &mut Reader<'_>) -> Given {
    let part = || ParsedWord::<PathPart>::new("a name");
    let path = r.optional(
        "path",
        FilePath { must_exist: false },
        "For `file`: where records are appended, one a line.",
    );
    let address = r.optional(
        "address",
        ParsedWord::<HostPort>::new("a host with a port"),
        "For `syslog`: `HOST:PORT`.",
    );
    let transport = r.value(
        "transport",
        Choice(&[
            ("tls", SyslogTransport::Tls),
            ("tcp", SyslogTransport::Tcp),
            ("udp", SyslogTransport::Udp),
        ]),
        SyslogTransport::Tls,
        "For `syslog`: messages of RFC 5424, over TLS or TCP with octet counting, or one a datagram.",
    );
    let facility = r.optional(
        "facility",
        Integer::new(0..=23, "facility"),
        "For `syslog`: the facility. Without the key, 10 (`authpriv`) for authentications and 13 (log audit) for the rest.",
    );
    let max_datagram = r.value(
        "max_datagram",
        Integer::new(480..=65_507, "bytes"),
        8_192,
        "For `syslog` over UDP: the longest message; a longer one goes to the dead letters.",
    );
    let url = r.optional(
        "url",
        HttpsUrl { may_weaken: false },
        "Where records are posted: of a webhook and of `otlp` the whole address (`https://collector:4318/v1/logs`), of `splunk_hec` the collector, of `elastic` the cluster, of `sentinel` the data collection endpoint.",
    );
    let secret_text = r.optional(
        "secret",
        SecretText,
        "For `webhook` the key of the signature (16 bytes or more), for `splunk_hec` the token, for `elastic` the API key or the password of `user`, for `sentinel` the secret of the application.",
    );
    let secret_file = r.optional(
        "secret_file",
        FilePath { must_exist: true },
        "File with that secret on one line, read at the start.",
    );
    if r.is_given("secret") && r.is_given("secret_file") {
        let problem = ConfigProblem::error(ProblemCode::Contradiction, "cannot be given beside `secret`");
        r.report(problem.with_help("keep one of the two"), "secret_file");
    }
    let user = r.optional("user", FreeText(256), "For `elastic`: the user, when `secret` is a password.");
    let headers = r.value(
        "headers",
        NamedValues::of_words(SecretText),
        Vec::new(),
        "For `webhook` and `otlp`: further header fields.",
    );
    let body = r.value(
        "body",
        Choice(&[("ndjson", WebhookBody::Ndjson), ("array", WebhookBody::Array)]),
        WebhookBody::Ndjson,
        "For `webhook`: one record a line, or a JSON array.",
    );
    let index = r.optional(
        "index",
        part(),
        "For `elastic` the data stream or index; for `splunk_hec` the index, when it is not the token's.",
    );
    let source_type = r.value(
        "source_type",
        FreeText(128),
        "caxton:decision".to_owned(),
        "For `splunk_hec`: the source type.",
    );
    let rule_id = r.optional(
        "rule_id",
        part(),
        "For `sentinel`: the immutable id of the data collection rule, `dcr-…`.",
    );
    let stream = r.optional(
        "stream",
        part(),
        "For `sentinel`: the stream of the rule, such as `Custom-CaxtonAgentEvent`.",
    );
    let token_url = r.optional(
        "token_url",
        HttpsUrl { may_weaken: false },
        "For `sentinel`: `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.",
    );
    let client_id = r.optional("client_id", FreeText(256), "For `sentinel`: the id of the application.");
    let scope = r.value(
        "scope",
        FreeText(512),
        "https://monitor.azure.com/.default".to_owned(),
        "For `sentinel`: what the token is for.",
    );
    let exists = || FilePath { must_exist: true };
    let ca_file = r.optional(
        "ca_file",
        exists(),
        "Authorities that the receiver's certificate may be issued by, in PEM, in place of those of the system. Needed for `syslog` over TLS.",
    );
    let client_cert =
        r.optional("client_cert", exists(), "The sink's own certificate with its chain, in PEM.");
    let client_key = r.optional("client_key", exists(), "The key of that certificate, in PEM.");
    Given {
        path,
        address,
        transport,
        facility,
        max_datagram,
        url,
        secret: secret_text.map(SinkSecret::Given).or(secret_file.map(SinkSecret::File)),
        user,
        headers,
        body,
        index: index.map(|index| index.0),
        source_type,
        rule_id: rule_id.map(|part| part.0),
        stream: stream.map(|part| part.0),
        token_url,
        client_id,
        scope,
        tls: TlsFiles { ca_file, client_cert, client_key },
    }
}

/// The receiver of a sink of this kind. Every key that is missing, or has no meaning for it, is reported.
fn receiver(r: &mut Reader<'_>, kind: Option<SinkKind>) -> Option<ReceiverSettings> {
    let given = given(r);
    let kind = kind?;
    for (key, kinds) in OWN_KEYS {
        if r.is_given(key) && !kinds.contains(&kind) {
            let message = format!("has no meaning with `type: {}`", kind.word());
            r.report(
                ConfigProblem::error(ProblemCode::Contradiction, message).with_help("remove the key"),
                key,
            );
        }
    }
    for (key, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if r.is_given(key) && !r.is_given(other) {
            r.report_missing(other, key);
        }
    }
    let needed: &[&str] = match kind {
        SinkKind::File => &["path"],
        SinkKind::Syslog if given.transport == SyslogTransport::Tls => &["address", "ca_file"],
        SinkKind::Syslog => &["address"],
        SinkKind::Webhook | SinkKind::SplunkHec => &["url", "secret"],
        SinkKind::Elastic => &["url", "secret", "index"],
        SinkKind::Otlp => &["url"],
        SinkKind::Sentinel => &["url", "secret", "rule_id", "stream", "token_url", "client_id"],
    };
    for key in needed {
        let has = r.is_given(key) || *key == "secret" && r.is_given("secret_file");
        if !has {
            let message = format!("must be given with `type: {}`", kind.word());
            let problem = ConfigProblem::error(ProblemCode::Missing, message);
            let help = if *key == "secret" { "write the key, or `secret_file`" } else { "write the key" };
            r.report(problem.with_help(help), key);
        }
    }
    match kind {
        SinkKind::File => Some(ReceiverSettings::File(FileSinkSettings { path: given.path? })),
        SinkKind::Syslog => syslog(r, given),
        SinkKind::Webhook => Some(ReceiverSettings::Webhook(WebhookSettings {
            url: given.url?,
            secret: given.secret?,
            body: given.body,
            headers: given.headers,
            tls: given.tls,
        })),
        SinkKind::SplunkHec => Some(ReceiverSettings::SplunkHec(SplunkHecSettings {
            url: given.url?,
            token: given.secret?,
            index: given.index,
            source_type: given.source_type,
            tls: given.tls,
        })),
        SinkKind::Elastic => {
            let secret = given.secret?;
            let login = match given.user {
                Some(user) => ElasticLogin::Password { user, password: secret },
                None => ElasticLogin::ApiKey(secret),
            };
            Some(ReceiverSettings::Elastic(ElasticSettings {
                url: given.url?,
                index: given.index?,
                login,
                tls: given.tls,
            }))
        }
        SinkKind::Otlp => Some(ReceiverSettings::Otlp(OtlpSettings {
            url: given.url?,
            headers: given.headers,
            tls: given.tls,
        })),
        SinkKind::Sentinel => Some(ReceiverSettings::Sentinel(SentinelSettings {
            url: given.url?,
            rule_id: given.rule_id?,
            stream: given.stream?,
            token_url: given.token_url?,
            client_id: given.client_id?,
            client_secret: given.secret?,
            scope: given.scope,
            tls: given.tls,
        })),
    }
}

fn syslog(r: &mut Reader<'_>, given: Given) -> Option<ReceiverSettings> {
    let (address, transport) = (given.address?, given.transport);
    if transport != SyslogTransport::Tls && !address.is_loopback() && !r.weakened {
        let message = "records would cross the network in the clear";
        let help = "write `transport: tls`; for a trusted network, set `security.allow_weakened: true`";
        r.report(ConfigProblem::error(ProblemCode::Weakens, message).with_help(help), "transport");
        return None;
    }
    if transport != SyslogTransport::Tls {
        for key in ["ca_file", "client_cert", "client_key"] {
            if r.is_given(key) {
                let problem = ConfigProblem::error(
                    ProblemCode::Contradiction,
                    "has no meaning without `transport: tls`",
                );
                r.report(problem.with_help("remove one of them"), key);
            }
        }
    }
    Some(ReceiverSettings::Syslog(SyslogSettings {
        address,
        transport,
        facility: given.facility,
        max_datagram: given.max_datagram,
        tls: given.tls,
    }))
}
