//! A set of what has come.

use std::collections::HashSet;
use std::hash::Hash;

/// Up to so many are compared one by one, which costs less than their hashes do.
const FEW: usize = 16;

/// What has come, each once. Safe to fill from outside: many are told apart by a keyed hash.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    few: Vec<T>,
    many: HashSet<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { few: Vec::new(), many: HashSet::new() }
    }
}

impl<T: Eq + Hash> Seen<T> {
    /// Whether it has not come before. It has from now on.
    pub(crate) fn insert(&mut self, thing: T) -> bool {
        if self.few.contains(&thing) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(thing);
            return true;
        }
        self.many.insert(thing)
    }
}

impl<T: Eq + Hash> FromIterator<T> for Seen<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut seen = Self::default();
        for thing in things {
            seen.insert(thing);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_among_few_and_among_many() {
        let mut seen = Seen::default();
        for round in 0..2 {
            for number in 0..5 * FEW {
                assert_eq!(seen.insert(number), round == 0, "{number}");
            }
        }
        let mut listed: Seen<_> = [1, 1, 2].into_iter().collect();
        assert!(!listed.insert(1) && !listed.insert(2) && listed.insert(3));
    }
}
