//! The five applications of the Cedar benchmark of OOPSLA 2024, with generated worlds of 5 and 50 of each kind and
//! random requests that fit the schema. For a test and a bench.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test and a bench"
)]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use caxton::model::EntityUid;
use caxton::policy::{Bundle, CedarAnswer, EntityCheck, JsonNames, JsonQuery, Link, Sources};
use cedar_policy as cedar;
use serde_json::{Value as Json, json};

/// Where the data is; a machine without it skips.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/testdata/oopsla");

/// Folder, policies, schema.
pub const APPLICATIONS: [(&str, &str, &str); 5] = [
    ("gdrive", "policies.cedar", "gdrive.cedarschema.json"),
    ("gdrive-templates", "policies.cedar", "gdrive-templates.cedarschema.json"),
    ("github", "policies.cedar", "github.cedarschema.json"),
    ("github-templates", "policies.cedar", "github-templates.cedarschema.json"),
    ("tinytodo", "tinytodo.cedar", "tinytodo.cedarschema.json"),
];

/// One application in one of its worlds, for this evaluator and for Cedar's own.
pub struct Application {
    pub bundle: Bundle,
    pub set: cedar::PolicySet,
    pub entities: cedar::Entities,
    pub requests: Vec<(JsonQuery, cedar::Request)>,
}

impl Application {
    /// `size` of each kind, generated from `seed`; `count` requests.
    pub fn load((folder, policies, schema): (&str, &str, &str), size: u32, seed: u32, count: usize) -> Self {
        let folder = Path::new(DATA).join(folder);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let (policies, schema_text) = (read(policies), read(schema));
        let world: Vec<Json> = serde_json::from_str(&read(&format!("entities-{size}-{seed}.json"))).unwrap();
        let (links, world): (Vec<Json>, Vec<Json>) =
            world.into_iter().partition(|entity| uid(&entity["uid"]).type_name() == "TemplateLink");

        let schema = cedar::Schema::from_json_str(&schema_text).unwrap();
        let mut set: cedar::PolicySet = policies.parse().unwrap();
        let mut sources = Sources::new()
            .with_schema("app.cedarschema.json", &schema_text)
            .with_policy("app.cedar", &policies);
        // Both sides name policies and templates by their place; the data names templates by annotation.
        let named = set.templates().filter_map(|template| Some((template.annotation("id")?, template.id())));
        let named: HashMap<String, String> =
            named.map(|(name, id)| (name.to_owned(), id.to_string())).collect();
        for link in &links {
            let template = named[link["attrs"]["template_name"].as_str().unwrap()].clone();
            let id = uid(&link["uid"]).id().to_owned();
            let (principal, resource) = (uid(&link["attrs"]["principal"]), uid(&link["attrs"]["resource"]));
            let slots = HashMap::from([
                (cedar::SlotId::principal(), plain(&principal)),
                (cedar::SlotId::resource(), plain(&resource)),
            ]);
            set.link(cedar::PolicyId::new(&template), cedar::PolicyId::new(&id), slots).unwrap();
            sources = sources.with_link(Link {
                template,
                id,
                principal: Some(principal),
                resource: Some(resource),
            });
        }
        let bundle = Bundle::insecure_load_as_cedar(sources).unwrap();
        let text = Json::from(world.clone()).to_string();
        let entities = cedar::Entities::from_json_str(&text, Some(&schema)).unwrap();
        let known = bundle.entities_from_json(&text, EntityCheck::Schema).unwrap();
        let names: Vec<EntityUid> = world.iter().map(|entity| uid(&entity["uid"])).collect();
        // In one order on every run, so that a seed means one thing.
        let mut environments: Vec<_> = schema.request_envs().collect();
        environments.sort_by_cached_key(|one| {
            (one.principal().to_string(), one.action().to_string(), one.resource().to_string())
        });
        let mut dice = Dice(u64::from(seed));
        let requests = std::iter::repeat_with(|| {
            let environment = dice.pick(&environments);
            let of = |kind: &cedar::EntityTypeName| -> Vec<&EntityUid> {
                let kind = kind.to_string();
                names.iter().filter(|name| name.type_name() == kind).collect()
            };
            let principal = *dice.pick(&of(environment.principal()));
            let resource = *dice.pick(&of(environment.resource()));
            let action = environment.action();
            let context = cedar::Context::empty();
            let request = cedar::Request::new(
                plain(principal),
                action.clone(),
                plain(resource),
                context,
                Some(&schema),
            );
            let json = |uid: &EntityUid| json!({ "type": uid.type_name(), "id": uid.id() });
            let action = json!({ "type": action.type_name().to_string(), "id": action.id().unescaped() });
            let names = JsonNames { principal: &json(principal), action: &action, resource: &json(resource) };
            let query = bundle.query_from_json(&names, json!({}), &known, EntityCheck::Schema);
            (query.unwrap(), request.unwrap())
        });
        let requests = requests.take(count).collect();
        Self { bundle, set, entities, requests }
    }

    /// What Cedar's own authoriser says.
    pub fn cedar(&self, request: &cedar::Request) -> cedar::Response {
        cedar::Authorizer::new().is_authorized(request, &self.set, &self.entities)
    }

    /// The answers that differ, and how many of all are to allow.
    pub fn compare(&self) -> (Vec<(CedarAnswer, CedarAnswer)>, usize) {
        let mut allowed = 0;
        let mut differing = Vec::new();
        for (query, request) in &self.requests {
            let response = self.cedar(request);
            let names = |ids: &mut dyn Iterator<Item = &cedar::PolicyId>| -> BTreeSet<String> {
                ids.map(ToString::to_string).collect()
            };
            let cedars = CedarAnswer {
                allow: response.decision() == cedar::Decision::Allow,
                reasons: names(&mut response.diagnostics().reason()),
                errors: names(&mut response.diagnostics().errors().map(|error| match error {
                    cedar::AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
                })),
            };
            let ours = self.bundle.decide_as_cedar(query);
            allowed += usize::from(ours.allow);
            if ours != cedars {
                differing.push((ours, cedars));
            }
        }
        (differing, allowed)
    }
}

fn uid(json: &Json) -> EntityUid {
    let named = json.get("__entity").unwrap_or(json);
    EntityUid::new(named["type"].as_str().unwrap(), named["id"].as_str().unwrap())
}

fn plain(uid: &EntityUid) -> cedar::EntityUid {
    cedar::EntityUid::from_type_name_and_id(uid.type_name().parse().unwrap(), cedar::EntityId::new(uid.id()))
}

/// The same throws for the same seed.
struct Dice(u64);

impl Dice {
    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &from[(self.0 >> 33) as usize % from.len()]
    }
}
