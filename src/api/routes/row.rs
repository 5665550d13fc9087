//! One row of the table of routes: method, path, action, handler, and what it takes and gives.

use std::sync::Arc;

use axum::routing::MethodRouter;
use utoipa::{IntoParams, ToSchema};

use crate::api::openapi::Doc;
use crate::api::state::Api;
use crate::model::ActionKind;

/// Who may come through a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The guard is asked for an action of this kind on every request.
    Action(ActionKind),
    /// A caller with credentials gets through; the text says why no policy is asked here.
    Proven(&'static str),
    /// Open to all callers; the text says why.
    Open(&'static str),
}

/// One route, as the documentation and the tests see it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The template, `/v1/agents/{id}`.
    pub path: &'static str,
    /// Who may come through.
    pub access: Access,
    /// What happens to a request whose caller goes away.
    pub on_disconnect: OnDisconnect,
}

/// What happens to a request whose caller hangs up or waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It ends where it is: it only asks, or lasts as long as its caller waits (the call of a tool, an agent's answer).
    Cancel,
    /// It runs to completion: a change that has begun is not left half done, nor a question without its record.
    RunToCompletion,
}

impl OnDisconnect {
    /// What a row has that does not say otherwise: a `GET` changes nothing.
    fn of_method(method: &str) -> Self {
        if method == "GET" { Self::Cancel } else { Self::RunToCompletion }
    }
}

type Handler = MethodRouter<Arc<Api>>;

/// One row of the table.
pub(in crate::api) struct Route {
    pub(in crate::api) endpoint: Endpoint,
    pub(super) handler: Handler,
    pub(super) doc: Doc,
    /// Whether it is answered on threads of low priority.
    pub(super) computes: bool,
}

impl Route {
    /// A request that may compute long whatever its body is: an agent answers a whole conversation, a search asks about
    /// each entity.
    pub(super) fn computes_long(mut self) -> Self {
        self.computes = true;
        self
    }

    /// A request that ends with its caller, although its method is not `GET`.
    pub(super) fn ends_with_its_caller(mut self) -> Self {
        self.endpoint.on_disconnect = OnDisconnect::Cancel;
        self
    }

    /// A request that runs to completion, although its method is `GET`.
    pub(super) fn runs_to_completion(mut self) -> Self {
        self.endpoint.on_disconnect = OnDisconnect::RunToCompletion;
        self
    }

    /// The body of a request.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.doc.takes::<T>();
        self
    }

    /// The body that a request may have.
    pub(super) fn may_take<T: ToSchema>(mut self) -> Self {
        self.doc.may_take::<T>();
        self
    }

    /// A type that others refer to.
    pub(super) fn names<T: ToSchema>(mut self) -> Self {
        self.doc.names::<T>();
        self
    }

    /// The query of a request.
    pub(super) fn asks<T: IntoParams>(mut self) -> Self {
        self.doc.asks::<T>();
        self
    }

    /// The body of an answer with 200.
    pub(super) fn gives<T: ToSchema>(mut self) -> Self {
        self.doc.gives::<T>(200);
        self
    }

    /// The body of an answer with 201.
    pub(super) fn makes<T: ToSchema>(mut self) -> Self {
        self.doc.gives::<T>(201);
        self
    }

    /// A field of the header without which a request is malformed.
    pub(super) fn needs_header(mut self, name: &'static str) -> Self {
        self.doc.needs_header(name);
        self
    }

    /// A protocol of its own is spoken here: this comes with its errors.
    pub(super) fn speaks<T: ToSchema>(mut self) -> Self {
        self.doc.speaks::<T>();
        self
    }

    /// An answer of another kind than JSON.
    pub(in crate::api) fn gives_text(mut self, kind: &'static str) -> Self {
        self.doc.gives_text(kind);
        self
    }

    /// An answer without a body.
    pub(super) fn gives_nothing(mut self, status: u16) -> Self {
        self.doc.gives_nothing(status);
        self
    }
}

pub(super) fn guarded(
    method: &'static str,
    path: &'static str,
    action: ActionKind,
    handler: Handler,
) -> Route {
    let on_disconnect = OnDisconnect::of_method(method);
    Route {
        endpoint: Endpoint { method, path, access: Access::Action(action), on_disconnect },
        handler,
        doc: Doc::default(),
        computes: false,
    }
}

pub(super) fn proven(method: &'static str, path: &'static str, why: &'static str, handler: Handler) -> Route {
    let on_disconnect = OnDisconnect::of_method(method);
    Route {
        endpoint: Endpoint { method, path, access: Access::Proven(why), on_disconnect },
        handler,
        doc: Doc::default(),
        computes: false,
    }
}

pub(in crate::api) fn open(path: &'static str, why: &'static str, handler: Handler) -> Route {
    Route {
        endpoint: Endpoint {
            method: "GET",
            path,
            access: Access::Open(why),
            on_disconnect: OnDisconnect::Cancel,
        },
        handler,
        doc: Doc::default(),
        computes: false,
    }
}
