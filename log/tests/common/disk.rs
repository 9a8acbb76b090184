//! A disk of a test, and the chance that strikes it; the shard's tests use it too.
//!
//! The disk keeps what is synced and what is not apart: a write in flight becomes durable when it is completed; a
//! power loss keeps a random subset of its sectors, the last of them torn inside.

use std::collections::BTreeMap;

use ramkeep_log::*;

/// A node that is no member of a cluster.
pub const ALONE: NodeId = NodeId(1 << 32);

pub const SECTOR: u32 = 512;

pub fn layout() -> Layout {
    Layout {
        shard: ShardId(0),
        directory: Uuid([7; 16]),
        cluster: Uuid([9; 16]),
        sector_bytes: SECTOR,
        segment_bytes: 16 << 10,
    }
}

/// A generator of our own, so that tests depend on no crate's.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Default)]
pub struct Disk<S> {
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub vote: Vec<u8>,
    /// Written, not synced: segment, offset, bytes.
    pub in_flight: Option<(u64, u64, Vec<u8>)>,
    pub saving: Option<(u64, usize, Vec<u8>)>,
    /// What a snapshot covers, and what it holds: each program's own.
    pub snapshot: (Position, Term),
    pub held: S,
    /// In the page cache only, since the process that wrote them died: what was there before, per write.
    unsynced: Vec<(Place, Vec<u8>)>,
}

/// File (`None`: the vote file) and offset.
pub type Place = (Option<u64>, usize);

impl<S: Default> Disk<S> {
    pub fn new(member: NodeId) -> Self {
        Self { vote: HardState::new_file(&layout(), member), ..Self::default() }
    }
}

impl<S> Disk<S> {
    pub fn files(&self) -> Vec<SegmentFile> {
        let file =
            |(segment, bytes): (&u64, &Vec<u8>)| SegmentFile { segment: *segment, bytes: bytes.len() as u64 };
        self.segments.iter().map(file).collect()
    }

    /// The process dies; what it was writing stays in the page cache, in whole or not at all.
    pub fn kill(&mut self, keeps: bool) {
        for (place, bytes) in self.take_in_flight() {
            if keeps {
                let old = self.replace(place, &bytes);
                self.unsynced.push((place, old));
            }
        }
    }

    /// The power fails: of what was not synced, some sectors are there and some not, and some are torn. That
    /// includes what a process left in the page cache when it died.
    pub fn lose_power(&mut self, random: &mut Random) {
        for (place, bytes) in self.take_in_flight() {
            let old = self.replace(place, &bytes);
            self.unsynced.push((place, old));
        }
        for (place, old) in std::mem::take(&mut self.unsynced).into_iter().rev() {
            for (index, sector) in old.chunks(SECTOR as usize).enumerate() {
                let lost_from = match random.below(3) {
                    0 => 0,
                    1 => sector.len(),
                    _ => random.below(sector.len() as u64) as usize,
                };
                let at = (place.0, place.1 + index * SECTOR as usize + lost_from);
                self.replace(at, &sector[lost_from..]);
            }
        }
    }

    /// The write in flight becomes durable.
    pub fn complete_write(&mut self) -> Option<Written> {
        let (segment, offset, bytes) = self.in_flight.take()?;
        put(self.segments.get_mut(&segment).unwrap(), offset as usize, &bytes);
        Some(Written { segment, offset, bytes })
    }

    /// The save in flight becomes durable; gives its generation.
    pub fn complete_save(&mut self) -> Option<u64> {
        let (generation, slot, bytes) = self.saving.take()?;
        put(&mut self.vote, slot * SECTOR as usize, &bytes);
        self.unsynced.retain(|(place, _)| *place != (None, slot * SECTOR as usize));
        Some(generation)
    }

    pub fn read(&self, segment: u64, offset: u64, bytes: u64) -> Vec<u8> {
        let file = &self.segments[&segment];
        let end = file.len().min((offset + bytes) as usize);
        file[(offset as usize).min(end)..end].to_vec()
    }

    pub fn discard(&mut self, segments: Vec<u64>, cut: Option<(u64, u64)>) {
        for segment in segments {
            self.segments.remove(&segment);
        }
        if let Some((segment, bytes)) = cut {
            self.segments.get_mut(&segment).unwrap().truncate(bytes as usize);
        }
    }

    pub fn take_in_flight(&mut self) -> Vec<(Place, Vec<u8>)> {
        let log =
            self.in_flight.take().map(|(segment, offset, bytes)| ((Some(segment), offset as usize), bytes));
        let vote = self.saving.take().map(|(_, slot, bytes)| ((None, slot * SECTOR as usize), bytes));
        log.into_iter().chain(vote).collect()
    }

    /// Overwrites what still exists of a place; gives back what was there.
    pub fn replace(&mut self, (segment, offset): Place, bytes: &[u8]) -> Vec<u8> {
        let mut none = Vec::new();
        let file = match segment {
            Some(segment) => self.segments.get_mut(&segment).unwrap_or(&mut none),
            None => &mut self.vote,
        };
        let (start, end) = (offset.min(file.len()), (offset + bytes.len()).min(file.len()));
        let old = file[start..end].to_vec();
        put(file, start, &bytes[..end - start]);
        old
    }
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Reads the log.
pub fn recover<S>(
    disk: &Disk<S>,
    member: NodeId,
    mutants: Mutants,
) -> Result<(Vec<CommittedEntry>, Recovered, Report), RecoveryError> {
    let hard_state = HardState::read(&layout(), member, &disk.vote).expect("the vote file is good");
    let base = disk.snapshot;
    let options = RecoveryOptions { layout: layout(), hard_state, base, mutants };
    let mut recovery = Recovery::new(options, &disk.files())?;
    let mut entries = Vec::new();
    loop {
        match recovery.step(&mut entries)? {
            RecoveryStep::Read { segment, offset, bytes } => {
                recovery.supply(&disk.read(segment, offset, bytes));
            }
            RecoveryStep::Continue => {}
            RecoveryStep::Finished => break,
        }
    }
    let (recovered, report) = recovery.finish()?;
    Ok((entries, recovered, report))
}
