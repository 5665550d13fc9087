//! `caxton policy analyze`: what holds for every request there can be.

use std::path::Path;
use std::sync::Arc;

use super::folders::PolicyFolders;
use super::proofs::{Search, seek};
use super::show;
use super::store::StoreOptions;
use super::versions::Versions;
use crate::cli::output::{Exit, Output};
use crate::policy::Bundle;
use crate::workbench::prove::{Circumstances, CircumstancesError, Claim, Several};
use crate::workbench::run::Suites;

/// What to prove, and how long to try.
#[derive(Debug, Default, clap::Args)]
pub struct AnalyzeOptions {
    /// What to prove [default: `never-errors` and `none-needless`]
    #[command(subcommand)]
    pub question: Option<ProofQuestion>,
    /// Bounds of the search for proofs.
    #[command(flatten)]
    pub search: Search,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// The kind of proof.
#[derive(Debug, clap::Subcommand)]
pub enum ProofQuestion {
    /// No policy can fail with an evaluation error for any request.
    #[command(after_help = "Example:\n  caxton policy analyze never-errors memory.private memory.own")]
    NeverErrors {
        /// Only these policies [default: all]
        #[arg(value_name = "POLICY")]
        only: Vec<String>,
    },
    /// No policy is redundant: each matches some request, and none is covered by others.
    #[command(after_help = "Example:\n  caxton policy analyze none-needless")]
    NoneNeedless,
    /// Every request that is permitted here is permitted by OTHER.
    #[command(
        after_help = "Example:\n  caxton policy analyze no-more-permissive origin/main --except memory:read"
    )]
    NoMorePermissive(OtherVersion),
    /// The same requests are permitted here and by OTHER.
    #[command(after_help = "Example:\n  caxton policy analyze equivalent ../before")]
    Equivalent(OtherVersion),
    /// No request is permitted both here and by OTHER.
    #[command(after_help = "Example:\n  caxton policy analyze disjoint ../other-team")]
    Disjoint(OtherVersion),
    /// No request that meets the conditions is permitted.
    #[command(
        after_help = "Example:\n  caxton policy analyze always-denies --principal Agent --action 'memory:*' --when 'resource.scope == \"agent\"' --unless 'resource has agent && resource.agent == principal'"
    )]
    AlwaysDenies(RequestScope),
    /// Every request that meets the conditions is permitted.
    #[command(
        after_help = "Example:\n  caxton policy analyze always-allows --principal 'Role::\"admin\"' --action metrics:read"
    )]
    AlwaysAllows(RequestScope),
}

/// Another version of the policies.
#[derive(Debug, clap::Args)]
pub struct OtherVersion {
    /// A folder with `policies` and `schemas` in it, or a git commit.
    #[arg(value_name = "OTHER")]
    pub other: String,
    /// An action, or group of actions, that is left out; can be repeated.
    #[arg(long, value_name = "ACTION")]
    pub except: Vec<String>,
}

/// The requests that a statement is about; a part that is left out matches any.
#[derive(Debug, clap::Args)]
pub struct RequestScope {
    /// A type (`Agent`), or what the principal is or is in (`Role::"viewer"`); repeated, one of them
    #[arg(long, value_name = "WHO")]
    pub principal: Vec<String>,
    /// An action or a group of actions; repeated, one of them
    #[arg(long, value_name = "ACTION")]
    pub action: Vec<String>,
    /// A type, or what the resource is or is in; repeated, one of them
    #[arg(long, value_name = "WHAT")]
    pub resource: Vec<String>,
    /// A Cedar expression that holds; can be repeated
    #[arg(long, value_name = "EXPRESSION")]
    pub when: Vec<String>,
    /// A Cedar expression that does not hold; can be repeated
    #[arg(long, value_name = "EXPRESSION")]
    pub unless: Vec<String>,
}

impl RequestScope {
    fn circumstances(&self) -> Circumstances {
        let several = |list: &[String]| Several(list.to_vec());
        Circumstances {
            principal: several(&self.principal),
            action: several(&self.action),
            resource: several(&self.resource),
            when: several(&self.when),
            unless: several(&self.unless),
        }
    }
}

pub(super) fn run(base: &Path, options: &AnalyzeOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load(base, output)? else { return Ok(Exit::Usage) };
    let versions = Versions::of(base, &options.folders, output)?;
    let store = StoreOptions::default().open_of(base, options.folders.settings(output)?.as_ref());
    let other = |named: &str| versions.bundle(named, &store, output);
    let Some(claims) = claims(&bundle, options.question.as_ref(), &other, output)? else {
        return Ok(Exit::Usage);
    };
    // Nothing is tested here; the tests only lend their names.
    let suites = options.folders.test_folder(base).and_then(|folder| Suites::from_dir(&folder).ok());
    seek(&bundle, &claims, &suites.unwrap_or_default(), &options.search, output)
}

/// What was asked; none when another version is refused, whose problems have been shown.
fn claims(
    bundle: &Bundle,
    question: Option<&ProofQuestion>,
    version: &dyn Fn(&str) -> anyhow::Result<Option<Bundle>>,
    output: &Output,
) -> anyhow::Result<Option<Vec<Claim>>> {
    let compared = |other: &OtherVersion, claim: Comparison| -> anyhow::Result<Option<Vec<Claim>>> {
        let Some(loaded) = version(&other.other)? else { return Ok(None) };
        let claim = claim(bundle, Arc::new(loaded), &other.other, &other.except).map_err(explained)?;
        Ok(Some(vec![claim]))
    };
    Ok(Some(match question {
        None => vec![Claim::never_errors(bundle, &[]).map_err(explained)?, Claim::none_needless()],
        Some(ProofQuestion::NeverErrors { only }) => {
            vec![Claim::never_errors(bundle, only).map_err(explained)?]
        }
        Some(ProofQuestion::NoneNeedless) => vec![Claim::none_needless()],
        Some(ProofQuestion::NoMorePermissive(other)) => return compared(other, Claim::no_more_permissive),
        Some(ProofQuestion::Equivalent(other)) => return compared(other, Claim::equivalent),
        Some(ProofQuestion::Disjoint(other)) => return compared(other, Claim::disjoint),
        Some(ProofQuestion::AlwaysDenies(about)) => {
            return meant(Claim::always_denies(bundle, &about.circumstances()), output);
        }
        Some(ProofQuestion::AlwaysAllows(about)) => {
            return meant(Claim::always_allows(bundle, &about.circumstances()), output);
        }
    }))
}

type Comparison =
    fn(&Bundle, Arc<Bundle>, &str, &[String]) -> Result<Claim, crate::workbench::case::CaseError>;

/// A condition that does not fit the schema is shown like a policy that does not.
fn meant(claim: Result<Claim, CircumstancesError>, output: &Output) -> anyhow::Result<Option<Vec<Claim>>> {
    match claim {
        Ok(claim) => Ok(Some(vec![claim])),
        Err(CircumstancesError::Schema(errors)) => {
            show(errors.problems(), output);
            Ok(None)
        }
        Err(CircumstancesError::Name(error)) => Err(explained(error)),
        Err(error) => Err(error.into()),
    }
}

fn explained(error: crate::workbench::case::CaseError) -> anyhow::Error {
    match error.help() {
        Some(help) => anyhow::anyhow!("{error}\nhelp: {help}"),
        None => error.into(),
    }
}
