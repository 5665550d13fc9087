//! Entities and attribute values as policies see them, without the policy language's own types.

use std::fmt;
use std::sync::Arc;

use litemap::LiteMap;
use smol_str::{SmolStr, format_smolstr};

/// The name of an entity: its type (with namespace, `Caxton::Agent`) and its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityUid {
    type_name: SmolStr,
    id: Arc<str>,
}

impl EntityUid {
    /// An entity of any type; `type_name` is fully qualified.
    pub fn new(type_name: impl Into<SmolStr>, id: impl Into<Arc<str>>) -> Self {
        Self { type_name: type_name.into(), id: id.into() }
    }

    /// A person, named as its token does or in full (`<issuer>|<subject>`); `None` when it is not said whose subject it is,
    /// which only one of several `issuers` could leave open.
    pub fn person(issuers: &[Arc<str>], name: &str) -> Option<Self> {
        let in_full =
            |issuer: &Arc<str>| name.strip_prefix(issuer.as_ref()).is_some_and(|rest| rest.starts_with('|'));
        let full = match issuers {
            _ if issuers.iter().any(in_full) => name.to_owned(),
            [issuer] => format!("{issuer}|{name}"),
            [] if name.contains('|') => name.to_owned(),
            _ => return None,
        };
        Some(Self::caxton("User", full))
    }

    /// An action in Caxton's own namespace.
    pub fn action(id: impl Into<Arc<str>>) -> Self {
        Self { type_name: SmolStr::new_static("Caxton::Action"), id: id.into() }
    }

    /// An entity in Caxton's own namespace: `caxton("Agent", id)` is `Caxton::Agent::"id"`.
    pub fn caxton(type_name: &str, id: impl Into<Arc<str>>) -> Self {
        Self { type_name: format_smolstr!("Caxton::{type_name}"), id: id.into() }
    }

    /// The entity that a name in Cedar's notation stands for, as [`fmt::Display`] writes it; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (type_name, quoted) = text.split_once("::\"")?;
        let id = quoted.strip_suffix('"')?;
        if !id.contains(['\\', '"']) {
            return Some(Self::new(type_name, id));
        }
        unescaped(id).map(|id| Self::new(type_name, id))
    }

    /// The attribute in which a resource has this principal as its owner; `None` for what owns nothing.
    fn owner_attribute(&self) -> Option<&'static str> {
        match self.type_name() {
            "Caxton::User" => Some("owner_user"),
            "Caxton::Service" => Some("owner_service"),
            "Caxton::Workload" => Some("owner_workload"),
            "Caxton::Agent" => Some("owner_agent"),
            _ => None,
        }
    }

    /// The fully qualified type.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The type without its namespace.
    pub fn base_type(&self) -> &str {
        self.type_name.rsplit("::").next().unwrap_or(&self.type_name)
    }

    /// The id, unescaped.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What [`str::escape_debug`] escaped; `None` for an escape that it does not write, and for a quote that is not escaped.
fn unescaped(text: &str) -> Option<String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        whole.push(match c {
            '"' => return None,
            '\\' => match rest.next()? {
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                '0' => '\0',
                same @ ('\'' | '"' | '\\') => same,
                'u' => {
                    let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                    rest = after.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(whole)
}

/// Cedar's notation: `Caxton::Agent::"researcher"`, the id escaped.
impl fmt::Display for EntityUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
        if self.id.bytes().all(plain) {
            // Most ids, and each of them is written several times in a decision.
            write!(f, "{}::\"{}\"", self.type_name, self.id)
        } else {
            write!(f, "{}::\"{}\"", self.type_name, self.id.escape_debug())
        }
    }
}

impl serde::Serialize for EntityUid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Values by their names, in order of these. A few stand in one piece of memory, which a decision makes and reads many of;
/// many that come in any order are to be collected, not inserted one by one.
pub type Fields = LiteMap<SmolStr, Value>;

/// An attribute value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// Text.
    String(Arc<str>),
    /// A set; order and repetition do not matter.
    Set(Vec<Value>),
    /// Named values.
    Record(Fields),
    /// A reference to another entity.
    Entity(EntityUid),
    /// A decimal with at most four fractional digits, as text (`"0.85"`).
    Decimal(Arc<str>),
    /// An instant: milliseconds since the Unix epoch.
    Datetime(i64),
    /// A length of time, as text (`"1d2h"`).
    Duration(Arc<str>),
    /// An IP address or range, as text.
    Ip(Arc<str>),
}

impl Value {
    /// Text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(text.as_ref().into())
    }

    /// A set of texts.
    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Set(texts.into_iter().map(Value::text).collect())
    }

    /// A record from name and value pairs.
    pub fn record<K: Into<SmolStr>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        let pairs: Vec<(SmolStr, Value)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        // What the program writes down in order need not be sorted.
        Self::Record(match pairs.is_sorted_by(|(one, _), (next, _)| one < next) {
            true => Fields::from_sorted_store_unchecked(pairs),
            false => pairs.into_iter().collect(),
        })
    }

    /// Shows every entity that the value names, at any depth.
    pub fn each_entity<'v>(&'v self, visit: &mut dyn FnMut(&'v EntityUid)) {
        match self {
            Self::Entity(uid) => visit(uid),
            Self::Set(items) => items.iter().for_each(|item| item.each_entity(visit)),
            Self::Record(fields) => fields.values().for_each(|field| field.each_entity(visit)),
            Self::Bool(_)
            | Self::Long(_)
            | Self::String(_)
            | Self::Decimal(_)
            | Self::Datetime(_)
            | Self::Duration(_)
            | Self::Ip(_) => {}
        }
    }
}

