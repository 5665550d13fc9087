//! Skills of servers: instructions for models (extension `io.modelcontextprotocol/skills`, SEP-2640). Their files are resources.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::authz::Permit;
use crate::mcp::{check_uri, extension};
use crate::model::{
    GetSkill, ListSkills, ReadResource, ResourceRef, SeeResource, SeeSkill, ServerName, SkillRef,
};

use super::error::ToolError;
use super::offers::{Items, Kind, Source};
use super::registry::{CallOptions, Registry};
use super::tasks::unusable;

const SKILLS: Kind = Kind {
    method: "skills/list",
    list: "skills",
    name: "uri",
    source: Source::Extension(extension::SKILLS),
    check: check_uri,
};
/// The most entries of one directory that are passed on at once.
const MOST_ENTRIES: usize = 1_000;

/// Skills of servers that nobody may see before each has been judged.
#[derive(Debug)]
pub struct OfferedSkills(Items);

impl OfferedSkills {
    /// A question for each.
    pub fn questions(&self) -> Vec<SeeSkill> {
        let item = |(place, (server, uri)): (usize, (&ServerName, &str))| SeeSkill {
            skill: SkillRef { server: server.clone(), uri: uri.to_owned() },
            place,
        };
        self.0.names().enumerate().map(item).collect()
    }

    /// Those that were permitted, each with its server.
    pub fn release(self, permits: Vec<Permit<SeeSkill>>) -> Vec<(ServerName, Json)> {
        self.0.release(permits.into_iter().map(|permit| permit.into_operation().place))
    }
}

/// The entries of a directory, which nobody may see before each has been judged, and what else the server said.
#[derive(Debug)]
pub struct OfferedEntries {
    entries: Items,
    rest: Map<String, Json>,
}

impl OfferedEntries {
    /// A question for each entry.
    pub fn questions(&self) -> Vec<SeeResource> {
        let item = |(place, (server, uri)): (usize, (&ServerName, &str))| SeeResource {
            resource: ResourceRef { server: server.clone(), uri: uri.to_owned(), is_template: false },
            place,
        };
        self.entries.names().enumerate().map(item).collect()
    }

    /// The entries that were permitted, and what else the server said.
    pub fn release(self, permits: Vec<Permit<SeeResource>>) -> (Vec<Json>, Map<String, Json>) {
        let places = permits.into_iter().map(|permit| permit.into_operation().place);
        let entries = self.entries.release(places).into_iter().map(|(_, entry)| entry).collect();
        (entries, self.rest)
    }
}

impl Registry {
    /// Whether a server has an extension, of all or of one.
    pub fn has_extension(&self, only: Option<&ServerName>, extension: &str) -> bool {
        self.upstreams(only).any(|upstream| upstream.extension(extension).is_some())
    }

    /// Whether a server with skills has directories of resources, of all or of one.
    pub fn has_directories(&self, only: Option<&ServerName>) -> bool {
        let mut declared = self.upstreams(only).filter_map(|upstream| upstream.extension(extension::SKILLS));
        declared.any(|declared| declared.get("directoryRead") == Some(&Json::Bool(true)))
    }

    /// A server is asked only for what it declares.
    fn declares(&self, server: &ServerName, extension: &str) -> Result<(), ToolError> {
        if self.has_extension(Some(server), extension) {
            Ok(())
        } else {
            Err(unusable(server, "it does not declare the extension"))
        }
    }

    /// The skills of servers, of all or of one.
    pub async fn skills(&self, permit: Permit<ListSkills>, only: Option<&ServerName>) -> OfferedSkills {
        let caller = Arc::clone(permit.subject());
        let ListSkills = permit.into_operation();
        OfferedSkills(self.list(&SKILLS, &caller, only).await)
    }

    /// One skill, in the server's answer.
    pub async fn skill(
        &self,
        permit: Permit<GetSkill>,
        options: CallOptions,
    ) -> Result<Map<String, Json>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let GetSkill { skill, rest } = permit.into_operation();
        let mut params = rest;
        params.insert("uri".to_owned(), skill.uri.as_str().into());
        self.declares(&skill.server, extension::SKILLS)?;
        let answer = self.ask_once((&caller, &skill.server), "skills/get", params, options).await?;
        let found = answer.get("skill").and_then(|found| found.get("uri")).and_then(Json::as_str);
        // Another skill was not judged.
        if found == Some(skill.uri.as_str()) {
            Ok(answer)
        } else {
            Err(unusable(&skill.server, "it is about another skill"))
        }
    }

    /// The entries of a directory of resources.
    pub async fn directory(
        &self,
        permit: Permit<ReadResource>,
        options: CallOptions,
    ) -> Result<OfferedEntries, ToolError> {
        let caller = Arc::clone(permit.subject());
        let ReadResource { resource, rest } = permit.into_operation();
        let mut params = rest;
        params.insert("uri".to_owned(), resource.uri.into());
        let server = resource.server;
        self.declares(&server, extension::SKILLS)?;
        let asked = self.ask_once((&caller, &server), "resources/directory/read", params, options);
        let mut answer = asked.await?;
        let Some(Json::Array(found)) = answer.remove("resources") else {
            return Err(unusable(&server, "it has no list of resources"));
        };
        if found.len() > MOST_ENTRIES {
            return Err(unusable(&server, "the directory has too many entries"));
        }
        let mut entries = Items::default();
        for entry in found {
            entries.take(&server, entry, "uri", check_uri);
        }
        Ok(OfferedEntries { entries, rest: answer })
    }
}
