//! Effects: what a command changed, spelled out.
//!
//! Lives here: the enum, its binary form, and the reader over a run of effects.
//! Not here: making them (`data`: mutators record) or applying them (`data::apply`).
//!
//! An effect is a function of the state before and its own fields only, never of time, chance,
//! configuration or hash order. Tags are never reused; docs/effects.md lists them.
//!
//! Binary form: a tag byte, then the fields in the order of the declaration. Integers of lengths,
//! databases and offsets are unsigned LEB128; deadlines and values of integers are 8 bytes
//! little-endian; byte strings are a LEB128 length and the bytes; a run of strings is a LEB128 length and the strings.

mod strings;

pub use strings::{StringList, Strings};

use thiserror::Error;

/// Newest version of the effects' binary form that this build writes, and the newest that it reads.
pub const EFFECT_FORMAT_VERSION: u8 = 1;

/// What becomes of a key's deadline when its value is set whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key has no deadline afterwards.
    None,
    /// The deadline stays as it was.
    Keep,
    /// Milliseconds since 1970.
    At(i64),
}

/// One change to the data. `database` is the number as the clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// First effect of every log: the key of the keyspace's hash, drawn once per shard.
    Genesis {
        hash_key: [u64; 2],
    },
    StringSet {
        database: u8,
        key: &'a [u8],
        value: &'a [u8],
        expiry: Expiry,
    },
    /// The value becomes this integer; the deadline stays.
    IntegerSet {
        database: u8,
        key: &'a [u8],
        value: i64,
    },
    /// Bytes put at the end; the deadline stays.
    StringAppend {
        database: u8,
        key: &'a [u8],
        bytes: &'a [u8],
    },
    /// Bytes put at an offset, zeros in a gap before it; the deadline stays.
    StringWrite {
        database: u8,
        key: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    Delete {
        database: u8,
        key: &'a [u8],
    },
    ExpirySet {
        database: u8,
        key: &'a [u8],
        at_ms: i64,
    },
    ExpiryRemove {
        database: u8,
        key: &'a [u8],
    },
    /// The target, if there, is replaced; value and deadline move along.
    Rename {
        database: u8,
        from: &'a [u8],
        to: &'a [u8],
    },
    /// The target, if there, is replaced.
    Copy {
        from_database: u8,
        from: &'a [u8],
        to_database: u8,
        to: &'a [u8],
    },
    Move {
        from_database: u8,
        to_database: u8,
        key: &'a [u8],
    },
    FlushDatabase {
        database: u8,
    },
    FlushAll,
    SwapDatabases {
        first: u8,
        second: u8,
    },
    HashSet {
        database: u8,
        key: &'a [u8],
        field: &'a [u8],
        value: &'a [u8],
    },
    /// The key goes with its last field.
    HashDelete {
        database: u8,
        key: &'a [u8],
        field: &'a [u8],
    },
    /// Fields and values by turns, set in this order.
    HashSetFields {
        database: u8,
        key: &'a [u8],
        pairs: Strings<'a>,
    },
    /// The key goes with its last field.
    HashDeleteFields {
        database: u8,
        key: &'a [u8],
        fields: Strings<'a>,
    },
}

/// Why bytes are not a run of effects.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("effect ends early")]
    Short,
    #[error("effect tag {0} is unknown: written by a newer version?")]
    UnknownTag(u8),
    #[error("effect field out of range")]
    OutOfRange,
}

mod tag {
    pub const GENESIS: u8 = 1;
    pub const STRING_SET: u8 = 2;
    pub const STRING_SET_KEEP: u8 = 3;
    pub const STRING_SET_EXPIRING: u8 = 4;
    pub const INTEGER_SET: u8 = 5;
    pub const STRING_APPEND: u8 = 6;
    pub const STRING_WRITE: u8 = 7;
    pub const DELETE: u8 = 8;
    pub const EXPIRY_SET: u8 = 9;
    pub const EXPIRY_REMOVE: u8 = 10;
    pub const RENAME: u8 = 11;
    pub const COPY: u8 = 12;
    pub const MOVE: u8 = 13;
    pub const FLUSH_DATABASE: u8 = 14;
    pub const FLUSH_ALL: u8 = 15;
    pub const SWAP_DATABASES: u8 = 16;
    pub const HASH_SET: u8 = 17;
    pub const HASH_DELETE: u8 = 18;
    pub const HASH_SET_FIELDS: u8 = 19;
    pub const HASH_DELETE_FIELDS: u8 = 20;
}

