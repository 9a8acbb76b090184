//! Turns: from the first execution to the proposal.
//!
//! Lives here: admission's facts before a batch, ending the turn, cutting large ones into parts,
//! the tick. Not here: what happens when the turn's entries are committed (`apply`).
//!
//! Invariant: between a turn's first execution and its proposal the replica hears nothing: every
//! input for it ends the turn first. So the position is the one admission counted on.

use crate::payload::{HEAD_BYTES, Payload};
use crate::{Executed, FenceCause, Mutant, Output, Proposed, Shard, State};
use ramkeep_engine::session::SessionId;
use ramkeep_engine::stats::LatencyHistogram;
use ramkeep_engine::time::Now;
use ramkeep_engine::{Availability, Blocked, error::ErrorReply};
use ramkeep_log::{Replica, Role};

const LOADING: ErrorReply = ErrorReply::new("LOADING Ramkeep is loading the dataset in memory");
const NO_QUORUM: ErrorReply =
    ErrorReply::new("NOQUORUM There is no primary with a lease right now. Nothing was executed.");
const WRITE_ON_REPLICA: ErrorReply = ErrorReply::new("READONLY You can't write against a read only replica.");
const LOG_ONLY: ErrorReply =
    ErrorReply::new("NODATA This node keeps the log and no data. Go to a node that keeps the data.");
const WAIT_ON_REPLICA: &[u8] = b"ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.";
const UNBLOCKED: &[u8] = b"UNBLOCKED client unblocked via CLIENT UNBLOCK";
const READ_ON_REPLICA: ErrorReply = ErrorReply::new(
    "READONLY This node is a replica. Send READONLY to read here what is committed, or go to the primary.",
);

/// Entries of flushed databases freed by one tick.
const FREED_PER_TICK_MAX: usize = 20_000;

/// Room that a frame and an entry's head take besides the effects; generous.
const OVERHEAD_BYTES: u64 = 4096;

impl Shard {
    /// Facts that admission reads: role, lease, room, memory.
    pub(crate) fn begin_batch(&mut self, now: Now) {
        self.engine.end_pause_in_time(now);
        self.refresh_availability_at(Some(now));
        self.engine.note_memory_peak();
    }

    pub(crate) fn refresh_availability(&mut self) {
        self.refresh_availability_at(None);
    }

    pub(crate) fn refresh_availability_at(&mut self, now: Option<Now>) {
        self.holds_calls = false;
        self.engine.room_bytes = self.room_bytes().saturating_sub(OVERHEAD_BYTES);
        self.engine.availability = match &self.state {
            State::Replaying => {
                // A deposed primary reads its log again while another serves.
                self.holds_calls = self.options.moves_sessions && self.is_led_elsewhere();
                Availability::Unavailable(LOADING)
            }
            State::Following if self.options.is_log_only => {
                self.holds_calls = self.options.moves_sessions;
                Availability::Unavailable(LOG_ONLY)
            }
            State::Following => self.availability_of_follower(),
            State::Frozen if self.options.mutant == Some(Mutant::FrozenServes) => {
                Availability::ReadOnly(NO_QUORUM)
            }
            State::Frozen => self.no_primary(),
            State::Fenced(fence) => Availability::Unavailable(fence.reply()),
            State::Leading if self.handover.is_some() => self.no_primary(),
            State::Leading => match (&self.replica, now) {
                // After an offer of leadership there is no lease in this term, and each reply waits for a round.
                (Some(replica), Some(now))
                    if !self.lease_valid(now)
                        && !replica.has_given_up_lease()
                        && self.options.mutant != Some(Mutant::LeaseIgnored) =>
                {
                    self.no_primary()
                }
                _ => match &self.no_room {
                    Some(why) => Availability::ReadOnly(ErrorReply::owned(format!(
                        "MISCONF The log cannot grow: {why}. Writes are refused, reads go on. Free disk space, and writes go on by themselves."
                    ))),
                    None => Availability::Primary,
                },
            },
        };
        // A pause lets nothing change, deadlines and evictions included.
        self.engine.data.may_log =
            self.engine.availability == Availability::Primary && !self.engine.is_paused();
    }

    /// Calls on data wait for a primary, here or elsewhere.
    fn no_primary(&mut self) -> Availability {
        self.holds_calls = true;
        Availability::NoPrimary(NO_QUORUM)
    }

