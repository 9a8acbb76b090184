//! The slow log: the last commands that took longer than the threshold.
//!
//! Lives here: the bounded list and how arguments are shortened in it. Not here: SLOWLOG's replies
//! (`commands::server`).

use crate::Engine;
use crate::command::{Command, Flags};
use crate::resp::Args;
use crate::session::Session;
use crate::time::Now;
use std::collections::VecDeque;

/// How many arguments an entry keeps, and how many bytes of each.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct SlowCommand {
    pub id: u64,
    pub at_seconds: i64,
    pub duration_us: u64,
    pub arguments: Vec<Vec<u8>>,
    pub client_address: String,
    pub client_name: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowCommand>,
    next_id: u64,
    length_max: usize,
}

impl SlowLog {
    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &SlowCommand> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn reset(&mut self) {
        self.entries.clear();
    }

    pub fn set_length_max(&mut self, length_max: usize) {
        self.length_max = length_max;
        self.entries.truncate(length_max);
    }
}

impl Engine {
    /// Notes a command over the threshold, and tells the latency monitor.
    pub(crate) fn note_slow(
        &mut self,
        session: &Session,
        command: &'static Command,
        args: Args<'_>,
        duration_ns: u64,
        now: Now,
    ) {
        if command.flags.has(Flags::SKIP_SLOWLOG) || self.slowlog.length_max == 0 {
            return;
        }
        let entry = SlowCommand {
            id: self.slowlog.next_id,
            at_seconds: now.wall_ms() / 1000,
            duration_us: duration_ns / 1000,
            arguments: shortened(args),
            client_address: session.address.clone(),
            client_name: session.name.clone(),
        };
        self.slowlog.next_id += 1;
        self.slowlog.entries.push_front(entry);
        let length_max = self.slowlog.length_max;
        self.slowlog.entries.truncate(length_max);
    }
}

fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut arguments: Vec<Vec<u8>> = args.iter().take(kept).map(shortened_argument).collect();
    if args.len() > ARGUMENTS_MAX {
        arguments.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    arguments
}

fn shortened_argument(argument: &[u8]) -> Vec<u8> {
    if argument.len() <= ARGUMENT_BYTES_MAX {
        return argument.to_vec();
    }
    let mut text = argument[..ARGUMENT_BYTES_MAX].to_vec();
    text.extend_from_slice(format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes());
    text
}
