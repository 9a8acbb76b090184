//! Values: what a key holds.
//!
//! Lives here: the kinds, Redis's names of kinds and encodings, and the enum of values too large or too
//! structured to stand inside their entry.
//! Not here: integers and small strings, which stand inside the entry (`keyspace::entry`); commands.
//!
//! Invariant: `clone` shares big contents and later changes copy only what they touch, so a clone costs the
//! same for 1 KiB and for 1 GiB.

pub mod chunks;
pub mod hash;
mod string_ref;

pub use chunks::ChunkedBytes;
pub use hash::{Hash, HashLimits};
pub use string_ref::StringRef;
pub(crate) use string_ref::canonical_integer;

/// Type of a value, as TYPE tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

impl Kind {
    /// Redis's word for the type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// How a value is stored, as OBJECT ENCODING tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Int,
    EmbStr,
    Raw,
    ListPack,
    HashTable,
}

impl Encoding {
    /// Redis's word for the encoding.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::EmbStr => "embstr",
            Encoding::Raw => "raw",
            Encoding::ListPack => "listpack",
            Encoding::HashTable => "hashtable",
        }
    }
}

/// A value that has heap parts of its own.
#[derive(Clone, Debug)]
pub enum Value {
    String(ChunkedBytes),
    Hash(Hash),
}

// It stands inside the entry's allocation: each word here is a word per key.
const _: () = assert!(size_of::<Value>() == 24);

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::Hash(_) => Kind::Hash,
        }
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            Value::String(_) => Encoding::Raw,
            Value::Hash(hash) => hash.encoding(),
        }
    }

    /// Bytes on the heap behind this value, O(1). Contents shared with clones are counted in each.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Value::String(bytes) => bytes.memory_bytes(),
            Value::Hash(hash) => hash.memory_bytes(),
        }
    }
}
