//! A set that rarely has more than a few members.

use std::collections::HashSet;
use std::hash::Hash;

/// Members that are compared one by one, which costs less than hashing them.
const FEW: usize = 16;

/// A set for values from outside: the first few members are compared, further ones hashed with a random key, so that
/// chosen values cannot make it slow.
#[derive(Debug)]
pub(crate) struct SmallSet<T> {
    few: Vec<T>,
    many: HashSet<T>,
}

impl<T> Default for SmallSet<T> {
    fn default() -> Self {
        Self { few: Vec::new(), many: HashSet::new() }
    }
}

impl<T: Eq + Hash> SmallSet<T> {
    /// Adds `thing`; `false` when it was there already.
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

impl<T: Eq + Hash> FromIterator<T> for SmallSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut set = Self::default();
        for thing in things {
            set.insert(thing);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_among_few_and_among_many() {
        let mut set = SmallSet::default();
        for round in 0..2 {
            for number in 0..5 * FEW {
                assert_eq!(set.insert(number), round == 0, "{number}");
            }
        }
        let mut listed: SmallSet<_> = [1, 1, 2].into_iter().collect();
        assert!(!listed.insert(1) && !listed.insert(2) && listed.insert(3));
    }
}
