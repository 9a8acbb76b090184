//! Scripts as tests: commands in, replies out, as redis-cli shows them.
//!
//! Every script also checks, after each command, that applying its effects to the state before
//! gives the state after, and that the way back leads to the state before.

use crate::config::Config;
use crate::data::Data;
use crate::execute::Prepared;
use crate::resp::{OwnedArgs, Protocol, Reply};
use crate::session::{Peer, SessionId};
use crate::time::Now;
use crate::{Engine, NodeFacts, Options};

/// An engine with clients, and a replica that applies its effects.
pub struct Bench {
    pub engine: Engine,
    replica: Data,
    sessions: Vec<SessionId>,
    pub now: Now,
    /// Bytes of effects recorded so far.
    pub effects_bytes: usize,
    /// Effects of the last command.
    pub effects: Vec<u8>,
}

/// Runs a script for one client: `> command`, then the reply's lines.
pub fn check(script: &str) {
    Bench::new().check(script);
}

impl Bench {
    pub fn new() -> Bench {
        let options =
            Options { config: Config::new(), node: NodeFacts::default(), seed: [7; 32], stopwatch: || 0 };
        let mut engine = Engine::new(options);
        let now = Now { monotonic_ns: 1_000_000_000_000, wall_us: 1_700_000_000_000_000 };
        let peer = || Peer { address: "127.0.0.1:1".into(), local_address: "127.0.0.1:6379".into() };
        let sessions = (0..4).map(|_| engine.sessions.open(peer(), true, now)).collect();
        let replica = Data::new(engine.data.hash_key());
        Bench { engine, replica, sessions, now, effects_bytes: 0, effects: Vec::new() }
    }

    /// Moves both clocks on.
    pub fn advance_ms(&mut self, milliseconds: u64) {
        self.now.monotonic_ns += milliseconds * 1_000_000;
        self.now.wall_us += milliseconds * 1_000;
    }

    /// Lines: `> command` by client 0, `2> command` by client 2, `+500ms` moves the clock; what
    /// follows a command is its reply. Words are split as in inline requests.
    pub fn check(&mut self, script: &str) {
        let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            if let Some(time) = line.strip_prefix('+').and_then(|rest| rest.strip_suffix("ms")) {
                self.advance_ms(time.parse().expect("milliseconds"));
                continue;
            }
            let (client, command) = line.split_once("> ").expect("a line is a command, `+<n>ms` or a reply");
            let client = if client.is_empty() { 0 } else { client.parse().expect("a client's number") };
            let mut expected = Vec::new();
            let is_reply = |line: &&str| {
                let is_command = line
                    .split_once("> ")
                    .is_some_and(|(who, _)| who.is_empty() || who.parse::<usize>().is_ok());
                !(is_command || line.starts_with('+') && line.ends_with("ms"))
            };
            while let Some(reply) = lines.next_if(is_reply) {
                expected.push(reply);
            }
            let actual = self.run(client, command);
            let actual: Vec<&str> = actual.lines().map(str::trim).collect();
            assert_eq!(actual, expected, "reply to `{command}`");
        }
    }

    /// Runs one command given as a line; gives the reply as redis-cli shows it.
    pub fn run(&mut self, client: usize, line: &str) -> String {
        let mut batch = crate::resp::Batch::default();
        let mut line = line.as_bytes().to_vec();
        line.extend_from_slice(b"\r\n");
        crate::resp::Decoder::default().decode(&line, &mut batch, 1, &Default::default());
        let words: Vec<Vec<u8>> = batch.args(&line, batch.requests[0]).iter().map(<[u8]>::to_vec).collect();
        let reply = self.run_args(client, &words);
        let (text, rest) = show(&reply, "");
        assert!(rest.is_empty(), "one command has one reply");
        text
    }

    /// Runs one command given as arguments; gives the reply's bytes.
    pub fn run_args<A: AsRef<[u8]>>(&mut self, client: usize, words: &[A]) -> Vec<u8> {
        let args = OwnedArgs::from_list(words);
        self.engine.set_time(self.now, self.now.wall_ms());
        let is_write = crate::commands::table().find(words[0].as_ref()).is_some_and(|command| {
            command.flags.has(crate::command::Flags::WRITE)
                && !command.flags.has(crate::command::Flags::MAY_OUTGROW)
        });
        let id = self.sessions[client];
        let mut session = self.engine.sessions.take(id).expect("the client is connected");
        let protocol = session.protocol;
        if is_write && session.transaction.is_none() {
            let before = self.engine.data.digest();
            self.engine.data.begin_undo();
            let mut reply = Reply::new(protocol);
            let prepared = self.engine.prepare(session.database, args.as_args());
            self.engine.execute(&mut session, args.as_args(), prepared, &mut reply, self.now);
            self.engine.data.undo();
            assert_eq!(self.engine.data.digest(), before, "the way back leads to the state before");
        }
        self.engine.sessions.put_back(session);
        let reply = self.run_unchecked(client, words);
        assert_eq!(self.replica.digest(), self.engine.data.digest(), "apply(effects, before) == after");
        reply
    }

    /// Runs one command without comparing whole states, which takes time in proportion to the data.
    pub fn run_unchecked<A: AsRef<[u8]>>(&mut self, client: usize, words: &[A]) -> Vec<u8> {
        let args = OwnedArgs::from_list(words);
        self.engine.set_time(self.now, self.now.wall_ms());
        let id = self.sessions[client];
        let mut session = self.engine.sessions.take(id).expect("the client is connected");
        let mut reply = Reply::new(session.protocol);
        let prepared: Prepared = self.engine.prepare(session.database, args.as_args());
        self.engine.execute(&mut session, args.as_args(), prepared, &mut reply, self.now);
        self.engine.sessions.put_back(session);
        self.engine.parameters_changed();
        self.apply_effects();
        reply.as_slice().to_vec()
    }

    fn apply_effects(&mut self) {
        let mut effects = Vec::new();
        let turn = self.engine.data.end_turn(&mut effects);
        self.engine.data.commit(turn);
        self.effects_bytes += effects.len();
        self.replica.apply(&effects).expect("effects apply to the state before");
        self.effects = effects;
    }

    /// The replica applies what was recorded outside of a command.
    pub fn follow(&mut self) {
        self.apply_effects();
        assert_eq!(self.replica.digest(), self.engine.data.digest(), "apply(effects, before) == after");
    }

    /// What is known about a client.
    pub fn session(&self, client: usize) -> &crate::session::Session {
        self.engine.sessions.get(self.sessions[client]).expect("connected")
    }

    /// The client has yet to give the password.
    pub fn unauthenticate(&mut self, client: usize) {
        let id = self.sessions[client];
        let mut session = self.engine.sessions.take(id).expect("connected");
        session.is_authenticated = false;
        self.engine.sessions.put_back(session);
    }

    /// The protocol a client speaks from now on.
    pub fn speak(&mut self, client: usize, protocol: Protocol) {
        let id = self.sessions[client];
        self.engine.sessions.get_mut(id).expect("connected").protocol = protocol;
    }
}

