//! The entities of a suite, complete and checked, and queries about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use serde_saphyr::Spanned;

use super::format::{EntityEntry, EntityTable};
use super::name::shorthand;
use super::typed::Typing;
use super::{CaseError, KnownWorld, Located, Row, SchemaNames, neutral};
use crate::model::cedar_json::instant;
use crate::model::{Entity, EntityUid, Value};
use crate::policy::{Bundle, Query, close};
use crate::suggest::nearest;

/// What a suite says exists.
#[derive(Clone)]
pub(in crate::workbench) struct World<'s> {
    schema_names: SchemaNames<'s>,
    now: i64,
    version: String,
    entities: BTreeMap<EntityUid, Arc<Entity>>,
    /// Entities of which a test says that they are not there.
    absent: BTreeSet<EntityUid>,
    /// Entities that others refer to; each has to be listed.
    mentioned: BTreeMap<EntityUid, u64>,
    /// Entities that policies name and look into.
    named: Vec<EntityUid>,
    /// The id of the entities that stand for those that have to be given.
    stand_in: Option<&'s str>,
    /// The gateway whose world it is.
    known: Option<KnownWorld>,
}

impl<'s> World<'s> {
    /// An empty world at the neutral instant, for questions to a set of policies.
    pub(in crate::workbench) fn new(bundle: &'s Bundle) -> Self {
        Self {
            schema_names: SchemaNames::new(bundle.schema().as_ref()),
            now: neutral::NOW_MILLIS,
            version: bundle.version().as_str().to_owned(),
            entities: BTreeMap::new(),
            absent: BTreeSet::new(),
            named: bundle.named_anywhere().into_iter().collect(),
            mentioned: BTreeMap::new(),
            stand_in: None,
            known: None,
        }
    }

    /// From now on what nobody lists, and what is left out of what is listed, is what a gateway knows.
    pub(in crate::workbench) fn in_gateway(mut self, known: Option<KnownWorld>) -> Self {
        self.known = known;
        self
    }

    /// The names of what is listed.
    pub(in crate::workbench) fn names(&self) -> impl Iterator<Item = &EntityUid> {
        self.entities.keys()
    }

    fn has(&self, uid: &EntityUid) -> bool {
        self.entities.contains_key(uid)
            || self.absent.contains(uid)
            || self.known.as_ref().is_some_and(|known| known.has(uid))
    }

    /// From now on its questions are asked of other policies too, which name these entities.
    pub(in crate::workbench) fn name(&mut self, others: &[EntityUid]) {
        self.named.extend_from_slice(others);
    }

    /// Sets the suite's `now`.
    pub(in crate::workbench) fn set_now(&mut self, now: &Spanned<String>) -> Result<(), Located> {
        self.now = instant(&now.value).ok_or_else(|| {
            let found = now.value.clone();
            let wanted = "an instant such as `2026-01-10T10:00:00Z`".to_owned();
            Located::at(now.referenced.line(), CaseError::Type { path: "now".to_owned(), found, wanted })
        })?;
        Ok(())
    }

    /// Adds a table of entities, with the values of a matrix row.
    pub(in crate::workbench) fn add(&mut self, table: &EntityTable, row: &Row) -> Result<(), Located> {
        for (name, entry) in table {
            let line = entry.referenced.line();
            self.add_one(name, &entry.value, line, row).map_err(|error| Located::at(line, error))?;
        }
        Ok(())
    }

    /// Every entity that another one names is listed.
    pub(in crate::workbench) fn check_complete(&self) -> Result<(), Located> {
        for (uid, line) in &self.mentioned {
            if !self.has(uid) {
                return Err(Located::at(*line, self.unlisted(uid)));
            }
        }
        Ok(())
    }

    /// Lists an entity of which nothing is said, and gives what it is then. `None` when that is not possible.
    pub(in crate::workbench) fn neutral(&mut self, uid: &EntityUid) -> Option<Arc<Entity>> {
        let entity = Arc::new(self.build(uid, &EntityEntry::default(), 0, &Row::default()).ok()?);
        self.entities.insert(uid.clone(), Arc::clone(&entity));
        if self.stand_in.is_some() {
            let mut others = Vec::new();
            entity.attributes.values().for_each(|value| value.each_entity(&mut |uid| others.push(uid)));
            // What a stand-in names are stand-ins of other types, or itself: this ends.
            for other in others {
                if !self.entities.contains_key(other) {
                    self.neutral(other)?;
                }
            }
        }
        Some(entity)
    }

    /// From now on an entity of this id stands for each that has to be given and is not.
    pub(in crate::workbench) fn with_stand_ins(mut self, id: &'s str) -> Self {
        self.stand_in = Some(id);
        self
    }

    /// All entities of a type.
    pub(in crate::workbench) fn of_type(&self, type_name: &str) -> Vec<EntityUid> {
        let known = self.known.iter().flat_map(|known| known.names());
        let all: BTreeSet<&EntityUid> = self.entities.keys().chain(known).collect();
        all.into_iter().filter(|uid| uid.type_name() == type_name).cloned().collect()
    }

    fn unlisted(&self, uid: &EntityUid) -> CaseError {
        let known = self.known.iter().flat_map(|known| known.names());
        let alike = self.entities.keys().chain(known).filter(|one| one.type_name() == uid.type_name());
        let near = nearest(uid.id(), alike.map(EntityUid::id));
        let near = near.map(|id| shorthand(&EntityUid::new(uid.type_name(), id)));
        CaseError::Unlisted { name: shorthand(uid), nearest: near }
    }

