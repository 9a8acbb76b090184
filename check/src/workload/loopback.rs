//! The whole chain without a server: workloads, client, recorder and checkers around the models' own commands.
//!
//! It shows that an honest server passes however connections break, and that small lies are found.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::{Mix, Workloads};
use crate::call::{Call, End};
use crate::checker::model::commands::{Cell, integer, run};
use crate::checker::{Limits, Report, check};
use crate::client::Client;
use crate::history::recorder::Caller;
use crate::history::{ClockKind, Header, History, Recorder, Source, VERSION, Value};
use crate::random::{below, between, chance};

/// How the server is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Forgets an acknowledged write now and then.
    Forgets,
    /// Executes an addition twice now and then.
    Doubles,
    /// EXEC goes through although a watched key had changed.
    IgnoresWatch,
    /// A deadline is not kept.
    NeverExpires,
    /// A reply goes missing, so that all later ones shift.
    SkipsReply,
    /// EXEC lets others in between.
    SplitsExec,
    /// SCAN leaves out some keys.
    SkipsKeys,
    /// An append comes twice now and then.
    AppendsTwice,
}

#[derive(Default)]
struct Session {
    queue: Option<Vec<Vec<Vec<u8>>>>,
    watch: Vec<(Vec<u8>, u64)>,
}

struct Server {
    lie: Lie,
    cells: BTreeMap<Vec<u8>, Cell>,
    deadlines_ns: BTreeMap<Vec<u8>, u64>,
    versions: BTreeMap<Vec<u8>, u64>,
    /// Left over from a split EXEC, to be run at the next command.
    later: Vec<Vec<Vec<u8>>>,
}

