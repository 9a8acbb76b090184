//! Writing an RDB file, piece by piece.
//!
//! Lives here: the bytes of keys and values, large ones in pieces, and the checksum over all.
//! Not here: which keys, and when (`keyspace::snapshot`, `ramkeep-shard`).
//!
//! Invariant: one call makes about as many bytes as were asked for, whatever the size of a value: an entry
//! above [`LARGE_BYTES`] is held (its content is shared, not copied) and written bit by bit.

use super::lzf::{self, Table};
use super::{Foot, Head, WRITTEN_VERSION, crc64, field, form, opcode};
use crate::keyspace::Entry;
use crate::keyspace::digest::{self, ContentDigest};
use crate::value::chunks::CHUNK_BYTES;
use crate::value::{Hash, StringRef, Value, canonical_integer};
use std::collections::VecDeque;

/// Entries that request more memory are written in pieces.
pub const LARGE_BYTES: u64 = 64 << 10;
/// Strings up to this length may be written as integers.
const INTEGER_TEXT_MAX: usize = 11;
/// Strings up to this length are never compressed.
const COMPRESSED_MIN: usize = 20;
/// Longer strings are written as they are: compressing one takes as long as its length.
const COMPRESSED_MAX: usize = LARGE_BYTES as usize;
/// Fields of a large hash written at once.
const FIELDS_AT_ONCE: usize = 64;
/// Chunks of a large string written at once.
const CHUNKS_AT_ONCE: usize = 4;

/// How a file is written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Strings are compressed where that makes them shorter.
    pub compresses: bool,
    /// Time of making, in seconds since 1970.
    pub made_at_s: i64,
    /// Keys, and keys with a deadline, of each database.
    pub sizes: Vec<(usize, usize)>,
}

/// See the head of this file.
pub struct Writer {
    options: Options,
    out: Vec<u8>,
    crc: u64,
    /// Bytes taken so far.
    taken: u64,
    database: Option<usize>,
    table: Table,
    large: VecDeque<(usize, Entry)>,
    open: Option<Open>,
    /// Sum of the entries' digests, for each database.
    sums: Vec<u128>,
    keys: u64,
}

/// A large entry that is being written.
struct Open {
    database: usize,
    entry: Entry,
    digest: ContentDigest,
    /// Bytes of a string, or the place in a hash, to go on from.
    at: u64,
}

impl Writer {
    /// Begins a file; `head` makes it a snapshot of ours.
    pub fn new(options: Options, head: Option<&Head>) -> Writer {
        let mut writer = Writer {
            sums: vec![0; options.sizes.len()],
            out: Vec::new(),
            crc: 0,
            taken: 0,
            database: None,
            table: Table::default(),
            large: VecDeque::new(),
            open: None,
            keys: 0,
            options,
        };
        writer.out.extend_from_slice(format!("REDIS{WRITTEN_VERSION:04}").as_bytes());
        // What Valkey 8 says there, for readers that look at it.
        writer.aux("redis-ver", b"7.2.4");
        writer.aux("redis-bits", b"64");
        let made_at_s = writer.options.made_at_s;
        writer.aux("ctime", made_at_s.to_string().as_bytes());
        if let Some(head) = head {
            writer.aux(field::SHARD, head.shard.to_string().as_bytes());
            writer.aux(field::CLUSTER, hexadecimal(&head.cluster).as_bytes());
            writer.aux(field::POSITION, head.position.to_string().as_bytes());
            writer.aux(field::TERM, head.term.to_string().as_bytes());
            writer.aux(field::SHARD_MS, head.shard_ms.to_string().as_bytes());
            let key = head.hash_key.0.map(u64::to_be_bytes).concat();
            writer.aux(field::HASH_KEY, hexadecimal(&key).as_bytes());
            if !head.members.is_empty() {
                writer.aux(field::MEMBERS, hexadecimal(&head.members).as_bytes());
            }
        }
        writer
    }

    /// Bytes made and not taken yet.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    /// Takes what was made.
    pub fn take(&mut self) -> Vec<u8> {
        self.crc = crc64::crc64(self.crc, &self.out);
        self.taken += self.out.len() as u64;
        std::mem::take(&mut self.out)
    }

    /// Adds a key of a database. A large one is only held: [`Writer::step`] writes it.
    pub fn entry(&mut self, database: usize, entry: &Entry) {
        if is_large(entry) {
            self.large.push_back((database, entry.clone()));
            return;
        }
        self.begin(database, entry);
        match entry.value() {
            Some(Value::Hash(hash)) => {
                self.length(hash.len() as u64);
                for (field, value) in hash.iter() {
                    self.string(field);
                    self.string_ref(value);
                }
            }
            Some(Value::String(_)) | None => {
                self.string_ref(entry.string().expect("no other kind"));
            }
        }
        self.note(database, entry.digest());
    }

    /// Writes a piece of the large entries that are held. False when none is left.
    pub fn step(&mut self) -> bool {
        let Some(open) = self.open.take().or_else(|| self.begin_large()) else { return false };
        let Open { database, entry, mut digest, at } = open;
        let next = match entry.value() {
            Some(Value::Hash(hash)) => self.fields(hash, at, &mut digest),
            Some(Value::String(_)) | None => {
                self.chunks(entry.string().expect("no other kind"), at, &mut digest)
            }
        };
        match next {
            Some(at) => self.open = Some(Open { database, entry, digest, at }),
            None => self.note(database, digest.finish(entry.key(), entry.kind(), entry.expiry_ms())),
        }
        true
    }

