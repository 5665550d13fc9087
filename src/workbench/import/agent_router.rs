//! Agent Router (Envoy AI Gateway before): `MCPRoute` objects with `securityPolicy.authorization` and `toolSelector`.
//!
//! Its rules on calls of tools are asked in their order, and the first whose source, target and CEL expression match decides;
//! where none does, `defaultAction`. So a rule that allows becomes a permit, and one that denies a forbid of what no rule
//! before it allows. `toolSelector` says which tools of a backend there are at all. A backend is a server here; prompts and
//! resources have no rules there, so nothing is imported for them.

use super::cel::{self, Names};
use super::condition::{Condition, Errors, Target, Text};
use super::document::{Node, Object, documents};
use super::rules::{self, Kind, Rule, STRICTER, narrow, sayable};
use super::{Collected, ImportError, ImportInput};

/// What rules are about.
const TOOLS: &[Target] = &[Target::Tool];
/// What a `promptSelector` is about.
const PROMPTS: &[Target] = &[Target::Prompt];

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let heading = format!("Rules on tools, from {} of Agent Router.", input.file);
    let mut collected = Collected { heading, ..Collected::default() };
    let documents = documents(input.text)?;
    let objects: Vec<Object<'_>> = documents.iter().filter_map(Node::object).collect();
    let routes: Vec<&Object<'_>> = objects.iter().filter(|object| object.kind == "MCPRoute").collect();
    if routes.is_empty() {
        return Err(ImportError::Source { line: 1, what: "there is no `MCPRoute` in it".to_owned() });
    }
    let mut found = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for route in routes {
        let route = Route::read(route)?;
        if route.backends.iter().any(|backend| taken.contains(backend)) {
            let what = "two routes have a backend in common, and here a policy is for both";
            collected.gap(route.node.line, what);
        }
        found.extend(route.rules(input, &mut collected)?);
        taken.extend(route.backends);
    }
    let mut others: Vec<&str> =
        objects.iter().map(|object| object.kind).filter(|kind| *kind != "MCPRoute").collect();
    others.sort_unstable();
    others.dedup();
    if !others.is_empty() {
        collected.note(0, format!("objects of other kinds are left out: {}", others.join(", ")));
    }
    let found = narrow(input, found)?;
    rules::write(input, &mut collected, &found);
    Ok(collected)
}

/// A route and its servers.
struct Route<'n> {
    name: &'n str,
    node: &'n Node,
    spec: &'n Node,
    backends: Vec<String>,
}

impl<'n> Route<'n> {
    fn read(object: &Object<'n>) -> Result<Self, ImportError> {
        let node = object.node;
        let spec = node.get("spec").ok_or_else(|| node.wrong("the route has no `spec`"))?;
        if let Some(selector) = spec.get("backendSelector") {
            let what = "`backendSelector` limits which servers a caller reaches, which is not known here";
            return Err(selector.wrong(what));
        }
        let backends = spec.list("backendRefs")?.iter().filter_map(|backend| backend.text("name"));
        let backends: Vec<String> = backends.map(str::to_owned).collect();
        if backends.is_empty() {
            return Err(spec.wrong("the route has no `backendRefs` with names"));
        }
        Ok(Self { name: object.name, node, spec, backends })
    }

    fn rules(&self, input: &ImportInput<'_>, collected: &mut Collected) -> Result<Vec<Rule>, ImportError> {
        let mut found = Vec::new();
        for backend in self.spec.list("backendRefs")? {
            let name = backend.text("name").unwrap_or_default();
            for (field, target) in [("toolSelector", TOOLS), ("promptSelector", PROMPTS)] {
                if let Some(selector) = backend.get(field) {
                    found.extend(selected(selector, field, target, name, collected)?);
                }
            }
        }
        let security = self.spec.get("securityPolicy");
        if let Some(other) = security.and_then(|security| security.get("extAuth")) {
            collected.gap(other.line, "`extAuth`: what another service decides has no counterpart");
        }
        let Some(authorization) = security.and_then(|security| security.get("authorization")) else {
            let what = format!("`{}` has no `authorization`: it allows nothing here", self.name);
            collected.note(self.node.line, what);
            return Ok(found);
        };
        authorization.only("authorization", &["defaultAction", "rules"])?;
        let mut allowed = Vec::new();
        let before = found.len();
        for rule in authorization.list("rules")? {
            found.extend(self.rule(rule, &mut allowed, collected)?);
        }
        let about_claims = found.iter().skip(before).any(|rule| asks_for_claims(&rule.condition));
        if about_claims && security.and_then(|security| security.get("oauth")).is_none() {
            let what = "rules ask for claims, and without `oauth` Agent Router takes none from a token";
            collected.gap(authorization.line, what);
        }
        if is_allow(authorization, "defaultAction", false)? {
            let reason = format!(
                "The `defaultAction` of `{}`, line {}, allows what no rule denies.",
                input.file, authorization.line
            );
            let rest = self.rule_of(Kind::Allow, Condition::Always(true), authorization.line);
            found.push(Rule { reason: Some(reason), ..rest });
        }
        Ok(found)
    }

