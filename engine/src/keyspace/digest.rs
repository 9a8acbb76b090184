//! A fingerprint of what a database holds.
//!
//! Lives here: the digest that replicas, rebuilds and tests compare.
//! Not here: checksums of files.
//!
//! Invariant: equal keys, types, values and deadlines give equal digests; encodings, access clocks, tables'
//! shapes and the order of fields play no part.

use super::{Entry, Keyspace};
use crate::hash::HashKey;
use crate::value::{Hash, Kind, StringRef, Value};

const KEYS: [HashKey; 2] = [
    HashKey([0x52_616d_6b65_6570, 0x6469_6765_7374_2031]),
    HashKey([0x52_616d_6b65_6570, 0x6469_6765_7374_2032]),
];

impl Keyspace {
    /// Sum of the digests of all entries, modulo 2^128; 0 for an empty database. Reads every byte.
    pub fn digest(&self) -> u128 {
        let mut buffer = Vec::new();
        self.iter().fold(0u128, |sum, entry| sum.wrapping_add(digest_of(entry, &mut buffer)))
    }
}

impl Entry {
    /// Digest of the value and its kind, without key and deadline.
    pub fn value_digest(&self) -> u128 {
        let mut buffer = Vec::new();
        digest_of_parts(self, &[], None, &mut buffer)
    }
}

fn digest_of(entry: &Entry, buffer: &mut Vec<u8>) -> u128 {
    digest_of_parts(entry, entry.key(), entry.expiry_ms(), buffer)
}

fn digest_of_parts(entry: &Entry, key: &[u8], expiry_ms: Option<i64>, buffer: &mut Vec<u8>) -> u128 {
    let content = match entry.value() {
        Some(Value::Hash(hash)) => digest_of_hash(hash, buffer).to_le_bytes().to_vec(),
        Some(Value::String(_)) | None => entry.string().expect("no other kind").to_vec(),
    };
    buffer.clear();
    push(buffer, key);
    buffer.push(match entry.kind() {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::SortedSet => 3,
        Kind::Hash => 4,
        Kind::Stream => 5,
    });
    match expiry_ms {
        Some(deadline_ms) => push(buffer, &deadline_ms.to_le_bytes()),
        None => push(buffer, &[]),
    }
    push(buffer, &content);
    hash_twice(buffer)
}

fn digest_of_hash(hash: &Hash, buffer: &mut Vec<u8>) -> u128 {
    hash.iter().fold(hash.len() as u128, |sum, (field, value): (&[u8], StringRef<'_>)| {
        buffer.clear();
        push(buffer, field);
        value.append_to(buffer);
        sum.wrapping_add(hash_twice(buffer))
    })
}

fn push(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.extend_from_slice(&(part.len() as u64).to_le_bytes());
    buffer.extend_from_slice(part);
}

fn hash_twice(bytes: &[u8]) -> u128 {
    u128::from(KEYS[0].hash(bytes)) << 64 | u128::from(KEYS[1].hash(bytes))
}
