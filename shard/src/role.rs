//! Changes of role: taking up leadership, stepping down, rebuilding from the log, the fence.
//!
//! Lives here: what becomes of memory, connections and withheld replies at each of them.
//! Not here: elections (`ramkeep-log`).
//!
//! Invariant: a replica that holds changes which may still be overwritten answers no data.

use crate::{FenceCause, Mutant, Output, Shard, State};
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_log::{Position, Replica};

/// So often a log that looks damaged is read before it counts as damaged.
const REBUILD_ATTEMPTS_MAX: u32 = 3;

/// A rebuild that a client asked for: DEBUG LOADAOF.
#[derive(Clone, Debug)]
pub(crate) struct Rebuild {
    session: SessionId,
    /// Digest of the data before; the rebuilt data must have the same. `None`: not begun.
    digest: Option<u128>,
}

impl Shard {
    /// The log has been read: from here on the replica takes part.
    pub fn start(&mut self, replica: Replica) {
        assert!(self.replica.is_none(), "a replica starts once");
        self.replica = Some(replica);
    }

    /// All entries known to be committed have been replayed.
    pub fn replayed(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if matches!(self.state, State::Fenced(_)) {
            return;
        }
        assert_eq!(self.state, State::Replaying, "replay ends once");
        self.state = State::Following;
        let deferred = std::mem::take(&mut self.deferred);
        let applied = self.applied;
        let rest = deferred.into_iter().filter(|entry| entry.position > applied).collect();
        self.rebuild_failures = 0;
        self.end_rebuild(outputs);
        self.committed(rest, now, outputs);
        self.refresh_availability();
        self.pump(now, outputs);
    }

    /// Serves as primary once everything of earlier terms is committed and applied.
    pub(crate) fn take_up_leadership(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let is_ready = self.state == State::Following
            && !self.options.is_log_only
            && self.proposed.is_empty()
            && self.is_primary()
            && (self.replica.as_ref().is_some_and(Replica::is_ready_primary)
                || self.options.mutant == Some(Mutant::ServesBeforeApplied))
            && (self.no_room.is_some() || self.room_bytes() >= self.room_wanted());
        if is_ready {
            self.state = State::Leading;
            self.leading_term = self.replica.as_ref().map_or(self.leading_term, Replica::term);
            self.refresh_availability();
        }
        let may_begin = self.state == State::Leading && self.no_room.is_none() && !self.is_waiting_for_room();
        if may_begin && !self.has_genesis {
            self.has_genesis = true;
            self.engine.data.record_genesis();
            self.end_turn(now, outputs);
        }
    }

    /// Memory holds what was executed here and not yet handed out by the log.
    pub(crate) fn is_ahead_of_applied(&self) -> bool {
        self.executed.is_some_and(|executed| executed.last > self.applied)
    }

    /// Freezes what was executed and not committed; its callers never learn the outcome from us.
    pub(crate) fn role_changed(&mut self, outputs: &mut Vec<Output>) {
        let leads_on = self.is_primary()
            && self.replica.as_ref().is_some_and(|replica| replica.term() == self.leading_term);
        if leads_on || !matches!(self.state, State::Leading) {
            return;
        }
        // Also what is committed and not yet durable here is in memory ahead of the position applied.
        self.state = if self.is_ahead_of_applied() { State::Frozen } else { State::Following };
        self.give_up_uncertain_snapshot(outputs);
        self.refresh_availability();
        self.part_from_clients(outputs);
    }

    /// What clients wait for, watch or have begun here comes to nothing: it leads no more.
    fn part_from_clients(&mut self, outputs: &mut Vec<Output>) {
        self.handover = None;
        self.engine.data.break_all_watches();
        self.close_transactions(outputs);
        self.drop_withheld(outputs);
        for (id, _) in std::mem::take(&mut self.waiting) {
            self.unblock(id, outputs, |reply| {
                reply.error(b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
            });
        }
    }

    /// A transaction is watched, queued and executed under one leadership: whoever is within one begins anew. So does who
    /// watches what is executed: nothing more is, here.
    fn close_transactions(&mut self, outputs: &mut Vec<Output>) {
        for session in self.engine.sessions.iter_mut() {
            if session.transaction.is_some() || session.watched > 0 || session.is_monitor {
                session.is_closing = true;
                outputs.push(Output::Close(session.id));
            }
        }
    }

    /// Closes every connection that has a reply whose change may or may not last: any error text
    /// would be read as "not done".
    pub(crate) fn drop_withheld(&mut self, outputs: &mut Vec<Output>) {
        let committed = self.engine.data.committed_turn();
        let mut sessions = self.gate.drain();
        sessions.extend(self.confirmation.drain());
        sessions.sort_unstable();
        sessions.dedup();
        self.forget_rounds();
        for id in sessions {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.outbox.drop_withheld(committed);
                if self.options.mutant != Some(Mutant::DroppedRepliesGoOn) {
                    // What has come behind it is not executed: its reply would be taken for the dropped one.
                    if let Some(session) = self.engine.sessions.get_mut(id) {
                        session.is_closing = true;
                    }
                    outputs.push(Output::Close(id));
                }
            }
        }
    }