    /// Ends the file. All entries that were held must be written.
    pub fn end(&mut self) -> Foot {
        assert!(self.large.is_empty() && self.open.is_none(), "held entries are written before the end");
        let foot = Foot { keys: self.keys, digest: digest::combine(self.sums.iter().copied()) };
        self.aux(field::KEYS, foot.keys.to_string().as_bytes());
        self.aux(field::DIGEST, format!("{:032x}", foot.digest).as_bytes());
        self.out.push(opcode::END);
        let crc = crc64::crc64(self.crc, &self.out);
        self.out.extend_from_slice(&crc.to_le_bytes());
        foot
    }

    fn note(&mut self, database: usize, digest: u128) {
        self.keys += 1;
        self.sums[database] = self.sums[database].wrapping_add(digest);
    }

    /// Database where it changes, deadline, form and key.
    fn begin(&mut self, database: usize, entry: &Entry) {
        if self.database != Some(database) {
            self.database = Some(database);
            self.out.push(opcode::DATABASE);
            self.length(database as u64);
            // Readers make room for the keys that come: said once.
            let (keys, expires) = std::mem::take(&mut self.options.sizes[database]);
            if keys > 0 {
                self.out.push(opcode::SIZES);
                self.length(keys as u64);
                self.length(expires as u64);
            }
        }
        if let Some(expiry_ms) = entry.expiry_ms() {
            self.out.push(opcode::EXPIRY_MS);
            self.out.extend_from_slice(&expiry_ms.to_le_bytes());
        }
        self.out.push(match entry.value() {
            Some(Value::Hash(_)) => form::HASH,
            Some(Value::String(_)) | None => form::STRING,
        });
        self.string(entry.key());
    }

    fn begin_large(&mut self) -> Option<Open> {
        let (database, entry) = self.large.pop_front()?;
        self.begin(database, &entry);
        let length = match entry.value() {
            Some(Value::Hash(hash)) => hash.len(),
            Some(Value::String(_)) | None => entry.string().expect("no other kind").len(),
        };
        self.length(length as u64);
        Some(Open { database, entry, digest: ContentDigest::default(), at: 0 })
    }

    /// Writes further fields; gives where to go on.
    fn fields(&mut self, hash: &Hash, cursor: u64, digest: &mut ContentDigest) -> Option<u64> {
        let next = hash.scan(cursor, FIELDS_AT_ONCE, &mut |field, value| {
            self.string(field);
            self.string_ref(value);
            digest.field(field, value);
        });
        Some(next).filter(|next| *next != 0)
    }

    /// Writes further chunks; gives where to go on.
    fn chunks(&mut self, string: StringRef<'_>, at: u64, digest: &mut ContentDigest) -> Option<u64> {
        let (start, at) = (self.out.len(), at as usize);
        let end = (at + CHUNKS_AT_ONCE * CHUNK_BYTES).min(string.len());
        string.copy_range(at..end, &mut self.out);
        self.out[start..].chunks(CHUNK_BYTES).for_each(|chunk| digest.piece(chunk));
        (end < string.len()).then_some(end as u64)
    }

    fn aux(&mut self, name: &str, value: &[u8]) {
        self.out.push(opcode::AUX);
        self.string(name.as_bytes());
        self.string(value);
    }

    fn length(&mut self, length: u64) {
        put_length(&mut self.out, length);
    }

    fn string_ref(&mut self, string: StringRef<'_>) {
        match string {
            StringRef::Integer(integer) => {
                let mut digits = [0; 20];
                self.string(crate::number::integer::format(integer, &mut digits));
            }
            StringRef::Bytes(bytes) => self.string(bytes),
            StringRef::Chunks(chunks) => {
                let mut parts = chunks.chunks();
                match (parts.next(), parts.next()) {
                    (None, _) => self.string(&[]),
                    (Some(only), None) => self.string(only),
                    (Some(_), Some(_)) => {
                        self.length(chunks.len() as u64);
                        chunks.chunks().for_each(|chunk| self.out.extend_from_slice(chunk));
                    }
                }
            }
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        let is_short = bytes.len() <= INTEGER_TEXT_MAX;
        let integer = is_short.then(|| canonical_integer(bytes)).flatten();
        if let Some(integer) = integer.and_then(|integer| i32::try_from(integer).ok()) {
            return self.integer(integer);
        }
        let may_compress = (COMPRESSED_MIN + 1..=COMPRESSED_MAX).contains(&bytes.len());
        if self.options.compresses && may_compress && self.compressed(bytes) {
            return;
        }
        self.length(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn integer(&mut self, integer: i32) {
        if let Ok(byte) = i8::try_from(integer) {
            self.out.extend_from_slice(&[0xc0, byte.to_le_bytes()[0]]);
        } else if let Ok(short) = i16::try_from(integer) {
            self.out.push(0xc1);
            self.out.extend_from_slice(&short.to_le_bytes());
        } else {
            self.out.push(0xc2);
            self.out.extend_from_slice(&integer.to_le_bytes());
        }
    }

    fn compressed(&mut self, bytes: &[u8]) -> bool {
        let mut commands = Vec::new();
        if !lzf::compress(bytes, &mut self.table, &mut commands) {
            return false;
        }
        self.out.push(0xc3);
        self.length(commands.len() as u64);
        self.length(bytes.len() as u64);
        self.out.extend_from_slice(&commands);
        true
    }
}

/// A string counts by its length: zeros that were never written take no memory, but place in the file.
fn is_large(entry: &Entry) -> bool {
    match entry.string() {
        Some(string) => string.len() as u64 > LARGE_BYTES,
        None => entry.memory_bytes() > LARGE_BYTES,
    }
}

/// One byte below 64, two below 16,384, then five or nine; big-endian.
fn put_length(out: &mut Vec<u8>, length: u64) {
    if length < 1 << 6 {
        out.push(length as u8);
    } else if length < 1 << 14 {
        out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes());
    } else if let Ok(length) = u32::try_from(length) {
        out.push(0x80);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
