//! Where the live policies are read from: directories, or the newest publication of a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::PolicyVersion;
use crate::policy::live::Origin;
use crate::policy::version::{
    BundleFile, Published, Rules, Seen, TrustedKeys, VersionError, VersionStore, Wanted,
};
use crate::policy::{Limits, PolicyError, SourceKind, Sources};

/// Schema texts by name that come from elsewhere: the fragments of servers whose tools are not pinned in files.
pub type Fragments = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// Where policies and schemas are.
#[derive(Debug, Clone)]
pub enum Place {
    /// Directories; `None` is the shipped part.
    Files {
        /// Policies.
        policy_dir: Option<PathBuf>,
        /// Schemas.
        schema_dir: Option<PathBuf>,
        /// Whether both stand beside the shipped set, or in its place.
        extend_shipped: bool,
        /// Roles with permission words, compiled to policies.
        roles_file: Option<PathBuf>,
    },
    /// Published versions; the newest decides.
    Store {
        /// The store.
        store: VersionStore,
        /// The keys of which one must have signed; `None`: nobody has to. Read anew each time, so that keys can rotate.
        trusted_keys: Option<PathBuf>,
    },
}

/// Why nothing could be read. The live set stays.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The files.
    #[error(transparent)]
    Files(#[from] PolicyError),
    /// The publication.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// A set that was read and may go live once it is valid.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) sources: Sources,
    pub(super) origin: Origin,
    /// The version without what tool servers say of themselves, where they say anything.
    pub(super) stored: Option<PolicyVersion>,
    pub(super) expires_millis: Option<u64>,
}

/// Reads what should decide.
#[derive(Clone)]
pub struct Places {
    /// Where from.
    pub place: Place,
    /// What is added.
    pub fragments: Fragments,
    /// A folder with `policies` and, if they differ, `schemas`: the set that is asked as well.
    pub candidate_dir: Option<PathBuf>,
}

impl Places {
    /// What should decide now.
    pub(super) fn read(&self, seen: Option<Seen>, now_millis: i64) -> Result<Offered, PlaceError> {
        self.read_under(&self.rules(seen)?, None, now_millis)
    }

    /// What a gateway starts with; under the emergency lock, the version that it names.
    pub(super) fn read_first(
        &self,
        seen: Option<Seen>,
        only: Option<&PolicyVersion>,
        now_millis: i64,
    ) -> Result<Offered, PlaceError> {
        // A version that was live when the lock was engaged need not be the newest that was accepted.
        let rules = self.rules(seen.filter(|_| only.is_none()))?;
        self.read_under(&Rules { expired_too: true, ..rules }, only, now_millis)
    }

    fn read_under(
        &self,
        rules: &Rules,
        only: Option<&PolicyVersion>,
        now_millis: i64,
    ) -> Result<Offered, PlaceError> {
        match &self.place {
            Place::Files { policy_dir, schema_dir, .. } => {
                let files = self.of_folders(policy_dir.as_ref(), schema_dir.as_ref())?;
                let (sources, stored) = self.with_fragments(files);
                Ok(Offered { sources, origin: Origin::Files, stored, expires_millis: None })
            }
            Place::Store { store, .. } => {
                let published = match only {
                    Some(version) => store.find(&Wanted::Digest(version.as_str().to_owned()))?,
                    None => store.newest()?,
                };
                let sources = store.sources(&published.manifest)?;
                self.offer(&published, sources, rules, now_millis)
            }
        }
    }

    /// The candidate, when there is one.
    pub(super) fn candidate(&self) -> Result<Option<Sources>, PolicyError> {
        let Some(folder) = &self.candidate_dir else { return Ok(None) };
        let (policies, schemas) = (folder.join("policies"), folder.join("schemas"));
        let files = self.of_folders(Some(&policies), Some(&schemas).filter(|schemas| schemas.is_dir()))?;
        Ok(Some(self.with_fragments(files).0))
    }