    /// Executed changes were overwritten, first at `overwritten`: memory is rebuilt from the log.
    pub(crate) fn forget_executed(&mut self, overwritten: Position, outputs: &mut Vec<Output>) {
        self.proposed.clear();
        self.executed = None;
        self.rebuilds += 1;
        self.begin_rebuild(Position(overwritten.0 - 1), outputs);
    }

    /// Memory may be wrong where the log is right. All that was executed here is applied.
    pub(crate) fn read_log_again(&mut self, outputs: &mut Vec<Output>) {
        self.executed = None;
        self.begin_rebuild(self.applied, outputs);
    }

    /// Memory is read again from the log, up to what was handed out of it so far.
    fn begin_rebuild(&mut self, until: Position, outputs: &mut Vec<Output>) {
        self.give_up_snapshot("the data are read again", outputs);
        self.clear_for_reading(until);
        outputs.push(Output::Rebuild);
    }

    fn clear_for_reading(&mut self, until: Position) {
        self.state = State::Replaying;
        self.engine.data.clear_for_rebuild();
        self.parts = Default::default();
        self.rebuild_until = until;
        self.applied = Position::ZERO;
        self.has_genesis = false;
        self.freshness.forget_proof();
        self.refresh_availability();
    }

    /// A snapshot of another member is held here that reaches beyond the log: replica and memory start anew from
    /// disk, as a process does. The driver lets what its disk is doing for the old replica come to an end, reads the
    /// log (`replay`), then calls `start` and `replayed`. False, and nothing happens: not now.
    ///
    /// What was executed here and not committed goes with the log that is replaced; nobody was told of it.
    pub fn begin_anew(&mut self, outputs: &mut Vec<Output>) -> bool {
        if !matches!(self.state, State::Following | State::Frozen) {
            return false;
        }
        self.forget_all("this node has fallen behind", outputs);
        true
    }

    /// What is here is set aside, and a replica under another id begins with nothing: from any state, behind a fence too.
    /// The driver then goes on as after [`Shard::begin_anew`].
    pub fn begin_afresh(&mut self, outputs: &mut Vec<Output>) {
        self.part_from_clients(outputs);
        self.forget_all("its data are fetched anew", outputs);
        self.forget_comparison();
    }

    fn forget_all(&mut self, why: &str, outputs: &mut Vec<Output>) {
        self.give_up_snapshot("the data are read anew", outputs);
        if let Some(rebuild) = self.rebuild.take() {
            self.unblock(rebuild.session, outputs, |reply| reply.error(format!("ERR {why}").as_bytes()));
        }
        self.replica = None;
        self.proposed.clear();
        self.executed = None;
        self.deferred.clear();
        self.clear_for_reading(Position(u64::MAX));
    }

    /// DEBUG LOADAOF: begins once everything is committed.
    pub(crate) fn ask_rebuild(&mut self, session: SessionId, now: Now, outputs: &mut Vec<Output>) {
        self.end_turn(now, outputs);
        if self.rebuild.is_some() {
            self.unblock(session, outputs, |reply| reply.error(b"ERR a rebuild is under way already"));
            return;
        }
        self.rebuild = Some(Rebuild { session, digest: None });
        self.try_rebuild(outputs);
    }

    pub(crate) fn try_rebuild(&mut self, outputs: &mut Vec<Output>) {
        if self.state != State::Leading || self.is_ahead_of_applied() || self.has_open_turn() {
            return;
        }
        let Some(rebuild) = &mut self.rebuild else { return };
        rebuild.digest = Some(self.engine.data.digest());
        self.executed = None;
        self.begin_rebuild(self.applied, outputs);
    }

    /// The log could not be read again. It is read while it is written: what looks damaged is looked at once more.
    pub fn rebuild_failed(&mut self, is_damaged: bool, why: String, outputs: &mut Vec<Output>) {
        self.rebuild_failures += 1;
        if is_damaged && self.rebuild_failures < REBUILD_ATTEMPTS_MAX && self.state == State::Replaying {
            return self.begin_rebuild(self.rebuild_until, outputs);
        }
        let cause = if is_damaged { FenceCause::Damaged } else { FenceCause::Log };
        self.fence(cause, format!("the log cannot be read again: {why}"), outputs);
    }

    fn end_rebuild(&mut self, outputs: &mut Vec<Output>) {
        let Some(rebuild) = self.rebuild.take_if(|rebuild| rebuild.digest.is_some()) else { return };
        let digest = Some(self.engine.data.digest());
        if digest == rebuild.digest {
            self.unblock(rebuild.session, outputs, |reply| reply.ok());
        } else {
            self.fence(
                FenceCause::Log,
                "the log does not give the data that were in memory".to_string(),
                outputs,
            );
        }
    }
}
