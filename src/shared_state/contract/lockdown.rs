//! The suite of [`Lockdown`].

use crate::shared_state::Lockdown;

/// Every promise of the port, from a lockdown that is off.
pub(crate) async fn check(lockdown: &impl Lockdown) {
    assert_eq!(lockdown.is_on().await, Ok(false));
    for on in [true, true, false] {
        lockdown.set(on).await.unwrap();
        assert_eq!(lockdown.is_on().await, Ok(on));
    }
}
