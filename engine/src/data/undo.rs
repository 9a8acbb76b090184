//! The way back: what stood before, kept while a transaction or an oversized command runs.
//!
//! Lives here: the list and its order. Not here: deciding when it is kept (`execute`) and putting
//! things back (`data::Data::undo`).
//!
//! Invariant: taken from the end, each record restores exactly what the change after it replaced.
//! Big values share their chunks with the live ones, so a record costs a value's directory, not its size.

use crate::keyspace::Entry;
use std::collections::BTreeSet;

pub enum Replaced {
    /// What stood at the key, if anything.
    Entry {
        database: u8,
        key: Box<[u8]>,
        before: Option<Entry>,
    },
    Flushed {
        database: u8,
    },
    Swapped {
        first: u8,
        second: u8,
    },
}

#[derive(Default)]
pub struct UndoList {
    replaced: Vec<Replaced>,
    /// Keys whose state before is in the list already.
    known: BTreeSet<(u8, Box<[u8]>)>,
    /// Length of the effects when the list was begun: they are cut back to it.
    pub effects_length: usize,
    pub changes: u64,
}

impl UndoList {
    pub fn new(effects_length: usize, changes: u64) -> UndoList {
        UndoList { effects_length, changes, ..UndoList::default() }
    }

    /// Keeps what stands at a key, the first time the key is changed.
    pub fn keep(&mut self, database: u8, key: &[u8], before: Option<&Entry>) {
        if self.known.insert((database, key.into())) {
            self.replaced.push(Replaced::Entry { database, key: key.into(), before: before.cloned() });
        }
    }

    pub fn keep_flush(&mut self, database: u8) {
        self.known.clear();
        self.replaced.push(Replaced::Flushed { database });
    }

    pub fn keep_swap(&mut self, first: u8, second: u8) {
        self.known.clear();
        self.replaced.push(Replaced::Swapped { first, second });
    }

    /// The last record first.
    pub fn into_last_first(self) -> impl Iterator<Item = Replaced> {
        self.replaced.into_iter().rev()
    }
}
