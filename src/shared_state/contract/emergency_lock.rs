//! The suite of [`EmergencyLock`].

use std::sync::Arc;

use super::at_once;
use crate::model::PolicyVersion;
use crate::shared_state::{EmergencyLock, EngageError, EngagedLock};

fn lock(author: &str) -> EngagedLock {
    EngagedLock {
        reason: "an incident".to_owned(),
        author: author.to_owned(),
        time_millis: 1_000,
        version: PolicyVersion::from_hex("3f9a"),
    }
}

/// Every promise of the port. `make` gives the same lock each time, and it is not engaged.
pub(crate) async fn check<L: EmergencyLock>(make: impl Fn() -> L) {
    let lock_of_one = make();
    assert_eq!(lock_of_one.engaged(), Ok(None));
    assert_eq!(lock_of_one.release(), Ok(false));
    assert_eq!(lock_of_one.engage(&lock("ada")), Ok(()));
    // Every gateway sees it, also after a restart.
    let lock_of_another = make();
    assert_eq!(lock_of_another.engaged(), Ok(Some(lock("ada"))));
    assert_eq!(lock_of_another.engage(&lock("eve")), Err(EngageError::Engaged));
    assert_eq!(lock_of_one.engaged(), Ok(Some(lock("ada"))), "the first stands");
    assert_eq!(lock_of_another.release(), Ok(true));
    assert_eq!(lock_of_one.engaged(), Ok(None));

    let shared = Arc::new(make());
    let engaged = at_once(16, |number| {
        let shared = Arc::clone(&shared);
        async move { shared.engage(&lock(&number.to_string())).is_ok().then_some(number) }
    });
    let engaged: Vec<usize> = engaged.await.into_iter().flatten().collect();
    let [first] = engaged.as_slice() else { panic!("{} engaged it", engaged.len()) };
    assert_eq!(shared.engaged().unwrap().unwrap().author, first.to_string());
    assert_eq!(shared.release(), Ok(true));
}
