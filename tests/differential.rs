//! Do we answer as Valkey and Redis do?
//!
//! Every script of `tests/differential` runs against an oracle and against us, in RESP2 and RESP3,
//! then random commands do. The oracle is `RAMKEEP_ORACLE`, else valkey-server, else redis-server.
//! A difference that `known.md` does not explain fails, and so does a row that explains nothing.
//!
//! Commands that stand one after another for one connection are sent together: each reply of ours waits for
//! the disk, and so they wait for it once.
//!
//! `RAMKEEP_RANDOM_COMMANDS` and `RAMKEEP_RANDOM_SEED` set the length and repeat a random run.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ramkeep_tests::boundary::{Matrix, printed};
use ramkeep_tests::generator::Generator;
use ramkeep_tests::known::{self, Known, Seen};
use ramkeep_tests::resp::{Client, Value, encode};
use ramkeep_tests::script::{self, Action, Compare, Step};
use ramkeep_tests::server::{Options, Program, Server};
use ramkeep_tests::tools;

/// Most differences shown before the rest is only counted.
const SHOWN_MAX: usize = 100;
/// Most commands of a script that are sent together.
const BATCH_MAX: usize = 64;
/// Commands of a random run between two looks at the replies.
const RANDOM_BATCH: usize = 100;

#[test]
fn generic_commands_answer_as_theirs_do() {
    compare_script("generic");
}

#[test]
fn string_commands_answer_as_theirs_do() {
    compare_script("string");
}

#[test]
fn hash_commands_answer_as_theirs_do() {
    compare_script("hash");
}

#[test]
fn bitmap_commands_answer_as_theirs_do() {
    compare_script("bitmap");
}

#[test]
fn transactions_answer_as_theirs_do() {
    compare_script("transaction");
}

#[test]
fn connection_commands_answer_as_theirs_do() {
    compare_script("connection");
}

#[test]
fn server_commands_answer_as_theirs_do() {
    compare_script("server");
}

/// Every command of the table, with each of its arguments at the edges in turn.
#[test]
fn arguments_at_the_edges_are_answered_as_theirs_are() {
    let Some(oracle) = oracle() else {
        return tools::skip("differential", "neither valkey-server nor redis-server is installed");
    };
    if oracle.family != "valkey" {
        // Redis 7.0 differs in hundreds of places at the edges, where we follow Valkey.
        return println!("boundary: skipped, it is compared with Valkey alone");
    }
    let path = tools::file("differential/boundary.txt");
    let matrix = Matrix::parse(&std::fs::read_to_string(path).expect("the matrix stands beside the scripts"));
    let (pair, known) = (Pair::start(&oracle), table());
    let mut ours = pair.ours.client();
    let list = ours.call(&["COMMAND", "LIST"]).expect("a running server lists its commands");
    let names: Vec<String> = list.elements().into_iter().flatten().filter_map(Value::text).collect();
    let missing = matrix.missing(names.iter().map(String::as_str));
    assert!(names.len() > 100 && missing.is_empty(), "boundary.txt says nothing of {missing:?}");
    let mut report = Report::new("boundary", &oracle, &known);
    for protocol in ["2", "3"] {
        Run { pair: &pair, protocol, connections: BTreeMap::new() }.steps(&matrix.steps, &mut report);
    }
    report.finish(Some("boundary"));
}

struct Oracle {
    program: Program,
    /// `redis` or `valkey`, as in the table of known differences.
    family: &'static str,
}

fn oracle() -> Option<Oracle> {
    let path = match std::env::var_os("RAMKEEP_ORACLE") {
        Some(path) => PathBuf::from(path),
        None => tools::program("valkey-server").or_else(|| tools::program("redis-server"))?,
    };
    let family = if path.to_string_lossy().contains("valkey-server") { "valkey" } else { "redis" };
    Some(Oracle { program: Program { path }, family })
}

fn table() -> Vec<Known> {
    let path = tools::file("differential/known.md");
    known::parse(&std::fs::read_to_string(path).expect("known.md stands beside the scripts"))
}

/// The two servers, alike but for the program.
struct Pair {
    oracle: Server,
    ours: Server,
}

impl Pair {
    fn start(oracle: &Oracle) -> Self {
        let arguments = ["--enable-debug-command", "yes"];
        Self {
            oracle: Server::start(Options::of(oracle.program.clone()).with(&arguments)),
            ours: Server::start(Options::under_test().with(&arguments)),
        }
    }

