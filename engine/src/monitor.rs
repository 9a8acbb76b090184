//! MONITOR: what clients ask for, told to those who want to watch.
//!
//! Lives here: who watches, and the lines that wait to be handed to them. Not here: the handing over (`shard`), the
//! command (`commands::server`).
//!
//! Invariant: a line is made when its command begins, in the order of execution; passwords never stand in one.

use crate::Engine;
use crate::command::{Command, Flags};
use crate::resp::Args;
use crate::session::{Session, SessionId};
use crate::slowlog::shown_whole;
use crate::time::Now;
use std::fmt::Write as _;

#[derive(Debug, Default)]
pub struct Monitors {
    /// In the order of their MONITOR.
    sessions: Vec<SessionId>,
    /// Status replies that every one of them gets next.
    lines: Vec<u8>,
}

impl Monitors {
    pub fn add(&mut self, session: SessionId) {
        if !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
    }

    pub fn remove(&mut self, session: SessionId) {
        self.sessions.retain(|other| *other != session);
    }

    pub fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    /// Whether lines wait to be handed over.
    #[inline]
    pub fn have_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// The lines in the form of replies; none wait afterwards.
    pub fn take_lines(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }
}

impl Engine {
    /// Tells those who watch that this command begins.
    #[inline]
    pub(crate) fn tell_monitors(
        &mut self,
        session: &Session,
        command: &'static Command,
        args: Args<'_>,
        now: Now,
    ) {
        let is_hidden = command.flags.has(Flags::SKIP_MONITOR) || command.flags.has(Flags::ADMIN);
        if !self.monitors.sessions.is_empty() && !is_hidden {
            let line = line(session, command, args, now);
            self.monitors.lines.extend_from_slice(line.as_bytes());
        }
    }
}

/// `+1700000000.000123 [0 127.0.0.1:50000] "set" "k" "v"`
fn line(session: &Session, command: &'static Command, args: Args<'_>, now: Now) -> String {
    let (seconds, rest) = (now.wall_us / 1_000_000, now.wall_us % 1_000_000);
    let mut line = format!("+{seconds}.{rest:06} [{} {}]", session.database, session.address);
    for index in 0..args.len() {
        line.push(' ');
        quote(&mut line, shown_whole(command, args, index));
    }
    line.push_str("\r\n");
    line
}

/// In double quotes, as redis-cli shows it: what is not printable becomes an escape.
fn quote(line: &mut String, text: &[u8]) {
    line.push('"');
    for byte in text {
        match byte {
            b'\\' | b'"' => {
                line.push('\\');
                line.push(char::from(*byte));
            }
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            7 => line.push_str("\\a"),
            8 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            other => write!(line, "\\x{other:02x}").expect("a string takes everything"),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    /// What those who watch are told by now.
    fn told(bench: &mut Bench) -> Vec<String> {
        let lines = String::from_utf8(bench.engine.monitors.take_lines()).expect("lines are text");
        lines.split_terminator("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_told_in_the_order_of_execution_and_passwords_are_not() {
        let mut bench = Bench::new();
        bench.check("1> GET before\n(nil)\n> MONITOR\nOK");
        assert!(told(&mut bench).is_empty(), "MONITOR itself is not told");
        bench.check("1> SELECT 3\nOK\n1> get \"a \\xff\\n\\\"\"\n(nil)\n1> NOSUCH\n(error) ERR unknown command 'NOSUCH', with args beginning with:");
        bench.check("1> CONFIG SET hz 10\nOK\n1> MULTI\nOK\n1> ECHO x\nQUEUED\n1> EXEC\n1) \"x\"");
        bench.check("1> AUTH default secret\nOK");
        let start = "+1700000000.000000 [3 127.0.0.1:1]";
        assert_eq!(
            told(&mut bench),
            [
                "+1700000000.000000 [0 127.0.0.1:1] \"SELECT\" \"3\"".to_owned(),
                format!("{start} \"get\" \"a \\xff\\n\\\"\""),
                format!("{start} \"MULTI\""),
                format!("{start} \"ECHO\" \"x\""),
                format!("{start} \"EXEC\""),
                format!("{start} \"AUTH\" \"(redacted)\" \"(redacted)\""),
            ]
        );
        bench.check("> GET k\n(error) ERR Replica can't interact with the keyspace\n> PING\nPONG");
        bench.check("> RESET\nRESET\n> GET k\n(nil)");
        told(&mut bench);
        bench.check("1> GET k\n(nil)");
        assert!(told(&mut bench).is_empty(), "nobody watches");
        bench.check("> MULTI\nOK\n> MONITOR\nQUEUED\n> EXEC\n1) (error) ERR MONITOR isn't allowed for DENY BLOCKING client");
    }
}
