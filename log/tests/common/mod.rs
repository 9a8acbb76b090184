//! A node of a test: a replica, its disk and its peers, by hand and by seed, without files or a runtime.

use ramkeep_log::*;

pub mod cluster;
pub mod disk;

pub use disk::{ALONE, Random, SECTOR, layout};

/// A disk whose snapshots are made of entries.
pub type Disk = disk::Disk<Held>;

/// What a snapshot of these tests holds.
#[derive(Clone, Default)]
pub struct Held {
    pub covered: Vec<CommittedEntry>,
    /// Who the members were there.
    pub members: Option<Membership>,
}

impl Disk {
    /// The power fails: of each write in flight the first, third, … sector is there.
    pub fn lose_odd_sectors(&mut self) {
        for ((file, offset), bytes) in self.take_in_flight() {
            for (index, sector) in bytes.chunks(SECTOR as usize).enumerate().step_by(2) {
                self.replace((file, offset + index * SECTOR as usize), sector);
            }
        }
    }
}

pub fn recover(
    disk: &Disk,
    member: NodeId,
) -> Result<(Vec<CommittedEntry>, Recovered, Report), RecoveryError> {
    recover_with(disk, member, Mutants::default())
}

/// What the snapshot holds, then what the log does.
pub fn recover_with(
    disk: &Disk,
    member: NodeId,
    mutants: Mutants,
) -> Result<(Vec<CommittedEntry>, Recovered, Report), RecoveryError> {
    let (mut entries, recovered, report) = disk::recover(disk, member, mutants)?;
    entries.splice(0..0, disk.held.covered.iter().cloned());
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
        if let Some(members) = &disk.held.members {
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
        self.disk.held.covered = self.committed.clone();
        self.disk.held.members = Some(self.replica.members().clone());
    }

    pub fn payloads(&self) -> Vec<Vec<u8>> {
        payloads(&self.committed)
    }
}

pub fn payloads(entries: &[CommittedEntry]) -> Vec<Vec<u8>> {
    entries.iter().filter(|entry| !entry.payload.is_empty()).map(|entry| entry.payload.to_vec()).collect()
}

pub fn alone(disk: Disk, seed: u64) -> Result<Node, RecoveryError> {
    Node::start(disk, ALONE, &[ALONE], seed, 0)
}