/// Shows one reply; gives the bytes behind it.
fn show<'a>(bytes: &'a [u8], indent: &str) -> (String, &'a [u8]) {
    if bytes.is_empty() {
        return (String::new(), bytes);
    }
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a reply line ends");
    let (line, rest) = (String::from_utf8_lossy(&bytes[1..end]).into_owned(), &bytes[end + 2..]);
    let length = || line.parse::<i64>().expect("a length");
    match bytes[0] {
        b'+' => (line, rest),
        b'-' => (format!("(error) {line}"), rest),
        b':' => (format!("(integer) {line}"), rest),
        b'_' => ("(nil)".into(), rest),
        b',' => (format!("(double) {line}"), rest),
        b'#' => (if line == "t" { "(true)".into() } else { "(false)".into() }, rest),
        b'(' => (format!("(big) {line}"), rest),
        b'$' | b'=' if length() < 0 => ("(nil)".into(), rest),
        b'$' | b'=' => {
            let length = length() as usize;
            (format!("\"{}\"", rest[..length].escape_ascii()), &rest[length + 2..])
        }
        b'*' | b'~' | b'>' if length() < 0 => ("(nil)".into(), rest),
        b'*' | b'~' | b'>' if length() == 0 => ("(empty array)".into(), rest),
        b'*' | b'~' | b'>' => show_elements(length(), rest, indent, false),
        b'%' if length() == 0 => ("(empty hash)".into(), rest),
        b'%' => show_elements(length(), rest, indent, true),
        other => panic!("reply of unknown kind {}", other as char),
    }
}

fn show_elements<'a>(length: i64, mut rest: &'a [u8], indent: &str, is_map: bool) -> (String, &'a [u8]) {
    let mut text = String::new();
    for number in 1..=length {
        let separator = if is_map { "#" } else { ")" };
        let label = format!("{number}{separator} ");
        let deeper = format!("{indent}{}", " ".repeat(label.len()));
        let (element, after) = show(rest, &deeper);
        rest = after;
        if number > 1 {
            text.push('\n');
            text.push_str(indent);
        }
        text.push_str(&label);
        text.push_str(&element);
        if is_map {
            let (value, after) = show(rest, &deeper);
            rest = after;
            text.push_str(" => ");
            text.push_str(&value);
        }
    }
    (text, rest)
}