    /// A listed entity's name.
    pub(in crate::workbench) fn listed(&self, text: &str) -> Result<EntityUid, CaseError> {
        let uid = self.schema_names.entity(text)?;
        match self.has(&uid) {
            true => Ok(uid),
            false => Err(self.unlisted(&uid)),
        }
    }

    /// The question: who, what, to what, with what is not said filled in.
    pub(in crate::workbench) fn query(
        &self,
        principal: &EntityUid,
        action: &EntityUid,
        resource: &EntityUid,
        context: &Map<String, Json>,
    ) -> Result<Query, CaseError> {
        let types =
            self.schema_names.context(action).ok_or_else(|| CaseError::Group(action.id().to_owned()))?;
        let now = self.moment(context);
        let neutral = |path: &str| neutral::context(path, now, principal, &self.version);
        let mut typing = Typing { stand_in: self.stand_in, ..Typing::new(self.schema_names) };
        let context =
            typing.record(types, context, "context", &|path| neutral(path.strip_prefix("context.")?))?;
        let unlisted = typing.mentioned.iter().find(|uid| !self.has(uid));
        if let Some(uid) = unlisted.filter(|_| self.stand_in.is_none()) {
            return Err(self.unlisted(uid));
        }
        let mut query = Query {
            principal: principal.clone(),
            action: action.clone(),
            resource: resource.clone(),
            context: Value::Record(context),
            entities: Vec::new(),
        };
        let is_said = self.entities.contains_key(principal) || self.absent.contains(principal);
        if let Some(known) = self.known.as_ref().filter(|_| !is_said) {
            query.entities.push(Arc::new(known.described(neutral::entity(principal))));
        }
        // A question is asked again of changed policies, which may be about more: all that any of them names is there.
        let find = |uid: &EntityUid| {
            if self.absent.contains(uid) {
                return None;
            }
            let known = || self.known.as_ref().and_then(|known| known.entity(uid));
            self.entities.get(uid).cloned().or_else(known)
        };
        close(&mut query, |_| self.named.clone(), usize::MAX, &find);
        Ok(query)
    }

    /// The instant that hour and weekday follow from: the context's own when the test gives one.
    fn moment(&self, context: &Map<String, Json>) -> i64 {
        let given = context.get("system").and_then(|system| system.get("now")).and_then(Json::as_str);
        given.and_then(instant).unwrap_or(self.now)
    }

    fn add_one(&mut self, name: &str, entry: &EntityEntry, line: u64, row: &Row) -> Result<(), CaseError> {
        let uid = self.schema_names.entity(&row.text(name)?)?;
        if entry.absent {
            if !entry.attrs.is_empty() || !entry.parents.is_empty() || !entry.tags.is_empty() {
                return Err(CaseError::AbsentWith(shorthand(&uid)));
            }
            return match self.entities.contains_key(&uid) {
                true => Err(CaseError::DuplicateEntity(shorthand(&uid))),
                false => {
                    self.absent.insert(uid);
                    Ok(())
                }
            };
        }
        if self.absent.contains(&uid) {
            return Err(CaseError::DuplicateEntity(shorthand(&uid)));
        }
        let mut entity = self.build(&uid, entry, line, row)?;
        if !entry.parents.is_empty() {
            // A test that says what an entity is in says all of it.
            entity.parents = neutral::entity(&uid).parents;
        }
        for parent in &entry.parents {
            let parent = self.schema_names.entity(&row.text(parent)?)?;
            if !self.schema_names.can_be_in(uid.type_name(), parent.type_name()) {
                let child = uid.base_type().to_owned();
                return Err(CaseError::Parent { child, parent: parent.base_type().to_owned() });
            }
            self.mentioned.entry(parent.clone()).or_insert(line);
            entity.parents.push(parent);
        }
        let entity = Arc::new(entity);
        match self.entities.insert(uid.clone(), Arc::clone(&entity)) {
            // The same words twice say nothing new: a test that was pasted brings its entities along.
            Some(before) if before != entity => Err(CaseError::DuplicateEntity(shorthand(&uid))),
            Some(_) | None => Ok(()),
        }
    }

    fn build(
        &mut self,
        uid: &EntityUid,
        entry: &EntityEntry,
        line: u64,
        row: &Row,
    ) -> Result<Entity, CaseError> {
        let mut entity = neutral::entity(uid);
        if let Some(known) = &self.known {
            entity = known.described(entity);
        }
        let mut typing = Typing { stand_in: self.stand_in, ..Typing::new(self.schema_names) };
        let given = row.map(&entry.attrs)?;
        if let Some(types) = self.schema_names.attributes(uid.type_name()) {
            // A memory scope that is spelt out is taken as it stands.
            let spelt_out = given.contains_key("scope");
            let implied = |path: &str| match path {
                "agent" | "workspace" if spelt_out => None,
                path => entity.attributes.get(path).cloned(),
            };
            entity.attributes = typing.record(types, &given, "", &implied)?;
        }
        let tags = row.map(&entry.tags)?;
        if let Some(wanted) = self.schema_names.tags(uid.type_name()) {
            for (name, tag) in &tags {
                entity.tags.insert(name.as_str().into(), typing.value(wanted, tag, name, &|_| None)?);
            }
        } else if let Some(name) = tags.keys().next() {
            return Err(CaseError::unknown("tag", name, []));
        }
        let mentioned: BTreeSet<EntityUid> = typing.mentioned.into_iter().collect();
        for uid in mentioned {
            self.mentioned.entry(uid).or_insert(line);
        }
        Ok(entity)
    }
}
