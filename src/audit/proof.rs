//! Proofs over the tree of the log (RFC 6962, section 2.1; verified as RFC 9162, section 2.1, says).
//!
//! An inclusion proof shows that a record is in the tree of a checkpoint; it is text in the form of C2SP `tlog-proof`. A
//! consistency proof shows that the tree of a checkpoint begins with that of an older one.
//!
//! Both need the hashes of all records once, in order, and no more memory than the proof: each hash of a proof is the
//! root over a range of records, and the ranges do not overlap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::Checkpoint;
use super::digest::Digest;
use super::note::{NoteError, NoteVerifier};
use super::tree::{Frontier, leaf, node};

const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
const CONSISTENCY: &str = "caxton.audit/consistency@v1";
/// A tree with 2^64 records has no longer proof.
const MAX_HASHES: usize = 128;

/// Records from `from` to before `to`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: u64,
    to: u64,
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The ranges of the proof that record `index` is in a tree of `size`, in the order of the proof: `PATH` of the RFC.
fn inclusion_ranges(index: u64, size: u64) -> Vec<Range> {
    let (mut from, mut to) = (0, size);
    let mut ranges = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            ranges.push(Range { from: middle, to });
            to = middle;
        } else {
            ranges.push(Range { from, to: middle });
            from = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// The ranges of the proof that a tree of `new` begins with the tree of `old`, in the order of the proof: `PROOF` of the RFC.
fn consistency_ranges(old: u64, new: u64) -> Vec<Range> {
    let (mut from, mut to, mut whole) = (0, new, true);
    let mut ranges = Vec::new();
    while old < to {
        let middle = from + split(to - from);
        if old <= middle {
            ranges.push(Range { from: middle, to });
            to = middle;
        } else {
            ranges.push(Range { from, to: middle });
            from = middle;
            whole = false;
        }
    }
    if !whole {
        ranges.push(Range { from, to });
    }
    ranges.reverse();
    ranges
}

/// Computes the hashes of a proof while the records go by.
#[derive(Debug)]
pub(super) struct ProofBuilder {
    ranges: Vec<(Range, Frontier)>,
    next: u64,
}

impl ProofBuilder {
    /// For the proof that record `index` (from 0) is in a tree of `size`. `before`: the tree over records that are not in the
    /// log any more; the others follow through [`ProofBuilder::push`]. `None` when the record is not among those.
    pub(super) fn inclusion(index: u64, size: u64, before: &Frontier) -> Option<Self> {
        (before.size() <= index && index < size)
            .then(|| Self::new(inclusion_ranges(index, size), before))
            .flatten()
    }

    /// For the proof that a tree of `new` begins with the tree of `old`, which has at least one record.
    pub(super) fn consistency(old: u64, new: u64, before: &Frontier) -> Option<Self> {
        let known = 0 < old && old <= new && before.size() <= old;
        known.then(|| Self::new(consistency_ranges(old, new), before)).flatten()
    }

    fn new(ranges: Vec<Range>, before: &Frontier) -> Option<Self> {
        let begun = |range: Range| Some((range, part_of(before, range)?));
        let ranges = ranges.into_iter().map(begun).collect::<Option<_>>()?;
        Some(Self { ranges, next: before.size() })
    }

    /// The next record's hash.
    pub(super) fn push(&mut self, record: &Digest) {
        let next = self.next;
        let range = self.ranges.iter_mut().find(|(range, _)| range.from <= next && next < range.to);
        if let Some((_, tree)) = range {
            tree.push(record);
        }
        self.next += 1;
    }

    /// The hashes of the proof; `None` when records are missing.
    pub(super) fn finish(self) -> Option<Vec<Digest>> {
        let root =
            |(range, tree): (Range, Frontier)| (tree.size() == range.to - range.from).then(|| tree.root());
        self.ranges.into_iter().map(root).collect()
    }
}

/// The tree over those records of `range` that `before` covers: its peaks that lie in the range.
fn part_of(before: &Frontier, range: Range) -> Option<Frontier> {
    let covered = before.size().clamp(range.from, range.to) - range.from;
    let mut peaks = Vec::new();
    let mut from = 0;
    for (bit, peak) in (0..64).rev().filter(|bit| before.size() >> bit & 1 == 1).zip(before.peaks()) {
        let to = from + (1_u64 << bit);
        if range.from <= from && to <= range.to {
            peaks.push(*peak);
        }
        from = to;
    }
    Frontier::new(covered, peaks)
}

/// Whether a record with this hash is record `index` (from 0) of the tree: RFC 9162, section 2.1.3.2.
fn is_included(record: &Digest, index: u64, size: u64, root: &Digest, proof: &[Digest]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf(record);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree `new` begins with the tree `old`: RFC 9162, section 2.1.4.2.
fn is_consistent(old: (u64, &Digest), new: (u64, &Digest), proof: &[Digest]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    let complete = old_size.is_power_of_two();
    let mut hashes = complete.then_some(old_root).into_iter().chain(proof);
    let Some(first) = hashes.next() else { return false };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            of_old = node(hash, &of_old);
            of_new = node(hash, &of_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node(&of_new, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

/// A proof that a record is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Its place, from 0: one less than its `seq`.
    pub index: u64,
    pub(super) hashes: Vec<Digest>,
    /// The signed note of the tree.
    pub(super) checkpoint: String,
}

/// A proof that the log of a checkpoint begins with that of an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The signed note of the older tree.
    pub(super) old: String,
    pub(super) hashes: Vec<Digest>,
    /// The signed note of the newer tree.
    pub(super) new: String,
}

/// A text with a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// That a record is in the log.
    Inclusion(InclusionProof),
    /// That the log only grew.
    Consistency(ConsistencyProof),
}

/// Why a proof does not prove.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It is not written as a proof.
    #[error("it is not a proof: {0}")]
    Malformed(&'static str),
    /// A checkpoint in it is not one.
    #[error("the checkpoint in the proof does not count")]
    Checkpoint(#[source] NoteError),
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root of the checkpoint: the record or the proof was changed")]
    Root,
    /// The older tree is not the beginning of the newer one.
    #[error("the newer checkpoint does not continue the older one: the log has another past")]
    Forked,
}

impl Proof {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (kind, rest) = text.split_once('\n').ok_or(ProofError::Malformed("it has one line only"))?;
        match kind {
            INCLUSION => InclusionProof::parse(rest).map(Self::Inclusion),
            CONSISTENCY => ConsistencyProof::parse(rest).map(Self::Consistency),
            _ => Err(ProofError::Malformed("its first line names no kind of proof that is known here")),
        }
    }
}

impl InclusionProof {
    fn parse(text: &str) -> Result<Self, ProofError> {
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(ProofError::Malformed("it has no checkpoint"))?;
        let mut lines = head.lines();
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|index| index.parse().ok());
        let index = index.ok_or(ProofError::Malformed("its second line is not `index` and a number"))?;
        Ok(Self { index, hashes: hashes(lines)?, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the record with this `hash` is where the proof says, in the tree of its checkpoint.
    ///
    /// # Errors
    /// The checkpoint is not one of the log with this key, or the hashes do not lead to its root.
    pub fn verify(&self, record: &Digest, verifier: &NoteVerifier) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, verifier).map_err(ProofError::Checkpoint)?;
        match is_included(record, self.index, checkpoint.size, &checkpoint.root, &self.hashes) {
            true => Ok(checkpoint),
            false => Err(ProofError::Root),
        }
    }
}

impl ConsistencyProof {
    fn parse(text: &str) -> Result<Self, ProofError> {
        let wrong = || ProofError::Malformed("it has no two checkpoints");
        // Hashes, then the two notes: a note has one empty line in it.
        let (list, notes) = text.split_once("\n\n").ok_or_else(wrong)?;
        let mut breaks = notes.match_indices("\n\n").map(|(at, _)| at);
        let between = breaks.nth(1).ok_or_else(wrong)?;
        let (old, new) = notes.split_at(between + 1);
        let new = new.strip_prefix('\n').unwrap_or_default();
        Ok(Self { old: old.to_owned(), hashes: hashes(list.lines())?, new: new.to_owned() })
    }

    /// Checks that the newer checkpoint continues the older one; gives both.
    ///
    /// # Errors
    /// A checkpoint is not one of the log with this key, or the newer one has another past.
    pub fn verify(&self, verifier: &NoteVerifier) -> Result<(Checkpoint, Checkpoint), ProofError> {
        let old = Checkpoint::open(&self.old, verifier).map_err(ProofError::Checkpoint)?;
        let new = Checkpoint::open(&self.new, verifier).map_err(ProofError::Checkpoint)?;
        match is_consistent((old.size, &old.root), (new.size, &new.root), &self.hashes) {
            true => Ok((old, new)),
            false => Err(ProofError::Forked),
        }
    }
}

impl std::fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{INCLUSION}\nindex {}", self.index)?;
        write_hashes(f, &self.hashes)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl std::fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{CONSISTENCY}")?;
        write_hashes(f, &self.hashes)?;
        write!(f, "\n{}\n{}", self.old, self.new)
    }
}

