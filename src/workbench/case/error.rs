//! What can be wrong with a test file, said to the person who wrote it.

use crate::suggest::nearest_qualified;

/// More names than these are no help.
const FEW: usize = 8;

/// A mistake in a test file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// Larger than the bound.
    #[error("the file has {bytes} bytes, at most {limit} are read")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not YAML, or not the shape of a test file.
    #[error("{0}")]
    Shape(String),
    /// A statement under `prove` that means nothing.
    #[error("{0}")]
    Statement(&'static str),
    /// A gate that cannot be reached.
    #[error("a gate is a number of per cent, from 0 to 100")]
    Gate,
    /// A name that neither the schema nor the policies know.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// What was written.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
        /// All that there are, when they are few and none is near.
        all: Vec<String>,
    },
    /// An entity that the suite does not describe.
    #[error("`{name}` is not listed under `entities`")]
    Unlisted {
        /// What was written.
        name: String,
        /// The nearest entity that is listed.
        nearest: Option<String>,
    },
    /// Not `Type::"id"`.
    #[error("`{0}` is not the name of an entity")]
    EntityName(String),
    /// An action group where one action is needed.
    #[error("`{0}` is a group of actions, and a request is for one action")]
    Group(String),
    /// A type that cannot be a parent of the other.
    #[error("a `{child}` cannot be in a `{parent}`")]
    Parent {
        /// Type of the entity.
        child: String,
        /// Type of what it was put in.
        parent: String,
    },
    /// A value of the wrong type.
    #[error("`{path}` is {found}, the schema wants {wanted}")]
    Type {
        /// Where.
        path: String,
        /// What was written.
        found: String,
        /// What has to be there.
        wanted: String,
    },
    /// An attribute that has no neutral value and was left out.
    #[error("`{0}` has to be given: there is no neutral value for it")]
    Missing(String),
    /// `${name}` without a matrix key of that name.
    #[error("`${{{0}}}` is not in the matrix of this test")]
    NoSuchVariable(String),
    /// A matrix key that nothing uses.
    #[error("the matrix key `{0}` is not used in this test")]
    UnusedVariable(String),
    /// A matrix that is neither form.
    #[error("`matrix` is either lists by name, or a list of rows")]
    MatrixShape,
    /// More rows than the bound.
    #[error("the matrix has more than {limit} rows")]
    TooManyRows {
        /// Rows allowed.
        limit: usize,
    },
    /// Neither or both of `request` and `search`.
    #[error("a test has either `request` or `search`")]
    RequestOrSearch,
    /// An expectation that does not go with the test.
    #[error("{0}")]
    Expectation(&'static str),
    /// Two tests of one name.
    #[error("the name `{0}` is used twice in this file")]
    DuplicateTest(String),
    /// An entity described in two places.
    #[error("`{0}` is described twice")]
    DuplicateEntity(String),
    /// An entity that is not there, and is described all the same.
    #[error("`{0}` is `absent`, so nothing else can be said of it")]
    AbsentWith(String),
    /// A fixture file that cannot be read.
    #[error("the fixture file `{name}` cannot be used: {why}")]
    Fixture {
        /// As written.
        name: String,
        /// The cause.
        why: String,
    },
    /// The request does not fit the schema.
    #[error("the request does not fit the schema: {0}")]
    Mismatch(String),
}

impl CaseError {
    /// Advice that stands apart from the message.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Unknown { nearest, all, .. } => {
                let near = nearest.as_ref().map(|near| format!("did you mean `{near}`?"));
                let all: Vec<String> = all.iter().map(|one| format!("`{one}`")).collect();
                let all = (!all.is_empty()).then(|| format!("write one of {}", all.join(", ")));
                match (near, all) {
                    (None, None) => return None,
                    (near, all) => near.into_iter().chain(all).collect::<Vec<_>>().join(" "),
                }
            }
            Self::Unlisted { name, nearest } => {
                let near =
                    nearest.as_ref().map(|near| format!("did you mean `{near}`? Or ")).unwrap_or_default();
                format!("{near}add `{name}: {{}}`; attributes left out get their neutral value")
            }
            Self::EntityName(_) => "write `Type::\"id\"`, as in `Agent::\"researcher\"`".to_owned(),
            Self::Group(_) => "name the action itself; for a tool it is `<server>___<tool>`".to_owned(),
            Self::Fixture { .. } => "name a file beside this one".to_owned(),
            Self::Mismatch(_) => {
                "write `outcome: deny_error` when the test is about a request that does not fit".to_owned()
            }
            _ => return None,
        };
        Some(help)
    }

    /// A name that is not among `known`, with the nearest one that is.
    pub(in crate::workbench) fn unknown<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = nearest_qualified(name, known.iter().copied()).map(str::to_owned);
        // Outcomes are four: whoever misspells one may not know the others.
        let few = known.len() <= FEW && (nearest.is_none() || kind == "outcome");
        let all = known.iter().filter(|_| few).map(|one| (*one).to_owned()).collect();
        Self::Unknown { kind, name: name.to_owned(), nearest, all }
    }

    /// The text in the file that this is about, as far as one stands there.
    pub(in crate::workbench) fn written(&self) -> Option<&str> {
        match self {
            Self::Unknown { name, .. }
            | Self::Unlisted { name, .. }
            | Self::EntityName(name)
            | Self::Group(name)
            | Self::UnusedVariable(name)
            | Self::NoSuchVariable(name) => Some(name),
            Self::Type { path, .. } | Self::Missing(path) => path.rsplit('.').next(),
            _ => None,
        }
    }
}

/// A mistake with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The line in the file, from 1; 0 when it is about the whole file.
    pub line: u64,
    /// The mistake.
    pub error: CaseError,
}

impl Located {
    /// A mistake in a line.
    pub fn at(line: u64, error: CaseError) -> Self {
        Self { line, error }
    }
}
