//! agentgateway's Kubernetes objects: `AgentgatewayPolicy` and its predecessor `TrafficPolicy`, with the backends and routes of
//! the same file that say which servers a policy is for.

use super::{Expression, RuleSet};
use crate::workbench::import::document::{Node, Object};
use crate::workbench::import::rules::Kind;
use crate::workbench::import::{Collected, ImportError};

/// What a policy is for.
struct Reach {
    /// `None` for every server, or when it is not known.
    servers: Option<Vec<String>>,
    route: Vec<String>,
    is_placed: bool,
    is_backend: bool,
}

/// The rules of all policies and backends.
pub(super) fn sets(objects: &[Object<'_>], collected: &mut Collected) -> Result<Vec<RuleSet>, ImportError> {
    let mut sets = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for object in objects {
        let is_policy = object.kind.ends_with("AgentgatewayPolicy") || object.kind == "TrafficPolicy";
        if !is_policy && !is_backend(object.kind) && object.kind != "HTTPRoute" {
            others.push(object.kind);
        }
        if is_backend(object.kind) {
            backend(*object, &mut sets, collected)?;
        }
        let Some(spec) = object.node.get("spec").filter(|_| is_policy) else { continue };
        for reach in reaches(objects, *object, spec, collected) {
            match object.kind {
                "TrafficPolicy" => {
                    // Elsewhere than at a backend, rules that do not speak of MCP are about HTTP requests.
                    let rbac = spec.get("rbac");
                    let is_http = !reach.is_backend && !rbac.is_some_and(speaks_of_mcp);
                    authorization(rbac, &reach, is_http, &mut sets)?;
                }
                _ => policy(spec, &reach, &mut sets, collected)?,
            }
        }
    }
    others.sort_unstable();
    others.dedup();
    if !others.is_empty() {
        collected.note(0, format!("objects of other kinds are left out: {}", others.join(", ")));
    }
    Ok(sets)
}

fn is_backend(kind: &str) -> bool {
    kind.ends_with("AgentgatewayBackend") || kind == "Backend"
}

fn speaks_of_mcp(rbac: &Node) -> bool {
    let expressions = rbac.at(&["policy", "matchExpressions"]).map_or(&[][..], Node::items);
    expressions.iter().any(|expression| expression.as_text().is_some_and(|text| text.contains("mcp.")))
}

/// A policy: its rules on MCP, and those on HTTP requests before them.
fn policy(
    spec: &Node,
    reach: &Reach,
    sets: &mut Vec<RuleSet>,
    collected: &mut Collected,
) -> Result<(), ImportError> {
    let mcp = spec.at(&["backend", "mcp"]);
    decided_elsewhere(spec.get("traffic"), collected);
    decided_elsewhere(mcp, collected);
    let rules = mcp.and_then(|mcp| mcp.get("authorization"));
    authorization(rules, reach, false, sets)?;
    let Some(http) = spec.at(&["traffic", "authorization"]) else { return Ok(()) };
    if reach.servers.is_none() && rules.is_none() {
        let what = "`traffic.authorization`: rules on HTTP requests are not imported when their servers are not known";
        collected.gap(http.line, what);
        return Ok(());
    }
    authorization(Some(http), reach, true, sets)
}

/// What is left to other services.
fn decided_elsewhere(section: Option<&Node>, collected: &mut Collected) {
    for name in ["extAuth", "guardrails", "extMcp"] {
        if let Some(found) = section.and_then(|section| section.get(name)) {
            collected.gap(found.line, format!("`{name}`: what another service decides has no counterpart"));
        }
    }
}

/// `{action, policy: {matchExpressions}}`.
fn authorization(
    node: Option<&Node>,
    reach: &Reach,
    is_http: bool,
    sets: &mut Vec<RuleSet>,
) -> Result<(), ImportError> {
    let Some(node) = node else { return Ok(()) };
    node.only("authorization", &["action", "policy"])?;
    let kind = match node.get("action").map(|action| (action, action.as_text())) {
        None | Some((_, Some("Allow"))) => Kind::Allow,
        Some((_, Some("Deny"))) => Kind::Deny,
        Some((_, Some("Require"))) => Kind::Require,
        Some((action, _)) => {
            return Err(action.wrong("the `action` is none of `Allow`, `Deny` and `Require`"));
        }
    };
    let policy = node.get("policy").ok_or_else(|| node.wrong("`authorization` has no `policy`"))?;
    policy.only("policy", &["matchExpressions"])?;
    let found = policy.get("matchExpressions");
    let found = found.ok_or_else(|| policy.wrong("`policy` has no `matchExpressions`"))?;
    let expression = |(source, line): (&str, u64)| Expression { kind, source: source.to_owned(), line };
    let expressions = found.texts("matchExpressions")?.into_iter().map(expression).collect();
    let (servers, route) = (reach.servers.clone(), reach.route.clone());
    let is_placed = reach.is_placed;
    sets.push(RuleSet { expressions, servers, route, is_placed, is_http, line: node.line });
    Ok(())
}

/// Policies that stand in a backend itself, and in its targets.
fn backend(
    object: Object<'_>,
    sets: &mut Vec<RuleSet>,
    collected: &mut Collected,
) -> Result<(), ImportError> {
    let mut policies = vec![(object.node.at(&["spec", "policies"]), target_names(object.node))];
    for target in targets(object.node) {
        let name: Vec<String> = target.text("name").map(str::to_owned).into_iter().collect();
        policies.push((target.get("policies"), name.clone()));
        policies.push((target.at(&["static", "policies"]), name));
    }
    for (found, names) in policies {
        let servers = (!names.is_empty()).then_some(names);
        let reach = Reach { servers, route: Vec::new(), is_placed: true, is_backend: true };
        let mcp = found.and_then(|policies| policies.get("mcp"));
        decided_elsewhere(mcp, collected);
        authorization(mcp.and_then(|mcp| mcp.get("authorization")), &reach, false, sets)?;
    }
    Ok(())
}

fn targets(backend: &Node) -> &[Node] {
    backend.at(&["spec", "mcp", "targets"]).map_or(&[], Node::items)
}

fn target_names(backend: &Node) -> Vec<String> {
    targets(backend).iter().filter_map(|target| target.text("name")).map(str::to_owned).collect()
}

/// What a policy is for, by each of its `targetRefs`.
fn reaches(objects: &[Object<'_>], policy: Object<'_>, spec: &Node, collected: &mut Collected) -> Vec<Reach> {
    let mut reaches: Vec<Reach> = Vec::new();
    let refs = spec.get("targetRefs").map_or(&[][..], Node::items);
    let refs = refs.iter().chain(spec.get("targetRef"));
    for reference in refs {
        let (kind, name) =
            (reference.text("kind").unwrap_or_default(), reference.text("name").unwrap_or_default());
        let find = |is_kind: &dyn Fn(&str) -> bool| {
            objects.iter().find(|object| {
                is_kind(object.kind) && object.name == name && object.namespace == policy.namespace
            })
        };
        let route = vec![format!("{kind}/{name}")];
        let (servers, route) = match (reference.text("sectionName"), kind) {
            (Some(target), kind) if is_backend(kind) => (Some(vec![target.to_owned()]), Vec::new()),
            (None, kind) if is_backend(kind) => {
                match find(&is_backend).map(|object| target_names(object.node)).unwrap_or_default() {
                    names if names.is_empty() => (None, route),
                    names => (Some(names), Vec::new()),
                }
            }
            (_, "HTTPRoute") => {
                let found = find(&|kind| kind == "HTTPRoute");
                (found.and_then(|found| route_servers(objects, *found)), route)
            }
            _ => (None, route),
        };
        let is_placed = servers.is_some() || kind == "Gateway";
        if !is_placed {
            let what = format!(
                "which servers are behind `{kind}` `{name}` is not in this file: the rules are for all"
            );
            collected.note(reference.line, what);
        }
        reaches.push(Reach { servers, route, is_placed, is_backend: is_backend(kind) });
    }
    if reaches.is_empty() {
        collected.note(
            spec.line,
            format!("`{}` has no `targetRefs`: its rules are for every server", policy.name),
        );
        reaches.push(Reach {
            servers: None,
            route: vec![policy.name.to_owned()],
            is_placed: false,
            is_backend: false,
        });
    }
    reaches
}

/// The targets of the backends of a route; `None` when one of them is not in the file.
fn route_servers(objects: &[Object<'_>], route: Object<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for rule in route.node.at(&["spec", "rules"])?.items() {
        for reference in rule.get("backendRefs").map_or(&[][..], Node::items) {
            let name = reference.text("name")?;
            let backend = objects.iter().find(|object| {
                is_backend(object.kind) && object.name == name && object.namespace == route.namespace
            })?;
            names.extend(target_names(backend.node));
        }
    }
    (!names.is_empty()).then_some(names)
}
