//! What a published version says of itself, in one canonical form that is signed.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::error::VersionError;
use crate::model::PolicyVersion;
use crate::policy::{Limits, Source, SourceKind, Sources, is_links_file};

/// The form of manifests that this program writes and reads.
const FORMAT: &str = "caxton-policy-manifest/1";
/// The largest manifest with its signatures, in bytes: 4,096 files with long names fit.
pub(super) const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 512;
/// The longest author or message, in bytes.
const TEXT_BYTES: usize = 4 * 1024;
/// The most signatures that are looked at: each costs time.
pub(super) const SIGNATURES: usize = 16;
/// The largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6).
const EXACT: u64 = (1 << 53) - 1;

/// How a publication came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new set.
    Publish,
    /// A set that was published before, again.
    Rollback,
    /// A candidate that was watched beside the live set.
    Promote,
}

impl Kind {
    /// The word in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
        }
    }
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// `policy` or `schema`.
    pub kind: SourceKind,
    /// Its path below the directory of its kind, with `/` between parts.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// What was checked before it was published; claims of the publisher, which the signature covers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Policies and templates, all valid.
    pub policies: u64,
    /// Findings of `lint` that the publisher let pass.
    pub lint_findings: u64,
    /// The tests; `None` when there were none to run.
    pub tests: Option<TestCounts>,
    /// How much the tests see.
    pub coverage: Option<CoverageShare>,
    /// How many changes the tests notice.
    pub mutation: Option<CoverageShare>,
    /// The proofs; `None` when none was wanted.
    pub proofs: Option<ProofCounts>,
}

/// Tests that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCounts {
    /// Tests.
    pub tests: u64,
    /// Their rows.
    pub rows: u64,
}

/// A share, and the gate it had to pass; in hundredths of a per cent, so that the form has no fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverageShare {
    /// What was reached, rounded down.
    pub reached: u64,
    /// What was wanted.
    pub wanted: u64,
}

/// Proofs that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofCounts {
    /// Statements that hold for every request.
    pub proven: u64,
    /// The solver with its version.
    pub solver: String,
}

/// What a version says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Which form this is.
    pub format: String,
    /// The digest of the whole set.
    pub version: PolicyVersion,
    /// Grows by one with each publication; what protects from being handed an older set.
    pub sequence: u64,
    /// How it came about.
    pub kind: Kind,
    /// The version that was live before; `None` for the first.
    pub parent: Option<PolicyVersion>,
    /// The author.
    pub author: String,
    /// Why.
    pub message: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_millis: u64,
    /// From when on it denies everything, likewise; `None`: never.
    pub expires_millis: Option<u64>,
    /// The files: schemas, then policies, each by name.
    pub files: Vec<FileEntry>,
    /// What was checked.
    pub checks: Checks,
}

impl FileEntry {
    fn of(file: &Source) -> Self {
        Self {
            kind: file.kind,
            name: file.name.to_string(),
            sha256: sha256(file.text.as_bytes()),
            bytes: file.text.len() as u64,
        }
    }
}

