//! Has the texts of an operation screened: short ones at once, long ones off the asynchronous threads, where each caller
//! waits for itself.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use crate::heavy;
use crate::limit::Turns;
use crate::model::{EntityUid, Operation, Screening};
use crate::screen::Screen;

/// So much text counts as one more decision against the rate of who brings it.
const BYTES_OF_A_DECISION: usize = 64 * 1024;

pub(super) struct Screener {
    screen: Arc<Screen>,
    turns: Arc<Turns<EntityUid>>,
    places: Arc<Semaphore>,
}

/// What was seen, and how many more decisions the looking was worth.
#[derive(Default)]
pub(super) struct Screened {
    pub(super) screening: Screening,
    pub(super) more: u32,
}

impl Screener {
    pub(super) fn new(screen: Screen) -> Self {
        // One core is left to those who bring no long texts.
        let places = available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        Self { screen: Arc::new(screen), turns: Turns::new(1), places: Arc::new(Semaphore::new(places)) }
    }

    /// The attack: a megabyte of text that costs half a second to read, again and again, on the threads that serve
    /// all callers.
    pub(super) async fn screen<O: Operation>(&self, caller: &EntityUid, operation: &O) -> Screened {
        let mut bytes = 0_usize;
        operation.untrusted_text(&mut |text| bytes = bytes.saturating_add(text.len()));
        let settings = self.screen.settings();
        if bytes <= settings.inline_bytes {
            return Screened {
                screening: self.screen.scan(|visit| operation.untrusted_text(visit)),
                more: 0,
            };
        }
        let more = u32::try_from(bytes.min(settings.max_bytes) / BYTES_OF_A_DECISION).unwrap_or(u32::MAX);
        let turn = self.turns.turn(caller.clone()).await;
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Screened { screening: Screen::unread(), more };
        };
        let (texts, screen) = (copies(operation, settings.max_bytes), Arc::clone(&self.screen));
        let work = move || {
            // Held until the work is done, whether its caller still waits or not.
            let _held = (turn, place);
            screen.scan(|visit| texts.iter().for_each(|text| visit(text)))
        };
        let screening = heavy::compute(work).await.unwrap_or_else(|_| Screen::unread());
        Screened { screening, more }
    }
}

/// The texts, no more of them than is read and one character, by which it is seen that there is more.
fn copies<O: Operation>(operation: &O, most: usize) -> Vec<String> {
    let (mut texts, mut left) = (Vec::new(), most);
    operation.untrusted_text(&mut |text| {
        let end = text.ceil_char_boundary(left.saturating_add(1).min(text.len()));
        texts.push(text.get(..end).unwrap_or_default().to_owned());
        left = left.saturating_sub(end);
    });
    texts
}
