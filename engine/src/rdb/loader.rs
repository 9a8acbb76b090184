//! Reading an RDB file, piece by piece.
//!
//! Lives here: opcodes, keys and values of the types that exist, the checksum.
//! Not here: what becomes of the entries (the caller's), the types that do not exist (`skip`).
//!
//! Invariant: memory follows the bytes that were fed. No input makes it panic.

use super::reader::{Cursor, Length, Read, Stop, Text, bounded};
use super::{Foot, Head, VALKEY_VERSION, VERSION, crc64, field, form, opcode, pack, skip};
use crate::hash::HashKey;
use crate::keyspace::{Content, Entry};
use crate::value::{ChunkedBytes, Hash, HashLimits, Value};
use thiserror::Error;

/// Strings from this length on are taken in pieces.
const LARGE_BYTES: u64 = 64 << 10;

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    #[error("not an RDB file")]
    Magic,
    #[error("RDB version {0}: versions up to {VERSION} and {VALKEY_VERSION} can be read")]
    Version(u32),
    #[error("damaged at byte {offset}: {reason}")]
    Damaged { offset: u64, reason: &'static str },
    #[error("the checksum does not match")]
    Checksum,
    #[error("the file ends before its end mark")]
    Truncated,
}

/// What the file holds next.
#[derive(Debug)]
pub enum Item {
    /// Further entries belong to this database.
    Database(u64),
    /// A key of the last database told.
    Entry(Entry),
    /// A key of a type that does not exist here, or with what does not: it was passed over. An importer that
    /// must not lose it refuses.
    Unsupported { key: Vec<u8>, kind: &'static str },
    /// The end; the checksum was right, or is absent.
    End { has_checksum: bool },
}

/// See the head of this file.
pub struct Loader {
    limits: HashLimits,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    at: usize,
    /// Bytes that the next step needs at least.
    wanted: usize,
    /// Bytes of the file before the buffer.
    offset: u64,
    crc: u64,
    version: u32,
    /// No more bytes will come.
    is_complete: bool,
    stage: Stage,
    prefix: Prefix,
    head: Fields,
}

/// What stands before a key.
#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    expiry_ms: Option<i64>,
}

#[derive(Debug)]
enum Stage {
    Magic,
    Opcode,
    /// A long string, of which so many bytes are to come.
    String {
        key: Vec<u8>,
        left: u64,
        value: ChunkedBytes,
    },
    /// A hash, of which so many fields are to come.
    Hash {
        key: Vec<u8>,
        left: u64,
        hash: Hash,
        expiring: Expiring,
    },
    Done,
}

/// Whether a hash's fields come with deadlines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiring {
    Never,
    /// They may: none had one so far.
    No,
    Yes,
}

/// Our fields, as found.
#[derive(Clone, Debug, Default)]
struct Fields {
    shard: Option<u32>,
    cluster: Option<[u8; 16]>,
    position: Option<u64>,
    term: Option<u64>,
    shard_ms: Option<i64>,
    hash_key: Option<[u64; 2]>,
    members: Vec<u8>,
    keys: Option<u64>,
    digest: Option<u128>,
}

impl Loader {
    /// `limits` decide how hashes are held.
    pub fn new(limits: HashLimits) -> Loader {
        Loader {
            limits,
            buffer: Vec::new(),
            at: 0,
            wanted: 0,
            offset: 0,
            crc: 0,
            version: 0,
            is_complete: false,
            stage: Stage::Magic,
            prefix: Prefix::default(),
            head: Fields::default(),
        }
    }

    /// Adds the file's next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.offset += self.at as u64;
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The file has no more bytes.
    pub fn feed_end(&mut self) {
        self.is_complete = true;
        self.wanted = 0;
    }

    /// The limits from here on; a snapshot of ours brings the key that orders fields.
    pub fn set_limits(&mut self, limits: HashLimits) {
        self.limits = limits;
    }

