//! A set of sectors, a bit each: a new segment of thousands is marked and cleared at once.

use std::ops::Range;

#[derive(Debug, Clone, Default)]
pub struct SectorSet {
    words: Vec<u64>,
    len: usize,
}

impl SectorSet {
    pub fn insert(&mut self, sector: u64) {
        let word = (sector / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(!self.contains(sector));
        self.words[word] |= 1 << (sector % 64);
    }

    pub fn remove(&mut self, sector: u64) {
        if self.contains(sector) {
            self.words[(sector / 64) as usize] &= !(1 << (sector % 64));
            self.len -= 1;
        }
    }

    pub fn contains(&self, sector: u64) -> bool {
        self.words.get((sector / 64) as usize).is_some_and(|word| word >> (sector % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes the sectors from `end` on.
    pub fn truncate(&mut self, end: u64) {
        let beyond: Vec<u64> = self.iter().filter(|sector| *sector >= end).collect();
        beyond.into_iter().for_each(|sector| self.remove(sector));
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    /// The stretches of neighbours, in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, true)?;
            let end = self.next(start, false).unwrap_or(self.words.len() as u64 * 64);
            at = end;
            Some(start..end)
        })
    }

    /// The first sector from `from` on that is in the set, or is not.
    fn next(&self, from: u64, is_in: bool) -> Option<u64> {
        let mut index = (from / 64) as usize;
        let mut mask = u64::MAX << (from % 64);
        while let Some(word) = self.words.get(index) {
            let found = (if is_in { *word } else { !*word }) & mask;
            if found != 0 {
                return Some(index as u64 * 64 + u64::from(found.trailing_zeros()));
            }
            (index, mask) = (index + 1, u64::MAX);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set() {
        let (mut set, mut model) = (SectorSet::default(), BTreeSet::new());
        let mut number = 7_u64;
        for _ in 0..4000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let sector = number >> 33 & 255;
            if number >> 60 < 9 {
                set.insert(sector);
                model.insert(sector);
            } else {
                set.remove(sector);
                model.remove(&sector);
            }
            assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            assert_eq!(set.is_empty(), model.is_empty());
        }
        set.truncate(100);
        assert!(set.iter().eq(model.range(..100).copied()));
        assert!(set.runs().all(|run| !set.contains(run.end)));
    }
}
