//! The Merkle tree over the records (RFC 6962, section 2.1): its root commits to every record and its place.
//!
//! Leaf `n` is the `hash` of record `n + 1`, 32 bytes: that hash commits to the content of the record and to the record
//! before it. The gateway keeps the roots of the complete subtrees only, at most 64 hashes: enough to append and to compute
//! the root. Proofs that a record is in the tree, and that one tree continues another, are in [`super::proof`].

use super::digest::Digest;

/// The leaf of a record with this hash: `SHA-256(0x00 || hash)`.
pub(super) fn leaf(record: &Digest) -> Digest {
    let mut bytes = [0; 33];
    // INVARIANT: 33 bytes are one and the 32 of a digest.
    if let Some(rest) = bytes.get_mut(1..) {
        rest.copy_from_slice(record.bytes());
    }
    Digest::of(&bytes)
}

/// An inner node: `SHA-256(0x01 || left || right)`.
pub(super) fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    if let Some((first, second)) = bytes.get_mut(1..).and_then(|rest| rest.split_at_mut_checked(32)) {
        first.copy_from_slice(left.bytes());
        second.copy_from_slice(right.bytes());
    }
    Digest::of(&bytes)
}

/// A tree that only grows: its size and the roots of its complete subtrees, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frontier {
    size: u64,
    /// INVARIANT: one for each bit that is set in `size`, from the highest to the lowest.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The tree with these peaks; `None` when there are not as many as a tree of this size has.
    pub(super) fn new(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The number of records.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    pub(super) fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends the record with this hash.
    pub(super) fn push(&mut self, record: &Digest) {
        let mut root = leaf(record);
        // Each complete subtree that is as large as the new one becomes its left half.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                root = node(&left, &root);
            }
        }
        self.peaks.push(root);
        self.size += 1;
    }

    /// The root of the tree; of an empty one the digest of nothing.
    pub(super) fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return Digest::of(b"") };
        peaks.fold(*smallest, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// The definition of RFC 6962, word for word.
    fn defined(records: &[Digest]) -> Digest {
        match records.len() {
            0 => Digest::of(b""),
            1 => leaf(&records[0]),
            n => {
                let k = n.next_power_of_two() / 2;
                node(&defined(&records[..k]), &defined(&records[k..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_rfc_for_every_size() {
        let records: Vec<Digest> = (0..260_u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
        let mut tree = Frontier::default();
        for (size, record) in records.iter().enumerate() {
            assert_eq!(tree.root(), defined(&records[..size]), "{size}");
            assert_eq!(Frontier::new(tree.size(), tree.peaks().to_vec()).as_ref(), Some(&tree));
            tree.push(record);
        }
        assert_eq!(Frontier::new(3, vec![records[0]]), None);
    }

    #[test]
    fn nodes_are_hashed_as_the_rfc_says() {
        // Computed with another implementation: sha256(00 + 32 zero bytes), sha256(01 + two of them).
        let zero = Digest::GENESIS;
        let one = leaf(&zero);
        assert_eq!(one.to_string(), "7f9c9e31ac8256ca2f258583df262dbc7d6f68f2a03043d5c99a4ae5a7396ce9");
        assert_eq!(
            node(&one, &one).to_string(),
            "a4b8c7873a49d5d53af0b2a0202486483020d95935d763edc4ef2f602200d8de"
        );
    }
}