    fn connect(&self, protocol: &str) -> [Client; 2] {
        [&self.oracle, &self.ours].map(|server| {
            let mut client = server.client();
            client.set_patience(Duration::from_secs(20)).expect("a fresh socket takes options");
            if protocol == "3" {
                client.call(&["HELLO", "3"]).expect("a running server answers HELLO");
            }
            client
        })
    }

    fn flush(&self) {
        for client in &mut self.connect("2") {
            client.call(&["FLUSHALL"]).expect("a running server answers FLUSHALL");
        }
    }
}

fn compare_script(name: &str) {
    let Some(oracle) = oracle() else {
        return tools::skip("differential", "neither valkey-server nor redis-server is installed");
    };
    let path = tools::file(&format!("differential/{name}.txt"));
    let steps = script::parse(&std::fs::read_to_string(path).expect("each group has its script"));
    let (pair, known) = (Pair::start(&oracle), table());
    let mut report = Report::new(name, &oracle, &known);
    for protocol in ["2", "3"] {
        Run { pair: &pair, protocol, connections: BTreeMap::new() }.steps(&steps, &mut report);
    }
    report.finish(Some(name));
}

/// What was compared and what was not the same.
struct Report<'a> {
    script: &'a str,
    oracle: &'a Oracle,
    known: &'a [Known],
    commands: u64,
    explained: u64,
    unknown: Vec<String>,
}

impl<'a> Report<'a> {
    fn new(script: &'a str, oracle: &'a Oracle, known: &'a [Known]) -> Self {
        Self { script, oracle, known, commands: 0, explained: 0, unknown: Vec::new() }
    }

    fn add(&mut self, place: &str, command: &str, compare: &Compare, theirs: &Value, ours: &Value) {
        self.commands += 1;
        if compare.agree(theirs, ours) {
            return;
        }
        let seen = Seen { oracle: self.oracle.family, command, theirs, ours };
        let any_script = self.script == "random";
        let mut rows = self.known.iter().filter(|row| any_script || row.script == self.script);
        if rows.any(|row| row.explains(&seen)) {
            self.explained += 1;
        } else {
            self.unknown.push(format!("{place}\n{}", known::row(self.script, &seen)));
        }
    }

    fn finish(self, script: Option<&str>) {
        println!(
            "differential {} against {}: {} commands, {} known differences, {} unknown",
            self.script,
            self.oracle.program.path.display(),
            self.commands,
            self.explained,
            self.unknown.len()
        );
        let idle: Vec<_> = self
            .known
            .iter()
            .filter(|row| Some(row.script.as_str()) == script)
            .filter(|row| row.applies_to(self.oracle.family) && row.hits() == 0)
            .map(|row| format!("known.md line {}: this difference is gone, take the row out", row.line))
            .collect();
        let more = self.unknown.len().saturating_sub(SHOWN_MAX);
        let shown: Vec<_> = self.unknown.iter().take(SHOWN_MAX).cloned().collect();
        assert!(
            self.unknown.is_empty() && idle.is_empty(),
            "{} unknown differences:\n{}\n({more} more)\n{}",
            self.unknown.len(),
            shown.join("\n"),
            idle.join("\n")
        );
    }
}

/// One pass of a script in one protocol.
struct Run<'a> {
    pair: &'a Pair,
    protocol: &'a str,
    connections: BTreeMap<usize, [Client; 2]>,
}

impl Run<'_> {
    fn steps(&mut self, steps: &[Step], report: &mut Report<'_>) {
        let (script, protocol) = (report.script, self.protocol);
        let mut section = "";
        let mut rest = steps;
        while let [step, others @ ..] = rest {
            let place = |line: usize| format!("{script} (RESP{protocol}), line {line}, {section}");
            rest = others;
            match &step.action {
                Action::Section(name) => {
                    section = name;
                    self.connections.clear();
                    self.pair.flush();
                }
                Action::Sleep { milliseconds } => {
                    std::thread::sleep(Duration::from_millis(*milliseconds));
                }
                Action::Command { connection, .. } => {
                    let batch: Vec<_> = batch(step, others);
                    rest = &others[batch.len() - 1..];
                    let bytes: Vec<u8> = batch.iter().flat_map(|sent| encode(sent.arguments)).collect();
                    let [theirs, ours] = self.exchange(*connection, &bytes, batch.len());
                    for (sent, (theirs, ours)) in batch.iter().zip(theirs.iter().zip(&ours)) {
                        report.add(&place(sent.line), sent.text, sent.compare, theirs, ours);
                    }
                }
                Action::Raw { connection, replies, bytes } => {
                    let [theirs, ours] = self.exchange(*connection, bytes, *replies);
                    for (theirs, ours) in theirs.iter().zip(&ours) {
                        report.add(&place(step.line), &step.text, &Compare::Exact, theirs, ours);
                    }
                }
                Action::Closed { connection } => {
                    let [theirs, ours] = self.exchange(*connection, b"", 1);
                    report.add(&place(step.line), "@closed", &Compare::Exact, &theirs[0], &ours[0]);
                    self.connections.remove(connection);
                }
            }
        }
    }

    /// Sends to both servers, then reads from both.
    fn exchange(&mut self, connection: usize, bytes: &[u8], replies: usize) -> [Vec<Value>; 2] {
        let (pair, protocol) = (self.pair, self.protocol);
        let clients = self.connections.entry(connection).or_insert_with(|| pair.connect(protocol));
        for client in clients.iter_mut() {
            // A connection that the server has closed shows at the read below.
            let _ = client.send_raw(bytes);
        }
        clients.each_mut().map(|client| (0..replies).map(|_| reply_or_end(client.reply())).collect())
    }
}

