//! One run of three to five nodes in three zones: their clients, their faults, and the verdict.
//!
//! Lives here: setting up the nodes and the clients, and the course of a run. What is done to the nodes (`attack`), what is
//! looked at inside them (`look`), who their members are (`members`) and what must be true at the end (`verdict`) stand
//! below it.
//! Not here: what is drawn (`options`), the clients (`client`), the judges (`checker`).
//!
//! Invariant: everything comes from the seed. Looking at the nodes changes nothing in them.

mod aimed;
mod attack;
mod look;
mod members;
mod verdict;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ramkeep_net::{NodeId, PointCounts, World, WorldOptions, simulate, sleep, timeout};
use ramkeep_server::node::Node;
use ramkeep_shard::State;
use rand_chacha::ChaCha8Rng;

use super::client::{self, Habit, Shared, SharedRef};
use super::node::{Bugs, End, FOUNDERS, PORT, Place, name, serve};
use super::options::{Fault, Options};
use super::run::Verdict;
use super::watch;
use crate::checker::check;
use crate::history::{ClockKind, Header, History, Recorder, Source, VERSION};
use crate::random::{below, between};
use crate::session::Book;
use crate::workload::Workloads;
use attack::Undo;
use members::{Change, Harm, Loss};

pub fn run(options: &Options, bugs: Bugs) -> Verdict {
    let limit = Duration::from_millis(options.duration_ms + 600_000);
    let drawn = options.clone();
    let outcome = simulate(options.seed, WorldOptions::default(), limit, move |world| async move {
        Run::new(world, drawn, bugs).play().await
    });
    let report = check(&outcome.history, &options.limits());
    Verdict {
        report,
        complaints: outcome.complaints,
        detected: outcome.detected,
        history: outcome.history,
        trace_hash: outcome.trace_hash,
        answered: outcome.answered,
        faults: outcome.faults,
        may_lose: false,
        reached: outcome.reached,
        points: outcome.points,
    }
}

struct Outcome {
    history: History,
    faults: BTreeMap<String, u64>,
    complaints: Vec<String>,
    detected: Option<String>,
    trace_hash: u64,
    answered: u64,
    reached: BTreeMap<&'static str, u64>,
    points: BTreeMap<&'static str, PointCounts>,
}

/// What was last seen of a node.
#[derive(Clone, Debug, Default)]
struct Seen {
    node: Weak<Node>,
    state: Option<State>,
}

struct Run {
    world: World,
    options: Rc<Options>,
    bugs: Bugs,
    nodes: Vec<NodeId>,
    clients: Vec<NodeId>,
    addresses: Rc<Vec<IpAddr>>,
    seen: Rc<RefCell<Vec<Seen>>>,
    complaints: Rc<RefCell<Vec<String>>>,
    shared: SharedRef,
    rng: ChaCha8Rng,
    undo: Vec<(u64, Undo)>,
    jumps_left_ms: u64,
    lone_jumps_left_ms: u64,
    primary: Option<usize>,
    /// Whose disk was lost and not made up for yet.
    lost: Option<Loss>,
    /// How a disk is to be harmed.
    harm_due: Option<Harm>,
    /// Two members are to be harmed at once, and were.
    is_excess_due: bool,
    is_exceeded: bool,
    /// What damaged nodes said when they refused to start.
    refusals: Rc<RefCell<Vec<String>>>,
    /// Since when that could have been, while it is due.
    settled_since_ns: Option<u64>,
    /// What an operator has asked for and is not done yet.
    change: Option<Change>,
    /// A member is to be replaced by a node that waits for it.
    is_change_due: bool,
    /// A primary is to be left alone.
    is_lone_due: bool,
    /// Connections break once so many pieces of snapshots were read.
    broken_at_piece: Option<u64>,
    /// Its disk is slow for the whole run.
    slow_node: Option<usize>,
    /// Who led in each term, serving or not.
    leaders: BTreeMap<u64, usize>,
    /// Since when each node, deposed with changes under way, is no engine.
    deposed_ns: Vec<Option<u64>>,
    reached: BTreeMap<&'static str, u64>,
}

