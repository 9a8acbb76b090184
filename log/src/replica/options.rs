//! Settings of a replica.

use crate::frame::FRAME_HEAD_BYTES;
use crate::mutant::Mutants;
use crate::segment::Layout;
use crate::types::{NodeId, ShardId};
use crate::writer::Writer;

/// Settings of a replica. Ticks and sizes must be the same on all members of a shard.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shard.
    pub shard: ShardId,
    /// This member.
    pub node: NodeId,
    /// All voting members, this one among them.
    pub voters: Vec<NodeId>,
    /// Those of them that keep the log and no data: they lead only to hand over.
    pub log_only: Vec<NodeId>,
    /// How the log is laid out; its shard is `shard`.
    pub layout: Layout,
    /// Length of a tick.
    pub tick_ms: u64,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader after which a vote may be given.
    pub election_ticks: usize,
    /// Shortest time after which this member campaigns; at least `election_ticks`.
    pub election_ticks_min: usize,
    /// Campaigns begin before this many ticks; the largest of all members, since it bounds the hold-off.
    pub election_ticks_max: usize,
    /// Hold-off after a start, in ticks: the largest `election_ticks_max` of any member.
    pub hold_off_ticks: usize,
    /// How long a majority's answer to a heartbeat entitles to read.
    pub lease_ms: u64,
    /// Largest payload of one entry.
    pub entry_bytes_max: u64,
    /// Payload bytes proposed but not committed, beyond which there is no room.
    pub uncommitted_bytes_max: u64,
    /// Old entries kept in memory for peers that lag.
    pub cache_bytes_max: u64,
    /// A primary keeps so much of its log for members that lag, beyond what it needs itself.
    pub kept_bytes_max: u64,
    /// Entries in one message.
    pub message_bytes_max: u64,
    /// Committed entries in one [`crate::Output::Committed`].
    pub committed_bytes_max: u64,
    /// Seeded bugs; none outside the simulator's own test.
    pub mutants: Mutants,
}

/// Settings that cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The member must be one of the voters, all different and none zero.
    #[error("this member must be among the voters, and no voter twice")]
    Voters,
    /// Ticks must rise: heartbeat, election, minimum, maximum, hold-off.
    #[error("0 < heartbeat < election <= minimum < maximum <= hold-off must hold")]
    Ticks,
    /// A lease must end before another may be elected, also by a clock that is wrong by 2 %.
    #[error("the lease must be shorter than the election timeout less one tick, by 2 %")]
    Lease,
    /// The layout's sizes or its shard are wrong, or an entry does not fit a segment.
    #[error("segment and sector sizes do not fit together or with the largest entry")]
    Sizes,
}

impl Options {
    /// The usual settings for a shard of `voters`.
    #[must_use]
    pub fn new(layout: Layout, node: NodeId, voters: Vec<NodeId>) -> Self {
        let segment_bytes = Writer::payload_bytes_max(&layout);
        let has_peers = voters.len() > 1;
        Self {
            shard: layout.shard,
            node,
            voters,
            log_only: Vec::new(),
            layout,
            tick_ms: 50,
            heartbeat_ticks: 2,
            election_ticks: 10,
            election_ticks_min: 10,
            election_ticks_max: 16,
            hold_off_ticks: 24,
            lease_ms: 400,
            entry_bytes_max: (4 << 20).min(segment_bytes),
            uncommitted_bytes_max: 64 << 20,
            // A voter alone has nobody that could lag.
            cache_bytes_max: if has_peers { 64 << 20 } else { 0 },
            kept_bytes_max: 8 * layout.segment_bytes,
            message_bytes_max: 256 << 10,
            committed_bytes_max: 1 << 20,
            mutants: Mutants::default(),
        }
    }

    /// Says which voters keep the log and no data. Those wait longer before they campaign, so that one with the data
    /// leads where it can.
    #[must_use]
    pub fn with_log_only(mut self, log_only: Vec<NodeId>) -> Self {
        self.log_only = log_only;
        if self.is_log_only() {
            self.election_ticks_min = 16;
            self.election_ticks_max = 24;
        }
        self
    }

    /// A voter refuses its vote to one of lower priority whose log is no longer than its own.
    pub(super) fn priority(&self) -> i64 {
        if self.is_log_only() { 0 } else { 10 }
    }

    pub(super) fn is_log_only(&self) -> bool {
        self.log_only.contains(&self.node)
    }

    /// Whether they can work together.
    pub fn check(&self) -> Result<(), OptionsError> {
        let mut voters = self.voters.clone();
        voters.sort_unstable();
        voters.dedup();
        let are_members = voters.len() == self.voters.len() && !voters.contains(&NodeId(0));
        // Without anybody who keeps the data nothing could ever be served.
        let keeps_data = voters.iter().any(|voter| !self.log_only.contains(voter));
        if !are_members || !voters.contains(&self.node) || !keeps_data {
            return Err(OptionsError::Voters);
        }
        let ticks_rise = 0 < self.heartbeat_ticks
            && self.heartbeat_ticks < self.election_ticks
            && self.election_ticks <= self.election_ticks_min
            && self.election_ticks_min < self.election_ticks_max
            && self.election_ticks_max <= self.hold_off_ticks;
        if !ticks_rise || self.tick_ms == 0 {
            return Err(OptionsError::Ticks);
        }
        let promised_ms = (self.election_ticks as u64 - 1) * self.tick_ms;
        if self.lease_ms * 102 > promised_ms * 100 {
            return Err(OptionsError::Lease);
        }
        let fits = self.layout.is_sound()
            && self.layout.shard == self.shard
            && self.entry_bytes_max > FRAME_HEAD_BYTES as u64
            && self.entry_bytes_max <= Writer::payload_bytes_max(&self.layout);
        if fits { Ok(()) } else { Err(OptionsError::Sizes) }
    }

    pub(super) fn tick_ns(&self) -> u64 {
        self.tick_ms * 1_000_000
    }

    pub(super) fn is_only_voter(&self) -> bool {
        self.voters.len() == 1
    }
}