impl Server {
    fn execute(
        &mut self,
        session: &mut Session,
        words: &[Vec<u8>],
        now_ns: u64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<u8> {
        for words in std::mem::take(&mut self.later) {
            self.data(&words, now_ns, rng);
        }
        let name = String::from_utf8(words[0].clone()).unwrap();
        match (name.as_str(), &mut session.queue) {
            ("MULTI", queue) => {
                *queue = Some(Vec::new());
                b"+OK\r\n".to_vec()
            }
            ("EXEC", _) => self.exec(session, now_ns, rng),
            (_, Some(queue)) => {
                queue.push(words.to_vec());
                b"+QUEUED\r\n".to_vec()
            }
            ("ECHO", None) => encode("ECHO", &Value::Bytes(words[1].clone())),
            ("UNWATCH", None) => {
                session.watch.clear();
                b"+OK\r\n".to_vec()
            }
            ("WATCH", None) => {
                let version = |key: &Vec<u8>| (key.clone(), self.versions.get(key).copied().unwrap_or(0));
                session.watch = words[1..].iter().map(version).collect();
                b"+OK\r\n".to_vec()
            }
            (_, None) => self.data(words, now_ns, rng),
        }
    }

    fn exec(&mut self, session: &mut Session, now_ns: u64, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let queue = session.queue.take().unwrap();
        let watch = std::mem::take(&mut session.watch);
        let is_changed =
            watch.iter().any(|(key, version)| self.versions.get(key).copied().unwrap_or(0) != *version);
        if is_changed && self.lie != Lie::IgnoresWatch {
            return b"*-1\r\n".to_vec();
        }
        let mut reply = format!("*{}\r\n", queue.len()).into_bytes();
        for (index, words) in queue.iter().enumerate() {
            if self.lie == Lie::SplitsExec && index > 0 && words[0] == b"SET" {
                self.later.push(words.clone());
                reply.extend(b"+OK\r\n");
            } else {
                reply.extend(self.data(words, now_ns, rng));
            }
        }
        reply
    }

    fn data(&mut self, words: &[Vec<u8>], now_ns: u64, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let name = String::from_utf8(words[0].clone()).unwrap();
        let (key, args) = (&words[1], &words[2..]);
        let is_due = self.deadlines_ns.get(key).is_some_and(|deadline_ns| now_ns >= *deadline_ns);
        if is_due && self.lie != Lie::NeverExpires {
            self.cells.remove(key);
            self.deadlines_ns.remove(key);
            *self.versions.entry(key.clone()).or_default() += 1;
        }
        let left_ms = |deadline_ns: &u64| (deadline_ns.saturating_sub(now_ns) / 1_000_000) as i64;
        match name.as_str() {
            "MGET" => {
                let get = |key: &Vec<u8>| match self.cells.get(key) {
                    Some(Cell::String(bytes)) => Value::Bytes(bytes.clone()),
                    _ => Value::Null,
                };
                return encode(&name, &Value::Array(words[1..].iter().map(get).collect()));
            }
            "SCAN" => return encode(&name, &self.scan(key, integer(&words[5]).unwrap() as usize)),
            "PTTL" => {
                let left = match (self.cells.contains_key(key), self.deadlines_ns.get(key)) {
                    (false, _) => -2,
                    (true, None) => -1,
                    (true, Some(deadline_ns)) => left_ms(deadline_ns),
                };
                return encode(&name, &Value::Integer(left));
            }
            "PEXPIRE" => {
                let is_there = self.cells.contains_key(key);
                if is_there {
                    self.set_deadline(key, &args[0], now_ns);
                }
                return encode(&name, &Value::Integer(i64::from(is_there)));
            }
            "PERSIST" => {
                return encode(&name, &Value::Integer(i64::from(self.deadlines_ns.remove(key).is_some())));
            }
            _ => {}
        }
        let has_ttl = name == "SET" && args.len() == 3;
        let plain = if has_ttl { &args[..1] } else { args };
        let mut cell = self.cells.get(key).cloned();
        let mut ran = run(&mut cell, &name, plain).unwrap();
        if self.lie == Lie::AppendsTwice && name == "APPEND" && chance(rng, 50) {
            _ = run(&mut cell, &name, plain);
        }
        if self.lie == Lie::Doubles && name.contains("INCR") && chance(rng, 50) {
            ran = run(&mut cell, &name, plain).unwrap();
        }
        if !ran.is_changed || (self.lie == Lie::Forgets && chance(rng, 50)) {
            return encode(&name, &ran.result);
        }
        self.deadlines_ns.remove(key);
        *self.versions.entry(key.clone()).or_default() += 1;
        match cell {
            Some(cell) => self.cells.insert(key.clone(), cell),
            None => self.cells.remove(key),
        };
        if has_ttl {
            self.set_deadline(key, &args[2], now_ns);
        }
        encode(&name, &ran.result)
    }

    /// Keys in the order of a hash: the cursor is the hash of the first one left.
    fn scan(&self, cursor: &[u8], count: usize) -> Value {
        let hash =
            |key: &Vec<u8>| key.iter().fold(1_u64, |hash, byte| (hash * 31 + u64::from(*byte)) % 1_000_003);
        let from = integer(cursor).unwrap() as u64;
        let mut keys: Vec<(u64, &Vec<u8>)> = self.cells.keys().map(|key| (hash(key), key)).collect();
        keys.retain(|(hash, _)| *hash >= from && !(self.lie == Lie::SkipsKeys && hash % 7 == 0));
        keys.sort();
        let end = keys.get(count).map_or(0, |(hash, _)| *hash);
        keys.retain(|(hash, _)| end == 0 || *hash < end);
        let shown = keys.iter().filter(|(_, key)| key.starts_with(b"scn"));
        let shown = shown.map(|(_, key)| Value::Bytes((*key).clone())).collect();
        Value::Array(vec![Value::Bytes(end.to_string().into_bytes()), Value::Array(shown)])
    }

    fn set_deadline(&mut self, key: &[u8], ttl_ms: &[u8], now_ns: u64) {
        let ttl_ns = integer(ttl_ms).unwrap() as u64 * 1_000_000;
        self.deadlines_ns.insert(key.to_vec(), now_ns + ttl_ns);
    }
}

fn encode(command: &str, value: &Value) -> Vec<u8> {
    match value {
        Value::Null => b"$-1\r\n".to_vec(),
        Value::Integer(number) => format!(":{number}\r\n").into_bytes(),
        Value::Error(text) => format!("-{text}\r\n").into_bytes(),
        Value::Bytes(bytes) if command == "SET" && bytes == b"OK" => b"+OK\r\n".to_vec(),
        Value::Bytes(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        Value::Map(map) => {
            let mut out = format!("*{}\r\n", map.len() * 2).into_bytes();
            for (field, value) in map {
                out.extend(encode("", &Value::Bytes(field.clone())));
                out.extend(encode("", value));
            }
            out
        }
        Value::Array(items) => {
            let items: Vec<Vec<u8>> = items.iter().map(|item| encode("", item)).collect();
            [format!("*{}\r\n", items.len()).as_bytes(), &items.concat()].concat()
        }
    }
}

/// One client's process, connection and calls in flight.
struct Peer {
    process: u64,
    connection: u64,
    pipeline: u64,
    client: Client,
    session: Session,
    /// Commands the server has received, and replies on the way back.
    commands: Vec<Vec<Vec<u8>>>,
    replies: Vec<u8>,
    calls: BTreeMap<u64, Call>,
}

struct World {
    rng: ChaCha8Rng,
    now_ns: u64,
    server: Server,
    workloads: Workloads,
    recorder: Recorder,
}

impl World {
    fn connect(&mut self, process: Option<u64>) -> Peer {
        Peer {
            process: process.unwrap_or_else(|| self.recorder.new_process()),
            connection: self.recorder.new_connection(),
            pipeline: 0,
            client: Client::default(),
            session: Session::default(),
            commands: Vec::new(),
            replies: Vec::new(),
            calls: BTreeMap::new(),
        }
    }

    fn send(&mut self, peer: &mut Peer, calls: Vec<Call>) {
        peer.pipeline += 1;
        for (position, call) in calls.into_iter().enumerate() {
            let (process, connection, pipeline) = (peer.process, peer.connection, peer.pipeline);
            let caller = Caller { process, connection, pipeline, position: position as u32, read_from: None };
            let id = self.recorder.begin(caller, &call, self.now_ns);
            peer.client.queue(id, &call);
            peer.commands.extend(call.wire());
            peer.calls.insert(id, call);
        }
    }

    /// The server runs one command of this peer.
    fn serve(&mut self, peer: &mut Peer) {
        if peer.commands.is_empty() {
            return;
        }
        let words = peer.commands.remove(0);
        let reply = self.server.execute(&mut peer.session, &words, self.now_ns, &mut self.rng);
        let is_skipped = self.server.lie == Lie::SkipsReply && chance(&mut self.rng, 5);
        if !is_skipped {
            peer.replies.extend(reply);
        }
    }

    fn deliver(&mut self, peer: &mut Peer) {
        let sent = peer.client.unsent().len();
        peer.client.sent(sent);
        let count = below(&mut self.rng, peer.replies.len() as u64 + 1) as usize;
        let bytes: Vec<u8> = peer.replies.drain(..count).collect();
        let mut ended = Vec::new();
        peer.client.receive(&bytes, &mut ended).unwrap();
        self.finish(peer, ended);
    }

    fn finish(&mut self, peer: &mut Peer, ended: Vec<(u64, End)>) -> bool {
        let mut is_unknown = false;
        for (id, end) in ended {
            let call = peer.calls.remove(&id).unwrap();
            let outcome = call.outcome(&end);
            is_unknown |= matches!(end, End::Unknown(_));
            self.recorder.finish(id, &outcome, self.now_ns);
            self.workloads.learn(peer.process, id, &call, &outcome);
        }
        is_unknown
    }

    /// Cuts the connection; the server runs what it has, or not.
    fn cut(&mut self, peer: &mut Peer) {
        let mut next = self.connect(None);
        while !peer.commands.is_empty() && chance(&mut self.rng, 700) {
            self.serve(peer);
        }
        let mut ended = Vec::new();
        let sent = peer.client.unsent().len();
        peer.client.sent(sent);
        std::mem::take(&mut peer.client).close("reset", &mut ended);
        let is_unknown = self.finish(peer, ended);
        self.workloads.forget(peer.process);
        if !is_unknown {
            next.process = peer.process;
        }
        *peer = next;
    }
}

/// How hard a run is on its clients.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    depth: u32,
    steps: u64,
    /// Per thousand steps: one connection ends, all end at once.
    cut: u32,
    crash: u32,
}

const LIGHT: Load = Load { clients: 6, depth: 4, steps: 8000, cut: 3, crash: 0 };

fn play(seed: u64, lie: Lie, load: Load) -> History {
    let header = Header {
        version: VERSION,
        run: "loopback".into(),
        source: Source::Sim,
        seed: seed.to_string(),
        commit: String::new(),
        config: BTreeMap::new(),
        clock: ClockKind::Virtual,
        models: Vec::new(),
        minimum_ok: BTreeMap::from([("TXN".into(), 10), ("SET".into(), 50), ("INCR".into(), 20)]),
    };
    let mix = Mix {
        register: 3,
        counter: 2,
        hash: 2,
        transaction: 3,
        expiry: 2,
        append: 3,
        bank: 3,
        scan: 2,
        echo_per_mille: 50,
        keys: 2,
        ttl_ms_max: 300,
        padded_per_mille: 60,
    };
    let server = Server {
        lie,
        cells: BTreeMap::new(),
        deadlines_ns: BTreeMap::new(),
        versions: BTreeMap::new(),
        later: Vec::new(),
    };
    let (rng, workloads) = (ChaCha8Rng::seed_from_u64(seed), Workloads::new(mix));
    let mut world = World { rng, now_ns: 1_000_000, server, workloads, recorder: Recorder::new(header) };
    let mut peers: Vec<Peer> = (0..load.clients).map(|_| world.connect(None)).collect();
    for _ in 0..load.steps {
        world.now_ns += between(&mut world.rng, 0, 2_000_000);
        let index = below(&mut world.rng, load.clients as u64) as usize;
        if chance(&mut world.rng, load.crash) {
            peers.iter_mut().for_each(|peer| world.cut(peer));
        }
        let peer = &mut peers[index];
        if peer.client.in_flight() == 0 {
            let calls = world.workloads.next(&mut world.rng, peer.process, load.depth);
            world.send(peer, calls);
        } else if chance(&mut world.rng, load.cut) {
            world.cut(peer);
        } else if chance(&mut world.rng, 600) {
            world.serve(peer);
        } else {
            world.deliver(peer);
        }
    }
    peers.iter_mut().for_each(|peer| world.cut(peer));
    world.now_ns += 1_000_000;
    world.recorder.begin_final_read(world.now_ns);
    let mut reader = world.connect(None);
    for read in world.workloads.final_reads() {
        world.send(&mut reader, vec![read]);
        world.serve(&mut reader);
        while reader.client.in_flight() > 0 && !reader.replies.is_empty() {
            world.now_ns += 1000;
            world.deliver(&mut reader);
        }
    }
    world.recorder.end().0
}

fn judged(history: &History) -> Report {
    check(history, &Limits::default())
}

#[test]
fn an_honest_server_passes_however_connections_break() {
    for seed in 0..40 {
        let history = play(seed, Lie::None, LIGHT);
        let report = judged(&history);
        assert!(report.is_passed(), "seed {seed}: {report}");
        assert!(report.parts >= 9);
    }
}

/// Many clients, deep pipelines, crashes that leave everything in flight unknown: still decided, and soon.
#[test]
fn crashes_under_deep_pipelines_stay_decidable() {
    for seed in 0..10 {
        let history = play(seed, Lie::None, Load { clients: 12, depth: 16, steps: 30_000, cut: 2, crash: 1 });
        let report = judged(&history);
        assert!(report.is_passed(), "seed {seed}: {report}");
        assert!(report.steps < 300_000, "seed {seed}: {} states tried", report.steps);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    assert_eq!(play(7, Lie::None, LIGHT), play(7, Lie::None, LIGHT));
    assert_ne!(play(7, Lie::None, LIGHT), play(8, Lie::None, LIGHT));
}

#[test]
fn a_history_of_a_run_survives_its_file() {
    let history = play(3, Lie::None, LIGHT);
    let mut bytes = Vec::new();
    history.write(&mut bytes, BTreeMap::new()).unwrap();
    assert_eq!(History::read(&bytes[..]).unwrap().0, history);
}

#[test]
fn every_lie_is_found_within_a_few_seeds() {
    let lies = [
        Lie::Forgets,
        Lie::Doubles,
        Lie::IgnoresWatch,
        Lie::NeverExpires,
        Lie::SkipsReply,
        Lie::SplitsExec,
        Lie::SkipsKeys,
        Lie::AppendsTwice,
    ];
    for lie in lies {
        let found = (0..5).filter(|seed| !judged(&play(*seed, lie, LIGHT)).violations.is_empty()).count();
        assert!(found >= 2, "{lie:?}: found in {found} of 5 seeds");
    }
}
