//! Properties of a database: against a map, under growth and shrink, and while a snapshot is read.

mod growth;
mod snapshot;

use super::entry::tests::live_bytes;
use super::*;
use crate::value::{Hash, HashLimits, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY: HashKey = HashKey([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const LIMITS: HashLimits =
    HashLimits { listpack_entries_max: 8, listpack_value_bytes_max: 16, hash_key: KEY };

fn key(number: u32, one_slot: bool) -> Vec<u8> {
    if one_slot { format!("{{tag}}:{number}").into_bytes() } else { format!("key:{number}").into_bytes() }
}

fn set(keyspace: &mut Keyspace, key: &[u8], value: &[u8]) {
    match keyspace.place(KEY.locate(key), key) {
        Place::Occupied(mut occupied) => occupied.set_string(value),
        Place::Vacant(vacant) => {
            vacant.insert_string(value, None);
        }
    }
}

impl Keyspace {
    fn check_invariants(&self) {
        let mut entry_bytes = 0;
        let mut due = Vec::new();
        for entry in self.iter() {
            entry_bytes += entry.memory_bytes();
            due.extend(entry.expiry_ms().map(|deadline_ms| Due::new(deadline_ms, KEY.locate(entry.key()))));
        }
        assert_eq!(self.entry_bytes, entry_bytes, "the account of entries is exact");
        assert_eq!(self.expires_len(), due.len());
        due.sort();
        assert_eq!(self.expires.next_due(i64::MAX), due.first().copied());
        let mut table_bytes = 0;
        let mut length = 0;
        for group in self.groups.iter().flatten() {
            table_bytes += size_of::<Group>();
            assert_eq!(group.length, group.tables.iter().map(Table::len).sum::<usize>());
            length += group.length;
            for (slot, table) in group.tables.iter().enumerate() {
                assert_eq!(group.occupied >> slot & 1 == 1, !table.is_empty());
                table.check_invariants(KEY);
                table_bytes += table.table_bytes();
            }
        }
        assert_eq!(self.account.table_bytes, table_bytes as u64, "the account of tables is exact");
        assert_eq!(self.len(), length);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u32, Vec<u8>),
    SetMany(u32, u32),
    Append(u32, Vec<u8>),
    HashSet(u32, u8, Vec<u8>),
    Expire(u32, Option<i64>),
    Rename(u32, u32),
    Delete(u32),
    DeleteMany(u32, u32),
    ExpireDue(i64),
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..20u32, 0..3000u32]
}

fn small() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), (0..1000i64).prop_map(|value| value.to_string().into_bytes())]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (number(), small()).prop_map(|(n, value)| Step::Set(n, value)),
        2 => (0..3000u32, 0..1500u32).prop_map(|(start, count)| Step::SetMany(start, count)),
        2 => (number(), small()).prop_map(|(n, value)| Step::Append(n, value)),
        3 => (number(), 0..12u8, small()).prop_map(|(n, field, value)| Step::HashSet(n, field, value)),
        3 => (number(), proptest::option::of(0..100i64)).prop_map(|(n, at)| Step::Expire(n, at)),
        2 => (number(), number()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => number().prop_map(Step::Delete),
        1 => (0..3000u32, 0..2500u32).prop_map(|(start, count)| Step::DeleteMany(start, count)),
        2 => (0..100i64).prop_map(Step::ExpireDue),
    ]
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

type Model = BTreeMap<Vec<u8>, (Content, Option<i64>)>;

