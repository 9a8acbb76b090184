//! Files of random content, whole, in pieces, and damaged.

use super::*;
use crate::keyspace::Content;
use crate::keyspace::{Databases, Entry};
use crate::value::{ChunkedBytes, Hash, HashLimits, Value};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: HashLimits =
    HashLimits { listpack_entries_max: 16, listpack_value_bytes_max: 64, hash_key: HashKey([7, 8]) };
const DATABASES: usize = 16;

fn head() -> Head {
    Head {
        shard: 3,
        cluster: [0xab; 16],
        position: u64::MAX,
        term: 9,
        shard_ms: -5,
        hash_key: HashKey([u64::MAX, 1]),
        members: vec![1, 0xfe],
    }
}

/// A key with its database and what it holds.
#[derive(Clone, Debug)]
struct Key {
    database: usize,
    key: Vec<u8>,
    expiry_ms: Option<i64>,
    content: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    String(Vec<u8>),
    /// Zeros up to a byte far out.
    Sparse(usize),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..80),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => any::<i16>().prop_map(|value| value.to_string().into_bytes()),
        1 => (any::<u8>(), 60..70usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => (vec(any::<u8>(), 1..9), 1..3000usize).prop_map(|(piece, count)| piece.repeat(count)),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    let content = prop_oneof![
        6 => text().prop_map(Contents::String),
        1 => (1..400_000usize).prop_map(Contents::Sparse),
        1 => vec(any::<u8>(), 60_000..140_000).prop_map(Contents::String),
        3 => vec((text(), text()), 1..40).prop_map(Contents::Hash),
        1 => (1000..5000usize).prop_map(|count| {
            Contents::Hash((0..count).map(|n| (n.to_string().into_bytes(), b"value".to_vec())).collect())
        }),
    ];
    (0..DATABASES, text(), any::<Option<i64>>(), content)
        .prop_map(|(database, key, expiry_ms, content)| Key { database, key, expiry_ms, content })
}

fn build(keys: &[Key]) -> Databases {
    let mut databases = Databases::new(LIMITS.hash_key, DATABASES);
    for Key { database, key, expiry_ms, content } in keys {
        let entry = match content {
            Contents::String(bytes) => Entry::with_string(key, bytes, *expiry_ms),
            Contents::Sparse(length) => {
                let mut string = ChunkedBytes::new();
                string.set_byte(*length, 1);
                Entry::new(key, Content::Value(Value::String(string)), *expiry_ms)
            }
            Contents::Hash(fields) => {
                let mut hash = Hash::new();
                fields.iter().for_each(|(field, value)| {
                    hash.set(field, value, &LIMITS);
                });
                Entry::new(key, Content::Value(Value::Hash(hash)), *expiry_ms)
            }
        };
        databases[*database].insert(LIMITS.hash_key.locate(key), entry);
    }
    databases
}

fn digest_of(databases: &Databases) -> u128 {
    crate::keyspace::digest::combine(databases.iter().map(crate::keyspace::Keyspace::digest))
}

fn write(databases: &mut Databases, compresses: bool) -> (Vec<u8>, Foot) {
    let sizes = databases.iter().map(|database| (database.len(), database.expires_len())).collect();
    let mut writer = Writer::new(Options { compresses, made_at_s: 1, sizes }, Some(&head()));
    let mut file = Vec::new();
    databases.begin_snapshot();
    let mut goes_on = true;
    while goes_on {
        goes_on = databases.step_snapshot(50, &mut |number, entry| writer.entry(number, entry));
        file.extend(writer.take());
        while writer.step() {
            assert!(writer.len() < 200_000, "a large value comes in pieces");
            file.extend(writer.take());
        }
    }
    let foot = writer.end();
    file.extend(writer.take());
    assert_eq!(writer.file_bytes(), file.len() as u64);
    (file, foot)
}

/// Reads a file in pieces of a size; what was not supported, and the loader at its end.
fn read(file: &[u8], piece: usize, databases: &mut Databases) -> Result<(usize, Loader), LoadError> {
    let mut loader = Loader::new(LIMITS);
    let (mut number, mut unsupported) = (0, 0);
    let mut pieces = file.chunks(piece);
    loop {
        while let Some(item) = loader.next_item()? {
            match item {
                Item::Database(database) => number = database as usize % DATABASES,
                Item::Entry(entry) => {
                    let at = LIMITS.hash_key.locate(entry.key());
                    databases[number].insert(at, entry);
                }
                Item::Unsupported { .. } => unsupported += 1,
                Item::End { has_checksum } => {
                    assert!(has_checksum || !file.is_empty());
                    return Ok((unsupported, loader));
                }
            }
        }
        match pieces.next() {
            Some(piece) => loader.feed(piece),
            None => loader.feed_end(),
        }
    }
}

#[test]
fn the_head_stands_as_it_always_did() {
    let mut writer = Writer::new(Options { sizes: vec![(1, 0)], ..Options::default() }, None);
    writer.entry(0, &Entry::with_string(b"key", b"300", Some(1)));
    let foot = writer.end();
    let file = writer.take();
    let golden = b"REDIS0010\xfa\x09redis-ver\x057.2.4\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc0\x00\
        \xfe\x00\xfb\x01\x00\xfc\x01\0\0\0\0\0\0\0\x00\x03key\xc1\x2c\x01\xfa\x0cramkeep-keys\xc0\x01";
    assert_eq!(&file[..golden.len()], golden);
    assert_eq!(foot.keys, 1);
    let (_, loader) = read(&file, 7, &mut Databases::new(LIMITS.hash_key, DATABASES)).unwrap();
    assert_eq!((loader.head(), loader.foot()), (None, Some(foot)));
}

