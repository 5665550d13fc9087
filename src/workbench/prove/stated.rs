//! The statements of test files, as claims.

use std::path::{Component, Path};
use std::sync::Arc;

use super::CircumstancesError;
use super::claim::Claim;
use crate::policy::{Bundle, PolicyErrors};
use crate::workbench::case::{CaseError, ComparedVersion, Located, Several, Statement, SuiteFile};
use crate::workbench::run::Suites;

/// The word that stands for every policy.
const ALL: &str = "all";

/// A statement with its place.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    statement: Statement,
}

/// Why a statement cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum StatedError {
    /// It means nothing as it stands.
    #[error(transparent)]
    Statement(#[from] CaseError),
    /// Its condition is no expression.
    #[error("{0}")]
    Condition(String),
    /// Its condition does not fit the schema.
    #[error("the condition does not fit the schema")]
    Schema(#[source] PolicyErrors),
    /// The version that it names cannot be had.
    #[error("{0}")]
    Version(String),
}

/// Where another version of the policies is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum VersionName {
    /// A git commit.
    Reference(String),
    /// A folder below the one that the command runs in.
    Folder(String),
}

/// All statements, in the order of the files. A file that cannot be read is told with its place.
pub fn stated(suites: &Suites) -> Result<Vec<Stated>, Vec<(String, Located)>> {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for (file, text) in suites.files().filter(|(file, _)| !file.ends_with(".json")) {
        match SuiteFile::parse(text) {
            Ok(suite) => found.extend(suite.prove.into_iter().map(|statement| Stated {
                file: file.to_owned(),
                line: statement.referenced.line(),
                statement: statement.value,
            })),
            Err(problem) => broken.push((file.to_owned(), problem)),
        }
    }
    if broken.is_empty() { Ok(found) } else { Err(broken) }
}

impl Stated {
    /// `memory.test.yaml:12`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The claim; `load` gives another version of the policies.
    pub fn claim(
        &self,
        bundle: &Bundle,
        load: &mut dyn FnMut(&VersionName) -> Result<Arc<Bundle>, String>,
    ) -> Result<Claim, StatedError> {
        let statement = &self.statement;
        let claim = if let Some(only) = &statement.never_errors {
            Claim::never_errors(bundle, &chosen(only)?)?
        } else if let Some(all) = &statement.none_needless {
            match chosen(all)?.as_slice() {
                [] => Claim::none_needless(),
                _ => return Err(CaseError::Statement("`none_needless` is about `all` policies").into()),
            }
        } else if let Some(about) = &statement.always_denies {
            meant(Claim::always_denies(bundle, about))?
        } else if let Some(about) = &statement.always_allows {
            meant(Claim::always_allows(bundle, about))?
        } else {
            self.compared(bundle, load)?
        };
        Ok(claim.named(statement.name.as_deref()).at(self.place()))
    }

    fn compared(
        &self,
        bundle: &Bundle,
        load: &mut dyn FnMut(&VersionName) -> Result<Arc<Bundle>, String>,
    ) -> Result<Claim, StatedError> {
        type Compare = fn(&Bundle, Arc<Bundle>, &str, &[String]) -> Result<Claim, CaseError>;
        let statement = &self.statement;
        let kinds: [(&Option<ComparedVersion>, Compare); 3] = [
            (&statement.no_more_permissive_than, Claim::no_more_permissive),
            (&statement.equivalent_to, Claim::equivalent),
            (&statement.disjoint_from, Claim::disjoint),
        ];
        let stated = kinds.into_iter().find_map(|(version, compare)| Some((version.as_ref()?, compare)));
        let (version, compare) = stated.ok_or(CaseError::Statement(ONE))?;
        let name = name(version)?;
        let other = load(&name).map_err(StatedError::Version)?;
        let (VersionName::Reference(shown) | VersionName::Folder(shown)) = &name;
        Ok(compare(bundle, other, shown, &version.except.0)?)
    }
}

/// What is said of a statement that states nothing, or several things.
const ONE: &str = "a statement states exactly one thing";

/// No name for `all`, else the names.
fn chosen(several: &Several) -> Result<Vec<String>, CaseError> {
    match several.0.as_slice() {
        [only] if only == ALL => Ok(Vec::new()),
        [] => Err(CaseError::Statement("name the policies, or write `all`")),
        names => Ok(names.to_vec()),
    }
}

/// A test may come with a pull request from outside: it names no folder elsewhere on the machine.
fn name(version: &ComparedVersion) -> Result<VersionName, CaseError> {
    match (&version.reference, &version.dir) {
        (Some(reference), None) => Ok(VersionName::Reference(reference.clone())),
        (None, Some(folder)) => {
            let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            match Path::new(folder).components().all(plain) {
                true => Ok(VersionName::Folder(folder.clone())),
                false => Err(CaseError::Statement("`dir` is a folder below this one")),
            }
        }
        (_, _) => Err(CaseError::Statement("a version is either a `ref` or a `dir`")),
    }
}

fn meant(claim: Result<Claim, CircumstancesError>) -> Result<Claim, StatedError> {
    claim.map_err(|error| match error {
        CircumstancesError::Name(error) => StatedError::Statement(error),
        CircumstancesError::Schema(errors) => StatedError::Schema(errors),
        error @ (CircumstancesError::Expression(..) | CircumstancesError::Nothing) => {
            StatedError::Condition(error.to_string())
        }
    })
}
