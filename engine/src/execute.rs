//! One command from its arguments to its reply.
//!
//! Lives here: admission (existence, arity, rights, room, queueing in MULTI), the call, and the
//! counting around it. Not here: when turns end and replies leave (`shard`).

use crate::call::Call;
use crate::command::{Command, Flags};
use crate::data::Turn;
use crate::error::{ErrorReply, Result, wrong_arity};
use crate::hash::KeyHash;
use crate::keyspace::Touch;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::session::{ReplyMode, Session, TRANSACTION_BYTES_MAX, Transaction};
use crate::time::Now;
use crate::{Action, Availability, Engine, commands};

/// A request whose command and first key were found while its batch was prefetched.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    pub command: Option<&'static Command>,
    pub key: Option<KeyHash>,
    pub database: u8,
}

impl Prepared {
    pub const NONE: Prepared = Prepared { command: None, key: None, database: 0 };
}

const OUT_OF_MEMORY: ErrorReply = ErrorReply::new("OOM command not allowed when used memory > 'maxmemory'.");
const NO_AUTH: ErrorReply = ErrorReply::new("NOAUTH Authentication required.");
const NO_ROOM: ErrorReply = ErrorReply::new(
    "MISCONF The log has no room for this command right now. Nothing of it was executed. Free disk space or try later.",
);
const PANICKED: ErrorReply =
    ErrorReply::new("ERR internal error: the command was taken back and nothing of it was executed");
const WATCHES_ONLY: ErrorReply = ErrorReply::new("ERR Replica can't interact with the keyspace");
const NOT_IN_TRANSACTION: ErrorReply = ErrorReply::new("ERR Command not allowed inside a transaction");
const TRANSACTION_TOO_LONG: ErrorReply = ErrorReply::new("ERR transaction is too long");

impl Engine {
    /// Finds command and first key, and touches the key's place in memory.
    #[inline]
    pub fn prepare(&self, database: u8, args: Args<'_>) -> Prepared {
        let command = commands::table().find(args.get(0));
        let key = command.and_then(Command::first_key).filter(|index| *index < args.len()).map(|index| {
            let at = self.data.hash_key().locate(args.get(index));
            self.data.touch(database, at, Touch::Table);
            at
        });
        Prepared { command, key, database }
    }

    /// A further step of the prefetch; `prepare` was the first.
    #[inline]
    pub fn touch(&self, prepared: &Prepared, step: Touch) {
        if let Some(at) = prepared.key {
            self.data.touch(prepared.database, at, step);
        }
    }

    /// Runs one request; its reply stands at the end of `reply`. Gives the turn that must be
    /// committed before that reply may leave.
    pub fn execute(
        &mut self,
        session: &mut Session,
        args: Args<'_>,
        prepared: Prepared,
        reply: &mut Reply,
        now: Now,
    ) -> Turn {
        let reply_start = reply.len();
        self.make_room_for(prepared.command, args.bytes());
        self.data.begin(session.database, !session.no_touch);
        if let (Some(at), Some(index)) = (prepared.key, prepared.command.and_then(Command::first_key)) {
            self.data.set_hint(args.get(index), at);
        }
        session.commands += 1;
        session.last_command_at = now;
        if session.reply_mode == ReplyMode::SkipNext {
            session.reply_mode = ReplyMode::Skip;
        }
        if let Err(error) = self.admit_and_run(session, args, prepared.command, reply, now) {
            reply.truncate(reply_start);
            self.stats.count_error(error.code());
            reply.error(error.as_bytes());
        }
        match session.reply_mode {
            ReplyMode::On | ReplyMode::SkipNext => {}
            ReplyMode::Off => reply.truncate(reply_start),
            ReplyMode::Skip => {
                reply.truncate(reply_start);
                session.reply_mode = ReplyMode::On;
            }
        }
        self.data.clear_hint();
        self.data.depends()
    }

    fn admit_and_run(
        &mut self,
        session: &mut Session,
        args: Args<'_>,
        command: Option<&'static Command>,
        reply: &mut Reply,
        now: Now,
    ) -> Result {
        if command.is_none() && is_of_another_protocol(args.get(0)) {
            session.is_closing = true;
            self.actions.push(Action::CrossProtocol { address: session.address.clone() });
            return Ok(());
        }
        let admitted = self.admit(session, args, command);
        let command = match admitted {
            Ok(command) => command,
            Err((refused, error)) => {
                if let Some(command) = refused {
                    self.stats.of(command).rejected_calls += 1;
                    if command.name == "exec" {
                        return Err(self.abandon(session, &error));
                    }
                }
                if let Some(transaction) = &mut session.transaction {
                    transaction.is_aborted = true;
                }
                return Err(error);
            }
        };
        session.last_command = command.name;
        if let Some(transaction) = &mut session.transaction
            && !command.flags.has(Flags::TRANSACTION_CONTROL)
        {
            queue(transaction, command, args)?;
            reply.simple("QUEUED");
            return Ok(());
        }
        self.run(session, command, args, reply, now)
    }