/// One of the commands that are sent together.
struct Sent<'a> {
    line: usize,
    text: &'a str,
    compare: &'a Compare,
    arguments: &'a [Vec<u8>],
}

impl<'a> Sent<'a> {
    /// The command of a step, if it is one for this connection.
    fn of(step: &'a Step, wanted: usize) -> Option<Self> {
        match &step.action {
            Action::Command { connection, compare, arguments } if *connection == wanted => {
                Some(Self { line: step.line, text: &step.text, compare, arguments })
            }
            _ => None,
        }
    }

    /// What tells of the connection or changes it goes by itself: another command behind it would show, and
    /// Valkey 8.0.1 leaves out the reply to a failed HELLO AUTH in a pipeline.
    fn goes_alone(&self) -> bool {
        let is = |name: &str| self.arguments[0].eq_ignore_ascii_case(name.as_bytes());
        ["AUTH", "CLIENT", "HELLO", "QUIT", "WAIT", "WAITAOF"].into_iter().any(is)
    }
}

/// A command and those right behind it that may go with it.
fn batch<'a>(step: &'a Step, others: &'a [Step]) -> Vec<Sent<'a>> {
    let Action::Command { connection, .. } = step.action else {
        unreachable!("a batch begins with a command")
    };
    let mut batch: Vec<_> = Sent::of(step, connection).into_iter().collect();
    if !batch[0].goes_alone() {
        let behind = others.iter().map_while(|step| Sent::of(step, connection));
        batch.extend(behind.take_while(|sent| !sent.goes_alone()).take(BATCH_MAX - 1));
    }
    batch
}

/// An end of the connection is an answer too.
fn reply_or_end(reply: io::Result<Value>) -> Value {
    match reply {
        Ok(value) => value,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Value::Error(format!("(broken) {error}")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Value::Error("(no reply)".to_owned())
        }
        Err(_) => Value::Error("(connection closed)".to_owned()),
    }
}

#[test]
fn random_commands_answer_as_theirs_do() {
    let Some(oracle) = oracle() else {
        return tools::skip("differential", "neither valkey-server nor redis-server is installed");
    };
    let count = tools::setting("RAMKEEP_RANDOM_COMMANDS", if tools::is_ci() { 120_000 } else { 20_000 });
    let seed = tools::setting("RAMKEEP_RANDOM_SEED", u64::from(std::process::id()));
    println!("random commands: seed {seed}; RAMKEEP_RANDOM_SEED={seed} repeats them");
    let (pair, known) = (Pair::start(&oracle), table());
    let mut report = Report::new("random", &oracle, &known);
    for protocol in ["2", "3"] {
        pair.flush();
        let mut clients = pair.connect(protocol);
        let mut generator = Generator::new(seed);
        let mut done = 0;
        while done < count / 2 && report.unknown.is_empty() {
            let batch: Vec<_> = (0..RANDOM_BATCH).map(|_| generator.next_command()).collect();
            let bytes: Vec<u8> = batch.iter().flat_map(|(_, arguments)| encode(arguments)).collect();
            for client in &mut clients {
                client.send_raw(&bytes).expect("a running server takes commands");
            }
            for (index, (compare, arguments)) in batch.iter().enumerate() {
                let [theirs, ours] = clients.each_mut().map(|client| reply_or_end(client.reply()));
                let text: Vec<_> = arguments.iter().map(|argument| printed(argument)).collect();
                let place = format!("seed {seed}, RESP{protocol}, command {}", done + index as u64);
                report.add(&place, &text.join(" "), compare, &theirs, &ours);
            }
            done += RANDOM_BATCH as u64;
        }
    }
    report.finish(None);
}
