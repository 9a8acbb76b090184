//! The numbered databases of a shard, and the snapshot cursor over all of them.
//!
//! Lives here: FLUSH and SWAPDB, beginning, stepping and giving up a snapshot.
//! Not here: what a snapshot keeps of one database (`snapshot`), files.
//!
//! Invariant: a database carries its part of a running snapshot with it. SWAPDB therefore changes numbers and
//! no cursor, and a flushed database is handed to the snapshot as a whole.

use super::Keyspace;
use super::entry::Entry;
use super::snapshot::Part;
use crate::hash::HashKey;
use std::ops::{Index, IndexMut};

/// See the head of this file. Databases are reached by index; they must not be exchanged but by `swap`.
pub struct Databases {
    key: HashKey,
    databases: Vec<Keyspace>,
    /// Contents of flushed databases that are not freed yet, some of them because the snapshot needs them.
    flushed: Vec<Keyspace>,
    /// Number of the last snapshot begun.
    epoch: u32,
    /// While a snapshot runs: number, at its beginning, of the database being read.
    current: Option<usize>,
}

impl Databases {
    pub fn new(key: HashKey, count: usize) -> Databases {
        let databases = (0..count).map(|_| Keyspace::new(key)).collect();
        Databases { key, databases, flushed: Vec::new(), epoch: 0, current: None }
    }

    pub fn count(&self) -> usize {
        self.databases.len()
    }

    pub fn hash_key(&self) -> HashKey {
        self.key
    }

    pub fn iter(&self) -> impl Iterator<Item = &Keyspace> {
        self.databases.iter()
    }

    /// Bytes of all databases, without what a snapshot keeps and what was flushed.
    pub fn used_memory(&self) -> u64 {
        self.databases.iter().map(Keyspace::used_memory).sum()
    }

    /// Empties one database, at no cost in proportion to it: its content waits for `free_flushed`.
    pub fn flush(&mut self, number: usize) {
        let old = std::mem::replace(&mut self.databases[number], Keyspace::new(self.key));
        self.flushed.push(old);
    }

    /// Takes the last `flush` back: its content stands again under this number. Only before any of it was freed.
    pub fn unflush(&mut self, number: usize) {
        self.databases[number] = self.flushed.pop().expect("a flush is taken back once");
    }

    /// Empties all databases, as `flush` does.
    pub fn flush_all(&mut self) {
        (0..self.count()).for_each(|number| self.flush(number));
    }

    /// Frees about `entries_max` entries of flushed databases that no snapshot needs. Returns whether more are
    /// left to free.
    pub fn free_flushed(&mut self, entries_max: usize) -> bool {
        let Some(index) = self.flushed.iter().position(|database| database.snapshot.is_none()) else {
            return false;
        };
        if !self.flushed[index].free_some(entries_max) {
            self.flushed.swap_remove(index);
        }
        self.flushed.iter().any(|database| database.snapshot.is_none())
    }

    /// Bytes of flushed databases that `free_flushed` has yet to free.
    pub fn flushed_bytes(&self) -> u64 {
        let free = self.flushed.iter().filter(|database| database.snapshot.is_none());
        free.map(Keyspace::used_memory).sum()
    }

    /// Exchanges two databases (SWAPDB).
    pub fn swap(&mut self, first: usize, second: usize) {
        self.databases.swap(first, second);
    }

    /// Begins a snapshot of this very moment. One runs at a time.
    pub fn begin_snapshot(&mut self) {
        assert!(self.current.is_none(), "one snapshot runs at a time");
        self.epoch = self.epoch.checked_add(1).expect("one snapshot a second lasts 136 years");
        for (number, database) in self.databases.iter_mut().enumerate() {
            database.snapshot = Some(Box::new(Part::new(self.epoch, number)));
        }
        self.current = Some(0);
    }

    pub fn snapshot_is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Gives about `count_max` further entries (a whole segment more at most) with their database's number at
    /// the beginning. Databases come in the order of these numbers, entries in no order. Returns whether the
    /// snapshot goes on; it has ended when not.
    pub fn step_snapshot(&mut self, count_max: usize, found: &mut dyn FnMut(usize, &Entry)) -> bool {
        let mut count = count_max.max(1);
        while let Some(current) = self.current {
            let is_current = |database: &&mut Keyspace| {
                database.snapshot.as_ref().is_some_and(|part| part.number() == current)
            };
            let mut candidates = self.databases.iter_mut().chain(self.flushed.iter_mut());
            let database = candidates.find(is_current).expect("each part lasts until it was read to its end");
            if database.step_snapshot(&mut count, found) {
                return true;
            }
            self.current = Some(current + 1).filter(|next| *next < self.databases.len());
        }
        false
    }

    /// Gives a running snapshot up and lets go of all it kept.
    pub fn cancel_snapshot(&mut self) {
        self.current = None;
        self.databases.iter_mut().chain(&mut self.flushed).for_each(|database| database.snapshot = None);
    }

    /// Bytes of entries cloned for the snapshot and not given yet.
    pub fn cloned_bytes(&self) -> u64 {
        let cloned = |database: &Keyspace| database.snapshot.as_ref().map_or(0, |part| part.kept_bytes());
        self.databases.iter().chain(&self.flushed).map(cloned).sum()
    }

    /// Bytes held for the snapshot alone: clones of entries, without contents they share with live ones, and
    /// flushed databases.
    pub fn kept_bytes(&self) -> u64 {
        let needed = self.flushed.iter().filter(|database| database.snapshot.is_some());
        self.cloned_bytes() + needed.map(Keyspace::used_memory).sum::<u64>()
    }
}

impl Index<usize> for Databases {
    type Output = Keyspace;
    fn index(&self, number: usize) -> &Keyspace {
        &self.databases[number]
    }
}

impl IndexMut<usize> for Databases {
    fn index_mut(&mut self, number: usize) -> &mut Keyspace {
        &mut self.databases[number]
    }
}
