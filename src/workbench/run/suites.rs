//! Where test files come from: a folder, files named one by one, or the set that is built in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::workbench::case::{CaseError, Gate, SuiteFile};

/// The most test files of one run.
const MAX_FILES: usize = 10_000;
/// The deepest folder below the first.
const MAX_DEPTH: usize = 8;
/// The most bytes read of one file; the parser's own bound is lower and says so better.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why test files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SuitesError {
    /// The system refused.
    #[error("`{path}` cannot be read")]
    Read {
        /// Which file or folder.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Larger than the bound.
    #[error("`{path}` is larger than {MAX_BYTES} bytes")]
    TooLarge {
        /// Which file.
        path: String,
    },
    /// A folder of tests whose name hides it.
    #[error("`{path}` is hidden and has tests: move them, or name the folder to run them")]
    Hidden {
        /// Which folder.
        path: String,
    },
    /// A YAML file among the tests that is none by its name.
    #[error(
        "`{path}` is in the test folder but is not a test file: name it `*.test.yaml` or `*.fixtures.yaml`, or move it"
    )]
    Name {
        /// Which file.
        path: String,
    },
    /// A folder that was named and has no tests.
    #[error("`{path}` has no file `*.test.yaml`")]
    Nothing {
        /// Which folder.
        path: String,
    },
    /// More files or folders than the bound.
    #[error("`{path}` has more than {MAX_FILES} test files or is deeper than {MAX_DEPTH} folders")]
    TooMany {
        /// Which folder.
        path: String,
    },
}

/// Test files and their fixtures, in the order of their names.
#[derive(Debug, Default)]
pub struct Suites {
    files: BTreeMap<String, String>,
    fixtures: BTreeMap<String, String>,
    on_disk: bool,
}

/// What test files promise besides their tests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Promises {
    /// Statements that are to be proved.
    pub statements: usize,
    /// How good the tests have to be: of all files, the highest.
    pub gate: Gate,
}

macro_rules! built_in {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../policy-tests/", $file)))),*]
    };
}

/// The tests of the shipped policies.
pub(super) const SHIPPED: &[(&str, &str)] = built_in![
    "agents.test.yaml",
    "auth.test.yaml",
    "common.fixtures.yaml",
    "memory.test.yaml",
    "messages.test.yaml",
    "on-behalf.test.yaml",
    "permissions.test.yaml",
    "roles.test.yaml",
    "screening.test.yaml",
    "sessions.test.yaml",
    "system.test.yaml",
    "tools.test.yaml",
];

impl Suites {
    /// The tests that come with the program.
    pub fn shipped() -> Self {
        let mut suites = Self::default();
        for (name, text) in SHIPPED {
            suites.add(name, *text);
        }
        suites
    }

    /// The same as files, with their fixtures.
    pub fn shipped_files() -> impl Iterator<Item = (&'static str, &'static str)> {
        SHIPPED.iter().copied()
    }

    /// All `*.test.yaml` and `*.test.yml` files in a folder and the folders in it.
    pub fn from_dir(folder: &Path) -> Result<Self, SuitesError> {
        let mut paths = Vec::new();
        collect(folder, 0, &mut paths)?;
        Self::from_files(&paths)
    }

    /// Files as named; a folder stands for the files in it.
    pub fn from_files(paths: &[PathBuf]) -> Result<Self, SuitesError> {
        let mut suites = Self { on_disk: true, ..Self::default() };
        for path in paths {
            if path.is_dir() {
                let found = Self::from_dir(path)?.files;
                if found.is_empty() {
                    return Err(SuitesError::Nothing { path: path.display().to_string() });
                }
                suites.files.extend(found);
            } else {
                suites.files.insert(path.display().to_string(), read(path)?);
            }
        }
        Ok(suites)
    }

    /// Adds a file by name; `*.fixtures.yaml` is there for others to name.
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        let table = if name.ends_with(".fixtures.yaml") { &mut self.fixtures } else { &mut self.files };
        table.insert(name.to_owned(), text.into());
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Names and texts of the test files.
    pub(in crate::workbench) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// What the files promise besides their tests. A file that cannot be read promises nothing, and running it says so.
    pub fn promises(&self) -> Promises {
        let yaml = self.files().filter(|(file, _)| !file.ends_with(".json"));
        let suites = yaml.filter_map(|(_, text)| SuiteFile::parse(text).ok());
        suites.fold(Promises::default(), |promises, suite| Promises {
            statements: promises.statements + suite.prove.len(),
            gate: suite.gate.map_or(promises.gate, |gate| promises.gate.and(gate.value)),
        })
    }

    /// The text of a fixture file that a test file names. It lies beside the test file or below: a test that came
    /// with a pull request must not read other files of the machine that runs it.
    pub(super) fn fixture(&self, file: &str, name: &str) -> Result<String, CaseError> {
        let refused = |why: &str| CaseError::Fixture { name: name.to_owned(), why: why.to_owned() };
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(refused("it has to lie beside the test file or below"));
        }
        if !name.ends_with(".fixtures.yaml") {
            return Err(refused("its name has to end in `.fixtures.yaml`"));
        }
        let path = Path::new(file).with_file_name(name);
        match self.fixtures.get(&path.display().to_string()) {
            Some(text) => Ok(text.clone()),
            None if self.on_disk => read(&path).map_err(|error| refused(&cause(&error))),
            None => Err(refused("there is no such file")),
        }
    }
}

fn cause(error: &SuitesError) -> String {
    match error {
        SuitesError::Read { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn read(path: &Path) -> Result<String, SuitesError> {
    let failed = |source| SuitesError::Read { path: path.display().to_string(), source };
    let bytes = crate::regular::read(path, MAX_BYTES).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SuitesError::TooLarge { path: path.display().to_string() });
    }
    let not_text = |_| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"));
    String::from_utf8(bytes).map_err(not_text)
}

/// The test files below a folder, links followed as for policies. A file or folder that looks like tests and is none by its
/// name is refused, never passed over.
fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), SuitesError> {
    let failed = |source| SuitesError::Read { path: folder.display().to_string(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // What `..data` and the like hold, Kubernetes has linked from outside.
        if name.starts_with("..") {
            continue;
        }
        let hidden = name.starts_with('.');
        // A link that leads nowhere is an error of its own.
        let about = fs::metadata(&path)
            .map_err(|source| SuitesError::Read { path: path.display().to_string(), source })?;
        if about.is_dir() && depth < MAX_DEPTH {
            let before = paths.len();
            collect(&path, depth + 1, paths)?;
            if hidden && paths.len() > before {
                return Err(SuitesError::Hidden { path: path.display().to_string() });
            }
        } else if about.is_dir() || paths.len() >= MAX_FILES {
            return Err(SuitesError::TooMany { path: folder.display().to_string() });
        } else if !hidden && is_test(&name) {
            paths.push(path);
        } else if !hidden && is_yaml(&name) && !name.ends_with(".fixtures.yaml") {
            return Err(SuitesError::Name { path: path.display().to_string() });
        }
    }
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}
