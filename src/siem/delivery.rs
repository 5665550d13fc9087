//! The loop of one sink: read, send, and move the cursor when the receiver has acknowledged.
//!
//! INVARIANT: the cursor is stored only after every record up to it was acknowledged, stands among the dead letters, or was
//! counted as lost. So a record may arrive twice, after a crash of either side, and never not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, BatchReader, LostRecords};
use super::dead_letters::DeadLetters;
use super::sink::{OutgoingRecord, SendError, Sink};
use crate::blocking;
use crate::clock::SharedClock;
use crate::events::SecurityEvent;
use crate::shared_state::{FollowerCursors, FollowerName};
use crate::telemetry::{Metrics, SinkLabels};

/// How often a log at whose end a sink stands is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long a sink waits after a failure.
#[derive(Debug, Clone, Copy)]
pub struct BackOff {
    /// After the first one; each further one doubles it.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

impl BackOff {
    /// The wait after so many failures in a row, from half of it on: sinks that failed together do not come back together.
    fn after(self, failures: u32) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole = doubled.min(self.longest);
        let mut random = [0];
        // Without randomness there is no jitter.
        let _ = aws_lc_rs::rand::fill(&mut random);
        whole / 2 + (whole / 2).mul_f64(f64::from(random[0]) / 255.0)
    }
}

/// What several sinks share.
#[derive(Clone)]
pub(super) struct DeliveryPorts {
    pub(super) cursors: Arc<dyn FollowerCursors>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
}

/// One sink at work.
pub(super) struct Delivery {
    pub(super) name: FollowerName,
    pub(super) sink: Box<dyn Sink>,
    pub(super) reader: Option<Box<BatchReader>>,
    pub(super) dead_letters: DeadLetters,
    pub(super) ports: DeliveryPorts,
    pub(super) back_off: BackOff,
    /// How long a batch that is not full waits for more.
    pub(super) linger: Duration,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) stop: CancellationToken,
}

/// The gateway stops, and the sink had its last try.
struct Stopped;

impl Delivery {
    /// Sends records until `stop`; then those that are there, without waiting for a receiver that fails.
    pub(super) async fn run(mut self) {
        while self.step().await.is_ok() {}
    }

    async fn step(&mut self) -> Result<(), Stopped> {
        // Asked before the read: what was written before the stop is read after it.
        let stopping = self.stop.is_cancelled();
        let batch = self.read(Vec::new()).await?;
        if batch.records.is_empty() && batch.lost.is_empty() {
            if stopping {
                return Err(Stopped);
            }
            wait(&self.stop, POLL).await;
            return Ok(());
        }
        let batch = if batch.is_full || self.linger.is_zero() || !batch.lost.is_empty() {
            batch
        } else {
            wait(&self.stop, self.linger).await;
            self.read(batch.records).await?
        };
        self.deliver(&batch.records).await?;
        self.count_lost(&batch.lost).await
    }

    /// The next records after `begun`, as many as a batch takes.
    async fn read(&mut self, begun: Vec<OutgoingRecord>) -> Result<Batch, Stopped> {
        let mut begun = Some(begun);
        loop {
            let Some(mut reader) = self.reader.take() else { return Err(Stopped) };
            let records = begun.take().unwrap_or_default();
            let Ok((reader, read)) = blocking::run(move || {
                let batch = reader.read(records);
                (reader, batch)
            })
            .await
            else {
                return Err(Stopped);
            };
            self.gauge_lag(&reader);
            self.reader = Some(reader);
            match read {
                Ok(batch) => return Ok(batch),
                Err(error) => self.fail(&super::sink::http::with_causes(&error), None).await?,
            }
        }
    }

    fn labels(&self) -> SinkLabels {
        SinkLabels { sink: self.name.to_string() }
    }

    fn gauge_lag(&self, reader: &BatchReader) {
        let lag = i64::try_from(reader.behind()).unwrap_or(i64::MAX);
        self.ports.metrics.audit_sink_lag.get_or_create(&self.labels()).set(lag);
    }

