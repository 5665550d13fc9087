//! `caxton policy import` and `import-roles`: rules that others wrote, as policies with tests.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::files::create;
use super::folders::{POLICIES, SCHEMAS, TESTS, chosen};
use super::render::{BOLD, GREEN, PLAIN, RED, YELLOW, counted, push};
use crate::cli::output::{Exit, Output};
use crate::policy::{Bundle, SourceKind, Sources};
use crate::text::clean;
use crate::workbench::import::{From, ImportError, ImportInput, Imported, Remark, import};

/// The most bytes of all files together.
const MAX_BYTES: u64 = 2 << 20;

/// The format of the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RuleFormat {
    /// One agent's `authorization:` document.
    #[default]
    AgentAuthz,
    /// Casbin's RBAC: the model (if there is one) and the file with `p` and `g` lines.
    Rbac,
    /// Any model of Casbin with its rules, as policies on entity types of their own: the model, then the rules.
    Casbin,
    /// ToolHive's Cedar authorisation: its own file, or Kubernetes objects (`MCPServer`, `MCPAuthzConfig`, …).
    Toolhive,
    /// agentgateway's configuration with `mcpAuthorization` rules, or Kubernetes objects (`AgentgatewayPolicy`).
    Agentgateway,
    /// Agent Router's (Envoy AI Gateway's) `MCPRoute` objects: `securityPolicy.authorization` with CEL, and `toolSelector`.
    AgentRouter,
}

/// Where the policies are written.
#[derive(Debug, Default, clap::Args)]
pub struct ImportTarget {
    /// The name of the new files and the first part of each `@id` [default: the file's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder of the new policies [default: `policies`]
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Folder of the new tests [default: `policy-tests`]
    #[arg(long, value_name = "DIR")]
    pub tests: Option<PathBuf>,
    /// Folder with `*.cedarschema` files [default: `schemas`, else the built-in schema]
    #[arg(long, value_name = "DIR")]
    pub schemas: Option<PathBuf>,
    /// Write the rules that can be expressed even if others cannot; without this, nothing is written then.
    #[arg(long)]
    pub accept_gaps: bool,
    /// Write nothing: print the policies and the tests.
    #[arg(long)]
    pub dry_run: bool,
}

/// Which rules.
#[derive(Debug, Default, clap::Args)]
pub struct ImportOptions {
    /// The format of the rules.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: RuleFormat,
    /// The server whose tools the rules are about (ToolHive, agentgateway, Agent Router) [default: those that the file names, else any]
    #[arg(long, value_name = "SERVER")]
    pub server: Option<String>,
    /// The file; for `rbac` and `casbin` also the model before it.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where they go.
    #[command(flatten)]
    pub target: ImportTarget,
}

/// Roles.
#[derive(Debug, Default, clap::Args)]
pub struct Roles {
    /// The file with `roles:`.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where they go.
    #[command(flatten)]
    pub target: ImportTarget,
}

/// The files that were written.
#[derive(Serialize)]
struct ImportReport<'i> {
    written: bool,
    policy_file: String,
    test_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_file: Option<String>,
    #[serde(flatten)]
    imported: &'i Imported,
}

pub(super) fn run(base: &Path, options: &ImportOptions, output: &Output) -> anyhow::Result<Exit> {
    let from = match options.from {
        RuleFormat::AgentAuthz => From::AgentAuthz,
        RuleFormat::Rbac => From::Rbac,
        RuleFormat::Casbin => From::Casbin,
        RuleFormat::Toolhive => From::Toolhive,
        RuleFormat::Agentgateway => From::Agentgateway,
        RuleFormat::AgentRouter => From::AgentRouter,
    };
    let most = if matches!(from, From::Rbac | From::Casbin) { 2 } else { 1 };
    anyhow::ensure!(options.files.len() <= most, "this format takes {}", counted(most, "file"));
    one(base, from, &options.files, options.server.as_deref(), &options.target, output)
}

pub(super) fn roles(base: &Path, options: &Roles, output: &Output) -> anyhow::Result<Exit> {
    one(base, From::Roles, std::slice::from_ref(&options.file), None, &options.target, output)
}

fn one(
    base: &Path,
    from: From,
    files: &[PathBuf],
    server: Option<&str>,
    target: &ImportTarget,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut text = String::new();
    let mut lines_before = 0;
    for file in files {
        lines_before = text.lines().count() as u64;
        let failed = || format!("reading `{}`", file.display());
        let bytes = std::fs::metadata(file).with_context(failed)?.len();
        anyhow::ensure!(bytes <= MAX_BYTES, "`{}` is larger than {MAX_BYTES} bytes", file.display());
        text.push_str(&std::fs::read_to_string(file).with_context(failed)?);
        text.push('\n');
    }
    let Some(last) = files.last() else { anyhow::bail!("name a file") };
    let topic = topic(last, target.name.as_deref())?;
    let folder = |named: &Option<PathBuf>, default: &str| named.clone().unwrap_or_else(|| base.join(default));
    let policies = folder(&target.policies, POLICIES).join(format!("{topic}.cedar"));
    let tests = folder(&target.tests, TESTS).join(format!("{topic}.test.yaml"));
    let schema_file = folder(&target.schemas, SCHEMAS).join(format!("{topic}.cedarschema"));
    if !target.dry_run {
        for file in [&policies, &tests, &schema_file] {
            let there = "is there already, and is not overwritten: say `--name` for another one";
            anyhow::ensure!(!file.exists(), "`{}` {there}", file.display());
        }
    }
    let schema = schema(base, target, output)?;
    let name =
        |file: &Path| file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (file, file_before) = (name(last), files.first().map(|first| name(first)).unwrap_or_default());
    let file_before = file_before.as_str();
    let input = ImportInput {
        topic: &topic,
        file: &file,
        text: &text,
        lines_before,
        file_before,
        server,
        schema: &schema,
    };
    let imported = import(from, &input).map_err(|error| match error {
        ImportError::Before { .. } => anyhow::Error::from(error),
        error => anyhow::Error::from(error).context(format!("`{}`", last.display())),
    })?;
    let refused = !imported.gaps.is_empty() && !target.accept_gaps;
    let written = !refused && !target.dry_run;
    if written {
        let files = [
            imported.schema.as_ref().map(|schema| (schema_file.as_path(), schema)),
            Some((policies.as_path(), &imported.policies)),
            (imported.rows > 0).then_some((tests.as_path(), &imported.tests)),
        ];
        write(files.into_iter().flatten())?;
    }
    let import_report = ImportReport {
        written,
        policy_file: policies.display().to_string(),
        test_file: tests.display().to_string(),
        schema_file: imported.schema.is_some().then(|| schema_file.display().to_string()),
        imported: &imported,
    };
    output.data(&import_report, |import_report| report(import_report, target.dry_run))?;
    if refused {
        output.say("help: read the list above; with `--accept-gaps` everything else is written");
    }
    Ok(if refused { Exit::Found } else { Exit::Fine })
}

