//! Handles on one key: the only way to change data.
//!
//! Lives here: the mutators. Each changes the keyspace **and** records its effect, so nothing can
//! be forgotten in replication, WATCH, the gate or the way back.
//! Not here: changes of several keys or whole databases (`data`), and looking keys up (`data`).
//!
//! A handle is the entry found once: the mutators do not look the key up again.

use super::recorder::Recorder;
use crate::effect::{Effect, Expiry, StringList};
use crate::error::{Result, WRONG_TYPE};
use crate::hash::KeyHash;
use crate::keyspace::{Entry, Place};
use crate::value::{ChunkedBytes, Hash, HashLimits, Value};
use crate::value::{Kind, StringRef};

/// A key of one database, there or not.
pub struct EntryHandle<'d> {
    /// None once the key was removed through this handle.
    pub(super) place: Option<Place<'d>>,
    pub(super) recorder: &'d mut Recorder,
    pub(super) database: u8,
    pub(super) key: &'d [u8],
    pub(super) at: KeyHash,
    /// Access mark of the key if it is new.
    pub(super) fresh_mark: u32,
    pub(super) hash_limits: HashLimits,
}

impl<'d> EntryHandle<'d> {
    pub fn entry(&self) -> Option<&Entry> {
        match &self.place {
            Some(Place::Occupied(occupied)) => Some(occupied.entry()),
            Some(Place::Vacant(_)) | None => None,
        }
    }

    pub fn exists(&self) -> bool {
        self.entry().is_some()
    }

    pub fn expiry_ms(&self) -> Option<i64> {
        self.entry().and_then(Entry::expiry_ms)
    }

    /// The key as a string, or free to become one.
    pub fn string(self) -> Result<StringHandle<'d>> {
        match self.entry().map(Entry::kind) {
            None | Some(Kind::String) => Ok(StringHandle(self)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The key as a hash, or free to become one.
    pub fn hash(self) -> Result<HashHandle<'d>> {
        match self.entry().map(Entry::kind) {
            None | Some(Kind::Hash) => Ok(HashHandle(self)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// Makes the key a string of these bytes, whatever it was.
    pub fn set_string(&mut self, value: &[u8], expiry: Expiry) {
        self.before();
        let place = match self.place.take().expect("a removed key is not set again") {
            Place::Occupied(mut occupied) => {
                occupied.set_string(value);
                match expiry {
                    Expiry::Keep => {}
                    Expiry::None => occupied.set_expiry(None),
                    Expiry::At(at_ms) => occupied.set_expiry(Some(at_ms)),
                }
                occupied
            }
            Place::Vacant(vacant) => {
                let at_ms = if let Expiry::At(at_ms) = expiry { Some(at_ms) } else { None };
                let place = vacant.insert_string(value, at_ms);
                place.entry().touch(self.fresh_mark);
                place
            }
        };
        self.place = Some(Place::Occupied(place));
        self.record(&Effect::StringSet { database: self.database, key: self.key, value, expiry });
    }

    /// Removes the key; gives whether it was there.
    pub fn delete(&mut self) -> bool {
        if !self.exists() {
            return false;
        }
        self.before();
        self.remove();
        self.record(&Effect::Delete { database: self.database, key: self.key });
        true
    }

    /// Sets the deadline of an existing key.
    pub fn set_expiry(&mut self, at_ms: i64) {
        self.before();
        let Some(Place::Occupied(occupied)) = &mut self.place else {
            unreachable!("only an existing key gets a deadline");
        };
        occupied.set_expiry(Some(at_ms));
        self.record(&Effect::ExpirySet { database: self.database, key: self.key, at_ms });
    }

    /// Removes the deadline; gives whether there was one.
    pub fn persist(&mut self) -> bool {
        if self.expiry_ms().is_none() {
            return false;
        }
        self.before();
        let Some(Place::Occupied(occupied)) = &mut self.place else {
            unreachable!("a key with a deadline exists");
        };
        occupied.set_expiry(None);
        self.record(&Effect::ExpiryRemove { database: self.database, key: self.key });
        true
    }

    fn before(&mut self) {
        let entry = match &self.place {
            Some(Place::Occupied(occupied)) => Some(occupied.entry()),
            Some(Place::Vacant(_)) | None => None,
        };
        self.recorder.before(self.database, self.key, entry);
    }

    fn record(&mut self, effect: &Effect<'_>) {
        self.recorder.changed(self.database, self.key, self.at, effect);
    }

    fn remove(&mut self) {
        if let Some(Place::Occupied(occupied)) = self.place.take() {
            occupied.remove();
        }
    }
}

/// A key that is a string or free.
pub struct StringHandle<'d>(EntryHandle<'d>);

impl StringHandle<'_> {
    pub fn get(&self) -> Option<StringRef<'_>> {
        self.0.entry().and_then(Entry::string)
    }

    /// Length in bytes; 0 when the key is not there.
    pub fn len(&self) -> usize {
        self.get().map_or(0, |string| string.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn expiry_ms(&self) -> Option<i64> {
        self.0.expiry_ms()
    }

    pub fn set(&mut self, value: &[u8], expiry: Expiry) {
        self.0.set_string(value, expiry);
    }

    /// The value becomes this integer; the deadline stays.
    pub fn set_integer(&mut self, value: i64) {
        self.0.before();
        let place = match self.0.place.take().expect("a removed key is not set again") {
            Place::Occupied(mut occupied) => {
                occupied.set_integer(value);
                occupied
            }
            Place::Vacant(vacant) => {
                let mut digits = [0; 20];
                let text = crate::number::integer::format(value, &mut digits);
                let place = vacant.insert_string(text, None);
                place.entry().touch(self.0.fresh_mark);
                place
            }
        };
        self.0.place = Some(Place::Occupied(place));
        self.0.record(&Effect::IntegerSet { database: self.0.database, key: self.0.key, value });
    }

    /// Puts bytes at the end; the key may be new. Gives the new length.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        self.change(|string| string.append(bytes));
        let effect = Effect::StringAppend { database: self.0.database, key: self.0.key, bytes };
        self.0.record(&effect);
        self.len()
    }

    /// Puts bytes at an offset, with zeros in a gap before it. Gives the new length.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.change(|string| string.write_at(offset, bytes));
        let effect =
            Effect::StringWrite { database: self.0.database, key: self.0.key, offset: offset as u64, bytes };
        self.0.record(&effect);
        self.len()
    }

    pub fn delete(&mut self) -> bool {
        self.0.delete()
    }

    pub fn set_expiry(&mut self, at_ms: i64) {
        self.0.set_expiry(at_ms);
    }

    pub fn persist(&mut self) -> bool {
        self.0.persist()
    }

    fn change(&mut self, change: impl FnOnce(&mut ChunkedBytes)) {
        self.0.before();
        let place = match self.0.place.take().expect("a removed key is not changed again") {
            Place::Occupied(mut occupied) => {
                occupied.modify(|value| match value {
                    Value::String(string) => change(string),
                    _ => unreachable!("the handle was checked to be a string"),
                });
                occupied
            }
            Place::Vacant(vacant) => {
                let mut string = ChunkedBytes::default();
                change(&mut string);
                let place = vacant.insert_value(Value::String(string), None);
                place.entry().touch(self.0.fresh_mark);
                place
            }
        };
        self.0.place = Some(Place::Occupied(place));
    }
}

/// A key that is a hash or free.
pub struct HashHandle<'d>(EntryHandle<'d>);

