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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;
    use std::collections::{BTreeMap, BTreeSet};

    const LIMITS: HashLimits =
        HashLimits { listpack_entries_max: 16, listpack_value_bytes_max: 64, hash_key: HashKey([3, 4]) };

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u16, Vec<u8>),
        SetMany(u16, u16),
        Delete(u16),
        DeleteMany(u16, u16),
        Clone,
        Scan(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = prop_oneof![0..20u16, 0..2000u16];
        let value = prop_oneof![
            8 => vec(any::<u8>(), 0..30),
            4 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
            1 => vec(any::<u8>(), 60..300),
            1 => vec(any::<u8>(), 20_000..20_001),
        ];
        prop_oneof![
            8 => (number.clone(), value).prop_map(|(n, value)| Step::Set(n, value)),
            1 => (0..1000u16, 0..1000u16).prop_map(|(start, count)| Step::SetMany(start, count)),
            4 => number.prop_map(Step::Delete),
            1 => (0..1000u16, 0..2000u16).prop_map(|(start, count)| Step::DeleteMany(start, count)),
            2 => Just(Step::Clone),
            4 => (1..200usize).prop_map(Step::Scan),
        ]
    }

    fn field(number: u16) -> Vec<u8> {
        format!("field{number}").into_bytes()
    }

    fn set(hash: &mut Hash, model: &mut Model, number: u16, value: &[u8]) {
        let is_new = hash.set(&field(number), value, &LIMITS);
        assert_eq!(model.insert(field(number), value.to_vec()).is_none(), is_new);
    }

    fn delete(hash: &mut Hash, model: &mut Model, number: u16) {
        assert_eq!(hash.delete(&field(number)), model.remove(&field(number)).is_some());
    }

    fn content(hash: &Hash) -> Model {
        let content: Model = hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
        assert_eq!(content.len(), hash.len(), "each field comes once");
        content
    }

    /// A scan that is under way: its cursor, what it gave, the fields present ever since it began.
    #[derive(Default)]
    struct Scan {
        cursor: u64,
        found: BTreeSet<Vec<u8>>,
        staying: BTreeSet<Vec<u8>>,
    }

    impl Scan {
        fn step(&mut self, hash: &Hash, model: &Model, count: usize) {
            if self.cursor == 0 {
                *self = Scan { staying: model.keys().cloned().collect(), ..Scan::default() };
            }
            self.cursor = hash.scan(self.cursor, count, &mut |field, _| {
                self.found.insert(field.to_vec());
            });
            if self.cursor == 0 {
                assert!(self.found.is_superset(&self.staying));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn behaves_like_a_map_and_clones_stand_apart(steps in vec(step(), 0..60)) {
            let (mut hash, mut model) = (Hash::new(), Model::new());
            let mut clones: Vec<(Hash, Model)> = Vec::new();
            let mut scan = Scan::default();
            for step in steps {
                match step {
                    Step::Set(n, value) => set(&mut hash, &mut model, n, &value),
                    Step::SetMany(start, count) => {
                        (start..start + count).for_each(|n| set(&mut hash, &mut model, n, b"many"));
                    }
                    Step::Delete(n) => delete(&mut hash, &mut model, n),
                    Step::DeleteMany(start, count) => {
                        (start..start + count).for_each(|n| delete(&mut hash, &mut model, n));
                    }
                    Step::Clone => clones.push((hash.clone(), model.clone())),
                    Step::Scan(count) => scan.step(&hash, &model, count),
                }
                scan.staying.retain(|field| model.contains_key(field));
                prop_assert_eq!(hash.len(), model.len());
            }
            prop_assert_eq!(&content(&hash), &model);
            for (field, value) in &model {
                prop_assert!(hash.get(field).unwrap().equals(value));
            }
            if let Form::Large(fields) = &hash.0 {
                fields.check_invariants();
            }
            for (clone, model) in clones {
                prop_assert_eq!(content(&clone), model);
            }
        }
    }

    #[test]
    fn limits_end_the_compact_form_for_good() {
        let mut hash = Hash::new();
        (0..16).for_each(|n| assert!(hash.set(&field(n), b"v", &LIMITS)));
        assert!(!hash.set(&field(0), b"w", &LIMITS));
        assert_eq!(hash.encoding(), Encoding::ListPack);
        assert!(hash.set(&field(16), b"v", &LIMITS));
        assert_eq!(hash.encoding(), Encoding::HashTable);
        assert!(hash.delete(&field(16)));
        assert_eq!(hash.encoding(), Encoding::HashTable);
        let mut hash = Hash::new();
        hash.set(b"f", &[b'v'; 65], &LIMITS);
        assert_eq!(hash.encoding(), Encoding::HashTable);
    }

    #[test]
    fn a_small_hash_is_small() {
        let mut hash = Hash::new();
        (0..5).for_each(|n| assert!(hash.set(&field(n), b"value678", &LIMITS)));
        assert_eq!(hash.memory_bytes(), 96);
    }

    #[test]
    fn every_field_is_drawn() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for count in [10, 1000] {
            let mut hash = Hash::new();
            (0..count).for_each(|n| assert!(hash.set(&field(n), b"v", &LIMITS)));
            let mut drawn = BTreeSet::new();
            (0..30_000).for_each(|_| {
                drawn.insert(hash.random(&mut rng).unwrap().0.to_vec());
            });
            assert_eq!(drawn.len(), usize::from(count));
        }
        assert!(Hash::new().random(&mut rng).is_none());
    }
}