/// More was harmed than the promise covers: not to serve is right, for want of a majority (who refuses to start from then
/// on is noted apart). Anything else that was complained of stays.
fn detected_in(complaints: Vec<String>) -> (Vec<String>, Option<String>) {
    const RIGHT: [&str; 3] = ["no primary serves", "do not catch up", "do not all vote"];
    let (right, wrong): (Vec<String>, Vec<String>) =
        complaints.into_iter().partition(|complaint| RIGHT.iter().any(|it| complaint.contains(it)));
    (wrong, right.into_iter().next())
}

impl Run {
    fn new(world: World, options: Options, bugs: Bugs) -> Run {
        let spares = usize::from(options.has(Fault::MembersChanged));
        let count = FOUNDERS + spares + usize::from(options.shape.extra.is_some());
        let nodes: Vec<NodeId> = (0..count).map(|index| world.add_node(name(index), name(index))).collect();
        let header = Header {
            version: VERSION,
            run: format!("sim-cluster-{:x}", options.seed),
            source: Source::Sim,
            seed: options.seed.to_string(),
            commit: String::new(),
            config: BTreeMap::from([("options".into(), options.to_string().into())]),
            clock: ClockKind::Virtual,
            models: Vec::new(),
            minimum_ok: BTreeMap::new(),
        };
        let clock = world.clone();
        let shared = Shared {
            now_ns: Box::new(move || clock.now_ns()),
            book: Book::new(Recorder::new(header), Workloads::new(options.mix)),
            is_over: false,
        };
        let changes_members = options.has(Fault::MembersChanged);
        Run {
            addresses: Rc::new(nodes.iter().map(|node| world.address(*node)).collect()),
            rng: world.rng("faults"),
            jumps_left_ms: options.clock_jump_ms_total_max,
            lone_jumps_left_ms: options.lone_jump_ms_total_max,
            world,
            options: Rc::new(options),
            bugs,
            nodes,
            clients: Vec::new(),
            seen: Rc::new(RefCell::new(vec![Seen::default(); count])),
            complaints: Rc::default(),
            shared: Rc::new(RefCell::new(shared)),
            undo: Vec::new(),
            primary: None,
            lost: None,
            harm_due: None,
            is_excess_due: false,
            is_exceeded: false,
            refusals: Rc::default(),
            settled_since_ns: None,
            change: None,
            // There is time for few of them.
            is_change_due: changes_members,
            is_lone_due: false,
            broken_at_piece: None,
            slow_node: None,
            leaders: BTreeMap::new(),
            deposed_ns: vec![None; count],
            reached: BTreeMap::new(),
        }
    }

    async fn play(mut self) -> Outcome {
        self.set_up();
        self.all().for_each(|index| self.start_node(index));
        self.start_clients();
        self.add_extra();
        self.attack().await;
        self.heal().await;
        self.shared.borrow_mut().is_over = true;
        for client in self.clients.clone() {
            let patience = Duration::from_millis(self.options.client_timeout_ms * 4 + 20_000);
            if timeout(patience, self.world.exited(client)).await.is_err() {
                self.complain("a client does not end");
            }
        }
        self.final_read().await;
        self.compare_replicas().await;
        let trace_hash = self.world.trace().hash();
        let points = self.world.points();
        self.nodes.iter().for_each(|node| self.world.kill(*node));
        let (shared, complaints) = (Rc::clone(&self.shared), Rc::clone(&self.complaints));
        let (reached, is_exceeded) = (std::mem::take(&mut self.reached), self.is_exceeded);
        drop(self);
        sleep(Duration::from_millis(1)).await;
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let shared = shared.into_inner();
        let answered = shared.book.answered;
        let (history, faults) = shared.book.recorder.end();
        let (complaints, detected) = match is_exceeded {
            true => detected_in(complaints.take()),
            false => (complaints.take(), None),
        };
        Outcome { history, faults, complaints, detected, trace_hash, answered, reached, points }
    }

    fn complain(&self, text: impl Into<String>) {
        self.complaints.borrow_mut().push(text.into());
    }

