//! Makes the catalogue of tools from the listings of servers: each listing is compared with its pins, and only what was
//! approved (or, with `auto_import`, what was seen first) becomes a tool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ServerName, ToolId};
use crate::text::one_line;

use super::definition::Definition;
use super::error::ToolProblem;
use super::pin::{PinChange, Pins};
use super::schema_fragment::cedar_fragment;
use super::settings::Settings;
use super::tool::{Backend, OperatorSettings, PinStatus, Tool};
use super::upstream::{Listing, Upstream};

/// The definitions that a server's listings are compared with.
#[derive(Debug)]
pub(super) enum PinSource {
    /// The definitions that a person approved.
    Approved(Pins),
    /// The definitions that this process saw first; a server cannot change them afterwards.
    FirstSeen(Pins),
    /// Nothing: the server has no tools here.
    None,
}

/// The tools of one server.
#[derive(Debug)]
pub(super) struct ServerTools {
    upstream: Arc<Upstream>,
    pin_source: PinSource,
    /// A tool for each pinned definition that can be used, by name.
    known: BTreeMap<String, Arc<Tool>>,
    /// Those of them that the server offers.
    offered: BTreeSet<String>,
    /// The definitions of the last listing, to compare with pins that are read again; `None` before the first one.
    listing: Option<Vec<Definition>>,
}

impl ServerTools {
    /// A server that has not answered yet: approved tools are there, so that a policy can be asked; calls fail.
    pub(super) fn new(
        upstream: Arc<Upstream>,
        pins: Option<Pins>,
        settings: &Settings,
    ) -> (Self, Vec<ToolProblem>) {
        let pin_source = match pins {
            Some(pins) => PinSource::Approved(pins),
            None if settings.auto_import => {
                let none = Pins::empty(&upstream.settings.name);
                PinSource::FirstSeen(none)
            }
            None => PinSource::None,
        };
        let mut server_tools =
            Self { upstream, pin_source, known: BTreeMap::new(), offered: BTreeSet::new(), listing: None };
        let mut problems = Vec::new();
        server_tools.offered = server_tools
            .pins()
            .map(|pins| pins.definitions().map(|d| d.name.clone()).collect())
            .unwrap_or_default();
        server_tools.rebuild(&BTreeMap::new(), settings, &mut problems);
        (server_tools, problems)
    }

    fn name(&self) -> &ServerName {
        &self.upstream.settings.name
    }

    /// The definitions that a person approved; none for a server whose tools were taken as they were first seen.
    pub(super) fn approved(&self) -> Option<&Pins> {
        match &self.pin_source {
            PinSource::Approved(pins) => Some(pins),
            PinSource::FirstSeen(_) | PinSource::None => None,
        }
    }

    fn pins(&self) -> Option<&Pins> {
        match &self.pin_source {
            PinSource::Approved(pins) | PinSource::FirstSeen(pins) => Some(pins),
            PinSource::None => None,
        }
    }

    /// Takes a listing over. Returns the problems in it, for the operator.
    pub(super) fn take(&mut self, listing: Listing, settings: &Settings) -> Vec<ToolProblem> {
        let mut problems: Vec<ToolProblem> = listing
            .refused
            .iter()
            .map(|(tool, error)| ToolProblem::refused(self.name(), tool, error))
            .collect();
        self.compare(&listing.definitions, settings, &mut problems);
        self.listing = Some(listing.definitions);
        problems
    }

