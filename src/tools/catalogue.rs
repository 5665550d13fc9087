//! From what servers say to what exists: each listing is compared with its pins, and only what was approved
//! (or, with `auto_import`, what was seen first) becomes a tool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ServerName, ToolId};

use super::definition::Definition;
use super::error::Problem;
use super::fragment::cedar_fragment;
use super::pin::{Change, Pins};
use super::settings::Settings;
use super::tool::{Backend, Marks, Standing, Tool};
use super::upstream::{Listing, Upstream};

/// What a server's definitions are held against.
#[derive(Debug)]
pub(super) enum Baseline {
    /// What a person approved.
    Approved(Pins),
    /// What was seen first in this run; a server cannot change it afterwards.
    FirstSeen(Pins),
    /// Nothing: the server has no tools here.
    None,
}

/// One server's part of the catalogue.
#[derive(Debug)]
pub(super) struct Shelf {
    upstream: Arc<Upstream>,
    baseline: Baseline,
    /// A tool for each definition of the baseline that can be used at all, by name.
    known: BTreeMap<String, Arc<Tool>>,
    /// Those of them that the server offers.
    offered: BTreeSet<String>,
}

impl Shelf {
    /// A server that has not answered yet: approved tools are there, so that a policy can be asked; calls fail.
    pub(super) fn new(
        upstream: Arc<Upstream>,
        pins: Option<Pins>,
        settings: &Settings,
    ) -> (Self, Vec<Problem>) {
        let baseline = match pins {
            Some(pins) => Baseline::Approved(pins),
            None if settings.auto_import => {
                let none = Pins::empty(&upstream.settings.name);
                Baseline::FirstSeen(none)
            }
            None => Baseline::None,
        };
        let mut shelf = Self { upstream, baseline, known: BTreeMap::new(), offered: BTreeSet::new() };
        let mut problems = Vec::new();
        shelf.offered =
            shelf.pins().map(|pins| pins.definitions().map(|d| d.name.clone()).collect()).unwrap_or_default();
        shelf.stock(&BTreeMap::new(), settings, &mut problems);
        (shelf, problems)
    }

    fn name(&self) -> &ServerName {
        &self.upstream.settings.name
    }

    fn pins(&self) -> Option<&Pins> {
        match &self.baseline {
            Baseline::Approved(pins) | Baseline::FirstSeen(pins) => Some(pins),
            Baseline::None => None,
        }
    }