impl Manifest {
    /// The manifest of a set; number and parent come with [`super::VersionSource::next`].
    pub fn new(sources: &Sources, kind: Kind, author: &str, message: &str, time_millis: i64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: sources.version(),
            sequence: 0,
            kind,
            parent: None,
            author: author.to_owned(),
            message: message.to_owned(),
            time_millis: u64::try_from(time_millis).unwrap_or(0),
            expires_millis: None,
            files: sources.iter().map(FileEntry::of).collect(),
            checks: Checks::default(),
        }
    }

    /// The one form of it (RFC 8785), which is what is signed and digested.
    pub fn canonical(&self) -> Result<Vec<u8>, VersionError> {
        serde_json_canonicalizer::to_vec(self).map_err(|error| VersionError::malformed("the manifest", error))
    }

    /// SHA-256 of the canonical form: tells two publications of one set apart.
    pub fn digest(&self) -> Result<String, VersionError> {
        Ok(sha256(&self.canonical()?))
    }

    /// Whether it is over at this time.
    pub fn is_expired(&self, now_millis: i64) -> bool {
        self.expires_millis.is_some_and(|end| u64::try_from(now_millis).unwrap_or(0) >= end)
    }

    /// What a manifest from outside has to keep to before anything in it is used.
    pub(super) fn check(&self) -> Result<(), VersionError> {
        let wrong = |why: String| Err(VersionError::malformed("the manifest", why));
        if self.format != FORMAT {
            return wrong(format!("its format is `{}`, not `{FORMAT}`", self.format.escape_debug()));
        }
        if !is_digest(self.version.as_str()) || self.parent.as_ref().is_some_and(|p| !is_digest(p.as_str())) {
            return wrong("a version is not 64 hexadecimal digits".to_owned());
        }
        if self.sequence == 0 || self.sequence > EXACT {
            return wrong(format!("its number {} is out of range", self.sequence));
        }
        if self.time_millis > EXACT || self.expires_millis.is_some_and(|end| end > EXACT) {
            return wrong("a time is out of range".to_owned());
        }
        if [&self.author, &self.message].iter().any(|text| text.len() > TEXT_BYTES) {
            return wrong(format!("author or message is longer than {TEXT_BYTES} bytes"));
        }
        let limits = Limits::default();
        if self.files.len() > limits.files {
            return wrong(format!("it has more than {} files", limits.files));
        }
        let mut before: Option<(SourceKind, &str)> = None;
        for file in &self.files {
            check_name(file.kind, &file.name)?;
            if file.bytes > limits.file_bytes as u64 {
                return wrong(format!("`{}` has more than {} bytes", file.name, limits.file_bytes));
            }
            if !is_digest(&file.sha256) {
                return wrong(format!("the digest of `{}` is not 64 hexadecimal digits", file.name));
            }
            let here = (file.kind, file.name.as_str());
            if before.is_some_and(|before| before >= here) {
                return wrong("its files are not in order, or one stands twice".to_owned());
            }
            before = Some(here);
        }
        Ok(())
    }
}

/// A name that stays below its directory and comes back the same when the directory is read. The threat: a bundle with
/// `../../etc/cron.d/x` in it, written out by a program that reads it.
pub(super) fn check_name(kind: SourceKind, name: &str) -> Result<(), VersionError> {
    let ending = match kind {
        SourceKind::Policy => name.ends_with(".cedar"),
        SourceKind::Links => is_links_file(name),
        SourceKind::Schema => name.ends_with(".cedarschema") || name.ends_with(".cedarschema.json"),
    };
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    let sound = name.len() <= NAME_BYTES
        && name.split('/').all(plain)
        && !name.contains(|c: char| c.is_control() || c == '\\' || c == ':');
    match ending && sound {
        true => Ok(()),
        false => Err(VersionError::FileName(name.chars().take(80).flat_map(char::escape_debug).collect())),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// One signature over the canonical manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key.
    pub key_id: String,
    /// `Ed25519`, the only one.
    pub algorithm: String,
    /// 64 bytes in Base64.
    pub signature: String,
}

/// A manifest with its signatures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What is published.
    pub manifest: Manifest,
    /// Its signatures; there may be none.
    #[serde(default)]
    pub signatures: Vec<Signature>,
}

impl Published {
    /// Reads one: strict JSON, bounded, every part in range. Says nothing of its signatures; see [`super::Rules`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VersionError> {
        let what = "the manifest";
        if bytes.len() as u64 > MANIFEST_BYTES {
            return Err(VersionError::TooLarge { what: what.to_owned(), limit: MANIFEST_BYTES });
        }
        let read: Self =
            crate::json::parse_as(bytes).map_err(|error| VersionError::malformed(what, error))?;
        read.check()?;
        Ok(read)
    }

    pub(super) fn check(&self) -> Result<(), VersionError> {
        if self.signatures.len() > SIGNATURES {
            let why = format!("it has more than {SIGNATURES} signatures");
            return Err(VersionError::malformed("the manifest", why));
        }
        self.manifest.check()
    }

    /// As it is kept; nothing that [`Published::parse`] would not read again.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, VersionError> {
        let what = "the manifest";
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|error| VersionError::malformed(what, error))?;
        bytes.push(b'\n');
        match bytes.len() as u64 > MANIFEST_BYTES {
            true => Err(VersionError::TooLarge { what: what.to_owned(), limit: MANIFEST_BYTES }),
            false => Ok(bytes),
        }
    }

    /// The same publication with the signatures of another copy beside those of this one, which come first and of which
    /// each key has one.
    pub fn signed_also_as(&self, other: &Self) -> Self {
        let mut all = self.clone();
        let new =
            other.signatures.iter().filter(|one| self.signatures.iter().all(|own| own.key_id != one.key_id));
        all.signatures.extend(new.take(SIGNATURES.saturating_sub(self.signatures.len())).cloned());
        all
    }
}
