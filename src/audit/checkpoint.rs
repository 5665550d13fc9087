//! Checkpoints of the log (C2SP `tlog-checkpoint`): its name, the number of records and the root of their tree, signed.
//!
//! Whoever keeps a checkpoint somewhere else can prove later that the log still begins with exactly those records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::digest::Digest;
use super::note::{NoteError, NoteKey, NoteVerifier};
use super::tree::Frontier;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log, which is that of its key.
    pub origin: String,
    /// The number of records.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
}

impl Checkpoint {
    /// The checkpoint of this tree.
    pub(super) fn of(origin: &str, tree: &Frontier) -> Self {
        Self { origin: origin.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// The signed note.
    pub(super) fn sign(&self, key: &NoteKey) -> String {
        key.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.bytes())))
    }

    /// Reads a signed note, and verifies its signature. The log it names must be that of the key.
    pub fn open(note: &str, verifier: &NoteVerifier) -> Result<Self, NoteError> {
        let text = verifier.open(note)?;
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Malformed("a checkpoint has at least three lines"));
        };
        if origin != verifier.name() {
            return Err(NoteError::Malformed("it is the checkpoint of another log"));
        }
        // One spelling of a number: no sign, no zeros before it.
        let number: u64 =
            size.parse().map_err(|_| NoteError::Malformed("its second line is not a number"))?;
        if number.to_string() != size {
            return Err(NoteError::Malformed("its second line is not a plain number"));
        }
        let root = STANDARD.decode(root).ok().and_then(|root| Digest::from_bytes(&root));
        let root = root.ok_or(NoteError::Malformed("its third line is not a SHA-256 digest in Base64"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn what_is_signed_is_read_back_and_nothing_else() {
        let key = NoteKey::generate("caxton.audit/1").unwrap();
        let mut tree = Frontier::default();
        tree.push(&Digest::of(b"one"));
        let checkpoint = Checkpoint::of("caxton.audit/1", &tree);
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::open(&note, &key.verifier()).unwrap(), checkpoint);
        let root = STANDARD.encode(tree.root().bytes());
        for wrong in [
            "caxton.audit/1\n1\n".to_owned(),
            format!("caxton.audit/2\n1\n{root}\n"),
            format!("caxton.audit/1\n01\n{root}\n"),
            format!("caxton.audit/1\n+1\n{root}\n"),
            format!("caxton.audit/1\nmany\n{root}\n"),
            "caxton.audit/1\n1\nAAAA\n".to_owned(),
        ] {
            assert!(Checkpoint::open(&key.sign(&wrong), &key.verifier()).is_err(), "{wrong}");
        }
    }
}
