//! Slots: the 16,384 parts into which Redis Cluster divides the keys.
//!
//! Lives here: the slot of a key and the hash-tag rule.
//! Not here: which shard owns a slot.
//!
//! Invariant: equal hash tags give equal slots, on every node and in every version.

use crate::crc16::crc16;

/// How many slots there are; fixed by the Redis Cluster specification.
pub const SLOT_COUNT: u16 = 16_384;

/// Number of a slot, 0..[`SLOT_COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u16);

/// Slot of a key: CRC16 (XMODEM) of its hash tag, modulo 16,384.
///
/// The hash tag is the part between the first `{` and the next `}`, if not empty;
/// otherwise the whole key. Source: Redis Cluster specification, "Hash tags".
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key).unwrap_or(key)) % SLOT_COUNT)
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_known_from_redis() {
        assert_eq!(slot_of(b"foo"), Slot(12182));
        assert_eq!(slot_of(b"bar"), Slot(5061));
        assert_eq!(slot_of(b"123456789"), Slot(12739));
        assert_eq!(slot_of(b""), Slot(0));
    }

    #[test]
    fn only_the_first_nonempty_tag_counts() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), Slot(crc16(b"foo{}{bar}") % SLOT_COUNT));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{bar"), Slot(crc16(b"foo{bar") % SLOT_COUNT));
        assert_eq!(slot_of(b"a}b{c}"), slot_of(b"c"));
    }
}
