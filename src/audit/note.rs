//! Signed notes (C2SP `signed-note`): a text and below it the signature of a named Ed25519 key.
//!
//! ```text
//! caxton.audit/5f0c9a1e
//! 1234
//! rXnB…=
//!
//! — caxton.audit/5f0c9a1e Zm9v…=
//! ```
//!
//! A key is written as other programs for such notes write it: `PRIVATE+KEY+NAME+ID+BASE64` and, its public half,
//! `NAME+ID+BASE64`, where ID is the beginning of a digest over name and key.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::digest::Digest;
use super::file::{beside, create_fresh};
use crate::regular;

/// The mark of Ed25519 before a key.
const ED25519_MARK: u8 = 1;
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const ID_BYTES: usize = 4;
/// The longest file with a key or a note, in bytes.
const FILE_BYTES: u64 = 64 * 1024;
const PRIVATE: &str = "PRIVATE+KEY+";
const SIGNATURE: &str = "— ";

/// Why a key or a note is not one.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// A file could not be read or written.
    #[error("`{path}` could not be read or written")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Others can read the private key.
    #[error("other users can read the private key `{path}` (mode {mode:o})")]
    Exposed {
        /// Its file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// A key that is not written as one.
    #[error("it is not a key for signed notes: {0}")]
    Key(&'static str),
    /// A text that is no signed note.
    #[error("it is not a signed note: {0}")]
    Malformed(&'static str),
    /// No signature by the key.
    #[error("it is not signed by `{name}`")]
    NotSigned {
        /// The name of the key.
        name: String,
    },
    /// The signature of the key does not fit the text.
    #[error("the signature of `{name}` does not match: the text was changed, or another key has this name")]
    Signature {
        /// The name of the key.
        name: String,
    },
}

impl NoteError {
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        |source| Self::File { path: path.to_owned(), source }
    }
}

type KeyId = [u8; ID_BYTES];

fn key_id(name: &str, public: &[u8]) -> KeyId {
    let named = [name.as_bytes(), b"\n", &[ED25519_MARK], public].concat();
    let mut id = [0; ID_BYTES];
    id.iter_mut().zip(Digest::of(&named).bytes()).for_each(|(own, byte)| *own = *byte);
    id
}

/// Names are words without `+`, which separates the parts of a key (C2SP `signed-note`).
fn check_name(name: &str) -> Result<(), NoteError> {
    let wrong = name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control());
    if wrong { Err(NoteError::Key("its name is empty or has a space or a `+` in it")) } else { Ok(()) }
}

/// A key that signs notes.
pub(super) struct NoteKey {
    name: String,
    pair: Ed25519KeyPair,
}

impl NoteKey {
    /// A fresh key.
    pub(super) fn generate(name: &str) -> Result<Self, NoteError> {
        check_name(name)?;
        let pair = Ed25519KeyPair::generate().map_err(|_| NoteError::Key("there were no random numbers"))?;
        Ok(Self { name: name.to_owned(), pair })
    }

    /// Reads the file of a key; one that others can read is refused.
    pub(super) fn read(path: &Path) -> Result<Self, NoteError> {
        let file = NoteError::file(path);
        let mode = fs::metadata(path).map_err(&file)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(NoteError::Exposed { path: path.to_owned(), mode });
        }
        let bytes = Zeroizing::new(regular::read(path, FILE_BYTES).map_err(file)?);
        let text = str::from_utf8(&bytes).map_err(|_| NoteError::Key("it is not text"))?;
        Self::parse(text.trim_end_matches('\n'))
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let rest =
            text.strip_prefix(PRIVATE).ok_or(NoteError::Key("it does not begin with `PRIVATE+KEY+`"))?;
        let (name, id, key) = parts(rest)?;
        let key = Zeroizing::new(key);
        let pair = Ed25519KeyPair::from_seed_unchecked(&key[..])
            .map_err(|_| NoteError::Key("the key in it is not usable"))?;
        if key_id(name, pair.public_key().as_ref()) != id {
            return Err(NoteError::Key("its name does not belong to the key in it"));
        }
        Ok(Self { name: name.to_owned(), pair })
    }

    /// Writes it to a new file that only its owner can read. A file that is there is never replaced.
    pub(super) fn write(&self, path: &Path) -> Result<(), NoteError> {
        let file = NoteError::file(path);
        let seed = self.pair.seed().map_err(|_| NoteError::Key("it cannot be written"))?;
        let seed: Curve25519SeedBin<'static> =
            seed.as_be_bytes().map_err(|_| NoteError::Key("it cannot be written"))?;
        let marked = Zeroizing::new([&[ED25519_MARK], seed.as_ref()].concat());
        let id = hex::encode(self.verifier().id);
        let encoded = Zeroizing::new(STANDARD.encode(&*marked));
        let text = Zeroizing::new(format!("{PRIVATE}{}+{id}+{}\n", self.name, *encoded));
        // Whole or not at all: half a key would stop every later start.
        let fresh = beside(path, "new");
        let made = create_fresh(&fresh)
            .and_then(|mut made| made.write_all(text.as_bytes()).and_then(|()| made.sync_all()))
            .and_then(|()| fs::hard_link(&fresh, path));
        let _ = fs::remove_file(&fresh);
        made.and_then(|()| sync_folder(path)).map_err(file)
    }

    /// The public half.
    pub(super) fn verifier(&self) -> NoteVerifier {
        let mut public = [0; KEY_BYTES];
        public.iter_mut().zip(self.pair.public_key().as_ref()).for_each(|(own, byte)| *own = *byte);
        NoteVerifier { name: self.name.clone(), id: key_id(&self.name, &public), public }
    }

    /// The note with this text, which ends with a line end.
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let named = [&self.verifier().id[..], signature.as_ref()].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.name, STANDARD.encode(named))
    }
}