    fn availability_of_follower(&mut self) -> Availability {
        let Some(replica) = &self.replica else { unreachable!("a follower has read its log") };
        if replica.is_alone() {
            // Just started: what was read is being made durable again, then it campaigns.
            return Availability::Unavailable(LOADING);
        }
        if replica.leader().is_some_and(|leader| leader != replica.node()) {
            self.holds_calls = self.options.moves_sessions;
            Availability::Replica { write: WRITE_ON_REPLICA, read: READ_ON_REPLICA }
        } else {
            self.holds_calls = true;
            Availability::Replica { write: NO_QUORUM, read: NO_QUORUM }
        }
    }

    /// Bytes of effects that the log takes right now, the open turn's already counted.
    pub(crate) fn room_bytes(&self) -> u64 {
        let room = self.replica.as_ref().map_or(0, Replica::room_bytes);
        room.saturating_sub(self.engine.data.effects_bytes() as u64)
    }

    /// The log's next segment cannot be made: writes are refused until it can.
    pub fn set_no_room(&mut self, why: Option<String>, now: Now) {
        self.no_room_since_ns = why.as_ref().map(|_| self.no_room_since_ns.unwrap_or(now.monotonic_ns));
        self.no_room = why;
        self.refresh_availability();
    }

    /// Proposes all that was executed since the last proposal, as one entry or one group.
    pub fn end_turn(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if !self.has_open_turn() {
            return;
        }
        let shard_ms = self.clock.now_ms(now);
        let mut effects = Vec::new();
        let turn = self.engine.data.end_turn(&mut effects);
        let Some(replica) = &mut self.replica else {
            unreachable!("nothing executes before the log is read")
        };
        let term = replica.term();
        let part_bytes_max = replica.entry_bytes_max() as usize - HEAD_BYTES;
        let parts = parts(&effects, part_bytes_max, self.options.mutant);
        let last_part = parts.len() - 1;
        let mut first = None;
        let mut last = replica.last();
        let is_split = self.options.mutant == Some(Mutant::SplitTransactions);
        for (index, part) in parts.into_iter().enumerate() {
            let payload =
                Payload { is_last: index == last_part || is_split, is_mark: false, shard_ms, effects: part }
                    .encode();
            match replica.propose(payload) {
                Ok(position) => {
                    first.get_or_insert(position);
                    last = position;
                }
                Err(refused) => {
                    // Memory is ahead of the log for good: this replica must not go on.
                    let why = format!("a proposal was refused after execution: {refused}");
                    return self.fence(FenceCause::Log, why, outputs);
                }
            }
        }
        let first = first.expect("a turn has effects");
        let first = self.executed.filter(|executed| executed.term == term).map_or(first, |it| it.first);
        self.executed = Some(Executed { term, first, last });
        self.proposed.push_back(Proposed { turn, last, proposed_ns: now.monotonic_ns });
        self.pump(now, outputs);
    }

    /// Gives the replica something to do: a message, a completion, a tick. Ends the turn first.
    pub fn drive(&mut self, now: Now, outputs: &mut Vec<Output>, input: impl FnOnce(&mut Replica)) {
        self.end_turn(now, outputs);
        if matches!(self.state, State::Fenced(_)) {
            return;
        }
        if let Some(replica) = &mut self.replica {
            input(replica);
            if self.options.mutant == Some(Mutant::LeaseByWallClock) {
                self.note_lease(now);
            }
            self.pump(now, outputs);
        }
    }

    /// Time passes: the log's timers, keys past their deadlines, waiting calls.
    pub fn tick(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.drive(now, outputs, |replica| replica.tick(now.monotonic_ns));
        self.refresh_availability_at(Some(now));
        if self.state == State::Leading && self.engine.is_active_expire && !self.is_short_of_room() {
            let shard_ms = self.clock.now_ms(now);
            self.engine.set_time(now, shard_ms);
            self.engine.data.expire_due(self.options.expired_per_tick_max);
            if self.options.mutant == Some(Mutant::ExpiryNotLogged) {
                self.engine.data.forget_effects();
            }
            self.end_turn(now, outputs);
        }
        self.evict(now, outputs);
        self.engine.data.free_flushed(FREED_PER_TICK_MAX);
        self.want_snapshot_by_length(now, outputs);
        self.mark_by_length(now, outputs);
        self.settle_digest(outputs);
        self.settle_doubt(now, outputs);
        self.check_waiting(now, outputs);
        self.engine.note_memory_peak();
        self.confirm(now, outputs);
        self.review_handover(now, outputs);
        self.review_clients(now, outputs);
        self.wake_held(now, outputs);
        self.wake_paused(now, outputs);
        self.ask_for_proof(now, outputs);
        self.refresh_facts(now);
        let processed = self.engine.stats.commands_processed;
        self.engine.stats.operations.sample(processed, now.monotonic_ns);
        (self.engine.log.commit_p50_us, self.engine.log.commit_p99_us) =
            self.commit_times.roll(now.monotonic_ns);
    }

