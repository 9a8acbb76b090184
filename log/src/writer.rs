//! The writer: entries become frames, frames become one write at a time.
//!
//! Lives here: group commit, the change to the next segment, the room left for admission.
//! Not here: when an entry counts as acknowledged (`replica`), and the files.
//!
//! Invariant: at most one write is in flight, it begins at a sector that was never written, and the watermark in
//! its frames is the end of the write before it, which was synced.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::{Frame, FrameKind, stride_of};
use crate::recovery::Tail;
use crate::replica::Output;
use crate::segment::{Layout, SegmentHead};
use crate::types::{Entry, EntryKind, LogOffset, Position, Term};

/// A write stops growing here; one entry above it is still written whole.
const WRITE_BYTES_TARGET: usize = 4 << 20;
/// Zeroed segments kept ready: with two, one remains while the next is being zeroed, so room never drops to none
/// at the change of segments.
const SPARES: usize = 2;

/// A write that is durable now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Segment that was written.
    pub segment: u64,
    /// Where in the segment.
    pub offset: u64,
    /// The buffer of the write, to be used again; may also be empty.
    pub bytes: Vec<u8>,
}

/// Turns entries into writes. Pure: it asks by [`Output`]s and is told what happened.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    /// Segments of the log with the first position that may follow in each, the current one last.
    segments: VecDeque<(u64, Position)>,
    queue: VecDeque<Queued>,
    /// What the queue takes at worst: every frame in a write of its own.
    queued_bytes: u64,
    current: Option<Current>,
    spares: VecDeque<u64>,
    preparing: Option<u64>,
    next_segment: u64,
    /// End of the last synced write.
    durable: LogOffset,
    begun_at: LogOffset,
    places: Vec<(Position, LogOffset)>,
    /// End of the log as issued so far.
    end: LogOffset,
    before: u32,
    last: (Position, Term),
    in_flight: Option<InFlight>,
    /// Entries ever issued in a synced write.
    durable_entries: u64,
    issued_entries: u64,
    /// Entries that recovery read beyond the watermark: the first write is theirs alone.
    rewriting: bool,
    /// No frame yet says that everything before it is synced.
    unmarked: bool,
    mark_wanted: Option<FrameKind>,
    buffer: Vec<u8>,
    failed: bool,
}

/// An entry to be written.
#[derive(Debug)]
struct Queued {
    entry: Entry,
    /// Term of the position before it. Not that of the entry written last: this one may supersede it.
    follows: Term,
}

#[derive(Debug)]
struct Current {
    segment: u64,
    at: u64,
}

#[derive(Debug)]
struct InFlight {
    segment: u64,
    offset: u64,
    end: LogOffset,
    entries: u64,
    is_mark: bool,
}

impl Queued {
    fn stride(&self) -> usize {
        stride_of(self.entry.payload.len())
    }
}

impl Writer {
    /// Goes on where recovery found the log's end: always in a fresh segment.
    #[must_use]
    pub fn new(layout: Layout, tail: Tail) -> Self {
        assert!(layout.is_sound(), "the layout's sizes were checked");
        let mut follows = tail.rewrite_follows;
        let rewrite = tail.rewrite.into_iter().map(|entry| {
            let term = entry.term;
            Queued { entry, follows: std::mem::replace(&mut follows, term) }
        });
        let queue: VecDeque<Queued> = rewrite.collect();
        let queued_bytes = queue.iter().map(|queued| layout.padded(queued.stride() as u64)).sum();
        Self {
            layout,
            segments: tail.live.into(),
            rewriting: !queue.is_empty(),
            queue,
            queued_bytes,
            current: None,
            spares: VecDeque::new(),
            preparing: None,
            next_segment: tail.next_segment,
            durable: tail.cut,
            begun_at: tail.cut,
            places: Vec::new(),
            end: tail.cut,
            before: tail.before,
            last: tail.last,
            in_flight: None,
            durable_entries: 0,
            issued_entries: 0,
            unmarked: false,
            mark_wanted: None,
            buffer: Vec::new(),
            failed: false,
        }
    }

    /// Queues an entry; `follows` is the term of the position before it. Its position may repeat or go back: it then
    /// supersedes the tail from there.
    pub fn append(&mut self, entry: Entry, follows: Term) {
        let queued = Queued { entry, follows };
        self.queued_bytes += self.layout.padded(queued.stride() as u64);
        self.queue.push_back(queued);
    }

