//! The data of a shard: sixteen databases and the stream of their changes.
//!
//! Lives here: looking keys up (the one accessor, which notes what a reply depends on and sees to
//! keys that are due), changes of several keys, and the way back.
//! Not here: what commands mean (`commands`), when turns end (`shard`).
//!
//! Invariant: every change goes through a mutator, and `apply(effects, before) == after`.

mod access;
mod apply;
mod eviction;
mod handle;
mod recorder;
mod uncommitted;
mod undo;
mod watch;

#[cfg(test)]
mod tests;

pub use access::{AccessClock, Frequency};
pub use apply::ApplyError;
pub use handle::{EntryHandle, HashHandle, StringHandle};
pub use uncommitted::Turn;
pub use undo::UndoList;

use crate::effect::Effect;
use crate::error::{Result, WRONG_TYPE};
use crate::hash::{HashKey, KeyHash};
use crate::keyspace::{Databases, Entry, Keyspace, Touch, digest};
use crate::value::StringRef;
use crate::value::{Hash, HashLimits, Value};
use recorder::Recorder;
use undo::Replaced;

/// Number of databases; SELECT takes 0 to this minus one.
pub const DATABASE_COUNT: usize = 16;

/// Where a key of the running command was located already: its address tells it apart.
#[derive(Clone, Copy, Debug)]
struct Hint {
    address: *const u8,
    length: usize,
    at: KeyHash,
}

/// Counters of lookups and of keys that went.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataStats {
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    pub evicted_keys: u64,
}

pub struct Data {
    databases: Databases,
    hash_key: HashKey,
    recorder: Recorder,
    /// Shard time in milliseconds since 1970: what deadlines are compared with.
    now_ms: i64,
    /// A key found due may be deleted in the log: the shard is primary and the log has room.
    pub may_log: bool,
    /// A key found due since this was last set could not be deleted in the log: it was taken for absent all the same.
    pub has_hidden_due: bool,
    /// The number of the database that lookups go to.
    database: u8,
    pub access: AccessClock,
    /// Keys that the running command uses are marked; not so under NO-TOUCH.
    marks_use: bool,
    hint: Option<Hint>,
    pub hash_limits: HashLimits,
    eviction_pool: eviction::EvictionPool,
    pub stats: DataStats,
}

impl Data {
    pub fn new(hash_key: HashKey) -> Data {
        Data {
            databases: Databases::new(hash_key, DATABASE_COUNT),
            hash_key,
            recorder: Recorder::new(DATABASE_COUNT),
            now_ms: 0,
            may_log: true,
            has_hidden_due: false,
            database: 0,
            access: AccessClock::default(),
            marks_use: true,
            hint: None,
            hash_limits: HashLimits { listpack_entries_max: 128, listpack_value_bytes_max: 64, hash_key },
            eviction_pool: eviction::EvictionPool::default(),
            stats: DataStats::default(),
        }
    }

    /// Starts a command of a session: the database it works in and how it touches keys.
    pub fn begin(&mut self, database: u8, marks_use: bool) {
        self.database = database;
        self.marks_use = marks_use;
        self.hint = None;
        self.recorder.uncommitted.begin();
    }

    /// Another database for the commands of the same transaction or for COPY and MOVE.
    pub fn select(&mut self, database: u8) {
        self.database = database;
    }

    pub fn database(&self) -> u8 {
        self.database
    }

    /// A key of the running command was located while the batch was prefetched.
    pub fn set_hint(&mut self, key: &[u8], at: KeyHash) {
        self.hint = Some(Hint { address: key.as_ptr(), length: key.len(), at });
    }

    /// The command is over: its arguments' addresses mean nothing any more.
    pub fn clear_hint(&mut self) {
        self.hint = None;
    }

    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Hash and slot of a key.
    #[inline]
    pub fn locate(&self, key: &[u8]) -> KeyHash {
        match self.hint {
            Some(hint) if std::ptr::eq(hint.address, key.as_ptr()) && hint.length == key.len() => hint.at,
            _ => self.hash_key.locate(key),
        }
    }

