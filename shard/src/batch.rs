//! Requests of the connections that were ready, executed as a batch.
//!
//! Lives here: decoding all complete requests, touching the keys of a group of them (from several connections, when
//! each sends few) before any is executed, and handing each reply to the gate. Not here: ending the turn (`turn`).
//!
//! Invariant: one connection's requests are executed in their order, and none behind one that stops the connection.

use crate::hold::{Hold, resolved};
use crate::snapshot::Waiting;
use crate::{Mutant, Output, Shard, State};
use ramkeep_engine::command::{Command, Flags};
use ramkeep_engine::data::Turn;
use ramkeep_engine::execute::Prepared;
use ramkeep_engine::keyspace::Touch;
use ramkeep_engine::resp::{Batch, Decoded, Limits};
use ramkeep_engine::session::{ReadConsistency, Session, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Action, Blocked, SnapshotAsked};
use std::ops::Range;

/// Commands whose keys are touched together before the first of them is executed.
const GROUP_MAX: usize = 32;

/// A client that holds so much is looked at when it brings more, not only with the tick.
const LARGE_BYTES: u64 = 64 << 10;

/// What a connection's bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes at the front that are done with.
    pub consumed: usize,
    /// Complete requests may still stand behind them: call again when the others had their turn.
    pub has_more: bool,
    /// Bytes missing for the argument being received.
    pub bytes_wanted: usize,
}

/// Bytes that came from one connection, in a buffer that several may share.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub session: SessionId,
    pub start: usize,
    pub end: usize,
}

/// The decoded requests of one arrival.
pub(crate) struct Part {
    arrival: Arrival,
    /// Its requests in the batch.
    requests: Range<usize>,
    requests_max: usize,
    database: u8,
    decoded: Decoded,
    /// Where in the buffer execution stopped, if before the last request.
    stopped_at: Option<usize>,
    /// The connection takes no requests now: nothing was looked at.
    is_refused: bool,
}

/// The group of requests under way: where it begins in the batch, and what was found out ahead.
struct Group {
    requests: Range<usize>,
    prepared: [Prepared; GROUP_MAX],
}

