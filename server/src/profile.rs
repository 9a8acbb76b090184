//! What goes along when a client's connection moves between nodes, as bytes.
//!
//! Lives here: the form of a [`Profile`] in the frames of a tunnel. Not here: when it is told (`wire`, `tunnel`).
//!
//! | bytes | field |
//! |------:|-------|
//! |     1 | version of this form, 1 |
//! |     1 | database |
//! |     1 | protocol, 2 or 3 |
//! |     1 | flags: 1 authenticated, 2 replies off, 4 not evicted, 8 touches no keys, 16 reads here |
//! |     8 | reads at a replica: 0 eventual, 1 linearizable, else 2 + milliseconds, little-endian |
//! | 4 × (4 + n) | user, name, library's name and version: length, little-endian, and bytes |

use ramkeep_engine::resp::Protocol;
use ramkeep_engine::session::{Profile, ReadConsistency};

const VERSION: u8 = 1;
const AUTHENTICATED: u8 = 1;
const SILENT: u8 = 2;
const NO_EVICT: u8 = 4;
const NO_TOUCH: u8 = 8;
const READS_REPLICA: u8 = 16;

pub(crate) fn encode(profile: &Profile, bytes: &mut Vec<u8>) {
    let protocol = match profile.protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let flags = [
        (profile.is_authenticated, AUTHENTICATED),
        (profile.is_silent, SILENT),
        (profile.no_evict, NO_EVICT),
        (profile.no_touch, NO_TOUCH),
        (profile.reads_replica, READS_REPLICA),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
    bytes.extend_from_slice(&[VERSION, profile.database, protocol, flags]);
    let consistency = match profile.read_consistency {
        ReadConsistency::Eventual => 0,
        ReadConsistency::Linearizable => 1,
        ReadConsistency::Bounded { age_ms_max } => age_ms_max.saturating_add(2),
    };
    bytes.extend_from_slice(&consistency.to_le_bytes());
    for text in [&profile.user, &profile.name, &profile.library_name, &profile.library_version] {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text);
    }
}

/// `None` for what no node of this version writes.
pub(crate) fn decode(bytes: &[u8]) -> Option<Profile> {
    let (&[version, database, protocol, flags], rest) = bytes.split_first_chunk::<4>()?;
    let (consistency, mut rest) = rest.split_first_chunk::<8>()?;
    let read_consistency = match u64::from_le_bytes(*consistency) {
        0 => ReadConsistency::Eventual,
        1 => ReadConsistency::Linearizable,
        more => ReadConsistency::Bounded { age_ms_max: more - 2 },
    };
    let protocol = match protocol {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return None,
    };
    let mut text = || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = behind;
        Some(text.to_vec())
    };
    let (user, name, library_name, library_version) = (text()?, text()?, text()?, text()?);
    (version == VERSION && rest.is_empty()).then_some(Profile {
        database,
        protocol,
        name,
        library_name,
        library_version,
        is_authenticated: flags & AUTHENTICATED != 0,
        user,
        is_silent: flags & SILENT != 0,
        no_evict: flags & NO_EVICT != 0,
        no_touch: flags & NO_TOUCH != 0,
        reads_replica: flags & READS_REPLICA != 0,
        read_consistency,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            database: 3,
            protocol: Protocol::Resp3,
            name: b"worker".to_vec(),
            library_name: b"redis-py".to_vec(),
            library_version: b"8.1.0".to_vec(),
            is_authenticated: true,
            user: b"default".to_vec(),
            is_silent: false,
            no_evict: true,
            no_touch: false,
            reads_replica: true,
            read_consistency: ReadConsistency::Bounded { age_ms_max: 250 },
        }
    }

    #[test]
    fn a_profile_comes_back_as_it_went() {
        let mut bytes = Vec::new();
        encode(&profile(), &mut bytes);
        assert_eq!(&bytes[..12], [1, 3, 3, 1 + 4 + 16, 252, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[12..20], [7, 0, 0, 0, b'd', b'e', b'f', b'a']);
        assert_eq!(decode(&bytes), Some(profile()));
    }

    #[test]
    fn anything_else_is_none() {
        let mut bytes = Vec::new();
        encode(&profile(), &mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode(&longer), None);
        let later = [&[2], &bytes[1..]].concat();
        assert_eq!(decode(&later), None);
    }
}
