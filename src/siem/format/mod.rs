//! Records of the decision log in the formats that receivers read. Pure: from the JSON of a record, as it stands in the log,
//! to text.
//!
//! What is promised of each format: one record is one text without a line break, and no control, bidirectional or other
//! hidden character stands in it as itself, whatever callers wrote into their names. In JSON formats such a character is
//! written as `\uXXXX`; in CEF and LEEF, which have no escape for it, as the visible text `\u{202e}`.

mod asim;
mod cef;
mod ecs;
mod leef;
pub(in crate::siem) mod logged;
mod ocsf;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use crate::audit::escape_json;
use logged::LoggedFields;

/// A format of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFormat {
    /// The record as it stands in the log.
    Caxton,
    /// Open Cybersecurity Schema Framework, <https://schema.ocsf.io>.
    Ocsf,
    /// ArcSight Common Event Format, revision 25 (`CEF:0`).
    Cef,
    /// IBM QRadar Log Event Extended Format 2.0.
    Leef,
    /// Elastic Common Schema 9.
    Ecs,
    /// Microsoft Sentinel, Advanced Security Information Model: columns of an *Agent Event*.
    Asim,
}

/// A word that is no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no format has this name: write `caxton`, `ocsf`, `cef`, `leef`, `ecs` or `asim`")]
pub struct UnknownFormat;

impl RecordFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Caxton, Self::Ocsf, Self::Cef, Self::Leef, Self::Ecs, Self::Asim];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caxton => "caxton",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Leef => "leef",
            Self::Ecs => "ecs",
            Self::Asim => "asim",
        }
    }

    /// Whether a record in this format is one JSON object.
    pub fn is_json(self) -> bool {
        !matches!(self, Self::Cef | Self::Leef)
    }
}

impl FromStr for RecordFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == word).ok_or(UnknownFormat)
    }
}

impl fmt::Display for RecordFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of OCSF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OcsfVersion {
    /// 1.8.0: without AI agents, delegation and the attestation of records, which then stand in `unmapped`.
    V1_8,
    /// 1.9.0.
    #[default]
    V1_9,
}

impl OcsfVersion {
    /// `metadata.version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_8 => "1.8.0",
            Self::V1_9 => "1.9.0",
        }
    }
}

/// What the formats say of the gateway itself.
#[derive(Debug, Clone)]
pub struct RenderSettings {
    /// The version of OCSF.
    pub ocsf_version: OcsfVersion,
    /// The name of this gateway: the host name, unless the operator has chosen another.
    pub instance: Arc<str>,
    /// The version of the product.
    pub product_version: &'static str,
}

impl RenderSettings {
    /// The current versions, under this name.
    pub fn new(instance: impl Into<Arc<str>>) -> Self {
        Self {
            ocsf_version: OcsfVersion::default(),
            instance: instance.into(),
            product_version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The record before the one that is rendered, as OCSF refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PreviousEvent {
    seq: u64,
    uid: String,
    type_uid: u32,
}

/// Writes records in one format. It remembers the last one: in OCSF 1.9 a record names the event before it.
#[derive(Debug)]
pub struct Renderer {
    format: RecordFormat,
    settings: RenderSettings,
    previous: Option<PreviousEvent>,
}

impl Renderer {
    /// A writer of this format.
    pub fn new(format: RecordFormat, settings: RenderSettings) -> Self {
        Self { format, settings, previous: None }
    }

    /// Remembers the record that comes before the next one, without writing it.
    pub fn follows(&mut self, record: &Value) {
        let fields = LoggedFields::new(record);
        let type_uid = ocsf::type_uid(fields, self.settings.ocsf_version);
        self.previous = Some(PreviousEvent { seq: fields.seq(), uid: fields.uid(), type_uid });
    }

    /// The record in this format, on one line. `line` is the record as it stands in the log, where it may leave as it is: then
    /// the format `caxton` keeps every byte of it, so that the receiver can check the chain.
    pub fn render(&mut self, record: &Value, line: Option<&str>) -> String {
        let fields = LoggedFields::new(record);
        let text = match self.format {
            RecordFormat::Caxton => line.map_or_else(|| json_line(record), str::to_owned),
            RecordFormat::Ocsf => {
                let previous = self.previous.take_if(|previous| previous.seq + 1 == fields.seq());
                json_line(&ocsf::event(fields, &self.settings, previous.as_ref()))
            }
            RecordFormat::Cef => cef::line(fields, &self.settings),
            RecordFormat::Leef => leef::line(fields, &self.settings),
            RecordFormat::Ecs => json_line(&ecs::document(fields, &self.settings)),
            RecordFormat::Asim => json_line(&asim::row(fields, &self.settings)),
        };
        if self.format == RecordFormat::Ocsf {
            self.follows(record);
        }
        text
    }
}

/// JSON on one line, with hidden characters escaped.
pub(in crate::siem) fn json_line(value: &Value) -> String {
    let json = value.to_string();
    let mut line = String::with_capacity(json.len() + 16);
    escape_json(&json, &mut line);
    line
}

/// A JSON object of what is there: pairs without a value are left out.
fn object<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let present = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect())
}

/// A text as a JSON value, where there is one.
fn text(text: Option<&str>) -> Option<Value> {
    text.map(Value::from)
}
