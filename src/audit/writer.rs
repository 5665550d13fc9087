//! The one thread that writes the log: takes what waits, writes it with one call, then answers everybody.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::AuditError;
use super::error::Unavailable;
use super::file::{FileFault, LogFile};
use super::journal::Receipt;
use super::line::{Encoder, Link};
use super::queue::{Job, Queue, Taken};
use super::record::Record;
use super::settings::{Durability, Settings};
use super::syncer::Syncer;
use crate::telemetry::{Metrics, SinkLabels};

/// A batch is written when it has this many bytes, even when more waits.
const BATCH_BYTES: usize = 1 << 20;

type Answer = oneshot::Sender<Result<Receipt, AuditError>>;

pub(super) struct Writer {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    syncer: Syncer,
    file: LogFile,
    durability: Durability,
    retry: Duration,
    record_bytes: usize,
    encoder: Encoder,
    /// The last record on file.
    written: Link,
    /// The last record in `batch`.
    staged: Link,
    batch: String,
    answers: Vec<(Answer, Receipt)>,
}

impl Writer {
    pub(super) fn new(
        settings: &Settings,
        file: LogFile,
        last: Link,
        queue: Arc<Queue>,
        syncer: Syncer,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            queue,
            metrics,
            syncer,
            file,
            durability: settings.durability,
            retry: settings.retry,
            record_bytes: settings.record_bytes,
            encoder: Encoder::default(),
            written: last,
            staged: last,
            batch: String::new(),
            answers: Vec::new(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        // Runs however the thread ends, so that nobody waits for a writer that is gone.
        let finish = Finish(&queue);
        loop {
            let patience = (!queue.is_healthy()).then_some(self.retry);
            match queue.take(patience) {
                Taken::Jobs(jobs) => {
                    self.serve(jobs);
                    // Under load others go first, and the next batch is larger: one write and one wake for many.
                    thread::yield_now();
                }
                Taken::Nothing => self.probe(),
                Taken::Closed => break,
            }
        }
        if let Err(error) = self.file.sync() {
            drop(self.failed(error.into()));
        }
        // The lock on the file must be gone before anybody hears that the journal is closed.
        drop(self);
        drop(finish);
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        let count = jobs.len();
        for job in jobs {
            match job {
                Job::Append(record, answer) => self.stage(&record, answer),
                Job::Flush(answer) => {
                    self.commit();
                    let synced =
                        self.file.sync().map_err(|error| AuditError::Unavailable(self.failed(error.into())));
                    // Whoever asked may have gone away.
                    drop(answer.send(synced));
                }
            }
            if self.batch.len() >= BATCH_BYTES {
                self.commit();
            }
        }
        self.commit();
        self.queue.done(count);
    }

    fn stage(&mut self, record: &Record, answer: Answer) {
        match self.encoder.line(record, self.staged, self.record_bytes, &mut self.batch) {
            Ok(link) => {
                self.staged = link;
                self.answers.push((answer, Receipt::new(record.decision_id, link.seq)));
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Writes the batch and answers everybody in it: all are written, or none is.
    fn commit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = self.write();
        self.batch.clear();
        match written {
            Ok(()) => {
                self.written = self.staged;
                self.queue.set_healthy(true);
                for (answer, receipt) in self.answers.drain(..) {
                    // The record stays, whether anybody still waits for the receipt or not.
                    drop(answer.send(Ok(receipt)));
                }
            }
            Err(fault) => {
                self.staged = self.written;
                let cause = self.failed(fault);
                for (answer, _) in self.answers.drain(..) {
                    drop(answer.send(Err(AuditError::Unavailable(cause.clone()))));
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), FileFault> {
        if let Some(error) = self.syncer.take_failure() {
            // What the kernel lost is lost, but nothing more may follow it unless the disk takes it.
            tracing::error!(%error, "the decision log was not synced to the disk");
            self.file.sync()?;
        }
        self.file.append(self.batch.as_bytes())?;
        match self.durability {
            Durability::Written => self.syncer.dirty(),
            Durability::Synced => {
                if let Err(error) = self.file.sync() {
                    self.file.withdraw(self.batch.len());
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Looks whether a journal that could not write can again, so that the gate opens without a request that has
    /// to fail first.
    fn probe(&mut self) {
        match self.file.probe() {
            Ok(()) => self.queue.set_healthy(true),
            Err(fault) => drop(self.failed(fault)),
        }
    }

    /// Closes the gate, and tells the operator when it was open.
    fn failed(&self, fault: FileFault) -> Unavailable {
        self.metrics.audit_sink_errors.get_or_create(&SinkLabels { sink: "file" }).inc();
        if self.queue.is_healthy() {
            tracing::error!(
                error = &fault as &dyn std::error::Error,
                help = fault.help(),
                "the decision log cannot take records, every request is refused"
            );
        }
        self.queue.set_healthy(false);
        Unavailable::File(Arc::new(fault))
    }
}

/// Says that the writer is gone when it goes out of scope.
struct Finish<'a>(&'a Queue);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
