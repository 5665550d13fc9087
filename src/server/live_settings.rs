//! What of the configuration changes while the gateway runs.

use super::Gateway;
use crate::events::SecurityEvent;
use crate::shared_state::Unavailable;
use crate::telemetry;

/// The settings that a running gateway takes over. All others need a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveSettings {
    /// The lowest level of the log (`server.log_level`); `None`: it stays.
    pub log_level: Option<String>,
    /// Whether the lockdown is on (`security.emergency.enable_lockdown_mode`); `None`: it stays.
    pub lockdown: Option<bool>,
}

/// Why changed settings are not, or not wholly, in force.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The decision log did not take the record.
    #[error("the change could not be recorded, so it was not made")]
    Unrecorded,
    /// The lockdown could not be changed.
    #[error("the lockdown could not be changed")]
    Lockdown(#[from] Unavailable),
    /// The level of the log could not be changed.
    #[error("the level of the log could not be changed")]
    Log,
}

impl Gateway {
    /// Takes settings over. `detail` is what the record says of the change.
    ///
    /// # Errors
    /// Some of it is not in force. A lockdown is turned on before its record, so that a full disk does not keep it off, and
    /// turned off after it.
    pub async fn apply_settings(&self, settings: &LiveSettings, detail: &str) -> Result<(), SettingsError> {
        if settings.lockdown == Some(true) {
            self.parts.lockdown.set(true).await?;
        }
        let event = SecurityEvent::SettingsReloaded { detail };
        self.parts.recorded(&event).await.map_err(|_| SettingsError::Unrecorded)?;
        if settings.lockdown == Some(false) {
            self.parts.lockdown.set(false).await?;
        }
        match &settings.log_level {
            Some(level) if !telemetry::set_level(level) => Err(SettingsError::Log),
            _ => Ok(()),
        }
    }

    /// Notes that a configuration was refused; nothing has changed.
    pub async fn refused_settings(&self, why: &str) {
        self.parts.event(SecurityEvent::SettingsRefused { why }).await;
    }
}