#[test]
fn versions_of_other_programs_are_refused() {
    for (magic, error) in [
        ("REDIS0012", LoadError::Version(12)),
        ("REDIS0080", LoadError::Version(80)),
        ("REDIS0000", LoadError::Version(0)),
        ("VALKEY079", LoadError::Version(79)),
        ("VALKEY081", LoadError::Version(81)),
        ("REDIS00a1", LoadError::Magic),
        ("RAMKEEP11", LoadError::Magic),
    ] {
        let mut loader = Loader::new(LIMITS);
        loader.feed(magic.as_bytes());
        assert_eq!(loader.next_item().unwrap_err(), error, "{magic}");
    }
}

#[test]
fn a_file_cut_anywhere_is_truncated_and_one_with_more_behind_it_damaged() {
    let mut databases = build(&[
        Key { database: 1, key: b"a".to_vec(), expiry_ms: None, content: Contents::Sparse(70_000) },
        Key {
            database: 2,
            key: b"b".to_vec(),
            expiry_ms: Some(4),
            content: Contents::Hash(vec![(b"f".to_vec(), b"v".to_vec())]),
        },
    ]);
    let (file, _) = write(&mut databases, false);
    for end in (0..file.len()).filter(|end| end % 977 == 0 || file.len() - end < 200) {
        let error = read(&file[..end], 4096, &mut Databases::new(LIMITS.hash_key, DATABASES)).err();
        assert_eq!(error, Some(LoadError::Truncated), "cut at {end}");
    }
    let mut loader = Loader::new(LIMITS);
    loader.feed(&file);
    loader.feed(b"x");
    while !matches!(loader.next_item(), Ok(Some(Item::End { .. }))) {}
    assert!(matches!(loader.next_item(), Err(LoadError::Damaged { .. })));
}

#[test]
fn a_length_that_lies_makes_no_room() {
    for lie in [
        &b"\x00\x01k\x81\0\0\0\xff\0\0\0\0"[..],
        b"\x00\x01k\xc3\x05\x81\0\0\0\x10\0\0\0\0aaaaa",
        b"\x04\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01f\x01v",
    ] {
        let mut loader = Loader::new(LIMITS);
        loader.feed(b"REDIS0011");
        loader.feed(lie);
        loader.feed_end();
        assert!(loader.next_item().is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read(keys in vec(key(), 0..60), compresses: bool, piece in 1..5000usize) {
        let mut databases = build(&keys);
        let expected = digest_of(&databases);
        let count: usize = databases.iter().map(crate::keyspace::Keyspace::len).sum();
        let (file, foot) = write(&mut databases, compresses);
        prop_assert_eq!(foot, Foot { keys: count as u64, digest: expected });
        let mut loaded = Databases::new(LIMITS.hash_key, DATABASES);
        let (unsupported, loader) = read(&file, piece, &mut loaded).unwrap();
        prop_assert_eq!(unsupported, 0);
        prop_assert_eq!(loader.head(), Some(head()));
        prop_assert_eq!(loader.foot(), Some(foot));
        prop_assert_eq!(digest_of(&loaded), expected);
        for (database, loaded) in databases.iter().zip(loaded.iter()) {
            prop_assert_eq!(database.len(), loaded.len());
            prop_assert_eq!(database.expires_len(), loaded.expires_len());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_and_takes_no_more_memory_than_it_may(
        keys in vec(key(), 1..12),
        compresses: bool,
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut file, _) = write(&mut build(&keys), compresses);
        let whole = file.clone();
        for (at, byte) in damages {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let mut loaded = Databases::new(LIMITS.hash_key, DATABASES);
        match read(&file, 1000, &mut loaded) {
            // Nothing that counts was changed: only the end's checksum can be switched off by zeros.
            Ok(_) => prop_assert!(file == whole || file[file.len() - 8..] == [0; 8]),
            Err(_) => prop_assert!(file != whole),
        }
        prop_assert!(loaded.used_memory() <= 100 * file.len() as u64 + (4 << 20));
    }

    #[test]
    fn any_bytes_are_safe(bytes in vec(any::<u8>(), 0..400), number in 0..23u8) {
        let mut file = b"REDIS0011\x00\x01a\x01b".to_vec();
        file.push(number);
        file.extend_from_slice(b"\x01k");
        file.extend_from_slice(&bytes);
        let _ = read(&file, 64, &mut Databases::new(LIMITS.hash_key, DATABASES));
    }

    #[test]
    fn any_pack_is_safe(bytes in vec(any::<u8>(), 0..120), number in prop::sample::select(vec![9u8, 13, 16])) {
        let mut file = b"REDIS0011".to_vec();
        file.extend_from_slice(&[number, 1, b'k', 0x80]);
        file.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        file.extend_from_slice(&bytes);
        let _ = read(&file, 64, &mut Databases::new(LIMITS.hash_key, DATABASES));
    }
}
