//! SIGHUP reads `caxton.yaml` again: what can change while the gateway runs changes, the rest is named.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::output::Output;
use super::prepare;
use crate::config::{EffectiveValue, Environment};
use crate::server::{Gateway, LiveSettings};

const LOG_LEVEL: &str = "server.log_level";
const LOCKDOWN: &str = "security.emergency.enable_lockdown_mode";

/// The settings that a gateway runs with, and where they came from.
pub(super) struct RunningSettings<'e> {
    file: Option<PathBuf>,
    environment: &'e Environment,
    values: BTreeMap<String, String>,
}

/// How a configuration differs from the running settings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    live: LiveSettings,
    /// The keys of `live`, with their new values.
    taken: Vec<String>,
    /// Keys whose new values need a restart.
    restart: Vec<String>,
}

impl<'e> RunningSettings<'e> {
    pub(super) fn new(
        file: Option<PathBuf>,
        environment: &'e Environment,
        values: &[EffectiveValue],
    ) -> Self {
        Self { file, environment, values: by_key(values) }
    }

    /// Reads the configuration again. What is not valid changes nothing. A secret that changed is not seen: it is masked.
    pub(super) async fn reload(&mut self, gateway: &Gateway, output: &Output) {
        let loaded =
            tokio::task::block_in_place(|| prepare::offline(self.file.as_deref(), self.environment, output));
        let values = match loaded {
            Ok(Ok(loaded)) => by_key(&loaded.values),
            Ok(Err(_)) | Err(_) => {
                output.error("reload refused, the old settings stay");
                let file =
                    self.file.as_deref().map_or("the environment".into(), |file| file.to_string_lossy());
                gateway.refused_settings(&format!("{file} is not valid")).await;
                return;
            }
        };
        let Difference { live, taken, restart } = difference(&self.values, &values);
        if !taken.is_empty() {
            let detail = taken.join(", ");
            match gateway.apply_settings(&live, &detail).await {
                Ok(()) => output.say(format_args!("reloaded: {detail}")),
                Err(error) => {
                    output.error(prepare::describe(&error));
                    return;
                }
            }
            for key in [LOG_LEVEL, LOCKDOWN] {
                if let Some(value) = values.get(key) {
                    self.values.insert(key.to_owned(), value.clone());
                }
            }
        }
        if !restart.is_empty() {
            output.say(format_args!("changed, and in force after a restart: {}", restart.join(", ")));
        }
    }
}

fn by_key(values: &[EffectiveValue]) -> BTreeMap<String, String> {
    values.iter().map(|value| (value.key.clone(), value.value.clone())).collect()
}

fn difference(running: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Difference {
    let mut difference = Difference::default();
    let keys = running.keys().chain(new.keys().filter(|key| !running.contains_key(*key)));
    for key in keys.filter(|key| running.get(*key) != new.get(*key)) {
        match (key.as_str(), new.get(key)) {
            (LOG_LEVEL, Some(level)) => difference.live.log_level = Some(level.clone()),
            (LOCKDOWN, Some(on)) => difference.live.lockdown = Some(on == "true"),
            _ => {
                difference.restart.push(format!("`{key}`"));
                continue;
            }
        }
        difference.taken.push(format!("`{key}: {}`", new.get(key).map_or("", String::as_str)));
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_can_change_is_told_from_what_needs_a_restart() {
        let running = values(&[(LOG_LEVEL, "info"), (LOCKDOWN, "false"), ("server.port", "1"), ("a", "x")]);
        assert_eq!(difference(&running, &running), Difference::default());
        let new = values(&[(LOG_LEVEL, "debug"), (LOCKDOWN, "true"), ("server.port", "2"), ("b", "y")]);
        let found = difference(&running, &new);
        assert_eq!(found.live, LiveSettings { log_level: Some("debug".to_owned()), lockdown: Some(true) });
        assert_eq!(found.taken, [format!("`{LOCKDOWN}: true`"), format!("`{LOG_LEVEL}: debug`")]);
        assert_eq!(found.restart, ["`a`", "`server.port`", "`b`"]);
    }
}
