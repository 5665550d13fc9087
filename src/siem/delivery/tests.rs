//! The loop against a receiver that fails in every way that a receiver can.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::*;
use crate::audit::Journal;
use crate::clock::ManualClock;
use crate::siem::batch::BatchLimits;
use crate::siem::cursor::{FileCursors, follower_folder};
use crate::siem::format::{RecordFormat, RenderSettings, Renderer};
use crate::siem::mask::RecordMask;
use crate::siem::sink::{Acknowledged, RefusedRecord};
use crate::siem::tests::{journal, records};

/// What the receiver does with the next batch; without an entry it takes it.
#[derive(Debug, Clone)]
enum Behaviour {
    Fail,
    /// It takes the batch, and its answer is lost.
    TakeAndFail,
    /// It refuses any batch with this record.
    RefuseBatchWith(u64),
    /// It takes all but this record, and says so.
    RefuseRecord(u64),
}

#[derive(Default)]
struct ReceiverState {
    script: VecDeque<Behaviour>,
    always: Option<Behaviour>,
    taken: Vec<u64>,
    batches: Vec<usize>,
    tries: usize,
}

#[derive(Clone, Default)]
struct TestReceiver(Arc<Mutex<ReceiverState>>);

impl TestReceiver {
    fn always(behaviour: Behaviour) -> Self {
        let receiver = Self::default();
        receiver.0.lock().always = Some(behaviour);
        receiver
    }

    fn script(behaviours: impl IntoIterator<Item = Behaviour>) -> Self {
        let receiver = Self::default();
        receiver.0.lock().script = behaviours.into_iter().collect();
        receiver
    }

    fn taken(&self) -> Vec<u64> {
        self.0.lock().taken.clone()
    }
}

#[async_trait::async_trait]
impl Sink for TestReceiver {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let mut state = self.0.lock();
        state.tries += 1;
        let behaviour = state.script.pop_front().or_else(|| state.always.clone());
        let all: Vec<u64> = batch.iter().map(|record| record.seq).collect();
        match behaviour {
            Some(Behaviour::Fail) => Err(SendError::retry("down")),
            Some(Behaviour::TakeAndFail) => {
                state.taken.extend(all);
                Err(SendError::retry("no answer"))
            }
            Some(Behaviour::RefuseBatchWith(seq)) if all.contains(&seq) => {
                Err(SendError::Refused("wrong".to_owned()))
            }
            Some(Behaviour::RefuseRecord(seq)) if all.contains(&seq) => {
                let index = all.iter().position(|one| *one == seq).unwrap();
                state.taken.extend(all.iter().filter(|one| **one != seq));
                Ok(Acknowledged { refused: vec![RefusedRecord { index, reason: "wrong".to_owned() }] })
            }
            _ => {
                state.batches.push(all.len());
                state.taken.extend(all);
                Ok(Acknowledged::default())
            }
        }
    }
}

