//! Committed entries: applied, or found to be what was executed already.
//!
//! Lives here: everything that happens at a commit, and the replay of the log into memory.
//! Not here: what an effect does (`engine::data::apply`).
//!
//! Invariant: each position's effects are in memory once: executed by this leadership, or applied here.

use crate::payload::{Payload, PayloadError};
use crate::{FenceCause, Mutant, Output, Shard, State};
use ramkeep_engine::data::ApplyError;
use ramkeep_engine::time::Now;
use ramkeep_log::{CommittedEntry, FenceReason};
use thiserror::Error;

/// Why an entry cannot be applied: the replica stops consuming, it never skips.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReplayError {
    #[error("entry {position}: {error}")]
    Payload { position: u64, error: PayloadError },
    #[error("entry {position}: {error}")]
    Apply { position: u64, error: ApplyError },
}

/// What an entry was.
enum Applied {
    Effects,
    /// Replicas digest their data here.
    Mark,
}

impl Shard {
    /// Takes what the replica has to say: hands on what the node must do, applies what is committed.
    pub(crate) fn pump(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut log_outputs = std::mem::take(&mut self.log_outputs);
        while let Some(replica) = &mut self.replica {
            replica.drain(&mut log_outputs);
            if log_outputs.is_empty() {
                break;
            }
            for output in log_outputs.drain(..) {
                match output {
                    ramkeep_log::Output::Committed { entries } => self.committed(entries, now, outputs),
                    ramkeep_log::Output::RoleChanged { .. } => self.role_changed(outputs),
                    ramkeep_log::Output::ReadReady { context, .. } => self.round_ended(context, outputs),
                    ramkeep_log::Output::Fenced { reason } => {
                        let cause = match reason {
                            FenceReason::LostDurable | FenceReason::FetchDamaged => FenceCause::Damaged,
                            FenceReason::WriteFailed
                            | FenceReason::SaveFailed
                            | FenceReason::FetchFailed
                            | FenceReason::UnknownEntry => FenceCause::Log,
                        };
                        self.fence(cause, reason.to_string(), outputs);
                    }
                    other => outputs.push(Output::Log(other)),
                }
            }
        }
        self.log_outputs = log_outputs;
        self.release(now, outputs);
        self.take_up_leadership(now, outputs);
        self.try_rebuild(outputs);
        self.check_waiting(now, outputs);
        self.release_proved(now, outputs);
        self.wake_held(now, outputs);
        if self.offer_leadership() {
            self.pump(now, outputs);
        }
    }

    /// Takes entries that are committed and durable here.
    pub(crate) fn committed(&mut self, entries: Vec<CommittedEntry>, now: Now, outputs: &mut Vec<Output>) {
        if self.options.is_log_only {
            self.applied = entries.last().map_or(self.applied, |entry| entry.position);
            return;
        }
        for entry in entries {
            if self.state == State::Replaying {
                self.deferred.push(entry);
                continue;
            }
            let executed = self.executed.filter(|it| (it.first..=it.last).contains(&entry.position));
            let is_overwritten_kept = self.options.mutant == Some(Mutant::OverwrittenKept);
            let executed = executed.filter(|it| it.term == entry.term || !is_overwritten_kept);
            match executed {
                Some(executed) if executed.term == entry.term => self.applied = entry.position,
                Some(_) => {
                    // What this replica executed was overwritten: memory is no prefix of the log.
                    let overwritten = entry.position;
                    self.deferred.push(entry);
                    self.forget_executed(overwritten, outputs);
                }
                None => match self.apply(&entry, now) {
                    Ok(Applied::Mark) => self.begin_digest(entry.position, entry.term, outputs),
                    Ok(Applied::Effects) => {}
                    Err(error) => return self.fence(FenceCause::Log, error.to_string(), outputs),
                },
            }
        }
        if self.state == State::Frozen && !self.is_ahead_of_applied() {
            self.proposed.clear();
            self.engine.data.commit_all();
            self.state = State::Following;
        }
    }

    /// Releases the replies of turns that a majority holds, this node's own disk not necessarily among it.
    fn release(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let Some(replica) = &self.replica else { return };
        if self.state != State::Leading {
            return;
        }
        let committed = replica.committed();
        let mut newest = None;
        while let Some(turn) = self.proposed.pop_front_if(|turn| turn.last <= committed) {
            newest = Some(turn.turn);
            self.commit_times.record(now.monotonic_ns.saturating_sub(turn.proposed_ns));
        }
        if let Some(turn) = newest {
            self.engine.data.commit(turn);
            self.gate.release(turn, &mut self.released);
            outputs.extend(self.released.drain(..).map(Output::Released));
        }
    }

    /// Applies one committed entry. Entries that carry nothing only move the position.
    fn apply(&mut self, entry: &CommittedEntry, now: Now) -> Result<Applied, ReplayError> {
        let position = entry.position.0;
        assert!(entry.position > self.applied, "entries are applied once and in order");
        self.applied = entry.position;
        if entry.payload.is_empty() {
            return Ok(Applied::Effects);
        }
        let payload = match Payload::decode(&entry.payload) {
            Err(_) if self.options.mutant == Some(Mutant::UnknownEntriesSkipped) => {
                return Ok(Applied::Effects);
            }
            decoded => decoded.map_err(|error| ReplayError::Payload { position, error })?,
        };
        self.clock.observe(payload.shard_ms, now);
        self.engine.set_access_time(now);
        self.has_genesis = true;
        let is_passed_over =
            self.options.mutant == Some(Mutant::EntryNotApplied) && position.is_multiple_of(64);
        if std::mem::take(&mut self.repeats_next) && payload.is_last && !self.parts.is_inside() {
            // A seeded bug; what it cannot do twice it does once.
            let _ = self.engine.data.apply(payload.effects);
        }
        let outcome = if is_passed_over {
            Ok(())
        } else if payload.is_last && !self.parts.is_inside() {
            self.engine.data.apply(payload.effects)
        } else {
            match self.parts.take(entry.term, &payload) {
                Some(effects) => self.engine.data.apply(&effects),
                None => Ok(()),
            }
        };
        outcome.map_err(|error| ReplayError::Apply { position, error })?;
        Ok(if payload.is_mark { Applied::Mark } else { Applied::Effects })
    }

    /// An entry read from the log, in order; at the first start one that is known to be committed.
    pub fn replay(&mut self, entry: &CommittedEntry, now: Now) -> Result<(), ReplayError> {
        if matches!(self.state, State::Fenced(_)) {
            return Ok(());
        }
        assert_eq!(self.state, State::Replaying, "entries are replayed into a replica that serves nothing");
        if self.options.is_log_only {
            self.applied = entry.position;
            return Ok(());
        }
        if entry.position > self.rebuild_until {
            // The log on disk may hold an entry here that was superseded; the committed one was deferred.
            return Ok(());
        }
        self.apply(entry, now).map(drop)
    }
}