fn content(entry: &Entry) -> (Content, Option<i64>) {
    let content = match entry.value() {
        Some(Value::Hash(hash)) => {
            Content::Hash(hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
        }
        _ => Content::String(entry.string().unwrap().to_vec()),
    };
    (content, entry.expiry_ms())
}

/// Runs one step on a database and on the model of it.
fn run(step: &Step, one_slot: bool, keyspace: &mut Keyspace, model: &mut Model) {
    match step {
        Step::Set(n, value) => set_both(&key(*n, one_slot), value, keyspace, model),
        Step::SetMany(start, count) => {
            for n in *start..start + count {
                set_both(&key(n, one_slot), b"many", keyspace, model);
            }
        }
        Step::Append(n, more) => {
            let key = key(*n, one_slot);
            if let Place::Occupied(mut occupied) = keyspace.place(KEY.locate(&key), &key)
                && occupied.entry().string().is_some()
            {
                occupied.modify(|value| {
                    let Value::String(bytes) = value else { unreachable!("a string") };
                    bytes.append(more);
                });
                let Content::String(bytes) = &mut model.get_mut(&key).unwrap().0 else {
                    unreachable!("a string")
                };
                bytes.extend(more);
            }
        }
        Step::HashSet(n, field, value) => {
            hash_set_both(&key(*n, one_slot), &[*field], value, keyspace, model)
        }
        Step::Expire(n, at_ms) => {
            let key = key(*n, one_slot);
            if let Place::Occupied(mut occupied) = keyspace.place(KEY.locate(&key), &key) {
                occupied.set_expiry(*at_ms);
                model.get_mut(&key).unwrap().1 = *at_ms;
            }
        }
        Step::Rename(from, to) => {
            let (from, to) = (key(*from, one_slot), key(*to, one_slot));
            if let Some(entry) = keyspace.remove(KEY.locate(&from), &from) {
                keyspace.insert(KEY.locate(&to), entry.with_key(&to));
                let value = model.remove(&from).unwrap();
                model.insert(to, value);
            }
        }
        Step::Delete(n) => delete_both(&key(*n, one_slot), keyspace, model),
        Step::DeleteMany(start, count) => {
            for n in *start..start + count {
                delete_both(&key(n, one_slot), keyspace, model);
            }
        }
        Step::ExpireDue(now_ms) => expire_both(*now_ms, keyspace, model),
    }
}

fn set_both(key: &[u8], value: &[u8], keyspace: &mut Keyspace, model: &mut Model) {
    set(keyspace, key, value);
    let expiry = model.get(key).and_then(|(_, expiry)| *expiry);
    model.insert(key.to_vec(), (Content::String(value.to_vec()), expiry));
}

fn hash_set_both(key: &[u8], field: &[u8], value: &[u8], keyspace: &mut Keyspace, model: &mut Model) {
    let mut occupied = match keyspace.place(KEY.locate(key), key) {
        Place::Occupied(occupied) => occupied,
        Place::Vacant(vacant) => vacant.insert_value(Value::Hash(Hash::new()), None),
    };
    if occupied.entry().string().is_some() {
        occupied.set_value(Value::Hash(Hash::new()));
    }
    let is_new = occupied.modify(|stored| {
        let Value::Hash(hash) = stored else { unreachable!("a hash") };
        hash.set(field, value, &LIMITS)
    });
    let model = model.entry(key.to_vec()).or_insert((Content::Hash(BTreeMap::new()), None));
    if let Content::String(_) = model.0 {
        model.0 = Content::Hash(BTreeMap::new());
    }
    let Content::Hash(fields) = &mut model.0 else { unreachable!("made a hash above") };
    assert_eq!(fields.insert(field.to_vec(), value.to_vec()).is_none(), is_new);
}

fn delete_both(key: &[u8], keyspace: &mut Keyspace, model: &mut Model) {
    let removed = keyspace.remove(KEY.locate(key), key);
    assert_eq!(removed.as_ref().map(content), model.remove(key));
}

fn expire_both(now_ms: i64, keyspace: &mut Keyspace, model: &mut Model) {
    let mut last = i64::MIN;
    while let Some((at, entry)) = keyspace.next_due(now_ms) {
        assert!(entry.expiry_ms().unwrap() >= last, "the earliest comes first");
        last = entry.expiry_ms().unwrap();
        let key = entry.key().to_vec();
        keyspace.remove(at, &key).unwrap();
    }
    model.retain(|_, (_, expiry)| expiry.is_none_or(|at_ms| at_ms > now_ms));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn behaves_like_a_map(steps in vec(step(), 0..60), one_slot: bool) {
        let before = live_bytes();
        let mut keyspace = Keyspace::new(KEY);
        let mut model = Model::new();
        for step in &steps {
            run(step, one_slot, &mut keyspace, &mut model);
            prop_assert_eq!(keyspace.len(), model.len());
        }
        keyspace.check_invariants();
        let found: Model = keyspace.iter().map(|entry| (entry.key().to_vec(), content(entry))).collect();
        prop_assert_eq!(&found, &model);
        for (key, expected) in &model {
            prop_assert_eq!(&content(keyspace.get(KEY.locate(key), key).unwrap()), expected);
        }
        let mut rebuilt = Keyspace::new(KEY);
        keyspace.iter().for_each(|entry| {
            rebuilt.insert(KEY.locate(entry.key()), entry.clone());
        });
        prop_assert_eq!(rebuilt.digest(), keyspace.digest());
        drop(rebuilt);
        for key in model.keys() {
            keyspace.remove(KEY.locate(key), key).unwrap();
        }
        prop_assert_eq!(keyspace.used_memory(), 0);
        prop_assert_eq!(live_bytes(), before);
    }
}
