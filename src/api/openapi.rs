//! `/openapi.json`: the table of routes, told to programs (OpenAPI 3.1).
//!
//! Each row of the table says what its route takes and gives, so a route without a description does not exist, nor the
//! other way round. What policies allow is not in it: it is the same for every caller and says nothing about one.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response as Answer, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required, Schema,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::connections;
use super::login::CALLBACK;
use super::problem::Problem;
use super::routes::{Access, Endpoint, documented};

type Named = Vec<(String, RefOr<Schema>)>;

/// What a route takes and gives.
#[derive(Default)]
pub(super) struct Doc {
    query: Vec<Parameter>,
    headers: Vec<&'static str>,
    body: Option<(Ref, Required)>,
    /// The status of success, and what comes with it.
    answer: Option<(u16, Option<Ref>, &'static str)>,
    /// A protocol of its own is spoken here: this comes with its errors, and 202 without anything.
    protocol: Option<Ref>,
    schemas: Named,
}

impl Doc {
    fn part<T: ToSchema>(&mut self) -> Ref {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name())
    }

    pub(super) fn names<T: ToSchema>(&mut self) {
        self.part::<T>();
    }

    pub(super) fn takes<T: ToSchema>(&mut self) {
        self.body = Some((self.part::<T>(), Required::True));
    }

    pub(super) fn may_take<T: ToSchema>(&mut self) {
        self.body = Some((self.part::<T>(), Required::False));
    }

    pub(super) fn asks<T: IntoParams>(&mut self) {
        self.query.extend(T::into_params(|| Some(ParameterIn::Query)));
    }

    pub(super) fn needs_header(&mut self, name: &'static str) {
        self.headers.push(name);
    }

    pub(super) fn gives<T: ToSchema>(&mut self, status: u16) {
        let part = self.part::<T>();
        self.answer = Some((status, Some(part), "application/json"));
    }

    pub(super) fn speaks<T: ToSchema>(&mut self) {
        self.protocol = Some(self.part::<T>());
    }

    pub(super) fn gives_text(&mut self, kind: &'static str) {
        self.answer = Some((200, None, kind));
    }

    pub(super) fn gives_nothing(&mut self, status: u16) {
        self.answer = Some((status, None, ""));
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());

pub(super) async fn serve() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The description of every route.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new().schema("Problem", Problem::schema());
    for (endpoint, doc) in documented() {
        if let Some(method) = method(endpoint.method) {
            // A template of OpenAPI cannot say that a part is the whole rest of the path.
            let path = endpoint.path.replace("{*", "{");
            paths.add_path_operation(path, vec![method], operation(&endpoint, &doc));
        }
        components = components.schemas_from_iter(doc.schemas);
    }
    for (name, scheme) in schemes() {
        components = components.security_scheme(name, scheme);
    }
    let about = "JSON over HTTP. Errors are `application/problem+json` (RFC 9457). Everything with an effect answers \
        with its `decision_id`, which is that of the record in the decision log.";
    let info = InfoBuilder::new()
        .title("Caxton")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn method(name: &str) -> Option<HttpMethod> {
    Some(match name {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => return None,
    })
}

fn operation(endpoint: &Endpoint, doc: &Doc) -> Operation {
    let mut operation = OperationBuilder::new().operation_id(Some(operation_id(endpoint)));
    for name in endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter =
            ParameterBuilder::new().name(name.trim_start_matches('*')).parameter_in(ParameterIn::Path);
        operation = operation.parameter(parameter.required(Required::True).schema(Some(text)).build());
    }
    for parameter in &doc.query {
        operation = operation.parameter(parameter.clone());
    }
    for name in &doc.headers {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Header);
        operation = operation.parameter(parameter.required(Required::True).schema(Some(text)).build());
    }
    if let Some((body, required)) = &doc.body {
        let content = Content::new(Some(RefOr::Ref::<Schema>(body.clone())));
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(required.clone()));
        operation = operation.request_body(Some(body.build()));
    }
    if let Some((status, part, kind)) = &doc.answer {
        let mut answer = ResponseBuilder::new().description("as asked for");
        if !kind.is_empty() {
            answer = answer.content(*kind, Content::new(part.clone().map(RefOr::Ref::<Schema>)));
        }
        operation = operation.response(status.to_string(), answer.build());
    }
    if doc.protocol.is_some() {
        let taken = ResponseBuilder::new().description("taken; there is nothing to answer");
        operation = operation.response("202", taken.build());
    }
    operation = operation.response("default", problem(doc));
    match endpoint.access {
        Access::Open(why) => {
            let operation = operation.description(Some(why));
            operation.securities(Some([SecurityRequirement::default()])).build()
        }
        Access::Proven(why) => {
            let ways = schemes().into_iter().map(|(name, _)| SecurityRequirement::new(name, [""; 0]));
            operation.description(Some(why)).securities(Some(ways)).build()
        }
        Access::Action(action) => {
            let action = action.as_str();
            let asks = format!("Policies decide the action `{action}`.");
            let operation = operation.summary(Some(action)).description(Some(asks));
            let alone = matches!(endpoint.path, "/v1/auth/refresh" | CALLBACK | connections::CALLBACK);
            let also = alone || endpoint.path == "/v1/auth/token";
            let schemes = schemes();
            // A refresh token comes alone, in the body, and so does the answer of a provider; a login in the body may.
            let names = schemes.iter().filter(|_| !alone).map(|(name, _)| *name);
            let mut ways: Vec<_> = names.map(|name| SecurityRequirement::new(name, [""; 0])).collect();
            if also {
                ways.push(SecurityRequirement::default());
            }
            operation.securities(Some(ways)).build()
        }
    }
}

