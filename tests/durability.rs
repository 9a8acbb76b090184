//! Is every acknowledged write still there after `kill -9`?
//!
//! Several writers keep journals of what they sent and what was acknowledged while the server is killed
//! and started again. Then everything is read back. `RAMKEEP_KILLS` sets how often (8 without it).
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ramkeep_tests::random::Random;
use ramkeep_tests::resp::{Client, Value, encode};
use ramkeep_tests::server::{Options, Server};
use ramkeep_tests::tools;

/// Writers with a connection each, beside the one in Python.
const WRITERS: usize = 6;
/// Commands that a pipelining writer sends before it reads.
const PIPELINE: u64 = 16;
/// Keys read back with one MGET.
const READ_BATCH: u64 = 500;

/// What one writer knows. Numbers only grow, so what must be found is an interval.
#[derive(Clone, Debug, Default)]
struct Journal {
    writer: usize,
    /// Every `mark:<writer>:<n>` with `n` below this was sent.
    sent: u64,
    /// Marks known to be acknowledged, as half-open ranges.
    acknowledged: Vec<(u64, u64)>,
    /// The highest answer of INCR, and the count of INCRs sent.
    counted: u64,
    counts_sent: u64,
    /// Transactions acknowledged and sent; each adds one to two keys.
    paired: u64,
    pairs_sent: u64,
}

impl Journal {
    fn acknowledge(&mut self, number: u64) {
        match self.acknowledged.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => self.acknowledged.push((number, number + 1)),
        }
    }

    fn acknowledged_count(&self) -> u64 {
        self.acknowledged.iter().map(|(start, end)| end - start).sum()
    }
}

/// Writes until told to stop or until the connection breaks.
fn write(address: SocketAddr, mut journal: Journal, stop: &AtomicBool) -> Journal {
    let Ok(mut client) = Client::connect(address) else { return journal };
    let writer = journal.writer;
    while !stop.load(Ordering::Relaxed) {
        let done = match writer % 3 {
            0 => marks(&mut client, &mut journal, 1),
            1 => marks(&mut client, &mut journal, PIPELINE),
            _ => transaction(&mut client, &mut journal),
        };
        if done.and_then(|()| count(&mut client, &mut journal)).is_err() {
            break;
        }
    }
    journal
}

/// `count` new keys in one pipeline.
fn marks(client: &mut Client, journal: &mut Journal, count: u64) -> std::io::Result<()> {
    let first = journal.sent;
    let mut bytes = Vec::new();
    for number in first..first + count {
        let key = format!("mark:{}:{number}", journal.writer);
        bytes.extend(encode(&["SET", &key, &number.to_string()]));
    }
    journal.sent += count;
    client.send_raw(&bytes)?;
    for number in first..first + count {
        match client.reply()? {
            Value::Status(text) if text == "OK" => journal.acknowledge(number),
            // A refusal (LOADING, no room) is a promise of nothing.
            Value::Error(_) => {}
            other => panic!("SET answered {other}"),
        }
    }
    Ok(())
}

fn count(client: &mut Client, journal: &mut Journal) -> std::io::Result<()> {
    let key = format!("count:{}", journal.writer);
    journal.counts_sent += 1;
    if let Value::Integer(number) = client.call(&["INCR", &key])? {
        journal.counted = u64::try_from(number).expect("a count from nothing upwards is positive");
    }
    Ok(())
}

/// Adds one to a string and to a field of a hash, both or neither.
fn transaction(client: &mut Client, journal: &mut Journal) -> std::io::Result<()> {
    let (string, hash) = (format!("left:{}", journal.writer), format!("right:{}", journal.writer));
    let mut bytes = encode(&["MULTI"]);
    bytes.extend(encode(&["INCR", &string]));
    bytes.extend(encode(&["HINCRBY", &hash, "field", "1"]));
    bytes.extend(encode(&["EXEC"]));
    journal.pairs_sent += 1;
    client.send_raw(&bytes)?;
    for _ in 0..3 {
        client.reply()?;
    }
    if let Value::Array(replies) = client.reply()?
        && let [Value::Integer(left), Value::Integer(right)] = replies.as_slice()
    {
        assert_eq!(left, right, "the two halves of every transaction so far");
        journal.paired = u64::try_from(*left).expect("a count from nothing upwards is positive");
    }
    Ok(())
}

/// Reads back what a writer has written. `marks_from` is where the check of marks begins.
fn check(client: &mut Client, journal: &Journal, marks_from: u64) {
    let writer = journal.writer;
    for &(start, end) in &journal.acknowledged {
        let mut at = start.max(marks_from);
        while at < end {
            let upto = end.min(at + READ_BATCH);
            let keys = (at..upto).map(|number| format!("mark:{writer}:{number}"));
            let command: Vec<_> = std::iter::once("MGET".to_owned()).chain(keys).collect();
            let reply = client.call(&command).expect("a restarted server answers");
            let values = reply.elements().unwrap_or_else(|| panic!("MGET answered {reply}"));
            for (number, value) in (at..upto).zip(values) {
                let expected = Value::Bulk(number.to_string().into_bytes());
                assert_eq!(*value, expected, "acknowledged SET mark:{writer}:{number} is lost");
            }
            at = upto;
        }
    }
    let counted = number(client, &["GET", &format!("count:{writer}")]);
    assert!(
        (journal.counted..=journal.counts_sent).contains(&counted),
        "count:{writer} is {counted}, acknowledged {}, sent {}",
        journal.counted,
        journal.counts_sent
    );
    let left = number(client, &["GET", &format!("left:{writer}")]);
    let right = number(client, &["HGET", &format!("right:{writer}"), "field"]);
    assert_eq!(left, right, "a transaction of writer {writer} was split");
    assert!(
        (journal.paired..=journal.pairs_sent).contains(&left),
        "left:{writer} is {left}, acknowledged {}, sent {}",
        journal.paired,
        journal.pairs_sent
    );
}

