//! Effects applied: on a replica, at replay.
//!
//! Lives here: the match from effects to the same mutators that made them.
//! Not here: the order of entries (`shard`).

use super::Data;
use crate::effect::{DecodeError, Effect, Reader};
use crate::error::ErrorReply;
use crate::hash::HashKey;
use thiserror::Error;

/// Why a run of effects cannot be applied. The replica stops consuming: it never skips.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    #[error("effects do not decode: {0}")]
    Decode(#[from] DecodeError),
    #[error("effect does not fit the data: {0}")]
    Mismatch(&'static str),
}

impl From<ErrorReply> for ApplyError {
    fn from(_: ErrorReply) -> ApplyError {
        ApplyError::Mismatch("the key holds another kind of value")
    }
}

impl Data {
    /// Applies a run of effects in order, recording nothing. Deadlines are not looked at.
    pub fn apply(&mut self, effects: &[u8]) -> Result<(), ApplyError> {
        let (database, was_recording) = (self.database, self.recorder.is_recording);
        self.recorder.is_recording = false;
        self.hint = None;
        let outcome = Reader::new(effects).try_for_each(|effect| self.apply_one(effect?));
        self.recorder.is_recording = was_recording;
        self.database = database;
        outcome
    }

    fn apply_one(&mut self, effect: Effect<'_>) -> Result<(), ApplyError> {
        match effect {
            Effect::Genesis { hash_key } => self.genesis(HashKey(hash_key))?,
            Effect::StringSet { database, key, value, expiry } => {
                self.database = database;
                self.located(key).set_string(value, expiry);
            }
            Effect::IntegerSet { database, key, value } => {
                self.database = database;
                self.located(key).string()?.set_integer(value);
            }
            Effect::StringAppend { database, key, bytes } => {
                self.database = database;
                self.located(key).string()?.append(bytes);
            }
            Effect::StringWrite { database, key, offset, bytes } => {
                self.database = database;
                let end = offset.checked_add(bytes.len() as u64);
                if end.is_none_or(|end| end > STRING_BYTES_MAX) {
                    return Err(ApplyError::Mismatch("string too long"));
                }
                self.located(key).string()?.write_at(offset as usize, bytes);
            }
            Effect::Delete { database, key } => {
                self.database = database;
                if !self.located(key).delete() {
                    return Err(ApplyError::Mismatch("deleted key is not there"));
                }
            }
            Effect::ExpirySet { database, key, at_ms } => {
                self.existing(database, key)?;
                self.located(key).set_expiry(at_ms);
            }
            Effect::ExpiryRemove { database, key } => {
                self.existing(database, key)?;
                self.located(key).persist();
            }
            Effect::Rename { database, from, to } => {
                self.existing(database, from)?;
                self.rename(from, to);
            }
            Effect::Copy { from_database, from, to_database, to } => {
                self.existing(from_database, from)?;
                self.copy(from, to_database, to);
            }
            Effect::Move { from_database, to_database, key } => {
                self.existing(from_database, key)?;
                self.move_key(key, to_database);
            }
            Effect::FlushDatabase { database } => self.flush_database(database),
            Effect::FlushAll => self.flush_all(),
            Effect::SwapDatabases { first, second } => self.swap_databases(first, second),
            Effect::HashSet { database, key, field, value } => {
                self.database = database;
                self.located(key).hash()?.set(field, value);
            }
            Effect::HashDelete { database, key, field } => {
                self.database = database;
                if !self.located(key).hash()?.delete(field) {
                    return Err(ApplyError::Mismatch("deleted field is not there"));
                }
            }
            Effect::HashSetFields { database, key, pairs } => {
                self.database = database;
                self.located(key).hash()?.set_fields(pairs.pairs());
            }
            Effect::HashDeleteFields { database, key, fields } => {
                self.database = database;
                let deleted = self.located(key).hash()?.delete_fields(fields.iter());
                if deleted != fields.iter().count() {
                    return Err(ApplyError::Mismatch("deleted field is not there"));
                }
            }
        }
        Ok(())
    }

    fn located<'d>(&'d mut self, key: &'d [u8]) -> super::EntryHandle<'d> {
        let at = self.hash_key.locate(key);
        self.handle(at, key)
    }

    fn existing(&mut self, database: u8, key: &[u8]) -> Result<(), ApplyError> {
        self.database = database;
        match self.databases[usize::from(database)].get(self.hash_key.locate(key), key) {
            Some(_) => Ok(()),
            None => Err(ApplyError::Mismatch("changed key is not there")),
        }
    }

    fn genesis(&mut self, hash_key: HashKey) -> Result<(), ApplyError> {
        if self.databases.iter().any(|database| !database.is_empty()) {
            return Err(ApplyError::Mismatch("a log begins once"));
        }
        self.hash_key = hash_key;
        self.hash_limits.hash_key = hash_key;
        self.databases = crate::keyspace::Databases::new(hash_key, super::DATABASE_COUNT);
        Ok(())
    }
}

/// No string is longer, whatever `proto-max-bulk-len` says: a bound for bytes read from a log.
const STRING_BYTES_MAX: u64 = 1 << 40;
