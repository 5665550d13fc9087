//! A version in one file: the manifest with its signatures, and every text. For carrying it to another host.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::VersionError;
use super::manifest::{Manifest, Published, Signature, sha256};
use crate::policy::{SourceKind, Sources};

/// The form of bundle files that this program writes and reads.
const FORMAT: &str = "caxton-policy-bundle/1";
/// What reading a bundle is called in messages.
const WHAT: &str = "the bundle";

/// A version with its texts. Made from a set that fits its manifest, or not at all.
#[derive(Debug, Clone)]
pub struct BundleFile {
    published: Published,
    sources: Sources,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    manifest: Manifest,
    #[serde(default)]
    signatures: Vec<Signature>,
    /// Texts by the SHA-256 of their bytes; a text that two files have stands once.
    texts: BTreeMap<String, Arc<str>>,
}

impl BundleFile {
    /// Puts a manifest and its texts together.
    pub fn new(published: Published, sources: Sources) -> Result<Self, VersionError> {
        published.check()?;
        fits(&published.manifest, &sources)?;
        Ok(Self { published, sources })
    }

    /// Reads a file: bounded, strict, and every text is the one that the manifest names. Whether a trusted key has signed
    /// it is for [`super::Rules`] to say.
    pub fn parse(bytes: &[u8], limit: u64) -> Result<Self, VersionError> {
        if bytes.len() as u64 > limit {
            return Err(VersionError::TooLarge { what: WHAT.to_owned(), limit });
        }
        let value = crate::json::parse(bytes).map_err(|error| VersionError::malformed(WHAT, error))?;
        Self::from_json(value)
    }

    /// The same from JSON that was read strictly; what no store would take or give back is refused here.
    pub fn from_json(value: serde_json::Value) -> Result<Self, VersionError> {
        let written: Written =
            serde_json::from_value(value).map_err(|error| VersionError::malformed(WHAT, error))?;
        if written.format != FORMAT {
            return Err(VersionError::malformed(WHAT, format!("its format is not `{FORMAT}`")));
        }
        let published = Published { manifest: written.manifest, signatures: written.signatures };
        published.check()?;
        let texts = written.texts;
        let named: HashSet<&str> = published.manifest.files.iter().map(|file| file.sha256.as_str()).collect();
        if !texts.keys().all(|digest| named.contains(digest.as_str())) {
            return Err(VersionError::Swapped("it has a text that its manifest does not name".to_owned()));
        }
        let sources = gather(&published.manifest, |digest| {
            let missing = || VersionError::Swapped(format!("the text {digest} is missing"));
            texts.get(digest).cloned().ok_or_else(missing)
        })?;
        Ok(Self { published, sources })
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VersionError> {
        let texts = self.sources.iter().map(|file| (sha256(file.text.as_bytes()), Arc::clone(&file.text)));
        let Published { manifest, signatures } = self.published.clone();
        let written = Written { format: FORMAT.to_owned(), manifest, signatures, texts: texts.collect() };
        let bytes = serde_json::to_vec_pretty(&written);
        let mut bytes = bytes.map_err(|error| VersionError::malformed(WHAT, error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The manifest with its signatures.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The texts.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

/// Collects the texts that a manifest names and holds them against every digest in it.
pub(super) fn gather(
    manifest: &Manifest,
    mut text: impl FnMut(&str) -> Result<Arc<str>, VersionError>,
) -> Result<Sources, VersionError> {
    let mut texts: Vec<(SourceKind, Arc<str>, Arc<str>)> = Vec::with_capacity(manifest.files.len());
    for file in &manifest.files {
        let text = text(&file.sha256)?;
        if text.len() as u64 != file.bytes || sha256(text.as_bytes()) != file.sha256 {
            return Err(VersionError::Swapped(format!("`{}` is not the file that was published", file.name)));
        }
        texts.push((file.kind, file.name.as_str().into(), text));
    }
    let sources = Sources::from_texts(texts);
    match sources.version() == manifest.version {
        true => Ok(sources),
        false => Err(VersionError::Swapped("its files do not have the digest that it names".to_owned())),
    }
}

/// Whether a set is the one that a manifest names.
pub(super) fn fits(manifest: &Manifest, sources: &Sources) -> Result<(), VersionError> {
    if !sources.links().is_empty() {
        return Err(VersionError::Swapped("a set with links cannot be published".to_owned()));
    }
    let entries = Manifest::new(sources, manifest.kind, "", "", 0).files;
    match sources.version() == manifest.version && entries == manifest.files {
        true => Ok(()),
        false => Err(VersionError::Swapped("the files are not the ones that the manifest names".to_owned())),
    }
}
