//! One chunk of the index: where its records stand, and at which positions each term is. Encoded as variable-length numbers
//! (LEB128), so that it is small.

use super::terms::Term;
use crate::audit::scan::Place;

/// The most records of a chunk: a position has 12 bits.
pub(super) const RECORDS: usize = 1 << POSITION_BITS;
const POSITION_BITS: u32 = 12;
/// The lists of a chunk.
pub(super) const LISTS: usize = 64;

/// A record that may be wanted, and where its line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) struct Candidate {
    /// Its number.
    pub(in crate::audit) seq: u64,
    /// Where its line begins.
    pub(in crate::audit) place: Place,
    /// Bytes of its line with the line end.
    pub(in crate::audit) length: u64,
}

impl Candidate {
    /// Where the line after it begins.
    fn end(&self) -> Place {
        Place { offset: self.place.offset + self.length, ..self.place }
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        next.seq == self.seq + 1 && next.place == self.end()
    }
}

/// A chunk as it is stored.
#[derive(Debug)]
pub(super) struct EncodedChunk {
    /// Numbers of its first and last record.
    pub(super) seqs: (u64, u64),
    /// The earliest and the latest `time` of its records, as they are written.
    pub(super) times: (String, String),
    /// Where the first record after it stands, or will stand.
    pub(super) end: Place,
    /// Where its records stand.
    pub(super) places: Vec<u8>,
    /// The lists of pairs that have any.
    pub(super) lists: Vec<(usize, Vec<u8>)>,
}

/// A chunk that is being built.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    most: usize,
    records: Vec<Candidate>,
    times: Option<(String, String)>,
    lists: Vec<Vec<u32>>,
}

impl ChunkBuilder {
    /// A chunk of so many records, [`RECORDS`] at most.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.min(RECORDS), records: Vec::new(), times: None, lists: vec![Vec::new(); LISTS] }
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.most
    }

    /// Adds the next record. Terms may stand twice among `terms`.
    pub(super) fn add(&mut self, record: Candidate, time: &str, terms: &[Term]) {
        let position = self.records.len() as u32;
        self.records.push(record);
        match &mut self.times {
            None => self.times = Some((time.to_owned(), time.to_owned())),
            Some((earliest, latest)) => {
                if time < earliest.as_str() {
                    time.clone_into(earliest);
                }
                if time > latest.as_str() {
                    time.clone_into(latest);
                }
            }
        }
        for term in terms {
            if let Some(list) = self.lists.get_mut(term.list()) {
                list.push((term.rest() << POSITION_BITS) | position);
            }
        }
    }

    /// The chunk as it is stored; `None` without records.
    pub(super) fn finish(self) -> Option<EncodedChunk> {
        let (first, last) = (*self.records.first()?, *self.records.last()?);
        let lists = self.lists.into_iter().enumerate().filter(|(_, list)| !list.is_empty());
        Some(EncodedChunk {
            seqs: (first.seq, last.seq),
            times: self.times?,
            end: last.end(),
            places: encode_places(&self.records),
            lists: lists.map(|(number, list)| (number, encode_pairs(list))).collect(),
        })
    }
}

fn encode_pairs(mut pairs: Vec<u32>) -> Vec<u8> {
    pairs.sort_unstable();
    pairs.dedup();
    let mut bytes = Vec::new();
    let mut last = 0;
    for pair in pairs {
        put(&mut bytes, u64::from(pair - last));
        last = pair;
    }
    bytes
}

/// Positions in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Positions([u64; RECORDS / 64]);

impl Positions {
    pub(super) const NONE: Self = Self([0; RECORDS / 64]);
    pub(super) const ALL: Self = Self([u64::MAX; RECORDS / 64]);

    pub(super) fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    pub(super) fn intersect(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own &= other);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Adds the positions of a term that a stored list has; `None` when the list is damaged.
    pub(super) fn add_of(&mut self, list: &[u8], term: Term) -> Option<()> {
        let (mut at, mut pair) = (0, 0_u64);
        while at < list.len() {
            pair = pair.checked_add(take(list, &mut at)?)?;
            let rest = pair >> POSITION_BITS;
            if rest > u64::from(term.rest()) {
                break;
            }
            if rest == u64::from(term.rest()) {
                self.insert(usize::try_from(pair).ok()? % RECORDS);
            }
        }
        Some(())
    }
}

/// Runs of records that follow each other in one file: number of records, first number, file, offset; then the length of each.
fn encode_places(records: &[Candidate]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in records.chunk_by(Candidate::is_followed_by) {
        let Some(first) = run.first() else { continue };
        for number in [run.len() as u64, first.seq, first.place.segment, first.place.offset] {
            put(&mut bytes, number);
        }
        run.iter().for_each(|record| put(&mut bytes, record.length));
    }
    bytes
}

/// The records of a chunk by their positions; `None` when that is damaged.
pub(super) fn decode_places(bytes: &[u8]) -> Option<Vec<Candidate>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let [count, mut seq, segment, mut offset] = [(); 4].map(|()| take(bytes, &mut at));
        for _ in 0..count? {
            let length = take(bytes, &mut at)?;
            if records.len() >= RECORDS {
                return None;
            }
            records.push(Candidate {
                seq: seq?,
                place: Place { segment: segment?, offset: offset? },
                length,
            });
            seq = Some(seq?.checked_add(1)?);
            offset = Some(offset?.checked_add(length)?);
        }
    }
    Some(records)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_come_back_as_they_were(
            runs in prop::collection::vec((1_u64..1000, 0_u64..3, 0_u64..5000, prop::collection::vec(1_u64..70_000, 1..5)), 0..20)
        ) {
            let mut records = Vec::new();
            for (seq, segment, offset, lengths) in runs {
                let mut place = Place { segment, offset };
                for (number, length) in (seq..).zip(lengths) {
                    records.push(Candidate { seq: number, place, length });
                    place.offset += length;
                }
            }
            prop_assert_eq!(decode_places(&encode_places(&records)).unwrap(), records);
        }

        #[test]
        fn damaged_bytes_are_an_error_and_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), term in 0_u32..1 << 26) {
            let _ = decode_places(&bytes);
            let _ = Positions::NONE.clone().add_of(&bytes, Term::from_bits(term));
        }

        #[test]
        fn a_term_is_found_where_it_was_put(terms in prop::collection::vec(prop::collection::vec(0_u32..200, 0..6), 1..100)) {
            let term = |number: u32| Term::from_bits(number.wrapping_mul(0x9E37_79B9));
            let mut chunk = ChunkBuilder::new(RECORDS);
            for (position, terms) in terms.iter().enumerate() {
                let place = Place { segment: 1, offset: position as u64 * 10 };
                let record = Candidate { seq: position as u64 + 1, place, length: 10 };
                chunk.add(record, "", &terms.iter().copied().map(term).collect::<Vec<_>>());
            }
            let chunk = chunk.finish().unwrap();
            for wanted in 0..200 {
                let mut found = Positions::NONE.clone();
                let list = chunk.lists.iter().find(|(number, _)| *number == term(wanted).list());
                if let Some((_, list)) = list {
                    found.add_of(list, term(wanted)).unwrap();
                }
                for (position, terms) in terms.iter().enumerate() {
                    prop_assert_eq!(found.has(position), terms.contains(&wanted));
                }
            }
        }
    }
}
