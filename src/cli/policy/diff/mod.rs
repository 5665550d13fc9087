//! `caxton policy diff`: what a change of the policies changes.

mod git;

use std::collections::BTreeMap;
use std::path::Path;

use super::render::invalid;
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, clean, counted, push};
use super::store::Store;
use super::{POLICIES, Places, SCHEMAS, find_tests, show, sources};
use crate::cli::output::{Exit, Output};
use crate::policy::diff::{Difference, Flip, Named, Side, diff};
use crate::policy::run::{Settings, examine};
use crate::policy::version::{VersionError, VersionStore, Wanted};
use crate::policy::{Bundle, SourceKind, Sources};

/// Which two versions.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// The older version: a folder with `policies` and `schemas` in it, a published version (`current`, `previous`,
    /// `@12`, or the first digits of its digest), or a git commit.
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The newer version, likewise [default: the policies here]
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// Flips of one action that are shown.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub show: usize,
    /// Where versions are published.
    #[command(flatten)]
    pub store: Store,
}

pub(super) fn run(base: &Path, options: &Options, output: &Output) -> anyhow::Result<Exit> {
    let places = Places::default();
    let newer = match &options.new {
        Some(new) => version_in(base, new, &options.store.open(base))?,
        None => sources(base, &places, output)?,
    };
    let (Some(old), Some(new)) = (
        load(version_in(base, &options.old, &options.store.open(base))?, &options.old, output),
        load(newer, options.new.as_deref().unwrap_or("the policies here"), output),
    ) else {
        return Ok(Exit::Usage);
    };
    let suites = find_tests(base, &[], &places, output)?;
    let (report, exam) = examine(&new, &suites, &Settings::default());
    let broken = report.summary().broken;
    if broken > 0 {
        output.say(format_args!(
            "{YELLOW}note{PLAIN}: {} broken against the newer version and left out; `caxton policy test` shows why",
            counted(broken, "test")
        ));
    }
    let difference = diff(&old, &new, &exam);
    output.data(&difference, |difference| text(difference, options.show))?;
    Ok(if difference.flips.is_empty() { Exit::Fine } else { Exit::Found })
}

/// A folder when there is one of that name, else a published version, else a commit.
pub(super) fn version(base: &Path, named: &str) -> anyhow::Result<Sources> {
    version_in(base, named, &Store::default().open(base))
}