    /// Compares what the account of one principal is offered with the pins. Gives the problems, for the operator, and the tools
    /// that differ: they are not called for this principal. For the others nothing changes, since what a server offers can depend
    /// on the account, and whoever may connect one could have all tools refused to all.
    pub(super) fn take_of_account(
        &mut self,
        holder: &str,
        listing: Listing,
        settings: &Settings,
    ) -> (Vec<ToolProblem>, BTreeSet<String>) {
        let refused = listing.refused.iter();
        let mut problems: Vec<ToolProblem> =
            refused.map(|(tool, error)| ToolProblem::refused(self.name(), tool, error)).collect();
        let definitions = listing.definitions;
        if let PinSource::FirstSeen(pins) = &mut self.pin_source {
            definitions.iter().for_each(|definition| pins.remember(definition));
            self.offered.extend(definitions.iter().map(|definition| definition.name.clone()));
        }
        let Some(pins) = self.pins() else {
            problems.push(ToolProblem::of_accounts(self.name()));
            return (problems, BTreeSet::new());
        };
        let mut changes = pins.compare(&definitions);
        // What this account is not offered, another may be.
        changes.retain(|_, change| *change != PinChange::Removed);
        problems.extend(changes.iter().filter_map(|(tool, change)| self.changed(tool, change)));
        for problem in &mut problems {
            problem.message = format!("for the account of {}: {}", one_line(holder, 256), problem.message);
        }
        let differ = changes.iter().filter(|(_, change)| matches!(change, PinChange::Changed { .. }));
        let differ = differ.map(|(tool, _)| tool.clone()).collect();
        // Drift that was found in what all are offered stays.
        let drifted = self.known.iter().filter(|(_, tool)| tool.drifted()).map(|(name, _)| name.clone());
        let drifted = drifted.map(|name| (name, PinChange::Changed { fields: Vec::new() })).collect();
        self.rebuild(&drifted, settings, &mut problems);
        (problems, differ)
    }

    /// Takes other pins over, and compares the last listing with them. Returns the problems, for the operator.
    pub(super) fn repin(&mut self, pins: Option<Pins>, settings: &Settings) -> Vec<ToolProblem> {
        let mut problems = Vec::new();
        match (pins, &self.pin_source) {
            (Some(pins), PinSource::Approved(same)) if pins == *same => return problems,
            (Some(pins), _) => self.pin_source = PinSource::Approved(pins),
            // What was seen first stays what a server's tools are compared with.
            (None, PinSource::FirstSeen(_) | PinSource::None) => return problems,
            (None, PinSource::Approved(_)) if settings.auto_import => {
                self.pin_source = PinSource::FirstSeen(Pins::empty(self.name()));
            }
            (None, PinSource::Approved(_)) => self.pin_source = PinSource::None,
        }
        match self.listing.take() {
            Some(listing) => {
                self.compare(&listing, settings, &mut problems);
                self.listing = Some(listing);
            }
            None => {
                let names = |pins: &Pins| pins.definitions().map(|d| d.name.clone()).collect();
                self.offered = self.pins().map(names).unwrap_or_default();
                self.rebuild(&BTreeMap::new(), settings, &mut problems);
            }
        }
        problems
    }

    /// Compares a listing with the pins, and makes the tools anew.
    fn compare(&mut self, listing: &[Definition], settings: &Settings, problems: &mut Vec<ToolProblem>) {
        if let PinSource::FirstSeen(pins) = &mut self.pin_source {
            listing.iter().for_each(|definition| pins.remember(definition));
        }
        let Some(pins) = self.pins() else {
            problems.push(self.not_imported(listing.len()));
            self.offered.clear();
            self.known.clear();
            return;
        };
        let changes = pins.compare(listing);
        problems.extend(changes.iter().filter_map(|(tool, change)| self.changed(tool, change)));
        self.offered = listing.iter().map(|definition| definition.name.clone()).collect();
        self.rebuild(&changes, settings, problems);
    }

    /// Makes the tools anew from the pinned definitions; those that did not change are kept.
    fn rebuild(
        &mut self,
        changes: &BTreeMap<String, PinChange>,
        settings: &Settings,
        problems: &mut Vec<ToolProblem>,
    ) {
        let pinned = matches!(self.pin_source, PinSource::Approved(_));
        let definitions: Vec<Definition> =
            self.pins().map(|pins| pins.definitions().cloned().collect()).unwrap_or_default();
        let mut known = BTreeMap::new();
        for definition in definitions {
            let name = definition.name.clone();
            let drifted = matches!(changes.get(&name), Some(PinChange::Changed { .. }));
            let pin_status = PinStatus { pinned, drifted };
            match self.make(definition, pin_status, settings) {
                Ok(Some(tool)) => {
                    known.insert(name, tool);
                }
                Ok(None) => {}
                Err(error) => problems.push(ToolProblem::refused(self.name(), &name, &error)),
            }
        }
        self.known = known;
    }