    fn rule_of(&self, kind: Kind, condition: Condition, line: u64) -> Rule {
        Rule {
            kind,
            condition,
            unless: Vec::new(),
            line,
            targets: TOOLS,
            servers: Some(self.backends.clone()),
            errors: Errors::Absorbed,
            reason: None,
        }
    }

    /// A rule, and what the rules before it allow.
    fn rule(
        &self,
        rule: &Node,
        allowed: &mut Vec<Condition>,
        collected: &mut Collected,
    ) -> Result<Option<Rule>, ImportError> {
        rule.only("rules", &["source", "target", "cel", "action"])?;
        let kind = if is_allow(rule, "action", true)? { Kind::Allow } else { Kind::Deny };
        let parts = [target(rule)?, source(rule, kind)?];
        let mut parts: Vec<Result<Condition, String>> = parts.into_iter().flatten().map(Ok).collect();
        if let Some(expression) = rule.get("cel") {
            let source = expression.as_text().ok_or_else(|| expression.wrong("`cel` is not a text"))?;
            let of_source = |what: String| format!("`{source}`: {what}");
            match kind {
                Kind::Deny => {
                    let each = cel::parts(source, Names::AgentRouter).into_iter();
                    parts.extend(each.map(|part| part.map_err(of_source)));
                }
                Kind::Allow | Kind::Require => {
                    parts.push(cel::read(source, Names::AgentRouter).map_err(of_source));
                }
            }
        }
        let parts = parts.into_iter().map(|part| sayable(part?, kind, Errors::Absorbed, TOOLS));
        let (said, unsaid): (Vec<_>, Vec<_>) = parts.partition(Result::is_ok);
        let condition = Condition::All(said.into_iter().flatten().collect());
        match (kind, unsaid.into_iter().find_map(Result::err)) {
            (Kind::Deny, gap) => {
                if let Some(what) = gap {
                    collected.gap(rule.line, format!("{what} has no counterpart; {STRICTER}"));
                }
                let denial = self.rule_of(kind, condition, rule.line);
                Ok(Some(Rule { unless: allowed.clone(), ..denial }))
            }
            (Kind::Allow | Kind::Require, Some(what)) => {
                collected.gap(rule.line, format!("{what} has no counterpart"));
                Ok(None)
            }
            (Kind::Allow | Kind::Require, None) => {
                allowed.push(condition.clone());
                Ok(Some(self.rule_of(kind, condition, rule.line)))
            }
        }
    }
}

fn asks_for_claims(condition: &Condition) -> bool {
    let mut found = false;
    condition.visit(&mut |part| found |= matches!(part, Condition::Claim(..) | Condition::ClaimThere(_)));
    found
}

/// Whether an action is `Allow`; without one, `default`.
fn is_allow(node: &Node, name: &str, default: bool) -> Result<bool, ImportError> {
    match node.get(name).map(|action| (action, action.as_text())) {
        None => Ok(default),
        Some((_, Some("Allow"))) => Ok(true),
        Some((_, Some("Deny"))) => Ok(false),
        Some((action, _)) => Err(action.wrong(format!("`{name}` is neither `Allow` nor `Deny`"))),
    }
}

/// `target.tools`: any of these.
fn target(rule: &Node) -> Result<Option<Condition>, ImportError> {
    let Some(target) = rule.get("target") else { return Ok(None) };
    target.only("target", &["tools"])?;
    let mut any = Vec::new();
    for tool in target.list("tools")? {
        tool.only("tools", &["backend", "tool"])?;
        let (Some(backend), Some(name)) = (tool.text("backend"), tool.text("tool")) else {
            return Err(tool.wrong("an item of `tools` has no `backend` or no `tool`"));
        };
        let is = |text: &str| Text::Is(text.to_owned());
        any.push(Condition::All(vec![
            Condition::Server(is(backend)),
            Condition::Name(Target::Tool, is(name)),
        ]));
    }
    // A list without a tool is for every tool there.
    Ok((!any.is_empty()).then_some(Condition::Any(any)))
}

