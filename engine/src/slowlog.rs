//! The slow log: the last commands that took longer than the threshold.
//!
//! Lives here: the bounded list and how arguments are shortened in it. Not here: SLOWLOG's replies
//! (`commands::server`).

use crate::Engine;
use crate::command::{Command, Flags};
use crate::config::directive;
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
    /// Notes a command over one of the thresholds: here, in the latency monitor, or both.
    pub(crate) fn note_slow(
        &mut self,
        session: &Session,
        command: &'static Command,
        args: Args<'_>,
        duration_ns: u64,
        now: Now,
    ) {
        let event = if command.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        self.note_spike(event, duration_ns, now);
        let settings = self.config.settings();
        let at_seconds = now.wall_ms() / 1000;
        let duration_us = duration_ns / 1000;
        let is_slow = settings.slowlog_slower_than_us.is_some_and(|threshold_us| duration_us >= threshold_us);
        if !is_slow || command.flags.has(Flags::SKIP_SLOWLOG) || self.slowlog.length_max == 0 {
            return;
        }
        let entry = SlowCommand {
            id: self.slowlog.next_id,
            at_seconds,
            duration_us,
            arguments: shortened(command, args),
            client_address: session.address.clone(),
            client_name: session.name.clone(),
        };
        self.slowlog.next_id += 1;
        self.slowlog.entries.push_front(entry);
        let length_max = self.slowlog.length_max;
        self.slowlog.entries.truncate(length_max);
    }
}

impl Engine {
    /// Tells the latency monitor, if it wants to know of events that took so long.
    pub(crate) fn note_spike(&mut self, event: &'static str, duration_ns: u64, now: Now) {
        let spike_ms = self.config.settings().latency_monitor_threshold_ms;
        let duration_ms = duration_ns / 1_000_000;
        if spike_ms > 0 && duration_ms >= spike_ms {
            self.latency.add(event, now.wall_ms() / 1000, duration_ms);
        }
    }
}

/// What stands for an argument that is nobody's business.
const REDACTED: &[u8] = b"(redacted)";

fn shortened(command: &Command, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let shown = |index: usize| match is_secret(command, args, index) {
        true => REDACTED.to_vec(),
        false => shortened_argument(args.get(index)),
    };
    let mut arguments: Vec<Vec<u8>> = (0..kept).map(shown).collect();
    if args.len() > ARGUMENTS_MAX {
        arguments.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    arguments
}

/// The argument, or what stands for it.
pub(crate) fn shown_whole<'a>(command: &Command, args: Args<'a>, index: usize) -> &'a [u8] {
    if is_secret(command, args, index) { REDACTED } else { args.get(index) }
}

/// Whether an argument is, or belongs to, a password.
fn is_secret(command: &Command, args: Args<'_>, index: usize) -> bool {
    let is_word = |at: usize, word: &str| args.get(at).eq_ignore_ascii_case(word.as_bytes());
    match command.name {
        "auth" => index >= 1,
        "hello" => (2..index).any(|at| index - at <= 2 && is_word(at, "AUTH")),
        "config|set" => {
            let is_sensitive = |name| directive::find(name).is_some_and(|(_, known)| known.sensitive);
            index >= 3 && !index.is_multiple_of(2) && is_sensitive(args.get(index - 1))
        }
        _ => false,
    }
}

fn shortened_argument(argument: &[u8]) -> Vec<u8> {
    if argument.len() <= ARGUMENT_BYTES_MAX {
        return argument.to_vec();
    }
    let mut text = argument[..ARGUMENT_BYTES_MAX].to_vec();
    text.extend_from_slice(format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes());
    text
}
