//! Records for other programs, one after the other.
//!
//! A format that a SIEM reads (OCSF, CEF, …) is one of the sinks' formats; each writes a record as one line.

use std::io::{self, Write};

use serde_json::Value as Json;

use super::format::{RecordFormat, RenderSettings, Renderer};
use super::settings::host_name;
use crate::audit::query::{FoundRecord, labels, policies};
use crate::audit::visible;
use crate::suggest::nearest;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180, with a head, the fixed columns of [`COLUMNS`], and cells that a spreadsheet does not calculate.
    Csv,
    /// One record a line, in a format of the sinks. `json` is [`RecordFormat::Caxton`]: each line as it stands in the log, so that
    /// its hash can be checked.
    Lines(RecordFormat),
}

/// Not a format.
#[derive(Debug, thiserror::Error)]
#[error("`{word}` is not a format of an export{}, use `json`, `csv`, `ocsf`, `cef`, `leef`, `ecs` or `asim`", .near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
pub struct ExportFormatError {
    word: String,
    near: Option<&'static str>,
}

impl ExportFormat {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::JSON,
        Self::Csv,
        Self::Lines(RecordFormat::Ocsf),
        Self::Lines(RecordFormat::Cef),
        Self::Lines(RecordFormat::Leef),
        Self::Lines(RecordFormat::Ecs),
        Self::Lines(RecordFormat::Asim),
    ];
    /// The lines of the log.
    pub const JSON: Self = Self::Lines(RecordFormat::Caxton);

    /// The word on the command line and in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Lines(RecordFormat::Caxton) => "json",
            Self::Lines(format) => format.as_str(),
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// It is no format.
    pub fn parse(word: &str) -> Result<Self, ExportFormatError> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == word);
        found.ok_or_else(|| ExportFormatError {
            word: word.to_owned(),
            near: nearest(word, Self::ALL.map(Self::as_str)),
        })
    }

    /// The media type of an answer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Lines(format) if format.is_json() => "application/x-ndjson",
            Self::Lines(_) => "text/plain; charset=utf-8",
        }
    }
}

/// Writes records in one format.
#[derive(Debug)]
pub struct ExportWriter {
    format: ExportFormat,
    renderer: Option<Renderer>,
}

impl ExportWriter {
    /// A writer of this format, on a gateway of this host's name.
    pub fn new(format: ExportFormat) -> Self {
        let renderer = match format {
            ExportFormat::Csv => None,
            ExportFormat::Lines(format) => Some(Renderer::new(format, RenderSettings::new(host_name()))),
        };
        Self { format, renderer }
    }

    /// Its format.
    pub fn format(&self) -> ExportFormat {
        self.format
    }

    /// Writes what stands before the first record.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write_head(&self, out: &mut impl Write) -> io::Result<()> {
        match self.renderer {
            Some(_) => Ok(()),
            None => write_row(out, COLUMNS.map(|(name, _)| name.to_owned())),
        }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write_record(&mut self, record: &FoundRecord, out: &mut impl Write) -> io::Result<()> {
        match &mut self.renderer {
            Some(renderer) => {
                out.write_all(renderer.render(&record.json, Some(&record.line)).as_bytes())?;
                out.write_all(b"\n")
            }
            None => write_row(out, COLUMNS.map(|(_, column)| harmless(&column.of(&record.json)))),
        }
    }
}

/// Where a cell comes from.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// A field, by its JSON pointer (RFC 6901).
    Field(&'static str),
    /// The ids of the policies, items of lists included.
    Policies,
    /// The labels among the obligations.
    Labels,
}

/// The columns of a CSV, in order: later versions append columns and change none.
pub const COLUMNS: [(&str, Column); 24] = [
    ("seq", Column::Field("/seq")),
    ("time", Column::Field("/time")),
    ("event_type", Column::Field("/event_type")),
    ("event", Column::Field("/event")),
    ("outcome", Column::Field("/outcome")),
    ("reason_code", Column::Field("/reason_code")),
    ("principal", Column::Field("/subject/principal")),
    ("actor", Column::Field("/actor")),
    ("agent", Column::Field("/agent/id")),
    ("action", Column::Field("/action")),
    ("resource", Column::Field("/resource")),
    ("policies", Column::Policies),
    ("labels", Column::Labels),
    ("decision_id", Column::Field("/decision_id")),
    ("request_id", Column::Field("/request_id")),
    ("call_id", Column::Field("/call_id")),
    ("trace_id", Column::Field("/trace_id")),
    ("address", Column::Field("/source/ip")),
    ("tls", Column::Field("/source/tls")),
    ("user_agent", Column::Field("/source/user_agent")),
    ("count", Column::Field("/count")),
    ("latency_us", Column::Field("/latency_us")),
    ("detail", Column::Field("/detail")),
    ("hash", Column::Field("/hash")),
];

