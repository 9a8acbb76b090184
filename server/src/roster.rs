//! Who founded the cluster: the members and the data directories that they have.
//!
//! Lives here: the roster, its file, the ids that a configuration gives. Not here: how it comes about (`founding`),
//! who is a member after changes (the log says so).
//!
//! Invariant: a member counts only with the directory that the roster names: an id never moves to another disk.

use ramkeep_engine::config::{Member, MemberRole, Settings};
use ramkeep_log::{FOUNDER, NodeId, Uuid};

/// Name of the file.
pub const ROSTER_FILE: &str = "roster";
const MAGIC: [u8; 8] = *b"RAMKROST";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 36;
const FOUNDER_BYTES: usize = 24;
/// No roster names more members.
const FOUNDERS_MAX: usize = 64;

/// A member as the cluster was founded with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Founder {
    pub member: NodeId,
    pub directory: Uuid,
}

/// All founding members. Its file, all integers little-endian:
///
/// | offset | bytes | field                                                     |
/// |-------:|------:|-----------------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..end                                      |
/// |      4 |     8 | magic `RAMKROST`                                           |
/// |     12 |     4 | format version, now 1                                      |
/// |     16 |    16 | UUID of the cluster                                        |
/// |     32 |     4 | number of members                                          |
/// |     36 |    24 | for each: member (8), UUID of its data directory (16)      |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    pub cluster: Uuid,
    /// In rising order.
    pub founders: Vec<Founder>,
}

/// Why bytes are no roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    #[error("it is damaged")]
    Damaged,
    #[error("it has format version {0}, this program reads {VERSION}")]
    Version(u32),
}

impl Roster {
    pub fn new(cluster: Uuid, mut founders: Vec<Founder>) -> Self {
        founders.sort_unstable();
        Self { cluster, founders }
    }

    /// Those who voted at first. A node that came back under a new id adds itself to its own roster, to be known by
    /// its directory; it is none of them.
    pub fn voters(&self) -> Vec<NodeId> {
        self.founders
            .iter()
            .map(|founder| founder.member)
            .filter(|member| member.incarnation() == FOUNDER)
            .collect()
    }

    /// The directory that the member is known by.
    pub fn directory_of(&self, member: NodeId) -> Option<Uuid> {
        self.founders.iter().find(|founder| founder.member == member).map(|founder| founder.directory)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&(self.founders.len() as u32).to_le_bytes());
        for founder in &self.founders {
            bytes.extend_from_slice(&founder.member.0.to_le_bytes());
            bytes.extend_from_slice(&founder.directory.0);
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RosterError> {
        let is_whole = bytes.len() >= HEAD_BYTES
            && crc32fast::hash(&bytes[4..]).to_le_bytes() == bytes[..4]
            && bytes[4..12] == MAGIC;
        if !is_whole {
            return Err(RosterError::Damaged);
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if u32_at(12) != VERSION {
            return Err(RosterError::Version(u32_at(12)));
        }
        let rest = &bytes[HEAD_BYTES..];
        let count = u32_at(32) as usize;
        if count == 0 || count > FOUNDERS_MAX || rest.len() != count * FOUNDER_BYTES {
            return Err(RosterError::Damaged);
        }
        let founders = rest.chunks_exact(FOUNDER_BYTES).map(|chunk| Founder {
            member: NodeId(u64::from_le_bytes(chunk[..8].try_into().expect("eight bytes"))),
            directory: Uuid(chunk[8..].try_into().expect("sixteen bytes")),
        });
        let founders: Vec<Founder> = founders.collect();
        if !founders.is_sorted_by(|left, right| left.member < right.member) {
            return Err(RosterError::Damaged);
        }
        Ok(Self { cluster: Uuid(bytes[16..32].try_into().expect("sixteen bytes")), founders })
    }
}

/// The cluster's UUID: as the text spells it, or drawn from the text as a name.
pub fn cluster_uuid(text: &str) -> Uuid {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let is_uuid =
        text.len() == 36 && digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_uuid && let Ok(number) = u128::from_str_radix(&digits, 16) {
        return Uuid(number.to_be_bytes());
    }
    Uuid(ramkeep_net::peer::id_of_name(text))
}

/// This node among the configured members; none if it is alone.
pub fn own(settings: &Settings) -> Option<&Member> {
    settings.members.iter().find(|member| member.name == settings.node_name)
}

/// Whether this node holds the log alone.
pub fn is_log_only(settings: &Settings) -> bool {
    own(settings).is_some_and(|member| member.role == MemberRole::Log)
}

/// The configured member with this number.
pub fn by_number(settings: &Settings, number: u32) -> Option<&Member> {
    settings.members.iter().find(|member| member.number() == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster {
        let founder = |number, byte| Founder { member: NodeId::of(number, 1), directory: Uuid([byte; 16]) };
        Roster::new(Uuid([7; 16]), vec![founder(9, 1), founder(2, 2), founder(5, 3)])
    }

    #[test]
    fn a_roster_reads_back_in_order() {
        let roster = roster();
        assert_eq!(roster.voters(), [NodeId::of(2, 1), NodeId::of(5, 1), NodeId::of(9, 1)]);
        assert_eq!(Roster::decode(&roster.encode()), Ok(roster.clone()));
        assert_eq!(roster.directory_of(NodeId::of(5, 1)), Some(Uuid([3; 16])));
        assert_eq!(roster.directory_of(NodeId::of(5, 2)), None);
    }

    #[test]
    fn no_changed_or_shortened_bytes_are_a_roster() {
        let bytes = roster().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert_eq!(Roster::decode(&changed), Err(RosterError::Damaged), "byte {at}");
            assert_eq!(Roster::decode(&bytes[..at]), Err(RosterError::Damaged), "length {at}");
        }
        let mut newer = bytes;
        newer[12] = 2;
        let crc = crc32fast::hash(&newer[4..]);
        newer[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Roster::decode(&newer), Err(RosterError::Version(2)));
    }

    #[test]
    fn a_cluster_is_named_by_a_uuid_or_by_a_name() {
        let text = "123e4567-e89b-12d3-a456-426614174000";
        assert_eq!(cluster_uuid(text).to_string(), text);
        assert_eq!(cluster_uuid("shop"), cluster_uuid("shop"));
        assert_ne!(cluster_uuid("shop"), cluster_uuid("Shop"));
    }
}