    /// Goes on where commands have not made enough room: the limit was lowered, or they brought more at once.
    fn evict(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.state == State::Leading && !self.is_short_of_room() {
            self.refresh_availability_at(Some(now));
            self.engine.evict_some(self.options.evicted_per_tick_max);
            self.end_turn(now, outputs);
        }
    }

    fn is_short_of_room(&self) -> bool {
        self.room_bytes() < self.room_wanted()
    }

    /// Answers WAIT and WAITAOF whose condition or deadline came: by what is known to be durable where.
    pub(crate) fn check_waiting(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.waiting.is_empty() || self.has_open_turn() {
            return;
        }
        let Some(replica) = &self.replica else { return };
        let (last, persisted) = (replica.last(), replica.persisted());
        let followers = replica.followers();
        let is_replica = self.state == State::Following && !replica.is_alone();
        for index in (0..self.waiting.len()).rev() {
            let (id, position) = &mut self.waiting[index];
            let (id, position) = (*id, *position.get_or_insert(last));
            let local = i64::from(persisted >= position);
            let acknowledged =
                followers.iter().filter(|follower| follower.matched >= position).count() as i64;
            let blocked = self.engine.sessions.get(id).and_then(|session| session.blocked.clone());
            let is_late = |deadline_ns: Option<u64>| deadline_ns.is_some_and(|at| at <= now.monotonic_ns);
            match blocked {
                Some(Blocked::Wait { .. } | Blocked::WaitLog { .. }) if is_replica => {
                    self.unblock(id, outputs, |reply| reply.error(WAIT_ON_REPLICA));
                }
                Some(Blocked::Wait { replicas, deadline_ns })
                    if replicas <= acknowledged || is_late(deadline_ns) =>
                {
                    self.unblock(id, outputs, |reply| reply.integer(acknowledged));
                }
                Some(Blocked::WaitLog { local: wanted, replicas, deadline_ns })
                    if (wanted <= local && replicas <= acknowledged) || is_late(deadline_ns) =>
                {
                    self.unblock(id, outputs, |reply| {
                        reply.array(2);
                        reply.integer(local);
                        reply.integer(acknowledged);
                    });
                }
                Some(_) => {}
                None => _ = self.waiting.remove(index),
            }
        }
    }

    /// CLIENT UNBLOCK: the session's wait ends now, with an error or with what is known so far.
    pub(crate) fn end_wait(&mut self, id: SessionId, with_error: bool, now: Now, outputs: &mut Vec<Output>) {
        let Some(session) = self.engine.sessions.get_mut(id) else { return };
        match &mut session.blocked {
            Some(Blocked::Wait { .. } | Blocked::WaitLog { .. }) if with_error => {
                self.engine.stats.count_error(b"UNBLOCKED");
                self.unblock(id, outputs, |reply| reply.error(UNBLOCKED));
            }
            Some(Blocked::Wait { deadline_ns, .. } | Blocked::WaitLog { deadline_ns, .. }) => {
                *deadline_ns = Some(now.monotonic_ns);
                self.end_turn(now, outputs);
                self.check_waiting(now, outputs);
            }
            // Its wait ended in the meantime.
            Some(Blocked::Action | Blocked::Pause) | None => {}
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.role() == Role::Primary)
    }
}

/// The pieces of a turn's effects that become one entry each; one, unless they are large.
fn parts(effects: &[u8], part_bytes_max: usize, mutant: Option<Mutant>) -> Vec<&[u8]> {
    if mutant == Some(Mutant::SplitTransactions) {
        let (mut parts, mut rest) = (Vec::new(), effects);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(ramkeep_engine::effect::first_length(rest));
            parts.push(part);
            rest = behind;
        }
        return parts;
    }
    effects.chunks(part_bytes_max).collect()
}

/// Times from proposal to commit over the last two windows.
#[derive(Debug, Default)]
pub struct CommitTimes {
    current: LatencyHistogram,
    previous: LatencyHistogram,
    window_end_ns: u64,
}

const WINDOW_NS: u64 = 10_000_000_000;

impl CommitTimes {
    pub fn record(&mut self, duration_ns: u64) {
        self.current.record(duration_ns);
    }

    /// Median and 99th percentile in microseconds; starts a new window when the last is full.
    pub fn roll(&mut self, now_ns: u64) -> (u64, u64) {
        if now_ns >= self.window_end_ns {
            self.previous = std::mem::take(&mut self.current);
            self.window_end_ns = now_ns + WINDOW_NS;
        }
        let shown = if self.current.count() > 0 { &self.current } else { &self.previous };
        (shown.percentile(0.5), shown.percentile(0.99))
    }
}
