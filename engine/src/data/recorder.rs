//! The one stream of effects.
//!
//! Lives here: what happens at every change: it is encoded for the log, its key is marked as
//! uncommitted, watches are told, and what stood before is kept if a way back is wanted.
//! Not here: the changes (`data::handle`).

use super::uncommitted::Uncommitted;
use super::undo::UndoList;
use super::watch::Watches;
use crate::effect::Effect;
use crate::hash::KeyHash;
use crate::keyspace::Entry;

pub struct Recorder {
    /// Effects of the current turn in binary form.
    pub(super) effects: Vec<u8>,
    pub uncommitted: Uncommitted,
    pub watches: Watches,
    pub(super) undo: Option<UndoList>,
    /// Changes since the start: rdb_changes_since_last_save.
    pub changes: u64,
    /// False while effects are applied instead of made: replay, replica.
    pub(super) is_recording: bool,
}

impl Recorder {
    pub fn new(databases: usize) -> Recorder {
        Recorder {
            effects: Vec::new(),
            uncommitted: Uncommitted::new(databases),
            watches: Watches::default(),
            undo: None,
            changes: 0,
            is_recording: true,
        }
    }

    /// Called by every mutator before it changes what stands at a key.
    pub(super) fn before(&mut self, database: u8, key: &[u8], entry: Option<&Entry>) {
        if let Some(undo) = &mut self.undo {
            undo.keep(database, key, entry);
        }
    }

    /// Called by every mutator with the change that it made at a key.
    pub(super) fn changed(&mut self, database: u8, key: &[u8], at: KeyHash, effect: &Effect<'_>) {
        self.changes += 1;
        self.watches.changed(database, key);
        if self.is_recording {
            self.uncommitted.mark(database, at);
            effect.encode(&mut self.effects);
        }
    }

    /// A second key changed by the effect just recorded.
    pub(super) fn also_changed(&mut self, database: u8, key: &[u8], at: KeyHash) {
        self.watches.changed(database, key);
        if self.is_recording {
            self.uncommitted.mark(database, at);
        }
    }

    /// A change of databases as a whole.
    pub(super) fn changed_databases(&mut self, databases: &[u8], effect: &Effect<'_>) {
        self.changes += 1;
        if self.is_recording {
            databases.iter().for_each(|database| self.uncommitted.mark_database(*database));
            effect.encode(&mut self.effects);
        }
    }
}
