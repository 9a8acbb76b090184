//! Calls that wait before they are executed: for a primary, or for the end of a pause.
//!
//! Lives here: which calls wait, how long, and who is woken or leaves for the primary. Not here: calls that were executed and whose replies wait
//! (`gate`, `confirm`).
//!
//! Invariant: a call that waits here has not been executed. It either is later, or, where no primary came, is answered
//! NOQUORUM, certainly without effect. Each connection has at most one waiting call: what stands behind it stays in its buffer.

use crate::{Output, Shard, State};
use ramkeep_engine::command::{Command, Flags};
use ramkeep_engine::resp::Args;
use ramkeep_engine::session::{Session, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Availability, Blocked};

/// Whether a connection's next call waits for a primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    #[default]
    No,
    Waiting {
        until_ns: u64,
    },
    /// It waited for as long as it may: what the buffer holds is refused.
    Over,
    /// CLIENT PAUSE holds it up.
    Paused,
    /// This replica is fresh enough for what the buffer holds.
    Proved,
}

impl Shard {
    /// Whether this call must wait; it then does, and the session takes no further one meanwhile.
    pub(crate) fn holds_call(
        &mut self,
        session: &Session,
        command: Option<&'static Command>,
        args: Args<'_>,
        now: Now,
    ) -> bool {
        let Some(command) = command else { return false };
        let command = resolved(command, args);
        let is_replica = matches!(self.engine.availability, Availability::Replica { .. });
        let is_write = command.flags.has(Flags::WRITE) || command.name == "exec";
        // Whoever reads here stays here: its writes are refused.
        let is_served_here = is_replica && session.reads_replica && (!is_write || self.is_led_elsewhere());
        // A transaction is queued and watched where it is executed.
        let begins_transaction = self.options.moves_sessions && command.name == "multi";
        let needs_primary = self.holds_calls
            && (needs_primary(session, command) || begins_transaction)
            && !is_served_here
            && self.engine.lets_in(session);
        let needs_proof = !command.flags.has(Flags::WRITE) && self.needs_proof(session, command, now);
        if !needs_primary && !needs_proof {
            return false;
        }
        let wait_ns = u64::from(self.engine.config.settings().unavailable_wait_ms) * 1_000_000;
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        if needs_proof && connection.hold == Hold::Proved {
            return false;
        }
        if connection.hold == Hold::Over || self.held.len() >= self.options.held_calls_max {
            connection.hold = Hold::Over;
            return false;
        }
        connection.hold = Hold::Waiting { until_ns: now.monotonic_ns.saturating_add(wait_ns) };
        self.held.push(session.id);
        if needs_proof && !needs_primary {
            self.await_proof(session.id);
        }
        true
    }

    /// Whether CLIENT PAUSE holds this call up; the session then takes no further one meanwhile.
    pub(crate) fn pauses_call(
        &mut self,
        session: &mut Session,
        command: Option<&'static Command>,
        args: Args<'_>,
    ) -> bool {
        if !self.engine.pauses(session, command, args) {
            return false;
        }
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        connection.hold = Hold::Paused;
        session.blocked = Some(Blocked::Pause);
        self.paused.push(session.id);
        true
    }

    /// Lets calls go on that a pause held up, once it is over.
    pub(crate) fn wake_paused(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.engine.end_pause_in_time(now);
        if self.engine.is_paused() {
            return;
        }
        for id in std::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.hold = Hold::No;
            }
            if let Some(session) = self.engine.sessions.get_mut(id) {
                session.blocked = None;
            }
            outputs.push(Output::Released(id));
        }
    }

    /// The session's buffer was executed to its end, or may be again.
    pub(crate) fn end_hold(&mut self, session: SessionId) {
        self.freshness.forget(session);
        if let Some(connection) = self.connections.get_mut(&session) {
            connection.hold = Hold::No;
        }
    }

    /// Whether the session asked to read at this replica. While the data are read anew its calls wait here: a primary
    /// would answer from later data, and back here it would see time go back.
    pub(crate) fn reads_here(&self, session: SessionId) -> bool {
        !self.options.is_log_only
            && self.engine.sessions.get(session).is_some_and(|session| session.reads_replica)
    }

    /// Lets calls go on that found a primary, or waited for as long as they may.
    pub(crate) fn wake_held(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.held.is_empty() {
            return;
        }
        self.refresh_availability_at(Some(now));
        if self.options.moves_sessions && self.is_led_elsewhere() {
            outputs.extend(self.held.iter().copied().map(Output::Leave));
        }
        let is_over = !self.holds_calls;
        let leads = self.state == State::Leading;
        let mut held = std::mem::take(&mut self.held);
        let is_replica = matches!(self.engine.availability, Availability::Replica { .. });
        let readers: Vec<bool> = held.iter().map(|session| is_replica && self.reads_here(*session)).collect();
        let mut readers = readers.into_iter();
        let (connections, freshness) = (&mut self.connections, &mut self.freshness);
        held.retain(|session| {
            let has_its_replica = readers.next() == Some(true);
            let Some(connection) = connections.get_mut(session) else { return false };
            let Hold::Waiting { until_ns } = connection.hold else { return false };
            let is_late = until_ns <= now.monotonic_ns;
            // A read that waits for a proof needs no primary here.
            let is_over = (is_over || has_its_replica) && (leads || !freshness.is_awaited_by(*session));
            if is_over || is_late {
                freshness.forget(*session);
                connection.hold = if is_over { Hold::No } else { Hold::Over };
                outputs.push(Output::Released(*session));
            }
            !(is_over || is_late)
        });
        self.held = held;
    }
}

/// The subcommand, where there is one.
pub(crate) fn resolved(command: &'static Command, args: Args<'_>) -> &'static Command {
    match args.len() {
        0 | 1 => command,
        _ => command.subcommand(args.get(1)).unwrap_or(command),
    }
}

/// Whether the call reads or changes data, as itself or by what it queued.
fn needs_primary(session: &Session, command: &Command) -> bool {
    match &session.transaction {
        Some(transaction) if command.name == "exec" => {
            !transaction.is_aborted && transaction.queue.iter().any(|(queued, _)| queued.is_about_data())
        }
        _ => command.is_about_data(),
    }
}
