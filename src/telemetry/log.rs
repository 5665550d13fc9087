//! The log of the process on stderr: JSON, one object a line, in the shape that a SIEM matches on; text on a terminal.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// What the log shows.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The lowest level: `error`, `warn`, `info`, `debug` or `trace`. Lines with the target `SECURITY` are written at
    /// every setting.
    pub level: String,
    /// Lines for people: where stderr is a terminal.
    pub text: bool,
}

/// Sets the level of the log of this process, once it was started.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

type SetLevel = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Starts the log of this process. A second start in one process keeps the first log.
pub fn init(settings: &LogSettings) {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let first = EnvFilter::new(filter(&settings.level));
    // Two types of handle, of which each sets the same.
    if settings.text {
        let log = log.with_target(false).with_env_filter(first).with_filter_reloading();
        let handle = log.reload_handle();
        start(log.try_init().is_ok(), move |level| handle.reload(EnvFilter::new(filter(level))).is_ok());
    } else {
        let log = log.json().with_env_filter(first).with_filter_reloading();
        let handle = log.reload_handle();
        start(log.try_init().is_ok(), move |level| handle.reload(EnvFilter::new(filter(level))).is_ok());
    }
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
    format!("{level},SECURITY=info,vaultrs=off,rustify=off")
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn security_events_pass_every_level() {
        assert_eq!(filter("error"), "error,SECURITY=info,vaultrs=off,rustify=off");
    }
}