impl Shard {
    /// Executes the complete requests at the front of `buffer`, all of which came from one connection.
    pub fn received(
        &mut self,
        id: SessionId,
        buffer: &[u8],
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Received {
        let arrival = Arrival { session: id, start: 0, end: buffer.len() };
        let mut received = Vec::with_capacity(1);
        self.receive(buffer, &[arrival], now, outputs, &mut received);
        received.pop().expect("each arrival has its outcome")
    }

    /// Executes the complete requests of each arrival, of which a session has one at most; one outcome each is
    /// added to `received`. Replies stand in the sessions' outboxes; whatever may leave at once is in `released`
    /// after this call.
    pub fn receive(
        &mut self,
        buffer: &[u8],
        arrivals: &[Arrival],
        now: Now,
        outputs: &mut Vec<Output>,
        received: &mut Vec<Received>,
    ) {
        let shard_ms = self.clock.now_ms(now);
        self.engine.set_time(now, shard_ms);
        let mut batch = std::mem::take(&mut self.batch);
        let mut window = std::mem::take(&mut self.window);
        let mut rest = arrivals;
        while !rest.is_empty() {
            self.begin_batch(now);
            batch.clear();
            while batch.requests.len() < GROUP_MAX
                && let Some((arrival, others)) = rest.split_first()
            {
                window.push(self.decode(buffer, *arrival, &mut batch));
                rest = others;
            }
            self.execute_window(buffer, &batch, &mut window, now, outputs);
            self.ask_for_proof(now, outputs);
            received.extend(window.drain(..).map(|part| outcome(&part)));
        }
        self.window = window;
        self.batch = batch;
    }

    fn decode(&mut self, buffer: &[u8], arrival: Arrival, batch: &mut Batch) -> Part {
        let first = batch.requests.len();
        let mut part = Part {
            arrival,
            requests: first..first,
            requests_max: 0,
            database: 0,
            decoded: Decoded { consumed: arrival.start, error: None, bytes_wanted: 0 },
            stopped_at: None,
            is_refused: true,
        };
        let takes_requests = self.takes_requests(arrival.session);
        let Some(session) = self.engine.sessions.get(arrival.session).filter(|_| takes_requests) else {
            return part;
        };
        part.is_refused = false;
        if session.is_closing {
            part.decoded.consumed = arrival.end;
            part.is_refused = true;
            return part;
        }
        part.database = session.database;
        // AUTH lifts limits for what stands behind it in the same read.
        part.requests_max = if session.is_authenticated { self.options.requests_per_batch_max } else { 1 };
        let limits = Limits {
            bulk_bytes_max: self.engine.config.settings().bulk_bytes_max,
            is_authenticated: session.is_authenticated,
            ..Limits::default()
        };
        let connection = self.connections.get_mut(&arrival.session).expect("a session has its connection");
        let bytes = &buffer[..arrival.end];
        part.decoded =
            connection.decoder.decode_from(bytes, arrival.start, batch, part.requests_max, &limits);
        part.requests.end = batch.requests.len();
        part
    }

    /// Executes in groups, across connections.
    fn execute_window(
        &mut self,
        buffer: &[u8],
        batch: &Batch,
        window: &mut [Part],
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let mut group = Group { requests: 0..0, prepared: [Prepared::NONE; GROUP_MAX] };
        for index in 0..window.len() {
            if window[index].is_refused {
                continue;
            }
            let id = window[index].arrival.session;
            let unproved_from = self.unproved_from(id);
            let mut session = self.engine.sessions.take(id).expect("a part's session is there");
            for at in window[index].requests.clone() {
                // Another connection of this window may have closed this one.
                if session.is_closing {
                    window[index].stopped_at = Some(window[index].arrival.end);
                    break;
                }
                if at >= group.requests.end {
                    self.prepare_group(buffer, batch, &window[index..], at, &mut group, now);
                }
                let prepared = group.prepared[at - group.requests.start];
                let is_careful = session.read_consistency != ReadConsistency::Eventual;
                let may_wait = self.holds_calls || is_careful;
                if may_wait || self.engine.is_paused() {
                    let args = batch.args(buffer, batch.requests[at]);
                    if (may_wait && self.holds_call(&session, prepared.command, args, now))
                        || self.pauses_call(&mut session, prepared.command, args)
                    {
                        let Part { arrival, requests, .. } = &window[index];
                        let is_first = at == requests.start;
                        let done = if is_first { arrival.start } else { batch.requests[at - 1].end as usize };
                        window[index].stopped_at = Some(done);
                        break;
                    }
                }
                if is_careful {
                    self.execute_careful(&mut session, buffer, batch, at, prepared, now);
                } else {
                    self.execute_one(&mut session, buffer, batch, at, prepared, now);
                }
                if self.engine.monitors.have_lines() {
                    self.hand_to_monitors(outputs);
                }
                if self.engine.data.effects_bytes() >= self.options.turn_bytes_max {
                    self.end_turn(now, outputs);
                    self.begin_batch(now);
                }
                let is_blocked = session.blocked.is_some();
                if is_blocked {
                    self.block(&mut session);
                }
                if is_blocked || session.is_closing || !self.engine.actions.is_empty() {
                    window[index].stopped_at = Some(batch.requests[at].end as usize);
                    break;
                }
            }
            if let Some(start) = unproved_from {
                self.keep_back(id, start);
            }
            self.end_part(session, &window[index], outputs);
            if self.options.moves_sessions && self.holds_calls && self.leaves(id).is_some() {
                outputs.push(Output::Leave(id));
            }
            self.take_actions(outputs, now);
        }
        if !group.requests.is_empty() {
            self.engine.end_group(now);
        }
    }

    /// Prepares the group that begins at a request of the first of `parts`.
    fn prepare_group(
        &mut self,
        buffer: &[u8],
        batch: &Batch,
        parts: &[Part],
        start: usize,
        group: &mut Group,
        now: Now,
    ) {
        match group.requests.is_empty() {
            true => self.engine.begin_group(),
            // Ends the group before, and begins the next.
            false => self.engine.settle_group(now),
        }
        group.requests = start..batch.requests.len().min(start + GROUP_MAX);
        let prepared = &mut group.prepared[..group.requests.len()];
        let mut parts = parts.iter();
        let mut part = parts.next().expect("the group begins in a part");
        for (at, slot) in group.requests.clone().zip(&mut *prepared) {
            while at >= part.requests.end {
                part = parts.next().expect("each request belongs to a part");
            }
            *slot = self.engine.prepare(part.database, batch.args(buffer, batch.requests[at]));
        }
        if prepared.len() > 1 {
            for step in [Touch::Control, Touch::Bucket, Touch::Entry] {
                prepared.iter().for_each(|slot| self.engine.touch(slot, step));
            }
        }
    }

    fn execute_one(
        &mut self,
        session: &mut Session,
        buffer: &[u8],
        batch: &Batch,
        at: usize,
        prepared: Prepared,
        now: Now,
    ) {
        let args = batch.args(buffer, batch.requests[at]);
        // What was refused for want of a lease needs no proof of one.
        self.has_touched_data |= !self.holds_calls && prepared.command.is_some_and(Command::may_touch_data);
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        let outbox = &mut connection.outbox;
        let start = outbox.reply.len();
        let is_exec = prepared.command.is_some_and(|command| command.name == "exec");
        if is_exec
            && self.options.mutant == Some(Mutant::WatchIgnoresUncommitted)
            && !self.proposed.is_empty()
        {
            self.engine.data.mend_watch(session.id);
        }
        let mut turn = self.engine.execute(session, args, prepared, &mut outbox.reply, now);
        if let Some(mutant) = self.options.mutant {
            turn = mutate(mutant, turn, prepared);
        }
        self.gate.withhold(session.id, outbox, start, turn);
    }

    /// Executes a call of a session that is not content with what a replica happens to have.
    fn execute_careful(
        &mut self,
        session: &mut Session,
        buffer: &[u8],
        batch: &Batch,
        at: usize,
        prepared: Prepared,
        now: Now,
    ) {
        let args = batch.args(buffer, batch.requests[at]);
        let command = prepared.command.map(|command| resolved(command, args));
        let refusal = command.and_then(|command| self.refusal_of_unproved(session, command, now));
        let is_refused = refusal.is_some();
        let availability = refusal.map(|refusal| std::mem::replace(&mut self.engine.availability, refusal));
        let is_proved = !is_refused
            && self.state == State::Following
            && self.connections.get(&session.id).is_some_and(|connection| connection.hold == Hold::Proved);
        if is_proved {
            // Deadlines are judged by the clock of the primary that proved the moment.
            self.engine.set_time(now, self.freshness.shard_ms());
        }
        self.execute_one(session, buffer, batch, at, prepared, now);
        if is_proved {
            let shard_ms = self.clock.now_ms(now);
            self.engine.set_time(now, shard_ms);
        }
        if let Some(availability) = availability {
            self.engine.availability = availability;
        }
    }

    /// The part's requests are done: counts its bytes and gives the session back.
    fn end_part(&mut self, mut session: Box<Session>, part: &Part, outputs: &mut Vec<Output>) {
        let id = session.id;
        if part.stopped_at.is_some() {
            // What was decoded behind the stop is decoded again when the session goes on.
            self.connections.get_mut(&id).expect("still open").decoder = Default::default();
        } else if let Some(error) = &part.decoded.error {
            self.refuse_protocol(&mut session, &error.to_string());
        }
        let outcome = outcome(part);
        if part.stopped_at.is_none() && !outcome.has_more {
            self.end_hold(id);
        }
        session.bytes_in += outcome.consumed as u64;
        self.engine.stats.bytes_in += outcome.consumed as u64;
        let left = (part.arrival.end - part.arrival.start - outcome.consumed) as u64;
        self.engine.clients_released(session.query_buffer_bytes.saturating_sub(left));
        session.query_buffer_bytes = left;
        if session.is_closing {
            outputs.push(Output::Close(id));
        }
        let held_bytes = session.held_bytes();
        self.engine.sessions.put_back(session);
        if held_bytes >= LARGE_BYTES && self.engine.config.settings().maxmemory_clients_bytes > 0 {
            self.review_held(outputs);
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
        if !matches!(session.blocked, Some(Blocked::Action | Blocked::Pause)) {
            self.waiting.push((session.id, None));
        }
    }

    /// The session's call has its answer now.
    pub(crate) fn unblock(
        &mut self,
        id: SessionId,
        outputs: &mut Vec<Output>,
        answer: impl FnOnce(&mut ramkeep_engine::resp::Reply),
    ) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        let Some(session) = self.engine.sessions.get_mut(id) else { return };
        session.blocked = None;
        let connection = self.connections.get_mut(&id).expect("a session has its connection");
        connection.is_blocked = false;
        answer(&mut connection.outbox.reply);
        outputs.push(Output::Released(id));
    }

    /// Takes what commands asked for: what the shard can do it does, the rest goes to the node.
    pub(crate) fn take_actions(&mut self, outputs: &mut Vec<Output>, now: Now) {
        if self.engine.actions.is_empty() {
            return;
        }
        for action in std::mem::take(&mut self.engine.actions) {
            match action {
                Action::Close(id) => outputs.push(Output::Cut(id)),
                Action::Resume => self.wake_paused(now, outputs),
                Action::Unblock { session, with_error } => self.end_wait(session, with_error, now, outputs),
                Action::Rebuild { session } => self.ask_rebuild(session, now, outputs),
                Action::Snapshot { asked } => self.want_snapshot(
                    match asked {
                        SnapshotAsked::InBackground => None,
                        SnapshotAsked::Save(session) => Some(Waiting::Save(session)),
                        SnapshotAsked::Reload(session) => Some(Waiting::Reload(session)),
                    },
                    outputs,
                ),
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

    /// The node's answer to RAMKEEP: a text, or just that it is done.
    pub fn answered(
        &mut self,
        id: SessionId,
        outcome: Result<Option<String>, String>,
        outputs: &mut Vec<Output>,
    ) {
        self.unblock(id, outputs, |reply| match outcome {
            Ok(Some(text)) => reply.bulk(text.as_bytes()),
            Ok(None) => reply.ok(),
            Err(why) => reply.error(format!("ERR {why}").as_bytes()),
        });
    }

    /// CONFIG SET of where clients come in came to an end.
    pub fn listened(&mut self, id: SessionId, is_moved: bool, outputs: &mut Vec<Output>) {
        let outcome = self.engine.doors_moved(is_moved);
        if let Err(error) = &outcome {
            self.engine.stats.count_error(error.code());
        }
        self.unblock(id, outputs, |reply| match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.as_bytes()),
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

fn outcome(part: &Part) -> Received {
    let Arrival { start, end, .. } = part.arrival;
    let is_broken = part.stopped_at.is_none() && part.decoded.error.is_some();
    let consumed_to = if is_broken { end } else { part.stopped_at.unwrap_or(part.decoded.consumed) };
    let is_full = part.requests_max > 0 && part.requests.len() == part.requests_max;
    Received {
        consumed: consumed_to - start,
        has_more: !is_broken && (part.stopped_at.is_some() || is_full),
        bytes_wanted: part.decoded.bytes_wanted,
    }
}

/// Seeded bugs of this module.
fn mutate(mutant: Mutant, turn: Turn, prepared: Prepared) -> Turn {
    let is_read = prepared.command.is_some_and(|command| command.flags.has(Flags::READ_ONLY));
    match mutant {
        Mutant::AcknowledgeBeforeCommit if !is_read => Turn::NONE,
        Mutant::UncommittedVisible if is_read => Turn::NONE,
        _ => turn,
    }
}