/// The log's form: instants as RFC 3339, entities in Cedar's notation, everything else as itself.
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Long(value) => serializer.serialize_i64(*value),
            Self::String(text) | Self::Decimal(text) | Self::Duration(text) | Self::Ip(text) => {
                serializer.serialize_str(text)
            }
            Self::Set(items) => serializer.collect_seq(items),
            Self::Record(fields) => serializer.collect_map(fields.iter().map(|(k, v)| (k.as_str(), v))),
            Self::Entity(uid) => serializer.collect_str(uid),
            Self::Datetime(millis) => serializer.serialize_str(&super::cedar_json::instant_text(*millis)),
        }
    }
}

/// An entity with what policies may ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Its name.
    pub uid: EntityUid,
    /// Attributes of the schema.
    pub attributes: Fields,
    /// Direct parents.
    pub parents: Vec<EntityUid>,
    /// Tags: open-ended named values of one type (for `User`, sets of strings).
    pub tags: Fields,
}

impl Entity {
    /// An entity with a name and nothing else.
    pub fn bare(uid: EntityUid) -> Self {
        Self { uid, attributes: Fields::new(), parents: Vec::new(), tags: Fields::new() }
    }

    /// Whether it has a name and nothing else.
    pub fn is_bare(&self) -> bool {
        self.attributes.is_empty() && self.parents.is_empty() && self.tags.is_empty()
    }

    /// Whether more than its name is said, or the gateway alone could say more: what is not there of the gateway's own types
    /// is refused for what it lacks.
    pub fn is_stated(&self) -> bool {
        !self.is_bare() || self.uid.type_name().starts_with("Caxton::")
    }

    /// Adds its owner: as text, and typed where that is a principal that owns things.
    pub fn owned_by(self, owner: &EntityUid) -> Self {
        let entity = self.with("owner", Value::text(owner.to_string()));
        match owner.owner_attribute() {
            Some(name) => entity.with(name, Value::Entity(owner.clone())),
            None => entity,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.attributes.insert(name.into(), value);
        self
    }

    /// Adds an attribute when there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a direct parent.
    #[must_use]
    pub fn in_parent(mut self, parent: EntityUid) -> Self {
        self.parents.push(parent);
        self
    }

    /// Shows every entity that this one is in or names.
    pub fn each_neighbour<'e>(&'e self, visit: &mut dyn FnMut(&'e EntityUid)) {
        self.parents.iter().for_each(&mut *visit);
        self.attributes.values().chain(self.tags.values()).for_each(|value| value.each_entity(visit));
    }

    /// Adds a tag.
    #[must_use]
    pub fn tagged(mut self, name: &str, value: Value) -> Self {
        self.tags.insert(name.into(), value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_written_is_read_back() {
        for id in [
            "a",
            "https://idp|alice",
            "",
            "a\"b",
            "a\\",
            "a\n\t\r\0",
            "\u{202e}x",
            "it's",
            "日本",
            "e\u{301}",
        ] {
            let uid = EntityUid::caxton("User", id);
            assert_eq!(EntityUid::parse(&uid.to_string()), Some(uid), "{id:?}");
        }
        let wrong =
            ["", "User", "User::a", "User::\"a", "User::\"a\" or \"b\"", "User::\"\\q\"", "User::\"\\u{}\""];
        for text in wrong {
            assert_eq!(EntityUid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_cannot_break_out_of_its_quotes() {
        let uid = EntityUid::caxton("Agent", "a\"\n\u{202e}b");
        assert_eq!(uid.to_string(), "Caxton::Agent::\"a\\\"\\n\\u{202e}b\"");
        assert_eq!(uid.base_type(), "Agent");
    }

    #[test]
    fn a_person_is_named_in_full_or_as_the_only_issuer_does() {
        let (one, other) = (Arc::from("https://a"), Arc::from("https://b"));
        let named = |issuers: &[Arc<str>], name: &str| {
            EntityUid::person(issuers, name).map(|person| person.id().to_owned())
        };
        let full = |name: &str| Some(name.to_owned());
        let both = [Arc::clone(&one), other];
        assert_eq!(named(&[Arc::clone(&one)], "vera"), full("https://a|vera"));
        assert_eq!(named(&[Arc::clone(&one)], "auth0|1"), full("https://a|auth0|1"));
        assert_eq!(named(&[one], "https://a|vera"), full("https://a|vera"));
        assert_eq!(named(&both, "https://b|vera"), full("https://b|vera"));
        // With two, a short name could be that of either: to guess would take a role from the wrong one.
        assert_eq!((named(&both, "vera"), named(&both, "auth0|1")), (None, None));
        assert_eq!((named(&[], "vera"), named(&[], "x|vera")), (None, full("x|vera")));
    }
}