impl HashHandle<'_> {
    pub fn get(&self) -> Option<&Hash> {
        match self.0.entry()?.value()? {
            Value::Hash(hash) => Some(hash),
            _ => unreachable!("the handle was checked to be a hash"),
        }
    }

    pub fn len(&self) -> usize {
        self.get().map_or(0, Hash::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a field; gives whether it is new. The key may be new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let limits = self.0.hash_limits;
        let is_new = self.change(|hash| hash.set(field, value, &limits));
        let effect = Effect::HashSet { database: self.0.database, key: self.0.key, field, value };
        self.0.record(&effect);
        is_new
    }

    /// Sets several fields in their order, as one effect; gives how many are new. The key may be new.
    pub fn set_fields<'f>(&mut self, pairs: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> usize {
        let limits = self.0.hash_limits;
        let mut written = StringList::default();
        let mut count = 0;
        let created = self.change(|hash| {
            let set = |(field, value): (&[u8], &[u8])| {
                written.push(field);
                written.push(value);
                count += 1;
                hash.set(field, value, &limits)
            };
            pairs.map(set).filter(|is_new| *is_new).count()
        });
        assert!(count > 0, "a change changes something");
        let pairs = written.as_strings();
        let effect = Effect::HashSetFields { database: self.0.database, key: self.0.key, pairs };
        self.0.record(&effect);
        self.0.recorder.changes += count - 1;
        created
    }

    /// Changes the hash, or makes it.
    fn change<R>(&mut self, change: impl FnOnce(&mut Hash) -> R) -> R {
        self.0.before();
        let (place, outcome) = match self.0.place.take().expect("a removed key is not changed again") {
            Place::Occupied(mut occupied) => {
                let outcome = occupied.modify(|stored| match stored {
                    Value::Hash(hash) => change(hash),
                    _ => unreachable!("the handle was checked to be a hash"),
                });
                (occupied, outcome)
            }
            Place::Vacant(vacant) => {
                let mut hash = Hash::new();
                let outcome = change(&mut hash);
                let place = vacant.insert_value(Value::Hash(hash), None);
                place.entry().touch(self.0.fresh_mark);
                (place, outcome)
            }
        };
        self.0.place = Some(Place::Occupied(place));
        outcome
    }

    /// Deletes a field; gives whether it was there. The key goes with its last field.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        if self.get().is_none_or(|hash| hash.get(field).is_none()) {
            return false;
        }
        self.change(|hash| hash.delete(field));
        self.remove_if_empty();
        let effect = Effect::HashDelete { database: self.0.database, key: self.0.key, field };
        self.0.record(&effect);
        true
    }

    /// Deletes those of the fields that are there, as one effect; gives how many. The key goes with its last field.
    pub fn delete_fields<'f>(&mut self, mut fields: impl Iterator<Item = &'f [u8]>) -> usize {
        let is_there = |field: &&[u8]| self.get().is_some_and(|hash| hash.contains(field));
        let Some(first) = fields.find(is_there) else { return 0 };
        let (mut deleted, mut count) = (StringList::default(), 0);
        self.change(|hash| {
            for field in std::iter::once(first).chain(fields) {
                if hash.delete(field) {
                    deleted.push(field);
                    count += 1;
                }
            }
        });
        self.remove_if_empty();
        let (database, key) = (self.0.database, self.0.key);
        if count == 1 {
            self.0.record(&Effect::HashDelete { database, key, field: first });
        } else {
            self.0.record(&Effect::HashDeleteFields { database, key, fields: deleted.as_strings() });
        }
        self.0.recorder.changes += count - 1;
        count as usize
    }

    fn remove_if_empty(&mut self) {
        if self.is_empty() {
            self.0.remove();
        }
    }
}