struct Place {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), metrics: Arc::new(Metrics::new()) }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// A log of so many records.
    async fn with_log(number: usize) -> (Self, Journal) {
        let place = Self::new();
        let journal = journal(place.folder.path());
        for record in records().into_iter().cycle().take(number) {
            journal.append(record).await.unwrap();
        }
        (place, journal)
    }

    fn cursors(&self) -> FileCursors {
        FileCursors::beside(&self.log())
    }

    fn name() -> FollowerName {
        "test".parse().unwrap()
    }

    fn cursor(&self) -> Option<u64> {
        self.cursors().load(&Self::name()).unwrap()
    }

    fn delivery(&self, sink: impl Sink + 'static, records: usize) -> Delivery {
        let after = self.cursor();
        let parts = (
            Renderer::new(RecordFormat::Ocsf, RenderSettings::new("gateway")),
            RecordMask::new(Vec::new(), &[0; 32]),
        );
        let limits = BatchLimits { records, bytes: 1 << 20 };
        let reader = BatchReader::new(&self.log(), after.unwrap_or(0), after.is_none(), parts, limits);
        Delivery {
            name: Self::name(),
            sink: Box::new(sink),
            reader: Some(Box::new(reader)),
            dead_letters: DeadLetters::beside(&self.log(), &Self::name()),
            ports: DeliveryPorts {
                cursors: Arc::new(self.cursors()),
                metrics: Arc::clone(&self.metrics),
                clock: Arc::new(ManualClock::at_millis(1_768_039_200_121)),
            },
            back_off: BackOff { first: Duration::from_millis(1), longest: Duration::from_millis(4) },
            linger: Duration::ZERO,
            failures: 0,
            stop: CancellationToken::new(),
        }
    }

    /// Runs the sink until its cursor stands at `seq`, then stops it.
    async fn run_to(&self, delivery: Delivery, seq: u64) {
        let stop = delivery.stop.clone();
        let task = tokio::spawn(delivery.run());
        let arrived = async {
            while self.cursor() != Some(seq) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), arrived).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    fn letters(&self) -> Vec<serde_json::Value> {
        let path = follower_folder(&self.log()).join("test.dead-letters.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| crate::json::parse(line.as_bytes()).unwrap()).collect()
    }

    fn metric(&self, name: &str) -> i64 {
        let start = format!("caxton_audit_sink_{name}{{sink=\"test\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |number| number.parse().unwrap())
    }
}

#[test]
fn waits_grow_to_a_bound() {
    let back_off = BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
    let cases = [(1, 50, 100), (2, 100, 200), (6, 1_600, 3_200), (7, 2_500, 5_000), (u32::MAX, 2_500, 5_000)];
    for (failures, least, most) in cases {
        for _ in 0..20 {
            let wait = back_off.after(failures).as_millis();
            assert!((least..=most).contains(&wait), "{failures}: {wait}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_once_and_in_order_where_nothing_fails() {
    let (place, _journal) = Place::with_log(25).await;
    let receiver = TestReceiver::default();
    place.run_to(place.delivery(receiver.clone(), 10), 25).await;
    assert_eq!(receiver.taken(), (1..=25).collect::<Vec<_>>());
    assert_eq!(receiver.0.lock().batches, [10, 10, 5]);
    assert_eq!((place.metric("delivered_total"), place.metric("lag_records")), (25, 0));
    // Another process goes on where this one was.
    let again = TestReceiver::default();
    let delivery = place.delivery(again.clone(), 10);
    delivery.stop.cancel();
    delivery.run().await;
    assert_eq!(again.taken(), [0_u64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_not_acknowledged_comes_again() {
    let (place, _journal) = Place::with_log(6).await;
    let receiver = TestReceiver::script([
        Behaviour::Fail,
        Behaviour::TakeAndFail,
        Behaviour::Fail,
        Behaviour::TakeAndFail,
    ]);
    place.run_to(place.delivery(receiver.clone(), 3), 6).await;
    assert_eq!(receiver.taken(), [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6]);
    assert_eq!(place.metric("errors_total"), 4);
    assert_eq!(place.metric("delivered_total"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_for_good_is_set_aside_and_the_others_arrive() {
    for behaviour in [Behaviour::RefuseBatchWith(4), Behaviour::RefuseRecord(4)] {
        let (place, _journal) = Place::with_log(9).await;
        let receiver = TestReceiver::always(behaviour.clone());
        place.run_to(place.delivery(receiver.clone(), 9), 9).await;
        assert_eq!(receiver.taken(), [1, 2, 3, 5, 6, 7, 8, 9], "{behaviour:?}");
        let [letter] = place.letters().try_into().unwrap();
        assert_eq!(
            (&letter["seq"], &letter["reason"], &letter["sink"]),
            (&4.into(), &"wrong".into(), &"test".into())
        );
        let event = crate::json::parse(letter["record"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(event["metadata"]["sequence"], 4, "the letter has the record as it was sent");
        assert_eq!((place.metric("dead_letters_total"), place.metric("delivered_total")), (1, 8));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_holds_up_the_cursor_and_nothing_else() {
    let (place, journal) = Place::with_log(5).await;
    let receiver = TestReceiver::always(Behaviour::Fail);
    let delivery = place.delivery(receiver.clone(), 2);
    let stop = delivery.stop.clone();
    let task = tokio::spawn(delivery.run());
    while receiver.0.lock().tries < 20 {
        sleep(Duration::from_millis(1)).await;
    }
    journal.append(records().remove(0)).await.unwrap();
    assert_eq!(place.cursor(), None);
    assert!(place.metric("errors_total") >= 19);
    // The lag is that of the whole log, not of what was read.
    assert_eq!(place.metric("lag_records"), 5);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    assert_eq!(receiver.taken(), [0_u64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_when_the_gateway_stops_is_sent() {
    let (place, journal) = Place::with_log(7).await;
    journal.close();
    let receiver = TestReceiver::default();
    let delivery = place.delivery(receiver.clone(), 2);
    delivery.stop.cancel();
    delivery.run().await;
    assert_eq!(receiver.taken(), (1..=7).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_depth_of_arguments_keeps_a_record_from_the_receiver() {
    let (place, journal) = Place::with_log(1).await;
    let mut deep = crate::model::Value::Long(1);
    for _ in 0..100 {
        deep = crate::model::Value::record([("a", deep)]);
    }
    let mut record = records().remove(0);
    record.set_context(deep);
    journal.append(record).await.unwrap();
    let text = std::fs::read_to_string(place.log()).unwrap();
    assert!(
        crate::json::parse(text.lines().last().unwrap().as_bytes()).is_err(),
        "the strict reader takes it"
    );
    let receiver = TestReceiver::default();
    place.run_to(place.delivery(receiver.clone(), 10), 2).await;
    assert_eq!(receiver.taken(), [1, 2]);
    assert_eq!(place.metric("lost_total"), 0);
}

fn cut_beginning(log: &Path, lines: usize) {
    let text = std::fs::read_to_string(log).unwrap();
    std::fs::write(log, text.split_inclusive('\n').skip(lines).collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_are_counted_but_not_for_a_sink_that_never_began() {
    let (place, journal) = Place::with_log(9).await;
    journal.close();
    cut_beginning(&place.log(), 4);
    let fresh = TestReceiver::default();
    place.run_to(place.delivery(fresh.clone(), 10), 9).await;
    assert_eq!(fresh.taken(), [5, 6, 7, 8, 9]);
    assert_eq!(place.metric("lost_total"), 0);

    place.cursors().store(&Place::name(), 2).unwrap();
    let receiver = TestReceiver::default();
    place.run_to(place.delivery(receiver.clone(), 10), 9).await;
    assert_eq!(receiver.taken(), [5, 6, 7, 8, 9]);
    assert_eq!(place.metric("lost_total"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_line_is_passed_over_after_some_tries_and_counted() {
    let (place, journal) = Place::with_log(5).await;
    journal.close();
    let text = std::fs::read_to_string(place.log()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let damaged = [lines[0], lines[1], "{\"se", lines[3], lines[4]].join("\n") + "\n";
    std::fs::write(place.log(), damaged).unwrap();
    let receiver = TestReceiver::default();
    place.run_to(place.delivery(receiver.clone(), 10), 5).await;
    assert_eq!(receiver.taken(), [1, 2, 4, 5]);
    assert_eq!(place.metric("lost_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_cannot_be_stored_stops_the_sink_where_it_is() {
    let (place, _journal) = Place::with_log(4).await;
    let folder = follower_folder(&place.log());
    std::fs::create_dir(&folder).unwrap();
    // A folder in the place of the cursor's new file.
    std::fs::create_dir(folder.join("test.new")).unwrap();
    let receiver = TestReceiver::default();
    let delivery = place.delivery(receiver.clone(), 2);
    let stop = delivery.stop.clone();
    let task = tokio::spawn(delivery.run());
    while place.metric("errors_total") < 5 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(receiver.taken(), [1, 2], "it does not go on");
    std::fs::remove_dir(folder.join("test.new")).unwrap();
    while place.cursor() != Some(4) {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(receiver.taken(), [1, 2, 3, 4]);
    stop.cancel();
    task.await.unwrap();
}
