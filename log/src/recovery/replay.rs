//! The log as it is read: which entries follow each other, which are committed, which may be in the page cache alone.
//!
//! Not here: which segments are read, and in which order (`super`).
//!
//! Invariant: what was given out as committed is never superseded.

use std::collections::VecDeque;

use bytes::Bytes;

use super::RecoveryError;
use crate::frame::{Frame, FrameError, FrameKind};
use crate::membership::Membership;
use crate::replica::Places;
use crate::segment::{Layout, SegmentHead};
use crate::types::{CommittedEntry, Entry, EntryKind, LogOffset, Position, Term};

/// The log as replayed so far.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) last: (Position, Term),
    pub(super) before: u32,
    pub(super) watermark: LogOffset,
    pub(super) at_watermark: (u32, (Position, Term)),
    pub(super) committed: Position,
    pub(super) applied: Position,
    base: (Position, Term),
    /// What was read at the base's position, and hence all after it, is not what the snapshot covers: it was
    /// never committed, and void since the snapshot came from another member.
    is_void: bool,
    /// Not known to be committed.
    pub(super) held: VecDeque<Entry>,
    /// Beyond the watermark, whether given out or not.
    pub(super) unsure: VecDeque<(LogOffset, Entry)>,
    /// First position of each stretch of one term; before them the position before the log's first entry.
    pub(super) terms: Vec<(Position, Term)>,
    pub(super) places: Places,
    pub(super) members: Option<Membership>,
}

impl Replay {
    /// `base` is what a snapshot covers.
    pub(super) fn new(base: (Position, Term)) -> Self {
        Self {
            last: base,
            before: 0,
            watermark: LogOffset(0),
            at_watermark: (0, base),
            committed: base.0,
            applied: base.0,
            base,
            is_void: false,
            held: VecDeque::new(),
            unsure: VecDeque::new(),
            terms: vec![base],
            places: Places::default(),
            members: None,
        }
    }

    /// Begins at the first segment that counts.
    pub(super) fn start(&mut self, head: &SegmentHead) -> Result<(), RecoveryError> {
        let before_first = Position(head.first.0.saturating_sub(1));
        if head.cut != LogOffset(0) {
            if before_first > self.base.0 {
                return Err(RecoveryError::Gap { last: self.base.0, first: head.first });
            }
            self.last = (before_first, Term(head.term_before));
            self.terms = vec![self.last];
        } else if self.base.0 > Position::ZERO {
            self.last = (Position::ZERO, Term(0));
            self.terms = vec![self.last];
        }
        Ok(())
    }

    pub(super) fn open(&mut self, head: &SegmentHead) -> Result<(), RecoveryError> {
        let before_first = (Position(head.first.0.saturating_sub(1)), Term(head.term_before));
        if before_first.0 > self.last.0 {
            // The log went on after a snapshot.
            if before_first.0 > self.base.0 {
                return Err(RecoveryError::Gap { last: self.last.0, first: head.first });
            }
            self.last = before_first;
            self.terms = vec![before_first];
        }
        if before_first.0 == self.base.0 && head.cut != LogOffset(0) {
            if before_first.1 == self.base.1 && self.is_void {
                self.is_void = false;
                self.unsure.clear();
                self.last = before_first;
            } else if before_first.1 != self.base.1 {
                self.become_void();
            }
        }
        self.before = head.before;
        if head.watermark >= self.watermark {
            self.watermark = head.watermark;
            self.at_watermark = (head.before, self.last);
            self.forget_sure();
        }
        Ok(())
    }

    /// What stands after the base from here on does not follow it.
    fn become_void(&mut self) {
        self.is_void = true;
        self.held.clear();
        self.unsure.clear();
        self.terms = vec![self.base];
    }

    /// The log ends before what the snapshot covers, or does not follow it: it goes on after the snapshot.
    pub(super) fn end_at_base(&mut self) {
        if self.last.0 >= self.base.0 && !self.is_void {
            return;
        }
        self.become_void();
        self.last = self.base;
        self.at_watermark.1 = self.base;
    }