    /// What the file said of itself before the first key, if it is a snapshot of ours.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            shard: self.head.shard?,
            cluster: self.head.cluster?,
            position: self.head.position?,
            term: self.head.term?,
            shard_ms: self.head.shard_ms?,
            hash_key: HashKey(self.head.hash_key?),
            members: self.head.members.clone(),
        })
    }

    /// What it said at its end.
    pub fn foot(&self) -> Option<Foot> {
        Some(Foot { keys: self.head.keys?, digest: self.head.digest? })
    }

    /// The next item; `None` when more bytes are needed, or after the end.
    pub fn next_item(&mut self) -> Result<Option<Item>, LoadError> {
        loop {
            if matches!(self.stage, Stage::Done) {
                let is_at_end = self.at == self.buffer.len();
                return if is_at_end { Ok(None) } else { Err(self.damaged(self.at, "bytes after the end")) };
            }
            if self.buffer.len() - self.at < self.wanted {
                return Ok(None);
            }
            let buffer = std::mem::take(&mut self.buffer);
            let mut cursor = Cursor::new(&buffer[self.at..]);
            let before = self.at;
            let outcome = self.step(&mut cursor);
            let end = self.at + cursor.at();
            self.buffer = buffer;
            match outcome {
                Ok(item) => {
                    self.at = end;
                    self.wanted = 0;
                    // The checksum covers itself in no case.
                    let covered = if matches!(item, Some(Item::End { .. })) { before } else { end };
                    self.crc = crc64::crc64(self.crc, &self.buffer[before..covered]);
                    if item.is_some() {
                        return Ok(item);
                    }
                }
                Err(Stop::Needs(_)) if self.is_complete => return Err(LoadError::Truncated),
                Err(Stop::Needs(bytes)) => {
                    // What could not be read is read from its start again: never for a few bytes more.
                    let there = self.buffer.len() - self.at;
                    self.wanted = bytes.max(there + there / 2);
                }
                Err(Stop::Damaged(reason)) => return Err(self.damaged(end, reason)),
            }
        }
    }

    fn damaged(&self, at: usize, reason: &'static str) -> LoadError {
        match reason {
            MAGIC => LoadError::Magic,
            UNREADABLE => LoadError::Version(self.version),
            CHECKSUM => LoadError::Checksum,
            reason => LoadError::Damaged { offset: self.offset + at as u64, reason },
        }
    }

    /// Reads what comes next; `None` if that was only something between the items.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Read<Option<Item>> {
        match &self.stage {
            Stage::Magic => self.magic(cursor).map(|()| None),
            Stage::Opcode => self.opcode(cursor),
            Stage::String { .. } => self.string_piece(cursor),
            Stage::Hash { .. } => self.hash_piece(cursor),
            Stage::Done => Ok(None),
        }
    }

    fn magic(&mut self, cursor: &mut Cursor<'_>) -> Read<()> {
        let magic: [u8; 9] = cursor.array()?;
        let digits = match &magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => &digits[..],
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => &digits[..],
            _ => return Err(Stop::Damaged(MAGIC)),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Stop::Damaged(MAGIC));
        }
        self.version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
        let is_valkey = magic[0] == b'V';
        let is_known =
            if is_valkey { self.version == VALKEY_VERSION } else { (1..=VERSION).contains(&self.version) };
        if !is_known {
            return Err(Stop::Damaged(UNREADABLE));
        }
        self.stage = Stage::Opcode;
        Ok(())
    }

    fn opcode(&mut self, cursor: &mut Cursor<'_>) -> Read<Option<Item>> {
        match cursor.byte()? {
            opcode::AUX => {
                let (name, value) = (cursor.string()?, cursor.string()?);
                name.with(|name| value.with(|value| self.head.take(name, value)))?;
            }
            opcode::DATABASE => return Ok(Some(Item::Database(cursor.length()?))),
            opcode::SIZES => {
                cursor.length()?;
                cursor.length()?;
            }
            opcode::EXPIRY_MS => self.prefix.expiry_ms = Some(i64::from_le_bytes(cursor.array()?)),
            opcode::EXPIRY_S => {
                self.prefix.expiry_ms = Some(i64::from(i32::from_le_bytes(cursor.array()?)) * 1000);
            }
            // Access clocks begin anew: they are this node's, and no part of the data.
            opcode::IDLE => {
                cursor.length()?;
            }
            opcode::FREQUENCY => {
                cursor.byte()?;
            }
            opcode::SLOT_INFO => (0..3).try_for_each(|_| cursor.length().map(|_| ()))?,
            opcode::FUNCTION => {
                let code = cursor.string()?.to_vec();
                let name = code.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
                return Ok(Some(Item::Unsupported { key: name, kind: "function library" }));
            }
            opcode::MODULE_AUX => {
                cursor.length()?;
                skip::module(cursor)?;
                return Ok(Some(Item::Unsupported { key: Vec::new(), kind: "module" }));
            }
            opcode::END => return self.end(cursor).map(Some),
            number => return self.key(cursor, number),
        }
        Ok(None)
    }

    fn end(&mut self, cursor: &mut Cursor<'_>) -> Read<Item> {
        // Files before version 5 end without one.
        let stored = if self.version >= 5 { u64::from_le_bytes(cursor.array()?) } else { 0 };
        let computed = crc64::crc64(self.crc, &[opcode::END]);
        if stored != 0 && stored != computed {
            return Err(Stop::Damaged(CHECKSUM));
        }
        self.stage = Stage::Done;
        Ok(Item::End { has_checksum: stored != 0 })
    }

    fn key(&mut self, cursor: &mut Cursor<'_>, number: u8) -> Read<Option<Item>> {
        let kind = skip::type_name(number).ok_or(Stop::Damaged("an opcode or a type that is unknown"))?;
        let key = cursor.string()?.to_vec();
        match number {
            form::STRING => self.string(cursor, key),
            form::HASH | form::HASH_EXPIRING => {
                let left = cursor.length()?;
                if left == 0 {
                    return Err(Stop::Damaged("a hash without fields"));
                }
                let expiring = if number == form::HASH { Expiring::Never } else { Expiring::No };
                self.stage = Stage::Hash { key, left, hash: Hash::new(), expiring };
                Ok(None)
            }
            form::HASH_ZIPMAP => self.packed_hash(cursor, key, pack::zipmap),
            form::HASH_ZIPLIST => self.packed_hash(cursor, key, pack::ziplist),
            form::HASH_LISTPACK => self.packed_hash(cursor, key, pack::listpack),
            _ => {
                skip::value(cursor, number)?;
                self.prefix = Prefix::default();
                Ok(Some(Item::Unsupported { key, kind }))
            }
        }
    }

    fn string(&mut self, cursor: &mut Cursor<'_>, key: Vec<u8>) -> Read<Option<Item>> {
        let text = match cursor.length_or_special()? {
            Length::Plain(left) if left >= LARGE_BYTES => {
                bounded(left)?;
                self.stage = Stage::String { key, left, value: ChunkedBytes::new() };
                return Ok(None);
            }
            Length::Plain(length) => Text::Slice(cursor.take(bounded(length)?)?),
            Length::Special(special) => cursor.special_string(special)?,
        };
        let expiry_ms = std::mem::take(&mut self.prefix).expiry_ms;
        Ok(Some(Item::Entry(text.with(|value| Entry::with_string(&key, value, expiry_ms)))))
    }

    fn string_piece(&mut self, cursor: &mut Cursor<'_>) -> Read<Option<Item>> {
        let Stage::String { left, value, .. } = &mut self.stage else {
            unreachable!("the stage was looked at")
        };
        let piece = LARGE_BYTES.min(*left);
        value.append(cursor.take(piece as usize)?);
        *left -= piece;
        if *left > 0 {
            return Ok(None);
        }
        let Stage::String { key, value, .. } = std::mem::replace(&mut self.stage, Stage::Opcode) else {
            unreachable!("the stage was looked at")
        };
        Ok(Some(self.entry(&key, Value::String(value))))
    }

    fn hash_piece(&mut self, cursor: &mut Cursor<'_>) -> Read<Option<Item>> {
        let limits = self.limits;
        let Stage::Hash { left, hash, expiring, .. } = &mut self.stage else {
            unreachable!("the stage was looked at")
        };
        let (field, value) = (cursor.string()?, cursor.string()?);
        if *expiring != Expiring::Never && i64::from_le_bytes(cursor.array()?) != -1 {
            *expiring = Expiring::Yes;
        }
        if !field.with(|field| value.with(|value| hash.set(field, value, &limits))) {
            return Err(Stop::Damaged("a field stands twice in a hash"));
        }
        *left -= 1;
        if *left > 0 {
            return Ok(None);
        }
        let Stage::Hash { key, hash, expiring, .. } = std::mem::replace(&mut self.stage, Stage::Opcode)
        else {
            unreachable!("the stage was looked at")
        };
        if expiring == Expiring::Yes {
            // Without their deadlines the fields would stay for ever.
            self.prefix = Prefix::default();
            return Ok(Some(Item::Unsupported { key, kind: "hash with expiring fields" }));
        }
        Ok(Some(self.entry(&key, Value::Hash(hash))))
    }

    fn packed_hash(
        &mut self,
        cursor: &mut Cursor<'_>,
        key: Vec<u8>,
        read: impl Fn(&mut Cursor<'_>, &mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()>,
    ) -> Read<Option<Item>> {
        let (mut hash, mut field, limits) = (Hash::new(), None, self.limits);
        let mut take = |text: Text<'_>| {
            let Some(name) = field.take() else {
                field = Some(text.to_vec());
                return Ok(());
            };
            match text.with(|value| hash.set(&name, value, &limits)) {
                true => Ok(()),
                false => Err(Stop::Damaged("a field stands twice in a hash")),
            }
        };
        cursor.string()?.with(|bytes| pack::read_all(bytes, read, &mut take))?;
        if field.is_some() || hash.is_empty() {
            return Err(Stop::Damaged("a hash without fields, or a field without its value"));
        }
        Ok(Some(self.entry(&key, Value::Hash(hash))))
    }

    fn entry(&mut self, key: &[u8], value: Value) -> Item {
        let expiry_ms = std::mem::take(&mut self.prefix).expiry_ms;
        Item::Entry(Entry::new(key, Content::Value(value), expiry_ms))
    }
}

