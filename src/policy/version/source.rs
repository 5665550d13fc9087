//! Where published versions come from: a port, because the gateways of a fleet decide by the same ones.
//!
//! It stands here and not with the other ports, because it speaks of manifests and policy texts. Every method may wait for
//! a disk or a network: policies are read on a thread of their own, never while a request is decided.

use std::fmt;

use super::bundle_file::BundleFile;
use super::error::VersionError;
use super::manifest::{Manifest, Published};
use crate::policy::Sources;

/// The fewest digits that name a version.
const FEWEST_DIGITS: usize = 6;

/// How a person names a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `current`: the newest publication.
    Current,
    /// `previous`: the set that was live before the newest.
    Previous,
    /// `@12`: the publication with this number.
    Number(u64),
    /// The first digits of a version.
    Digest(String),
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match text {
            "current" => Ok(Self::Current),
            "previous" => Ok(Self::Previous),
            _ => match text.strip_prefix('@').map(str::parse) {
                Some(Ok(number)) => Ok(Self::Number(number)),
                None if text.len() >= FEWEST_DIGITS && text.len() <= 64 && is_hex(text) => {
                    Ok(Self::Digest(text.to_owned()))
                }
                _ => Err(format!(
                    "a version is `current`, `previous`, a number like `@12`, or at least {FEWEST_DIGITS} digits of its digest"
                )),
            },
        }
    }
}

/// Published versions: each has a number, and what is live is the one with the highest.
///
/// Adding is atomic: a publication is there whole with its texts, or not at all, and of two that publish at once one takes
/// the number. What comes out is what went in, byte for byte, or an error; an error leaves the live set in force.
pub trait VersionSource: fmt::Debug + Send + Sync + 'static {
    /// The numbers of all publications, oldest first.
    fn numbers(&self) -> Result<Vec<u64>, VersionError>;

    /// The publication with this number.
    fn read(&self, sequence: u64) -> Result<Published, VersionError>;

    /// The texts of a publication, each held against its digest.
    fn sources(&self, manifest: &Manifest) -> Result<Sources, VersionError>;

    /// Keeps a publication with its texts. It is live as soon as this returns, or it is not there at all.
    fn add(&self, published: &Published, sources: &Sources) -> Result<(), VersionError>;

    /// Replaces the signatures of a publication that is there.
    fn resign(&self, published: &Published) -> Result<(), VersionError>;

    /// Differs from what it was whenever another publication is the newest, or has other signatures; `None` when there is
    /// none.
    fn revision(&self) -> Result<Option<String>, VersionError>;

    /// Where they are, for messages.
    fn place(&self) -> String;

    /// The newest publication, which is what is live.
    fn newest(&self) -> Result<Published, VersionError> {
        match self.numbers()?.last() {
            Some(number) => self.read(*number),
            None => Err(VersionError::Empty(self.place())),
        }
    }

    /// All publications, newest first.
    fn history(&self) -> Result<Vec<Published>, VersionError> {
        self.numbers()?.into_iter().rev().map(|number| self.read(number)).collect()
    }

    /// The newest publication of the named version.
    fn find(&self, wanted: &Wanted) -> Result<Published, VersionError> {
        match wanted {
            Wanted::Current => self.newest(),
            Wanted::Number(number) => self.read(*number),
            Wanted::Previous => {
                let parent = self.newest()?.manifest.parent;
                let parent = parent.ok_or_else(|| VersionError::NotFound("previous".to_owned()))?;
                self.find(&Wanted::Digest(parent.as_str().to_owned()))
            }
            Wanted::Digest(digits) => {
                let history = self.history()?;
                let mut found =
                    history.into_iter().filter(|one| one.manifest.version.as_str().starts_with(digits));
                let Some(first) = found.next() else { return Err(VersionError::NotFound(digits.clone())) };
                match found.all(|other| other.manifest.version == first.manifest.version) {
                    true => Ok(first),
                    false => Err(VersionError::Ambiguous(digits.clone())),
                }
            }
        }
    }

    /// A publication in one file.
    fn bundle(&self, published: Published) -> Result<BundleFile, VersionError> {
        let sources = self.sources(&published.manifest)?;
        BundleFile::new(published, sources)
    }

    /// Gives a manifest the next number, and the live version as its parent.
    fn next(&self, mut manifest: Manifest) -> Result<Manifest, VersionError> {
        let newest = match self.newest() {
            Ok(newest) => Some(newest.manifest),
            Err(VersionError::Empty(_)) => None,
            Err(error) => return Err(error),
        };
        manifest.sequence = newest.as_ref().map_or(0, |newest| newest.sequence).saturating_add(1);
        manifest.parent = newest.map(|newest| newest.version);
        Ok(manifest)
    }
}
