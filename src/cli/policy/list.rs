//! `caxton policy list`: the policies of a set, with what each was made from and where it stands.

use std::path::Path;

use serde::Serialize;

use super::folders::PolicyFolders;
use super::render::counted;
use crate::cli::output::{Exit, Output, table};
use crate::model::PolicyMode;
use crate::policy::PolicyInfo;
use crate::text::clean;
use crate::workbench::reported::Reported;

/// Which policies to list.
#[derive(Debug, Default, clap::Args)]
pub struct ListOptions {
    /// Also those that came with the program.
    #[arg(long)]
    pub all: bool,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// One policy or template.
#[derive(Serialize)]
struct Row {
    id: String,
    effect: &'static str,
    /// Whether it decides.
    mode: PolicyMode,
    file: String,
    line: usize,
    /// Whether it is a template, which decides nothing until it is linked.
    template: bool,
    /// The template that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    linked_from: Option<String>,
    /// File and line of its link.
    #[serde(skip_serializing_if = "Option::is_none")]
    linked_at: Option<String>,
    /// What stands for `?principal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    /// What stands for `?resource`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    /// Policies that were made of this template.
    links: usize,
}

pub(super) fn run(base: &Path, options: &ListOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let reported = match options.all || options.folders.shipped {
        true => Reported::all(),
        false => Reported::own(&bundle),
    };
    let all: Vec<&PolicyInfo> = bundle.policies().collect();
    let shown = all.iter().filter(|info| reported.has(&info.file));
    let rows: Vec<Row> = shown
        .map(|info| {
            let link = bundle.links().iter().find(|link| link.id == *info.id);
            let linked = all.iter().filter(|other| other.linked_from.as_ref() == Some(&info.id));
            Row {
                id: info.id.to_string(),
                effect: info.effect.as_str(),
                mode: info.mode,
                file: info.file.to_string(),
                line: info.line(),
                template: info.is_template,
                linked_from: info.linked_from.as_deref().map(str::to_owned),
                linked_at: info.linked_at.as_deref().map(str::to_owned),
                principal: link.and_then(|link| link.principal.as_ref()).map(ToString::to_string),
                resource: link.and_then(|link| link.resource.as_ref()).map(ToString::to_string),
                links: linked.count(),
            }
        })
        .collect();
    output.data(&rows, |rows| text(rows))?;
    Ok(Exit::Fine)
}

fn text(rows: &[Row]) -> String {
    let mut shown = table(["policy", "effect", "where", "made from"]);
    for row in rows {
        let slots = [("?principal", &row.principal), ("?resource", &row.resource)];
        let slots = slots.into_iter().filter_map(|(slot, uid)| Some(format!("{slot} = {}", uid.as_ref()?)));
        let made = match (&row.linked_from, row.template) {
            (Some(template), _) => {
                let words = std::iter::once(template.clone()).chain(slots);
                words.collect::<Vec<_>>().join("\n")
            }
            (None, true) => format!("a template with {}", counted(row.links, "link")),
            (None, false) => String::new(),
        };
        let effect = match row.mode {
            PolicyMode::Enforce => row.effect.to_owned(),
            PolicyMode::LogOnly => format!("{} (log only)", row.effect),
        };
        let place = row.linked_at.clone().unwrap_or_else(|| format!("{}:{}", row.file, row.line));
        shown.add_row([
            clean(&row.id),
            effect,
            clean(&place),
            made.lines().map(clean).collect::<Vec<_>>().join("\n"),
        ]);
    }
    let templates = rows.iter().filter(|row| row.template).count();
    let policies = counted(rows.len() - templates, "policy");
    match templates {
        0 => format!("{shown}\n{policies}"),
        count => format!("{shown}\n{policies}, {}", counted(count, "template")),
    }
}
