//! Reads on a replica that must not be older than their client allows.
//!
//! Lives here: which reads wait, the question to the primary that proves how far this replica must be, its answer.
//! Not here: how questions travel (the driver), calls that wait for a primary (`hold`).
//!
//! Invariant: a linearizable read is executed only when everything is applied that the primary had executed at a moment
//! after the call had come, told by a primary whose lease held at that moment. What was committed would not do: the read
//! judges deadlines by the time of that moment, and by then the primary may have moved one. A question is numbered after
//! all reads that rest on it have come.

use crate::hold::Hold;
use crate::{Output, Shard, State};
use ramkeep_engine::command::Command;
use ramkeep_engine::session::{ReadConsistency, Session, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Availability, error::ErrorReply};
use ramkeep_log::{Position, Replica, Term};

/// A question without an answer is asked again.
const ASK_AGAIN_NS: u64 = 500_000_000;

const UNPROVED: ErrorReply = ErrorReply::new(
    "NOQUORUM No primary with a lease has told how fresh this replica is. Nothing was executed.",
);

/// What a primary says of a moment: where all ends that it had executed, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub executed: Position,
    pub shard_ms: i64,
}

/// Questions to the primary, and who waits for the answers.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Number of the last question.
    asked: u64,
    asked_ns: u64,
    is_open: bool,
    /// The answer to it; its entries are not applied yet.
    answer: Option<Moment>,
    /// The term in which it came: in a later one it may speak of what was overwritten.
    answered_in: Term,
    /// When the last question was asked whose answer is applied here.
    proved_ns: Option<u64>,
    /// The primary's time in that answer.
    proved_ms: i64,
    /// Sessions, and the first question that comes after their calls.
    waiting: Vec<(SessionId, u64)>,
}

impl Freshness {
    pub fn forget(&mut self, session: SessionId) {
        self.waiting.retain(|(other, _)| *other != session);
    }

    /// The data are read again: what was proved of them is over.
    pub fn forget_proof(&mut self) {
        self.proved_ns = None;
    }

    pub fn is_awaited_by(&self, session: SessionId) -> bool {
        self.waiting.iter().any(|(other, _)| *other == session)
    }

    /// Shard time for reads that were proved.
    pub fn shard_ms(&self) -> i64 {
        self.proved_ms
    }
}

impl Shard {
    /// Whether a read that this replica may serve needs a proof first.
    pub(crate) fn needs_proof(&self, session: &Session, command: &Command, now: Now) -> bool {
        let is_replica = matches!(self.engine.availability, Availability::Replica { .. });
        let is_read = command.name == "exec" || (command.is_about_data() && session.transaction.is_none());
        if !is_replica || !session.reads_replica || !is_read || !self.engine.lets_in(session) {
            return false;
        }
        match session.read_consistency {
            ReadConsistency::Eventual => false,
            ReadConsistency::Linearizable => true,
            ReadConsistency::Bounded { age_ms_max } => {
                let age_ms = |proved_ns: u64| now.monotonic_ns.saturating_sub(proved_ns).div_ceil(1_000_000);
                self.freshness.proved_ns.is_none_or(|proved_ns| age_ms(proved_ns) > age_ms_max)
            }
        }
    }

    /// Why the read is refused: it waited for a proof as long as it may.
    pub(crate) fn refusal_of_unproved(
        &self,
        session: &Session,
        command: &Command,
        now: Now,
    ) -> Option<Availability> {
        let is_over =
            self.connections.get(&session.id).is_some_and(|connection| connection.hold == Hold::Over);
        (is_over && self.needs_proof(session, command, now)).then_some(Availability::NoPrimary(UNPROVED))
    }

    /// The session's call waits for the next question.
    pub(crate) fn await_proof(&mut self, session: SessionId) {
        self.freshness.waiting.push((session, self.freshness.asked + 1));
    }

    /// Asks the primary, if somebody waits and no question is under way.
    pub(crate) fn ask_for_proof(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let term = self.term();
        let freshness = &mut self.freshness;
        let is_late = now.monotonic_ns.saturating_sub(freshness.asked_ns) >= ASK_AGAIN_NS;
        // One that was answered stays good however long the entries take to be applied, as long as they can be.
        let is_answered = freshness.answer.is_some() && freshness.answered_in == term;
        let is_pending = freshness.is_open && (is_answered || !is_late);
        if freshness.waiting.is_empty() || is_pending {
            return;
        }
        let Some(primary) =
            self.replica.as_ref().and_then(Replica::leader).filter(|_| self.state == State::Following)
        else {
            return;
        };
        freshness.asked += 1;
        freshness.asked_ns = now.monotonic_ns;
        freshness.is_open = true;
        freshness.answer = None;
        outputs.push(Output::AskMoment { primary, question: freshness.asked });
    }

    /// A replica asks for a moment; `None` where this is no primary with a lease: it is not answered then.
    pub fn moment(&mut self, now: Now, outputs: &mut Vec<Output>) -> Option<Moment> {
        self.end_turn(now, outputs);
        if self.state != State::Leading || !self.lease_valid(now) {
            return None;
        }
        let executed = self.replica.as_ref()?.last();
        Some(Moment { executed, shard_ms: self.clock.now_ms(now) })
    }

    fn term(&self) -> Term {
        self.replica.as_ref().map_or_else(Term::default, Replica::term)
    }

    /// The primary's answer to a question. One to an earlier question than the last says nothing that is awaited.
    pub fn moment_told(&mut self, question: u64, moment: Moment, now: Now, outputs: &mut Vec<Output>) {
        if question == self.freshness.asked && self.freshness.is_open {
            self.freshness.answer = Some(moment);
            self.freshness.answered_in = self.term();
            self.release_proved(now, outputs);
        }
    }

    /// Lets reads go on whose moment is applied here.
    pub(crate) fn release_proved(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let Some(moment) = self.freshness.answer else { return };
        if self.state != State::Following || self.applied < moment.executed {
            return;
        }
        let freshness = &mut self.freshness;
        freshness.answer = None;
        freshness.is_open = false;
        freshness.proved_ns = Some(freshness.asked_ns);
        freshness.proved_ms = moment.shard_ms;
        let asked = freshness.asked;
        let connections = &mut self.connections;
        let held = &mut self.held;
        freshness.waiting.retain(|(session, question)| {
            if *question > asked {
                return true;
            }
            if let Some(connection) = connections.get_mut(session) {
                connection.hold = Hold::Proved;
                held.retain(|other| other != session);
                outputs.push(Output::Released(*session));
            }
            false
        });
        self.ask_for_proof(now, outputs);
    }
}
