//! `caxton policy validate`: whether a set may go live, with all problems in one run.

use std::path::Path;

use serde::Serialize;

use super::folders::{Need, PolicyFolders};
use super::gateway::OfflineGateway;
use super::render::{PLAIN, YELLOW};
use super::{render, show};
use crate::cli::output::{Exit, Format, Output};
use crate::policy::{Bundle, SourceKind, Sources};
use crate::text::clean;
use crate::workbench::diagnostics;
use crate::workbench::diagnostics::Finding;

/// What `validate` found, for machines.
#[derive(Debug, Serialize)]
struct Validation {
    valid: bool,
    policy_version: String,
    files: usize,
    policies: usize,
    own: SetSize,
    shipped: SetSize,
    problems: Vec<Finding>,
}

/// How large a part of a set is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct SetSize {
    /// Files of policies and schemas.
    pub files: usize,
    /// Policies and templates.
    pub policies: usize,
}

impl SetSize {
    fn of(sources: &Sources, bundle: Option<&Bundle>, built_in: bool) -> Self {
        let files = || sources.iter().filter(|source| source.is_built_in() == built_in);
        let named = |file: &str| {
            files().any(|source| source.kind == SourceKind::Policy && source.path.as_ref() == file)
        };
        let policies = bundle.map_or(0, |bundle| bundle.policies().filter(|one| named(&one.file)).count());
        Self { files: files().count(), policies }
    }
}

pub(super) fn run(base: &Path, folders: &PolicyFolders, output: &Output) -> anyhow::Result<Exit> {
    let sources = folders.sources(base, Need::Own, output)?;
    let policy_version = sources.version().as_str().to_owned();
    let loaded = Bundle::load(sources.clone());
    let problems = match &loaded {
        Ok(bundle) => bundle.warnings().to_vec(),
        Err(errors) => errors.problems().to_vec(),
    };
    let valid = !problems.iter().any(|problem| problem.fatal);
    let size = |built_in| match folders.shipped {
        true if built_in => SetSize::of(&sources, loaded.as_ref().ok(), false),
        true => SetSize::default(),
        false => SetSize::of(&sources, loaded.as_ref().ok(), built_in),
    };
    let (own, shipped) = (size(false), size(true));
    let mut warnings = problems.len();
    if output.format() == Format::Table {
        show(&problems, output);
    }
    let mut findings: Vec<Finding> =
        diagnostics::in_order(&problems).into_iter().map(Finding::from).collect();
    if let Some(settings) = folders.settings(output)? {
        for problem in OfflineGateway::read(&settings)?.problems() {
            output.say(format_args!("{YELLOW}warning{PLAIN}: {}", clean(problem)));
            findings.push(Finding::about_agents(problem));
            warnings += 1;
        }
    }
    let (files, policies) = (own.files + shipped.files, own.policies + shipped.policies);
    let validation = Validation { valid, policy_version, files, policies, own, shipped, problems: findings };
    output.data(&validation, |validation| match validation.valid {
        true => render::valid(validation.own, validation.shipped, warnings),
        false => render::invalid(problems.iter().filter(|problem| problem.fatal).count()),
    })?;
    Ok(if valid { Exit::Fine } else { Exit::Found })
}