    /// Prefetch: one step of the way to a key.
    #[inline]
    pub fn touch(&self, database: u8, at: KeyHash, step: Touch) {
        self.databases[usize::from(database)].touch(at, step);
    }

    /// The current database, for iteration; its reader must depend on all.
    pub fn keyspace(&self) -> &Keyspace {
        &self.databases[usize::from(self.database)]
    }

    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    pub fn databases_mut_for_snapshot(&mut self) -> &mut Databases {
        &mut self.databases
    }

    /// Our own exact account of the data in bytes.
    pub fn used_memory(&self) -> u64 {
        self.databases.used_memory()
    }

    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    // --- lookups -----------------------------------------------------------------------------

    /// Whether the key is there and past its deadline.
    fn is_due(&self, at: KeyHash, key: &[u8]) -> bool {
        let keyspace = &self.databases[usize::from(self.database)];
        keyspace.expires_len() > 0
            && keyspace
                .get(at, key)
                .and_then(Entry::expiry_ms)
                .is_some_and(|deadline_ms| deadline_ms <= self.now_ms)
    }

    /// Deletes a key found due, through the log; false when it may not: it then reads as absent.
    fn expire(&mut self, at: KeyHash, key: &[u8]) -> bool {
        if !self.may_log {
            self.has_hidden_due = true;
            return false;
        }
        let is_deleted = self.handle(at, key).delete();
        assert!(is_deleted, "a due key is there");
        self.stats.expired_keys += 1;
        true
    }

