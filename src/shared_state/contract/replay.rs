//! The suite of [`ReplayTable`].

use std::sync::Arc;

use super::at_once;
use crate::shared_state::{NotFresh, ReplayTable};

/// Every promise of the port. `make` gives an empty table for so many proofs, and so many of one principal.
pub(crate) async fn check<R: ReplayTable>(make: impl Fn(usize, usize) -> R) {
    once_until_its_time_is_over(&make(10, 10)).await;
    a_full_table_refuses_and_forgets_nothing(&make(3, 2)).await;
    of_several_at_once_one_is_let_through(make(100, 100)).await;
    of_several_at_once_no_more_are_taken_than_there_is_room(make(100, 5)).await;
}

async fn once_until_its_time_is_over(table: &impl ReplayTable) {
    assert_eq!(table.take([1; 32], "a", 60, 0).await, Ok(Ok(())));
    assert_eq!(table.take([1; 32], "a", 60, 0).await, Ok(Err(NotFresh::Used)));
    assert_eq!(
        table.take([1; 32], "b", 60, 60).await,
        Ok(Err(NotFresh::Used)),
        "of whomever, to the last second"
    );
    assert_eq!(table.take([2; 32], "a", 60, 0).await, Ok(Ok(())));
    // A proof whose time is over is refused for its age, before this table is asked.
    assert_eq!(table.take([1; 32], "a", 120, 61).await, Ok(Ok(())));
}

async fn a_full_table_refuses_and_forgets_nothing(table: &impl ReplayTable) {
    assert_eq!(table.take([1; 32], "a", 60, 0).await, Ok(Ok(())));
    assert_eq!(table.take([2; 32], "a", 60, 0).await, Ok(Ok(())));
    assert_eq!(table.take([3; 32], "a", 60, 0).await, Ok(Err(NotFresh::Full)), "the share of one principal");
    assert_eq!(table.take([3; 32], "b", 60, 0).await, Ok(Ok(())));
    assert_eq!(table.take([4; 32], "c", 60, 0).await, Ok(Err(NotFresh::Full)), "all of it");
    for used in 1..=3 {
        assert_eq!(table.take([used; 32], "c", 60, 60).await, Ok(Err(NotFresh::Used)));
    }
    assert_eq!(table.take([4; 32], "a", 120, 61).await, Ok(Ok(())), "time makes room");
}

async fn of_several_at_once_one_is_let_through(table: impl ReplayTable) {
    let table = Arc::new(table);
    let taken = at_once(32, |_| {
        let table = Arc::clone(&table);
        async move { table.take([7; 32], "a", 60, 0).await.unwrap() }
    });
    assert_eq!(taken.await.into_iter().filter(Result::is_ok).count(), 1);
}

async fn of_several_at_once_no_more_are_taken_than_there_is_room(table: impl ReplayTable) {
    let table = Arc::new(table);
    let taken = at_once(32, |number| {
        let table = Arc::clone(&table);
        async move { table.take([u8::try_from(number).unwrap(); 32], "a", 60, 0).await.unwrap() }
    });
    assert_eq!(taken.await.into_iter().filter(Result::is_ok).count(), 5);
}
