//! Hashes: fields with values.
//!
//! Lives here: the choice between the compact and the large form, and what both can do.
//! Not here: the forms themselves (`listpack`, `fields`), commands.
//!
//! Invariant: a hash becomes large when a limit is passed and never compact again, as in Redis. Small strings
//! in it stand in one place only; equal histories give equal orders.

mod fields;
mod listpack;

use super::{Encoding, StringRef};
use crate::hash::HashKey;
use crate::keyspace::{END, PREFIX_BITS};
use fields::Fields;
use listpack::ListPack;
use rand_core::RngCore;
use std::rc::Rc;

/// When a hash becomes large, and the key under which a large one orders its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`
    pub listpack_entries_max: usize,
    /// `hash-max-listpack-value`: longest field or value of a compact hash.
    pub listpack_value_bytes_max: usize,
    /// The keyspace's hash key; a hash that is large already keeps its own.
    pub hash_key: HashKey,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Hash(Form);

#[derive(Clone, Debug)]
enum Form {
    Compact(ListPack),
    Large(Rc<Fields>),
}

impl Hash {
    pub fn new() -> Hash {
        Hash(Form::Compact(ListPack::new()))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Compact(pack) => pack.len(),
            Form::Large(fields) => fields.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, field: &[u8]) -> Option<StringRef<'_>> {
        match &self.0 {
            Form::Compact(pack) => pack.get(field).map(StringRef::Bytes),
            Form::Large(fields) => fields.get(field),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field. Returns whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &HashLimits) -> bool {
        if let Form::Compact(pack) = &mut self.0 {
            let fits = field.len().max(value.len()) <= limits.listpack_value_bytes_max;
            if fits && (pack.len() < limits.listpack_entries_max || pack.get(field).is_some()) {
                return pack.set(field, value);
            }
            let mut fields = Fields::new(limits.hash_key);
            pack.iter().for_each(|(field, value)| {
                fields.set(field, value);
            });
            self.0 = Form::Large(Rc::new(fields));
        }
        match &mut self.0 {
            Form::Large(fields) => Rc::make_mut(fields).set(field, value),
            Form::Compact(_) => unreachable!("became large above"),
        }
    }

    /// Deletes a field. Returns whether it was there.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Form::Compact(pack) => pack.delete(field),
            // Looked up first: what is not there must not copy what is shared.
            Form::Large(fields) => fields.get(field).is_some() && Rc::make_mut(fields).delete(field),
        }
    }

    /// Fields and values: of a compact hash in the order of their first setting, of a large one by hash.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], StringRef<'_>)> {
        let (pack, fields) = match &self.0 {
            Form::Compact(pack) => (Some(pack), None),
            Form::Large(fields) => (None, Some(fields)),
        };
        let compact = pack
            .into_iter()
            .flat_map(|pack| pack.iter().map(|(field, value)| (field, StringRef::Bytes(value))));
        compact.chain(fields.into_iter().flat_map(|fields| fields.iter()))
    }

    /// Gives about `count` fields from `cursor` on; returns the next cursor, 0 at the end. A compact hash is
    /// given whole. The guarantee is that of `Keyspace::scan`.
    pub fn scan(&self, cursor: u64, count: usize, found: &mut dyn FnMut(&[u8], StringRef<'_>)) -> u64 {
        match &self.0 {
            Form::Compact(pack) => {
                pack.iter().for_each(|(field, value)| found(field, StringRef::Bytes(value)));
                0
            }
            Form::Large(fields) => match fields.scan(cursor & ((1 << PREFIX_BITS) - 1), count, found) {
                END => 0,
                next => next,
            },
        }
    }

    /// A field drawn uniformly, with its value.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<(&[u8], StringRef<'_>)> {
        match &self.0 {
            Form::Compact(pack) => pack.random(rng).map(|(field, value)| (field, StringRef::Bytes(value))),
            Form::Large(fields) => fields.random(rng),
        }
    }

    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Compact(_) => Encoding::ListPack,
            Form::Large(_) => Encoding::HashTable,
        }
    }

    /// Bytes on the heap, O(1). What is shared with a clone is counted in both.
    pub fn memory_bytes(&self) -> u64 {
        match &self.0 {
            Form::Compact(pack) => pack.memory_bytes(),
            Form::Large(fields) => fields.memory_bytes(),
        }
    }
}

impl Default for Hash {
    fn default() -> Self {
        Hash::new()
    }
}
