//! `caxton agents validate` and `validate-all`.

use std::path::PathBuf;

use serde::Serialize;

use super::super::output::{Exit, Output, table};
use crate::agents::{Agent, AgentPermission, AgentProblem};
use crate::server::Settings;

/// What was found in agent files.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    agents: Vec<AgentSummary>,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    #[serde(skip)]
    detailed: bool,
}

/// What an agent may do by its file.
#[derive(Debug, Serialize)]
struct AgentSummary {
    name: String,
    version: String,
    permissions: Vec<&'static str>,
    capabilities: Vec<String>,
    tools: Vec<String>,
    memory_scope: String,
    definition_sha256: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    line: u64,
    column: u64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'static str>,
}

impl Finding {
    fn of(problem: &AgentProblem) -> Self {
        Self {
            file: problem.path.display().to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            help: problem.help,
        }
    }
}

fn summary(agent: &Agent) -> AgentSummary {
    let definition = &agent.definition;
    AgentSummary {
        name: definition.id.to_string(),
        version: definition.version.clone(),
        permissions: definition.permissions.iter().copied().map(AgentPermission::as_str).collect(),
        capabilities: definition.capabilities.iter().map(ToString::to_string).collect(),
        tools: definition.tools.iter().map(ToString::to_string).collect(),
        memory_scope: definition.memory.scope.to_string(),
        definition_sha256: definition.sha256.clone(),
    }
}

/// Checks the named files.
pub(super) fn files(files: &[PathBuf], settings: &Settings, output: &Output) -> anyhow::Result<Exit> {
    let (register, known) = super::register(settings)?;
    let mut report = Report {
        valid: true,
        agents: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        detailed: true,
    };
    for file in files {
        match register.check(file, &known) {
            Ok((agent, warnings)) => {
                report.agents.push(summary(&agent));
                report.warnings.extend(warnings.iter().map(Finding::of));
            }
            Err(problem) => report.problems.push(Finding::of(&problem)),
        }
    }
    show(report, output)
}

/// Checks every file of the agents' directory.
pub(super) fn all(detailed: bool, settings: &Settings, output: &Output) -> anyhow::Result<Exit> {
    if settings.agents.directory.is_none() {
        output.say("no agents: `server.agents_dir` is not set");
        return Ok(Exit::Usage);
    }
    let (register, known) = super::register(settings)?;
    let loaded = register.load(&known);
    let report = Report {
        valid: true,
        agents: register.all().iter().map(|agent| summary(agent)).collect(),
        problems: loaded.problems.iter().map(Finding::of).collect(),
        warnings: loaded.warnings.iter().map(Finding::of).collect(),
        detailed,
    };
    show(report, output)
}

fn show(mut report: Report, output: &Output) -> anyhow::Result<Exit> {
    report.valid = report.problems.is_empty();
    output.data(&report, text)?;
    Ok(if report.valid { Exit::Fine } else { Exit::Found })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    if report.detailed && !report.agents.is_empty() {
        let mut rows = table(["agent", "may", "offers", "tools", "memory"]);
        let list = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join("\n") };
        for agent in &report.agents {
            let may: Vec<String> = agent.permissions.iter().map(|word| (*word).to_owned()).collect();
            rows.add_row([
                format!("{} {}", agent.name, agent.version),
                list(&may),
                list(&agent.capabilities),
                list(&agent.tools),
                agent.memory_scope.clone(),
            ]);
        }
        text.push_str(&format!("{rows}\n"));
    }
    for (word, findings) in [("error", &report.problems), ("warning", &report.warnings)] {
        for Finding { file, line, column, message, help } in findings {
            text.push_str(&format!("{word}: {file}:{line}:{column}: {message}\n"));
            if let Some(help) = help {
                text.push_str(&format!("  help: {help}\n"));
            }
        }
    }
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    text.push_str(&format!(
        "{}, {}, {}",
        count(report.agents.len(), "valid agent"),
        count(report.problems.len(), "error"),
        count(report.warnings.len(), "warning"),
    ));
    text
}
