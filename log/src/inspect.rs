//! A look at a segment's bytes, frame by frame, without judging the log as a whole.
//!
//! Lives here: what `ramkeep log inspect` and `verify` print, and reading old entries back.
//! Not here: which frames count (`recovery`).
//!
//! Invariant: any bytes can be looked at; after a bad frame the look goes on at the next sector that holds one.

use bytes::Bytes;

use crate::frame::{FRAME_HEAD_BYTES, Frame, FrameError};
use crate::segment::{Layout, SegmentHead};
use crate::types::{Entry, LogOffset, Position};

/// What was found at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Where in the segment.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
    /// What it is.
    pub verdict: Verdict,
}

/// What a place holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A frame that follows the one before it.
    Good(Frame),
    /// A frame that is whole, but whose predecessor is not the frame before it.
    Unchained(Frame),
    /// Sectors that were never written.
    Blank,
    /// Sectors without a frame, and why the first holds none.
    Bad(FrameError),
}

/// Iterator over the frames of a segment or of a part of it.
#[derive(Debug)]
pub struct Inspector<'a> {
    layout: Layout,
    segment: u64,
    /// Offset in the segment of `bytes[0]`.
    start: u64,
    bytes: &'a [u8],
    at: usize,
    before: Option<u32>,
}

impl<'a> Inspector<'a> {
    /// Looks at a whole segment; its frames begin after the head, which says what frame stands before them. Without a
    /// good head anything may.
    #[must_use]
    pub fn new(layout: Layout, segment: u64, bytes: &'a [u8]) -> Self {
        let before = SegmentHead::decode(&layout, bytes, segment).ok().map(|head| head.before);
        let start = layout.sector().min(bytes.len() as u64);
        let bytes = &bytes[start as usize..];
        Self { layout, segment, start, bytes, at: 0, before }
    }

    /// Looks at bytes of a segment from `offset` on, where a frame begins.
    pub(crate) fn at(layout: Layout, segment: u64, offset: u64, bytes: &'a [u8]) -> Self {
        Self { layout, segment, start: offset, bytes, at: 0, before: None }
    }

    /// The entries from `from` up to before `to`, each as last written.
    pub(crate) fn entries(self, from: Position, to: Position) -> Vec<Entry> {
        let (start, bytes) = (self.start, self.bytes);
        let mut entries: Vec<Entry> = Vec::new();
        for inspected in self {
            let (Verdict::Good(frame) | Verdict::Unchained(frame)) = inspected.verdict else { continue };
            let payload_at = (inspected.offset - start) as usize + FRAME_HEAD_BYTES;
            let payload = &bytes[payload_at..payload_at + frame.length as usize - FRAME_HEAD_BYTES];
            if frame.position < from || frame.position >= to {
                continue;
            }
            let Some(entry) = frame.entry(Bytes::copy_from_slice(payload)) else { continue };
            entries.truncate(entries.partition_point(|earlier| earlier.position < entry.position));
            entries.push(entry);
        }
        entries
    }

    fn offset(&self) -> LogOffset {
        LogOffset(self.layout.start_of(self.segment).0 + self.start + self.at as u64)
    }

    fn next_sector(&self, at: usize) -> usize {
        let absolute = self.start + at as u64;
        (at as u64 + self.layout.sector() - absolute % self.layout.sector()) as usize
    }
}

impl Iterator for Inspector<'_> {
    type Item = Inspected;

    fn next(&mut self) -> Option<Inspected> {
        while self.at < self.bytes.len() {
            let at = self.at;
            let found = Frame::decode(&self.layout, &self.bytes[at..], self.offset());
            let is_padding =
                found == Err(FrameError::Blank) && self.next_sector(at) - at < self.layout.sector() as usize;
            let verdict = match found {
                Ok(frame) => {
                    self.at += frame.stride();
                    let follows = self.before.is_none_or(|before| before == frame.before);
                    self.before = Some(frame.crc);
                    if follows { Verdict::Good(frame) } else { Verdict::Unchained(frame) }
                }
                Err(FrameError::Blank) => {
                    self.at = self.next_sector(at).min(self.bytes.len());
                    if is_padding {
                        continue;
                    }
                    self.skip_blank();
                    Verdict::Blank
                }
                Err(error) => {
                    self.at = self.next_sector(at).min(self.bytes.len());
                    self.skip_bad();
                    Verdict::Bad(error)
                }
            };
            return Some(Inspected { offset: self.start + at as u64, bytes: (self.at - at) as u64, verdict });
        }
        None
    }
}

impl Inspector<'_> {
    /// Joins the sectors that follow and hold no frame either, for whatever reason.
    fn skip_bad(&mut self) {
        while self.at < self.bytes.len() {
            match Frame::decode(&self.layout, &self.bytes[self.at..], self.offset()) {
                Ok(_) | Err(FrameError::Blank) => return,
                Err(_) => self.at = self.next_sector(self.at).min(self.bytes.len()),
            }
        }
    }

    /// Joins the blank sectors that follow.
    fn skip_blank(&mut self) {
        while self.at < self.bytes.len() {
            let end = self.next_sector(self.at).min(self.bytes.len());
            if !crate::bytes_at::is_zero(&self.bytes[self.at..end]) {
                return;
            }
            self.at = end;
        }
    }
}
