//! agentgateway's own configuration: policies of listeners, routes, backends, targets and of the sections `mcp` and `policies`.
//!
//! Where a policy stands says which targets it is for: those below its own place. A target's name is the server's name here.

use super::{Expression, RuleSet};
use crate::workbench::import::document::{Node, Value};
use crate::workbench::import::rules::Kind;
use crate::workbench::import::{Collected, ImportError};

/// The rules of a configuration.
pub(super) fn sets(configuration: &Node, collected: &mut Collected) -> Result<Vec<RuleSet>, ImportError> {
    let mut walk = Walk { sets: Vec::new(), collected };
    let place = Place { servers: None, route: Vec::new() };
    walk.node(configuration, &place)?;
    Ok(walk.sets)
}

/// Where a policy stands.
#[derive(Debug, Clone)]
struct Place {
    servers: Option<Vec<String>>,
    route: Vec<String>,
}

struct Walk<'c> {
    sets: Vec<RuleSet>,
    collected: &'c mut Collected,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, place: &Place) -> Result<(), ImportError> {
        match &node.value {
            Value::Map(fields) => {
                let own = own_place(node, place);
                for (name, field) in fields {
                    match (name.as_str(), &field.value) {
                        ("mcpAuthorization", Value::Map(_)) => self.set(field, place, false)?,
                        ("authorization", Value::Map(_)) => self.http(field, place)?,
                        ("extAuthz" | "mcpGuardrails", Value::Map(_)) => {
                            let what = format!("`{name}`: what another service decides has no counterpart");
                            self.collected.gap(field.line, what);
                        }
                        ("policies" | "policy", Value::Map(_)) => self.node(field, &own)?,
                        ("targets", Value::List(targets)) => self.targets(targets, &own)?,
                        _ => self.node(field, &own)?,
                    }
                }
                Ok(())
            }
            Value::List(items) => items.iter().enumerate().try_for_each(|(at, item)| {
                let mut place = place.clone();
                place.route.push(format!("{}.{at}", item.line));
                self.node(item, &place)
            }),
            Value::Null | Value::Plain(_) | Value::Text(_) => Ok(()),
        }
    }

    /// The targets of a backend: a policy of one is for it alone.
    fn targets(&mut self, targets: &[Node], place: &Place) -> Result<(), ImportError> {
        for target in targets {
            let servers = target.text("name").map(|name| vec![name.to_owned()]);
            let place =
                Place { servers: servers.or_else(|| place.servers.clone()), route: place.route.clone() };
            self.node(target, &place)?;
        }
        Ok(())
    }

    fn set(&mut self, node: &Node, place: &Place, is_http: bool) -> Result<(), ImportError> {
        node.only(if is_http { "authorization" } else { "mcpAuthorization" }, &["rules"])?;
        let expressions = node.list("rules")?.iter().map(expression).collect::<Result<_, _>>()?;
        let Place { servers, route } = place.clone();
        self.sets.push(RuleSet { expressions, servers, route, is_placed: true, is_http, line: node.line });
        Ok(())
    }

    /// Rules on HTTP requests count where they stand before servers that are known.
    fn http(&mut self, node: &Node, place: &Place) -> Result<(), ImportError> {
        if place.servers.is_some() {
            return self.set(node, place, true);
        }
        let what =
            "`authorization`: rules on HTTP requests are not imported when their servers are not known";
        self.collected.gap(node.line, what);
        Ok(())
    }
}

/// The place of what stands in a node: for the targets below it, or for those of the place that it is in.
fn own_place(node: &Node, place: &Place) -> Place {
    let mut names = Vec::new();
    target_names(node, &mut names);
    names.sort();
    names.dedup();
    let servers = if names.is_empty() { place.servers.clone() } else { Some(names) };
    Place { servers, route: place.route.clone() }
}

fn target_names(node: &Node, names: &mut Vec<String>) {
    match &node.value {
        Value::Map(fields) => {
            for (name, field) in fields {
                if name == "targets" {
                    names.extend(
                        field.items().iter().filter_map(|target| target.text("name")).map(str::to_owned),
                    );
                }
                target_names(field, names);
            }
        }
        Value::List(items) => items.iter().for_each(|item| target_names(item, names)),
        Value::Null | Value::Plain(_) | Value::Text(_) => {}
    }
}

/// A rule. One that is not understood may be one that denies: without it nothing is imported.
fn expression(rule: &Node) -> Result<Expression, ImportError> {
    let found = match &rule.value {
        Value::Text(source) => Some((Kind::Allow, source.as_str(), rule.line)),
        Value::Map(fields) if fields.len() == 1 => {
            let words = [("allow", Kind::Allow), ("deny", Kind::Deny), ("require", Kind::Require)];
            words.into_iter().find_map(|(word, kind)| Some((kind, rule.text(word)?, rule.get(word)?.line)))
        }
        Value::Null | Value::Plain(_) | Value::List(_) | Value::Map(_) => None,
    };
    let wrong = || rule.wrong("a rule is neither an expression nor one that is allowed, denied or required");
    let (kind, source, line) = found.ok_or_else(wrong)?;
    Ok(Expression { kind, source: source.to_owned(), line })
}
