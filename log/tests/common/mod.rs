//! A node of a test: a replica, its disk and its peers, by hand and by seed, without files or a runtime.
//!
//! The disk keeps what is synced and what is not apart: a write in flight becomes durable when it is completed; a
//! power loss keeps a random subset of its sectors, the last of them torn inside.

use std::collections::BTreeMap;

use ramkeep_log::*;

pub mod cluster;

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
pub struct Disk {
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub vote: Vec<u8>,
    /// Written, not synced: segment, offset, bytes.
    pub in_flight: Option<(u64, u64, Vec<u8>)>,
    pub saving: Option<(u64, usize, Vec<u8>)>,
    /// What a snapshot covers, and what it holds.
    pub snapshot: (Position, Term),
    pub covered: Vec<CommittedEntry>,
    /// Who the members were there.
    pub snapshot_members: Option<Membership>,
    /// Its file, where the test is about files.
    #[allow(dead_code, reason = "the shard's tests share this file")]
    pub snapshot_file: Vec<u8>,
    /// In the page cache only, since the process that wrote them died: what was there before, per write.
    unsynced: Vec<(Place, Vec<u8>)>,
}

/// File (`None`: the vote file) and offset.
type Place = (Option<u64>, usize);

impl Disk {
    pub fn new(member: NodeId) -> Self {
        Self { vote: HardState::new_file(&layout(), member), ..Self::default() }
    }

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