    fn make(
        &self,
        definition: Definition,
        pin_status: PinStatus,
        settings: &Settings,
    ) -> Result<Option<Arc<Tool>>, super::DefinitionError> {
        if let Some(same) = self.known.get(&definition.name).filter(|tool| tool.is(&definition, pin_status)) {
            return Ok(Some(Arc::clone(same)));
        }
        if !settings.admits(&definition.id(self.name())?) {
            return Ok(None);
        }
        let operator = OperatorSettings::of(&self.upstream.settings, &definition.name);
        let backend = Backend::Upstream(Arc::clone(&self.upstream));
        Tool::new(self.name(), definition, pin_status, operator, backend).map(|tool| Some(Arc::new(tool)))
    }

    /// The tools that exist now.
    pub(super) fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.known.iter().filter(|(name, _)| self.offered.contains(*name)).map(|(_, tool)| tool)
    }

    /// The schema fragment, when it is not in a file. It keeps the actions of tools that are away for a while,
    /// so that policies about them stay valid.
    pub(super) fn fragment(&self) -> Option<String> {
        matches!(self.pin_source, PinSource::FirstSeen(_)).then(|| {
            cedar_fragment(self.name(), self.known.values().map(|tool| (tool.id(), tool.input_type())))
        })
    }

    fn not_imported(&self, count: usize) -> ToolProblem {
        let server = self.name();
        ToolProblem {
            server: server.clone(),
            tool: None,
            message: format!("none of the server's {count} tools is approved"),
            help: format!("look at them with `caxton tools import {server}`, or set `mcp.auto_import: true`"),
        }
    }

    fn changed(&self, tool: &str, change: &PinChange) -> Option<ToolProblem> {
        let server = self.name();
        let approve = format!("see `caxton tools diff {server}`, then `caxton tools approve {server}`");
        let (message, help) = match (change, &self.pin_source) {
            (PinChange::Changed { fields }, PinSource::Approved(_)) => {
                (format!("not as approved: {} changed; calls are refused", fields.join(", ")), approve)
            }
            (PinChange::Changed { fields }, _) => (
                format!("{} changed since it was first seen; calls are refused", fields.join(", ")),
                format!("approve its tools with `caxton tools import {server}`, or start again"),
            ),
            (PinChange::Added, _) => ("not approved yet: it is not offered".to_owned(), approve),
            (PinChange::Removed, PinSource::Approved(_)) => {
                ("approved, but the server no longer has it".to_owned(), approve)
            }
            (PinChange::Removed | PinChange::Unchanged, _) => return None,
        };
        Some(ToolProblem { server: server.clone(), tool: Some(tool.to_owned()), message, help })
    }
}

/// The name of a fragment that is in no file.
pub(super) fn fragment_name(server: &ServerName) -> String {
    format!("tools/{server}.cedarschema")
}

/// All tools at one moment.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) list: Arc<[Arc<Tool>]>,
    pub(super) by_id: BTreeMap<ToolId, Arc<Tool>>,
    pub(super) fragments: Vec<(String, String)>,
}

impl Catalogue {
    pub(super) fn new<'a>(builtin: &[Arc<Tool>], servers: impl IntoIterator<Item = &'a ServerTools>) -> Self {
        let mut by_id: BTreeMap<ToolId, Arc<Tool>> =
            builtin.iter().map(|tool| (tool.id().clone(), Arc::clone(tool))).collect();
        let mut fragments = Vec::new();
        for server_tools in servers {
            by_id.extend(server_tools.tools().map(|tool| (tool.id().clone(), Arc::clone(tool))));
            let name = || fragment_name(server_tools.name());
            fragments.extend(server_tools.fragment().map(|text| (name(), text)));
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