const MAGIC: &str = "magic";
const UNREADABLE: &str = "version";
const CHECKSUM: &str = "checksum";

impl Fields {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Read<()> {
        const BAD: Stop = Stop::Damaged("a field of the file's head is malformed");
        let text = || std::str::from_utf8(value).map_err(|_| BAD);
        let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
        match name {
            field::SHARD => self.shard = Some(text()?.parse().map_err(|_| BAD)?),
            field::CLUSTER => self.cluster = Some(hexadecimal(text()?).ok_or(BAD)?.to_be_bytes()),
            field::POSITION => self.position = Some(text()?.parse().map_err(|_| BAD)?),
            field::TERM => self.term = Some(text()?.parse().map_err(|_| BAD)?),
            field::SHARD_MS => self.shard_ms = Some(text()?.parse().map_err(|_| BAD)?),
            field::HASH_KEY => {
                let key = hexadecimal(text()?).ok_or(BAD)?;
                self.hash_key = Some([(key >> 64) as u64, key as u64]);
            }
            field::MEMBERS => self.members = digits(text()?).ok_or(BAD)?,
            field::KEYS => self.keys = Some(text()?.parse().map_err(|_| BAD)?),
            field::DIGEST => self.digest = Some(hexadecimal(text()?).ok_or(BAD)?),
            _ => {}
        }
        Ok(())
    }
}

/// Bytes, two hexadecimal digits each.
fn digits(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((value(*high)? * 16 + value(*low)?) as u8);
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

/// 32 hexadecimal digits.
fn hexadecimal(text: &str) -> Option<u128> {
    let is_plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
