//! Recovery: what a directory's segments hold, what of it counts, and where the log goes on.
//!
//! Lives here: the chain of segments, torn tail against damage, what must be written again.
//! Not here: what the entries read so far amount to (`replay`), what comes of it (`outcome`), reading files (asked for, one
//! piece at a time) and the writing (`writer`).
//!
//! The rules:
//! 1. A head says where the log before it ends. Walking back from the last good head gives the segments that
//!    count; all others are dead.
//! 2. A head written by recovery counts only if everything that recovery wrote again right after it is whole.
//!    Until then nothing else was written there, and the segment before it still holds all of it.
//! 3. The first bad frame is *damage* if anything valid after it was written when the log was already synced
//!    beyond it, or if the vote file knows a later position as durable. Damage is never cut.
//! 4. Otherwise it is a torn tail: the write was never acknowledged; frames of it that follow the bad one fall too.
//! 5. Frames beyond the last watermark may live only in the page cache; they are written again before they count.
//!
//! Invariant: everything below the last watermark is given out as it was written, or an error is.

mod outcome;
mod replay;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::frame::{FRAME_HEAD_BYTES, Frame, FrameError};
use crate::hard_state::HardState;
use crate::mutant::Mutants;
use crate::segment::{Layout, SegmentError, SegmentHead};
use crate::types::{CommittedEntry, Entry, LogOffset, Position, Term};
use replay::Replay;

pub use outcome::{Recovered, RecoveryError, Report, Tail};

/// Bytes asked for at once.
const READ_BYTES: u64 = 1 << 20;
/// Frames looked at in one step.
const STEP_FRAMES: usize = 1024;
/// A file whose head was never written is a spare if so many bytes after it were not written either.
const SPARE_BYTES: u64 = 1 << 20;

/// What recovery must know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryOptions {
    /// How the log is laid out.
    pub layout: Layout,
    /// What the vote file holds.
    pub hard_state: HardState,
    /// What a snapshot covers: replay begins after it. Zero without one.
    pub base: (Position, Term),
    /// Seeded bugs.
    pub mutants: Mutants,
}

/// A segment's file, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Number of the segment, from 1 on.
    pub segment: u64,
    /// Length of its file; less than a segment where a void end was cut off.
    pub bytes: u64,
}

/// What recovery wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Read this, then call [`Recovery::supply`].
    Read {
        /// Which segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// How much.
        bytes: u64,
    },
    /// Nothing: it only gave a chance to apply entries and to breathe.
    Continue,
    /// All is read: call [`Recovery::finish`].
    Finished,
}

type Head = Result<SegmentHead, SegmentError>;

#[derive(Debug)]
enum Stage {
    Heads { index: usize },
    Rewritten { index: usize },
    Load { index: usize },
    Parse { index: usize, at: usize },
    Dead { index: usize },
    Finished,
}

/// A segment that counts, and where in it the log goes on elsewhere.
#[derive(Clone, Copy, Debug)]
struct Live {
    head: SegmentHead,
    /// Offset in the segment.
    end: u64,
}

/// Recovery in progress: feed it what it asks for. Holds at most one segment in memory.
#[derive(Debug)]
pub struct Recovery {
    options: RecoveryOptions,
    files: Vec<SegmentFile>,
    heads: BTreeMap<u64, Head>,
    stage: Stage,
    live: Vec<Live>,
    /// Files after the last live one, which might prove damage.
    suspects: Vec<SegmentFile>,
    /// Those of them that were made and never written.
    spares: Vec<u64>,
    buffer: Vec<u8>,
    loaded: Bytes,
    asked: u64,
    replay: Replay,
    report: Report,
    read_bytes: u64,
    end: Option<LogOffset>,
}

impl Recovery {
    /// Begins with the list of segment files, in any order.
    pub fn new(options: RecoveryOptions, files: &[SegmentFile]) -> Result<Self, RecoveryError> {
        if !options.layout.is_sound() {
            return Err(RecoveryError::Layout);
        }
        let mut files = files.to_vec();
        files.sort_unstable_by_key(|file| file.segment);
        files.dedup_by_key(|file| file.segment);
        Ok(Self {
            replay: Replay::new(options.base),
            options,
            files,
            heads: BTreeMap::new(),
            stage: Stage::Heads { index: 0 },
            live: Vec::new(),
            suspects: Vec::new(),
            spares: Vec::new(),
            buffer: Vec::new(),
            loaded: Bytes::new(),
            asked: 0,
            report: Report::default(),
            read_bytes: 0,
            end: None,
        })
    }

