//! A fingerprint of what a database holds.
//!
//! Lives here: the digest that replicas, rebuilds and tests compare.
//! Not here: checksums of files.
//!
//! Invariant: equal keys, types, values and deadlines give equal digests; encodings, access clocks, tables'
//! shapes and the order of fields play no part.

use super::{Entry, Keyspace};
use crate::hash::HashKey;
use crate::value::chunks::CHUNK_BYTES;
use crate::value::{Kind, StringRef, Value};

const KEYS: [HashKey; 2] = [
    HashKey([0x52_616d_6b65_6570, 0x6469_6765_7374_2031]),
    HashKey([0x52_616d_6b65_6570, 0x6469_6765_7374_2032]),
];

impl Keyspace {
    /// Sum of the digests of all entries, modulo 2^128; 0 for an empty database. Reads every byte.
    pub fn digest(&self) -> u128 {
        self.iter().fold(0u128, |sum, entry| sum.wrapping_add(entry.digest()))
    }
}

/// Digest of a shard from those of its databases, the first's first.
pub fn combine(databases: impl Iterator<Item = u128>) -> u128 {
    databases.enumerate().fold(0, |sum, (number, digest)| {
        let turned = digest.rotate_left(number as u32 * 7);
        sum.wrapping_add(turned.wrapping_mul(number as u128 * 2 + 1))
    })
}

impl Entry {
    /// Digest of the value and its kind, without key and deadline.
    pub fn value_digest(&self) -> u128 {
        let mut content = ContentDigest::default();
        content.all_of(self);
        content.finish(&[], self.kind(), None)
    }

    /// Digest of key, kind, value and deadline.
    pub fn digest(&self) -> u128 {
        let mut content = ContentDigest::default();
        content.all_of(self);
        content.finish(self.key(), self.kind(), self.expiry_ms())
    }
}

/// Digest of a value in the making: a large one comes in pieces.
#[derive(Default)]
pub struct ContentDigest {
    sum: u128,
    pieces: u64,
}

impl ContentDigest {
    fn all_of(&mut self, entry: &Entry) {
        match entry.value() {
            Some(Value::Hash(hash)) => hash.iter().for_each(|(field, value)| self.field(field, value)),
            Some(Value::String(_)) | None => {
                entry.string().expect("no other kind").for_each_part(|part| self.piece(part));
            }
        }
    }

    /// The next piece of a string; each but the last has `CHUNK_BYTES`.
    pub fn piece(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= CHUNK_BYTES, "pieces are cut at the same places everywhere");
        let mut buffer = [0; 24];
        buffer[..8].copy_from_slice(&KEYS[0].hash(bytes).to_le_bytes());
        buffer[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        buffer[16..].copy_from_slice(&self.pieces.to_le_bytes());
        self.pieces += 1;
        self.sum = self.sum.wrapping_add(hash_twice(&buffer));
    }

    /// A field of a hash, in any order.
    pub fn field(&mut self, field: &[u8], value: StringRef<'_>) {
        let mut buffer = Vec::with_capacity(8 + field.len() + value.len());
        push(&mut buffer, field);
        value.append_to(&mut buffer);
        self.pieces += 1;
        self.sum = self.sum.wrapping_add(hash_twice(&buffer));
    }

    pub fn finish(self, key: &[u8], kind: Kind, expiry_ms: Option<i64>) -> u128 {
        let mut buffer = Vec::with_capacity(key.len() + 64);
        push(&mut buffer, key);
        buffer.push(match kind {
            Kind::String => 0,
            Kind::List => 1,
            Kind::Set => 2,
            Kind::SortedSet => 3,
            Kind::Hash => 4,
            Kind::Stream => 5,
        });
        match expiry_ms {
            Some(deadline_ms) => push(&mut buffer, &deadline_ms.to_le_bytes()),
            None => push(&mut buffer, &[]),
        }
        // An empty string may come as no piece at all.
        push(&mut buffer, &self.sum.to_le_bytes());
        hash_twice(&buffer)
    }
}

fn push(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.extend_from_slice(&(part.len() as u64).to_le_bytes());
    buffer.extend_from_slice(part);
}

fn hash_twice(bytes: &[u8]) -> u128 {
    u128::from(KEYS[0].hash(bytes)) << 64 | u128::from(KEYS[1].hash(bytes))
}
