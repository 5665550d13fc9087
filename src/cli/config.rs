//! `caxton config`: check, show and describe the configuration, and lock every change of what decides.

mod lock;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{Exit, Format, Output, table};
use crate::config::{
    EffectiveValue, Environment, LoadedConfig, ProblemCode, Problems, ValueSource, Weakness, json_schema,
    load, locate, security_check,
};

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check the configuration and report every mistake.
    ///
    /// Example: caxton config validate --config caxton.yaml --security-check
    Validate {
        /// The file; without it `/etc/caxton/caxton.yaml` if it exists, else the embedded defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Report also legal settings that weaken the installation.
        #[arg(long)]
        security_check: bool,
        /// Check the embedded defaults and the environment, no file.
        #[arg(long, conflicts_with = "config")]
        embedded: bool,
    },
    /// Print every value in force and where it came from; secrets are masked.
    ///
    /// Example: caxton config show --config caxton.yaml --format json
    Show {
        /// The file; without it `/etc/caxton/caxton.yaml` if it exists, else the embedded defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors.
    ///
    /// Example: caxton config schema > caxton.schema.json
    Schema,
    /// Stop every change of policies and agents until `unlock`; the live policies stay in force.
    ///
    /// Example: caxton config lock --emergency --reason "intruder on the build host"
    Lock(lock::Lock),
    /// Allow changes again, when the policies on disk pass their checks and tests and are those that were locked.
    ///
    /// Example: caxton config unlock --enhanced-validation
    Unlock(lock::Unlock),
}

/// Runs one of the commands.
///
/// Exit: 0 fine, 1 mistakes or weaknesses found, 2 the file could not be read or, for `show`, used.
pub fn run(command: &Command, environment: &Environment, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Validate { config, security_check, embedded } => {
            let file = if *embedded { None } else { locate(config.as_deref()) };
            validate(file.as_deref(), *security_check, environment, output)
        }
        Command::Show { config } => show(locate(config.as_deref()).as_deref(), environment, output),
        Command::Lock(options) => lock::lock(options, output),
        Command::Unlock(options) => lock::unlock(options, output),
        Command::Schema => {
            output.line(&serde_json::to_string_pretty(&json_schema())?)?;
            Ok(Exit::Fine)
        }
    }
}

/// What `validate` found.
#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    #[serde(flatten)]
    problems: &'a Problems,
    #[serde(skip_serializing_if = "Option::is_none")]
    weaknesses: Option<Vec<Weakness>>,
}

fn validate(
    file: Option<&Path>,
    check: bool,
    environment: &Environment,
    output: &Output,
) -> anyhow::Result<Exit> {
    match load(file, environment) {
        Err(problems) => {
            refuse(&problems, output)?;
            Ok(if problems.problems.iter().any(|problem| problem.code == ProblemCode::Unreadable) {
                Exit::Usage
            } else {
                Exit::Found
            })
        }
        Ok(loaded) => {
            let weaknesses = check.then(|| security_check(&loaded));
            let weak = weaknesses.as_ref().is_some_and(|found| !found.is_empty());
            if output.format() == Format::Table && !loaded.warnings.is_empty() {
                output.say(loaded.warnings.render(colour()).trim_end());
            }
            let report = Report { valid: true, problems: &loaded.warnings, weaknesses };
            output.data(&report, |report| verdict(&loaded, report.weaknesses.as_deref()))?;
            Ok(if weak { Exit::Found } else { Exit::Fine })
        }
    }
}

/// Reports mistakes: to people on stderr, to machines as data.
pub fn refuse(problems: &Problems, output: &Output) -> anyhow::Result<()> {
    match output.format() {
        _ if output.logs() => {
            problems.lines().for_each(|line| output.error(line));
            output.error(problems);
            Ok(())
        }
        Format::Table => {
            output.say(problems.render(colour()).trim_end());
            output.say(format_args!("\n{problems}"));
            Ok(())
        }
        _ => output.data(&Report { valid: false, problems, weaknesses: None }, |_| String::new()),
    }
}

fn colour() -> bool {
    std::io::stderr().is_terminal()
}

fn verdict(loaded: &LoadedConfig, weaknesses: Option<&[Weakness]>) -> String {
    let name = match &loaded.file {
        Some(path) => format!("`{}` has no mistakes", path.display()),
        None => String::from("the embedded defaults have no mistakes"),
    };
    match weaknesses {
        None => name,
        Some([]) => format!("{name}; no setting weakens the installation"),
        Some(found) => {
            let mut rows = table(["key", "value", "what can happen", "what to do"]);
            for weakness in found {
                rows.add_row([&weakness.key, &weakness.value, &weakness.why, &weakness.fix]);
            }
            format!("{rows}\n{name}; settings that weaken the installation: {}", found.len())
        }
    }
}

fn show(file: Option<&Path>, environment: &Environment, output: &Output) -> anyhow::Result<Exit> {
    match load(file, environment) {
        Err(problems) => {
            refuse(&problems, output)?;
            Ok(Exit::Usage)
        }
        Ok(loaded) => {
            output.data(&loaded.values, |values| values_table(values))?;
            Ok(Exit::Fine)
        }
    }
}

fn values_table(values: &[EffectiveValue]) -> String {
    let mut rows = table(["key", "value", "from"]);
    for value in values {
        let source = match &value.source {
            ValueSource::Default => String::from("default"),
            ValueSource::File { line } => format!("line {line}"),
            ValueSource::Environment { variable } => (*variable).to_owned(),
        };
        rows.add_row([value.key.as_str(), value.value.as_str(), source.as_str()]);
    }
    rows.to_string()
}
