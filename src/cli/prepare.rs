//! What commands that need a configuration have in common: read it, say what is wrong with it, start the log.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use super::output::{Exit, Output};
use crate::authn::api_key::Settings;
use crate::authn::{KeyHolder, KeyStore};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Environment, LoadedConfig, Weakness, load as load_config, locate, security_check};
use crate::events::SecurityEvent;
use crate::model::{RoleName, ServiceName};
use crate::secrets::{VaultError, VaultProvider};
use crate::telemetry::{self, LogFormat};

/// A configuration whose secrets have been fetched.
pub(super) struct Prepared {
    pub(super) loaded: LoadedConfig,
    /// The Vault that they came from.
    pub(super) vault: Option<VaultProvider>,
}

impl Prepared {
    /// For a command that needs the Vault no longer.
    pub(super) fn finish(self) -> std::io::Result<LoadedConfig> {
        self.vault.map_or(Ok(()), give_back)?;
        Ok(self.loaded)
    }
}

/// Revokes the login, which would otherwise stay valid until its lease expires.
fn give_back(vault: VaultProvider) -> std::io::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(vault.end());
    Ok(())
}

/// The configuration, or the exit of a command that cannot go on without it; the mistakes have been reported.
pub(super) fn load(
    named: Option<&Path>,
    environment: &Environment,
    output: &Output,
) -> anyhow::Result<Result<Prepared, Exit>> {
    let loaded = match offline(named, environment, output)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(Err(exit)),
    };
    let Some(settings) = loaded.process.vault.clone() else {
        return Ok(Ok(Prepared { loaded, vault: None }));
    };
    let fetched = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let vault = VaultProvider::connect(settings).await?;
        match vault.fetch().await {
            Ok(secrets) => Ok((vault, secrets)),
            Err(error) => {
                vault.end().await;
                Err(error)
            }
        }
    });
    let (vault, secrets) = match fetched {
        Ok(fetched) => fetched,
        Err(error) => return Ok(Err(without_secrets(&error, output))),
    };
    // Once more, now with what the names stand for.
    match offline(named, &environment.with_secrets(secrets), output) {
        Ok(Ok(loaded)) => Ok(Ok(Prepared { loaded, vault: Some(vault) })),
        refused => {
            give_back(vault)?;
            refused.map(|exit| exit.map(|loaded| Prepared { loaded, vault: None }))
        }
    }
}

/// The same for a command that needs no secret: a text stands for each that the Vault would give.
pub(super) fn offline(
    named: Option<&Path>,
    environment: &Environment,
    output: &Output,
) -> anyhow::Result<Result<LoadedConfig, Exit>> {
    match load_config(locate(named).as_deref(), environment) {
        Ok(loaded) => Ok(Ok(loaded)),
        Err(problems) => super::config::refuse(&problems, output).map(|()| Err(Exit::Usage)),
    }
}

/// Makes the directory of schemas that the configuration names, where nothing else is wrong with it: approved tools go there.
pub(super) fn make_schema_dir(
    named: Option<&Path>,
    environment: &Environment,
    output: &Output,
) -> anyhow::Result<()> {
    if let Err(problems) = load_config(locate(named).as_deref(), environment)
        && let Some(path) = problems.only_absent("security.authorization.schema_dir")
    {
        std::fs::create_dir_all(path).with_context(|| format!("creating `{}`", path.display()))?;
        output.say(format_args!("created `{}`", path.display()));
    }
    Ok(())
}

fn without_secrets(error: &VaultError, output: &Output) -> Exit {
    output.error(describe(error));
    output.say(format_args!("help: {}", error.help()));
    if error.is_unreachable() { Exit::Unreachable } else { Exit::Usage }
}

/// Lets the process open as many files as the system allows it: a shell gives 1,024, and each connection is one.
pub(super) fn raise_open_files() {
    const MOST: u64 = 1 << 20;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the limit of open files stays as it is"
            );
        }
    }
}

/// The threads of a gateway: two at least, so that one that waits for the disk does not stop the others.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .thread_stack_size(crate::stack::BYTES)
        .enable_all()
        .build()
}

/// Starts the log of a service, at first at its default level, before anything else is said; what comes back speaks as the log
/// does.
pub(super) fn start_log(format: LogFormat, output: &Output) -> Output {
    telemetry::init(&telemetry::LogSettings { level: "info".to_owned(), format });
    if !format.is_json() {
        return *output;
    }
    telemetry::log_panics();
    output.of_service()
}

/// The level of the log is the configured one from here on.
pub(super) fn set_log_level(loaded: &LoadedConfig) {
    telemetry::set_level(loaded.process.log_level.as_str());
}

/// Shows warnings of the configuration before the gateway serves, and logs legal settings that weaken the installation.
pub(super) fn warn(loaded: &LoadedConfig, output: &Output) {
    if output.logs() {
        loaded.warnings.lines().for_each(|line| output.warning(line));
    } else if !loaded.warnings.is_empty() {
        output.say(loaded.warnings.render(std::io::stderr().is_terminal()).trim_end());
    }
    for weakness in security_check(loaded) {
        let Weakness { key, value, why, fix } = &weakness;
        SecurityEvent::WeakSetting { key, value, why, fix }.log();
    }
}

const FIRST_KEY_DAYS: i64 = 90;

/// Without tokens and without any API key, a first administrator's key is created and printed once.
pub(super) fn first_key(settings: &Settings, output: &Output) -> anyhow::Result<()> {
    let store = KeyStore::open(settings)?;
    if !store.list()?.is_empty() {
        return Ok(());
    }
    let now = SystemClock.now_millis();
    let expires = now + FIRST_KEY_DAYS * 24 * 3600 * 1000;
    let name = ServiceName::parse("first-admin")?;
    store.note("create_key", "name `first-admin`, permissions `admin`", now)?;
    let key = store.create(&name, &KeyHolder::Service, &[RoleName::parse("admin")?], now, expires)?;
    output.say(
        "there is no API key yet. This is a first key with the role admin. Store it now: it is not shown again:",
    );
    output.line(key.secret.expose())
}

/// An error with its causes, one to a line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because {error}"));
        cause = error.source();
    }
    text
}
