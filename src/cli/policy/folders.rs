//! Where a command finds policies, schemas and tests. A command that says whether they are in order needs some of one's own:
//! in a wrong folder it must not be content with what came with the program.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{render, show};
use crate::cli::output::Output;
use crate::cli::prepare;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Environment;
use crate::policy::{Bundle, SourceKind, Sources};
use crate::server::Settings;
use crate::workbench::run::Suites;

/// The default directory of policies.
pub(super) const POLICIES: &str = "policies";
pub(super) const SCHEMAS: &str = "schemas";
pub(super) const TESTS: &str = "policy-tests";
/// Where a gateway without a configuration writes its decisions.
const LOG: &str = ".caxton/audit.log";
/// The configuration that a gateway finds by itself.
const CONFIG: &str = "caxton.yaml";

/// Where the policies and the schema are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PolicyFolders {
    /// Folder with `*.cedar` files [default: `policies`]
    #[arg(long, global = true, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Folder with `*.cedarschema` files [default: `schemas`, else the shipped schema]
    #[arg(long, global = true, value_name = "DIR")]
    pub schemas: Option<PathBuf>,
    /// The configuration of a gateway, in place of folders: the set that it would read, with its roles file and with what
    /// stands beside the shipped set, and its approved tools and agents
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["policies", "schemas"])]
    pub config: Option<PathBuf>,
    /// The shipped policies, schema and tests, in place of folders
    #[arg(long, global = true, conflicts_with_all = ["policies", "schemas", "config"])]
    pub shipped: bool,
}

/// Whether a command is content with the shipped policies where there are no others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Some of one's own, unless `--shipped` says otherwise.
    Own,
    /// Any.
    Any,
}

impl PolicyFolders {
    /// The settings of the gateway that `--config` names.
    pub(super) fn settings(&self, output: &Output) -> anyhow::Result<Option<Settings>> {
        let Some(file) = &self.config else { return Ok(None) };
        match prepare::offline(Some(file), &Environment::of_process(), output)? {
            Ok(loaded) => Ok(Some(loaded.settings)),
            Err(_) => anyhow::bail!("the configuration `{}` has mistakes", file.display()),
        }
    }

    /// Policies and schema: as said, else from the folders below `base`.
    pub(super) fn sources(&self, base: &Path, need: Need, output: &Output) -> anyhow::Result<Sources> {
        if self.shipped {
            return Ok(Sources::shipped());
        }
        let sources = match self.settings(output)? {
            Some(settings) => configured(&settings)?,
            None => self.read_folders(base, need, output)?,
        };
        if need == Need::Own {
            self.refuse_nothing(base, &sources)?;
        }
        Ok(sources)
    }

    fn read_folders(&self, base: &Path, need: Need, output: &Output) -> anyhow::Result<Sources> {
        let policies = chosen(base, self.policies.as_ref(), POLICIES);
        let schemas = chosen(base, self.schemas.as_ref(), SCHEMAS);
        Ok(match (policies, schemas) {
            (Some(policies), Some(schemas)) => Sources::from_dirs(&policies, &schemas)?,
            (Some(policies), None) => {
                output.say("note: no folder `schemas` here, using the shipped schema");
                // A schema that lies among the policies is read with them.
                Sources::from_dirs(&policies, &policies)?.with_shipped(SourceKind::Schema)
            }
            (None, _) if need == Need::Own => return Err(nothing(&no_folder(base), base)),
            (None, Some(schemas)) => {
                output.say("note: no folder `policies` here, using the shipped policies");
                Sources::from_dirs(&schemas, &schemas)?.with_shipped(SourceKind::Policy)
            }
            (None, None) => {
                output.say("note: no folder `policies` here, using the shipped policies and schema");
                Sources::shipped()
            }
        })
    }

    /// An empty folder is a slip, not a set that is in order.
    fn refuse_nothing(&self, base: &Path, sources: &Sources) -> anyhow::Result<()> {
        let own = || {
            let policies = sources.iter().filter(|source| source.kind == SourceKind::Policy);
            policies.filter(|source| !source.is_built_in())
        };
        if own().any(|source| !is_blank(&source.text)) {
            return Ok(());
        }
        let folder = chosen(base, self.policies.as_ref(), POLICIES).unwrap_or_default();
        let found = match (&self.config, own().count()) {
            (Some(file), 0) => format!("the configuration `{}` names no policies of its own", file.display()),
            (None, 0) => format!("`{}` has no file `*.cedar`", folder.display()),
            (_, 1) => {
                format!("no policy stands in `{}`", own().map(|one| one.path.as_ref()).collect::<String>())
            }
            (_, files) => format!("no policy stands in the {files} files `*.cedar`"),
        };
        Err(nothing(&found, base))
    }

