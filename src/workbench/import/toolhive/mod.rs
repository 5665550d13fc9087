//! ToolHive's authorisation: Cedar already, over another model, in a file of its own (`type: cedarv1`) or in Kubernetes objects.
//!
//! `MCPServer`, `MCPRemoteProxy` and `VirtualMCPServer` have policies inline, name an `MCPAuthzConfig`, or name a `ConfigMap` with
//! such a file in it. What they name is looked for in the same file and namespace. Their policies are for the server of
//! their own name; those that no server names are as from a file, where the file has no servers.

mod policy;

use cedar_policy_core::parser::parse_policyset;

use self::policy::{Source, rule};
use super::condition::{Condition, Errors, GroupClaims, Target, Text};
use super::document::{Node, Object, Value, documents, inner};
use super::rules::{self, Kind, Rule, narrow};
use super::{Collected, ImportError, ImportInput};
use crate::policy::set::depth;
use crate::policy::set::depth::Language;

/// The kinds of objects that policies are for.
const SERVERS: [&str; 3] = ["MCPServer", "MCPRemoteProxy", "VirtualMCPServer"];

/// Where ToolHive looks for groups when the token has no claim of the configured name.
const USUAL_GROUP_CLAIMS: [&str; 3] = ["groups", "roles", "cognito:groups"];

/// The key of a `ConfigMap` that ToolHive reads when none is named.
const USUAL_KEY: &str = "authz.json";

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let heading = format!("Rules on tools, from {} of ToolHive.", input.file);
    let collected = Collected { heading, ..Collected::default() };
    let documents = documents(input.text)?;
    let objects: Vec<Object<'_>> = documents.iter().filter_map(Node::object).collect();
    let mut reader = Reader { input, objects, collected, found: Vec::new(), named: Vec::new() };
    for document in &documents {
        if document.object().is_none() {
            reader.file(document, None)?;
        }
    }
    reader.servers()?;
    reader.without_server()?;
    let Reader { mut collected, found, .. } = reader;
    let found = narrow(input, found)?;
    rules::write(input, &mut collected, &found);
    Ok(collected)
}

/// What an object or a file says beside its policies.
#[derive(Debug, Default)]
struct GroupNames<'n> {
    group_claim: Option<&'n str>,
    role_claim: Option<&'n str>,
    group_type: Option<&'n str>,
}