    /// Every node, one that is no member among them.
    fn all(&self) -> Range<usize> {
        0..self.nodes.len()
    }

    fn socket(&self, index: usize) -> SocketAddr {
        SocketAddr::new(self.addresses[index], PORT)
    }

    fn sockets(&self) -> Vec<SocketAddr> {
        self.all().map(|index| self.socket(index)).collect()
    }

    fn set_up(&mut self) {
        let options = Rc::clone(&self.options);
        self.world.change_network(|network| {
            network.link.latency_us = (options.network_latency_us.low, options.network_latency_us.high);
        });
        for node in &self.nodes {
            self.world.with_disk(*node, |disk| {
                disk.faults.latency.sync_us = (options.disk_latency_us.low, options.disk_latency_us.high);
                self.bugs.set_up_disk(&mut disk.faults);
                disk.faults.write_back = f64::from(options.sectors_kept_per_mille) / 2_000.0;
            });
            if options.clock_drift_ppm != 0 {
                let bound = options.clock_drift_ppm.unsigned_abs();
                let drift_ppm = between(&mut self.rng, 0, 2 * bound).cast_signed() - bound.cast_signed();
                self.world.set_clock_rate(*node, drift_ppm);
            }
        }
        if options.has(Fault::FetchBroken) {
            // Not only what comes after the first strike: there are few fetches.
            self.break_fetch();
        }
        if options.has(Fault::SlowDisk) {
            self.slow_node = Some(self.draw_node());
        }
        self.slow_disks(0.0);
    }

    fn draw_node(&mut self) -> usize {
        below(&mut self.rng, self.nodes.len() as u64) as usize
    }

    fn start_clients(&mut self) {
        let options = Rc::clone(&self.options);
        let works = options.clients - options.readers.min(options.clients);
        let habits = (0..options.readers.min(options.clients)).map(|_| Habit::Reads);
        let habits = habits.chain((0..works as usize).map(|number| Habit::Works(number * options.spread)));
        let habits = habits.chain((0..options.replica_readers).map(|_| Habit::ReadsReplica));
        let habits = habits.chain((0..options.linearizable_readers).map(|_| Habit::ReadsLinearizably));
        let habits = habits.chain((0..options.stayers as usize).map(Habit::Stays));
        for (number, habit) in habits.enumerate() {
            let client = self.world.add_node(&format!("client{number}"), "clients");
            let (shared, options) = (Rc::clone(&self.shared), Rc::clone(&options));
            let sockets = self.sockets();
            self.world.start(client, move |host| client::run(host, shared, options, sockets, habit));
            self.clients.push(client);
        }
        let operator = self.world.add_node("operator", "clients");
        let (shared, complaints) = (Rc::clone(&self.shared), Rc::clone(&self.complaints));
        let sockets = self.sockets();
        self.world.start(operator, move |host| watch::run(host, shared, sockets, complaints));
        self.clients.push(operator);
    }

    fn start_node(&self, index: usize) {
        if self.world.is_running(self.nodes[index]) {
            return;
        }
        self.seen.borrow_mut()[index].state = None;
        let (options, bugs) = (Rc::clone(&self.options), self.bugs);
        let (seen, complaints) = (Rc::clone(&self.seen), Rc::clone(&self.complaints));
        let is_harmed = self.is_exceeded || self.lost.is_some_and(|loss| loss.index == index);
        let refusals = Rc::clone(&self.refusals);
        let place = Place::Member { index, members: Rc::clone(&self.addresses) };
        self.world.start(self.nodes[index], move |host| async move {
            let built = |node: &Rc<Node>| seen.borrow_mut()[index].node = Rc::downgrade(node);
            let Err(End::Damage(why)) = serve(host, &options, bugs, place, built).await else { return };
            let told = format!("{} refused to start: {why}", name(index));
            // Who is harmed may refuse, again and again.
            let told_to = if is_harmed { refusals } else { complaints };
            if !told_to.borrow().contains(&told) {
                told_to.borrow_mut().push(told);
            }
        });
    }
}
