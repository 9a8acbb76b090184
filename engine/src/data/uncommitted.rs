//! Which keys changed in turns that are not yet committed.
//!
//! Lives here: the table beside the keyspace, by database and key, and what the reply of the
//! running command depends on. It outlives deletion, expiry, RENAME: only a commit clears it.
//! Not here: the replies that wait (`shard::gate`).
//!
//! Keys stand as 64-bit fingerprints: two keys that share one make a reply wait longer, never less.

use crate::hash::KeyHash;
use hashbrown::HashTable;
use std::collections::VecDeque;

/// Number of a turn: all that was executed between two proposals to the log. Starts at 1; a turn
/// becomes one entry of the log, or one group of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(pub u64);

impl Turn {
    /// Before every turn: a reply that waits for this waits for nothing.
    pub const NONE: Turn = Turn(0);

    pub fn next(self) -> Turn {
        Turn(self.0 + 1)
    }
}

#[derive(Debug)]
pub struct Uncommitted {
    changed: HashTable<(u64, Turn)>,
    order: VecDeque<(Turn, u64)>,
    /// Last turn that changed a database as a whole, per database.
    whole: Vec<Turn>,
    /// The turn being filled.
    current: Turn,
    /// The last turn that changed anything, the current one included.
    last_change: Turn,
    committed: Turn,
    /// What the running command's reply has to wait for.
    depends: Turn,
}

impl Uncommitted {
    pub fn new(databases: usize) -> Uncommitted {
        Uncommitted {
            changed: HashTable::new(),
            order: VecDeque::new(),
            whole: vec![Turn::NONE; databases],
            current: Turn(1),
            last_change: Turn::NONE,
            committed: Turn::NONE,
            depends: Turn::NONE,
        }
    }

    /// Starts a command: its reply depends on nothing so far.
    pub fn begin(&mut self) {
        self.depends = Turn::NONE;
    }

    /// What the reply of the running command has to wait for; `NONE` when nothing.
    pub fn depends(&self) -> Turn {
        if self.depends > self.committed { self.depends } else { Turn::NONE }
    }

    /// The reply rests on this key.
    #[inline]
    pub fn depend_on(&mut self, database: u8, at: KeyHash) {
        if self.committed >= self.last_change {
            return;
        }
        let fingerprint = fingerprint(database, at);
        if let Some((_, turn)) = self.changed.find(fingerprint, |(other, _)| *other == fingerprint) {
            self.depends = self.depends.max(*turn);
        }
        self.depends = self.depends.max(self.whole[database as usize]);
    }

    /// The reply rests on many or unknown keys.
    pub fn depend_on_all(&mut self) {
        self.depends = self.depends.max(self.last_change);
    }

    /// The current turn changed this key.
    pub fn mark(&mut self, database: u8, at: KeyHash) {
        let fingerprint = fingerprint(database, at);
        let turn = self.current;
        self.last_change = turn;
        self.depends = turn;
        let entry = self.changed.entry(fingerprint, |(other, _)| *other == fingerprint, |(other, _)| *other);
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut known) if known.get().1 == turn => {
                known.get_mut().1 = turn;
                return;
            }
            hashbrown::hash_table::Entry::Occupied(mut known) => known.get_mut().1 = turn,
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert((fingerprint, turn));
            }
        }
        self.order.push_back((turn, fingerprint));
    }

    /// The current turn changed a database as a whole.
    pub fn mark_database(&mut self, database: u8) {
        self.whole[database as usize] = self.current;
        self.last_change = self.current;
        self.depends = self.current;
    }

    /// The turn being filled.
    pub fn current(&self) -> Turn {
        self.current
    }

    /// Ends the current turn; gives its number.
    pub fn end_turn(&mut self) -> Turn {
        let ended = self.current;
        self.current = ended.next();
        ended
    }

    /// All turns up to this one are committed.
    pub fn commit(&mut self, turn: Turn) {
        assert!(turn >= self.committed, "commits never go back");
        assert!(turn < self.current, "only ended turns commit");
        self.committed = turn;
        while let Some(&(changed_in, fingerprint)) = self.order.front()
            && changed_in <= turn
        {
            self.order.pop_front();
            let found = self.changed.find_entry(fingerprint, |(other, _)| *other == fingerprint);
            if let Ok(known) = found
                && known.get().1 <= turn
            {
                known.remove();
            }
        }
    }

    /// Nothing that was executed counts any more: every ended turn is over.
    pub fn reset(&mut self) {
        self.changed.clear();
        self.order.clear();
        self.whole.fill(Turn::NONE);
        self.committed = Turn(self.current.0 - 1);
        self.last_change = Turn::NONE;
    }

    pub fn committed(&self) -> Turn {
        self.committed
    }

    /// Number of keys with an uncommitted change.
    pub fn len(&self) -> usize {
        self.changed.len()
    }
}

/// The keyed hash is well mixed; the database only has to move it.
fn fingerprint(database: u8, at: KeyHash) -> u64 {
    at.hash ^ u64::from(database).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;

    fn at(key: &[u8]) -> KeyHash {
        HashKey([1, 2]).locate(key)
    }

    #[test]
    fn a_reply_waits_for_the_last_uncommitted_change_of_its_key_and_of_no_other() {
        let mut table = Uncommitted::new(2);
        table.mark(0, at(b"a"));
        assert_eq!(table.depends(), Turn(1), "a write waits for its own turn");
        table.end_turn();
        table.mark(0, at(b"b"));
        table.end_turn();
        table.begin();
        table.depend_on(0, at(b"a"));
        assert_eq!(table.depends(), Turn(1));
        table.depend_on(0, at(b"b"));
        assert_eq!(table.depends(), Turn(2));
        table.begin();
        table.depend_on(1, at(b"a"));
        assert_eq!(table.depends(), Turn::NONE, "another database's key of the same name");
        table.depend_on_all();
        assert_eq!(table.depends(), Turn(2));
    }

    #[test]
    fn a_commit_clears_what_was_not_changed_again() {
        let mut table = Uncommitted::new(1);
        table.mark(0, at(b"a"));
        table.mark(0, at(b"b"));
        table.end_turn();
        table.mark(0, at(b"a"));
        table.end_turn();
        table.commit(Turn(1));
        assert_eq!(table.len(), 1);
        table.begin();
        table.depend_on(0, at(b"a"));
        assert_eq!(table.depends(), Turn(2));
        table.commit(Turn(2));
        assert_eq!(table.len(), 0);
        table.begin();
        table.depend_on(0, at(b"a"));
        assert_eq!(table.depends(), Turn::NONE);
    }

    #[test]
    fn a_flushed_database_holds_every_read_of_it_until_its_commit() {
        let mut table = Uncommitted::new(2);
        table.mark_database(1);
        table.end_turn();
        table.begin();
        table.depend_on(1, at(b"any"));
        assert_eq!(table.depends(), Turn(1));
        table.begin();
        table.depend_on(0, at(b"any"));
        assert_eq!(table.depends(), Turn::NONE);
    }
}
