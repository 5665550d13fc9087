//! Messages between callers and agents: FIPA envelopes, kept in conversations that belong to who began them.
//!
//! A conversation is named by its owner and its id together, so a guessed id leads nowhere.

mod switchboard;

pub use switchboard::{Delivery, Line, MessageError, Settings, Switchboard};
