//! Under which names a client sees what servers offer: at `/mcp` with the server in front, at `/servers/{name}/mcp` the
//! server's own.
//!
//! A tool or a prompt is `<server>___<name>`. A resource is `<server>+<uri>`, which is a URI again: `+` is allowed in a scheme
//! (RFC 3986, section 3.1), and server names have none. Clients know apps and skills by their schemes, so those keep theirs:
//! `ui://<server>+<rest>`, `skill://<server>+<rest>`.

use serde_json::{Map, Value as Json};
use unicode_normalization::UnicodeNormalization as _;

use crate::mcp::{Message, NotPlain, RpcError, check_name, check_template, check_uri};
use crate::model::{PromptRef, ResourceRef, ServerName, SkillRef, ToolId};
use crate::tools::Tool;

/// What stands between the server's name and its own word.
const SEPARATOR: &str = "___";

/// Which servers stand behind an address, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) enum Scope {
    /// `/mcp`: all.
    All,
    /// `/servers/{name}/mcp`: one, under its own names.
    One(ServerName),
}

impl Scope {
    /// The one server; none for all.
    pub(super) fn only(&self) -> Option<&ServerName> {
        match self {
            Self::All => None,
            Self::One(server) => Some(server),
        }
    }

    /// The name of a tool, if it stands behind this address.
    pub(super) fn tool_name<'a>(&self, tool: &'a Tool) -> Option<&'a str> {
        match self {
            Self::All => Some(tool.id().as_str()),
            Self::One(server) => (tool.server() == server).then(|| tool.definition().wire_name()),
        }
    }

    /// The tool that a client means by a name.
    pub(super) fn tool_id(&self, name: &str) -> Result<ToolId, RpcError> {
        let id = match self {
            Self::All => ToolId::parse(name),
            // Ids are normalised; a server's own spelling need not be.
            Self::One(server) => ToolId::new(server, &name.nfc().collect::<String>()),
        };
        id.map_err(|error| RpcError::invalid_params(error.to_string()))
    }

    pub(super) fn prompt_name(&self, server: &ServerName, name: &str) -> String {
        match self {
            Self::All => format!("{server}{SEPARATOR}{name}"),
            Self::One(_) => name.to_owned(),
        }
    }

    /// The prompt that a client means by a name.
    pub(super) fn prompt(&self, name: &str) -> Result<PromptRef, RpcError> {
        let (server, name) = self.split(name, SEPARATOR, "prompt")?;
        check_name(&name).map_err(|error| refused("name of a prompt", &error))?;
        Ok(PromptRef { server, name })
    }

    pub(super) fn uri(&self, server: &ServerName, uri: &str) -> String {
        match self {
            Self::All => match scheme_kept(uri) {
                Some((scheme, rest)) => format!("{scheme}{server}+{rest}"),
                None => format!("{server}+{uri}"),
            },
            Self::One(_) => uri.to_owned(),
        }
    }

    /// The resource, or template, that a client means by a URI.
    pub(super) fn resource(&self, uri: &str, is_template: bool) -> Result<ResourceRef, RpcError> {
        let (server, uri) = self.split_uri(uri, "resource")?;
        let checked = if is_template { check_template(&uri) } else { check_uri(&uri) };
        checked.map_err(|error| refused("URI of a resource", &error))?;
        Ok(ResourceRef { server, uri, is_template })
    }

    /// The skill that a client means by a URI.
    pub(super) fn skill(&self, uri: &str) -> Result<SkillRef, RpcError> {
        let (server, uri) = self.split_uri(uri, "skill")?;
        check_uri(&uri).map_err(|error| refused("URI of a skill", &error))?;
        Ok(SkillRef { server, uri })
    }

    fn split_uri(&self, uri: &str, what: &str) -> Result<(ServerName, String), RpcError> {
        let (Self::All, Some((scheme, rest))) = (self, scheme_kept(uri)) else {
            return self.split(uri, "+", what);
        };
        let (server, rest) = self.split(rest, "+", what)?;
        Ok((server, format!("{scheme}{rest}")))
    }

    fn split(&self, name: &str, separator: &str, what: &str) -> Result<(ServerName, String), RpcError> {
        let unknown = || RpcError::invalid_params(format!("there is no such {what}, or you may not use it"));
        match self {
            Self::One(server) => Ok((server.clone(), name.to_owned())),
            Self::All => {
                let (server, name) = name.split_once(separator).ok_or_else(unknown)?;
                Ok((ServerName::parse(server).map_err(|_| unknown())?, name.to_owned()))
            }
        }
    }

    /// A server's notification as this address has it.
    pub(super) fn notification(
        &self,
        server: &ServerName,
        method: String,
        params: Map<String, Json>,
    ) -> Message {
        let mut params = params;
        if let (Self::All, Some(Json::String(uri))) = (self, params.get_mut("uri")) {
            *uri = self.uri(server, uri);
        }
        Message::Notification { method, params }
    }

    /// Writes the URIs of resources in a server's result as this address has them.
    pub(super) fn show_uris(&self, server: &ServerName, result: &mut Map<String, Json>) {
        if *self != Self::All {
            return;
        }
        for list in ["content", "contents", "messages"] {
            let items = result.get_mut(list).and_then(Json::as_array_mut);
            for item in items.into_iter().flatten() {
                self.show_uri(server, item);
                for inner in ["resource", "content"] {
                    if let Some(item) = item.get_mut(inner) {
                        self.show_uri(server, item);
                        if let Some(item) = item.get_mut("resource") {
                            self.show_uri(server, item);
                        }
                    }
                }
            }
        }
    }

    /// A tool's definition, with the URI of its app as this address has it (SEP-1865: `_meta.ui.resourceUri`, and the key before).
    pub(super) fn with_app(&self, tool: &Tool, mut definition: Json) -> Json {
        let Some(own) = definition.get_mut("_meta") else { return definition };
        for pointer in ["/ui/resourceUri", "/ui~1resourceUri"] {
            if let Some(Json::String(uri)) = own.pointer_mut(pointer) {
                *uri = self.uri(tool.server(), uri);
            }
        }
        definition
    }

    /// Writes the URI of one object as this address has it.
    pub(super) fn show_uri(&self, server: &ServerName, item: &mut Json) {
        for key in ["uri", "uriTemplate"] {
            if let Some(Json::String(uri)) = item.get_mut(key) {
                *uri = self.uri(server, uri);
            }
        }
    }
}