fn write_hashes(f: &mut std::fmt::Formatter<'_>, hashes: &[Digest]) -> std::fmt::Result {
    hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.bytes())))
}

fn hashes<'t>(lines: impl Iterator<Item = &'t str>) -> Result<Vec<Digest>, ProofError> {
    let mut found = Vec::new();
    for line in lines {
        let hash = STANDARD.decode(line).ok().and_then(|bytes| Digest::from_bytes(&bytes));
        found.push(hash.ok_or(ProofError::Malformed("a line is not a SHA-256 digest in Base64"))?);
        if found.len() > MAX_HASHES {
            return Err(ProofError::Malformed("it has more hashes than any tree needs"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::audit::note::NoteKey;

    fn records(count: u64) -> Vec<Digest> {
        (0..count).map(|n| Digest::of(&n.to_be_bytes())).collect()
    }

    fn tree(records: &[Digest]) -> Frontier {
        let mut tree = Frontier::default();
        records.iter().for_each(|record| tree.push(record));
        tree
    }

    fn finish(builder: Option<ProofBuilder>, records: &[Digest]) -> Vec<Digest> {
        let mut builder = builder.unwrap();
        records.iter().for_each(|record| builder.push(record));
        builder.finish().unwrap()
    }

    #[test]
    fn every_record_is_proven_in_every_tree_and_nowhere_else() {
        let all = records(40);
        for size in 1..=all.len() {
            let known = &all[..size];
            let root = tree(known).root();
            for index in 0..size {
                for gone in [0, index / 2, index] {
                    let before = tree(&known[..gone]);
                    let builder = ProofBuilder::inclusion(index as u64, size as u64, &before);
                    let proof = finish(builder, &known[gone..]);
                    let holds = |at: usize, size: usize, record: &Digest, proof: &[Digest]| {
                        is_included(record, at as u64, size as u64, &root, proof)
                    };
                    assert!(holds(index, size, &known[index], &proof), "{index} of {size}, {gone} gone");
                    assert!(!holds(index, size, &Digest::of(b"other"), &proof));
                    assert!(index + 1 == size || !holds(index + 1, size, &known[index], &proof));
                    assert!(!holds(size, size, &known[index], &proof));
                    let longer = [&proof[..], &[root]].concat();
                    assert!(!holds(index, size, &known[index], &longer));
                    if let Some((_, shorter)) = proof.split_last() {
                        assert!(!holds(index, size, &known[index], shorter));
                    }
                }
            }
        }
        let before = tree(&all[..10]);
        assert!(ProofBuilder::inclusion(9, 40, &before).is_none(), "it is not in the log any more");
        assert!(ProofBuilder::inclusion(40, 40, &before).is_none());
        assert!(ProofBuilder::inclusion(12, 40, &before).unwrap().finish().is_none(), "records are missing");
    }

    #[test]
    fn every_tree_is_proven_to_continue_every_older_one_and_no_other() {
        let all = records(33);
        for new in 1..=all.len() {
            let new_root = tree(&all[..new]).root();
            for old in 1..=new {
                let old_root = tree(&all[..old]).root();
                for gone in [0, old / 2, old] {
                    let before = tree(&all[..gone]);
                    let builder = ProofBuilder::consistency(old as u64, new as u64, &before);
                    let proof = finish(builder, &all[gone..new]);
                    let holds = |old_root: &Digest, new_root: &Digest, proof: &[Digest]| {
                        is_consistent((old as u64, old_root), (new as u64, new_root), proof)
                    };
                    assert!(holds(&old_root, &new_root, &proof), "{old} in {new}, {gone} gone");
                    let other = Digest::of(b"other");
                    assert!(!holds(&other, &new_root, &proof) && !holds(&old_root, &other, &proof));
                    assert!(!holds(&old_root, &new_root, &[&proof[..], &[other]].concat()));
                    for at in 0..proof.len() {
                        let mut changed = proof.clone();
                        changed[at] = other;
                        assert!(!holds(&old_root, &new_root, &changed), "{old} in {new}, hash {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_text_is_read_back_and_a_changed_one_proves_nothing() {
        let all = records(21);
        let key = NoteKey::generate("caxton.audit/1").unwrap();
        let verifier = key.verifier();
        let note = |size: usize| Checkpoint::of(key.verifier().name(), &tree(&all[..size])).sign(&key);
        let none = Frontier::default();
        let inclusion = InclusionProof {
            index: 5,
            hashes: finish(ProofBuilder::inclusion(5, 21, &none), &all),
            checkpoint: note(21),
        };
        let text = inclusion.to_string();
        assert_eq!(Proof::parse(&text).unwrap(), Proof::Inclusion(inclusion.clone()));
        assert_eq!(inclusion.verify(&all[5], &verifier).unwrap().size, 21);
        assert!(matches!(inclusion.verify(&all[6], &verifier), Err(ProofError::Root)));
        let consistency = ConsistencyProof {
            old: note(9),
            hashes: finish(ProofBuilder::consistency(9, 21, &none), &all),
            new: note(21),
        };
        let second = consistency.to_string();
        assert_eq!(Proof::parse(&second).unwrap(), Proof::Consistency(consistency.clone()));
        let (old, new) = consistency.verify(&verifier).unwrap();
        assert_eq!((old.size, new.size), (9, 21));
        let forked = ConsistencyProof { old: note(8), ..consistency };
        assert!(matches!(forked.verify(&verifier), Err(ProofError::Forked)));
        for (text, is_valid) in [(&text, true), (&second, false)] {
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                match Proof::parse(&changed) {
                    Ok(Proof::Inclusion(proof)) if is_valid => {
                        assert!(proof.verify(&all[5], &verifier).is_err(), "{at}");
                    }
                    Ok(Proof::Consistency(proof)) => assert!(proof.verify(&verifier).is_err(), "{at}"),
                    _ => {}
                }
            }
        }
    }
}