    /// The key for reading, without counting or touching it: EXISTS, TYPE, TTL, OBJECT.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let at = self.locate(key);
        self.recorder.uncommitted.depend_on(self.database, at);
        if self.is_due(at, key) {
            self.expire(at, key);
            return None;
        }
        self.databases[usize::from(self.database)].get(at, key)
    }

    /// The key for reading: counted as hit or miss, its access clock set.
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let at = self.locate(key);
        self.recorder.uncommitted.depend_on(self.database, at);
        if self.is_due(at, key) {
            self.expire(at, key);
            self.stats.keyspace_misses += 1;
            return None;
        }
        let found = self.databases[usize::from(self.database)].get(at, key);
        match found {
            Some(entry) => {
                self.stats.keyspace_hits += 1;
                if self.marks_use {
                    entry.touch(self.access.used(entry.access()));
                }
            }
            None => self.stats.keyspace_misses += 1,
        }
        found
    }

    /// The string at a key, for reading.
    pub fn read_string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.string().map(Some).ok_or(WRONG_TYPE),
        }
    }

    /// The hash at a key, for reading.
    pub fn read_hash(&mut self, key: &[u8]) -> Result<Option<&Hash>> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => match entry.value() {
                Some(Value::Hash(hash)) => Ok(Some(hash)),
                _ => Err(WRONG_TYPE),
            },
        }
    }

    /// The key for a change: found once, kept as a handle.
    pub fn entry<'d>(&'d mut self, key: &'d [u8]) -> EntryHandle<'d> {
        let at = self.locate(key);
        self.recorder.uncommitted.depend_on(self.database, at);
        if self.is_due(at, key) {
            let is_gone = self.expire(at, key);
            assert!(is_gone, "admission lets no write in that may not log");
        }
        // Built here and not by `handle`, so that the access clock stays free to be asked.
        let fresh_mark = self.access.fresh();
        let handle = EntryHandle {
            place: Some(self.databases[usize::from(self.database)].place(at, key)),
            recorder: &mut self.recorder,
            database: self.database,
            key,
            at,
            fresh_mark,
            hash_limits: self.hash_limits,
        };
        if self.marks_use
            && let Some(entry) = handle.entry()
        {
            entry.touch(self.access.used(entry.access()));
        }
        handle
    }

    fn handle<'d>(&'d mut self, at: KeyHash, key: &'d [u8]) -> EntryHandle<'d> {
        EntryHandle {
            place: Some(self.databases[usize::from(self.database)].place(at, key)),
            recorder: &mut self.recorder,
            database: self.database,
            key,
            at,
            fresh_mark: self.access.fresh(),
            hash_limits: self.hash_limits,
        }
    }

    // --- changes of several keys ---------------------------------------------------------------

    /// Moves value and deadline of an existing key to another name, replacing what is there.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) {
        let (from_at, to_at) = (self.locate(from), self.locate(to));
        let database = self.database;
        let keyspace = &mut self.databases[usize::from(database)];
        self.recorder.before(database, from, keyspace.get(from_at, from));
        self.recorder.before(database, to, keyspace.get(to_at, to));
        let entry = keyspace.remove(from_at, from).expect("the caller saw the key");
        keyspace.insert(to_at, entry.with_key(to));
        self.recorder.changed(database, from, from_at, &Effect::Rename { database, from, to });
        self.recorder.also_changed(database, to, to_at);
    }

    /// Copies an existing key of the current database, replacing what stands at the target.
    pub fn copy(&mut self, from: &[u8], to_database: u8, to: &[u8]) {
        let (from_at, to_at) = (self.locate(from), self.locate(to));
        let from_database = self.database;
        let entry =
            self.databases[usize::from(from_database)].get(from_at, from).expect("the caller saw the key");
        let copy = entry.clone().with_key(to);
        copy.touch(self.access.fresh());
        let target = &mut self.databases[usize::from(to_database)];
        self.recorder.before(to_database, to, target.get(to_at, to));
        target.insert(to_at, copy);
        let effect = Effect::Copy { from_database, from, to_database, to };
        self.recorder.changed(to_database, to, to_at, &effect);
    }

    /// Moves an existing key to another database, where it must not stand.
    pub fn move_key(&mut self, key: &[u8], to_database: u8) {
        let at = self.locate(key);
        let from_database = self.database;
        let source = &mut self.databases[usize::from(from_database)];
        self.recorder.before(from_database, key, source.get(at, key));
        let entry = source.remove(at, key).expect("the caller saw the key");
        let target = &mut self.databases[usize::from(to_database)];
        self.recorder.before(to_database, key, target.get(at, key));
        target.insert(at, entry);
        let effect = Effect::Move { from_database, to_database, key };
        self.recorder.changed(from_database, key, at, &effect);
        self.recorder.also_changed(to_database, key, at);
    }

    /// Empties one database.
    pub fn flush_database(&mut self, database: u8) {
        self.break_watches(database);
        self.empty(database);
        self.recorder.changed_databases(&[database], &Effect::FlushDatabase { database });
    }

    /// Empties all databases.
    pub fn flush_all(&mut self) {
        let all: Vec<u8> = (0..DATABASE_COUNT as u8).collect();
        for database in &all {
            self.break_watches(*database);
            self.empty(*database);
        }
        self.recorder.changed_databases(&all, &Effect::FlushAll);
    }

    fn empty(&mut self, database: u8) {
        self.databases.flush(usize::from(database));
        if let Some(undo) = &mut self.recorder.undo {
            undo.keep_flush(database);
        }
    }

    /// Two databases change their numbers.
    pub fn swap_databases(&mut self, first: u8, second: u8) {
        for database in [first, second] {
            for key in self.recorder.watches.watched_in(database) {
                let at = self.locate(&key);
                let stands = |number: u8| self.databases[usize::from(number)].get(at, &key).is_some();
                if stands(first) || stands(second) {
                    self.recorder.watches.changed(database, &key);
                }
            }
        }
        self.databases.swap(usize::from(first), usize::from(second));
        if let Some(undo) = &mut self.recorder.undo {
            undo.keep_swap(first, second);
        }
        self.recorder.changed_databases(&[first, second], &Effect::SwapDatabases { first, second });
    }

    /// Breaks the watches of keys that are there.
    fn break_watches(&mut self, database: u8) {
        for key in self.recorder.watches.watched_in(database) {
            let at = self.locate(&key);
            if self.databases[usize::from(database)].get(at, &key).is_some() {
                self.recorder.watches.changed(database, &key);
            }
        }
    }

    /// Frees about so many entries of flushed databases; gives whether more are left.
    pub fn free_flushed(&mut self, entries_max: usize) -> bool {
        self.databases.free_flushed(entries_max)
    }

    /// Deletes keys past their deadlines, the earliest first, at most `count_max`; gives how many.
    pub fn expire_due(&mut self, count_max: usize) -> usize {
        if !self.may_log {
            return 0;
        }
        let before = self.database;
        let mut deleted = 0;
        for database in 0..DATABASE_COUNT as u8 {
            self.database = database;
            while deleted < count_max
                && let Some((at, entry)) = self.databases[usize::from(database)].next_due(self.now_ms)
            {
                let key = entry.key().to_vec();
                self.expire(at, &key);
                deleted += 1;
            }
        }
        self.database = before;
        deleted
    }

    // --- what replies depend on ------------------------------------------------------------------

    /// The reply rests on many or unknown keys: it waits for everything uncommitted.
    pub fn depend_on_all(&mut self) {
        self.recorder.uncommitted.depend_on_all();
    }

    /// What the running command's reply has to wait for; `Turn::NONE` when nothing.
    pub fn depends(&self) -> Turn {
        self.recorder.uncommitted.depends()
    }

    pub fn watch(&mut self, session: crate::session::SessionId, key: &[u8]) -> bool {
        // A key already past its deadline goes now, so that its going later breaks no watch.
        self.peek(key);
        self.recorder.watches.watch(session, self.database, key)
    }

    /// Ends the session's watches; gives whether one was broken.
    pub fn unwatch(&mut self, session: crate::session::SessionId) -> bool {
        self.recorder.watches.unwatch(session)
    }

    /// Deletes the watched keys of two databases, in either of them, that are past their deadlines: before the
    /// databases are swapped, so that what is gone in truth neither breaks a watch nor hides what does.
    pub fn expire_watched(&mut self, first: u8, second: u8) {
        let database = self.database;
        let mut keys = self.recorder.watches.watched_in(first);
        keys.extend(self.recorder.watches.watched_in(second));
        for key in keys {
            for number in [first, second] {
                self.database = number;
                self.peek(&key);
            }
        }
        self.database = database;
    }

    /// Whether EXEC of this session must answer nil. Deadlines that have passed unseen count.
    pub fn is_watch_broken(&mut self, session: crate::session::SessionId) -> bool {
        let database = self.database;
        for (watched_in, key) in self.recorder.watches.keys_of(session).to_vec() {
            self.database = watched_in;
            self.peek(&key);
        }
        self.database = database;
        self.recorder.watches.is_broken(session)
    }

    /// Watched keys and watching sessions.
    pub fn watch_counts(&self) -> (usize, usize) {
        self.recorder.watches.counts()
    }

    /// As if nothing watched by the session had changed: a bug that a shard can be told to have.
    pub fn mend_watch(&mut self, session: crate::session::SessionId) {
        self.recorder.watches.mend(session);
    }

    pub fn break_all_watches(&mut self) {
        self.recorder.watches.break_all();
    }

    // --- turns ---------------------------------------------------------------------------------

    /// Bytes of effects recorded in the current turn.
    pub fn effects_bytes(&self) -> usize {
        self.recorder.effects.len()
    }

    pub fn effects(&self) -> &[u8] {
        &self.recorder.effects
    }

    /// Ends the turn: its number, its effects moved to the end of `out`.
    pub fn end_turn(&mut self, out: &mut Vec<u8>) -> Turn {
        assert!(self.recorder.undo.is_none(), "a turn ends between commands");
        out.extend_from_slice(&self.recorder.effects);
        self.recorder.effects.clear();
        self.recorder.uncommitted.end_turn()
    }

    pub fn current_turn(&self) -> Turn {
        self.recorder.uncommitted.current()
    }

    /// All turns up to this one are committed.
    pub fn commit(&mut self, turn: Turn) {
        self.recorder.uncommitted.commit(turn);
    }

    /// Every ended turn is committed.
    pub fn commit_all(&mut self) {
        let current = self.recorder.uncommitted.current();
        self.recorder.uncommitted.commit(Turn(current.0 - 1));
    }

    /// The last committed turn.
    pub fn committed_turn(&self) -> Turn {
        self.recorder.uncommitted.committed()
    }

    /// Drops the effects of the current turn. Only a seeded bug does that.
    pub fn forget_effects(&mut self) {
        self.recorder.effects.clear();
    }

    /// Number of keys whose last change is not committed.
    pub fn uncommitted_keys(&self) -> usize {
        self.recorder.uncommitted.len()
    }

    /// Counts the running command's changes as Redis does, where mutators count others: so many less, so many more.
    pub fn recount_changes(&mut self, less: u64, more: u64) {
        self.recorder.changes = self.recorder.changes + more - less;
    }

    /// Changes since the start.
    pub fn changes(&self) -> u64 {
        self.recorder.changes
    }

    /// Empties the data without recording it, before a rebuild from the log: every watch is broken.
    /// Only between turns, with nothing uncommitted.
    pub fn clear_for_rebuild(&mut self) {
        assert!(
            self.recorder.effects.is_empty() && self.recorder.undo.is_none(),
            "a rebuild begins between turns"
        );
        self.recorder.watches.break_all();
        self.recorder.uncommitted.reset();
        self.databases = Databases::new(self.hash_key, DATABASE_COUNT);
    }

    /// Begins anew with the hash key of a snapshot that is loaded next.
    pub fn begin_load(&mut self, hash_key: HashKey) {
        self.hash_key = hash_key;
        self.hash_limits.hash_key = hash_key;
        self.databases = Databases::new(hash_key, DATABASE_COUNT);
    }

    /// Puts an entry of a snapshot in. Gives one back if there is no such database or the key stands there.
    pub fn load_entry(&mut self, database: usize, entry: Entry) -> Option<Entry> {
        if database >= DATABASE_COUNT {
            return Some(entry);
        }
        let at = self.hash_key.locate(entry.key());
        self.databases[database].insert(at, entry)
    }

    /// Digest of the logical content of all databases.
    pub fn digest(&self) -> u128 {
        digest::combine(self.databases.iter().map(Keyspace::digest))
    }

    /// Records the shard's first effect.
    pub fn record_genesis(&mut self) {
        self.recorder.changed_databases(&[], &Effect::Genesis { hash_key: self.hash_key.0 });
    }

    // --- the way back --------------------------------------------------------------------------

    /// Keeps from now on what every change replaces.
    pub fn begin_undo(&mut self) {
        assert!(self.recorder.undo.is_none(), "undo lists do not nest");
        let mut undo = UndoList::new(self.recorder.effects.len(), self.recorder.changes);
        undo.broken_watches = self.recorder.watches.broken();
        self.recorder.undo = Some(undo);
    }

    /// No way back is being kept.
    pub fn is_undo_free(&self) -> bool {
        self.recorder.undo.is_none()
    }

    /// The changes stay.
    pub fn forget_undo(&mut self) {
        self.recorder.undo = None;
    }

    /// Takes back every change since `begin_undo`, and its effects.
    pub fn undo(&mut self) {
        let mut undo = self.recorder.undo.take().expect("begin_undo came first");
        self.recorder.watches.restore(std::mem::take(&mut undo.broken_watches));
        self.recorder.effects.truncate(undo.effects_length);
        self.recorder.changes = undo.changes;
        for replaced in undo.into_last_first() {
            match replaced {
                Replaced::Entry { database, key, before } => {
                    let at = self.hash_key.locate(&key);
                    let keyspace = &mut self.databases[usize::from(database)];
                    match before {
                        Some(entry) => {
                            keyspace.insert(at, entry);
                        }
                        None => {
                            keyspace.remove(at, &key);
                        }
                    }
                }
                Replaced::Flushed { database } => self.databases.unflush(usize::from(database)),
                Replaced::Swapped { first, second } => {
                    self.databases.swap(usize::from(first), usize::from(second))
                }
            }
        }
    }
}
