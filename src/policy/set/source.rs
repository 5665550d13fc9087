//! The texts a bundle is made of, in an order that does not depend on how they were found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::error::PolicyError;
use super::links::is_links_file;
use super::settings::Limits;
use super::shipped;
use crate::model::{EntityUid, PolicyVersion};

/// What a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Cedar schema (`*.cedarschema`, or Cedar's JSON form in `*.cedarschema.json`).
    Schema,
    /// Cedar policies and templates (`*.cedar`).
    Policy,
    /// Links, which make policies of templates (`*.links.yaml`, `*.links.json`).
    Links,
}

impl SourceKind {
    /// The directory that files of this kind lie in.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Schema => "schemas",
            Self::Policy | Self::Links => "policies",
        }
    }
}

/// One text with its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it holds.
    pub kind: SourceKind,
    /// Its path below the directory of its kind, with `/` between parts. Goes into the version.
    pub name: Arc<str>,
    /// Its path as a person knows it; for messages only.
    pub path: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

impl Source {
    /// Whether it was compiled from a file of roles.
    pub fn is_of_roles_file(&self) -> bool {
        &*self.name == super::roles::NAME
    }

    fn marked_built_in(self) -> Self {
        Self { path: format!("{}{}", shipped::BUILT_IN, self.path).into(), ..self }
    }

    /// Whether it came with the program rather than from a folder. Of a published version, that is an unchanged copy in the
    /// layer that it extends.
    pub fn is_built_in(&self) -> bool {
        self.path.starts_with(shipped::BUILT_IN)
            || self.name.starts_with(shipped::LAYER) && shipped::is_shipped(self)
    }
}

/// A policy made from a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The `@id` of the template.
    pub template: String,
    /// The id of the new policy.
    pub id: String,
    /// What stands for `?principal`.
    pub principal: Option<EntityUid>,
    /// What stands for `?resource`.
    pub resource: Option<EntityUid>,
}

/// Everything a bundle is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
    links: Vec<Link>,
}

impl Sources {
    /// No texts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `*.cedar` and files of links under `policy_dir` and `*.cedarschema` under `schema_dir`, with sub-directories
    /// (`schemas/tools/`), within the default bounds. Hidden files are left out.
    pub fn from_dirs(policy_dir: &Path, schema_dir: &Path) -> Result<Self, PolicyError> {
        Self::from_dirs_within(policy_dir, schema_dir, &Limits::default())
    }

    /// The same within given bounds.
    pub fn from_dirs_within(
        policy_dir: &Path,
        schema_dir: &Path,
        limits: &Limits,
    ) -> Result<Self, PolicyError> {
        let mut sources = Self::new();
        let schemas = |name: &str| name.ends_with(".cedarschema") || name.ends_with(".cedarschema.json");
        for path in find(schema_dir, limits, &schemas)? {
            sources.files.push(read(SourceKind::Schema, schema_dir, path, limits)?);
        }
        for path in find(policy_dir, limits, &|name| name.ends_with(".cedar"))? {
            sources.files.push(read(SourceKind::Policy, policy_dir, path, limits)?);
        }
        for path in find(policy_dir, limits, &is_links_file)? {
            sources.files.push(read(SourceKind::Links, policy_dir, path, limits)?);
        }
        sources.sort();
        Ok(sources)
    }

    /// The policies and schema that come with the program.
    pub fn shipped() -> Self {
        let schemas = shipped::SCHEMAS.iter().map(|(name, text)| (SourceKind::Schema, *name, *text));
        let policies = shipped::POLICIES.iter().map(|(name, text)| (SourceKind::Policy, *name, *text));
        schemas
            .chain(policies)
            .fold(Self::new(), |sources, (kind, name, text)| sources.with(kind, name, text))
    }

    /// A set of named texts, in any order.
    pub fn from_texts(texts: impl IntoIterator<Item = (SourceKind, Arc<str>, Arc<str>)>) -> Self {
        let file = |(kind, name, text): (SourceKind, Arc<str>, Arc<str>)| {
            let path = format!("{}/{name}", kind.directory()).into();
            Source { kind, name, path, text }
        };
        let mut sources = Self { files: texts.into_iter().map(file).collect(), links: Vec::new() };
        sources.sort();
        sources
    }

    /// Adds the texts of one kind that come with the program.
    #[must_use]
    pub fn with_shipped(self, kind: SourceKind) -> Self {
        let shipped = Self::shipped().files.into_iter().filter(|source| source.kind == kind);
        let mut sources = self;
        sources.files.extend(shipped.map(Source::marked_built_in));
        sources.sort();
        sources
    }

    /// Adds files as they are.
    #[must_use]
    pub fn with_files(mut self, files: impl IntoIterator<Item = Source>) -> Self {
        self.files.extend(files);
        self.sort();
        self
    }

    /// Adds a schema text.
    #[must_use]
    pub fn with_schema(self, name: &str, text: &str) -> Self {
        self.with(SourceKind::Schema, name, text)
    }

    /// Adds a text of policies.
    #[must_use]
    pub fn with_policy(self, name: &str, text: &str) -> Self {
        self.with(SourceKind::Policy, name, text)
    }