    /// The tests: those named, else those in the folder `policy-tests`, else with `--shipped` those that came with the program.
    pub(super) fn tests(&self, base: &Path, files: &[PathBuf], output: &Output) -> anyhow::Result<Suites> {
        if !files.is_empty() {
            return Ok(Suites::from_files(files)?);
        }
        if self.shipped {
            return Ok(Suites::shipped());
        }
        if let Some(folder) = self.test_folder(base) {
            return Ok(Suites::from_dir(&folder)?);
        }
        if self.config.is_none() && chosen(base, self.policies.as_ref(), POLICIES).is_none() {
            output.say("note: no folder `policy-tests` here, using the shipped tests");
            return Ok(Suites::shipped());
        }
        anyhow::bail!(
            "there are no tests: no folder `{TESTS}` in `{}`; name the test files, or write one (`caxton policy init` shows how)",
            place(base)
        )
    }

    /// The decision log: the one that was named, else the configuration's, else where a gateway here writes it.
    pub(super) fn log(&self, base: &Path, named: Option<&Path>, output: &Output) -> anyhow::Result<PathBuf> {
        if let Some(log) = named {
            return Ok(log.to_owned());
        }
        let configured = self.settings(output)?.map(|settings| settings.audit.path);
        Ok(configured.unwrap_or_else(|| base.join(LOG)))
    }

    /// The folder of tests: in the working directory, else beside the configuration.
    pub(super) fn test_folder(&self, base: &Path) -> Option<PathBuf> {
        let beside = self.config.as_ref().and_then(|file| file.parent()).map(|folder| folder.join(TESTS));
        [Some(base.join(TESTS)), beside].into_iter().flatten().find(|folder| folder.is_dir())
    }

    /// The bundle of a command that says whether policies are in order; its problems are shown and none comes back when it is
    /// refused.
    pub(super) fn load(&self, base: &Path, output: &Output) -> anyhow::Result<Option<Bundle>> {
        self.load_for(base, Need::Own, output)
    }

    /// The same of a command that is content with the shipped policies.
    pub(super) fn load_any(&self, base: &Path, output: &Output) -> anyhow::Result<Option<Bundle>> {
        self.load_for(base, Need::Any, output)
    }

    fn load_for(&self, base: &Path, need: Need, output: &Output) -> anyhow::Result<Option<Bundle>> {
        match Bundle::load(self.sources(base, need, output)?) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(errors) => {
                show(errors.problems(), output);
                let fatal = errors.problems().iter().filter(|problem| problem.fatal).count();
                output.say(render::invalid(fatal));
                Ok(None)
            }
        }
    }
}

/// The set that a gateway with these settings reads.
pub(super) fn configured(settings: &Settings) -> anyhow::Result<Sources> {
    let source = settings.policy_source();
    let none = std::sync::Arc::new(Vec::new);
    let loader = crate::changes::PolicyLoader { source, fragments: none, candidate_dir: None };
    loader.current_sources(SystemClock.now_millis()).context("the policies cannot be read")
}

/// A folder that was named has to be there; the default one may be missing.
pub(super) fn chosen(base: &Path, named: Option<&PathBuf>, default: &str) -> Option<PathBuf> {
    named.cloned().or_else(|| Some(base.join(default)).filter(|folder| folder.is_dir()))
}

/// Whether a text has nothing but blanks and comments. A `//` within a text of a policy stands behind its first word.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("//"))
}

fn no_folder(base: &Path) -> String {
    format!("there is no folder `{POLICIES}` in `{}`", place(base))
}

/// The folder as the person who reads the message knows it.
fn place(base: &Path) -> String {
    let folder = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display().to_string()
}

fn nothing(found: &str, base: &Path) -> anyhow::Error {
    let config = match base.join(CONFIG).is_file() {
        true => format!("take the gateway's with `--config {CONFIG}`"),
        false => "take the gateway's with `--config FILE`".to_owned(),
    };
    anyhow::anyhow!(
        "no policies of your own: {found}; name their folder with `--policies DIR`, {config}, or check the shipped set with `--shipped`"
    )
}