    /// What lies below the watermark need not be written again.
    fn forget_sure(&mut self) {
        while self.unsure.pop_front_if(|(offset, _)| *offset < self.watermark).is_some() {}
    }

    /// A frame that is whole, in its place and in the chain, while positions before it are missing: no torn tail,
    /// the log really begins behind them.
    pub(super) fn check_gap(&self, frame: &Frame) -> Result<(), RecoveryError> {
        let is_entry = matches!(frame.kind, FrameKind::Entry(_));
        if is_entry && frame.before == self.before && frame.position > self.last.0.next() {
            return Err(RecoveryError::Gap { last: self.last.0, first: frame.position });
        }
        Ok(())
    }

    /// Whether the frame can follow what was read.
    pub(super) fn check(&self, frame: &Frame) -> Result<(), FrameError> {
        if frame.before != self.before {
            return Err(FrameError::Misplaced("it does not follow the frame before it"));
        }
        let is_entry = matches!(frame.kind, FrameKind::Entry(_));
        if is_entry && frame.position == Position::ZERO {
            return Err(FrameError::Misplaced("positions begin at one"));
        }
        // Below the base anything may have been superseded before the snapshot was made.
        if is_entry && frame.position <= self.applied && frame.position > self.base.0 {
            return Err(FrameError::Misplaced("it supersedes a committed entry"));
        }
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        layout: &Layout,
        frame: &Frame,
        payload: Bytes,
        entries: &mut Vec<CommittedEntry>,
    ) -> Result<(), RecoveryError> {
        if frame.watermark > self.watermark {
            self.watermark = frame.watermark;
            self.at_watermark = (self.before, self.last);
            self.forget_sure();
        }
        self.before = frame.crc;
        self.committed = self.committed.max(frame.committed);
        if let Some(entry) = frame.entry(payload) {
            self.places.note(layout, entry.position, frame.offset);
            while self.unsure.pop_back_if(|(_, unsure)| unsure.position >= entry.position).is_some() {}
            self.unsure.push_back((frame.offset, entry.clone()));
            self.append(entry);
        }
        while let Some(entry) = self.held.pop_front_if(|entry| entry.position <= self.committed) {
            let position = entry.position;
            self.applied = position;
            if entry.kind == EntryKind::ConfChange && entry.origin_term == entry.term {
                let members = Membership::decode(&entry.payload);
                self.members = Some(members.map_err(|error| RecoveryError::Members { position, error })?);
            }
            entries.push(entry.into_committed());
        }
        Ok(())
    }

    fn append(&mut self, entry: Entry) {
        if entry.position <= self.applied {
            self.last = (entry.position, entry.term);
            self.note_term(self.last);
            if self.last.0 == self.base.0 {
                if self.last.1 != self.base.1 {
                    self.become_void();
                } else {
                    self.is_void = false;
                }
            }
            return;
        }
        if self.is_void {
            self.last = (entry.position, entry.term);
            return;
        }
        while self.held.pop_back_if(|held| held.position >= entry.position).is_some() {}
        self.last = (entry.position, entry.term);
        self.note_term(self.last);
        self.held.push_back(entry);
    }

    /// Term of the position before this one, which the log holds or begins with.
    pub(super) fn term_before(&self, position: Position) -> Term {
        let after = self.terms.partition_point(|(from, _)| *from < position);
        after.checked_sub(1).map_or(Term(0), |index| self.terms[index].1)
    }

    fn note_term(&mut self, (position, term): (Position, Term)) {
        if self.terms.first().is_some_and(|(before_first, _)| *before_first >= position) {
            return;
        }
        while self.terms.pop_if(|(from, _)| *from >= position).is_some() {}
        if self.terms.last().is_none_or(|(_, last)| *last != term) {
            self.terms.push((position, term));
        }
    }
}
