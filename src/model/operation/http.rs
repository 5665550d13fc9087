//! A request that goes through a proxy, which asks before it lets it on.

use std::sync::Arc;

use super::sealed::Sealed;
use super::{Action, Entity, EntityUid, EventType, Input, Operation, Value};

/// The methods that can be asked about; any other is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "RFC 9110's and RFC 5789's own words")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl HttpMethod {
    const ALL: [(&str, &str, Self); 7] = [
        ("GET", "http:get", Self::Get),
        ("HEAD", "http:head", Self::Head),
        ("POST", "http:post", Self::Post),
        ("PUT", "http:put", Self::Put),
        ("PATCH", "http:patch", Self::Patch),
        ("DELETE", "http:delete", Self::Delete),
        ("OPTIONS", "http:options", Self::Options),
    ];

    /// The method of this name; names are case-sensitive (RFC 9110, section 9.1).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(.., method)| *method)
    }

    /// The action that stands for it.
    pub fn action(self) -> &'static str {
        Self::ALL.iter().find(|(.., method)| *method == self).map_or("http:*", |(_, action, _)| action)
    }
}

/// Let a request through a proxy (`http:get` and so on, on a path of a host).
#[derive(Debug)]
pub struct ForwardRequest {
    /// The method.
    pub method: HttpMethod,
    /// The host in lower case, without a default port.
    pub host: Arc<str>,
    /// The decoded path, which has one reading only: no empty or dotted segments. `/` or no slash at its end.
    pub path: Arc<str>,
    /// The query as it came, without `?`; it is not looked into.
    pub query: Arc<str>,
}

/// The host as policies name it.
fn service(host: &str) -> EntityUid {
    EntityUid::caxton("HttpService", host)
}

fn path_uid(host: &str, path: &str) -> EntityUid {
    EntityUid::caxton("HttpPath", format!("{host}{path}"))
}

impl Sealed for ForwardRequest {}
impl Operation for ForwardRequest {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::Http(self.method)
    }
    /// The path is in its host and in each path that it begins with, whole segments only: `/admin/users` is in `/admin`,
    /// `/administration` is not.
    fn resource(&self) -> Arc<Entity> {
        let mut entity = Entity::bare(path_uid(&self.host, &self.path))
            .with("host", Value::String(Arc::clone(&self.host)))
            .with("path", Value::String(Arc::clone(&self.path)))
            .in_parent(service(&self.host));
        for (end, _) in self.path.match_indices('/').skip(1) {
            entity.parents.extend(self.path.get(..end).map(|above| path_uid(&self.host, above)));
        }
        entity.into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("query", Value::String(Arc::clone(&self.query)))]))
    }
}
