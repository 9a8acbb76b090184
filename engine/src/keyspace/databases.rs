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
    /// Number of the last snapshot begun.
    epoch: u32,
    running: Option<Running>,
}

struct Running {
    /// Number, at the beginning, of the database being read.
    current: usize,
    /// Databases flushed since the beginning of which the snapshot still needs something.
    flushed: Vec<Keyspace>,
}

impl Databases {
    pub fn new(key: HashKey, count: usize) -> Databases {
        let databases = (0..count).map(|_| Keyspace::new(key)).collect();
        Databases { key, databases, epoch: 0, running: None }
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

    /// Bytes of all databases, without what a snapshot keeps.
    pub fn used_memory(&self) -> u64 {
        self.databases.iter().map(Keyspace::used_memory).sum()
    }

    /// Empties one database. Gives back its old content, to be dropped at once or bit by bit
    /// (`Keyspace::free_some`), unless a snapshot needs it.
    pub fn flush(&mut self, number: usize) -> Option<Keyspace> {
        let old = std::mem::replace(&mut self.databases[number], Keyspace::new(self.key));
        match &mut self.running {
            Some(running) if old.snapshot.is_some() => {
                running.flushed.push(old);
                None
            }
            _ => Some(old),
        }
    }

    /// Empties all databases; gives back their old contents as `flush` does.
    pub fn flush_all(&mut self) -> Vec<Keyspace> {
        (0..self.count()).filter_map(|number| self.flush(number)).collect()
    }

    /// Exchanges two databases (SWAPDB).
    pub fn swap(&mut self, first: usize, second: usize) {
        self.databases.swap(first, second);
    }

    /// Begins a snapshot of this very moment. One runs at a time.
    pub fn begin_snapshot(&mut self) {
        assert!(self.running.is_none(), "one snapshot runs at a time");
        self.epoch = self.epoch.checked_add(1).expect("one snapshot a second lasts 136 years");
        for (number, database) in self.databases.iter_mut().enumerate() {
            database.snapshot = Some(Box::new(Part::new(self.epoch, number)));
        }
        self.running = Some(Running { current: 0, flushed: Vec::new() });
    }

    pub fn snapshot_is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Gives about `count_max` further entries (a whole segment more at most) with their database's number at
    /// the beginning. Databases come in the order of these numbers, entries in no order. Returns whether the
    /// snapshot goes on; it has ended when not.
    pub fn step_snapshot(&mut self, count_max: usize, found: &mut dyn FnMut(usize, &Entry)) -> bool {
        let mut count = count_max.max(1);
        while let Some(running) = &mut self.running {
            let current = running.current;
            let is_current = |database: &&mut Keyspace| {
                database.snapshot.as_ref().is_some_and(|part| part.number() == current)
            };
            let mut candidates = self.databases.iter_mut().chain(running.flushed.iter_mut());
            let database = candidates.find(is_current).expect("each part lasts until it was read to its end");
            if database.step_snapshot(&mut count, found) {
                return true;
            }
            running.flushed.retain(|database| database.snapshot.is_some());
            running.current += 1;
            if running.current == self.databases.len() {
                self.running = None;
            }
        }
        false
    }

    /// Gives a running snapshot up and lets go of all it kept.
    pub fn cancel_snapshot(&mut self) {
        self.running = None;
        self.databases.iter_mut().for_each(|database| database.snapshot = None);
    }

    /// Bytes held for the snapshot alone: clones of entries, without contents they share with live ones, and
    /// flushed databases.
    pub fn kept_bytes(&self) -> u64 {
        let flushed = self.running.iter().flat_map(|running| &running.flushed);
        let cloned = |database: &Keyspace| database.snapshot.as_ref().map_or(0, |part| part.kept_bytes());
        self.databases.iter().map(cloned).sum::<u64>()
            + flushed.map(|database| cloned(database) + database.used_memory()).sum::<u64>()
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