    /// The power fails: of each write in flight the first, third, … sector is there.
    pub fn lose_odd_sectors(&mut self) {
        for ((file, offset), bytes) in self.take_in_flight() {
            for (index, sector) in bytes.chunks(SECTOR as usize).enumerate().step_by(2) {
                self.replace((file, offset + index * SECTOR as usize), sector);
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

    fn take_in_flight(&mut self) -> Vec<(Place, Vec<u8>)> {
        let log =
            self.in_flight.take().map(|(segment, offset, bytes)| ((Some(segment), offset as usize), bytes));
        let vote = self.saving.take().map(|(_, slot, bytes)| ((None, slot * SECTOR as usize), bytes));
        log.into_iter().chain(vote).collect()
    }

    /// Overwrites what still exists of a place; gives back what was there.
    fn replace(&mut self, (segment, offset): Place, bytes: &[u8]) -> Vec<u8> {
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

pub fn recover(
    disk: &Disk,
    member: NodeId,
) -> Result<(Vec<CommittedEntry>, Recovered, Report), RecoveryError> {
    recover_with(disk, member, Mutants::default())
}

pub fn recover_with(
    disk: &Disk,
    member: NodeId,
    mutants: Mutants,
) -> Result<(Vec<CommittedEntry>, Recovered, Report), RecoveryError> {
    let hard_state = HardState::read(&layout(), member, &disk.vote).expect("the vote file is good");
    let base = disk.snapshot;
    let options = RecoveryOptions { layout: layout(), hard_state, base, mutants };
    let mut recovery = Recovery::new(options, &disk.files())?;
    let mut entries = disk.covered.clone();
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

/// A replica with its disk.
pub struct Node {
    pub replica: Replica,
    pub disk: Disk,
    pub committed: Vec<CommittedEntry>,
    pub sent: Vec<(NodeId, Message)>,
    pub roles: Vec<(Role, Term)>,
    pub reads: Vec<(u64, Position)>,
    pub fenced: Option<FenceReason>,
    /// Completions wait for [`Node::sync`].
    pub slow_disk: bool,
    pub report: Report,
    pub prepare_fails: bool,
    /// Bytes of all segments that the disk has room for.
    pub disk_bytes: usize,
    /// The snapshot of another member that it should get.
    pub wants: Option<(NodeId, Position, Term)>,
}

pub const TICK_NS: u64 = 50_000_000;

impl Node {
    pub fn start(
        disk: Disk,
        id: NodeId,
        voters: &[NodeId],
        seed: u64,
        now_ns: u64,
    ) -> Result<Self, RecoveryError> {
        Self::start_with(disk, id, voters, seed, now_ns, Mutants::default())
    }

    pub fn start_slow(
        disk: Disk,
        id: NodeId,
        voters: &[NodeId],
        seed: u64,
        now_ns: u64,
    ) -> Result<Self, RecoveryError> {
        let mut node = Self::build(disk, id, voters, seed, now_ns, Mutants::default())?;
        node.slow_disk = true;
        node.run(now_ns);
        Ok(node)
    }

    /// A start where the disk has room for no more than so many bytes of segments.
    pub fn start_full(
        disk: Disk,
        id: NodeId,
        voters: &[NodeId],
        seed: u64,
        disk_bytes: usize,
    ) -> Result<Self, RecoveryError> {
        let mut node = Self::build(disk, id, voters, seed, 0, Mutants::default())?;
        node.disk_bytes = disk_bytes;
        node.run(0);
        Ok(node)
    }

    /// A file of this segment is replaced.
    fn is_full_for(&self, segment: u64, bytes: u64) -> bool {
        let others = self.disk.segments.iter().filter(|(number, _)| **number != segment);
        others.map(|(_, file)| file.len()).sum::<usize>() + bytes as usize > self.disk_bytes
    }

    pub fn start_with(
        disk: Disk,
        id: NodeId,
        voters: &[NodeId],
        seed: u64,
        now_ns: u64,
        mutants: Mutants,
    ) -> Result<Self, RecoveryError> {
        let mut node = Self::build(disk, id, voters, seed, now_ns, mutants)?;
        node.run(now_ns);
        Ok(node)
    }

    fn build(
        disk: Disk,
        id: NodeId,
        voters: &[NodeId],
        seed: u64,
        now_ns: u64,
        mutants: Mutants,
    ) -> Result<Self, RecoveryError> {
        let (committed, recovered, report) = recover_with(&disk, id, mutants)?;
        let mut options = Options::new(layout(), id, voters.to_vec());
        options.mutants = mutants;
        options.entry_bytes_max = 4 << 10;
        options.message_bytes_max = 4 << 10;
        options.cache_bytes_max = 8 << 10;
        // In every second life nothing is kept for those that lag, so that they need a snapshot.
        if (seed / 1000).is_multiple_of(2) {
            options.kept_bytes_max = 0;
        }
        if let Some(members) = &disk.snapshot_members {
            options.members = members.clone();
        }
        let replica = Replica::new(options, recovered, seed, now_ns);
        Ok(Self {
            replica,
            disk,
            committed,
            sent: Vec::new(),
            roles: Vec::new(),
            reads: Vec::new(),
            fenced: None,
            slow_disk: false,
            report,
            prepare_fails: false,
            disk_bytes: usize::MAX,
            wants: None,
        })
    }

    /// Does what the replica wants until it wants nothing more.
    pub fn run(&mut self, now_ns: u64) {
        loop {
            let mut outputs = Vec::new();
            self.replica.drain(&mut outputs);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.act(output, now_ns);
            }
        }
    }

    fn act(&mut self, output: Output, now_ns: u64) {
        match output {
            Output::Send { to, message } => self.sent.push((to, message)),
            Output::Write { segment, offset, bytes } => {
                assert!(self.disk.in_flight.is_none(), "one write in flight");
                self.disk.in_flight = Some((segment, offset, bytes));
                if !self.slow_disk {
                    self.sync_log(now_ns);
                }
            }
            Output::SaveHardState { generation, slot, bytes } => {
                assert!(self.disk.saving.is_none(), "one save in flight");
                self.disk.saving = Some((generation, slot, bytes));
                if !self.slow_disk {
                    self.sync_vote(now_ns);
                }
            }
            Output::Prepare { segment, bytes } if self.prepare_fails || self.is_full_for(segment, bytes) => {
                self.replica.prepare_failed(segment, now_ns)
            }
            Output::Prepare { segment, bytes } => {
                self.disk.segments.insert(segment, vec![0; bytes as usize]);
                self.replica.prepared(segment, now_ns);
            }
            Output::Discard { segments, cut } => self.disk.discard(segments, cut),
            Output::Cut { segments } => {
                for segment in segments {
                    self.disk.segments.remove(&segment).expect("what is cut was there");
                }
            }
            Output::Committed { entries } => self.committed.extend(entries),
            Output::MembersChanged { position } => {
                assert!(position <= self.replica.committed(), "only what is committed is in force");
            }
            Output::RoleChanged { role, term } => self.roles.push((role, term)),
            Output::ReadReady { context, position } => self.reads.push((context, position)),
            Output::Fetch { segment, offset, bytes, .. } => {
                let read = self.disk.read(segment, offset, bytes);
                self.replica.fetched(segment, offset, &read, now_ns);
            }
            Output::WantSnapshot { from, position, term } => self.wants = Some((from, position, term)),
            Output::Fenced { reason } => self.fenced = Some(reason),
        }
    }

    pub fn sync_log(&mut self, now_ns: u64) {
        if let Some(written) = self.disk.complete_write() {
            self.replica.written(written, now_ns);
        }
    }

    pub fn sync_vote(&mut self, now_ns: u64) {
        if let Some(generation) = self.disk.complete_save() {
            self.replica.saved(generation, now_ns);
        }
    }

    /// Completes everything in flight.
    pub fn sync(&mut self, now_ns: u64) {
        while self.disk.in_flight.is_some() || self.disk.saving.is_some() {
            self.sync_vote(now_ns);
            self.sync_log(now_ns);
            self.run(now_ns);
        }
    }

    /// Holds a snapshot of all that is committed and durable here, and says so.
    pub fn snapshot(&mut self) {
        self.make_snapshot();
        self.replica.snapshot_held(self.disk.snapshot.0);
    }

    /// Starts anew over its disk, in the same process: what its disk was doing comes to an end first.
    pub fn start_anew(&mut self, voters: &[NodeId], seed: u64, now_ns: u64) -> Result<(), RecoveryError> {
        self.disk.complete_write();
        self.disk.complete_save();
        let disk = std::mem::take(&mut self.disk);
        let (id, mutants) = (self.replica.node(), Mutants::default());
        *self = Self::start_with(disk, id, voters, seed, now_ns, mutants)?;
        Ok(())
    }

    /// Holds such a snapshot; the process does not get to saying so.
    pub fn make_snapshot(&mut self) {
        let position = self.committed.last().map_or(Position::ZERO, |entry| entry.position);
        let term = self.replica.term_of(position).unwrap();
        self.disk.snapshot = (position, term);
        self.disk.covered = self.committed.clone();
        self.disk.snapshot_members = Some(self.replica.members().clone());
    }

    pub fn payloads(&self) -> Vec<Vec<u8>> {
        payloads(&self.committed)
    }
}

pub fn payloads(entries: &[CommittedEntry]) -> Vec<Vec<u8>> {
    entries.iter().filter(|entry| !entry.payload.is_empty()).map(|entry| entry.payload.to_vec()).collect()
}

pub const ALONE: NodeId = NodeId(1 << 32);

pub fn alone(disk: Disk, seed: u64) -> Result<Node, RecoveryError> {
    Node::start(disk, ALONE, &[ALONE], seed, 0)
}