    /// Ends the transaction whose EXEC was refused; gives the error that says so.
    fn abandon(&mut self, session: &mut Session, error: &ErrorReply) -> ErrorReply {
        session.transaction = None;
        session.watched = 0;
        self.data.unwatch(session.id);
        let why = error.as_bytes();
        let start: &[u8] = b"EXECABORT Transaction discarded because of: ";
        ErrorReply::owned([start, why.strip_prefix(b"ERR ").unwrap_or(why)].concat())
    }

    /// Runs an admitted command and counts it.
    pub fn run(
        &mut self,
        session: &mut Session,
        command: &'static Command,
        args: Args<'_>,
        reply: &mut Reply,
        now: Now,
    ) -> Result {
        if command.flags.has(Flags::READS_MANY) {
            self.data.depend_on_all();
        }
        let reply_start = reply.len();
        // EXEC comes after what it runs: its handler tells.
        if command.name != "exec" {
            self.tell_monitors(session, command, args, now);
        }
        let shares_time = self.timing.is_shared(command, args);
        let started_ns = if shares_time { 0 } else { self.settle_times(now) };
        self.data.has_hidden_due = false;
        let mut outcome = if command.flags.has(Flags::MAY_OUTGROW) && self.data.is_undo_free() {
            self.run_with_way_back(session, command, args, reply, now)
        } else {
            (command.handler)(&mut Call { args, command, session: &mut *session, engine: self, reply, now })
        };
        // EXEC holds the answers of what it ran, each its own.
        if self.data.has_hidden_due
            && command.name != "exec"
            && let Availability::ReadOnly(error) = &self.availability
        {
            // Nobody may be told that a key is over while no other node can learn of it: on one whose clock is behind it
            // would come back.
            outcome = Err(error.clone());
            reply.truncate(reply_start);
        }
        self.stats.commands_processed += 1;
        let stats = self.stats.of(command);
        stats.calls += 1;
        if outcome.is_err() {
            stats.failed_calls += 1;
        }
        if shares_time {
            self.share_time(session, command, args, reply.len().saturating_sub(reply_start), now);
        } else {
            let duration_ns = self.settle_times(now).saturating_sub(started_ns);
            let duration_ns = duration_ns + std::mem::take(&mut self.sleep_ns);
            self.count_time(session, command, args, duration_ns, now);
        }
        outcome
    }

    /// Runs a command whose effects may outgrow the log's room, or that runs others: when it does
    /// not fit or panics, nothing of it happened.
    fn run_with_way_back(
        &mut self,
        session: &mut Session,
        command: &'static Command,
        args: Args<'_>,
        reply: &mut Reply,
        now: Now,
    ) -> Result {
        let reply_start = reply.len();
        self.data.begin_undo();
        let running = std::panic::AssertUnwindSafe(|| {
            (command.handler)(&mut Call {
                args,
                command,
                session: &mut *session,
                engine: &mut *self,
                reply: &mut *reply,
                now,
            })
        });
        let outcome = std::panic::catch_unwind(running);
        let error = match outcome {
            Ok(outcome) if self.data.effects_bytes() as u64 <= self.room_bytes => {
                self.data.forget_undo();
                return outcome;
            }
            Ok(_) => NO_ROOM,
            Err(_) => PANICKED,
        };
        session.is_in_exec = false;
        self.data.undo();
        self.data.select(session.database);
        reply.truncate(reply_start);
        Err(error)
    }

