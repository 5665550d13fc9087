//! The vocabulary: what a decision is about, in words that neither the web nor Cedar knows.
//!
//! A subject (who was proven) asks for an [`Operation`] (one struct for each action) in a
//! [`RequestContext`]; the answer is an [`Outcome`] with a [`ReasonCode`]. Values that policies look at
//! travel as [`Entity`] and [`Value`], so that only `policy` needs to know the policy language.

mod action;
pub mod cedar_json;
mod context;
mod decision;
mod entity;
mod holder;
mod ids;
mod obligation;
mod operation;
mod scope;
mod subject;

pub use action::{Action, ActionKind};
pub use context::{Actor, Meter, RequestContext, RequestSource, Screening, SessionFacts};
pub use decision::{EventType, Outcome, PolicyMode, PolicyRef, ReasonCode};
pub use entity::{Entity, EntityUid, Fields, Value};
pub use holder::{HolderKeys, Thumbprint};
pub use ids::{
    AgentId, CallId, CapabilityName, ConversationId, DecisionId, IdError, KeyId, PolicyVersion, RequestId,
    RoleName, ServerName, ServiceName, ToolId, WorkspaceId,
};
pub use obligation::{JsonPointer, Obligation, ObligationError, Obligations, REDACTED};
pub use operation::*;
pub use scope::{MemoryScope, ScopeError};
pub use subject::{Delegate, Proof, Subject};
