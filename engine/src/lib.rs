//! Placeholder head, replaced with the crate's first module.

pub mod crc16;
pub mod hash;
pub mod keyspace;
pub mod slot;
pub mod value;
