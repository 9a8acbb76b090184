//! Who a directory is: written once, together with its first log.
//!
//! Lives here: the bytes of the identity file. Not here: drawing the ids, and the file.
//!
//! Invariant: an id never moves between directories. A directory without a readable identity gets a fresh one,
//! with a new incarnation, and so never votes under an old id.

use crate::bytes_at::{array_at, put, u32_at, u64_at};
use crate::segment::Layout;
use crate::types::{NodeId, ShardId, Uuid};

const MAGIC: [u8; 8] = *b"RAMKNODE";
const VERSION: u32 = 1;
const IDENTITY_BYTES: usize = 512;

/// Identity of a directory. 512 bytes; all integers little-endian.
///
/// | offset | bytes | field                                             |
/// |-------:|------:|---------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..512                              |
/// |      4 |     8 | magic `RAMKNODE`                                   |
/// |     12 |     4 | format version, now 1                              |
/// |     16 |    16 | UUID of the directory                              |
/// |     32 |    16 | UUID of the cluster                                |
/// |     48 |     8 | member: node << 32, incarnation in the low half    |
/// |     56 |     4 | sector size of the logs in it                      |
/// |     60 |     4 | zero                                               |
/// |     64 |     8 | segment size of the logs in it                     |
/// |     72 |   440 | zero                                               |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the directory was made.
    pub directory: Uuid,
    /// The cluster it joined.
    pub cluster: Uuid,
    /// The member it votes as.
    pub member: NodeId,
    /// Sector size of its logs.
    pub sector_bytes: u32,
    /// Segment size of its logs.
    pub segment_bytes: u64,
}

/// Why an identity file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Damaged, or not an identity file.
    #[error("the identity file is damaged")]
    Damaged,
    /// Written by another version.
    #[error("identity file of format version {found}, this program reads {VERSION}")]
    Version {
        /// What the file says.
        found: u32,
    },
}

impl Identity {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut file = vec![0; IDENTITY_BYTES];
        put(&mut file, 4, &MAGIC);
        put(&mut file, 12, &VERSION.to_le_bytes());
        put(&mut file, 16, &self.directory.0);
        put(&mut file, 32, &self.cluster.0);
        put(&mut file, 48, &self.member.0.to_le_bytes());
        put(&mut file, 56, &self.sector_bytes.to_le_bytes());
        put(&mut file, 64, &self.segment_bytes.to_le_bytes());
        let crc = crc32fast::hash(&file[4..]);
        put(&mut file, 0, &crc.to_le_bytes());
        file
    }

    /// Reads the file's bytes.
    pub fn decode(file: &[u8]) -> Result<Self, IdentityError> {
        let is_whole = file.len() == IDENTITY_BYTES && crc32fast::hash(&file[4..]) == u32_at(file, 0);
        if !is_whole || array_at(file, 4) != MAGIC {
            return Err(IdentityError::Damaged);
        }
        let found = u32_at(file, 12);
        if found != VERSION {
            return Err(IdentityError::Version { found });
        }
        let identity = Self {
            directory: Uuid(array_at(file, 16)),
            cluster: Uuid(array_at(file, 32)),
            member: NodeId(u64_at(file, 48)),
            sector_bytes: u32_at(file, 56),
            segment_bytes: u64_at(file, 64),
        };
        if identity.layout(ShardId(0)).is_sound() { Ok(identity) } else { Err(IdentityError::Damaged) }
    }

    /// How the log of `shard` is laid out in this directory.
    #[must_use]
    pub fn layout(&self, shard: ShardId) -> Layout {
        let Self { directory, cluster, sector_bytes, segment_bytes, .. } = *self;
        Layout { shard, directory, cluster, sector_bytes, segment_bytes }
    }
}