    /// Counts and tells a failure, and waits. After `stop` there is no next try.
    async fn fail(&mut self, why: &str, after: Option<Duration>) -> Result<(), Stopped> {
        self.failures = self.failures.saturating_add(1);
        self.ports.metrics.audit_sink_errors.get_or_create(&self.labels()).inc();
        // The lag grows while a receiver is down.
        if let Some(mut reader) = self.reader.take()
            && let Ok(reader) = blocking::run(move || {
                reader.look_for_the_end();
                reader
            })
            .await
        {
            self.gauge_lag(&reader);
            self.reader = Some(reader);
        }
        // The first, and then each doubling: a receiver that is down for a day does not fill the log of the gateway.
        if self.failures.is_power_of_two() {
            let (sink, failures) = (self.name.as_str(), self.failures);
            tracing::warn!(
                sink,
                failures,
                error = why,
                "records of the decision log could not be sent; they wait"
            );
        }
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        let time = self.back_off.after(self.failures);
        wait(&self.stop, after.map_or(time, |after| after.max(time))).await;
        Ok(())
    }

    /// Sends the records, and halves of them where one is refused, until the cursor stands after the last.
    async fn deliver(&mut self, records: &[OutgoingRecord]) -> Result<(), Stopped> {
        let mut waiting = vec![records];
        while let Some(part) = waiting.pop() {
            let Some(last) = part.last() else { continue };
            match self.sink.send(part).await {
                Ok(acknowledged) => {
                    self.recovered();
                    for refused in &acknowledged.refused {
                        if let Some(record) = part.get(refused.index) {
                            self.set_aside(record, &refused.reason).await?;
                        }
                    }
                    let taken = part.len().saturating_sub(acknowledged.refused.len()) as u64;
                    self.ports.metrics.audit_sink_delivered.get_or_create(&self.labels()).inc_by(taken);
                    self.store(last.seq).await?;
                }
                Err(SendError::Refused(reason)) => {
                    self.recovered();
                    match part {
                        [one] => {
                            self.set_aside(one, &reason).await?;
                            self.store(one.seq).await?;
                        }
                        several => {
                            let (left, right) = several.split_at(several.len() / 2);
                            waiting.push(right);
                            waiting.push(left);
                        }
                    }
                }
                Err(SendError::Retry { why, after }) => {
                    self.fail(&why, after).await?;
                    waiting.push(part);
                }
            }
        }
        Ok(())
    }

    fn recovered(&mut self) {
        if self.failures > 0 {
            tracing::info!(sink = self.name.as_str(), failures = self.failures, "records are sent again");
        }
        self.failures = 0;
    }

    /// Writes the record to the dead letters. While that is not possible, the sink stands.
    async fn set_aside(&mut self, record: &OutgoingRecord, reason: &str) -> Result<(), Stopped> {
        loop {
            let letters = self.dead_letters.clone();
            let (time, record, text) = (self.ports.clock.now_millis(), record.clone(), reason.to_owned());
            let written = blocking::try_run(move || letters.write(time, &record, &text)).await;
            match written {
                Ok(()) => break,
                Err(error) => self.fail(&format!("dead letters: {error}"), None).await?,
            }
        }
        self.ports.metrics.audit_sink_dead_letters.get_or_create(&self.labels()).inc();
        tracing::warn!(sink = self.name.as_str(), seq = record.seq, reason, "a record was refused for good");
        Ok(())
    }

    /// Stores the cursor. While that is not possible, the sink stands: going on could leave a hole after a crash.
    async fn store(&mut self, seq: u64) -> Result<(), Stopped> {
        loop {
            let (cursors, name) = (Arc::clone(&self.ports.cursors), self.name.clone());
            let stored = blocking::run(move || cursors.store(&name, seq)).await;
            match stored {
                Ok(Ok(())) => break,
                Ok(Err(error)) => self.fail(&error.to_string(), None).await?,
                Err(_) => return Err(Stopped),
            }
        }
        if let Some(reader) = &mut self.reader {
            reader.acknowledge(seq);
            let lag = i64::try_from(reader.behind()).unwrap_or(i64::MAX);
            self.ports.metrics.audit_sink_lag.get_or_create(&self.labels()).set(lag);
        }
        Ok(())
    }

    /// Counts records that cannot be read any more, and goes on after them.
    async fn count_lost(&mut self, lost: &[LostRecords]) -> Result<(), Stopped> {
        for gap in lost {
            let number = gap.last.saturating_sub(gap.first).saturating_add(1);
            self.ports.metrics.audit_sink_lost.get_or_create(&self.labels()).inc_by(number);
            let event = SecurityEvent::AuditRecordsLost {
                sink: self.name.as_str(),
                first: gap.first,
                last: gap.last,
            };
            event.emit(&self.ports.metrics);
            self.store(gap.last).await?;
        }
        Ok(())
    }
}

/// Waits, or until the gateway stops.
async fn wait(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(time) => {}
    }
}

#[cfg(test)]
mod tests;