    /// Why these queued commands of the session cannot all run now, if so.
    pub fn refusal_of(
        &self,
        session: &Session,
        queue: &[(&'static Command, OwnedArgs)],
    ) -> Option<ErrorReply> {
        let any = |flag: Flags| queue.iter().any(|(command, _)| command.flags.has(flag));
        match &self.availability {
            Availability::ReadOnly(error) if any(Flags::WRITE) => return Some(error.clone()),
            Availability::Unavailable(error) if !queue.is_empty() => return Some(error.clone()),
            Availability::NoPrimary(error) if any(Flags::DATA) => return Some(error.clone()),
            Availability::Replica { write, .. } if any(Flags::WRITE) => return Some(write.clone()),
            Availability::Replica { read, .. } if any(Flags::READ_ONLY) && !session.reads_replica => {
                return Some(read.clone());
            }
            _ => {}
        }
        (self.is_out_of_memory && any(Flags::DENY_OOM)).then_some(OUT_OF_MEMORY)
    }

    /// Whether the client may do more than authenticate: it did so, or no password is asked for.
    #[inline]
    pub fn lets_in(&self, session: &Session) -> bool {
        session.is_authenticated || self.config.settings().requirepass.is_none()
    }

    fn admit(
        &self,
        session: &Session,
        args: Args<'_>,
        command: Option<&'static Command>,
    ) -> std::result::Result<&'static Command, (Option<&'static Command>, ErrorReply)> {
        let Some(container) = command else { return Err((None, unknown_command(args))) };
        let command = if container.subcommands.is_empty() || args.len() < 2 {
            container
        } else {
            match container.subcommand(args.get(1)) {
                Some(subcommand) => subcommand,
                None => return Err((Some(container), unknown_subcommand(container, args))),
            }
        };
        let refuse = |error| Err((Some(command), error));
        if !command.takes(args.len()) {
            return refuse(wrong_arity(command.name));
        }
        if !command.flags.has(Flags::NO_AUTH) && !self.lets_in(session) {
            return refuse(NO_AUTH);
        }
        if session.is_monitor && command.flags.has(Flags::DATA) {
            return refuse(WATCHES_ONLY);
        }
        if session.transaction.is_some() && command.flags.has(Flags::NO_MULTI) {
            return refuse(NOT_IN_TRANSACTION);
        }
        if command.flags.has(Flags::DENY_OOM) && self.is_out_of_memory {
            return refuse(OUT_OF_MEMORY);
        }
        match &self.availability {
            Availability::Primary => {
                if command.flags.has(Flags::WRITE) && args.bytes() as u64 > self.room_bytes {
                    return refuse(NO_ROOM);
                }
            }
            Availability::ReadOnly(error) if command.flags.has(Flags::WRITE) => return refuse(error.clone()),
            Availability::ReadOnly(_) => {}
            Availability::Unavailable(error) => {
                if !command.flags.has(Flags::LOADING) {
                    return refuse(error.clone());
                }
            }
            Availability::NoPrimary(error) if command.is_about_data() => return refuse(error.clone()),
            Availability::NoPrimary(_) => {}
            Availability::Replica { write, read } => {
                if command.flags.has(Flags::WRITE) {
                    return refuse(write.clone());
                }
                if command.is_about_data() && !session.reads_replica {
                    return refuse(read.clone());
                }
            }
        }
        Ok(command)
    }
}

/// Whether a line begins as those of HTTP do: a web page makes its reader's browser send them here, with commands in
/// what it posts. As in Redis the connection ends with it.
fn is_of_another_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

fn queue(transaction: &mut Transaction, command: &'static Command, args: Args<'_>) -> Result {
    if transaction.bytes > TRANSACTION_BYTES_MAX {
        transaction.is_aborted = true;
        return Err(TRANSACTION_TOO_LONG);
    }
    transaction.bytes += args.iter().map(|argument| argument.len() as u64 + 16).sum::<u64>();
    transaction.queue.push((command, args.to_owned()));
    Ok(())
}

/// How many bytes of arguments an error about an unknown command repeats.
const REPEATED_BYTES_MAX: usize = 128;

fn unknown_command(args: Args<'_>) -> ErrorReply {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(repeated(args.get(0), REPEATED_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for argument in args.iter().skip(1) {
        let room = REPEATED_BYTES_MAX.saturating_sub(text.len() - start);
        if room == 0 {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(repeated(argument, room));
        text.extend_from_slice(b"' ");
    }
    ErrorReply::owned(text)
}

/// What an error repeats of an argument: no more than fits, and up to the first NUL, as Redis does.
fn repeated(argument: &[u8], bytes_max: usize) -> &[u8] {
    let shown = &argument[..argument.len().min(bytes_max)];
    shown.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn unknown_subcommand(container: &Command, args: Args<'_>) -> ErrorReply {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(repeated(args.get(1), REPEATED_BYTES_MAX));
    text.extend_from_slice(b"'. Try ");
    text.extend_from_slice(container.name.to_ascii_uppercase().as_bytes());
    text.extend_from_slice(b" HELP.");
    ErrorReply::owned(text)
}

#[cfg(test)]
mod tests {
    use crate::Action;
    use crate::testing::Bench;

    #[test]
    fn what_only_a_browser_sends_ends_the_connection_unanswered() {
        for (before, line) in [("PING", "POST / HTTP/1.1"), ("PING", "host: x"), ("MULTI", "Post x")] {
            let mut bench = Bench::new();
            bench.run(0, before);
            assert_eq!(bench.run(0, line), "", "{line}");
            assert!(bench.session(0).is_closing, "{line}");
            assert_eq!(
                bench.engine.actions,
                [Action::CrossProtocol { address: "127.0.0.1:1".into() }],
                "{line}"
            );
        }
        Bench::new().check("> POSTS x\n(error) ERR unknown command 'POSTS', with args beginning with: 'x'");
    }

    #[test]
    fn an_exec_that_is_refused_ends_the_transaction() {
        let mut bench = Bench::new();
        let refused =
            "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
        bench.check(&format!("> EXEC x\n(error) {refused}\n> MULTI\nOK\n> EXEC x\n(error) {refused}"));
        bench.check("> EXEC\n(error) ERR EXEC without MULTI");
    }
}