struct Reader<'i, 'n> {
    input: &'i ImportInput<'i>,
    objects: Vec<Object<'n>>,
    collected: Collected,
    found: Vec<Rule>,
    /// The kind, namespace and name of configurations that a server names.
    named: Vec<(&'n str, &'n str, &'n str)>,
}

impl<'n> Reader<'_, 'n> {
    /// `{version, type: cedarv1, cedar: {policies, …}}`. An object's own fields count before those of the file that it names.
    fn file(&mut self, file: &Node, server: Option<(&str, &GroupNames<'_>)>) -> Result<(), ImportError> {
        file.only("the file", &["version", "type", "cedar"])?;
        let kind = file.text("type").unwrap_or_default();
        let version = match file.get("version").map(|version| &version.value) {
            Some(Value::Text(version) | Value::Plain(version)) => version.as_str(),
            Some(Value::Null | Value::List(_) | Value::Map(_)) | None => "",
        };
        if kind != "cedarv1" || !matches!(version, "1.0" | "1") {
            let what = format!("the type is `{kind}`, and only `cedarv1` of version 1.0 is known");
            return Err(file.wrong(what));
        }
        let cedar = file.get("cedar").ok_or_else(|| file.wrong("there is no `cedar` in it"))?;
        self.cedar(cedar, server)
    }

    /// `{policies, entities_json, group_claim_name, role_claim_name, group_entity_type, primary_upstream_provider}`.
    fn cedar(&mut self, cedar: &Node, server: Option<(&str, &GroupNames<'_>)>) -> Result<(), ImportError> {
        const KNOWN: [&str; 6] = [
            "policies",
            "entities_json",
            "group_claim_name",
            "role_claim_name",
            "group_entity_type",
            "primary_upstream_provider",
        ];
        cedar.only("cedar", &KNOWN)?;
        let own = GroupNames {
            group_claim: cedar.text("group_claim_name"),
            role_claim: cedar.text("role_claim_name"),
            group_type: cedar.text("group_entity_type"),
        };
        let names = match server {
            Some((_, names)) => GroupNames {
                group_claim: names.group_claim.or(own.group_claim),
                role_claim: names.role_claim.or(own.role_claim),
                group_type: names.group_type.or(own.group_type),
            },
            None => own,
        };
        self.beside(cedar.get("entities_json"), cedar.get("primary_upstream_provider"));
        let policies = cedar.get("policies").ok_or_else(|| cedar.wrong("there are no `policies` in it"))?;
        self.policies(policies, source(server.map(|(server, _)| server), &names))
    }

    /// What stands beside policies and has no counterpart.
    fn beside(&mut self, entities: Option<&Node>, provider: Option<&Node>) {
        if let Some(entities) = entities
            && !matches!(entities.as_text().map(str::trim), Some("" | "[]" | "{}"))
        {
            let what = "`entities_json`: here entities come from tokens, keys and the tools themselves";
            self.collected.gap(entities.line, what);
        }
        if let Some(provider) = provider.filter(|provider| provider.as_text() != Some("")) {
            let name = provider.as_text().unwrap_or_default();
            let what =
                format!("claims come from a token of `{name}` there, and from the caller's own token here");
            self.collected.gap(provider.line, what);
        }
    }

    fn policies(&mut self, policies: &Node, source: Source) -> Result<(), ImportError> {
        for (number, (text, line)) in policies.texts("policies")?.into_iter().enumerate() {
            let what = format!("policy {}", number + 1);
            let wrong =
                |why: &dyn std::fmt::Display| ImportError::Source { line, what: format!("{what}: {why}") };
            depth::check(text, Language::Policy).map_err(|deep| wrong(&deep))?;
            let set = parse_policyset(text).map_err(|error| wrong(&error))?;
            for template in set.all_templates() {
                let said = rule(template, line, &source);
                self.found.extend(said.rule);
                if let Some(gap) = said.gap {
                    self.collected.gap(line, format!("{what}: {gap}"));
                }
            }
        }
        Ok(())
    }

    /// The objects of servers.
    fn servers(&mut self) -> Result<(), ImportError> {
        let servers: Vec<Object<'n>> =
            self.objects.iter().filter(|object| SERVERS.contains(&object.kind)).copied().collect();
        for (at, server) in servers.iter().enumerate() {
            if servers.iter().take(at).any(|other| other.name == server.name) {
                return Err(server.node.wrong(format!("the server `{}` is there twice", server.name)));
            }
            let Some(spec) = server.node.get("spec") else { continue };
            let before = self.found.len();
            let holder =
                if server.kind == "VirtualMCPServer" { spec.get("incomingAuth") } else { Some(spec) };
            let reference = holder.and_then(|holder| holder.get("authzConfigRef"));
            match (holder.and_then(|holder| holder.get("authzConfig")), reference) {
                (Some(config), _) => self.config(*server, config)?,
                (None, Some(reference)) => self.config_ref(*server, reference)?,
                (None, None) => {
                    let what = format!("`{}` has no policies: nothing is imported for it", server.name);
                    self.collected.note(server.node.line, what);
                }
            }
            if self.found.len() > before {
                self.tools(*server, spec)?;
            }
        }
        Ok(())
    }

    /// `tools`: the only ones that the server shows.
    fn tools(&mut self, server: Object<'n>, spec: &Node) -> Result<(), ImportError> {
        if let Some(reference) = spec.get("toolConfigRef") {
            let what = "`toolConfigRef`: which tools it leaves out is not imported";
            self.collected.gap(reference.line, what);
        }
        let Some(tools) = spec.get("tools").filter(|tools| !tools.items().is_empty()) else { return Ok(()) };
        let names = tools.texts("tools")?.into_iter().map(|(tool, _)| tool.to_owned()).collect();
        self.found.push(Rule {
            kind: Kind::Require,
            condition: Condition::Name(Target::Tool, Text::OneOf(names)),
            unless: Vec::new(),
            line: tools.line,
            targets: &[Target::Tool],
            servers: Some(vec![server.name.to_owned()]),
            errors: Errors::EndIt,
            reason: None,
        });
        Ok(())
    }

    /// `authzConfig: {type: inline | configMap, …}`.
    fn config(&mut self, server: Object<'n>, config: &'n Node) -> Result<(), ImportError> {
        const KNOWN: [&str; 6] =
            ["type", "inline", "configMap", "groupClaimName", "roleClaimName", "groupEntityType"];
        config.only("authzConfig", &KNOWN)?;
        let names = GroupNames {
            group_claim: config.text("groupClaimName"),
            role_claim: config.text("roleClaimName"),
            group_type: config.text("groupEntityType"),
        };
        match (config.text("type").unwrap_or("configMap"), config.get("inline"), config.get("configMap")) {
            ("inline", Some(inline), _) => {
                let known = ["policies", "entitiesJson", "entitiesJSON", "primaryUpstreamProvider"];
                inline.only("inline", &known)?;
                let entities = inline.get("entitiesJson").or_else(|| inline.get("entitiesJSON"));
                self.beside(entities, inline.get("primaryUpstreamProvider"));
                let policies = inline.get("policies");
                let policies = policies.ok_or_else(|| inline.wrong("there are no `policies` in it"))?;
                self.policies(policies, source(Some(server.name), &names))
            }
            ("configMap", _, Some(reference)) => self.config_map(server, reference, &names),
            (kind, _, _) => Err(config.wrong(format!("there is no configuration of the type `{kind}`"))),
        }
    }

    fn config_map(
        &mut self,
        server: Object<'n>,
        reference: &'n Node,
        names: &GroupNames<'_>,
    ) -> Result<(), ImportError> {
        let (name, key) =
            (reference.text("name").unwrap_or_default(), reference.text("key").unwrap_or(USUAL_KEY));
        let Some(object) = self.other("ConfigMap", name, server.namespace) else {
            self.missing("ConfigMap", name, reference);
            return Ok(());
        };
        let text = object.node.at(&["data", key]);
        let Some((text, line)) = text.and_then(|text| Some((text.as_text()?, text.line))) else {
            let what = format!("the ConfigMap `{name}` has no text `{key}`: nothing is imported from it");
            self.collected.gap(reference.line, what);
            return Ok(());
        };
        let file = inner(text, line, self.input.text)?;
        self.file(&file, Some((server.name, names)))
    }

    /// `authzConfigRef: {name}`.
    fn config_ref(&mut self, server: Object<'n>, reference: &'n Node) -> Result<(), ImportError> {
        let name = reference.text("name").unwrap_or_default();
        match self.other("MCPAuthzConfig", name, server.namespace) {
            Some(object) => self.shared(object, Some((server.name, &GroupNames::default()))),
            None => {
                self.missing("MCPAuthzConfig", name, reference);
                Ok(())
            }
        }
    }

    /// An `MCPAuthzConfig`.
    fn shared(
        &mut self,
        object: Object<'n>,
        server: Option<(&str, &GroupNames<'_>)>,
    ) -> Result<(), ImportError> {
        let node = object.node;
        let spec = node.get("spec").ok_or_else(|| node.wrong("the object has no `spec`"))?;
        match (spec.text("type"), spec.get("config")) {
            (Some("cedarv1"), Some(config)) => self.cedar(config, server),
            (Some("cedarv1") | None, _) => Err(spec.wrong("there is no `config` of a known `type` in it")),
            (Some(other), _) => {
                let what = format!("`{}` is of the type `{other}`: another service decides", object.name);
                self.collected.gap(spec.line, what);
                Ok(())
            }
        }
    }

    /// Configurations that no server names are as from a file, where the file has no servers. Where it has some, they are for
    /// none of them.
    fn without_server(&mut self) -> Result<(), ImportError> {
        let has_servers = self.objects.iter().any(|object| SERVERS.contains(&object.kind));
        for object in self.objects.clone() {
            if self.named.contains(&(object.kind, object.namespace, object.name)) {
                continue;
            }
            match object.kind {
                "MCPAuthzConfig" if has_servers => {
                    let what =
                        format!("no server names the MCPAuthzConfig `{}`: it is left out", object.name);
                    self.collected.note(object.node.line, what);
                }
                "MCPAuthzConfig" => self.shared(object, None)?,
                "ConfigMap" if !has_servers => self.loose(object)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A `ConfigMap` may be about anything: only what is a file of this kind counts.
    fn loose(&mut self, object: Object<'n>) -> Result<(), ImportError> {
        let Some(texts) = object.node.get("data").and_then(Node::fields) else { return Ok(()) };
        for text in texts.values() {
            let Some(content) = text.as_text().filter(|content| content.contains("cedarv1")) else {
                continue;
            };
            let file = inner(content, text.line, self.input.text)?;
            if file.text("type") == Some("cedarv1") {
                self.file(&file, None)?;
            }
        }
        Ok(())
    }

    /// Another object of the same namespace, which a server has named.
    fn other(&mut self, kind: &'n str, name: &'n str, namespace: &'n str) -> Option<Object<'n>> {
        self.named.push((kind, namespace, name));
        let is = |object: &&Object<'n>| {
            object.kind == kind && object.name == name && object.namespace == namespace
        };
        self.objects.iter().find(is).copied()
    }

    fn missing(&mut self, kind: &str, name: &str, reference: &Node) {
        let what = format!("the {kind} `{name}` is not in this file: nothing is imported from it");
        self.collected.gap(reference.line, what);
    }
}

/// What policies are read with.
fn source(server: Option<&str>, names: &GroupNames<'_>) -> Source {
    let named = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    let usual = |skip: usize| USUAL_GROUP_CLAIMS.iter().skip(skip).map(|claim| (*claim).to_owned());
    let (mut always, fallback) = match named(names.group_claim) {
        Some(claim) => (vec![claim], usual(0).collect()),
        None => (usual(0).take(1).collect(), usual(1).collect()),
    };
    always.extend(named(names.role_claim));
    Source {
        servers: server.map(|server| vec![server.to_owned()]),
        group_type: named(names.group_type).unwrap_or_else(|| "THVGroup".to_owned()),
        groups: GroupClaims { always, fallback },
    }
}