fn version_in(base: &Path, named: &str, store: &VersionStore) -> anyhow::Result<Sources> {
    if base.join(named).is_dir() {
        return folder(base, named);
    }
    if let (true, Ok(wanted)) = (store.exists(), named.parse::<Wanted>()) {
        match store.find(&wanted) {
            Ok(found) => return Ok(store.sources(&found.manifest)?),
            // It can still be a commit.
            Err(VersionError::NotFound(_)) if matches!(wanted, Wanted::Digest(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    commit(base, named)
}

pub(super) fn folder(base: &Path, named: &str) -> anyhow::Result<Sources> {
    let folder = base.join(named);
    let (policies, schemas) = (folder.join(POLICIES), folder.join(SCHEMAS));
    anyhow::ensure!(policies.is_dir(), "`{named}` has no folder `{POLICIES}`");
    let schemas = if schemas.is_dir() { schemas } else { policies.clone() };
    Ok(with_schema(Sources::from_dirs(&policies, &schemas)?))
}

pub(super) fn commit(base: &Path, named: &str) -> anyhow::Result<Sources> {
    Ok(with_schema(git::sources(base, named, POLICIES, SCHEMAS)?))
}

fn with_schema(read: Sources) -> Sources {
    let has_schema = read.iter().any(|source| source.kind == SourceKind::Schema);
    if has_schema { read } else { read.with_shipped(SourceKind::Schema) }
}

/// The policies of a folder or commit; none when they are refused, and their problems have been shown.
pub(super) fn version_named(base: &Path, named: &str, output: &Output) -> anyhow::Result<Option<Bundle>> {
    Ok(load(version(base, named)?, named, output))
}

/// None when the policies are refused, and their problems have been shown.
pub(super) fn load(sources: Sources, named: &str, output: &Output) -> Option<Bundle> {
    match Bundle::load(sources) {
        Ok(bundle) => Some(bundle),
        Err(errors) => {
            show(errors.problems(), output);
            let fatal = errors.problems().iter().filter(|problem| problem.fatal).count();
            output.say(format_args!("{}: {}", clean(named), invalid(fatal)));
            None
        }
    }
}

/// What differs, for people.
pub fn text(difference: &Difference, most: usize) -> String {
    let mut text = String::new();
    policies(&mut text, difference);
    let mut by_action: BTreeMap<&str, Vec<&Flip>> = BTreeMap::new();
    for flip in &difference.flips {
        by_action.entry(&flip.action).or_default().push(flip);
    }
    for (action, flips) in by_action {
        push(&mut text, format_args!("\n{BOLD}{}{PLAIN}  {}", clean(action), counted(flips.len(), "flip")));
        for flip in flips.iter().take(most) {
            tell(&mut text, flip);
        }
        if let more @ 1.. = flips.len().saturating_sub(most) {
            push(&mut text, format_args!("  … and {more} more"));
        }
    }
    if difference.is_none() {
        push(&mut text, format_args!("{GREEN}nothing differs{PLAIN}"));
    }
    let opened = difference.flips.iter().filter(|flip| flip.new.allows).count();
    let closed = difference.flips.iter().filter(|flip| flip.old.allows).count();
    let colour = if difference.flips.is_empty() { GREEN } else { RED };
    push(
        &mut text,
        format_args!(
            "\n{colour}{}{PLAIN} in {}: {opened} newly allowed, {closed} no longer allowed; {} decided alike by other policies (policies {} → {})",
            counted(difference.flips.len(), "flip"),
            counted(difference.asked, "request"),
            difference.other_policies,
            difference.old_version.short(),
            difference.new_version.short()
        ),
    );
    text
}

fn policies(text: &mut String, difference: &Difference) {
    for (word, colour, list) in [("added", GREEN, &difference.added), ("removed", RED, &difference.removed)] {
        list.iter().for_each(|named| line(text, word, colour, named, ""));
    }
    for changed in &difference.changed {
        let note = if changed.meaning { "" } else { "  annotations only" };
        line(text, "changed", YELLOW, &changed.policy, note);
        for part in &changed.parts {
            let kind = clean(&part.kind);
            if let Some(old) = &part.old {
                push(text, format_args!("  {RED}- {kind}: {}{PLAIN}", clean(old)));
            }
            if let Some(new) = &part.new {
                push(text, format_args!("  {GREEN}+ {kind}: {}{PLAIN}", clean(new)));
            }
        }
    }
    if difference.schema_changed {
        push(text, format_args!("{YELLOW}changed{PLAIN}  the schema"));
    }
}

fn line(text: &mut String, word: &str, colour: &str, named: &Named, note: &str) {
    let place = format!("{}:{}", clean(&named.file), named.line);
    let id = clean(&named.id);
    push(
        text,
        format_args!(
            "{colour}{word:<7}{PLAIN}  {} {BOLD}{id}{PLAIN}{note}  {DIM}{place}{PLAIN}",
            named.effect
        ),
    );
}

fn tell(text: &mut String, flip: &Flip) {
    let side = |side: &Side| match side.policies.as_slice() {
        [] => side.outcome.to_owned(),
        policies => format!("{} by {}", side.outcome, clean(&policies.join(", "))),
    };
    let colour = if flip.new.allows { RED } else { YELLOW };
    push(text, format_args!("  {} on {}", clean(&flip.principal), clean(&flip.resource)));
    push(text, format_args!("    {} → {colour}{}{PLAIN}", side(&flip.old), side(&flip.new)));
    let place = format!("{}:{}", clean(&flip.file), flip.line);
    push(text, format_args!("    {DIM}{}  {place}{PLAIN}", clean(&flip.test)));
}
