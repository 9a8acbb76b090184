//! Frames between nodes: their bytes, one way and the other.
//!
//! Lives here: the head, checksum and tag, the decoder that takes bytes as they come, the buffer that gives them
//! as they are taken. Not here: sockets.
//!
//! Invariant: a frame that does not check out ends the stream for good: nothing behind it is believed.

use super::secret::{Key, TAG_BYTES};
use bytes::Bytes;
use std::io;

/// Length of a frame's head.
pub const HEAD_BYTES: usize = 20;
/// Longest body: the largest entry of a log with what stands around it, with room to spare.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Kinds above this one are the session's own.
pub const KIND_MAX: u8 = 0xef;
const VERSION: u8 = 1;
/// Room made for a read.
const READ_BYTES_MIN: usize = 64 << 10;
/// A buffer larger than this is given back once it is empty.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A frame that came out of a connection.
///
/// On the wire, all integers little-endian:
///
/// | offset | bytes | field                                                              |
/// |-------:|------:|--------------------------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..20+n                                              |
/// |      4 |     4 | n: length of the body, 0..=[`BODY_BYTES_MAX`]                       |
/// |      8 |     1 | version, now 1                                                     |
/// |      9 |     1 | kind                                                               |
/// |     10 |     2 | zero                                                               |
/// |     12 |     8 | number of the frame on its connection and direction, from 0        |
/// |     20 |     n | body                                                               |
/// |   20+n |    16 | with a secret: first half of HMAC-SHA-256 of bytes 4..20+n          |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame with a body of {0} bytes")]
    Length(u32),
    #[error("checksum mismatch in a frame")]
    Checksum,
    #[error("frame of version {0}, this program reads {VERSION}")]
    Version(u8),
    #[error("frame number {found} where {wanted} should be")]
    Number { found: u64, wanted: u64 },
    #[error("a frame that its sender did not authenticate")]
    Tag,
    #[error("reserved bytes that are not zero")]
    Reserved,
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Frames on their way out: sealed when they are pushed, taken by the socket as it can.
#[derive(Default)]
pub struct Outgoing {
    key: Option<Key>,
    number: u64,
    buffer: Vec<u8>,
    /// Bytes at the front that the socket has taken.
    sent: usize,
}

impl Outgoing {
    /// Frames from here on carry a tag of `key`.
    pub fn authenticate(&mut self, key: Option<Key>) {
        self.key = key;
    }

