//! Do dumps of Redis and Valkey load as what they hold?
//!
//! `tests/rdb` has dumps of random content from Redis 6.2 and 7.0, Valkey 8.0 and 9.1, each with a description of
//! every key. Keys of the types that exist here must be equal; the others must be told apart, not lost.
#![allow(clippy::disallowed_methods, reason = "reads the samples beside it")]

use ramkeep_engine::hash::HashKey;
use ramkeep_engine::keyspace::Entry;
use ramkeep_engine::rdb::{Item, Loader};
use ramkeep_engine::value::{HashLimits, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;

const LIMITS: HashLimits =
    HashLimits { listpack_entries_max: 128, listpack_value_bytes_max: 64, hash_key: HashKey([1, 2]) };

/// Key (`database/key`) to entry, and to the kind of those passed over.
type Found = (BTreeMap<String, Entry>, BTreeMap<String, &'static str>);

fn load(bytes: &[u8], piece: usize) -> Found {
    let mut loader = Loader::new(LIMITS);
    let (mut entries, mut others) = (BTreeMap::new(), BTreeMap::new());
    let mut database = 0;
    let mut pieces = bytes.chunks(piece);
    loop {
        match loader.next_item().expect("the sample is whole") {
            Some(Item::Database(number)) => database = number,
            Some(Item::Entry(entry)) => {
                let name = format!("{database}/{}", latin(entry.key()));
                assert!(entries.insert(name, entry).is_none(), "each key stands once");
            }
            Some(Item::Unsupported { key, kind }) => {
                others.insert(format!("{database}/{}", latin(&key)), kind);
            }
            Some(Item::End { has_checksum }) => {
                assert!(has_checksum);
                return (entries, others);
            }
            None => match pieces.next() {
                Some(piece) => loader.feed(piece),
                None => loader.feed_end(),
            },
        }
    }
}

/// Bytes as the descriptions write them: a character for each.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Whether bytes are what is described, or as long as is described where only a checksum is.
fn check_bytes(bytes: &[u8], described: &Json, what: &str) {
    let described = described.as_str().expect("a string");
    match described.strip_prefix("sha1:").and_then(|rest| rest.split_once(':')) {
        Some((_, length)) => assert_eq!(bytes.len().to_string(), length, "{what}"),
        None => assert_eq!(latin(bytes), described, "{what}"),
    }
}

fn check(entry: &Entry, described: &Json, what: &str) {
    let expire_at_ms = described.get("expire_at_ms").and_then(Json::as_i64);
    assert_eq!(entry.expiry_ms(), expire_at_ms, "{what}");
    let value = &described["value"];
    match described["type"].as_str() {
        Some("string") => {
            check_bytes(&entry.string().expect("a string").to_vec(), value, what);
        }
        Some("hash") => {
            let Some(Value::Hash(hash)) = entry.value() else { panic!("{what} is a hash") };
            let fields = value.as_object().expect("an object");
            if let (Some(count), Some(_)) = (value.get("n").and_then(Json::as_u64), value.get("sha1")) {
                assert_eq!(hash.len() as u64, count, "{what}");
                for pair in [&value["first"], &value["last"]] {
                    let field = pair[0].as_str().expect("a field").as_bytes();
                    check_bytes(&hash.get(field).expect("the field is there").to_vec(), &pair[1], what);
                }
                return;
            }
            assert_eq!(hash.len(), fields.len(), "{what}");
            for (field, stored) in hash.iter() {
                check_bytes(&stored.to_vec(), &fields[&latin(field)], what);
            }
        }
        other => panic!("{what} was loaded as a type that does not exist: {other:?}"),
    }
}

#[test]
fn dumps_of_redis_and_valkey_load_as_what_they_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rdb");
    for name in
        ["redis62-v9", "redis70-v10", "redis70-v10-nocompress-bigencodings", "valkey80-v11", "valkey9-v80"]
    {
        let bytes = std::fs::read(folder.join(format!("{name}.rdb"))).unwrap();
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let described: Json = serde_json::from_str(&text).unwrap();
        let keys = described["keys"].as_object().unwrap();
        for piece in [1, 100, bytes.len()] {
            let (entries, others) = load(&bytes, piece);
            let functions = others.values().filter(|kind| **kind == "function library").count();
            assert_eq!(entries.len() + others.len() - functions, keys.len(), "{name}: every key is told of");
            for (key, described) in keys {
                let what = format!("{name}: {key}");
                match (entries.get(key), others.get(key)) {
                    (Some(entry), None) => check(entry, described, &what),
                    (None, Some(&"hash with expiring fields")) => {
                        assert!(described.get("field_expire_at_ms").is_some(), "{what}");
                    }
                    (None, Some(kind)) => {
                        assert_eq!(described["type"].as_str(), Some(*kind), "{what}");
                        assert!(!["string", "hash"].contains(kind), "{what}");
                    }
                    _ => panic!("{what} is missing"),
                }
            }
        }
    }
}
