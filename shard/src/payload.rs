//! What an entry of the log carries: a turn's effects, or one part of them.
//!
//! Lives here: the binary form and the collecting of parts. Not here: the effects themselves
//! (`engine::effect`) and the frame around the entry (`ramkeep-log`).
//!
//! | offset | bytes | field                                                            |
//! |-------:|------:|------------------------------------------------------------------|
//! |      0 |     1 | format version, [`EFFECT_FORMAT_VERSION`]                        |
//! |      1 |     1 | bit 0: the last part of its group; bit 1: a mark, see `comparison` |
//! |      2 |     8 | shard time in milliseconds since 1970, little-endian             |
//! |     10 |     n | effects, or a piece of them                                      |
//!
//! Effects that do not fit one entry with this head are cut into parts that do.
//! Parts of one group have consecutive positions and one term; they are applied together at the
//! last. A group without its last part, cut off by another term, is void.

use ramkeep_engine::effect::EFFECT_FORMAT_VERSION;
use ramkeep_log::Term;
use thiserror::Error;

pub const HEAD_BYTES: usize = 10;
const FLAG_LAST: u8 = 1;
const FLAG_MARK: u8 = 2;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    #[error("entry is shorter than its head")]
    Short,
    #[error(
        "entry has format version {0}, which this build does not know: it stops here rather than skip it"
    )]
    UnknownVersion(u8),
    #[error("entry has flags {0:#x}, which this build does not know: it stops here rather than skip it")]
    UnknownFlags(u8),
}

/// An entry's payload, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    pub is_last: bool,
    /// Replicas digest their data here; it has no effects.
    pub is_mark: bool,
    pub shard_ms: i64,
    pub effects: &'a [u8],
}

impl<'a> Payload<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.effects.len());
        bytes.push(EFFECT_FORMAT_VERSION);
        let flags = (u8::from(self.is_last) * FLAG_LAST) | (u8::from(self.is_mark) * FLAG_MARK);
        bytes.push(flags);
        bytes.extend_from_slice(&self.shard_ms.to_le_bytes());
        bytes.extend_from_slice(self.effects);
        bytes
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Payload<'a>, PayloadError> {
        let version = *bytes.first().ok_or(PayloadError::Short)?;
        if version != EFFECT_FORMAT_VERSION {
            return Err(PayloadError::UnknownVersion(version));
        }
        let (head, effects) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(PayloadError::Short)?;
        let shard_ms = i64::from_le_bytes(head[2..].try_into().expect("eight bytes"));
        if head[1] & !(FLAG_LAST | FLAG_MARK) != 0 {
            return Err(PayloadError::UnknownFlags(head[1]));
        }
        let (is_last, is_mark) = (head[1] & FLAG_LAST != 0, head[1] & FLAG_MARK != 0);
        Ok(Payload { is_last, is_mark, shard_ms, effects })
    }
}

/// Collects the parts of a group until its last one is committed.
#[derive(Debug, Default)]
pub struct Parts {
    term: Term,
    effects: Vec<u8>,
}

impl Parts {
    /// Takes a committed part in order; gives the group's effects with its last part.
    pub fn take(&mut self, term: Term, payload: &Payload<'_>) -> Option<Vec<u8>> {
        if term != self.term {
            // The group before was cut off by a change of term: nobody applies it.
            self.effects.clear();
            self.term = term;
        }
        self.effects.extend_from_slice(payload.effects);
        payload.is_last.then(|| std::mem::take(&mut self.effects))
    }

    /// Whether a group has begun and not ended: no snapshot and no cut falls here.
    pub fn is_inside(&self) -> bool {
        !self.effects.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(is_last: bool, effects: &[u8]) -> Payload<'_> {
        Payload { is_last, is_mark: false, shard_ms: 7, effects }
    }

    #[test]
    fn a_payload_reads_back_and_golden_bytes_hold() {
        let bytes = part(true, b"xy").encode();
        assert_eq!(bytes, b"\x01\x01\x07\0\0\0\0\0\0\0xy");
        assert_eq!(Payload::decode(&bytes), Ok(part(true, b"xy")));
        assert_eq!(Payload::decode(&bytes[..9]), Err(PayloadError::Short));
        assert_eq!(Payload::decode(b"\x09"), Err(PayloadError::UnknownVersion(9)));
        let mark = Payload { is_mark: true, ..part(true, b"") };
        assert_eq!(mark.encode(), b"\x01\x03\x07\0\0\0\0\0\0\0");
        assert_eq!(Payload::decode(&mark.encode()), Ok(mark));
        let unknown = b"\x01\x05\x07\0\0\0\0\0\0\0";
        assert_eq!(Payload::decode(unknown), Err(PayloadError::UnknownFlags(5)));
    }

    #[test]
    fn parts_are_applied_together_at_the_last_and_a_change_of_term_voids_them() {
        let mut parts = Parts::default();
        assert_eq!(parts.take(Term(1), &part(false, b"a")), None);
        assert_eq!(parts.take(Term(1), &part(true, b"b")), Some(b"ab".to_vec()));
        assert_eq!(parts.take(Term(1), &part(false, b"lost")), None);
        assert!(parts.is_inside());
        assert_eq!(parts.take(Term(2), &part(true, b"c")), Some(b"c".to_vec()));
        assert!(!parts.is_inside());
    }
}