impl std::fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoteKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    id: KeyId,
    public: [u8; KEY_BYTES],
}

impl NoteVerifier {
    /// Reads the text form, `NAME+ID+BASE64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, public) = parts(text.trim())?;
        if key_id(name, &public) != id {
            return Err(NoteError::Key("its name does not belong to the key in it"));
        }
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// Reads a file with the text form.
    pub fn read(path: &Path) -> Result<Self, NoteError> {
        Self::parse(&read_text(path)?)
    }

    /// The name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key has signed. Signatures of other keys are passed over.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Malformed("there are control characters in it"));
        }
        let separator = note.rfind("\n\n").ok_or(NoteError::Malformed("there is no empty line in it"))?;
        let (text, signatures) = note.split_at(separator + 1);
        let signatures = signatures.strip_prefix('\n').unwrap_or_default();
        if !signatures.ends_with('\n') {
            return Err(NoteError::Malformed("its last line has no end"));
        }
        let mut found = false;
        for line in signatures.lines() {
            let (name, encoded) = line
                .strip_prefix(SIGNATURE)
                .and_then(|line| line.split_once(' '))
                .ok_or(NoteError::Malformed("there is a line that is no signature after the empty line"))?;
            let signature =
                STANDARD.decode(encoded).map_err(|_| NoteError::Malformed("a signature is not Base64"))?;
            let Some((id, signature)) = signature.split_at_checked(ID_BYTES) else {
                return Err(NoteError::Malformed("a signature is too short"));
            };
            if name != self.name || id != self.id {
                continue;
            }
            let fits = signature.len() == SIGNATURE_BYTES
                && UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).is_ok();
            if !fits {
                return Err(NoteError::Signature { name: self.name.clone() });
            }
            found = true;
        }
        if found { Ok(text) } else { Err(NoteError::NotSigned { name: self.name.clone() }) }
    }
}

impl std::fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let marked = [&[ED25519_MARK], &self.public[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(marked))
    }
}

/// Name, id and key of `NAME+ID+BASE64`.
fn parts(text: &str) -> Result<(&str, KeyId, [u8; KEY_BYTES]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key("it has no three parts, separated by `+`"));
    };
    check_name(name)?;
    let mut own = [0; ID_BYTES];
    hex::decode_to_slice(id, &mut own)
        .map_err(|_| NoteError::Key("its second part is not 8 hexadecimal digits"))?;
    let marked =
        STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| NoteError::Key("it is not Base64"))?;
    match marked.split_first() {
        Some((&ED25519_MARK, key)) => {
            let key = key.try_into().map_err(|_| NoteError::Key("it does not have 32 bytes"))?;
            Ok((name, own, key))
        }
        _ => Err(NoteError::Key("it is not an Ed25519 key")),
    }
}

/// A small file that is text.
pub(super) fn read_text(path: &Path) -> Result<String, NoteError> {
    let bytes = regular::read(path, FILE_BYTES).map_err(NoteError::file(path))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(NoteError::Malformed("the file is larger than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| NoteError::Malformed("the file is not text"))
}

/// Writes a file whole or not at all, for its owner alone, and durably.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    put_in_place(path, |fresh| {
        let mut file = create_fresh(fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
}

/// Puts the file that `make` makes, and syncs, in the place of `path`; when that fails, nothing is left of it.
pub(super) fn put_in_place(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let fresh = beside(path, "new");
    let placed = make(&fresh).and_then(|()| fs::rename(&fresh, path));
    if placed.is_err() {
        // It may have taken the last room of the disk.
        let _ = fs::remove_file(&fresh);
    }
    placed?;
    sync_folder(path)
}

/// Makes a change of names in the folder of `path` durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {

    use super::*;

    // The example of the Go package `golang.org/x/mod/sumdb/note`.
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const PRIVATE_KEY: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn it_reads_and_writes_what_another_implementation_does() {
        let verifier = NoteVerifier::parse(PUBLIC).unwrap();
        assert_eq!(verifier.to_string(), PUBLIC);
        let text = verifier.open(NOTE).unwrap();
        assert!(text.starts_with("If you") && text.ends_with("is.\n"));
        let key = NoteKey::parse(PRIVATE_KEY).unwrap();
        assert_eq!(key.verifier(), verifier);
        assert_eq!(key.sign(text), NOTE);
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        key.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), PRIVATE_KEY);
        assert_eq!(NoteKey::read(&path).unwrap().verifier(), verifier);
        assert!(key.write(&path).is_err(), "a key is never replaced");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(NoteKey::read(&path), Err(NoteError::Exposed { .. })));
    }

    #[test]
    fn a_changed_note_is_refused_at_every_bit() {
        let key = NoteKey::generate("caxton.audit/1").unwrap();
        let (note, verifier) = (key.sign("a\n12\nb\n"), key.verifier());
        assert_eq!(verifier.open(&note).unwrap(), "a\n12\nb\n");
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                *bytes.get_mut(at).unwrap() ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                assert!(verifier.open(&text).is_err(), "byte {at}, bit {bit}");
            }
        }
        let other = NoteKey::generate("caxton.audit/1").unwrap();
        assert!(matches!(verifier.open(&other.sign("a\n12\nb\n")), Err(NoteError::NotSigned { .. })));
        for wrong in ["", "a\n", "a\n\n", "a\n\nb\n", "a\n\n— x\n", "a\n\n— x !\n", "a\n\n— x AA==\n"] {
            assert!(verifier.open(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "a", "a+b", "a+00000000+AA==", "+00000000+AQ==", &PUBLIC.replace('c', "d")] {
            assert!(NoteVerifier::parse(wrong).is_err(), "{wrong}");
        }
    }
}
