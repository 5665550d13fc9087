//! The lockdown: `context.system.lockdown`, which policies ask about in an incident.

use std::sync::atomic::{AtomicBool, Ordering};

use super::PortFuture;

/// Whether the gateways are in lockdown. What that means is policy.
///
/// Who sets it is followed by every later question, at every gateway that shares it.
pub trait Lockdown: Send + Sync + 'static {
    /// Whether the lockdown is on.
    fn is_on(&self) -> PortFuture<'_, bool>;

    /// Turns the lockdown on or off.
    fn set(&self, on: bool) -> PortFuture<'_, ()>;
}

/// The lockdown of one process.
#[derive(Debug, Default)]
pub struct LocalLockdown(AtomicBool);

impl Lockdown for LocalLockdown {
    fn is_on(&self) -> PortFuture<'_, bool> {
        PortFuture::now(self.0.load(Ordering::SeqCst))
    }

    fn set(&self, on: bool) -> PortFuture<'_, ()> {
        self.0.store(on, Ordering::SeqCst);
        PortFuture::now(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_state::{contract, faulty::Delayed};

    #[tokio::test]
    async fn the_lockdown_of_a_process_keeps_the_contract() {
        contract::lockdown::check(&LocalLockdown::default()).await;
        contract::lockdown::check(&Delayed(LocalLockdown::default())).await;
    }
}