fn problem(doc: &Doc) -> Answer {
    let content = Content::new(Some(RefOr::Ref::<Schema>(Ref::from_schema_name("Problem"))));
    let about = "refused, or it failed: 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 423, 429, 500, 502 \
        or 503";
    let mut answer = ResponseBuilder::new().description(about).content("application/problem+json", content);
    if let Some(error) = &doc.protocol {
        answer = answer.content("application/json", Content::new(Some(RefOr::Ref::<Schema>(error.clone()))));
    }
    answer.build()
}

/// `post_v1_agents_id` for `POST /v1/agents/{id}`.
fn operation_id(endpoint: &Endpoint) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let words: String = endpoint.path.chars().map(letters).collect();
    let words: Vec<&str> = words.split('_').filter(|word| !word.is_empty()).collect();
    let end = if endpoint.path.len() > 1 && endpoint.path.ends_with('/') { "_all" } else { "" };
    format!("{}_{}{end}", endpoint.method.to_ascii_lowercase(), words.join("_"))
}

/// The ways to prove oneself; any one of them.
fn schemes() -> Vec<(&'static str, SecurityScheme)> {
    let key = |name| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let proof = ApiKeyValue::with_description(
        "Authorization",
        "`DPoP <token>`, with a proof of possession in the header `DPoP` (RFC 9449)",
    );
    let certificate = "a client certificate of the configured authorities";
    vec![
        ("bearer", SecurityScheme::Http(bearer)),
        ("dpop", SecurityScheme::ApiKey(ApiKey::Header(proof))),
        ("apiKey", key("X-API-Key")),
        ("caxtonApiKey", key("X-Caxton-Api-Key")),
        (
            "mutualTLS",
            SecurityScheme::MutualTls {
                description: Some(certificate.to_owned()),
                deprecated: None,
                extensions: None,
            },
        ),
    ]
}

/// Types that are described by nothing but what kind of JSON they are.
macro_rules! plain {
    ($json:expr; $($kind:ty),* $(,)?) => {$(
        impl PartialSchema for $kind {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type($json).build().into()
            }
        }
        impl ToSchema for $kind {}
    )*};
}

plain!(
    Type::String;
    crate::model::AgentId,
    crate::model::CapabilityName,
    crate::model::ConversationId,
    crate::model::DecisionId,
    crate::model::KeyId,
    crate::model::Performative,
    crate::model::PolicyVersion,
    crate::model::RoleName,
    crate::model::ServiceName,
);

// Their members are described by their own pages of the guide.
plain!(
    Type::Object;
    AnyObject,
    crate::authn::MethodStatus,
    crate::memory::EntityView,
    crate::memory::RelationView,
    crate::messages::Message,
    crate::policy::shadow::ShadowReport,
    crate::policy::version::Checks,
);

/// Any JSON object.
pub(super) struct AnyObject;

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let example: Value = json!({
            "type": "urn:caxton:problem:denied", "title": "Forbidden", "status": 403, "detail": "this is not allowed",
            "decision_id": "01a1fc7c-3fe6-7149-bb80-52030ba4142f",
        });
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("type", text())
            .property("title", text())
            .property("status", ObjectBuilder::new().schema_type(Type::Integer))
            .property("detail", text())
            .property("decision_id", text())
            .property("reason", text())
            .required("type")
            .required("title")
            .required("status")
            .required("detail")
            .examples([example])
            .build()
            .into()
    }
}

impl ToSchema for Problem {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Two types of one name would leave one of them described by the other.
    #[test]
    fn each_name_stands_for_one_schema() {
        let mut seen: BTreeMap<String, Value> = BTreeMap::new();
        for (name, schema) in documented().into_iter().flat_map(|(_, doc)| doc.schemas) {
            let schema = serde_json::to_value(&schema).unwrap();
            let known = seen.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*known, schema, "{name}");
        }
    }
}
