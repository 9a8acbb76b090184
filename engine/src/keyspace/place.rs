//! The place of one key, found by a single lookup.
//!
//! Lives here: every change that can be made to an entry or to its absence.
//! Not here: effects and events, which the mutators above derive from these changes.
//!
//! Invariant: each change keeps the segment for a running snapshot first, then the account of memory and the
//! index of deadlines.

use super::Keyspace;
use super::entry::{Content, Entry};
use super::table::Location;
use crate::hash::KeyHash;
use crate::value::Value;

/// What a lookup for a change found.
pub enum Place<'k> {
    Occupied(Occupied<'k>),
    Vacant(Vacant<'k>),
}

/// A key that exists.
pub struct Occupied<'k> {
    keyspace: &'k mut Keyspace,
    at: KeyHash,
    location: Location,
}

/// A key that does not exist.
pub struct Vacant<'k> {
    keyspace: &'k mut Keyspace,
    at: KeyHash,
    key: &'k [u8],
}

impl<'k> Occupied<'k> {
    pub(super) fn new(keyspace: &'k mut Keyspace, at: KeyHash, location: Location) -> Occupied<'k> {
        Occupied { keyspace, at, location }
    }

    #[inline]
    pub fn entry(&self) -> &Entry {
        self.keyspace.table(self.at.slot).expect("the key exists").entry(self.location)
    }

    pub fn at(&self) -> KeyHash {
        self.at
    }

    /// Sets a string as a whole: integer, embedded or raw by its bytes. Expiry and access clock stay.
    pub fn set_string(&mut self, value: &[u8]) {
        self.set_content(Content::string(value));
    }

    /// Sets the string that is the decimal form of `value`. Expiry and access clock stay.
    pub fn set_integer(&mut self, value: i64) {
        self.set_content(Content::Integer(value));
    }

    /// Sets a value of any kind. Expiry and access clock stay.
    pub fn set_value(&mut self, value: Value) {
        self.set_content(Content::Value(value));
    }

    /// Changes the value in place. An integer or embedded string becomes a raw string value first.
    pub fn modify<R>(&mut self, change: impl FnOnce(&mut Value) -> R) -> R {
        let (entry, entry_bytes) = self.entry_mut();
        let before = entry.memory_bytes();
        let result = entry.modify(change);
        *entry_bytes = *entry_bytes + entry.memory_bytes() - before;
        result
    }

    /// Sets or takes away the deadline, in milliseconds since 1970.
    pub fn set_expiry(&mut self, at_ms: Option<i64>) {
        let old = self.entry().expiry_ms();
        if old == at_ms {
            return;
        }
        let (entry, entry_bytes) = self.entry_mut();
        *entry_bytes -= entry.memory_bytes();
        entry.set_expiry(at_ms);
        *entry_bytes += entry.memory_bytes();
        self.keyspace.change_deadline(self.at, old, at_ms);
    }

    /// Sets the 24-bit access clock; no change that a snapshot would notice.
    pub fn set_access(&mut self, access: u32) {
        self.entry().touch(access);
    }

    /// Puts a whole entry of the same key here; gives back what it replaces.
    pub fn replace(&mut self, entry: Entry) -> Entry {
        assert!(entry.key() == self.entry().key(), "a place holds its own key only");
        self.keyspace.replace_at(self.at, self.location, entry)
    }

    pub fn remove(self) -> Entry {
        self.keyspace.remove_at(self.at, self.location)
    }

    fn set_content(&mut self, content: Content<'_>) {
        let (entry, entry_bytes) = self.entry_mut();
        // In place nothing changes its size.
        if !entry.overwrite(&content) {
            *entry_bytes -= entry.memory_bytes();
            entry.set_content(content);
            *entry_bytes += entry.memory_bytes();
        }
    }

    /// The entry for a change, kept for a running snapshot, and the account of its bytes.
    fn entry_mut(&mut self) -> (&mut Entry, &mut u64) {
        self.keyspace.keep(self.at);
        self.keyspace.entry_mut(self.at.slot, self.location)
    }
}

impl<'k> Vacant<'k> {
    pub(super) fn new(keyspace: &'k mut Keyspace, at: KeyHash, key: &'k [u8]) -> Vacant<'k> {
        Vacant { keyspace, at, key }
    }

    pub fn at(&self) -> KeyHash {
        self.at
    }

    /// Puts a string here: integer, embedded or raw by its bytes.
    pub fn insert_string(self, value: &[u8], expiry: Option<i64>) -> Occupied<'k> {
        self.insert_content(Content::string(value), expiry)
    }

    /// Puts the string that is the decimal form of `value` here.
    pub fn insert_integer(self, value: i64, expiry: Option<i64>) -> Occupied<'k> {
        self.insert_content(Content::Integer(value), expiry)
    }

    /// Puts a value of any kind here.
    pub fn insert_value(self, value: Value, expiry: Option<i64>) -> Occupied<'k> {
        self.insert_content(Content::Value(value), expiry)
    }

    fn insert_content(self, content: Content<'_>, expiry: Option<i64>) -> Occupied<'k> {
        let location = self.keyspace.insert_new(self.at, Entry::new(self.key, content, expiry));
        Occupied { keyspace: self.keyspace, at: self.at, location }
    }
}
