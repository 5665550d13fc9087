//! The suite of [`FollowerCursors`].

use std::sync::Arc;

use super::at_once;
use crate::shared_state::{FollowerCursors, FollowerName};

fn name(text: &str) -> FollowerName {
    text.parse().unwrap()
}

/// Every promise of the port. `make` gives the same cursors each time, and none is stored.
pub(crate) async fn check<C: FollowerCursors>(make: impl Fn() -> C) {
    let (first, second) = (name("first"), name("second"));
    let cursors = make();
    assert_eq!(cursors.load(&first), Ok(None));
    assert_eq!(cursors.store(&first, 7), Ok(()));
    assert_eq!(cursors.load(&first), Ok(Some(7)));
    // Names have cursors of their own, also where one begins like another.
    assert_eq!(cursors.load(&second), Ok(None));
    assert_eq!(cursors.store(&name("first-2"), 9), Ok(()));
    // Everybody sees it, also after a restart; an earlier number is stored as well.
    let again = make();
    assert_eq!(again.load(&first), Ok(Some(7)));
    for seq in [u64::MAX, 0, 3] {
        assert_eq!(again.store(&first, seq), Ok(()));
        assert_eq!(make().load(&first), Ok(Some(seq)));
    }
    assert_eq!(again.load(&name("first-2")), Ok(Some(9)));

    let shared = Arc::new(make());
    let stored = at_once(16, |number| {
        let shared = Arc::clone(&shared);
        async move {
            let own = name(&format!("sink-{number}"));
            (0..50).all(|seq| shared.store(&own, seq).is_ok()) && shared.load(&own) == Ok(Some(49))
        }
    });
    assert!(stored.await.into_iter().all(|sound| sound));
}