impl Column {
    fn of(self, record: &Json) -> String {
        match self {
            Self::Field(pointer) => match record.pointer(pointer) {
                None | Some(Json::Null) => String::new(),
                Some(Json::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            },
            Self::Policies => joined(policies(record)),
            Self::Labels => joined(labels(record)),
        }
    }
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

/// A cell that a spreadsheet shows as it is. One that begins with a sign of a formula would be calculated, and a formula can
/// send other cells away; with an apostrophe before it, it is text (OWASP, CSV injection). What is hidden is made visible.
fn harmless(cell: &str) -> String {
    // Where lists are separated by `;`, a spreadsheet begins a cell after each of them.
    let parts = cell.split(';').map(|part| {
        let shown = visible(part);
        if begins_a_formula(part) { format!("'{shown}") } else { shown.into_owned() }
    });
    parts.collect::<Vec<_>>().join(";")
}

/// Spreadsheets read over spaces, and some know the wide forms of the signs.
fn begins_a_formula(cell: &str) -> bool {
    const SIGNS: [char; 11] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    cell.trim_start_matches(' ').starts_with(SIGNS)
}

/// A row of RFC 4180: commas, CRLF, and quotes around cells that need them.
fn write_row<const N: usize>(out: &mut impl Write, cells: [String; N]) -> io::Result<()> {
    for (number, cell) in cells.iter().enumerate() {
        if number > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\r', '\n']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(json: Json) -> FoundRecord {
        FoundRecord { seq: 1, line: json.to_string().into(), json }
    }

    fn row(json: Json) -> String {
        let mut out = Vec::new();
        ExportWriter::new(ExportFormat::Csv).write_record(&found(json), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_word_that_is_no_format_is_refused_with_those_that_are() {
        assert_eq!(ExportFormat::parse("csv").unwrap(), ExportFormat::Csv);
        let error = ExportFormat::parse("cvs").unwrap_err().to_string();
        assert_eq!(
            error,
            "`cvs` is not a format of an export (did you mean `csv`?), use `json`, `csv`, `ocsf`, `cef`, `leef`, `ecs` or `asim`"
        );
    }

    #[test]
    fn a_row_has_all_columns_and_quotes_where_they_are_needed() {
        let mut head = Vec::new();
        ExportWriter::new(ExportFormat::Csv).write_head(&mut head).unwrap();
        assert!(head.starts_with(b"seq,time,event_type,") && head.ends_with(b",hash\r\n"));
        let record = json!({
            "seq": 7, "resource": "Caxton::Tool::\"a,b\"", "detail": "two\nlines", "source": {"ip": "10.0.0.7", "tls": true},
            "policies": [{"id": "p.a"}, {"id": "p.b"}], "obligations": ["label:pii", "redact:/a"],
        });
        let shown = row(record);
        assert!(shown.starts_with("7,,,"), "{shown}");
        assert!(shown.contains(",\"Caxton::Tool::\"\"a,b\"\"\",p.a p.b,pii,"), "{shown}");
        assert!(shown.contains(",10.0.0.7,true,"), "{shown}");
        assert_eq!(shown.matches("\r\n").count(), 1);
    }

    /// Each sign, also behind spaces, and as its wide form.
    #[test]
    fn no_cell_is_calculated_by_a_spreadsheet() {
        for text in ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", "\n=1", "  =1", "\u{ff1d}1", "=\"a\",b"]
        {
            let shown = row(json!({ "detail": text }));
            let cell = shown.trim_end().rsplit_once(",,").map_or("", |(before, _)| before);
            let all: Vec<&str> = shown.split(',').collect();
            let detail = all[22].trim_start_matches('"');
            assert!(detail.starts_with('\''), "{text:?}: {shown:?} {cell}");
        }
        assert!(row(json!({ "detail": "a=b" })).contains(",a=b,"));
    }

    #[test]
    fn each_format_writes_one_line_for_each_record() {
        for format in ExportFormat::ALL {
            let mut writer = ExportWriter::new(format);
            let mut out = Vec::new();
            for seq in 1..=3 {
                let json = json!({ "seq": seq, "time": "2026-01-10T10:00:00.120Z", "detail": "a\nb", "outcome": "allow" });
                writer.write_record(&found(json), &mut out).unwrap();
            }
            let text = String::from_utf8(out).unwrap();
            let lines = text.matches(if format == ExportFormat::Csv { "\r\n" } else { "\n" }).count();
            assert_eq!((lines, ExportFormat::parse(format.as_str()).unwrap()), (3, format), "{text}");
        }
    }

    #[test]
    fn json_is_the_line_of_the_log() {
        let record = FoundRecord { seq: 1, line: "{\"b\":1, \"a\":2}".into(), json: json!({"a": 2, "b": 1}) };
        let mut out = Vec::new();
        let mut writer = ExportWriter::new(ExportFormat::JSON);
        writer.write_head(&mut out).unwrap();
        writer.write_record(&record, &mut out).unwrap();
        assert_eq!(out, b"{\"b\":1, \"a\":2}\n");
    }
}
