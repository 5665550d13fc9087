//! How fast one caller is refused: what is too much for one second is answered in the next one.
//!
//! The attack: send what is refused at once (a rate is exceeded, a credential is wrong, there is no room for a body), as fast
//! as the connection allows. A refusal is cheap, tens of thousands in a second are not. A caller who waits for its answer
//! before it sends again sends no faster than it is answered.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Rate;

/// The longest that an answer is held back: a held answer takes memory too.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Spreads answers by key over time.
#[derive(Debug)]
pub struct Pace<K> {
    interval: Duration,
    /// How far ahead of its pace a key may be.
    ahead: Duration,
    max: usize,
    /// When each key is where its pace would have it; `None` for all that came when the table was full.
    due: Mutex<HashMap<Option<K>, Instant>>,
}

impl<K: Eq + Hash> Pace<K> {
    /// `max` keys are counted one by one; the rest share one count.
    pub fn new(rate: Rate, max: usize) -> Self {
        let interval = rate.per() / rate.count();
        let ahead = interval.saturating_mul(rate.burst().saturating_sub(1));
        Self { interval, ahead, max, due: Mutex::default() }
    }

    /// How long the next answer to `key` is held back.
    pub fn wait(&self, key: K, now: Instant) -> Duration {
        let mut due = self.due.lock();
        let mut key = Some(key);
        if due.len() >= self.max && !due.contains_key(&key) {
            due.retain(|_, due| *due > now);
            if due.len() >= self.max {
                key = None;
            }
        }
        let due = due.entry(key).or_insert(now);
        let wait = (*due).max(now).saturating_duration_since(now).saturating_sub(self.ahead);
        if wait >= LONGEST_WAIT {
            return LONGEST_WAIT;
        }
        *due = (*due).max(now) + self.interval;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(max: usize) -> Pace<&'static str> {
        Pace::new(Rate::new(10, Duration::from_secs(1), 3).unwrap(), max)
    }

    fn millis(pace: &Pace<&'static str>, key: &'static str, now: Instant) -> u128 {
        pace.wait(key, now).as_millis()
    }

    #[test]
    fn a_burst_is_answered_at_once_and_the_rest_at_its_rate() {
        let (pace, now) = (pace(10), Instant::now());
        let waits: Vec<u128> = (0..6).map(|_| millis(&pace, "a", now)).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        assert_eq!(millis(&pace, "b", now), 0, "another is not held back");
        // None is held back longer than the bound, and what was held back so does not count.
        for _ in 0..100 {
            assert!(pace.wait("a", now) <= LONGEST_WAIT);
        }
        assert_eq!(pace.wait("a", now), LONGEST_WAIT);
        assert_eq!(millis(&pace, "a", now + Duration::from_secs(3)), 0);
    }

    #[test]
    fn a_full_table_forgets_who_owes_nothing_and_then_counts_the_rest_together() {
        let (pace, now) = (pace(2), Instant::now());
        assert_eq!((millis(&pace, "a", now), millis(&pace, "b", now)), (0, 0));
        let shared: Vec<u128> = ["c", "d", "e", "f"].map(|key| millis(&pace, key, now)).into();
        assert_eq!(shared, [0, 0, 0, 100]);
        let later = now + Duration::from_secs(1);
        assert_eq!(millis(&pace, "c", later), 0);
        assert!(pace.due.lock().len() <= 3);
    }
}