impl Effect<'_> {
    /// Appends the binary form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Effect::Genesis { hash_key } => {
                out.push(tag::GENESIS);
                out.extend_from_slice(&hash_key[0].to_le_bytes());
                out.extend_from_slice(&hash_key[1].to_le_bytes());
            }
            Effect::StringSet { database, key, value, expiry } => {
                let (tag, deadline) = match expiry {
                    Expiry::None => (tag::STRING_SET, None),
                    Expiry::Keep => (tag::STRING_SET_KEEP, None),
                    Expiry::At(at_ms) => (tag::STRING_SET_EXPIRING, Some(at_ms)),
                };
                head(out, tag, database, key);
                if let Some(at_ms) = deadline {
                    out.extend_from_slice(&at_ms.to_le_bytes());
                }
                bytes(out, value);
            }
            Effect::IntegerSet { database, key, value } => {
                head(out, tag::INTEGER_SET, database, key);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Effect::StringAppend { database, key, bytes: appended } => {
                head(out, tag::STRING_APPEND, database, key);
                bytes(out, appended);
            }
            Effect::StringWrite { database, key, offset, bytes: written } => {
                head(out, tag::STRING_WRITE, database, key);
                varint(out, offset);
                bytes(out, written);
            }
            Effect::Delete { database, key } => head(out, tag::DELETE, database, key),
            Effect::ExpirySet { database, key, at_ms } => {
                head(out, tag::EXPIRY_SET, database, key);
                out.extend_from_slice(&at_ms.to_le_bytes());
            }
            Effect::ExpiryRemove { database, key } => head(out, tag::EXPIRY_REMOVE, database, key),
            Effect::Rename { database, from, to } => {
                head(out, tag::RENAME, database, from);
                bytes(out, to);
            }
            Effect::Copy { from_database, from, to_database, to } => {
                head(out, tag::COPY, from_database, from);
                out.push(to_database);
                bytes(out, to);
            }
            Effect::Move { from_database, to_database, key } => {
                head(out, tag::MOVE, from_database, key);
                out.push(to_database);
            }
            Effect::FlushDatabase { database } => out.extend_from_slice(&[tag::FLUSH_DATABASE, database]),
            Effect::FlushAll => out.push(tag::FLUSH_ALL),
            Effect::SwapDatabases { first, second } => {
                out.extend_from_slice(&[tag::SWAP_DATABASES, first, second]);
            }
            Effect::HashSet { database, key, field, value } => {
                head(out, tag::HASH_SET, database, key);
                bytes(out, field);
                bytes(out, value);
            }
            Effect::HashDelete { database, key, field } => {
                head(out, tag::HASH_DELETE, database, key);
                bytes(out, field);
            }
            Effect::HashSetFields { database, key, pairs } => {
                head(out, tag::HASH_SET_FIELDS, database, key);
                bytes(out, pairs.as_bytes());
            }
            Effect::HashDeleteFields { database, key, fields } => {
                head(out, tag::HASH_DELETE_FIELDS, database, key);
                bytes(out, fields.as_bytes());
            }
        }
    }
}

fn head(out: &mut Vec<u8>, tag: u8, database: u8, key: &[u8]) {
    out.push(tag);
    out.push(database);
    bytes(out, key);
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a run of effects one by one; stops for good at the first error.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(effects: &'a [u8]) -> Reader<'a> {
        Reader { rest: effects }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn database(&mut self) -> Result<u8, DecodeError> {
        match self.byte()? {
            database if (database as usize) < crate::data::DATABASE_COUNT => Ok(database),
            _ => Err(DecodeError::OutOfRange),
        }
    }

    fn word(&mut self) -> Result<u64, DecodeError> {
        let (first, rest) = self.rest.split_first_chunk::<8>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*first))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(DecodeError::OutOfRange);
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::OutOfRange)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).map_err(|_| DecodeError::OutOfRange)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(value)
    }

    fn next_effect(&mut self) -> Result<Effect<'a>, DecodeError> {
        let tag = self.byte()?;
        let effect = match tag {
            tag::GENESIS => Effect::Genesis { hash_key: [self.word()?, self.word()?] },
            tag::FLUSH_ALL => Effect::FlushAll,
            tag::FLUSH_DATABASE => Effect::FlushDatabase { database: self.database()? },
            tag::SWAP_DATABASES => {
                Effect::SwapDatabases { first: self.database()?, second: self.database()? }
            }
            tag::STRING_SET..=tag::MOVE | tag::HASH_SET..=tag::HASH_DELETE_FIELDS => self.keyed(tag)?,
            unknown => return Err(DecodeError::UnknownTag(unknown)),
        };
        Ok(effect)
    }

    fn keyed(&mut self, tag: u8) -> Result<Effect<'a>, DecodeError> {
        let database = self.database()?;
        let key = self.bytes()?;
        Ok(match tag {
            tag::STRING_SET => {
                Effect::StringSet { database, key, value: self.bytes()?, expiry: Expiry::None }
            }
            tag::STRING_SET_KEEP => {
                Effect::StringSet { database, key, value: self.bytes()?, expiry: Expiry::Keep }
            }
            tag::STRING_SET_EXPIRING => {
                let expiry = Expiry::At(self.word()?.cast_signed());
                Effect::StringSet { database, key, value: self.bytes()?, expiry }
            }
            tag::INTEGER_SET => Effect::IntegerSet { database, key, value: self.word()?.cast_signed() },
            tag::STRING_APPEND => Effect::StringAppend { database, key, bytes: self.bytes()? },
            tag::STRING_WRITE => {
                Effect::StringWrite { database, key, offset: self.varint()?, bytes: self.bytes()? }
            }
            tag::DELETE => Effect::Delete { database, key },
            tag::EXPIRY_SET => Effect::ExpirySet { database, key, at_ms: self.word()?.cast_signed() },
            tag::EXPIRY_REMOVE => Effect::ExpiryRemove { database, key },
            tag::RENAME => Effect::Rename { database, from: key, to: self.bytes()? },
            tag::COPY => Effect::Copy {
                from_database: database,
                from: key,
                to_database: self.database()?,
                to: self.bytes()?,
            },
            tag::MOVE => Effect::Move { from_database: database, to_database: self.database()?, key },
            tag::HASH_SET => Effect::HashSet { database, key, field: self.bytes()?, value: self.bytes()? },
            tag::HASH_DELETE => Effect::HashDelete { database, key, field: self.bytes()? },
            tag::HASH_SET_FIELDS => {
                Effect::HashSetFields { database, key, pairs: Strings::read(self.bytes()?, 2)? }
            }
            tag::HASH_DELETE_FIELDS => {
                Effect::HashDeleteFields { database, key, fields: Strings::read(self.bytes()?, 1)? }
            }
            other => return Err(DecodeError::UnknownTag(other)),
        })
    }
}