fn number(client: &mut Client, command: &[&str]) -> u64 {
    match client.call(command).expect("a restarted server answers") {
        reply if reply.is_null() => 0,
        reply => {
            let text = reply.text().unwrap_or_else(|| panic!("{command:?} answered {reply}"));
            text.parse().unwrap_or_else(|_| panic!("{command:?} answered {text}"))
        }
    }
}

/// A writer in Python: prints each number once redis-py says that it is stored.
struct PythonWriter {
    child: Child,
    reader: JoinHandle<Option<u64>>,
}

impl PythonWriter {
    fn start(python: &std::path::Path, port: u16, from: u64) -> Self {
        let mut child = Command::new(python)
            .arg(tools::file("clients/durable_writer.py"))
            .args([port.to_string(), from.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this Python has run before");
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let reader = thread::spawn(move || {
            output.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()).last()
        });
        Self { child, reader }
    }

    /// The last acknowledged number of this run. The writer ends by itself when its connection breaks.
    fn finish(mut self) -> Option<u64> {
        let last = self.reader.join().expect("the reader only reads");
        self.child.wait().expect("a child of ours can be waited for");
        last
    }
}

#[test]
fn kill_nine_loses_no_acknowledged_write() {
    let kills = tools::setting("RAMKEEP_KILLS", 8);
    let seed = tools::setting("RAMKEEP_SEED", u64::from(std::process::id()));
    println!("durability: {kills} kills, seed {seed} (RAMKEEP_SEED repeats the moments)");
    let python = tools::python(&["redis"]);
    if python.is_none() {
        tools::skip("durability", "no Python with redis-py; its writer is left out");
    }
    let mut random = Random::new(seed);
    let mut server = Server::start(Options::under_test().durable());
    let new = |writer| Journal { writer, ..Journal::default() };
    let mut journals: Vec<_> = (0..WRITERS).map(new).collect();
    let mut python_next = 0;
    for round in 1..=kills {
        let before: Vec<_> = journals.iter().map(|journal| journal.sent).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let address = server.address();
        let threads: Vec<_> = journals
            .drain(..)
            .map(|journal| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || write(address, journal, &stop))
            })
            .collect();
        let port = server.port();
        let in_python = python.as_deref().map(|python| PythonWriter::start(python, port, python_next));
        // Python takes some 200 ms to start, so only some rounds reach its writes.
        thread::sleep(Duration::from_millis(30 + random.below(500) as u64));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        journals = threads.into_iter().map(|thread| thread.join().expect("writers do not fail")).collect();
        let python_last = in_python.and_then(PythonWriter::finish);
        server.start_again();
        let mut client = server.client();
        for (journal, from) in journals.iter().zip(before) {
            check(&mut client, journal, from);
        }
        if let Some(last) = python_last {
            for at in python_next..=last {
                assert_eq!(
                    number(&mut client, &["GET", &format!("python:{at}")]),
                    at,
                    "lost in round {round}"
                );
            }
            python_next = last + 1;
        }
    }
    let mut client = server.client();
    for journal in &journals {
        check(&mut client, journal, 0);
    }
    for at in 0..python_next {
        assert_eq!(number(&mut client, &["GET", &format!("python:{at}")]), at, "python:{at} is lost");
    }
    let marks: u64 = journals.iter().map(Journal::acknowledged_count).sum();
    let others: u64 = journals.iter().map(|journal| journal.counted + journal.paired).sum();
    assert!(marks > 0 && others > 0, "the writers have written");
    let all = marks + others + python_next;
    println!("durability: {kills} kills, {all} acknowledged writes ({python_next} from redis-py), 0 lost");
}

#[test]
fn sigterm_ends_in_peace_and_keeps_everything() {
    let mut server = Server::start(Options::under_test().durable());
    let mut client = server.client();
    for number in 0..100 {
        let reply = client.call(&["SET", &format!("k{number}"), &number.to_string()]);
        assert_eq!(reply.expect("a running server answers"), Value::Status("OK".to_owned()));
    }
    drop(client);
    let status = server.stop();
    assert!(status.success(), "SIGTERM should end with exit code 0, not {status}");
    server.start_again();
    assert_eq!(server.client().call(&["DBSIZE"]).expect("it answers"), Value::Integer(100));
}

#[test]
fn a_rebuild_from_the_log_changes_nothing() {
    let options = Options::under_test().durable().with(&["--enable-debug-command", "yes"]);
    let server = Server::start(options);
    let mut client = server.client();
    let mut run = |command: &[&str]| client.call(command).expect("a running server answers");
    for number in 0..500 {
        let number = number.to_string();
        run(&["SET", &format!("string:{number}"), &number, "PXAT", "33000000000123"]);
        run(&["HSET", &format!("hash:{number}"), "field", &number, "other", "value"]);
        run(&["SETBIT", "bits", &number, "1"]);
        run(&["INCRBYFLOAT", "float", "0.1"]);
    }
    run(&["RENAME", "string:1", "renamed"]);
    run(&["DEL", "hash:7"]);
    let before = run(&["DEBUG", "DIGEST"]);
    assert_eq!(run(&["DEBUG", "LOADAOF"]), Value::Status("OK".to_owned()));
    assert_eq!(run(&["DEBUG", "DIGEST"]), before, "the log says something else than memory did");
}
