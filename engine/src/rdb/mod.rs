//! RDB: the form of snapshots, shared with Redis and Valkey.
//!
//! Lives here: the numbers of the format and what stands in a file's head; below it writing, reading, and the
//! packed forms inside.
//! Not here: files (`ramkeep-server`), when a snapshot is made (`ramkeep-shard`).
//!
//! A file is `REDIS0010` (magic and version), then a run of opcodes and keys, then `FF` and the CRC-64 of
//! everything before it, little-endian. We write version 10 (Redis 7.0), since nothing in our files is newer, and
//! read versions up to 11 (Redis 7.2, Valkey 7.2 to 8.1) and `VALKEY080`; 12 to 79 are another program's.
//!
//! | opcode | followed by |
//! |-------:|-------------|
//! | `FA` | name and value: what the file tells of itself |
//! | `FE` | number of the database that what follows belongs to |
//! | `FB` | number of keys, and of those with a deadline, in that database |
//! | `FC` / `FD` | deadline of the next key: milliseconds, 8 bytes / seconds, 4 bytes, little-endian |
//! | `F8` / `F9` | idle seconds / frequency (1 byte) of the next key |
//! | type | key, value |
//! | `FF` | checksum, 8 bytes |
//!
//! Invariant: nothing that is read makes room for more than bytes that are there can become.

mod crc64;
mod loader;
mod lzf;
mod pack;
mod reader;
mod skip;
#[cfg(test)]
mod tests;
mod writer;

pub use loader::{Item, LoadError, Loader};
pub use writer::{Options, Writer};

use crate::hash::HashKey;

/// Version that is written: the oldest that has all forms we write, so that the most readers know it.
pub const WRITTEN_VERSION: u32 = 10;
/// The newest of Redis's versions that is read.
pub const VERSION: u32 = 11;
const _: () = assert!(WRITTEN_VERSION <= VERSION);
/// Version of Valkey 9 and later, under a magic of its own.
const VALKEY_VERSION: u32 = 80;

/// Numbers of the opcodes.
mod opcode {
    pub const SLOT_INFO: u8 = 0xf4;
    pub const FUNCTION: u8 = 0xf5;
    pub const MODULE_AUX: u8 = 0xf7;
    pub const IDLE: u8 = 0xf8;
    pub const FREQUENCY: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const SIZES: u8 = 0xfb;
    pub const EXPIRY_MS: u8 = 0xfc;
    pub const EXPIRY_S: u8 = 0xfd;
    pub const DATABASE: u8 = 0xfe;
    pub const END: u8 = 0xff;
}

/// Numbers of the values' forms.
mod form {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const SORTED_SET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET: u8 = 5;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Valkey 9: each field with a deadline, or -1.
    pub const HASH_EXPIRING: u8 = 22;
}

/// What a snapshot of ours says of itself, in fields that other readers pass over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub shard: u32,
    /// Cluster that the shard belongs to.
    pub cluster: [u8; 16],
    /// The state after this position of the log.
    pub position: u64,
    /// Term of the entry at that position.
    pub term: u64,
    /// Shard time at that position, in milliseconds since 1970.
    pub shard_ms: i64,
    pub hash_key: HashKey,
    /// Who kept the shard's log at that position, as `ramkeep-log` writes it; empty for a node that was alone.
    pub members: Vec<u8>,
}

/// What stands at the end of a snapshot of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foot {
    pub keys: u64,
    /// As [`crate::data::Data::digest`] of the same content gives it.
    pub digest: u128,
}

/// Names of our fields.
mod field {
    pub const SHARD: &str = "ramkeep-shard";
    pub const CLUSTER: &str = "ramkeep-cluster";
    pub const POSITION: &str = "ramkeep-position";
    pub const TERM: &str = "ramkeep-term";
    pub const SHARD_MS: &str = "ramkeep-shard-ms";
    pub const HASH_KEY: &str = "ramkeep-hash-key";
    pub const MEMBERS: &str = "ramkeep-members";
    pub const KEYS: &str = "ramkeep-keys";
    pub const DIGEST: &str = "ramkeep-digest";
}
