//! Messages between callers and agents: FIPA envelopes, kept in conversations that belong to the principal who began them.
//!
//! A conversation is named by its owner and its id together, so guessing an id gives access to nothing.

mod conversations;

pub use conversations::{Conversations, Delivery, MessageError};

pub use crate::shared_state::{ConversationSettings as Settings, Message};
