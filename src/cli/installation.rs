//! Which installation a command is about: its configuration, as `caxton start` finds it, and what that says of its data
//! directory, its decision log and its address.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Url;

use super::output::{Exit, Output};
use super::prepare;
use crate::config::{Environment, LoadedConfig, load, locate};
use crate::server::Settings;

/// The address of a gateway whose configuration is not here.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The configuration of an installation.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// The configuration file of the gateway [default: `/etc/caxton/caxton.yaml` if it exists, else the embedded defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file that was named.
    pub(super) fn named(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// What the gateway would run with, secrets of a Vault aside; its mistakes have been reported.
    pub(super) fn offline(&self, output: &Output) -> anyhow::Result<Result<LoadedConfig, Exit>> {
        prepare::offline(self.named(), &Environment::of_process(), output)
    }

    /// The same for a command that needs but one value of it, `instead` being the option that names this value.
    fn settings(&self, instead: &str, output: &Output) -> anyhow::Result<Settings> {
        match self.offline(output)? {
            Ok(loaded) => Ok(loaded.settings),
            Err(_) => anyhow::bail!("the configuration cannot be used: correct it, or pass {instead}"),
        }
    }

    /// The address at which the gateway listens, for commands on the same host. A file that was not named need not be readable:
    /// the gateway may be on another host.
    pub(super) fn url(&self) -> anyhow::Result<Url> {
        let environment = Environment::of_process();
        let loaded = match (self.named(), load(locate(self.named()).as_deref(), &environment)) {
            (_, Ok(loaded)) => Some(loaded),
            (None, Err(_)) => None,
            (Some(file), Err(problems)) => {
                let problems = problems.lines().collect::<Vec<_>>().join("\n  ");
                anyhow::bail!(
                    "`{}` has no usable gateway address; correct it, or pass `--url`:\n  {problems}",
                    file.display()
                )
            }
        };
        let address = loaded.and_then(|loaded| loaded.settings.local_url());
        Ok(address.map_or_else(|| Url::parse(DEFAULT_URL), |address| Url::parse(&address))?)
    }
}

/// The data directory of an installation.
#[derive(Debug, Clone, Default, Args)]
pub struct DataDirectory {
    #[command(flatten)]
    config: ConfigFile,
    /// The data directory of the gateway, in place of the configuration's
    #[arg(long, global = true, env = "CAXTON_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDirectory {
    /// The data directory.
    pub(super) fn path(&self, output: &Output) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => Ok(self.config.settings("`--data-dir`", output)?.reload.data_dir),
        }
    }
}

/// The decision log of an installation.
#[derive(Debug, Clone, Default, Args)]
pub struct LogFile {
    /// The log file, in place of the configuration's
    #[arg(long = "log", value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    directory: DataDirectory,
}

impl LogFile {
    /// The configuration of the installation.
    pub(super) fn config(&self) -> &ConfigFile {
        &self.directory.config
    }

    /// The log file.
    pub(super) fn path(&self, output: &Output) -> anyhow::Result<PathBuf> {
        let DataDirectory { config, data_dir } = &self.directory;
        match (&self.log, data_dir) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(directory)) => Ok(directory.join("audit.log")),
            (None, None) => Ok(config.settings("`--log`", output)?.audit.path),
        }
    }
}