    /// Appends a frame whose body is what `write` appends.
    ///
    /// # Panics
    ///
    /// If the body is longer than [`BODY_BYTES_MAX`]: whoever makes bodies bounds them.
    pub fn push(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEAD_BYTES]);
        write(&mut self.buffer);
        let length = self.buffer.len() - start - HEAD_BYTES;
        assert!(length <= BODY_BYTES_MAX, "a body of {length} bytes is above the bound");
        let head = &mut self.buffer[start..start + HEAD_BYTES];
        head[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        (head[8], head[9]) = (VERSION, kind);
        head[12..20].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&self.buffer[start + 4..]);
        self.buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        if let Some(key) = &self.key {
            let tag = key.tag(&self.buffer[start + 4..]);
            self.buffer.extend_from_slice(&tag);
        }
        self.number += 1;
    }

    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Hands bytes to `write` until all are taken (true) or it would block (false).
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        while self.sent < self.buffer.len() {
            match write(&self.buffer[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.compact();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES_MAX);
        self.sent = 0;
        Ok(true)
    }

    /// Forgets what was taken once that is worth moving the rest.
    fn compact(&mut self) {
        if self.sent > KEPT_BYTES_MAX && self.sent > self.buffer.len() / 2 {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Frames out of bytes that come in any pieces.
pub struct Incoming {
    key: Option<Key>,
    number: u64,
    body_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes at the front that were decoded.
    consumed: usize,
    failed: Option<FrameError>,
}

impl Incoming {
    pub fn new(body_bytes_max: usize) -> Self {
        let body_bytes_max = body_bytes_max.min(BODY_BYTES_MAX);
        Self { key: None, number: 0, body_bytes_max, buffer: Vec::new(), consumed: 0, failed: None }
    }

    /// Frames from here on must carry a tag of `key`, and may be as long as bodies get.
    pub fn authenticate(&mut self, key: Option<Key>) {
        self.key = key;
        self.body_bytes_max = BODY_BYTES_MAX;
    }

    /// Where to append bytes, with room for a read.
    pub fn room(&mut self) -> &mut Vec<u8> {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES_MAX);
        }
        let wanted = self.frame_bytes().unwrap_or(0).saturating_sub(self.buffer.len());
        self.buffer.reserve(wanted.max(READ_BYTES_MIN));
        &mut self.buffer
    }

    /// Length of the frame at the front, if its head has come and is sound.
    fn frame_bytes(&self) -> Option<usize> {
        let length = u32_at(self.buffer.get(self.consumed..)?, 4)? as usize;
        let tag_bytes = if self.key.is_some() { TAG_BYTES } else { 0 };
        (length <= self.body_bytes_max).then_some(HEAD_BYTES + length + tag_bytes)
    }

    /// The next whole frame; `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.decode();
        self.failed = outcome.as_ref().err().copied();
        outcome
    }

    fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.consumed..];
        if bytes.len() < HEAD_BYTES {
            return Ok(None);
        }
        let length = u32_at(bytes, 4).expect("a whole head");
        if bytes[8] != VERSION {
            return Err(FrameError::Version(bytes[8]));
        }
        if length as usize > self.body_bytes_max {
            return Err(FrameError::Length(length));
        }
        let end = HEAD_BYTES + length as usize;
        let whole = if self.key.is_some() { end + TAG_BYTES } else { end };
        if bytes.len() < whole {
            return Ok(None);
        }
        if crc32fast::hash(&bytes[4..end]) != u32_at(bytes, 0).expect("a whole head") {
            return Err(FrameError::Checksum);
        }
        if let Some(key) = &self.key
            && !key.is_tag(&bytes[4..end], &bytes[end..whole])
        {
            return Err(FrameError::Tag);
        }
        if bytes[10..12] != [0, 0] {
            return Err(FrameError::Reserved);
        }
        let found = u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes"));
        if found != self.number {
            return Err(FrameError::Number { found, wanted: self.number });
        }
        let frame = Frame { kind: bytes[9], body: Bytes::copy_from_slice(&bytes[HEAD_BYTES..end]) };
        self.number += 1;
        self.consumed += whole;
        Ok(Some(frame))
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(u32::from_le_bytes(field.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn key() -> Key {
        Secret::new(b"a secret of the test").key(b"out", &[7; 32])
    }

    fn pair(is_authenticated: bool) -> (Outgoing, Incoming) {
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::new(BODY_BYTES_MAX));
        outgoing.authenticate(is_authenticated.then(key));
        incoming.authenticate(is_authenticated.then(key));
        (outgoing, incoming)
    }

    /// All bytes of `frames`.
    fn bytes_of(frames: &[(u8, Vec<u8>)], is_authenticated: bool) -> Vec<u8> {
        let (mut outgoing, _) = pair(is_authenticated);
        for (kind, body) in frames {
            outgoing.push(*kind, |buffer| buffer.extend_from_slice(body));
        }
        let mut bytes = Vec::new();
        assert!(
            outgoing
                .flush(|piece| {
                    bytes.extend_from_slice(piece);
                    Ok(piece.len())
                })
                .expect("taken")
        );
        bytes
    }

    /// What comes out when `bytes` come in pieces of these sizes, and the error at the end, if any.
    fn decoded(
        bytes: &[u8],
        sizes: &[usize],
        is_authenticated: bool,
    ) -> (Vec<(u8, Vec<u8>)>, Option<FrameError>) {
        let (_, mut incoming) = pair(is_authenticated);
        let (mut frames, mut rest, mut turn) = (Vec::new(), bytes, 0);
        loop {
            loop {
                match incoming.next_frame() {
                    Ok(Some(frame)) => frames.push((frame.kind, frame.body.to_vec())),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(incoming.next_frame(), Err(error), "an error stays");
                        return (frames, Some(error));
                    }
                }
            }
            if rest.is_empty() {
                return (frames, None);
            }
            let size =
                sizes.get(turn % sizes.len().max(1)).copied().unwrap_or(rest.len()).clamp(1, rest.len());
            incoming.room().extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            turn += 1;
        }
    }

    #[test]
    fn golden_bytes_hold() {
        let bytes = bytes_of(&[(3, b"ab".to_vec())], false);
        assert_eq!(bytes[4..], *b"\x02\0\0\0\x01\x03\0\0\0\0\0\0\0\0\0\0ab");
        assert_eq!(bytes[..4], crc32fast::hash(&bytes[4..]).to_le_bytes());
        let tagged = bytes_of(&[(3, b"ab".to_vec())], true);
        assert_eq!(tagged[..22], bytes[..]);
        assert_eq!(tagged[22..], key().tag(&bytes[4..]));
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_the_body_comes() {
        let (_, mut incoming) = pair(false);
        let mut head = [0; HEAD_BYTES];
        head[4..8].copy_from_slice(&(BODY_BYTES_MAX as u32 + 1).to_le_bytes());
        head[8] = VERSION;
        incoming.room().extend_from_slice(&head);
        assert_eq!(incoming.next_frame(), Err(FrameError::Length(BODY_BYTES_MAX as u32 + 1)));
        assert!(incoming.room().capacity() < 4 * READ_BYTES_MIN, "no room is made for it");
    }

    #[test]
    fn a_frame_said_twice_or_left_out_is_refused() {
        let bytes = bytes_of(&[(1, b"a".to_vec()), (1, b"b".to_vec())], true);
        let half = bytes.len() / 2;
        let twice = [&bytes[..half], &bytes[..half]].concat();
        assert_eq!(decoded(&twice, &[], true).1, Some(FrameError::Number { found: 0, wanted: 1 }));
        assert_eq!(decoded(&bytes[half..], &[], true).1, Some(FrameError::Number { found: 1, wanted: 0 }));
    }

    #[test]
    fn a_socket_that_takes_little_gets_everything_in_order() {
        for take in [1, 4096] {
            let frames: Vec<(u8, Vec<u8>)> = (0..40).map(|n| (n, vec![n; 311 * usize::from(n)])).collect();
            let mut outgoing = Outgoing::default();
            let mut bytes = Vec::new();
            let mut is_open = true;
            for (kind, body) in &frames {
                outgoing.push(*kind, |buffer| buffer.extend_from_slice(body));
                // Takes a piece, then would block; the rest comes with a later flush.
                let _ = outgoing.flush(|piece| {
                    is_open = !is_open;
                    if is_open {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    let taken = piece.len().min(take);
                    bytes.extend_from_slice(&piece[..taken]);
                    Ok(taken)
                });
            }
            while outgoing.pending_bytes() > 0 {
                let _ = outgoing.flush(|piece| {
                    let taken = piece.len().min(take);
                    bytes.extend_from_slice(&piece[..taken]);
                    Ok(taken)
                });
            }
            assert_eq!(decoded(&bytes, &[3], false), (frames, None));
        }
    }

    #[test]
    fn a_socket_that_takes_nothing_ends_the_connection() {
        let mut outgoing = Outgoing::default();
        outgoing.push(1, |_| {});
        assert_eq!(outgoing.flush(|_| Ok(0)).expect_err("an end").kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn frames_read_back_in_any_pieces(
            frames in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..12),
            sizes in vec(1..400usize, 0..8),
            is_authenticated in any::<bool>(),
        ) {
            let bytes = bytes_of(&frames, is_authenticated);
            prop_assert_eq!(decoded(&bytes, &sizes, is_authenticated), (frames, None));
        }

        #[test]
        fn a_changed_bit_is_never_taken_for_a_frame(
            frames in vec((any::<u8>(), vec(any::<u8>(), 0..60)), 1..5),
            place in any::<prop::sample::Index>(),
            bit in 0..8u8,
            is_authenticated in any::<bool>(),
        ) {
            let mut bytes = bytes_of(&frames, is_authenticated);
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (found, error) = decoded(&bytes, &[], is_authenticated);
            // A length that grew may wait for bytes that never come; nothing wrong comes out in any case.
            prop_assert!(found.len() < frames.len());
            prop_assert_eq!(&found[..], &frames[..found.len()]);
            let _ = error;
        }

        #[test]
        fn any_bytes_are_refused_or_waited_on(bytes in vec(any::<u8>(), 0..400), is_authenticated in any::<bool>()) {
            let (found, _) = decoded(&bytes, &[7], is_authenticated);
            prop_assert!(found.is_empty());
        }
    }
}