    /// Adds a file of links.
    #[must_use]
    pub fn with_links_file(self, name: &str, text: &str) -> Self {
        self.with(SourceKind::Links, name, text)
    }

    /// Adds a policy made from a template.
    #[must_use]
    pub fn with_link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    fn with(mut self, kind: SourceKind, name: &str, text: &str) -> Self {
        let path = format!("{}/{name}", kind.directory()).into();
        self.files.push(Source { kind, name: name.into(), path, text: text.into() });
        self.sort();
        self
    }

    /// The policies and schemas that come with the program, as a layer below these: each file keeps its own name, and
    /// theirs begin with `shipped/`.
    #[must_use]
    pub fn extending_shipped(mut self) -> Self {
        let layer = Self::shipped().files.into_iter().map(|file| Source {
            name: format!("{}{}", shipped::LAYER, file.name).into(),
            ..file.marked_built_in()
        });
        self.files.extend(layer);
        self.sort();
        self
    }

    /// The same set, which shares with `other` what is in both: of what stays over a reload there is one text in memory.
    pub(crate) fn sharing(mut self, other: &Self) -> Self {
        for file in &mut self.files {
            let place = (file.kind, &file.name);
            let at = other.files.binary_search_by(|known| (known.kind, &known.name).cmp(&place)).ok();
            let known = at.and_then(|at| other.files.get(at));
            if let Some(known) = known.filter(|known| known.path == file.path && known.text == file.text) {
                *file = known.clone();
            }
        }
        self
    }

    pub(crate) fn map(mut self, change: impl Fn(Source) -> Source) -> Self {
        self.files = self.files.into_iter().map(change).collect();
        self
    }

    fn sort(&mut self) {
        self.files.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    }

    /// The texts: schemas, then policies, then links, each by name.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// The links that were added one by one, in that order; those of files are texts.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// SHA-256 over kinds, names and bytes. Every part carries its length, so that no two different sets of
    /// files have the same input.
    pub fn version(&self) -> PolicyVersion {
        let mut digest = Context::new(&SHA256);
        let mut part = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(b"caxton policy bundle 1");
        for file in &self.files {
            part(match file.kind {
                SourceKind::Schema => b"schema",
                SourceKind::Policy => b"policy",
                SourceKind::Links => b"links ",
            });
            part(file.name.as_bytes());
            part(file.text.as_bytes());
        }
        for link in &self.links {
            part(b"link");
            part(link.template.as_bytes());
            part(link.id.as_bytes());
            for slot in [&link.principal, &link.resource] {
                part(slot.as_ref().map(EntityUid::to_string).unwrap_or_default().as_bytes());
            }
        }
        PolicyVersion::from_hex(&hex::encode(digest.finish()))
    }
}

/// The files under `root` whose name fits, not hidden, links followed (Kubernetes mounts files as links).
fn find(root: &Path, limits: &Limits, fits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, PolicyError> {
    let mut found = Vec::new();
    let mut seen = 0_usize;
    let mut pending = vec![(root.to_owned(), 0_usize)];
    while let Some((directory, depth)) = pending.pop() {
        let unreadable = |source| PolicyError::Read { path: directory.clone(), source };
        if depth > limits.depth {
            return Err(PolicyError::TooDeep { path: directory, limit: limits.depth });
        }
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(PolicyError::NotText { path });
            };
            if name.starts_with('.') {
                continue;
            }
            seen += 1;
            if seen > limits.files {
                return Err(PolicyError::TooMany { path: root.to_owned(), limit: limits.files });
            }
            let metadata = std::fs::metadata(&path)
                .map_err(|source| PolicyError::Read { path: path.clone(), source })?;
            if metadata.is_dir() {
                pending.push((path, depth + 1));
            } else if fits(name) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn read(kind: SourceKind, root: &Path, path: PathBuf, limits: &Limits) -> Result<Source, PolicyError> {
    let text = read_text(&path, limits)?;
    let parts: Option<Vec<&str>> =
        path.strip_prefix(root).unwrap_or(&path).components().map(|part| part.as_os_str().to_str()).collect();
    let Some(parts) = parts else { return Err(PolicyError::NotText { path }) };
    Ok(Source {
        kind,
        name: parts.join("/").into(),
        path: path.display().to_string().into(),
        text: text.into(),
    })
}

/// A file as text, within the bound.
pub(crate) fn read_text(path: &Path, limits: &Limits) -> Result<String, PolicyError> {
    let path = path.to_owned();
    let unreadable = |source| PolicyError::Read { path: path.clone(), source };
    // One byte more than allowed, so that a file that grows while it is read is seen as well.
    let most = u64::try_from(limits.file_bytes).unwrap_or(u64::MAX);
    let bytes = crate::regular::read(&path, most).map_err(unreadable)?;
    if bytes.len() > limits.file_bytes {
        return Err(PolicyError::TooLarge { path, limit: limits.file_bytes });
    }
    String::from_utf8(bytes).map_err(|_| PolicyError::NotText { path })
}