    /// Asks for what is missing: a spare segment, the next write. `committed` is the position known to be
    /// committed and durable here; without `may_prepare` no segment is asked for now.
    pub fn poll(&mut self, committed: Position, may_prepare: bool, outputs: &mut Vec<Output>) {
        if self.failed {
            return;
        }
        if self.in_flight.is_none() && (!self.queue.is_empty() || self.mark_wanted.is_some()) {
            self.issue(committed, outputs);
        }
        if may_prepare && self.preparing.is_none() && self.spares.len() < SPARES {
            self.preparing = Some(self.next_segment);
            outputs.push(Output::Prepare { segment: self.next_segment, bytes: self.layout.segment_bytes });
            self.next_segment += 1;
        }
    }

    /// The segment exists, zeroed and synced with its directory.
    pub fn prepared(&mut self, segment: u64) {
        if self.preparing == Some(segment) {
            self.preparing = None;
            self.spares.push_back(segment);
        }
    }

    /// The segment could not be made (no space): the room does not grow, the next `poll` asks again.
    /// What there is of the file must be removed before.
    pub fn prepare_failed(&mut self, segment: u64) {
        if self.preparing == Some(segment) {
            self.preparing = None;
            self.next_segment = segment;
        }
    }

    /// The write in flight is durable. Anything else than the write in flight is ignored.
    pub fn written(&mut self, written: Written) {
        let Some(done) =
            self.in_flight.take_if(|it| (it.segment, it.offset) == (written.segment, written.offset))
        else {
            return;
        };
        self.durable = done.end;
        self.durable_entries = done.entries;
        self.rewriting = false;
        self.unmarked = !done.is_mark;
        self.buffer = written.bytes;
    }

    /// A write failed: nothing is written any more.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Wants a frame that tells recovery how far the log is synced, if no frame says so yet and nothing is waiting.
    pub fn mark(&mut self) {
        if self.unmarked && self.is_idle() {
            self.mark_wanted = Some(FrameKind::Mark);
        }
    }

    /// Wants the last mark before an orderly stop, after which recovery has nothing to write again. To be called
    /// when all is written.
    pub fn close(&mut self) {
        if self.unmarked && self.is_idle() {
            self.mark_wanted = Some(FrameKind::Closing);
        }
    }

