//! Replies that wait for proof that this primary still was one when it made them.
//!
//! Lives here: which sessions' replies are unproved, and what proves them: the lease, looked at again by a clock read
//! after the execution, or a round of answers by a majority begun after it.
//! Not here: the lease and the rounds themselves (`ramkeep-log`), and waiting for a commit (`gate`).
//!
//! Invariant: a reply to a call executed at time t leaves only when no other primary can have been elected before t.
//! What is proved for a later time is proved for every earlier one of the same leadership.

use crate::{Mutant, Output, Shard, State};
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_log::Replica;

/// Numbers of rounds, and who waits for them.
#[derive(Debug)]
pub(crate) struct Confirmation {
    /// What is executed now needs this round or a later one.
    round: u64,
    /// The last round begun; under way while it is above `confirmed`.
    asked: u64,
    confirmed: u64,
    sessions: Vec<SessionId>,
}

impl Default for Confirmation {
    fn default() -> Confirmation {
        Confirmation { round: 1, asked: 0, confirmed: 0, sessions: Vec::new() }
    }
}

impl Confirmation {
    pub fn forget(&mut self, session: SessionId) {
        self.sessions.retain(|other| *other != session);
    }

    /// Those that wait, nobody any more afterwards.
    pub fn drain(&mut self) -> std::vec::Drain<'_, SessionId> {
        self.sessions.drain(..)
    }
}

impl Shard {
    /// Whether there are replies that [`Shard::confirm`] may release: to be asked after each [`Shard::received`].
    pub fn wants_confirmation(&self) -> bool {
        !self.confirmation.sessions.is_empty()
    }

    /// From where on the session's replies to what is executed next need a proof; none where this is no primary, or
    /// where it is the only voter, which proves itself.
    #[inline]
    pub(crate) fn unproved_from(&mut self, session: SessionId) -> Option<usize> {
        self.has_touched_data = false;
        let is_alone = self.replica.as_ref().is_none_or(Replica::is_alone);
        let is_broken = self.options.mutant == Some(Mutant::LeaseIgnored);
        if is_alone || is_broken || self.state != State::Leading {
            return None;
        }
        self.connections.get(&session).map(|connection| connection.outbox.reply.len())
    }

    /// Keeps back what the session's replies from `start` on said of data, until it is proved.
    pub(crate) fn keep_back(&mut self, session: SessionId, start: usize) {
        if !std::mem::take(&mut self.has_touched_data) {
            return;
        }
        let connection = self.connections.get_mut(&session).expect("a session has its connection");
        if connection.outbox.keep_back(start, self.confirmation.round) {
            self.confirmation.sessions.push(session);
        }
    }

    /// Looks at the lease again. The driver calls it after [`Shard::received`] and before it hands released bytes to
    /// the network, with a clock read **after** the execution: the process may have stood still meanwhile. Where the
    /// lease is over the replies wait for a round begun now; nothing is executed again.
    pub fn confirm(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.confirmation.sessions.is_empty() {
            return;
        }
        if self.state == State::Leading && self.lease_valid(now) {
            self.confirmation.confirmed = self.confirmation.round;
            self.confirmation.asked = self.confirmation.round;
            self.confirmation.round += 1;
            self.release_confirmed(outputs);
        } else if self.begin_confirmation() {
            self.end_turn(now, outputs);
            self.pump(now, outputs);
        }
    }

    /// Begins a round for all that waits, unless one is under way: the next begins when that one ends.
    fn begin_confirmation(&mut self) -> bool {
        let confirmation = &mut self.confirmation;
        if confirmation.asked > confirmation.confirmed || confirmation.sessions.is_empty() {
            return false;
        }
        let Some(replica) = &mut self.replica else { return false };
        let has_begun = replica.read_index(confirmation.round);
        if has_begun {
            confirmation.asked = confirmation.round;
            confirmation.round += 1;
        }
        has_begun
    }

    /// A majority answered a round: what was executed before it began is proved.
    pub(crate) fn round_ended(&mut self, round: u64, outputs: &mut Vec<Output>) {
        self.confirmation.confirmed = self.confirmation.confirmed.max(round);
        self.release_confirmed(outputs);
        self.begin_confirmation();
    }

    fn release_confirmed(&mut self, outputs: &mut Vec<Output>) {
        let confirmed = self.confirmation.confirmed;
        let connections = &mut self.connections;
        self.confirmation.sessions.retain(|session| {
            let Some(connection) = connections.get_mut(session) else { return false };
            let is_released = connection.outbox.confirm(confirmed);
            if is_released {
                outputs.push(Output::Released(*session));
            }
            !is_released
        });
    }

    /// A leadership ended: its rounds end with it.
    pub(crate) fn forget_rounds(&mut self) {
        self.confirmation.confirmed = self.confirmation.asked;
    }

    pub(crate) fn lease_valid(&self, now: Now) -> bool {
        let Some(replica) = &self.replica else { return false };
        match self.options.mutant {
            Some(Mutant::ServesBeforeApplied) if !replica.is_ready_primary() => true,
            Some(Mutant::LeaseByWallClock) => {
                let (left_ns, then) = self.lease_seen;
                replica.is_ready_primary() && now.wall_us < then.wall_us.saturating_add(left_ns / 1_000)
            }
            _ => replica.lease_valid(now.monotonic_ns),
        }
    }

    /// For a seeded bug: keeps the wall clock's time of the last renewal.
    pub(crate) fn note_lease(&mut self, now: Now) {
        let left_ns = self.replica.as_ref().map_or(0, |replica| replica.lease_left_ns(now.monotonic_ns));
        let (known_ns, then) = self.lease_seen;
        if left_ns + now.monotonic_ns > known_ns + then.monotonic_ns && left_ns > 0 {
            self.lease_seen = (left_ns, now);
        }
    }
}
