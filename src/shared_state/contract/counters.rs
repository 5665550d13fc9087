//! The suites of [`RateCounter`] and [`AddressBlocks`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::at_once;
use crate::model::EntityUid;
use crate::shared_state::{AddressBlocks, Limited, RateCounter};

fn user(name: impl ToString) -> EntityUid {
    EntityUid::caxton("User", name.to_string())
}

/// Every promise of [`RateCounter`]. `make` gives a counter that lets one request through each second, so many at once,
/// counts so many keys one by one, and what moves its clock.
pub(crate) async fn check_rates<C: RateCounter, A: Fn(Duration)>(make: impl Fn(u32, usize) -> (C, A)) {
    let (counter, advance) = make(3, 100);
    a_burst_then_a_steady_flow(&counter, &advance).await;
    let (counter, advance) = make(3, 100);
    what_is_owed_is_made_up_for(&counter, &advance).await;
    keys_that_do_not_fit_share_one_count(&make(2, 10).0).await;
    of_requests_at_once_no_more_are_let_through(make(20, 100).0).await;
}

async fn a_burst_then_a_steady_flow(counter: &impl RateCounter, advance: &impl Fn(Duration)) {
    let alice = user("alice");
    for left in [2, 1, 0] {
        let taken = counter.take(&alice).await.unwrap().unwrap();
        assert_eq!((taken.limit, taken.remaining), (3, left));
        assert_eq!(taken.reset, Duration::from_secs(3 - u64::from(left)));
        assert_eq!(taken.window, Duration::from_secs(3));
    }
    let limited = Err(Limited { retry_after: Duration::from_secs(1) });
    assert_eq!(counter.take(&alice).await.unwrap().map(drop), limited);
    assert_eq!(counter.peek(&alice).await.unwrap(), limited, "a refused request counts nothing");
    assert!(counter.take(&user("bob")).await.unwrap().is_ok(), "of its own");
    advance(Duration::from_millis(999));
    let soon = Err(Limited { retry_after: Duration::from_millis(1) });
    assert_eq!(counter.peek(&alice).await.unwrap(), soon);
    assert_eq!(counter.take(&alice).await.unwrap().map(drop), soon);
    advance(Duration::from_millis(1));
    for _ in 0..5 {
        assert_eq!(counter.peek(&alice).await.unwrap(), Ok(()), "looking counts nothing");
    }
    assert!(counter.take(&alice).await.unwrap().is_ok());
    assert!(counter.take(&alice).await.unwrap().is_err());
}

async fn what_is_owed_is_made_up_for(counter: &impl RateCounter, advance: &impl Fn(Duration)) {
    let alice = user("alice");
    assert_eq!(counter.take(&alice).await.unwrap().unwrap().remaining, 2);
    counter.owe(&alice, 0).await.unwrap();
    counter.owe(&alice, 10).await.unwrap();
    let limited = counter.take(&alice).await.unwrap();
    assert_eq!(limited.map(drop), Err(Limited { retry_after: Duration::from_secs(9) }));
    assert!(counter.take(&user("bob")).await.unwrap().is_ok());
    advance(Duration::from_secs(8));
    assert!(counter.peek(&alice).await.unwrap().is_err());
    advance(Duration::from_secs(1));
    assert!(counter.take(&alice).await.unwrap().is_ok());
}

async fn keys_that_do_not_fit_share_one_count(counter: &impl RateCounter) {
    for number in 0..10 {
        assert!(counter.take(&user(number)).await.unwrap().is_ok());
    }
    let mut allowed = 0;
    for number in 10..1_000 {
        allowed += usize::from(counter.take(&user(number)).await.unwrap().is_ok());
    }
    assert_eq!(allowed, 2);
    assert!(counter.take(&user(0)).await.unwrap().is_ok(), "who was there keeps its own");
}

async fn of_requests_at_once_no_more_are_let_through(counter: impl RateCounter) {
    let counter = Arc::new(counter);
    let taken = at_once(64, |_| {
        let counter = Arc::clone(&counter);
        async move { counter.take(&user("alice")).await.unwrap().is_ok() }
    });
    assert_eq!(taken.await.into_iter().filter(|taken| *taken).count(), 20);
}

/// Every promise of [`AddressBlocks`]. `make` gives one that blocks for fifteen minutes at the third failure, counts so
/// many addresses one by one, and what moves its clock.
pub(crate) async fn check_blocks<B: AddressBlocks, A: Fn(Duration)>(make: impl Fn(usize) -> (B, A)) {
    let minute = Duration::from_secs(60);
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let (blocks, advance) = make(100);
    let guesser = ip("192.0.2.1");
    for blocked in [None, None, Some(15 * minute)] {
        assert_eq!(blocks.check(guesser).await, Ok(Ok(())));
        assert_eq!(blocks.failed(guesser).await, Ok(blocked));
    }
    assert_eq!(blocks.check(guesser).await, Ok(Err(Limited { retry_after: 15 * minute })));
    assert_eq!(
        blocks.check(ip("::ffff:192.0.2.1")).await.unwrap().map_err(drop),
        Err(()),
        "the same address"
    );
    assert_eq!(blocks.check(ip("192.0.2.2")).await, Ok(Ok(())));
    advance(15 * minute - Duration::from_millis(1));
    assert_eq!(blocks.check(guesser).await, Ok(Err(Limited { retry_after: Duration::from_millis(1) })));
    advance(Duration::from_millis(1));
    assert_eq!(blocks.check(guesser).await, Ok(Ok(())));
    assert_eq!(blocks.failed(guesser).await, Ok(None), "it has its three attempts again");

    for last in ["1", "2", "3"] {
        blocks.failed(ip(&format!("2001:db8:1:2::{last}"))).await.unwrap();
    }
    assert!(blocks.check(ip("2001:db8:1:2:ffff::9")).await.unwrap().is_err());
    assert!(blocks.check(ip("2001:db8:1:3::1")).await.unwrap().is_ok());

    let blocks = Arc::new(make(100).0);
    let failed = at_once(32, |_| {
        let blocks = Arc::clone(&blocks);
        async move { blocks.failed(guesser).await.unwrap().is_none() }
    });
    assert_eq!(failed.await.into_iter().filter(|none| *none).count(), 2, "the third of any order blocks");
}
