//! The configuration: read completely, with every mistake reported, before anything starts.
//!
//! A file (YAML or TOML) and the environment become [`Settings`], or [`Problems`]: all of them in one run, each with
//! file, line, column, key and what to do. An unknown key, a key of a later version, and a value that would weaken a
//! protection are mistakes: what an operator asked for is either in force or refused, never ignored.
//!
//! A relative path, given or by default, is taken from the directory of the file; without a file, from the working
//! directory.
//!
//! ```
//! use caxton::config::{Environment, DocumentFormat, read};
//!
//! let environment = Environment::from_iter([("PORT", "8081")]);
//! let loaded = read("server: { port: \"${PORT}\" }", DocumentFormat::Yaml, None, &environment).expect("no mistakes");
//! assert_eq!(loaded.settings.listen.port(), 8081);
//!
//! let problems = read("server: { prot: 1 }", DocumentFormat::Yaml, None, &environment).err().expect("a mistake");
//! assert_eq!(problems.problems[0].help.as_deref(), Some("did you mean `server.port`?"));
//! ```

mod always_on;
mod document;
mod env_overrides;
mod environment;
mod expand;
mod gateway;
mod problem;
mod reader;
mod reference;
mod schema;
mod security_check;
mod settings;
mod unknown_keys;
mod unsupported;
mod value_type;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use document::{DocumentFormat, MAX_BYTES};
pub use environment::Environment;
pub use gateway::{
    FollowSettings, HttpLimits, MinVersion, OcspSettings, PublishedSettings, RemoteSettings, Settings,
    TlsSettings,
};
pub use problem::{ConfigProblem, Position, ProblemCode, Problems};
pub use reader::{EffectiveValue, KeyInfo, KeyStatus, ValueSource};
pub use reference::reference;
pub use schema::json_schema;
pub use security_check::{Weakness, security_check};
pub use settings::{LogLevel, ProcessSettings};
pub use unsupported::{UNSUPPORTED, UnsupportedKey};

use document::{Node, Value};
use expand::Variables;
use reader::Reader;
use settings::Configuration;

/// Where the configuration is looked for when none is named.
pub const SYSTEM_FILE: &str = "/etc/caxton/caxton.yaml";

/// A configuration without mistakes.
pub struct LoadedConfig {
    /// What a gateway is built from.
    pub settings: Settings,
    /// What it says of the process around the gateway.
    pub process: ProcessSettings,
    /// The file it came from; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// Each value in force and where it came from; secrets are masked.
    pub values: Vec<EffectiveValue>,
    /// What the operator should know.
    pub warnings: Problems,
    /// Whether the file may be read by others than its owner and holds a secret as text.
    file_facts: security_check::FileFacts,
}

impl fmt::Debug for LoadedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("file", &self.file)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

/// The file to use: the one that is named, else [`SYSTEM_FILE`] if there is one, else none.
pub fn locate(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        // A file that may be there but cannot be looked at must not be passed over.
        None => Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.try_exists().unwrap_or(true)),
    }
}

/// Reads and checks `file`, or with `None` the embedded defaults.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<LoadedConfig, Problems> {
    let Some(path) = file else {
        return read("", DocumentFormat::Yaml, None, environment);
    };
    let text = read_file(path)
        .map_err(|problem| Problems::new(Some(path.display().to_string()), None, vec![*problem]))?;
    let mut loaded = read(&text, DocumentFormat::of(path), Some(path), environment)?;
    loaded.file_facts.look_at(path);
    Ok(loaded)
}

/// Checks `text`. `file` is what it is called and where its relative paths begin.
pub fn read(
    text: &str,
    format: DocumentFormat,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<LoadedConfig, Problems> {
    let (root, syntax) = document::parse(text, format);
    let (overrides, switch_problems) = env_overrides::read(environment);
    let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let variables = Variables { environment, vault_names: vault_names(&root), base };
    let mut reader = Reader::new(text, &root, &variables, &overrides, base);
    let Configuration { gateway: settings, process } = settings::read(&mut reader);
    reader.check_key_names(&root);
    // Text that could not be parsed may be a secret.
    let broken = syntax.iter().any(|problem| problem.code == ProblemCode::Syntax);
    let shown = (!broken).then(|| {
        let mut keep = reader.shown_ranges(&root);
        keep.extend(syntax.iter().filter_map(ConfigProblem::repeated));
        problem::redact(text, &keep)
    });
    let file_facts = security_check::FileFacts::of(&reader, &root);
    let mut problems = reader.problems;
    let mut values = reader.values;
    values.sort_by(|a, b| a.key.cmp(&b.key));
    // After a mistake of form, a missing key may just stand in the part that could not be read, and what is left of
    // the line means nothing.
    if broken {
        let lines: Vec<_> = syntax.iter().filter_map(|problem| Some(problem.position?.line)).collect();
        let on_line =
            |problem: &ConfigProblem| problem.position.is_some_and(|place| lines.contains(&place.line));
        problems.retain(|problem| problem.code != ProblemCode::Missing && !on_line(problem));
    }
    problems.extend(syntax);
    problems.extend(switch_problems);
    let name = file.map(|path| path.display().to_string());
    let failed = problems.iter().any(|problem| !problem.warning);
    let problems = Problems::new(name, shown, problems);
    if failed {
        return Err(problems);
    }
    let file = file.map(Path::to_owned);
    Ok(LoadedConfig { settings, process, file, values, warnings: problems, file_facts })
}

/// The names under which the vault's secrets will be there; until then a text stands for each that nothing can use.
fn vault_names(root: &Node) -> Vec<String> {
    let Some(Value::List(secrets)) = root.find("security.vault.secrets").map(|node| &node.value) else {
        return Vec::new();
    };
    let name = |secret: &Node| match &secret.find("env")?.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Empty | Value::List(_) | Value::Section(_) => None,
    };
    secrets.iter().filter_map(name).collect()
}

/// Every key of this version, in the order of the reference.
pub fn keys() -> Vec<KeyInfo> {
    let root = Node::nothing();
    let environment = Environment::default();
    let variables = Variables { environment: &environment, vault_names: Vec::new(), base: Path::new("") };
    let mut reader = Reader::new("", &root, &variables, &[], Path::new(""));
    settings::read(&mut reader);
    reader.keys
}

fn read_file(path: &Path) -> Result<String, Box<ConfigProblem>> {
    let unreadable = |message: String| Box::new(ConfigProblem::error(ProblemCode::Unreadable, message));
    let file = crate::regular::open(path).map_err(|error| {
        let message = format!("`{}` cannot be read: {}", path.display(), plain(&error));
        let help = "check the path, and that this user may read the file";
        Box::new(ConfigProblem::error(ProblemCode::Unreadable, message).with_help(help))
    })?;
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(format!("`{}` cannot be read: {}", path.display(), plain(&error))))?;
    String::from_utf8(bytes).map_err(|error| {
        unreadable(format!(
            "byte {} is not UTF-8: save the file as UTF-8",
            error.utf8_error().valid_up_to() + 1
        ))
    })
}

/// The system's message without its error number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => String::from("there is no such file"),
        std::io::ErrorKind::PermissionDenied => String::from("permission denied"),
        _ => error.to_string(),
    }
}
