//! How commands speak: data on stdout as a table or as JSON, everything else on stderr. On stderr a command writes text, and
//! a service whose log is JSON writes lines of that log.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::telemetry::SERVICE;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For machines: one JSON document.
    Json,
    /// JUnit XML, of `policy test`.
    Junit,
    /// SARIF 2.1.0, of `policy lint`.
    Sarif,
    /// Comma-separated values, of `audit export`.
    Csv,
    /// Open Cybersecurity Schema Framework, of `audit export`.
    Ocsf,
    /// ArcSight Common Event Format, of `audit export`.
    Cef,
    /// IBM QRadar Log Event Extended Format, of `audit export`.
    Leef,
    /// Elastic Common Schema, of `audit export`.
    Ecs,
    /// Microsoft Sentinel, Advanced Security Information Model, of `audit export`.
    Asim,
}

/// What a command's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Fine.
    Fine,
    /// The check found something: denied, a test failed, a violation.
    Found,
    /// Wrong usage or bad input.
    Usage,
    /// The gateway could not be reached, or something is not proven.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Found => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    logs: bool,
}

impl Output {
    /// Prints data in `format`, and text on stderr.
    pub fn new(format: Format) -> Self {
        Self { format, logs: false }
    }

    /// The same for a service whose log is JSON and has been started: stderr gets lines of that log only.
    pub fn of_service(self) -> Self {
        Self { logs: true, ..self }
    }

    /// Whether stderr gets lines of the log.
    pub fn logs(&self) -> bool {
        self.logs
    }

    /// The wanted format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints data: `value` as JSON, or what `table` makes of it.
    pub fn data<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.line(table(value).trim_end()),
            Format::Json => self.line(&serde_json::to_string_pretty(value)?),
            // Of one command each, which prints it itself.
            Format::Junit
            | Format::Sarif
            | Format::Csv
            | Format::Ocsf
            | Format::Cef
            | Format::Leef
            | Format::Ecs
            | Format::Asim => Ok(()),
        }
    }

    /// Prints one line of data. A reader that has gone away is not an error.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        match writeln!(anstream::stdout(), "{text}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Says something to the person; never part of the data.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.logs {
            tracing::info!(target: SERVICE, "{text}");
        } else {
            write_text(&text);
        }
    }

    /// Says what went wrong; `text` has no `error:` before it.
    pub fn error(&self, text: impl std::fmt::Display) {
        if self.logs {
            tracing::error!(target: SERVICE, "{text}");
        } else {
            write_text(&format_args!("error: {text}"));
        }
    }

    /// Says what an operator should look at; `text` has no `warning:` before it.
    pub fn warning(&self, text: impl std::fmt::Display) {
        if self.logs {
            tracing::warn!(target: SERVICE, "{text}");
        } else {
            write_text(&format_args!("warning: {text}"));
        }
    }
}

fn write_text(text: &dyn std::fmt::Display) {
    // A closed terminal cannot receive an error.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A table in the one look that all commands share: no vertical lines, a rule under the head.
pub fn table<'a>(head: impl IntoIterator<Item = &'a str>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY.row_separator(comfy_table::LineStyle::none()))
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_header(head);
    table
}