    /// Takes a listing over. The problems are all that the operator should know about it.
    pub(super) fn take(&mut self, listing: Listing, settings: &Settings) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            listing.refused.iter().map(|(tool, error)| Problem::refused(self.name(), tool, error)).collect();
        if let Baseline::FirstSeen(pins) = &mut self.baseline {
            listing.definitions.iter().for_each(|definition| pins.remember(definition));
        }
        let Some(pins) = self.pins() else {
            problems.push(self.not_imported(listing.definitions.len()));
            return problems;
        };
        let changes = pins.compare(&listing.definitions);
        problems.extend(changes.iter().filter_map(|(tool, change)| self.changed(tool, change)));
        self.offered = listing.definitions.into_iter().map(|definition| definition.name).collect();
        self.stock(&changes, settings, &mut problems);
        problems
    }

    /// Makes the tools of the baseline, keeping those that are as they were.
    fn stock(
        &mut self,
        changes: &BTreeMap<String, Change>,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) {
        let pinned = matches!(self.baseline, Baseline::Approved(_));
        let definitions: Vec<Definition> =
            self.pins().map(|pins| pins.definitions().cloned().collect()).unwrap_or_default();
        let mut known = BTreeMap::new();
        for definition in definitions {
            let name = definition.name.clone();
            let drifted = matches!(changes.get(&name), Some(Change::Changed { .. }));
            let standing = Standing { pinned, drifted };
            match self.make(definition, standing, settings) {
                Ok(Some(tool)) => {
                    known.insert(name, tool);
                }
                Ok(None) => {}
                Err(error) => problems.push(Problem::refused(self.name(), &name, &error)),
            }
        }
        self.known = known;
    }

    fn make(
        &self,
        definition: Definition,
        standing: Standing,
        settings: &Settings,
    ) -> Result<Option<Arc<Tool>>, super::DefinitionError> {
        if let Some(same) = self.known.get(&definition.name).filter(|tool| tool.is(&definition, standing)) {
            return Ok(Some(Arc::clone(same)));
        }
        if !settings.admits(&definition.id(self.name())?) {
            return Ok(None);
        }
        let labels = self.upstream.settings.labels.get(&definition.name).cloned().unwrap_or_default();
        let bound = &self.upstream.settings.actor_bound;
        let actor_bound = bound.contains("*") || bound.contains(&definition.name);
        let marks = Marks { labels, actor_bound };
        let backend = Backend::Upstream(Arc::clone(&self.upstream));
        Tool::new(self.name(), definition, standing, marks, backend).map(|tool| Some(Arc::new(tool)))
    }

    /// The tools that exist now.
    pub(super) fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.known.iter().filter(|(name, _)| self.offered.contains(*name)).map(|(_, tool)| tool)
    }

    /// The schema fragment, when it is not in a file. It keeps the actions of tools that are away for a while,
    /// so that policies about them stay valid.
    pub(super) fn fragment(&self) -> Option<String> {
        matches!(self.baseline, Baseline::FirstSeen(_)).then(|| {
            cedar_fragment(self.name(), self.known.values().map(|tool| (tool.id(), tool.input_type())))
        })
    }

    fn not_imported(&self, count: usize) -> Problem {
        let server = self.name();
        Problem {
            server: server.clone(),
            tool: None,
            message: format!("none of the server's {count} tools is approved"),
            help: format!("look at them with `caxton tools import {server}`, or set `mcp.auto_import: true`"),
        }
    }

    fn changed(&self, tool: &str, change: &Change) -> Option<Problem> {
        let server = self.name();
        let approve = format!("see `caxton tools diff {server}`, then `caxton tools approve {server}`");
        let (message, help) = match (change, &self.baseline) {
            (Change::Changed { fields }, Baseline::Approved(_)) => {
                (format!("not as approved: {} changed; calls are refused", fields.join(", ")), approve)
            }
            (Change::Changed { fields }, _) => (
                format!("{} changed since it was first seen; calls are refused", fields.join(", ")),
                format!("approve its tools with `caxton tools import {server}`, or start again"),
            ),
            (Change::Added, _) => ("not approved yet: it is not offered".to_owned(), approve),
            (Change::Removed, Baseline::Approved(_)) => {
                ("approved, but the server no longer has it".to_owned(), approve)
            }
            (Change::Removed | Change::Unchanged, _) => return None,
        };
        Some(Problem { server: server.clone(), tool: Some(tool.to_owned()), message, help })
    }
}

/// All tools at one moment.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) list: Arc<[Arc<Tool>]>,
    pub(super) by_id: BTreeMap<ToolId, Arc<Tool>>,
    pub(super) fragments: Vec<(String, String)>,
}

impl Catalogue {
    pub(super) fn new<'a>(builtin: &[Arc<Tool>], shelves: impl IntoIterator<Item = &'a Shelf>) -> Self {
        let mut by_id: BTreeMap<ToolId, Arc<Tool>> =
            builtin.iter().map(|tool| (tool.id().clone(), Arc::clone(tool))).collect();
        let mut fragments = Vec::new();
        for shelf in shelves {
            by_id.extend(shelf.tools().map(|tool| (tool.id().clone(), Arc::clone(tool))));
            let name = || format!("tools/{}.cedarschema", shelf.name());
            fragments.extend(shelf.fragment().map(|text| (name(), text)));
        }
        Self { list: by_id.values().cloned().collect(), by_id, fragments }
    }

    /// Whether the bundle or a listing has to be made anew.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.fragments != other.fragments
            || self.list.len() != other.list.len()
            || self.list.iter().zip(other.list.iter()).any(|(one, two)| !Arc::ptr_eq(one, two))
    }
}