/// Writes all files or none: policies without the tests that pin them are half an import.
fn write<'f>(files: impl Iterator<Item = (&'f Path, &'f String)>) -> anyhow::Result<()> {
    let mut created: Vec<&Path> = Vec::new();
    for (file, text) in files {
        let done = match file.parent().map(std::fs::create_dir_all) {
            Some(Err(error)) => {
                Err(error).with_context(|| format!("making the folder of `{}`", file.display()))
            }
            Some(Ok(())) | None => create(file, text),
        };
        if let Err(error) = done {
            created.iter().for_each(|file| drop(std::fs::remove_file(file)));
            return Err(error);
        }
        created.push(file);
    }
    Ok(())
}

/// A name for files and ids.
fn topic(file: &Path, named: Option<&str>) -> anyhow::Result<String> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let topic = match named {
        Some(named) => named.to_owned(),
        None => stem.chars().map(|c| if plain(c) { c } else { '-' }).collect(),
    };
    let fits =
        topic.starts_with(|c: char| c.is_ascii_lowercase()) && topic.chars().all(plain) && topic.len() <= 64;
    anyhow::ensure!(
        fits,
        "`{topic}` is no name for files: use small letters, digits and `-`, and say it with `--name`"
    );
    Ok(topic)
}

/// The schema alone, as a bundle without policies.
fn schema(base: &Path, target: &ImportTarget, output: &Output) -> anyhow::Result<Bundle> {
    let sources = match chosen(base, target.schemas.as_ref(), SCHEMAS) {
        Some(folder) => {
            let read = Sources::from_dirs(&folder, &folder)?;
            let schemas = read.iter().filter(|source| source.kind == SourceKind::Schema);
            schemas.fold(Sources::new(), |all, schema| all.with_schema(&schema.name, &schema.text))
        }
        None => {
            output.say("note: no folder `schemas` here, using the built-in schema");
            Sources::new().with_shipped(SourceKind::Schema)
        }
    };
    Bundle::load(sources).map_err(|errors| {
        let first = errors.problems().first().map(|problem| problem.message.clone()).unwrap_or_default();
        anyhow::anyhow!("the schema cannot be used: {first}")
    })
}

fn report(import_report: &ImportReport<'_>, dry_run: bool) -> String {
    let mut text = String::new();
    let imported = import_report.imported;
    if dry_run {
        if let (Some(file), Some(schema)) = (&import_report.schema_file, &imported.schema) {
            push(&mut text, format_args!("{BOLD}{}{PLAIN}\n{schema}", clean(file)));
        }
        push(
            &mut text,
            format_args!("{BOLD}{}{PLAIN}\n{}", clean(&import_report.policy_file), imported.policies),
        );
        push(&mut text, format_args!("{BOLD}{}{PLAIN}\n{}", clean(&import_report.test_file), imported.tests));
    }
    remarks(&mut text, "cannot be expressed", RED, &imported.gaps);
    remarks(&mut text, "note", YELLOW, &imported.notes);
    let policies = counted(imported.count, "policy");
    let rows = counted(imported.rows, "test row");
    let gaps = counted(imported.gaps.len(), "gap");
    if import_report.written {
        let policy_file = clean(&import_report.policy_file);
        let test_file = clean(&import_report.test_file);
        push(
            &mut text,
            format_args!("{GREEN}{policies}{PLAIN} written to `{policy_file}`, {rows} to `{test_file}`"),
        );
        if let Some(file) = &import_report.schema_file {
            push(&mut text, format_args!("their types are written to `{}`", clean(file)));
        }
    } else if dry_run {
        push(&mut text, format_args!("{policies}, {rows}, {gaps}; nothing was written"));
    } else {
        push(
            &mut text,
            format_args!("{RED}{gaps}{PLAIN}: nothing was written ({policies} and {rows} would be)"),
        );
    }
    text
}

fn remarks(text: &mut String, word: &str, colour: &str, remarks: &[Remark]) {
    for remark in remarks {
        let line = if remark.line == 0 { String::new() } else { format!("line {}: ", remark.line) };
        push(text, format_args!("{colour}{word}{PLAIN}  {line}{}", clean(&remark.what)));
    }
}