    /// Bytes read so far, and of all files.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.read_bytes, self.files.iter().map(|file| file.bytes).sum())
    }

    /// Does the next piece of work. Entries known to be committed are added to `entries`, in order.
    pub fn step(&mut self, entries: &mut Vec<CommittedEntry>) -> Result<RecoveryStep, RecoveryError> {
        loop {
            let wanted = match self.stage {
                Stage::Heads { index } => self.step_heads(index)?,
                Stage::Rewritten { index } => self.step_rewritten(index)?,
                Stage::Load { index } => self.step_load(index)?,
                Stage::Parse { index, at } => {
                    self.step_parse(index, at, entries)?;
                    return Ok(RecoveryStep::Continue);
                }
                Stage::Dead { index } => self.step_dead(index)?,
                Stage::Finished => return Ok(RecoveryStep::Finished),
            };
            if let Some(step) = wanted {
                return Ok(step);
            }
        }
    }

    /// Answers the last [`RecoveryStep::Read`]. What the file does not have counts as zeros.
    pub fn supply(&mut self, bytes: &[u8]) {
        let asked = std::mem::take(&mut self.asked) as usize;
        let taken = bytes.len().min(asked);
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.buffer.resize(self.buffer.len() + asked - taken, 0);
        self.read_bytes += asked as u64;
    }

    /// What was found. Call it when [`Self::step`] says so.
    pub fn finish(self) -> Result<(Recovered, Report), RecoveryError> {
        assert!(matches!(self.stage, Stage::Finished), "recovery was fed to its end");
        let Self { options, files, mut replay, mut report, live, spares, .. } = self;
        let mutants = options.mutants;
        let hard_state = options.hard_state;
        replay.end_at_base();
        let (last, last_term) = replay.last;
        if hard_state.committed > last && !mutants.damage_taken_for_tail() {
            return Err(RecoveryError::LostCommitted { committed: hard_state.committed, last });
        }
        let (cut, (before, before_last)) = if mutants.tail_not_written_again() {
            (self.end.unwrap_or_default(), (replay.before, replay.last))
        } else {
            (replay.watermark, replay.at_watermark)
        };
        let base = replay.terms.first().map_or(options.base.0, |(from, _)| *from);
        // What the snapshot covers of a log that did not follow it is not needed any more.
        let is_needed = |(offset, entry): &(LogOffset, Entry)| *offset >= cut && entry.position > base;
        let unsure = std::mem::take(&mut replay.unsure).into_iter().filter(is_needed);
        let rewrite: Vec<Entry> = unsure.map(|(_, entry)| own(entry)).collect();
        let rewrite_follows = rewrite.first().map_or(Term(0), |first| replay.term_before(first.position));
        let layout = options.layout;
        let last_live = if cut == LogOffset(0) { 0 } else { layout.segment_ending_at(cut) };
        let is_live = |segment: u64| segment <= last_live && live.iter().any(|it| it.head.segment == segment);
        let still_live = live.iter().filter(|it| it.head.segment <= last_live);
        let live_firsts = still_live.map(|it| (it.head.segment, it.head.first)).collect();
        let mut dead: Vec<u64> = files.iter().map(|file| file.segment).filter(|it| !is_live(*it)).collect();
        let void_from = files
            .iter()
            .find(|file| file.segment == last_live)
            .map(|file| (file, cut.0 - layout.start_of(last_live).0))
            .filter(|(file, length)| *length < file.bytes)
            .map(|(file, length)| (file.segment, length));
        let end_segment = layout.segment_ending_at(report.end);
        let blank_from = files
            .iter()
            .find(|file| file.segment == end_segment && live.iter().any(|it| it.head.segment == end_segment))
            .map(|file| (file, layout.padded(report.end.0 - layout.start_of(end_segment).0)))
            .filter(|(file, length)| *length < file.bytes)
            .map(|(file, length)| (file.segment, length));
        report.watermark = replay.watermark;
        report.rewritten_frames = rewrite.len() as u64;
        report.dead_segments.clone_from(&dead);
        // Spares at the end are made anew in their own place: a full disk has room for nothing else.
        let is_spare = |segment: u64| spares.contains(&segment) && !is_live(segment);
        let at_end = files.iter().rev().take_while(|file| is_spare(file.segment));
        let next_segment = at_end.last().or(files.last()).map_or(1, |file| match is_spare(file.segment) {
            true => file.segment,
            false => file.segment + 1,
        });
        dead.retain(|segment| *segment < next_segment);
        // An entry of a term that the vote file does not know: its leader was elected, so nobody else may be.
        let (term, vote) = if last_term > hard_state.term {
            (last_term, hard_state.member)
        } else {
            (hard_state.term, hard_state.vote)
        };
        let recovered = Recovered {
            hard_state,
            term,
            vote,
            base,
            covered: options.base.0,
            // The vote file's position holds for the log as a whole: an entry that it covers may be followed by the
            // one that superseded it, so nothing was given out on its word.
            committed: replay.committed.max(hard_state.committed).min(last),
            applied: replay.applied,
            last,
            terms: replay.terms,
            members: replay.members,
            unapplied: replay.held.into_iter().map(own).collect(),
            places: replay.places,
            tail: Tail {
                cut,
                before,
                last: before_last,
                rewrite,
                rewrite_follows,
                live: live_firsts,
                next_segment,
                dead,
                void_from,
                blank_from,
            },
        };
        Ok((recovered, report))
    }

    fn ask(&mut self, segment: u64, offset: u64, bytes: u64) -> Option<RecoveryStep> {
        self.asked = bytes;
        Some(RecoveryStep::Read { segment, offset, bytes })
    }

    fn step_heads(&mut self, index: usize) -> Result<Option<RecoveryStep>, RecoveryError> {
        let layout = self.options.layout;
        let sector = layout.sector();
        if let Some(file) = index.checked_sub(1).map(|done| self.files[done]) {
            let head = SegmentHead::decode(&layout, &self.buffer, file.segment).and_then(|head| {
                let start = layout.start_of(head.segment);
                let makes_sense = head.cut <= start
                    && head.watermark <= head.cut
                    && head.rewritten_bytes <= layout.segment_bytes - sector
                    && head.rewritten_bytes.is_multiple_of(sector);
                if makes_sense { Ok(head) } else { Err(SegmentError::Checksum) }
            });
            self.buffer.clear();
            if let Err(error) = head
                && !matches!(error, SegmentError::Blank | SegmentError::Checksum)
            {
                return Err(RecoveryError::Foreign { segment: file.segment, error });
            }
            self.heads.insert(file.segment, head);
        }
        match self.files.get(index).copied() {
            Some(file) => {
                self.stage = Stage::Heads { index: index + 1 };
                Ok(self.ask(file.segment, 0, sector))
            }
            None => {
                self.stage = Stage::Rewritten { index: 0 };
                Ok(None)
            }
        }
    }

    /// Rule 2: drops the heads after which the frames written again are not whole.
    fn step_rewritten(&mut self, index: usize) -> Result<Option<RecoveryStep>, RecoveryError> {
        if let Some(Ok(head)) =
            index.checked_sub(1).and_then(|done| self.heads.get(&self.files[done].segment))
        {
            let is_whole = crc32fast::hash(&self.buffer) == head.rewritten_crc;
            if head.rewritten_bytes > 0 && !is_whole {
                self.heads.insert(head.segment, Err(SegmentError::Checksum));
            }
        }
        self.buffer.clear();
        let Some(file) = self.files.get(index) else {
            self.link()?;
            return Ok(None);
        };
        let rewritten_bytes = match self.heads.get(&file.segment) {
            Some(Ok(head)) => head.rewritten_bytes,
            _ => 0,
        };
        let segment = file.segment;
        self.stage = Stage::Rewritten { index: index + 1 };
        if rewritten_bytes == 0 {
            return Ok(None);
        }
        Ok(self.ask(segment, self.options.layout.sector(), rewritten_bytes))
    }

    /// Rule 1: walks back from the last good head.
    fn link(&mut self) -> Result<(), RecoveryError> {
        let layout = self.options.layout;
        let newest = self.heads.values().rev().find_map(|head| head.as_ref().ok().copied());
        let newest_segment = newest.map_or(0, |head| head.segment);
        self.suspects = self.files.iter().copied().filter(|file| file.segment > newest_segment).collect();
        let mut next = newest;
        let mut end = layout.segment_bytes;
        while let Some(head) = next {
            self.live.push(Live { head, end });
            if head.cut == LogOffset(0) {
                break;
            }
            let segment = layout.segment_ending_at(head.cut);
            end = head.cut.0 - layout.start_of(segment).0;
            next = match self.heads.get(&segment) {
                Some(Ok(before)) => Some(*before),
                Some(Err(_)) => return Err(RecoveryError::DamagedHead { segment }),
                // Cut away below a snapshot, if that reaches so far.
                None if head.first <= self.options.base.0.next() => None,
                // Nothing older is left either: it was cut below a snapshot that is not here.
                None if self.files.iter().all(|file| file.segment > segment) => {
                    return Err(RecoveryError::Gap { last: self.options.base.0, first: head.first });
                }
                None => return Err(RecoveryError::Missing { segment }),
            };
        }
        self.live.reverse();
        if let Some(first) = self.live.first() {
            self.replay.start(&first.head)?;
        }
        self.report.segments = self.live.len() as u64;
        self.stage = if self.live.is_empty() { Stage::Dead { index: 0 } } else { Stage::Load { index: 0 } };
        Ok(())
    }

    fn step_load(&mut self, index: usize) -> Result<Option<RecoveryStep>, RecoveryError> {
        let Live { head, end } = self.live[index];
        let is_last = index + 1 == self.live.len();
        let file_bytes = self.file_bytes(head.segment);
        // What a file is short of reads as zeros, which is damage wherever frames must be.
        let wanted = if is_last { file_bytes.min(end) } else { end };
        let loaded = self.buffer.len() as u64;
        if loaded < wanted {
            return Ok(self.ask(head.segment, loaded, (wanted - loaded).min(READ_BYTES)));
        }
        self.loaded = Bytes::from(std::mem::take(&mut self.buffer));
        self.replay.open(&head)?;
        self.stage = Stage::Parse { index, at: self.options.layout.sector_bytes as usize };
        Ok(None)
    }

    fn file_bytes(&self, segment: u64) -> u64 {
        self.files.iter().find(|file| file.segment == segment).map_or(0, |file| file.bytes)
    }

    fn step_parse(
        &mut self,
        index: usize,
        mut at: usize,
        entries: &mut Vec<CommittedEntry>,
    ) -> Result<(), RecoveryError> {
        let layout = self.options.layout;
        let segment = self.live[index].head.segment;
        let start = layout.start_of(segment);
        let is_last = index + 1 == self.live.len();
        for _ in 0..STEP_FRAMES {
            let offset = LogOffset(start.0 + at as u64);
            if at >= self.loaded.len() {
                if is_last {
                    return self.end_at(segment, at, FrameError::Blank);
                }
                self.stage = Stage::Load { index: index + 1 };
                return Ok(());
            }
            let found = Frame::decode(&layout, &self.loaded[at..], offset);
            if let Ok(frame) = &found {
                self.replay.check_gap(frame)?;
            }
            let found = found.and_then(|frame| self.replay.check(&frame).map(|()| frame));
            match found {
                Ok(frame) => {
                    let payload = self.loaded.slice(at + FRAME_HEAD_BYTES..at + frame.length as usize);
                    self.replay.take(&layout, &frame, payload, entries)?;
                    self.report.frames += 1;
                    at += frame.stride();
                }
                // The padding of a write.
                Err(FrameError::Blank) if !at.is_multiple_of(layout.sector_bytes as usize) => {
                    at += layout.rest_of_sector(offset);
                }
                Err(reason) if is_last || self.options.mutants.damage_taken_for_tail() => {
                    return self.end_at(segment, at, reason);
                }
                // Rule 3: the head that follows was written when all of this was synced.
                Err(reason) => return Err(RecoveryError::Damaged { segment, offset: at as u64, reason }),
            }
        }
        self.stage = Stage::Parse { index, at };
        Ok(())
    }

    /// Rules 3 and 4, for the rest of the last segment.
    fn end_at(&mut self, segment: u64, at: usize, reason: FrameError) -> Result<(), RecoveryError> {
        let layout = self.options.layout;
        let end = LogOffset(layout.start_of(segment).0 + at as u64);
        self.end = Some(end);
        self.report.end = end;
        self.report.torn = Some(reason).filter(|reason| *reason != FrameError::Blank);
        let rest = std::mem::take(&mut self.loaded);
        self.look_for_proof(segment, at, &rest)?;
        self.stage = Stage::Dead { index: 0 };
        Ok(())
    }

    /// Looks behind the log's end for frames that prove that the log was synced beyond it.
    fn look_for_proof(&mut self, segment: u64, at: usize, bytes: &[u8]) -> Result<(), RecoveryError> {
        let layout = self.options.layout;
        let sector = layout.sector_bytes as usize;
        let end = self.end.unwrap_or_default();
        let start = layout.start_of(segment);
        let mut looked_at = (at + 1).next_multiple_of(sector);
        let mut written_to = at;
        while looked_at < bytes.len() {
            let place = LogOffset(start.0 + looked_at as u64);
            let step = match Frame::decode(&layout, &bytes[looked_at..], place) {
                Ok(frame) => {
                    if frame.watermark > end && !self.options.mutants.damage_taken_for_tail() {
                        let reason = self.report.torn.unwrap_or(FrameError::Blank);
                        let bad_segment = layout.segment_of(end);
                        return Err(match bad_segment {
                            0 => RecoveryError::DamagedHead { segment },
                            _ => RecoveryError::Damaged {
                                segment: bad_segment,
                                offset: layout.within(end),
                                reason,
                            },
                        });
                    }
                    self.report.cut_frames += 1;
                    written_to = looked_at + frame.stride();
                    frame.stride()
                }
                Err(FrameError::Blank) => layout.rest_of_sector(place),
                Err(_) => {
                    written_to = looked_at + layout.rest_of_sector(place);
                    layout.rest_of_sector(place)
                }
            };
            looked_at += step;
        }
        if self.report.torn.is_some() || written_to > at {
            let in_first_sector = bytes.get(at..).map_or(0, |rest| rest.len().min(sector - at % sector));
            let cut_bytes = (written_to - at).max(in_first_sector);
            self.report.cut_bytes += cut_bytes as u64;
            // Something follows where nothing should: the write that began here was torn.
            self.report.torn.get_or_insert(FrameError::Blank);
        }
        Ok(())
    }

    /// Rule 3, for files after the last live segment.
    fn step_dead(&mut self, index: usize) -> Result<Option<RecoveryStep>, RecoveryError> {
        let Some(file) = self.suspects.get(index).copied() else {
            self.stage = Stage::Finished;
            return Ok(None);
        };
        let loaded = self.buffer.len() as u64;
        let is_blank = self.heads.get(&file.segment) == Some(&Err(SegmentError::Blank));
        let looks_spare = is_blank && loaded >= SPARE_BYTES && crate::bytes_at::is_zero(&self.buffer);
        if loaded < file.bytes && !looks_spare {
            return Ok(self.ask(file.segment, loaded, (file.bytes - loaded).min(READ_BYTES)));
        }
        let bytes = std::mem::take(&mut self.buffer);
        if !crate::bytes_at::is_zero(&bytes) {
            self.look_for_proof(file.segment, 0, &bytes)?;
        } else if is_blank {
            self.spares.push(file.segment);
        }
        self.stage = Stage::Dead { index: index + 1 };
        Ok(None)
    }
}

/// The entry with a payload of its own, so that it does not keep a whole segment in memory.
fn own(entry: Entry) -> Entry {
    Entry { payload: Bytes::copy_from_slice(&entry.payload), ..entry }
}
