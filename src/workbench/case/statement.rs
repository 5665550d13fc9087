//! What a test file promises besides its tests: statements that are proved for every request, and gates for how good
//! the tests themselves have to be.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A statement under `prove`: a name if wanted, and exactly one of the others.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct Statement {
    #[serde(default)]
    pub(in crate::workbench) name: Option<String>,
    #[serde(default)]
    pub(in crate::workbench) never_errors: Option<Several>,
    #[serde(default)]
    pub(in crate::workbench) none_needless: Option<Several>,
    #[serde(default)]
    pub(in crate::workbench) no_more_permissive_than: Option<ComparedVersion>,
    #[serde(default)]
    pub(in crate::workbench) equivalent_to: Option<ComparedVersion>,
    #[serde(default)]
    pub(in crate::workbench) disjoint_from: Option<ComparedVersion>,
    #[serde(default)]
    pub(in crate::workbench) always_denies: Option<Circumstances>,
    #[serde(default)]
    pub(in crate::workbench) always_allows: Option<Circumstances>,
}

impl Statement {
    /// How many things it states; one is right.
    pub(in crate::workbench) fn count(&self) -> usize {
        [
            self.never_errors.is_some(),
            self.none_needless.is_some(),
            self.no_more_permissive_than.is_some(),
            self.equivalent_to.is_some(),
            self.disjoint_from.is_some(),
            self.always_denies.is_some(),
            self.always_allows.is_some(),
        ]
        .into_iter()
        .filter(|stated| *stated)
        .count()
    }
}

/// Another version of the policies: a git commit or a folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparedVersion {
    /// A git commit.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    /// A folder with `policies` and `schemas` in it, below the one that the command runs in.
    #[serde(default)]
    pub dir: Option<String>,
    /// Actions and groups of actions that are left out.
    #[serde(default)]
    pub except: Several,
}

/// Which requests a statement is about; what is left out is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// A type (`Agent`) or what the principal is or is in (`Role::"viewer"`); one of them.
    #[serde(default)]
    pub principal: Several,
    /// Actions or groups of actions; one of them.
    #[serde(default)]
    pub action: Several,
    /// A type or what the resource is or is in; one of them.
    #[serde(default)]
    pub resource: Several,
    /// Cedar expressions that all hold.
    #[serde(default)]
    pub when: Several,
    /// Cedar expressions of which none holds.
    #[serde(default)]
    pub unless: Several,
}

/// How good the tests have to be, in per cent.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Points of the policies that the tests see; checked by `coverage`.
    #[serde(default)]
    pub clause_coverage: Option<f64>,
    /// Changes of the policies that the tests notice; checked by `mutate`.
    #[serde(default)]
    pub mutation_score: Option<f64>,
}

impl Gate {
    /// Whether each number is one that can be reached.
    pub(in crate::workbench) fn is_sound(self) -> bool {
        [self.clause_coverage, self.mutation_score]
            .into_iter()
            .flatten()
            .all(|wanted| (0.0..=100.0).contains(&wanted))
    }

    /// Both gates, each the higher of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let higher = |one: Option<f64>, two: Option<f64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        };
        Self {
            clause_coverage: higher(self.clause_coverage, other.clause_coverage),
            mutation_score: higher(self.mutation_score, other.mutation_score),
        }
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Several(pub Vec<String>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Several;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Several, E> {
                Ok(Several(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Several, A::Error> {
                let mut several = Vec::new();
                while let Some(item) = items.next_element()? {
                    several.push(item);
                }
                Ok(Several(several))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