/// Bytes that the first effect of a run takes; all of them when it does not decode.
pub fn first_length(effects: &[u8]) -> usize {
    let mut reader = Reader::new(effects);
    match reader.next() {
        Some(Ok(_)) => effects.len() - reader.rest.len(),
        _ => effects.len(),
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Effect<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let effect = self.next_effect();
        if effect.is_err() {
            self.rest = &[];
        }
        Some(effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Effect<'static>> {
        let (database, key) = (3, b"k".as_slice());
        vec![
            Effect::Genesis { hash_key: [1, 2] },
            Effect::StringSet { database, key, value: b"v", expiry: Expiry::None },
            Effect::StringSet { database, key, value: b"v", expiry: Expiry::Keep },
            Effect::StringSet { database, key, value: b"", expiry: Expiry::At(5) },
            Effect::IntegerSet { database, key, value: -1 },
            Effect::StringAppend { database, key, bytes: b"xy" },
            Effect::StringWrite { database, key, offset: 300, bytes: b"z" },
            Effect::Delete { database, key },
            Effect::ExpirySet { database, key, at_ms: 7 },
            Effect::ExpiryRemove { database, key },
            Effect::Rename { database, from: key, to: b"l" },
            Effect::Copy { from_database: database, from: key, to_database: 4, to: b"l" },
            Effect::Move { from_database: database, to_database: 4, key },
            Effect::FlushDatabase { database },
            Effect::FlushAll,
            Effect::SwapDatabases { first: 0, second: 15 },
            Effect::HashSet { database, key, field: b"f", value: b"v" },
            Effect::HashDelete { database, key, field: b"f" },
            Effect::HashSetFields {
                database,
                key,
                pairs: Strings::read(b"\x01f\x01v\x01g\x00", 2).expect("two pairs"),
            },
            Effect::HashDeleteFields {
                database,
                key,
                fields: Strings::read(b"\x01f\x01g", 1).expect("two fields"),
            },
        ]
    }

    /// The wire form outlives this code: a change here breaks every log on every disk.
    #[test]
    fn golden_bytes() {
        let golden = [
            "0101000000000000000200000000000000",
            "0203016b0176",
            "0303016b0176",
            "0403016b050000000000000000",
            "0503016bffffffffffffffff",
            "0603016b027879",
            "0703016bac02017a",
            "0803016b",
            "0903016b0700000000000000",
            "0a03016b",
            "0b03016b016c",
            "0c03016b04016c",
            "0d03016b04",
            "0e03",
            "0f",
            "10000f",
            "1103016b01660176",
            "1203016b0166",
            "1303016b0701660176016700",
            "1403016b0401660167",
        ];
        for (effect, golden) in all().iter().zip(golden) {
            let mut bytes = Vec::new();
            effect.encode(&mut bytes);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden, "{effect:?}");
        }
        assert_eq!(all().len(), golden.len());
    }

    #[test]
    fn a_run_of_effects_reads_back_and_every_cut_of_it_is_an_error_or_a_prefix() {
        let mut bytes = Vec::new();
        all().iter().for_each(|effect| effect.encode(&mut bytes));
        let back: Vec<_> = Reader::new(&bytes).map(|effect| effect.expect("valid")).collect();
        assert_eq!(back, all());
        for cut in 0..bytes.len() {
            for (index, effect) in Reader::new(&bytes[..cut]).enumerate() {
                match effect {
                    Ok(effect) => assert_eq!(effect, all()[index]),
                    Err(error) => assert_eq!(error, DecodeError::Short),
                }
            }
        }
    }

    #[test]
    fn unknown_tags_and_databases_are_refused() {
        assert_eq!(Reader::new(&[99]).next(), Some(Err(DecodeError::UnknownTag(99))));
        assert_eq!(Reader::new(&[0x0e, 16]).next(), Some(Err(DecodeError::OutOfRange)));
        assert_eq!(Reader::new(&[8, 0, 0xff, 0xff, 0xff]).next(), Some(Err(DecodeError::Short)));
    }
}
