//! What the schema knows, in tables for the request path: types, their shapes, and actions with ancestors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy::Schema;
use cedar_policy_core::ast::{Eid, Entity, EntityType, EntityUID};
use cedar_policy_core::validator::{ValidatorEntityType, ValidatorEntityTypeKind, ValidatorSchema};
use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;

use super::extension::ExtensionValues;
use super::request::{INPUT, Input};
use super::types::{Mismatch, RecordShape, Shape};
use crate::model;

/// The tables. Built once a bundle; requests only look up, so the fast hasher cannot be attacked through them.
#[derive(Debug)]
pub(crate) struct SchemaIndex {
    number: u64,
    types: FxHashMap<Box<str>, KnownType>,
    actions: FxHashMap<Box<str>, FxHashMap<Box<str>, KnownAction>>,
    extensions: ExtensionValues,
}

/// An entity type of the schema.
#[derive(Debug)]
pub(crate) struct KnownType {
    /// Its own, among the types of its schema.
    pub(crate) number: usize,
    pub(crate) name: EntityType,
    pub(crate) attributes: RecordShape,
    pub(crate) tags: Option<Shape>,
    /// The types an entity of this type may be in, directly or through others.
    pub(crate) ancestors: FxHashSet<EntityType>,
    /// The only ids there are, for an enumerated type.
    choices: Option<FxHashSet<Box<str>>>,
}

/// An action of the schema.
#[derive(Debug)]
pub(crate) struct KnownAction {
    pub(crate) uid: Arc<EntityUID>,
    /// Its entity, with all groups it is in as ancestors.
    pub(crate) entity: Arc<Entity>,
    pub(crate) principals: FxHashSet<EntityType>,
    pub(crate) resources: FxHashSet<EntityType>,
    pub(crate) context: Shape,
    /// The same, for when the input is not known yet.
    pub(crate) open_context: Shape,
}

impl SchemaIndex {
    pub(crate) fn new(schema: &Schema) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let schema: &ValidatorSchema = schema.as_ref();
        let types = schema
            .entity_types()
            .filter(|known| !known.is_external())
            .enumerate()
            .map(|(number, known)| {
                (known.name().to_string().into_boxed_str(), KnownType::new(number, known, schema))
            })
            .collect();
        let mut actions: FxHashMap<Box<str>, FxHashMap<Box<str>, KnownAction>> = FxHashMap::default();
        // An action without an entity is external, that is, not defined: it stays unknown.
        for entity in schema.action_entities().into_iter().flatten() {
            if let Some(known) = KnownAction::new(&entity, schema) {
                let of_type = actions.entry(entity.uid().entity_type().to_string().into()).or_default();
                of_type.insert(AsRef::<str>::as_ref(entity.uid().eid()).into(), known);
            }
        }
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            types,
            actions,
            extensions: ExtensionValues::new(),
        }
    }

    /// Its own: no other of this process has it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn extensions(&self) -> &ExtensionValues {
        &self.extensions
    }

    pub(crate) fn entity_type(&self, uid: &model::EntityUid) -> Result<&KnownType, Mismatch> {
        let known = self.types.get(uid.type_name());
        known.ok_or_else(|| Mismatch::new(format!("the schema has no entity type `{}`", uid.type_name())))
    }

    pub(crate) fn action(&self, uid: &model::EntityUid) -> Result<&KnownAction, Mismatch> {
        let known = self.actions.get(uid.type_name()).and_then(|of_type| of_type.get(uid.id()));
        known.ok_or_else(|| Mismatch::new(format!("the schema has no action `{uid}`")))
    }

    /// All action entities.
    pub(crate) fn action_entities(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.actions.values().flat_map(FxHashMap::values).map(|known| &known.entity)
    }

    /// The numbers of the entity types that have an attribute of one of these names.
    pub(crate) fn types_with(&self, attributes: &[SmolStr]) -> Vec<usize> {
        let has_one =
            |known: &&KnownType| attributes.iter().any(|name| known.attributes.field(name).is_some());
        self.types.values().filter(has_one).map(|known| known.number).collect()
    }

    /// The full names of all entity types.
    pub(crate) fn type_names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(AsRef::as_ref)
    }

    /// Every action with the types of principal and resource it is asked about.
    pub(crate) fn environments(&self) -> impl Iterator<Item = (&Entity, &EntityType, &EntityType)> {
        self.actions.values().flat_map(FxHashMap::values).flat_map(|known| {
            let pairs =
                known.principals.iter().flat_map(|one| known.resources.iter().map(move |two| (one, two)));
            pairs.map(|(principal, resource)| (known.entity.as_ref(), principal, resource))
        })
    }

    /// Whether an entity of one type can be in one of another.
    pub(crate) fn can_be_in(&self, child: &EntityType, parent: &EntityType) -> bool {
        self.types.get(child.to_string().as_str()).is_some_and(|known| known.ancestors.contains(parent))
    }

    /// The Cedar name of an entity or action that the schema can have. Type names are looked up, never
    /// parsed: a text from outside cannot become a new type.
    pub(crate) fn uid(&self, uid: &model::EntityUid) -> Result<EntityUID, Mismatch> {
        match self.types.get(uid.type_name()) {
            Some(known) => known.uid(uid),
            None => self.action(uid).map(|known| known.entity.uid().clone()),
        }
    }
}

impl KnownType {
    fn new(number: usize, known: &ValidatorEntityType, schema: &ValidatorSchema) -> Self {
        let name = known.name();
        let above = schema.entity_types().filter(|other| other.has_descendant_entity_type(name));
        let choices = match &known.kind {
            ValidatorEntityTypeKind::Enum(choices) => {
                Some(choices.iter().map(|id| AsRef::<str>::as_ref(id).into()).collect())
            }
            ValidatorEntityTypeKind::Standard(_) | ValidatorEntityTypeKind::External => None,
        };
        Self {
            number,
            name: name.clone(),
            attributes: RecordShape::of(known.attributes()),
            tags: known.tag_type().map(Shape::of),
            ancestors: above.map(|other| other.name().clone()).collect(),
            choices,
        }
    }

    /// The Cedar name of an entity of this type.
    pub(crate) fn uid(&self, uid: &model::EntityUid) -> Result<EntityUID, Mismatch> {
        if self.choices.as_ref().is_some_and(|choices| !choices.contains(uid.id())) {
            return Err(Mismatch::new(format!("`{uid}` is not one of the schema's")));
        }
        Ok(EntityUID::from_components(self.name.clone(), Eid::new(uid.id()), None))
    }
}

impl KnownAction {
    pub(crate) fn shape_of_context(&self, input: Input) -> &Shape {
        match input {
            Input::Given => &self.context,
            Input::Open => &self.open_context,
        }
    }

    fn new(entity: &Entity, schema: &ValidatorSchema) -> Option<Self> {
        let known = schema.get_action_id(entity.uid())?;
        Some(Self {
            uid: Arc::new(entity.uid().clone()),
            entity: Arc::new(entity.clone()),
            principals: known.applies_to_principals().cloned().collect(),
            resources: known.applies_to_resources().cloned().collect(),
            context: Shape::of(known.context_type()?),
            open_context: Shape::of(known.context_type()?).without_requiring(INPUT),
        })
    }
}
