//! Files of links beside the policies: what is made of templates. They are part of the set as policies are, with a digest, a
//! version and a place in a bundle.
//!
//! `*.links.yaml` is a list under `links`. `*.links.json` is Cedar's own JSON: the `templateLinks` of a policy set, or the list
//! that the option `--template-linked` of Cedar's command line reads.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::error::PolicyProblem;
use super::source::{Link, Source};
use super::yaml;
use crate::model::EntityUid;
use crate::suggest::nearest;

/// The namespace of the shipped schema, which an entity's name may leave out.
const NAMESPACE: &str = "Caxton::";

/// Whether a file in the folder of policies holds links.
pub(crate) fn is_links_file(name: &str) -> bool {
    [".links.yaml", ".links.yml", ".links.json"].iter().any(|ending| name.ends_with(ending))
}

/// A link with the line that it stands in, from 1.
#[derive(Debug, Clone)]
pub(super) struct PlacedLink {
    pub(super) link: Link,
    pub(super) line: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct YamlFile {
    links: Vec<YamlLink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct YamlLink {
    template: Spanned<String>,
    id: String,
    #[serde(default)]
    principal: Option<String>,
    #[serde(default)]
    resource: Option<String>,
}

/// The part of a policy set in Cedar's JSON that is read here; policies and templates are written in Cedar.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CedarFile {
    #[serde(rename = "templateLinks")]
    template_links: Vec<CedarLink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CedarLink {
    template_id: Spanned<String>,
    new_id: String,
    #[serde(default)]
    values: BTreeMap<String, CedarEntity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CedarEntity {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(rename = "__entity", default)]
    explicit: Option<CedarName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CedarName {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// A row of the list that `cedar link` and `--template-linked` use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandLink {
    template_id: Spanned<String>,
    link_id: String,
    args: BTreeMap<String, String>,
}

/// The links of a file. `types` are the entity types of the schema.
pub(super) fn read(source: &Source, types: &[&str]) -> Result<Vec<PlacedLink>, Box<PolicyProblem>> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let links = match source.name.ends_with(".json") {
        true if text.trim_start().starts_with('[') => of_command(text, types),
        true => of_cedar(text, types),
        false => of_yaml(text, types),
    };
    links.map_err(|Unreadable { line, what, help }| {
        let usual = || "write `links: [{ template: …, id: …, principal: User::\"ann\" }]`".to_owned();
        Box::new(problem_at(source, line, what).with_advice(help.unwrap_or_else(usual)))
    })
}

/// A problem with the link in this line.
pub(super) fn problem_at(source: &Source, line: u64, message: String) -> PolicyProblem {
    let before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut lines = source.text.split_inclusive('\n');
    let offset: usize = lines.by_ref().take(before).map(str::len).sum();
    let length = lines.next().map_or(0, |text| text.trim_end().len());
    PolicyProblem::in_file(&source.path, &source.text, message).at(Some((offset, length).into()), "this link")
}

/// What is wrong in a file of links.
struct Unreadable {
    line: u64,
    what: String,
    help: Option<String>,
}

impl From<yaml::TextError> for Unreadable {
    fn from(error: yaml::TextError) -> Self {
        Self { line: error.line, what: error.what, help: None }
    }
}

fn of_yaml(text: &str, types: &[&str]) -> Result<Vec<PlacedLink>, Unreadable> {
    let file: YamlFile = yaml::parse(text)?;
    let links = file.links.into_iter().map(|row| {
        let line = row.template.referenced.line();
        let slot = |name: Option<String>| name.map(|name| named(&name, line, types)).transpose();
        let link = Link {
            template: row.template.value,
            id: row.id,
            principal: slot(row.principal)?,
            resource: slot(row.resource)?,
        };
        Ok(PlacedLink { link, line })
    });
    links.collect()
}

fn of_cedar(text: &str, types: &[&str]) -> Result<Vec<PlacedLink>, Unreadable> {
    // JSON is YAML as well, and that reader knows the lines.
    let file: CedarFile = yaml::parse(text)?;
    let links = file.template_links.into_iter().map(|row| {
        let line = row.template_id.referenced.line();
        let values = row.values.into_iter().map(|(slot, value)| {
            let name = match value {
                CedarEntity { kind: Some(kind), id: Some(id), explicit: None } => CedarName { kind, id },
                CedarEntity { kind: None, id: None, explicit: Some(name) } => name,
                _ => {
                    let what = format!("`{slot}` is no entity");
                    let help = Some("write `{ \"type\": …, \"id\": … }`".to_owned());
                    return Err(Unreadable { line, what, help });
                }
            };
            Ok((slot, EntityUid::new(qualified(&name.kind, types), name.id.as_str())))
        });
        let values: BTreeMap<String, EntityUid> = values.collect::<Result<_, _>>()?;
        placed(row.template_id.value, row.new_id, values, line)
    });
    links.collect()
}

fn of_command(text: &str, types: &[&str]) -> Result<Vec<PlacedLink>, Unreadable> {
    let rows: Vec<CommandLink> = yaml::parse(text)?;
    let links = rows.into_iter().map(|row| {
        let line = row.template_id.referenced.line();
        let values = row.args.iter().map(|(slot, name)| Ok((slot.clone(), named(name, line, types)?)));
        let values: BTreeMap<String, EntityUid> = values.collect::<Result<_, Unreadable>>()?;
        placed(row.template_id.value, row.link_id, values, line)
    });
    links.collect()
}

fn placed(
    template: String,
    id: String,
    mut values: BTreeMap<String, EntityUid>,
    line: u64,
) -> Result<PlacedLink, Unreadable> {
    let (principal, resource) = (values.remove("?principal"), values.remove("?resource"));
    match values.into_keys().next() {
        None => Ok(PlacedLink { link: Link { template, id, principal, resource }, line }),
        Some(slot) => {
            let what = format!("there is no slot `{slot}`");
            Err(Unreadable {
                line,
                what,
                help: Some("the slots are `?principal` and `?resource`".to_owned()),
            })
        }
    }
}

/// The entity of a name in Cedar's notation, `User::"ann"` or `Caxton::User::"ann"`.
fn named(name: &str, line: u64, types: &[&str]) -> Result<EntityUid, Unreadable> {
    let Some(uid) = EntityUid::parse(name) else {
        let what = format!("`{}` is not the name of an entity", name.escape_debug());
        return Err(Unreadable { line, what, help: Some("write it as `User::\"ann\"`".to_owned()) });
    };
    let kind = qualified(uid.type_name(), types);
    if !types.is_empty() && !types.contains(&kind.as_str()) {
        let what = format!("the schema has no entity type `{}`", uid.type_name());
        let near = nearest(uid.type_name(), types.iter().copied());
        let help = near.map(|near| format!("did you mean `{near}`?"));
        return Err(Unreadable { line, what, help });
    }
    Ok(EntityUid::new(kind, uid.id()))
}

/// The full name of a type: as it is, where the schema has it, else in the namespace of the shipped schema.
fn qualified(kind: &str, types: &[&str]) -> String {
    let full = format!("{NAMESPACE}{kind}");
    if !types.contains(&kind) && types.contains(&full.as_str()) { full } else { kind.to_owned() }
}
