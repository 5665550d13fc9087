//! The log of the process on stderr: JSON, one object a line, in the shape that a SIEM matches on, or text for people.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// What the log shows.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The lowest level: `error`, `warn`, `info`, `debug` or `trace`. Lines with the target `SECURITY` are written at
    /// every setting.
    pub level: String,
    /// How a line is written.
    pub format: LogFormat,
}

/// How the lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text where stderr is a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line, and nothing else.
    Json,
    /// Text for people.
    Text,
}

impl LogFormat {
    /// Whether lines are JSON here.
    pub fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Json => true,
            Self::Text => false,
        }
    }
}

/// The target of lines by which a command tells its operator how it stands; they are written at every level.
pub const SERVICE: &str = "caxton::service";

/// Sets the level of the log of this process, once it was started.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

type SetLevel = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Starts the log of this process. A second start in one process keeps the first log.
pub fn init(settings: &LogSettings) {
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours);
    let first = EnvFilter::new(filter(&settings.level));
    // Two types of handle, of which each sets the same.
    if !settings.format.is_json() {
        let log = log.with_target(false).with_env_filter(first).with_filter_reloading();
        let handle = log.reload_handle();
        start(log.try_init().is_ok(), move |level| handle.reload(EnvFilter::new(filter(level))).is_ok());
    } else {
        let log = log.json().with_ansi(false).with_env_filter(first).with_filter_reloading();
        let handle = log.reload_handle();
        start(log.try_init().is_ok(), move |level| handle.reload(EnvFilter::new(filter(level))).is_ok());
    }
}

/// Logs a panic as one line, with its place, where the default writes text.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(target: SERVICE, place, "panic: {message}");
    }));
}

fn start(is_first: bool, set: impl Fn(&str) -> bool + Send + Sync + 'static) {
    if is_first {
        let _ = SET_LEVEL.set(Box::new(set));
    }
}

/// Sets the lowest level of the running log; whether it could be set.
pub fn set_level(level: &str) -> bool {
    SET_LEVEL.get().is_some_and(|set| set(level))
}

/// Security events have to reach the SIEM at every log level. The client of the Vault logs its requests, and those may
/// hold secrets, so it is silent.
fn filter(level: &str) -> String {
    format!("{level},SECURITY=info,{SERVICE}=info,vaultrs=off,rustify=off")
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn security_events_and_the_state_of_the_service_pass_every_level() {
        assert_eq!(filter("error"), "error,SECURITY=info,caxton::service=info,vaultrs=off,rustify=off");
    }
}
