//! OpenID AuthZEN 1.0 search: who may, on what, and what may be done.
//!
//! A search asks the policies about every candidate, and answers with those that an evaluation would allow. Candidates
//! are what the store knows, narrowed by the scopes of the permits that can be about the question. One page looks at a
//! bounded number of them; the next begins where it ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Any, json};

use super::authzen::{Action, Party, Properties, Stated, action_uid};
use super::body::{Object, read_or_malformed};
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::authz::{AttributeSource as _, KnownAttributes, resolve_entities};
use crate::model::{DecisionId, Entity, EntityUid, Outcome, Value};
use crate::policy::{Bundle, Query, Reachable, Side, Verdict};

/// What is searched for: only the type counts, the id is read over (AuthZEN 1.0, section 8.4).
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[schema(as = SearchKind)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = SearchPage)]
struct Page {
    #[serde(default)]
    token: String,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct SubjectSearch {
    #[schema(value_type = Kind)]
    subject: Object<Kind>,
    #[schema(value_type = Action)]
    action: Object<Action>,
    #[schema(value_type = Party)]
    resource: Object<Party>,
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Properties,
    #[schema(value_type = Option<Page>)]
    page: Option<Object<Page>>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct ResourceSearch {
    #[schema(value_type = Party)]
    subject: Object<Party>,
    #[schema(value_type = Action)]
    action: Object<Action>,
    #[schema(value_type = Kind)]
    resource: Object<Kind>,
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Properties,
    #[schema(value_type = Option<Page>)]
    page: Option<Object<Page>>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct ActionSearch {
    #[schema(value_type = Party)]
    subject: Object<Party>,
    #[schema(value_type = Party)]
    resource: Object<Party>,
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Properties,
    #[schema(value_type = Option<Page>)]
    page: Option<Object<Page>>,
}

/// One answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum Found {
    Entity {
        #[serde(rename = "type")]
        kind: String,
        id: String,
    },
    Action {
        name: String,
    },
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Results {
    results: Vec<Found>,
    page: NextPage,
    context: Recorded,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct NextPage {
    /// Empty at the end.
    next_token: String,
    count: usize,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Recorded {
    decision_id: DecisionId,
}

/// The most answers on one page, and how many when the caller does not say.
const LARGEST_PAGE: usize = 1_000;
const PAGE: usize = 100;
/// The most candidates that one page looks at: each of them stands in the record.
const MOST: usize = 1_000;

/// Where a page begins: bound to the question, so that a token cannot be used for another.
struct Place {
    question: [u8; 16],
    after: Option<String>,
    limit: usize,
}

impl Place {
    fn of(question: &Any, page: Option<Object<Page>>) -> Result<Self, Problem> {
        let Object(page) = page.unwrap_or(Object(Page::default()));
        let whole = digest(&SHA256, question.to_string().as_bytes());
        let mut question = [0; 16];
        question.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
        let limit = page.limit.unwrap_or(PAGE).min(LARGEST_PAGE);
        if limit == 0 {
            return Err(Problem::malformed("`page.limit` is 0: leave `page` out for the default"));
        }
        if page.token.is_empty() {
            return Ok(Self { question, after: None, limit });
        }
        let wrong = || Problem::malformed("`page.token` is not from an answer to this question");
        let bytes = URL_SAFE_NO_PAD.decode(&page.token).map_err(|_| wrong())?;
        let after = bytes.strip_prefix(&question).ok_or_else(wrong)?;
        let after = String::from_utf8(after.to_vec()).map_err(|_| wrong())?;
        Ok(Self { question, after: Some(after), limit })
    }

    fn token(&self, last: &str) -> String {
        URL_SAFE_NO_PAD.encode([self.question.as_slice(), last.as_bytes()].concat())
    }
}

/// Asks about the candidates until the page is full.
async fn page<C: Fn() -> Vec<EntityUid> + Sync>(
    api: &Api,
    caller: &Caller,
    place: &Place,
    candidates: C,
    question: impl Fn(EntityUid) -> Query + Sync,
    found: impl Fn(&EntityUid) -> Found,
) -> Result<Json<Results>, Problem> {
    // No search begins before the guard has let the caller ask.
    let asked: OnceLock<Vec<EntityUid>> = OnceLock::new();
    let all = || asked.get_or_init(&candidates);
    let questions = std::iter::once(()).flat_map(|()| all().iter().take(MOST).cloned().map(&question));
    // Without its type, in which the compiler cannot see that it may go from thread to thread.
    let questions: Box<dyn Iterator<Item = Query> + Send + '_> = Box::new(questions);
    let count = AtomicUsize::new(0);
    let full = |verdict: &Verdict| {
        let more = usize::from(verdict.outcome == Outcome::Allow);
        count.fetch_add(more, Ordering::Relaxed) + more >= place.limit
    };
    let guard = api.effects.guard();
    let (decision_id, verdicts) = guard.evaluate(&caller.subject, &caller.context, questions, full).await?;
    let all = asked.get().map(Vec::as_slice).unwrap_or_default();
    let allowed = all.iter().zip(&verdicts).filter(|(_, verdict)| verdict.outcome == Outcome::Allow);
    let results: Vec<Found> = allowed.map(|(uid, _)| found(uid)).collect();
    let last = verdicts.len().checked_sub(1).and_then(|last| all.get(last));
    let next_token = match last {
        Some(last) if verdicts.len() < all.len() => place.token(last.id()),
        _ => String::new(),
    };
    let page = NextPage { next_token, count: results.len() };
    Ok(Json(Results { results, page, context: Recorded { decision_id } }))
}

/// Whether every entity that the question names is known: a search about an unknown one finds nothing.
fn all_known(named: &[Arc<Entity>], attributes: &dyn KnownAttributes) -> bool {
    named.iter().all(|entity| entity.is_stated() || attributes.entity(&entity.uid).is_some())
}

/// Which entities of a type to ask about, when the other side and the action are known.
fn candidates(api: &Api, side: Side, kind: &str, template: &Query, after: Option<&str>) -> Vec<EntityUid> {
    let (other, mut known) = match side {
        Side::Principal => (&template.resource, template.clone()),
        Side::Resource => (&template.principal, template.clone()),
    };
    let attributes = api.attributes.current();
    let bundle = api.effects.guard().policy().current();
    if !all_known(&template.entities, &*attributes) || !resolve_entities(&mut known, &bundle, &*attributes) {
        return Vec::new();
    }
    let reachable: Reachable = bundle.reachable(side, kind, &template.action, other, &known.entities);
    api.attributes.candidates(kind, &reachable, after, MOST + 1)
}

fn as_entity(uid: &EntityUid) -> Found {
    Found::Entity { kind: uid.type_name().to_owned(), id: uid.id().to_owned() }
}

/// The question about one candidate.
fn with(template: &Query, side: Side, candidate: EntityUid) -> Query {
    let mut query = template.clone();
    if query.entities.iter().all(|entity| entity.uid != candidate) {
        query.entities.push(Arc::new(Entity::bare(candidate.clone())));
    }
    match side {
        Side::Principal => query.principal = candidate,
        Side::Resource => query.resource = candidate,
    }
    query
}

/// The question of which one side is open.
fn template(
    api: &Api,
    side: Side,
    kind: &Kind,
    known: Party,
    action: Action,
    context: Properties,
) -> Result<Query, String> {
    let (open, other) = (EntityUid::new(kind.kind.as_str(), ""), known.uid());
    let (principal, resource, party) = match side {
        Side::Principal => (open, other.clone(), "resource"),
        Side::Resource => (other.clone(), open, "subject"),
    };
    let bundle = api.effects.guard().policy().current();
    let mut stated = Stated::new(&bundle, api.settings.undeclared);
    let entities = vec![stated.entity(party, &other, known.properties)?.into()];
    let action_name = action_uid(&bundle, principal.type_name(), resource.type_name(), &action.name);
    let context = stated.context(&action_name, action.properties, context)?;
    Ok(Query { action: action_name, context, entities, principal, resource })
}

/// Asks about the entities of a type on one side of a question whose other side is `known`.
async fn entities(
    api: &Api,
    caller: &Caller,
    (side, kind, known): (Side, Kind, Party),
    (action, context, page): (Action, Properties, Option<Object<Page>>),
) -> Result<Json<Results>, Problem> {
    let searched = match side {
        Side::Principal => "subject",
        Side::Resource => "resource",
    };
    let place = Place::of(&json!([searched, kind, action, known, context]), page)?;
    let template = &template(api, side, &kind, known, action, context).map_err(Problem::malformed)?;
    let look = || candidates(api, side, &kind.kind, template, place.after.as_deref());
    self::page(api, caller, &place, look, |candidate| with(template, side, candidate), as_entity).await
}

/// Who may do this to that?
pub(super) async fn subjects(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Results>, Problem> {
    let search: SubjectSearch = read_or_malformed(request, &api).await?;
    let (Object(kind), Object(known), Object(action)) = (search.subject, search.resource, search.action);
    let sides = (Side::Principal, kind, known);
    entities(&api, &caller, sides, (action, search.context, search.page)).await
}

/// On what may this be done by that one?
pub(super) async fn resources(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Results>, Problem> {
    let search: ResourceSearch = read_or_malformed(request, &api).await?;
    let (Object(known), Object(kind), Object(action)) = (search.subject, search.resource, search.action);
    let sides = (Side::Resource, kind, known);
    entities(&api, &caller, sides, (action, search.context, search.page)).await
}

/// What may this one do to that?
pub(super) async fn actions(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Results>, Problem> {
    let ActionSearch { subject: Object(subject), resource: Object(resource), context, page: pages } =
        read_or_malformed(request, &api).await?;
    let place = Place::of(&json!(["action", subject, resource, context]), pages)?;
    let (principal, target) = (subject.uid(), resource.uid());
    let (of_subject, of_resource) = (subject.kind.clone(), resource.kind.clone());
    let bundle = api.effects.guard().policy().current();
    let mut stated = Stated::new(&bundle, api.settings.undeclared);
    let mut of = |party, uid: &EntityUid, properties| {
        stated.entity(party, uid, properties).map(Arc::new).map_err(Problem::malformed)
    };
    let mut entities = vec![of("subject", &principal, subject.properties)?];
    if target != principal {
        entities.push(of("resource", &target, resource.properties)?);
    }
    stated.check_context(&context).map_err(Problem::malformed)?;
    let look = || match all_known(&entities, &*api.attributes.current()) {
        true => actions_after(&bundle, (&of_subject, &of_resource), place.after.as_deref()),
        false => Vec::new(),
    };
    // What a context declares depends on the action. One that cannot be read for an action is none, and the question denied.
    let question = |action: EntityUid| {
        let read = stated.clone().context(&action, Properties::new(), context.clone());
        Query {
            principal: principal.clone(),
            context: read.unwrap_or(Value::Bool(false)),
            action,
            resource: target.clone(),
            entities: entities.clone(),
        }
    };
    page(&api, &caller, &place, look, question, |uid| Found::Action { name: uid.id().to_owned() }).await
}

/// The actions of these types that come after a name, at most one page and one more of them.
fn actions_after(
    bundle: &Bundle,
    (principal, resource): (&str, &str),
    after: Option<&str>,
) -> Vec<EntityUid> {
    let is_later = |uid: &EntityUid| after.is_none_or(|after| uid.id() > after);
    // An action is called by its name alone where that means it, so only such are found; of each name there is one.
    let is_named = |uid: &EntityUid| action_uid(bundle, principal, resource, uid.id()) == *uid;
    let all = bundle.actions_between(principal, resource).into_iter();
    let mut found: Vec<EntityUid> = all.filter(is_later).filter(is_named).collect();
    // In the order that a page's token goes on in: by name, without the namespace.
    found.sort_by(|one, other| one.id().cmp(other.id()));
    found.truncate(MOST + 1);
    found
}