/// `source.jwt`: every scope, and of every claim one value. A denial does not ask for scopes there.
fn source(rule: &Node, kind: Kind) -> Result<Option<Condition>, ImportError> {
    let Some(source) = rule.get("source") else { return Ok(None) };
    source.only("source", &["jwt"])?;
    let Some(jwt) = source.get("jwt") else { return Err(source.wrong("`source` has no `jwt`")) };
    jwt.only("jwt", &["scopes", "claims"])?;
    let mut all = Vec::new();
    if let Some(scopes) = jwt.get("scopes").filter(|_| kind == Kind::Allow) {
        let scope =
            |(scope, _): (&str, u64)| Condition::Claim("scope".to_owned(), Text::Is(scope.to_owned()));
        all.extend(scopes.texts("scopes")?.into_iter().map(scope));
    }
    for claim in jwt.list("claims")? {
        claim.only("claims", &["name", "valueType", "values"])?;
        let (Some(name), Some(values)) = (claim.text("name"), claim.get("values")) else {
            return Err(claim.wrong("an item of `claims` has no `name` or no `values`"));
        };
        let values: Vec<String> =
            values.texts("values")?.into_iter().map(|(value, _)| value.to_owned()).collect();
        all.push(match values.is_empty() {
            true => Condition::Always(false),
            false => Condition::Claim(name.to_owned(), Text::OneOf(values)),
        });
    }
    Ok(Some(Condition::All(all)))
}

/// `toolSelector`, `promptSelector`: a name has to be among those included, and not among those excluded. An empty list says
/// nothing.
fn selected(
    selector: &Node,
    field: &str,
    targets: &'static [Target],
    backend: &str,
    collected: &mut Collected,
) -> Result<Vec<Rule>, ImportError> {
    selector.only(field, &["include", "includeRegex", "exclude", "excludeRegex"])?;
    let target = targets.first().copied().unwrap_or(Target::Tool);
    let name_is = |text: Text| Condition::Name(target, text);
    let mut found = Vec::new();
    for (list, kind) in [("include", Kind::Require), ("exclude", Kind::Deny)] {
        let mut any = Vec::new();
        let mut line = selector.line;
        if let Some(node) = selector.get(list) {
            line = node.line;
            let names = node.texts(list)?.into_iter();
            any.extend(names.map(|(name, _)| name_is(Text::Is(name.to_owned()))));
        }
        let regex = format!("{list}Regex");
        if let Some(node) = selector.get(&regex) {
            line = node.line;
            for (pattern, line) in node.texts(&regex)? {
                any.push(text_of_regex(pattern).map(name_is).unwrap_or_else(|| {
                    collected.gap(line, format!("`{pattern}` in `{regex}` has no counterpart; {STRICTER}"));
                    // Nothing is included by it, everything is excluded.
                    Condition::Always(kind == Kind::Deny)
                }));
            }
        }
        if !any.is_empty() {
            found.push(Rule {
                kind,
                condition: one_of(any),
                unless: Vec::new(),
                line,
                targets,
                servers: Some(vec![backend.to_owned()]),
                errors: Errors::Absorbed,
                reason: None,
            });
        }
    }
    Ok(found)
}

/// Any of these; whole names in one list.
fn one_of(any: Vec<Condition>) -> Condition {
    let names = any.iter().map(|one| match one {
        Condition::Name(target, Text::Is(name)) => Some((*target, name.clone())),
        _ => None,
    });
    match names.collect::<Option<Vec<_>>>().as_deref() {
        Some([(target, _), _, ..]) => {
            let names = any.iter().filter_map(|one| match one {
                Condition::Name(_, Text::Is(name)) => Some(name.clone()),
                _ => None,
            });
            Condition::Name(*target, Text::OneOf(names.collect()))
        }
        Some(_) | None => Condition::Any(any),
    }
}

/// A regular expression that is a whole name, or a part of one with `.*` around it. It may match anywhere in a name unless it
/// says where, so one without `^` and `$` is not a name.
fn text_of_regex(pattern: &str) -> Option<Text> {
    let (begins, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (ends, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let (before, rest) = rest.strip_prefix(".*").map_or((!begins, rest), |rest| (true, rest));
    let (after, rest) = rest.strip_suffix(".*").map_or((!ends, rest), |rest| (true, rest));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | ':');
    if rest.is_empty() || !rest.chars().all(is_plain) {
        return None;
    }
    let rest = rest.to_owned();
    Some(match (before, after) {
        (false, false) => Text::Is(rest),
        (false, true) => Text::Begins(rest),
        (true, false) => Text::Ends(rest),
        (true, true) => Text::Has(rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_regular_expressions_are_names_or_parts_of_names() {
        let text = |kind: fn(String) -> Text, text: &str| Some(kind(text.to_owned()));
        for (pattern, expected) in [
            ("^get_x$", text(Text::Is, "get_x")),
            ("^get_", text(Text::Begins, "get_")),
            ("^get_.*$", text(Text::Begins, "get_")),
            ("_read$", text(Text::Ends, "_read")),
            ("^.*_read$", text(Text::Ends, "_read")),
            (".*issue.*", text(Text::Has, "issue")),
            ("issue", text(Text::Has, "issue")),
            (".*issues?.*", None),
            ("get|put", None),
            (".*", None),
            ("", None),
        ] {
            assert_eq!(text_of_regex(pattern), expected, "{pattern}");
        }
    }
}