/// The schemes by which clients know what a resource is for.
const KEPT_SCHEMES: [&str; 2] = ["ui://", "skill://"];

/// A URI whose scheme stays where it is, in two.
fn scheme_kept(uri: &str) -> Option<(&'static str, &str)> {
    KEPT_SCHEMES.into_iter().find_map(|scheme| Some((scheme, uri.strip_prefix(scheme)?)))
}

fn refused(what: &str, error: &NotPlain) -> RpcError {
    RpcError::invalid_params(format!("the {what} is not taken: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_is_what_is_understood() {
        let server = ServerName::parse("files-2").unwrap();
        for scope in [Scope::All, Scope::One(server.clone())] {
            for name in ["a", "a___b", "a+b", "file:///x+y?z", "ui://a+b/c", "skill://a/SKILL.md"] {
                let prompt = scope.prompt(&scope.prompt_name(&server, name)).unwrap();
                assert_eq!((&prompt.server, prompt.name.as_str()), (&server, name));
                let resource = scope.resource(&scope.uri(&server, name), false).unwrap();
                assert_eq!((&resource.server, resource.uri.as_str()), (&server, name));
            }
        }
        for name in ["", "a", "file:///x", "a b___c"] {
            assert!(Scope::All.prompt(name).is_err(), "{name}");
        }
        assert!(Scope::All.resource("file:///x", false).is_err());
        assert!(Scope::All.resource("files+file:///public/../x", false).is_err());
        assert!(Scope::All.prompt("files___a\u{200b}").is_err());
        assert_eq!(Scope::All.uri(&server, "ui://a/b"), "ui://files-2+a/b");
        assert_eq!(Scope::All.skill("skill://files-2+a/SKILL.md").unwrap().uri, "skill://a/SKILL.md");
        for uri in ["ui://a/b", "skill://a/SKILL.md", "ui://+a/b", "files-2+a/../b"] {
            assert!(Scope::All.resource(uri, false).is_err(), "{uri}");
        }
    }

    #[test]
    fn uris_in_results_lead_back_to_their_server() {
        let server = ServerName::parse("s").unwrap();
        let mut result = crate::mcp::object(json!({
            "content": [
                { "type": "resource_link", "uri": "file:///a" },
                { "type": "resource", "resource": { "uri": "file:///b", "text": "file:///x" } },
                { "type": "text", "text": "file:///c" },
            ],
            "messages": [{ "role": "user", "content": { "type": "resource", "resource": { "uri": "file:///d" } } }],
            "contents": [{ "uri": "file:///e" }],
        }));
        let before = result.clone();
        Scope::One(server.clone()).show_uris(&server, &mut result);
        assert_eq!(result, before);
        Scope::All.show_uris(&server, &mut result);
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(text.matches("s+file:///").count(), 4, "{text}");
        assert!(text.contains("\"text\":\"file:///x\"") && text.contains("\"text\":\"file:///c\""), "{text}");
    }
}
