//! Calls that wait before they are executed: for a primary, or for the end of a pause.
//!
//! Lives here: which calls wait, how long, and who is woken. Not here: calls that were executed and whose replies wait
//! (`gate`, `confirm`).
//!
//! Invariant: a call that waits here has not been executed. It either is later, or, where no primary came, is answered
//! NOQUORUM, certainly without effect. Each connection has at most one waiting call: what stands behind it stays in its buffer.

use crate::{Output, Shard};
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
        let command = match args.len() {
            0 | 1 => command,
            _ => command.subcommand(args.get(1)).unwrap_or(command),
        };
        let is_replica = matches!(self.engine.availability, Availability::Replica { .. });
        let may_read_here =
            is_replica && session.reads_replica && !command.flags.has(Flags::WRITE) && command.name != "exec";
        if !needs_primary(session, command) || may_read_here || !self.engine.lets_in(session) {
            return false;
        }
        let wait_ns = u64::from(self.engine.config.settings().unavailable_wait_ms) * 1_000_000;
        let connection = self.connections.get_mut(&session.id).expect("a session has its connection");
        if connection.hold == Hold::Over || self.held.len() >= self.options.held_calls_max {
            connection.hold = Hold::Over;
            return false;
        }
        connection.hold = Hold::Waiting { until_ns: now.monotonic_ns.saturating_add(wait_ns) };
        self.held.push(session.id);
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
        if let Some(connection) = self.connections.get_mut(&session) {
            connection.hold = Hold::No;
        }
    }

    /// Lets calls go on that found a primary, or waited for as long as they may.
    pub(crate) fn wake_held(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.held.is_empty() {
            return;
        }
        self.refresh_availability_at(Some(now));
        let is_over = !self.holds_calls;
        let connections = &mut self.connections;
        self.held.retain(|session| {
            let Some(connection) = connections.get_mut(session) else { return false };
            let Hold::Waiting { until_ns } = connection.hold else { return false };
            let is_late = until_ns <= now.monotonic_ns;
            if is_over || is_late {
                connection.hold = if is_over { Hold::No } else { Hold::Over };
                outputs.push(Output::Released(*session));
            }
            !(is_over || is_late)
        });
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