    /// Whether nothing waits or is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty() && self.mark_wanted.is_none()
    }

    /// Entries given to `append` (and those of recovery) that are durable.
    #[must_use]
    pub fn durable_entries(&self) -> u64 {
        self.durable_entries
    }

    /// Like [`Self::durable_entries`], but issued only.
    #[must_use]
    pub fn issued_entries(&self) -> u64 {
        self.issued_entries
    }

    /// Entries ever given to the writer.
    #[must_use]
    pub fn appended_entries(&self) -> u64 {
        self.issued_entries + self.queue.len() as u64
    }

    /// End of the last synced write.
    #[must_use]
    pub fn durable(&self) -> LogOffset {
        self.durable
    }

    /// Bytes of payload that certainly find place: in spare segments, less what waits. Zero without a spare. What
    /// is left of the current segment is not counted, since an entry never spans two.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        if self.failed {
            return 0;
        }
        let zeroed = self.spares.len() as u64 * (self.layout.segment_bytes - self.layout.sector());
        zeroed.saturating_sub(self.queued_bytes)
    }

    /// Whether a payload of this size certainly finds place.
    #[must_use]
    pub fn has_room_for(&self, payload_bytes: u64) -> bool {
        self.layout.padded(stride_of(payload_bytes as usize) as u64) <= self.room_bytes()
    }

    /// Whether the first write after recovery is done, so that nothing rests on what it replaced.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.durable != self.begun_at
    }

    /// Takes the places of the frames issued since the last call.
    pub(crate) fn take_places(&mut self) -> Vec<(Position, LogOffset)> {
        std::mem::take(&mut self.places)
    }

    /// Whether [`Self::cut`] would find anything.
    #[must_use]
    pub fn may_cut(&self, position: Position) -> bool {
        let second = self.segments.get(1);
        second.is_some_and(|(next, first)| {
            *first <= position.next() && self.durable > self.layout.start_of(*next)
        })
    }

    /// Lets go of the segments that hold nothing after `position`, which a snapshot covers; their files may be
    /// removed. The segment that follows them is durable with its head.
    pub fn cut(&mut self, position: Position) -> Vec<u64> {
        let mut cut = Vec::new();
        while self.may_cut(position) {
            cut.extend(self.segments.pop_front().map(|(segment, _)| segment));
        }
        cut
    }

    /// Where the log's first segment begins.
    #[must_use]
    pub fn start(&self) -> Option<LogOffset> {
        self.segments.front().map(|(segment, _)| self.layout.start_of(*segment))
    }

    /// The first position that the log's files may still have.
    #[must_use]
    pub fn first(&self) -> Option<Position> {
        self.segments.front().map(|(_, first)| *first)
    }

    /// The largest payload that fits a segment.
    #[must_use]
    pub fn payload_bytes_max(layout: &Layout) -> u64 {
        layout.segment_bytes - layout.sector() - crate::frame::FRAME_HEAD_BYTES as u64
    }

    fn issue(&mut self, committed: Position, outputs: &mut Vec<Output>) {
        let needed = self.queue.front().map_or(stride_of(0), Queued::stride) as u64;
        let fits = |current: &Current| current.at + needed <= self.layout.segment_bytes;
        if !self.current.as_ref().is_some_and(fits) {
            let Some(segment) = self.spares.pop_front() else { return };
            self.current = Some(Current { segment, at: 0 });
        }
        let Current { segment, at } = *self.current.as_ref().expect("chosen above");
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let head = (at == 0).then(|| self.head_of(segment));
        if head.is_some() {
            bytes.resize(self.layout.sector_bytes as usize, 0);
        }
        let is_mark = self.fill(segment, at, committed, &mut bytes);
        let padded = self.layout.padded(bytes.len() as u64);
        bytes.resize(padded as usize, 0);
        if let Some(head) = head {
            self.put_head(head, &mut bytes);
        }
        self.end = LogOffset(self.layout.start_of(segment).0 + at + padded);
        self.current = Some(Current { segment, at: at + padded });
        self.in_flight =
            Some(InFlight { segment, offset: at, end: self.end, entries: self.issued_entries, is_mark });
        outputs.push(Output::Write { segment, offset: at, bytes });
    }

    /// Appends the frames of what waits, as far as segment and write hold it; true if it was a mark only.
    fn fill(&mut self, segment: u64, at: u64, committed: Position, bytes: &mut Vec<u8>) -> bool {
        let start = self.layout.start_of(segment).0 + at;
        let room = (self.layout.segment_bytes - at) as usize;
        let mut is_mark = true;
        while let Some(queued) = self.queue.front() {
            let full = bytes.len() >= WRITE_BYTES_TARGET && !self.rewriting;
            if full || bytes.len() + queued.stride() > room {
                break;
            }
            self.queued_bytes -= self.layout.padded(queued.stride() as u64);
            let Queued { entry, .. } = self.queue.pop_front().expect("it was at the front");
            self.last = (entry.position, entry.term);
            self.places.push((entry.position, LogOffset(start + bytes.len() as u64)));
            self.put_frame(FrameKind::Entry(entry.kind), &entry, LogOffset(start), committed, bytes);
            self.issued_entries += 1;
            is_mark = false;
        }
        assert!(!self.rewriting || self.queue.is_empty(), "what recovery writes again fits one write");
        // A mark beside entries would say nothing new: the watermark stands in their frames as well.
        let mark = self.mark_wanted.take_if(|_| self.queue.is_empty());
        if let Some(kind) = mark.filter(|_| is_mark) {
            let (position, term) = self.last;
            let (origin_term, payload) = (Term(0), Bytes::new());
            let mark = Entry { position, term, origin_term, kind: EntryKind::Normal, payload };
            self.put_frame(kind, &mark, LogOffset(start), committed, bytes);
        }
        is_mark
    }

    fn put_frame(
        &mut self,
        kind: FrameKind,
        entry: &Entry,
        start: LogOffset,
        committed: Position,
        bytes: &mut Vec<u8>,
    ) {
        let frame = Frame {
            crc: 0,
            length: 0,
            before: self.before,
            offset: LogOffset(start.0 + bytes.len() as u64),
            position: entry.position,
            term: entry.term,
            origin_term: entry.origin_term,
            watermark: self.durable,
            committed,
            kind,
        };
        self.before = frame.encode(&self.layout, &entry.payload, bytes);
    }

    fn head_of(&mut self, segment: u64) -> SegmentHead {
        let after_last = (self.last.0.next(), self.last.1);
        let (first, follows) =
            self.queue.front().map_or(after_last, |queued| (queued.entry.position, queued.follows));
        self.segments.push_back((segment, first));
        SegmentHead {
            segment,
            first,
            cut: self.end,
            watermark: self.durable,
            before: self.before,
            rewritten_crc: 0,
            rewritten_bytes: 0,
            term_before: follows.0,
        }
    }

    fn put_head(&self, mut head: SegmentHead, bytes: &mut [u8]) {
        let (sector, frames) = bytes.split_at_mut(self.layout.sector_bytes as usize);
        if self.rewriting {
            head.rewritten_bytes = frames.len() as u64;
            head.rewritten_crc = crc32fast::hash(frames);
        }
        let mut encoded = Vec::with_capacity(sector.len());
        head.encode(&self.layout, &mut encoded);
        sector.copy_from_slice(&encoded);
    }
}
