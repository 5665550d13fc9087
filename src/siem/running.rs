//! The sinks of a gateway: opened before it serves, running beside it, stopped after its last record.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::{BatchReader, last_record};
use super::dead_letters::DeadLetters;
use super::delivery::{Delivery, DeliveryPorts};
use super::format::{RenderSettings, Renderer};
use super::mask::{MaskKeyError, RecordMask};
use super::settings::{ReceiverSettings, Settings, SinkSettings, StartAt, host_name};
use super::sink::elastic::Elastic;
use super::sink::file::FileSink;
use super::sink::otlp::Otlp;
use super::sink::sentinel::Sentinel;
use super::sink::splunk_hec::SplunkHec;
use super::sink::syslog::Syslog;
use super::sink::webhook::Webhook;
use super::sink::{Sink, SinkSetupError};
use crate::clock::SharedClock;
use crate::shared_state::{FollowerCursors, FollowerName, Unavailable};
use crate::telemetry::Metrics;

/// Why the sinks could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiemError {
    /// One sink.
    #[error("the sink `{name}` could not be set up")]
    Sink {
        /// Which.
        name: FollowerName,
        /// The cause.
        #[source]
        source: SinkSetupError,
    },
    /// The cursor of a sink could not be read.
    #[error("the sink `{name}` does not know where it was")]
    Cursor {
        /// Which.
        name: FollowerName,
        /// The cause, which names the file.
        #[source]
        source: Unavailable,
    },
    /// The key of masks.
    #[error(transparent)]
    MaskKey(#[from] MaskKeyError),
}

/// What sinks need of the gateway.
pub struct SinkPorts {
    /// Their cursors.
    pub cursors: Arc<dyn FollowerCursors>,
    /// Where they count.
    pub metrics: Arc<Metrics>,
    /// The time of signatures, tokens and dead letters.
    pub clock: SharedClock,
}

/// Sinks that do not run yet.
pub struct Sinks {
    deliveries: Vec<Delivery>,
    stop: CancellationToken,
}

impl Sinks {
    /// Opens the sinks of this log, which exists already. Reads and writes files: call it off the async threads.
    ///
    /// # Errors
    /// A file of a sink cannot be used, or a cursor cannot be read. No receiver is asked: one that is down stops no start.
    pub fn open(settings: Settings, log: &Path, ports: SinkPorts) -> Result<Self, SiemError> {
        let stop = CancellationToken::new();
        let mask = match settings.mask.is_empty() {
            true => RecordMask::new(Vec::new(), &[0; 32]),
            false => RecordMask::with_key_file(settings.mask, &settings.mask_key_file)?,
        };
        let mut render = RenderSettings::new(settings.instance.unwrap_or_else(host_name));
        render.ocsf_version = settings.ocsf_version;
        let SinkPorts { cursors, metrics, clock } = ports;
        let ports = DeliveryPorts { cursors, metrics, clock };
        let shared = Shared { log, mask, render, ports, stop: stop.clone() };
        let deliveries =
            settings.sinks.into_iter().map(|sink| shared.open(sink)).collect::<Result<_, _>>()?;
        Ok(Self { deliveries, stop })
    }

    /// Starts them, each on a task of its own.
    pub fn start(self) -> RunningSinks {
        let tasks = self.deliveries.into_iter().map(|delivery| tokio::spawn(delivery.run())).collect();
        RunningSinks { tasks, stop: self.stop.drop_guard() }
    }
}

/// What is the same for all sinks.
struct Shared<'s> {
    log: &'s Path,
    mask: RecordMask,
    render: RenderSettings,
    ports: DeliveryPorts,
    stop: CancellationToken,
}

impl Shared<'_> {
    fn open(&self, settings: SinkSettings) -> Result<Delivery, SiemError> {
        let SinkSettings { name, receiver, format, from, batch, linger, timeout, back_off } = settings;
        let (after, starts_anywhere) = self.begin(&name, from)?;
        let sink = self.receiver(receiver, (&name, format.is_json()), timeout);
        let sink = sink.map_err(|source| SiemError::Sink { name: name.clone(), source })?;
        let parts = (Renderer::new(format, self.render.clone()), self.mask.clone());
        let reader = BatchReader::new(self.log, after, starts_anywhere, parts, batch);
        let dead_letters = DeadLetters::beside(self.log, &name);
        Ok(Delivery {
            name,
            sink,
            reader: Some(Box::new(reader)),
            dead_letters,
            ports: self.ports.clone(),
            back_off,
            linger,
            failures: 0,
            stop: self.stop.clone(),
        })
    }

    /// After which record the sink begins, and whether the log may begin later than that.
    fn begin(&self, name: &FollowerName, from: StartAt) -> Result<(u64, bool), SiemError> {
        let fault = |source| SiemError::Cursor { name: name.clone(), source };
        let last = last_record(self.log).unwrap_or_default();
        match self.ports.cursors.load(name).map_err(fault)? {
            Some(cursor) if cursor <= last => Ok((cursor, false)),
            Some(cursor) => {
                let (sink, log) = (name.as_str(), self.log.display());
                tracing::warn!(
                    sink,
                    cursor,
                    last,
                    "`{log}` ends before the cursor: it is another log, and is sent from its beginning"
                );
                Ok((0, true))
            }
            None if from == StartAt::Now => {
                // At once: a crash must not move the beginning.
                self.ports.cursors.store(name, last).map_err(fault)?;
                Ok((last, false))
            }
            None => Ok((0, true)),
        }
    }

    fn receiver(
        &self,
        receiver: ReceiverSettings,
        (name, is_json): (&FollowerName, bool),
        timeout: Duration,
    ) -> Result<Box<dyn Sink>, SinkSetupError> {
        let (instance, clock) = (Arc::clone(&self.render.instance), Arc::clone(&self.ports.clock));
        Ok(match receiver {
            ReceiverSettings::File(settings) => Box::new(FileSink::new(settings)),
            ReceiverSettings::Syslog(settings) => Box::new(Syslog::new(settings, instance, timeout)?),
            ReceiverSettings::Webhook(settings) => {
                Box::new(Webhook::new(settings, (name.as_str(), is_json), timeout, clock)?)
            }
            ReceiverSettings::SplunkHec(settings) => {
                Box::new(SplunkHec::new(settings, (instance, is_json), timeout)?)
            }
            ReceiverSettings::Elastic(settings) => Box::new(Elastic::new(settings, timeout)?),
            ReceiverSettings::Otlp(settings) => Box::new(Otlp::new(settings, &instance, timeout)?),
            ReceiverSettings::Sentinel(settings) => Box::new(Sentinel::new(settings, timeout, clock)?),
        })
    }
}

/// Sinks at work. Dropped, they end at their next step.
pub struct RunningSinks {
    tasks: Vec<JoinHandle<()>>,
    stop: DropGuard,
}

impl RunningSinks {
    /// Lets each sink send what is in the log, without waiting for a receiver that fails, for at most `grace`. The rest is
    /// sent after the next start.
    pub async fn stop(self, grace: Duration) {
        let Self { tasks, stop } = self;
        stop.disarm().cancel();
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(grace, futures::future::join_all(tasks)).await.is_err() {
            tracing::warn!(
                "records of the decision log were still being sent when the gateway stopped; they are sent after the next start"
            );
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}
