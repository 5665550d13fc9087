//! Where the live policies are read from: directories, or the newest publication of a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::PolicyVersion;
use crate::policy::live::Origin;
use crate::policy::version::{
    BundleFile, Published, Rules, Seen, TrustedKeys, VersionError, VersionSource, Wanted,
};
use crate::policy::{Limits, PolicyError, SourceKind, Sources};

/// Schema texts by name that come from elsewhere: the fragments of servers whose tools are not pinned in files.
pub type Fragments = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// Where the policies and schemas that decide are read from.
#[derive(Debug, Clone)]
pub enum PolicySource {
    /// Directories; `None` is the shipped part.
    Files {
        /// The directory of policies.
        policy_dir: Option<PathBuf>,
        /// The directory of schemas.
        schema_dir: Option<PathBuf>,
        /// Whether both stand beside the shipped set, or in its place.
        extend_shipped: bool,
        /// Roles with permission words, compiled to policies.
        roles_file: Option<PathBuf>,
    },
    /// Published versions; the newest decides.
    Store {
        /// The store.
        store: Arc<dyn VersionSource>,
        /// The keys of which one must have signed; `None`: no signature is needed. Read anew each time, so that keys can
        /// rotate.
        trusted_keys: Option<PathBuf>,
    },
}

/// Why no policy set could be read. The live set stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The files could not be read.
    #[error(transparent)]
    Files(#[from] PolicyError),
    /// The publication may not decide, or could not be read.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// A policy set that was read and accepted. It may become live once it is valid.
#[derive(Debug)]
pub(super) struct LoadedSources {
    pub(super) sources: Sources,
    pub(super) origin: Origin,
    /// The version without schema fragments of tool servers, where there are any.
    pub(super) stored: Option<PolicyVersion>,
    pub(super) expires_millis: Option<u64>,
}

/// Reads the policy set that should decide.
#[derive(Clone)]
pub struct PolicyLoader {
    /// Where it is read from.
    pub source: PolicySource,
    /// Schema fragments that are added to it.
    pub fragments: Fragments,
    /// A folder with `policies` and, if they differ, `schemas`: the candidate, which is evaluated beside the live set.
    pub candidate_dir: Option<PathBuf>,
}

impl PolicyLoader {
    /// The set that should decide now.
    pub(super) fn read(&self, seen: Option<Seen>, now_millis: i64) -> Result<LoadedSources, SourceError> {
        self.read_under(&self.rules(seen)?, None, now_millis)
    }

    /// The set that a gateway starts with; under the emergency lock, the version `only` that the lock names.
    pub(super) fn read_at_start(
        &self,
        seen: Option<Seen>,
        only: Option<&PolicyVersion>,
        now_millis: i64,
    ) -> Result<LoadedSources, SourceError> {
        // A version that was live when the lock was engaged need not be the newest that was accepted.
        let rules = self.rules(seen.filter(|_| only.is_none()))?;
        self.read_under(&Rules { expired_too: true, ..rules }, only, now_millis)
    }

    fn read_under(
        &self,
        rules: &Rules,
        only: Option<&PolicyVersion>,
        now_millis: i64,
    ) -> Result<LoadedSources, SourceError> {
        match &self.source {
            PolicySource::Files { policy_dir, schema_dir, .. } => {
                let folders = self.read_folders(policy_dir.as_ref(), schema_dir.as_ref())?;
                let (sources, stored) = self.with_fragments(folders);
                Ok(LoadedSources { sources, origin: Origin::Files, stored, expires_millis: None })
            }
            PolicySource::Store { store, .. } => {
                let published = match only {
                    Some(version) => store.find(&Wanted::Digest(version.as_str().to_owned()))?,
                    None => store.newest()?,
                };
                let sources = store.sources(&published.manifest)?;
                self.accept(&published, sources, rules, now_millis)
            }
        }
    }

    /// The candidate, when there is one.
    pub(super) fn candidate(&self) -> Result<Option<Sources>, PolicyError> {
        let Some(folder) = &self.candidate_dir else { return Ok(None) };
        let policies = folder.join("policies");
        let schemas = folder.join("schemas");
        let schemas = Some(&schemas).filter(|schemas| schemas.is_dir());
        let folders = self.read_folders(Some(&policies), schemas)?;
        Ok(Some(self.with_fragments(folders).0))
    }

    /// The files of these folders, with the shipped set and the roles file where the configuration asks for them.
    fn read_folders(
        &self,
        policies: Option<&PathBuf>,
        schemas: Option<&PathBuf>,
    ) -> Result<Sources, PolicyError> {
        let (extends_shipped, roles) = match &self.source {
            PolicySource::Files { extend_shipped, roles_file, .. } => (*extend_shipped, roles_file.as_ref()),
            PolicySource::Store { .. } => (false, None),
        };
        let own = if extends_shipped {
            extend_shipped_with(policies, schemas)?
        } else {
            sources_from_dirs(policies, schemas)?
        };
        match roles {
            Some(roles) => own.with_roles_file(roles, &Limits::default()),
            None => Ok(own),
        }
    }

    /// The set that is there now, accepted and not yet parsed, for commands that change nothing.
    pub fn current_sources(&self, now_millis: i64) -> Result<Sources, SourceError> {
        Ok(self.read(None, now_millis)?.sources)
    }

    /// Checks a publication against the rules.
    fn accept(
        &self,
        published: &Published,
        sources: Sources,
        rules: &Rules,
        now_millis: i64,
    ) -> Result<LoadedSources, SourceError> {
        let accepted = rules.accept(published, now_millis)?;
        let origin = Origin::Published { seen: accepted.seen, key_id: accepted.key_id };
        let (sources, stored) = self.with_fragments(sources);
        Ok(LoadedSources { sources, origin, stored, expires_millis: accepted.expires_millis })
    }

    /// The same for a publication in a bundle file.
    pub(super) fn accept_bundle(
        &self,
        bundle: &BundleFile,
        seen: Option<Seen>,
        now_millis: i64,
    ) -> Result<LoadedSources, SourceError> {
        self.accept(bundle.published(), bundle.sources().clone(), &self.rules(seen)?, now_millis)
    }

    fn rules(&self, seen: Option<Seen>) -> Result<Rules, VersionError> {
        let trusted = match &self.source {
            PolicySource::Store { trusted_keys: Some(path), .. } => Some(TrustedKeys::read(path)?),
            PolicySource::Store { trusted_keys: None, .. } | PolicySource::Files { .. } => None,
        };
        Ok(Rules { trusted, seen, expired_too: false })
    }

    /// The store and whether its publications must be signed; `None` when policies come from directories.
    pub fn store(&self) -> Option<(&dyn VersionSource, bool)> {
        match &self.source {
            PolicySource::Store { store, trusted_keys } => Some((&**store, trusted_keys.is_some())),
            PolicySource::Files { .. } => None,
        }
    }

    /// The set with the fragments of tool servers, and its version without them when there are any.
    fn with_fragments(&self, sources: Sources) -> (Sources, Option<PolicyVersion>) {
        let fragments = (self.fragments)();
        let stored = (!fragments.is_empty()).then(|| sources.version());
        (fragments.iter().fold(sources, |sources, (name, text)| sources.with_schema(name, text)), stored)
    }
}

/// The files of the directories beside the whole shipped set.
fn extend_shipped_with(
    policy_dir: Option<&PathBuf>,
    schema_dir: Option<&PathBuf>,
) -> Result<Sources, PolicyError> {
    Ok(match (policy_dir.or(schema_dir), schema_dir.or(policy_dir)) {
        (Some(policies), Some(schemas)) => Sources::from_dirs(policies, schemas)?.extending_shipped(),
        _ => Sources::shipped(),
    })
}

/// Policies and schemas from directories; what no directory is given for is the shipped part.
pub fn sources_from_dirs(
    policy_dir: Option<&PathBuf>,
    schema_dir: Option<&PathBuf>,
) -> Result<Sources, PolicyError> {
    Ok(match (policy_dir, schema_dir) {
        (None, None) => Sources::shipped(),
        (Some(policies), Some(schemas)) => with_a_schema(Sources::from_dirs(policies, schemas)?),
        (Some(policies), None) => Sources::from_dirs(policies, policies)?.with_shipped(SourceKind::Schema),
        (None, Some(schemas)) => {
            with_a_schema(Sources::from_dirs(schemas, schemas)?).with_shipped(SourceKind::Policy)
        }
    })
}

/// Fragments of tools (`schemas/tools`, which `caxton tools import` makes) extend a schema and are none: a directory with
/// nothing else leaves the shipped schema where it is.
fn with_a_schema(sources: Sources) -> Sources {
    let only_tools =
        sources.iter().all(|file| file.kind != SourceKind::Schema || file.name.starts_with("tools/"));
    if only_tools { sources.with_shipped(SourceKind::Schema) } else { sources }
}
