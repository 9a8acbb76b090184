//! Requests of one connection, executed as a batch.
//!
//! Lives here: decoding all complete requests, touching their keys before any is executed, and
//! handing each reply to the gate. Not here: ending the turn (`turn`).

use crate::{Mutant, Output, Shard, State};
use ramkeep_engine::command::Flags;
use ramkeep_engine::data::Turn;
use ramkeep_engine::execute::Prepared;
use ramkeep_engine::resp::{Batch, Limits, Request};
use ramkeep_engine::session::{Session, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Action, Blocked};

/// Commands whose keys are touched together before the first of them is executed.
const GROUP_MAX: usize = 32;

/// What a connection's bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes at the front of the buffer that are done with.
    pub consumed: usize,
    /// Complete requests may still stand behind them: call again when the others had their turn.
    pub has_more: bool,
    /// Bytes missing for the argument being received.
    pub bytes_wanted: usize,
}

impl Shard {
    /// Executes the complete requests at the front of `buffer`. Replies stand in the session's
    /// outbox; whatever may leave at once is in `released` after this call.
    pub fn received(
        &mut self,
        id: SessionId,
        buffer: &[u8],
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Received {
        let mut outcome = Received::default();
        if !self.takes_requests(id) {
            return outcome;
        }
        let Some(mut session) = self.engine.sessions.take(id) else { return outcome };
        if session.is_closing {
            outcome.consumed = buffer.len();
            self.engine.sessions.put_back(session);
            return outcome;
        }
        let shard_ms = self.clock.now_ms(now);
        self.engine.set_time(now, shard_ms);
        self.begin_batch(now);
        let limits = self.limits(&session);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let connection = self.connections.get_mut(&id).expect("a session has its connection");
        // AUTH lifts limits for what stands behind it in the same read.
        let requests_max = if session.is_authenticated { self.options.requests_per_batch_max } else { 1 };
        let decoded = connection.decoder.decode(buffer, &mut batch, requests_max, &limits);
        let stopped_at = self.execute_batch(&mut session, buffer, &batch, now, outputs);
        outcome.consumed = stopped_at.unwrap_or(decoded.consumed);
        outcome.has_more = stopped_at.is_some() || batch.requests.len() == requests_max;
        outcome.bytes_wanted = decoded.bytes_wanted;
        if stopped_at.is_some() {
            // What was decoded behind the stop is decoded again when the session goes on.
            self.connections.get_mut(&id).expect("still open").decoder = Default::default();
        } else if let Some(error) = decoded.error {
            self.refuse_protocol(&mut session, &error.to_string());
            outcome.consumed = buffer.len();
            outcome.has_more = false;
        }
        session.bytes_in += outcome.consumed as u64;
        self.engine.stats.bytes_in += outcome.consumed as u64;
        session.query_buffer_bytes = (buffer.len() - outcome.consumed) as u64;
        if session.is_closing {
            outputs.push(Output::Close(id));
        }
        self.engine.sessions.put_back(session);
        self.batch = batch;
        self.take_actions(outputs, now);
        outcome
    }

    fn limits(&self, session: &Session) -> Limits {
        Limits {
            bulk_bytes_max: self.engine.config.settings().bulk_bytes_max,
            is_authenticated: session.is_authenticated,
            ..Limits::default()
        }
    }

    /// Executes in groups; gives where in the buffer it stopped, if before the end.
    fn execute_batch(
        &mut self,
        session: &mut Session,
        buffer: &[u8],
        batch: &Batch,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Option<usize> {
        let mut prepared = [Prepared { command: None, key: None }; GROUP_MAX];
        for group in batch.requests.chunks(GROUP_MAX) {
            for (request, slot) in group.iter().zip(&mut prepared) {
                *slot = self.engine.prepare(session.database, batch.args(buffer, *request));
            }
            if group.len() > 1 {
                for slot in &prepared[..group.len()] {
                    self.engine.touch(session.database, slot);
                }
            }
            for (request, prepared) in group.iter().zip(prepared) {
                self.execute_one(session, buffer, batch, *request, prepared, now);
                if self.engine.data.effects_bytes() >= self.options.turn_bytes_max {
                    self.end_turn(now, outputs);
                }
                let is_blocked = session.blocked.is_some();
                if is_blocked || session.is_closing || !self.engine.actions.is_empty() {
                    if is_blocked {
                        self.block(session);
                    }
                    return Some(request.end as usize);
                }
            }
        }
        None
    }

    fn execute_one(
        &mut self,
        session: &mut Session,
        buffer: &[u8],
        batch: &Batch,
        request: Request,
        prepared: Prepared,
        now: Now,
    ) {
        let args = batch.args(buffer, request);
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        let start = connection.outbox.reply.len();
        let mut turn = self.engine.execute(session, args, prepared, &mut connection.outbox.reply, now);
        if self.options.mutant.is_some() {
            turn = self.mutate(turn, prepared);
        }
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        self.gate.withhold(session.id, &mut connection.outbox, start, turn);
    }

    /// Seeded bugs of this module.
    fn mutate(&self, turn: Turn, prepared: Prepared) -> Turn {
        let is_read = prepared.command.is_some_and(|command| command.flags.has(Flags::READ_ONLY));
        match self.options.mutant {
            Some(Mutant::AcknowledgeBeforeCommit) if !is_read => Turn::NONE,
            Some(Mutant::UncommittedVisible) if is_read => Turn::NONE,
            _ => turn,
        }
    }

    fn refuse_protocol(&mut self, session: &mut Session, text: &str) {
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        let text = format!("ERR {text}");
        connection.outbox.reply.error(text.as_bytes());
        self.engine.stats.protocol_errors += 1;
        self.engine.stats.count_error(b"ERR");
        session.is_closing = true;
    }

    /// The session's call is answered later.
    fn block(&mut self, session: &mut Session) {
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        connection.is_blocked = true;
        if !matches!(session.blocked, Some(Blocked::Action)) {
            self.waiting.push(session.id);
        }
    }

    /// The session's call has its answer now.
    pub(crate) fn unblock(
        &mut self,
        id: SessionId,
        outputs: &mut Vec<Output>,
        answer: impl FnOnce(&mut ramkeep_engine::resp::Reply),
    ) {
        self.waiting.retain(|waiting| *waiting != id);
        let Some(session) = self.engine.sessions.get_mut(id) else { return };
        session.blocked = None;
        let connection = self.connections.get_mut(&id).expect("a session has its connection");
        connection.is_blocked = false;
        answer(&mut connection.outbox.reply);
        outputs.push(Output::Released(id));
    }

    /// Takes what commands asked for: what the shard can do it does, the rest goes to the node.
    pub(crate) fn take_actions(&mut self, outputs: &mut Vec<Output>, now: Now) {
        for action in std::mem::take(&mut self.engine.actions) {
            match action {
                Action::Close(id) => outputs.push(Output::Close(id)),
                Action::Rebuild { session } => self.ask_rebuild(session, now, outputs),
                Action::ParametersChanged => {
                    self.engine.parameters_changed();
                    outputs.push(Output::Action(Action::ParametersChanged));
                }
                other => outputs.push(Output::Action(other)),
            }
        }
    }

    /// CONFIG REWRITE came to an end.
    pub fn rewritten(&mut self, id: SessionId, outcome: Result<(), String>, outputs: &mut Vec<Output>) {
        self.unblock(id, outputs, |reply| match outcome {
            Ok(()) => reply.ok(),
            Err(why) => reply.error(format!("ERR Rewriting config file: {why}").as_bytes()),
        });
    }

    /// A write cannot be admitted now, but will be soon: the spare segment is being made.
    pub(crate) fn is_waiting_for_room(&self) -> bool {
        self.state == State::Leading && self.no_room.is_none() && self.room_bytes() < self.room_wanted()
    }

    /// A whole turn and a part of a group fit without waiting.
    pub(crate) fn room_wanted(&self) -> u64 {
        (self.options.turn_bytes_max as u64) * 4
    }
}
