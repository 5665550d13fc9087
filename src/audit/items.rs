//! The items of a list, in as many bytes as there is room for: a long list loses the circumstances of its items, then the
//! length of their names, and stands on several lines in the end. It never loses an item or how that ended.

use serde::{Serialize, Serializer};

use super::digest::Digest;
use super::record::{EntityRecord, Item, RecordError, Shadow};
use super::redact::{CutText, LoggedValue, cut, mask_name};
use crate::model::{EntityUid, Outcome, PolicyRef};

/// How much of a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DetailLevel {
    /// All of it.
    Whole,
    /// Without what the items were asked with, and with a digest of the circumstances.
    Bare,
    /// With digests of long names as well.
    Short,
}

/// The most policies and errors of one item; of a short one; and what is kept of a message then.
const POLICIES: (usize, usize) = (256, 8);
const ERRORS: (usize, usize) = (32, 4);
const SHORT_MESSAGE: usize = 120;
/// A name that is longer stands as its digest in a short item.
const SHORT_NAME: usize = 200;

#[derive(Serialize)]
pub(super) struct LoggedItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<ItemName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<LoggedValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entities: Vec<LoggedEntity<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<CutError<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    errors_omitted: usize,
    #[serde(skip_serializing_if = "is_false")]
    open_input: bool,
    outcome: Outcome,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [PolicyRef],
    #[serde(skip_serializing_if = "is_zero")]
    policies_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<ItemName<'a>>,
    resource: ItemName<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a Shadow>,
}

impl<'a> LoggedItem<'a> {
    pub(super) fn new(item: &'a Item, level: DetailLevel) -> Self {
        let whole = level == DetailLevel::Whole;
        let short = level == DetailLevel::Short;
        let name = |text: &'a str| ItemName { text, short };
        let most = |(usual, in_short): (usize, usize)| if short { in_short } else { usual };
        let policies = most(POLICIES);
        let errors = most(ERRORS);
        Self {
            action: item.action.as_deref().map(name),
            context: item.context.as_ref().filter(|_| whole).map(LoggedValue::new),
            entities: if whole { entities(&item.entities) } else { Vec::new() },
            errors: item.errors.iter().take(errors).map(|error| CutError { error, short }).collect(),
            errors_omitted: item.errors.len().saturating_sub(errors),
            open_input: item.open_input,
            outcome: item.outcome,
            policies: item.policies.get(..policies).unwrap_or(&item.policies),
            policies_omitted: item.policies.len().saturating_sub(policies),
            principal: item.principal.as_deref().map(name),
            resource: name(&item.resource),
            shadow: item.shadow.as_ref(),
        }
    }
}

/// A name in Cedar's notation. A long one stands as `sha256:` and the digest of that notation when it has to be short.
struct ItemName<'a> {
    text: &'a str,
    short: bool,
}

impl Serialize for ItemName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.short || self.text.len() <= SHORT_NAME {
            return serializer.serialize_str(&mask_name(self.text));
        }
        let hex = Digest::of(self.text.as_bytes()).hex();
        serializer.collect_str(&format_args!("sha256:{}", str::from_utf8(&hex).unwrap_or_default()))
    }
}

/// The name of an entity, masked like the record's own resource.
struct MaskedUid<'a>(&'a EntityUid);

impl Serialize for MaskedUid<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&mask_name(&self.0.to_string()))
    }
}

/// An entity by the names that tests use for its parts.
#[derive(Serialize)]
pub(super) struct LoggedEntity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attrs: Option<LoggedValue<'a>>,
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    parents: Vec<MaskedUid<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<LoggedValue<'a>>,
    uid: MaskedUid<'a>,
}

impl<'a> LoggedEntity<'a> {
    fn new(entity: &'a EntityRecord) -> Self {
        let field = |name| entity.field(name).map(LoggedValue::new);
        let parents = entity.parents.iter().map(MaskedUid).collect();
        Self { attrs: field("attrs"), parents, tags: field("tags"), uid: MaskedUid(&entity.uid) }
    }
}

pub(super) fn entities(entities: &[EntityRecord]) -> Vec<LoggedEntity<'_>> {
    entities.iter().map(LoggedEntity::new).collect()
}

/// A policy that could not be evaluated.
pub(super) struct CutError<'a> {
    pub(super) error: &'a RecordError,
    pub(super) short: bool,
}

impl Serialize for CutError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            message: CutText<'a>,
            policy: &'a str,
        }
        let message = match self.short {
            true => cut(&self.error.message, SHORT_MESSAGE),
            false => &self.error.message,
        };
        Fields { message: CutText(message), policy: &self.error.policy }.serialize(serializer)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
