//! CLIENT PAUSE: clients' commands wait.
//!
//! Lives here: until when which commands wait. Not here: the waiting itself (`shard::hold`), the command
//! (`commands::connection::control`).
//!
//! Invariant: while writes wait the data stand still: nothing expires and nothing is evicted either. What is past its
//! deadline reads as absent.

use crate::command::{Command, Flags};
use crate::resp::Args;
use crate::session::Session;
use crate::time::Now;
use crate::{Availability, Engine};

/// A pause under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Every command waits, not only those that change data.
    pub is_for_all: bool,
    pub until_ns: u64,
}

impl Engine {
    /// Begins a pause, or widens the one under way: the later end and the stricter kind hold.
    pub(crate) fn begin_pause(&mut self, pause: Pause) {
        self.pause = Some(match self.pause {
            None => pause,
            Some(before) => Pause {
                is_for_all: before.is_for_all || pause.is_for_all,
                until_ns: before.until_ns.max(pause.until_ns),
            },
        });
    }

    /// Ends the pause.
    pub(crate) fn end_pause(&mut self) {
        self.pause = None;
        self.data.may_log = self.availability == Availability::Primary;
    }

    /// Ends the pause when its time is over. Only between commands.
    pub fn end_pause_in_time(&mut self, now: Now) {
        if self.pause.is_some_and(|pause| pause.until_ns <= now.monotonic_ns) {
            self.end_pause();
        }
    }

    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether this call waits for the end of a pause. What would be refused anyway does not.
    pub fn pauses(&self, session: &Session, command: Option<&'static Command>, args: Args<'_>) -> bool {
        let (Some(pause), Some(container)) = (self.pause, command) else { return false };
        let command = match args.len() {
            0 | 1 => container,
            _ => container.subcommand(args.get(1)).unwrap_or(container),
        };
        let is_refused = !command.takes(args.len())
            || !(command.flags.has(Flags::NO_AUTH) || self.lets_in(session))
            || (session.transaction.is_some() && command.flags.has(Flags::NO_MULTI));
        !is_refused && (pause.is_for_all || changes_data(session, command))
    }
}

/// Whether the call changes data, by itself or by what it queued.
fn changes_data(session: &Session, command: &Command) -> bool {
    match &session.transaction {
        Some(transaction) if command.name == "exec" => {
            transaction.queue.iter().any(|(queued, _)| queued.flags.has(Flags::WRITE))
        }
        _ => command.flags.has(Flags::WRITE),
    }
}
