//! The log of the process on stderr: JSON, one object a line, in the shape that a SIEM matches on; text on a terminal.

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

/// Starts the log of this process. A second start in one process keeps the first log.
pub fn init(settings: &LogSettings) {
    let filter = EnvFilter::new(filter(&settings.level));
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let _ = match settings.text {
        true => log.with_target(false).try_init(),
        false => log.json().try_init(),
    };
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