    /// What folders hold, with everything in files that the configuration puts beside it.
    fn of_folders(
        &self,
        policies: Option<&PathBuf>,
        schemas: Option<&PathBuf>,
    ) -> Result<Sources, PolicyError> {
        let (beside, roles) = match &self.place {
            Place::Files { extend_shipped, roles_file, .. } => (*extend_shipped, roles_file.as_ref()),
            Place::Store { .. } => (false, None),
        };
        let own = if beside { beside_shipped(policies, schemas)? } else { files(policies, schemas)? };
        match roles {
            Some(roles) => own.with_roles_file(roles, &Limits::default()),
            None => Ok(own),
        }
    }

    /// The set that is there now, judged and not yet parsed, for those that only look.
    pub fn look(&self, now_millis: i64) -> Result<Sources, PlaceError> {
        Ok(self.read(None, now_millis)?.sources)
    }

    /// A publication, held against the rules.
    fn offer(
        &self,
        published: &Published,
        sources: Sources,
        rules: &Rules,
        now_millis: i64,
    ) -> Result<Offered, PlaceError> {
        let accepted = rules.accept(published, now_millis)?;
        let origin = Origin::Published { seen: accepted.seen, key_id: accepted.key_id };
        let (sources, stored) = self.with_fragments(sources);
        Ok(Offered { sources, origin, stored, expires_millis: accepted.expires_millis })
    }

    /// The same for one that came in a file.
    pub(super) fn offer_bundle(
        &self,
        bundle: &BundleFile,
        seen: Option<Seen>,
        now_millis: i64,
    ) -> Result<Offered, PlaceError> {
        self.offer(bundle.published(), bundle.sources().clone(), &self.rules(seen)?, now_millis)
    }

    fn rules(&self, seen: Option<Seen>) -> Result<Rules, VersionError> {
        let trusted = match &self.place {
            Place::Store { trusted_keys: Some(path), .. } => Some(TrustedKeys::read(path)?),
            Place::Store { trusted_keys: None, .. } | Place::Files { .. } => None,
        };
        Ok(Rules { trusted, seen, expired_too: false })
    }

    /// The store and whether its publications must be signed; `None` when policies come from directories.
    pub fn store(&self) -> Option<(&VersionStore, bool)> {
        match &self.place {
            Place::Store { store, trusted_keys } => Some((store, trusted_keys.is_some())),
            Place::Files { .. } => None,
        }
    }

    /// A set with what tool servers say of themselves, and its version without that when they say anything.
    fn with_fragments(&self, sources: Sources) -> (Sources, Option<PolicyVersion>) {
        let fragments = (self.fragments)();
        let stored = (!fragments.is_empty()).then(|| sources.version());
        (fragments.iter().fold(sources, |sources, (name, text)| sources.with_schema(name, text)), stored)
    }
}

/// What directories hold, beside the whole shipped set.
fn beside_shipped(
    policy_dir: Option<&PathBuf>,
    schema_dir: Option<&PathBuf>,
) -> Result<Sources, PolicyError> {
    Ok(match (policy_dir.or(schema_dir), schema_dir.or(policy_dir)) {
        (Some(policies), Some(schemas)) => Sources::from_dirs(policies, schemas)?.extending_shipped(),
        _ => Sources::shipped(),
    })
}

/// Policies and schemas from directories; what no directory is given for is the shipped part.
pub fn files(policy_dir: Option<&PathBuf>, schema_dir: Option<&PathBuf>) -> Result<Sources, PolicyError> {
    Ok(match (policy_dir, schema_dir) {
        (None, None) => Sources::shipped(),
        (Some(policies), Some(schemas)) => Sources::from_dirs(policies, schemas)?,
        (Some(policies), None) => Sources::from_dirs(policies, policies)?.with_shipped(SourceKind::Schema),
        (None, Some(schemas)) => Sources::from_dirs(schemas, schemas)?.with_shipped(SourceKind::Policy),
    })
}
