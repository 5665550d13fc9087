//! What an operator can choose about the sinks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use super::batch::BatchLimits;
pub use super::delivery::BackOff;
use super::format::{OcsfVersion, RecordFormat};
use super::mask::MaskRule;
pub use super::sink::elastic::{ElasticLogin, ElasticSettings};
pub use super::sink::file::FileSinkSettings;
pub use super::sink::http::{SinkSecret, TlsFiles};
pub use super::sink::otlp::OtlpSettings;
pub use super::sink::sentinel::{SENTINEL_CALL_BYTES, SentinelSettings};
pub use super::sink::splunk_hec::SplunkHecSettings;
pub use super::sink::syslog::{HostPort, HostPortError, SyslogSettings, SyslogTransport};
pub use super::sink::webhook::{WebhookBody, WebhookSettings};
use crate::regular;
use crate::shared_state::FollowerName;

/// All sinks, and what they share.
pub struct Settings {
    /// The sinks.
    pub sinks: Vec<SinkSettings>,
    /// What is kept from all receivers.
    pub mask: Vec<MaskRule>,
    /// The key of hashed values; made where there is none.
    pub mask_key_file: PathBuf,
    /// The version of OCSF.
    pub ocsf_version: OcsfVersion,
    /// The name of this gateway in what is sent; `None` for the host name.
    pub instance: Option<Arc<str>>,
}

impl Settings {
    /// No sinks, with files in this directory.
    pub fn in_directory(data_dir: &std::path::Path) -> Self {
        Self {
            sinks: Vec::new(),
            mask: Vec::new(),
            mask_key_file: data_dir.join("audit-mask.key"),
            ocsf_version: OcsfVersion::default(),
            instance: None,
        }
    }
}

/// Where a sink without a cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With the first record that the log has.
    #[default]
    Beginning,
    /// With what is recorded from now on.
    Now,
}

/// One sink.
pub struct SinkSettings {
    /// Its name, which is that of its cursor, its dead letters and its metrics.
    pub name: FollowerName,
    /// Where records go.
    pub receiver: ReceiverSettings,
    /// In which format.
    pub format: RecordFormat,
    /// Where it begins.
    pub from: StartAt,
    /// The most that is sent at once.
    pub batch: BatchLimits,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// Time for one batch.
    pub timeout: Duration,
    /// How long it waits after a failure.
    pub back_off: BackOff,
}

impl SinkSettings {
    /// A sink with the usual bounds.
    pub fn new(name: FollowerName, receiver: ReceiverSettings, format: RecordFormat) -> Self {
        Self {
            name,
            receiver,
            format,
            from: StartAt::default(),
            batch: BatchLimits { records: 500, bytes: 1 << 20 },
            linger: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            back_off: BackOff::default(),
        }
    }
}

/// The kinds of receivers.
pub enum ReceiverSettings {
    /// A file.
    File(FileSinkSettings),
    /// Syslog.
    Syslog(SyslogSettings),
    /// A webhook.
    Webhook(WebhookSettings),
    /// Splunk.
    SplunkHec(SplunkHecSettings),
    /// Elasticsearch.
    Elastic(ElasticSettings),
    /// An OpenTelemetry collector.
    Otlp(OtlpSettings),
    /// Microsoft Sentinel.
    Sentinel(SentinelSettings),
}

/// The name of this host; `caxton` where the system does not tell it. Reads a file.
pub(super) fn host_name() -> Arc<str> {
    let found = regular::read(std::path::Path::new("/proc/sys/kernel/hostname"), 256);
    let name = found.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let name = name.map(|name| name.trim().chars().filter(char::is_ascii_graphic).collect::<String>());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "caxton".to_owned()).into()
}
