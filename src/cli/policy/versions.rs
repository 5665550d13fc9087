//! Other versions of the policies: a folder, a git commit, or what was published.
//!
//! Where the set stands beside the shipped one (`--config`), a folder or a commit has only its own part; the rest is that of the
//! configuration.

use std::path::{Path, PathBuf};

use super::folders::{POLICIES, PolicyFolders, SCHEMAS, configured};
use super::git;
use super::{render, show};
use crate::cli::output::Output;
use crate::policy::version::{VersionError, VersionSource as _, VersionStore, Wanted};
use crate::policy::{Bundle, Source, SourceKind, Sources};
use crate::text::clean;

/// Where other versions are looked for, and what they stand beside.
pub(super) struct Versions {
    base: PathBuf,
    /// The folders of a commit, below `base`.
    policies: String,
    schemas: String,
    /// The set of the configuration, when one was named.
    configured: Option<Sources>,
}

impl Versions {
    /// By the folders of the working directory, or by those that the configuration names.
    pub(super) fn of(base: &Path, folders: &PolicyFolders, output: &Output) -> anyhow::Result<Self> {
        let (mut policies, mut schemas, mut set) = (POLICIES.to_owned(), SCHEMAS.to_owned(), None);
        if let Some(settings) = folders.settings(output)? {
            set = Some(configured(&settings)?);
            let own = settings.policy_dir.as_deref().or(settings.schema_dir.as_deref());
            policies = below(base, own).unwrap_or(policies);
            schemas = below(base, settings.schema_dir.as_deref().or(own)).unwrap_or(schemas);
        }
        Ok(Self { base: base.to_owned(), policies, schemas, configured: set })
    }

    /// A folder when there is one of that name, else a published version, else a commit.
    pub(super) fn named(&self, named: &str, store: &VersionStore) -> anyhow::Result<Sources> {
        if self.base.join(named).is_dir() {
            return self.folder(named);
        }
        if let (true, Ok(wanted)) = (store.exists(), named.parse::<Wanted>()) {
            match store.find(&wanted) {
                Ok(found) => return Ok(store.sources(&found.manifest)?),
                // It can still be a commit.
                Err(VersionError::NotFound(_)) if matches!(wanted, Wanted::Digest(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.commit(named)
    }

    /// A folder with `policies` and, if they differ, `schemas` in it; or with the files themselves.
    pub(super) fn folder(&self, named: &str) -> anyhow::Result<Sources> {
        let folder = self.base.join(named);
        anyhow::ensure!(folder.is_dir(), "`{named}` has no folder `{POLICIES}`: there is no such folder");
        let inner = Some(folder.join(POLICIES)).filter(|inner| inner.is_dir());
        let policies = inner.unwrap_or_else(|| folder.clone());
        let schemas = Some(folder.join(SCHEMAS)).filter(|schemas| schemas.is_dir());
        let read = Sources::from_dirs(&policies, schemas.as_ref().unwrap_or(&policies))?;
        anyhow::ensure!(
            policies != folder || read.iter().any(|source| source.kind == SourceKind::Policy),
            "`{named}` has neither a folder `{POLICIES}` nor a `*.cedar` file"
        );
        Ok(self.complete(read))
    }

    /// A commit of the repository that the working directory is in.
    pub(super) fn commit(&self, named: &str) -> anyhow::Result<Sources> {
        Ok(self.complete(git::sources(&self.base, named, &self.policies, &self.schemas)?))
    }

    /// The same as a bundle; none when it is refused, and its problems have been shown.
    pub(super) fn bundle(
        &self,
        named: &str,
        store: &VersionStore,
        output: &Output,
    ) -> anyhow::Result<Option<Bundle>> {
        Ok(load(self.named(named, store)?, named, output))
    }

    fn complete(&self, read: Sources) -> Sources {
        let has_schema = read.iter().any(|source| source.kind == SourceKind::Schema);
        let Some(set) = &self.configured else {
            return if has_schema { read } else { read.with_shipped(SourceKind::Schema) };
        };
        let given = |source: &&Source| match source.kind {
            SourceKind::Policy | SourceKind::Links => source.is_built_in() || source.is_of_roles_file(),
            SourceKind::Schema => source.is_built_in() || !has_schema,
        };
        read.with_files(set.iter().filter(given).cloned())
    }
}

/// None when the policies are refused, and their problems have been shown.
pub(super) fn load(sources: Sources, named: &str, output: &Output) -> Option<Bundle> {
    match Bundle::load(sources) {
        Ok(bundle) => Some(bundle),
        Err(errors) => {
            show(errors.problems(), output);
            let fatal = errors.problems().iter().filter(|problem| problem.fatal).count();
            output.say(format_args!("{}: {}", clean(named), render::invalid(fatal)));
            None
        }
    }
}

/// The path of a folder below `base`, as git names it there.
fn below(base: &Path, folder: Option<&Path>) -> Option<String> {
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let folder = folder?.canonicalize().ok()?;
    Some(folder.strip_prefix(base.canonicalize().ok()?).ok()?.to_str()?.to_owned())
}
