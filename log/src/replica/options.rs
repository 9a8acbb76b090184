//! Settings of a replica.

use crate::frame::FRAME_HEAD_BYTES;
use crate::membership::Membership;
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
    /// The members before the first entry of the log, or where the snapshot ends that it begins with.
    pub members: Membership,
    /// This one keeps the log and no data: it leads only to hand over.
    pub is_log_only: bool,
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
    /// There must be voters, all different and none zero, no two in one zone, and one that keeps the data.
    #[error("no two voters may be the same or stand in one zone, and one must keep the data")]
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
            members: Membership::of_voters(&voters),
            is_log_only: false,
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

    /// Says which voters keep the log and no data.
    #[must_use]
    pub fn with_log_only(mut self, log_only: &[NodeId]) -> Self {
        let marked = self.members.members_mut().filter(|member| log_only.contains(&member.node));
        marked.for_each(|member| member.is_log_only = true);
        let is_log_only = log_only.contains(&self.node);
        let members = std::mem::take(&mut self.members);
        self.with_members(members, is_log_only)
    }

    /// Says who the members are, and whether this one keeps the log and no data. Such a one waits longer before it
    /// campaigns, so that one with the data leads where it can.
    #[must_use]
    pub fn with_members(mut self, members: Membership, is_log_only: bool) -> Self {
        (self.members, self.is_log_only) = (members, is_log_only);
        if is_log_only {
            self.election_ticks_min = 16;
            self.election_ticks_max = 24;
        }
        self
    }

    /// A voter refuses its vote to one of lower priority whose log is no longer than its own.
    pub(super) fn priority(&self) -> i64 {
        if self.is_log_only { 0 } else { 10 }
    }

    /// Whether they can work together.
    pub fn check(&self) -> Result<(), OptionsError> {
        // Without anybody who keeps the data nothing could ever be served.
        if !self.members.is_legal() || self.node == NodeId(0) {
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
}
