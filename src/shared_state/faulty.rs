//! Other implementations of every port, for tests: one that answers late, as a remote one does, and one that cannot be
//! asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    AddressBlocks, ConversationKey, ConversationLimit, ConversationStore, Counted, CountedLimit,
    EmergencyLock, EngageError, EngagedLock, Labels, Limited, Lockdown, Message, NotFresh, PortFuture,
    ProofId, RateCounter, RateCounters, Remaining, ReplayTable, SessionKey, SessionTurn, Sessions,
    Unavailable,
};
use crate::model::{EntityUid, SessionFacts, ToolId};

/// Asks another implementation after it has waited, so that others run in between.
#[derive(Debug)]
pub(crate) struct Delayed<T>(pub(crate) T);

/// The store of a fleet that cannot be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreachable;

fn refused() -> Unavailable {
    Unavailable::new("test", "connection refused")
}

fn unreachable<'a, T>() -> PortFuture<'a, T> {
    PortFuture::unavailable(refused())
}

/// Every method of each trait, once for an implementation that is asked later, and once for one that cannot be.
macro_rules! ports {
    ($(impl [$($generic:tt)*] $port:path { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* })*) => {$(
        impl<$($generic)* Inner: $port> $port for Delayed<Inner> {
            $(fn $name<'a>(&'a self, $($argument: $type),*) -> PortFuture<'a, $answer> {
                PortFuture::later(async move {
                    tokio::task::yield_now().await;
                    self.0.$name($($argument),*).await
                })
            })*
        }

        impl<$($generic)*> $port for Unreachable {
            $(fn $name<'a>(&'a self, $(_: $type),*) -> PortFuture<'a, $answer> {
                unreachable()
            })*
        }
    )*};
}

ports! {
    impl [] RateCounter {
        fn take(key: &'a EntityUid) -> Result<Remaining, Limited>;
        fn peek(key: &'a EntityUid) -> Result<(), Limited>;
        fn owe(key: &'a EntityUid, more: u32) -> ();
    }
    impl [] AddressBlocks {
        fn check(address: IpAddr) -> Result<(), Limited>;
        fn failed(address: IpAddr) -> Option<Duration>;
    }
    impl [] Sessions {
        fn facts(key: &'a SessionKey) -> SessionFacts;
        fn turn(key: &'a SessionKey) -> SessionTurn;
        fn count(key: &'a SessionKey, tool: Option<&'a ToolId>, labels: &'a Labels) -> Counted;
        fn denied(key: &'a SessionKey) -> ();
        fn labels(key: &'a SessionKey) -> Labels;
    }
    impl [] ReplayTable {
        fn take(proof: ProofId, principal: &'a str, end: i64, now: i64) -> Result<(), NotFresh>;
    }
    impl [] Lockdown {
        fn is_on() -> bool;
        fn set(on: bool) -> ();
    }
    impl [] ConversationStore {
        fn append(key: &'a ConversationKey, message: Arc<Message>) -> Result<Vec<Arc<Message>>, ConversationLimit>;
        fn messages(key: &'a ConversationKey) -> Option<Vec<Arc<Message>>>;
        fn expire() -> ();
    }
}

impl RateCounters for Unreachable {
    fn counter(&self, _: &CountedLimit) -> Arc<dyn RateCounter> {
        Arc::new(*self)
    }
}

impl EmergencyLock for Unreachable {
    fn engaged(&self) -> Result<Option<EngagedLock>, Unavailable> {
        Err(refused())
    }

    fn engage(&self, _: &EngagedLock) -> Result<(), EngageError> {
        Err(refused().into())
    }

    fn release(&self) -> Result<bool, Unavailable> {
        Err(refused())
    }
}
