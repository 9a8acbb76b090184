//! One run of three nodes in three zones: their clients, their faults, and the verdict.
//!
//! Lives here: starting and restarting the nodes, cutting and healing, what is looked at inside them, the final read,
//! the comparison of the replicas. Not here: what is drawn (`options`), the clients (`client`), the judges (`checker`).
//!
//! Invariant: everything comes from the seed. Looking at the nodes changes nothing in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ramkeep_log::Role;
use ramkeep_net::{Host, NodeId, PointCounts, World, WorldOptions, simulate, sleep, timeout};
use ramkeep_server::node::Node;
use ramkeep_shard::State;
use rand_chacha::ChaCha8Rng;

use super::client::{self, Habit, Shared, SharedRef};
use super::node::{Bugs, End, PORT, Place, name, serve};
use super::options::{Fault, Options, Purpose};
use super::run::{FINAL_READ_S_MAX, HEALED_MS_MAX, Verdict, ask, draw_point};
use super::watch;
use crate::checker::check;
use crate::history::{ClockKind, Header, History, Recorder, Source, VERSION};
use crate::random::{below, between, chance};
use crate::session::Book;
use crate::workload::Workloads;

const NODES: usize = 3;
/// Replicas show the same data within this after the last call.
const EQUAL_MS_MAX: u64 = 30_000;
/// A write of a disk that is made slow so that a power loss finds it under way.
const SLOW_WRITE_US: (u64, u64) = (5_000, 40_000);
/// A power loss of all that waits for writes to hit waits no longer.
const AIM_STEPS_MAX: u32 = 4_000;
const AIM_STEP: Duration = Duration::from_micros(50);

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
        detected: None,
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
    trace_hash: u64,
    answered: u64,
    reached: BTreeMap<&'static str, u64>,
    points: BTreeMap<&'static str, PointCounts>,
}

/// What takes back a fault, later.
#[derive(Clone, Debug)]
enum Undo {
    Start(usize),
    Resume(usize),
    Heal(Vec<(NodeId, NodeId)>),
    /// Disk calls succeed again.
    Disk(usize),
    /// Not back but on: a wall clock is set back by so many milliseconds.
    SetBack(usize, i64),
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
    primary: Option<usize>,
    /// Its disk is slow for the whole run.
    slow_node: Option<usize>,
    /// Who led in each term, serving or not.
    leaders: BTreeMap<u64, usize>,
    /// Since when each node, deposed with changes under way, is no engine.
    deposed_ns: [Option<u64>; NODES],
    reached: BTreeMap<&'static str, u64>,
}

impl Run {
    fn new(world: World, options: Options, bugs: Bugs) -> Run {
        let nodes: Vec<NodeId> = (0..NODES).map(|index| world.add_node(name(index), name(index))).collect();
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
        Run {
            addresses: Rc::new(nodes.iter().map(|node| world.address(*node)).collect()),
            rng: world.rng("faults"),
            jumps_left_ms: options.clock_jump_ms_total_max,
            world,
            options: Rc::new(options),
            bugs,
            nodes,
            clients: Vec::new(),
            seen: Rc::new(RefCell::new(vec![Seen::default(); NODES])),
            complaints: Rc::default(),
            shared: Rc::new(RefCell::new(shared)),
            undo: Vec::new(),
            primary: None,
            slow_node: None,
            leaders: BTreeMap::new(),
            deposed_ns: [None; NODES],
            reached: BTreeMap::new(),
        }
    }

    async fn play(mut self) -> Outcome {
        self.set_up();
        (0..NODES).for_each(|index| self.start_node(index));
        self.start_clients();
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
        let reached = std::mem::take(&mut self.reached);
        drop(self);
        sleep(Duration::from_millis(1)).await;
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let shared = shared.into_inner();
        let answered = shared.book.answered;
        let (history, faults) = shared.book.recorder.end();
        let complaints = complaints.take();
        Outcome { history, faults, complaints, trace_hash, answered, reached, points }
    }

    fn complain(&self, text: impl Into<String>) {
        self.complaints.borrow_mut().push(text.into());
    }

    fn socket(&self, index: usize) -> SocketAddr {
        SocketAddr::new(self.addresses[index], PORT)
    }

    fn sockets(&self) -> Vec<SocketAddr> {
        (0..NODES).map(|index| self.socket(index)).collect()
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
        if options.has(Fault::SlowDisk) {
            self.slow_node = Some(self.draw_node());
        }
        self.slow_disks(0.0);
    }

    fn draw_node(&mut self) -> usize {
        below(&mut self.rng, NODES as u64) as usize
    }

    fn start_clients(&mut self) {
        for number in 0..self.options.clients + self.options.replica_readers {
            let client = self.world.add_node(&format!("client{number}"), "clients");
            let (shared, options) = (Rc::clone(&self.shared), Rc::clone(&self.options));
            let sockets = self.sockets();
            let habit = match number {
                number if number < self.options.readers => Habit::Reads,
                number if number < self.options.clients => Habit::Works,
                _ => Habit::ReadsReplica,
            };
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
        let place = Place::Member { index, members: Rc::clone(&self.addresses) };
        self.world.start(self.nodes[index], move |host| async move {
            let built = |node: &Rc<Node>| seen.borrow_mut()[index].node = Rc::downgrade(node);
            if let Err(End::Damage(why)) = serve(host, &options, bugs, place, built).await {
                complaints.borrow_mut().push(format!("{} refused to start: {why}", name(index)));
            }
        });
    }

    /// Makes faults happen until the time is over.
    async fn attack(&mut self) {
        let end_ns = self.world.now_ns() + self.options.duration_ms * 1_000_000;
        let options = Rc::clone(&self.options);
        let mut next: Vec<(u64, Fault)> = Vec::new();
        for rate in &options.faults {
            next.push((self.world.now_ns() + self.pause_ns(rate.interval_ms), rate.fault));
        }
        while self.world.now_ns() < end_ns {
            self.look();
            self.undo_due();
            let now_ns = self.world.now_ns();
            for ((at_ns, fault), rate) in next.iter_mut().zip(&options.faults) {
                if *at_ns <= now_ns {
                    self.strike(*fault).await;
                    *at_ns = self.world.now_ns() + self.pause_ns(rate.interval_ms);
                }
            }
            self.start_ended();
            sleep(Duration::from_micros(between(&mut self.rng, 200, 5_000))).await;
        }
    }

    /// A process that has ended by itself is started again, a little later.
    fn start_ended(&mut self) {
        for index in 0..NODES {
            let is_planned =
                self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Start(planned) if *planned == index));
            if !self.world.is_running(self.nodes[index]) && !is_planned {
                self.plan(1, 200, Undo::Start(index));
            }
        }
    }

    fn pause_ns(&mut self, interval_ms: u64) -> u64 {
        between(&mut self.rng, interval_ms * 200_000, interval_ms * 1_800_000)
    }

    fn plan(&mut self, low_ms: u64, high_ms: u64, undo: Undo) {
        let at_ns = self.world.now_ns() + between(&mut self.rng, low_ms, high_ms) * 1_000_000;
        self.undo.push((at_ns, undo));
    }

    fn undo_due(&mut self) {
        let now_ns = self.world.now_ns();
        let (due, later) =
            std::mem::take(&mut self.undo).into_iter().partition(|(at_ns, _)| *at_ns <= now_ns);
        self.undo = later;
        let due: Vec<(u64, Undo)> = due;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::SetBack(index, by_ms) => self.jump(index, -by_ms),
            Undo::Start(index) => self.start_node(index),
            Undo::Resume(index) => self.world.resume(self.nodes[index]),
            Undo::Heal(pairs) => pairs.into_iter().for_each(|(from, to)| self.world.heal(from, to)),
            Undo::Disk(index) => self.world.with_disk(self.nodes[index], |disk| {
                disk.set_capacity(1 << 30);
                disk.faults.sync_error = 0.0;
                disk.faults.write_error = 0.0;
            }),
        }
    }

    async fn strike(&mut self, fault: Fault) {
        self.shared.borrow_mut().book.recorder.fault(self.world.now_ns(), fault.name(), BTreeMap::new());
        let index = self.draw_node();
        match fault {
            Fault::Kill => self.end(index, false),
            Fault::PowerLoss => self.end(index, true),
            Fault::PrimaryKill => {
                if let Some(primary) = self.primary {
                    let loses_power = chance(&mut self.rng, 300);
                    self.end(primary, loses_power);
                }
            }
            Fault::AllDown => self.end_all().await,
            Fault::Partition => self.part(index),
            Fault::OneWayCut => {
                let other = (index + 1 + below(&mut self.rng, NODES as u64 - 1) as usize) % NODES;
                let pair = (self.nodes[index], self.nodes[other]);
                self.world.cut(pair.0, pair.1);
                self.plan(50, 6_000, Undo::Heal(vec![pair]));
            }
            Fault::Stall => {
                let other = (index + 1) % NODES;
                let length = Duration::from_millis(between(&mut self.rng, 1, 3_000));
                self.world.stall(self.nodes[index], self.nodes[other], length);
            }
            Fault::Pause => self.pause(index),
            Fault::ClockJump => {
                let by_ms = between(&mut self.rng, 1, (self.jumps_left_ms / 2).max(1));
                let sign = if chance(&mut self.rng, 500) { 1 } else { -1 };
                self.jump(index, sign * by_ms.cast_signed());
            }
            Fault::Reset => {
                self.world.reset_random(Some(self.nodes[index]));
            }
            Fault::DiskFull => {
                self.world.with_disk(self.nodes[index], |disk| disk.set_capacity(0));
                self.plan(100, 2_000, Undo::Disk(index));
            }
            Fault::SyncError => self.fail_syncs(index).await,
            Fault::TornWrite => {
                self.world.with_disk(self.nodes[index], |disk| disk.faults.write_error = 1.0);
                self.plan(1, 20, Undo::Disk(index));
            }
            Fault::CrashPoint => {
                let index = self.primary.filter(|_| chance(&mut self.rng, 500)).unwrap_or(index);
                let (name, visit) = draw_point(&mut self.rng, Purpose::Cluster);
                let loses_power = chance(&mut self.rng, 500);
                self.world.arm(self.nodes[index], name, visit, loses_power);
            }
            Fault::ClockDrift | Fault::HalfPipeline | Fault::ClientTimeout | Fault::SlowDisk => {}
            Fault::RestartLoop
            | Fault::BitRot
            | Fault::ReadError
            | Fault::LyingSync
            | Fault::MisdirectedWrite => unreachable!("faults of one node"),
        }
    }

    /// Syncs fail for a moment: on one node, or on all of them, which may then lose their power. What was acknowledged
    /// had been synced before.
    async fn fail_syncs(&mut self, index: usize) {
        let are_all = chance(&mut self.rng, 300);
        for node in (0..NODES).filter(|node| are_all || *node == index) {
            self.world.with_disk(self.nodes[node], |disk| disk.faults.sync_error = 1.0);
            self.plan(5, 30, Undo::Disk(node));
        }
        if are_all && chance(&mut self.rng, 600) {
            sleep(Duration::from_micros(between(&mut self.rng, 1_000, 30_000))).await;
            (0..NODES).for_each(|node| self.end(node, true));
        }
    }

    /// A machine may also be suspended, and its clock be set back to before when it goes on.
    fn pause(&mut self, index: usize) {
        let index = self.primary.filter(|_| chance(&mut self.rng, 600)).unwrap_or(index);
        self.world.pause(self.nodes[index]);
        let length_ms = between(&mut self.rng, 10, 3_000);
        self.undo.push((self.world.now_ns() + length_ms * 1_000_000, Undo::Resume(index)));
        if self.options.has(Fault::ClockJump) && chance(&mut self.rng, 600) {
            self.jump(index, -length_ms.cast_signed());
        }
    }

    /// Within what is left of the run's jumps.
    fn jump(&mut self, index: usize, by_ms: i64) {
        if by_ms.unsigned_abs() <= self.jumps_left_ms {
            self.jumps_left_ms -= by_ms.unsigned_abs();
            self.world.jump_wall_clock(self.nodes[index], by_ms * 1_000);
        }
    }

    /// All lose their power at once, mostly while a majority is writing: what is lost then may be lost everywhere.
    async fn end_all(&mut self) {
        if chance(&mut self.rng, 700) {
            let are_slow = chance(&mut self.rng, 500);
            if are_slow {
                self.slow_disks(1.0);
            }
            self.await_answer_while_writing(are_slow).await;
            self.slow_disks(0.0);
        }
        (0..NODES).for_each(|index| self.end(index, true));
    }

    /// Every write takes long, or as long as before.
    fn slow_disks(&self, chance: f64) {
        for (index, node) in self.nodes.iter().enumerate() {
            let is_slow = chance == 0.0 && self.slow_node == Some(index);
            let (chance, slow_us) = if is_slow { (0.05, (1_000, 300_000)) } else { (chance, SLOW_WRITE_US) };
            self.world.with_disk(*node, |disk| {
                (disk.faults.latency.slow, disk.faults.latency.slow_us) = (chance, slow_us);
            });
        }
    }

    /// Waits until a majority is writing, and if asked for until somebody was answered meanwhile.
    async fn await_answer_while_writing(&mut self, wants_answer: bool) {
        let mut answered_before = None;
        for _ in 0..AIM_STEPS_MAX {
            let is_writing = |node: &&NodeId| self.world.with_disk(**node, |disk| disk.bytes_under_way() > 0);
            let answered = self.shared.borrow().book.answered;
            match (self.nodes.iter().filter(is_writing).count() > NODES / 2, answered_before) {
                (false, _) => answered_before = None,
                (true, _) if !wants_answer => return,
                (true, Some(before)) if answered > before => return,
                (true, before) => answered_before = before.or(Some(answered)),
            }
            sleep(AIM_STEP).await;
        }
    }

    /// Ends a process or a machine and plans its next start.
    fn end(&mut self, index: usize, loses_power: bool) {
        let node = self.nodes[index];
        if !self.world.is_running(node) {
            return;
        }
        // A process that stands still ends like any other.
        self.world.resume(node);
        if loses_power {
            self.world.power_loss(node);
        } else {
            self.world.kill(node);
        }
        self.seen.borrow_mut()[index].state = None;
        self.plan(1, 3_000, Undo::Start(index));
    }

    /// Cuts a node off from the others, often the primary, and sometimes from the clients too.
    fn part(&mut self, index: usize) {
        let index = self.primary.filter(|_| chance(&mut self.rng, 500)).unwrap_or(index);
        if self.options.has(Fault::ClockJump) && chance(&mut self.rng, 600) {
            // While it may still think that it leads its clock is set back.
            let by_ms = between(&mut self.rng, 200, 2_000).cast_signed();
            self.plan(50, 500, Undo::SetBack(index, by_ms));
        }
        let node = self.nodes[index];
        let mut others: Vec<NodeId> = self.nodes.iter().copied().filter(|other| *other != node).collect();
        if chance(&mut self.rng, 300) {
            others.extend(&self.clients);
        }
        let pairs: Vec<(NodeId, NodeId)> =
            others.into_iter().flat_map(|other| [(node, other), (other, node)]).collect();
        pairs.iter().for_each(|(from, to)| self.world.cut(*from, *to));
        self.plan(50, 6_000, Undo::Heal(pairs));
    }

    /// Looks into the nodes: who leads, and which rare states there are.
    fn look(&mut self) {
        for index in 0..NODES {
            let Some(node) = self.seen.borrow()[index].node.upgrade() else { continue };
            if !self.world.is_running(self.nodes[index]) {
                continue;
            }
            let shard = node.shard.borrow();
            let state = shard.state().clone();
            let before = self.seen.borrow_mut()[index].state.replace(state.clone());
            match (&before, &state) {
                (Some(State::Frozen), State::Following) => self.reach("frozen, then all was committed"),
                (Some(State::Frozen), State::Replaying) => self.reach("frozen, then rebuilt"),
                (Some(State::Leading), State::Replaying) => self.reach("deposed, then rebuilt"),
                (Some(State::Leading), State::Frozen) => self.reach("deposed and frozen"),
                (Some(State::Leading), State::Following) => self.reach("deposed with nothing under way"),
                _ => {}
            }
            self.time_without_engine(index, before.as_ref(), &state);
            let Some(replica) = shard.replica() else { continue };
            if replica.role() == Role::Primary
                && self.leaders.insert(replica.term().0, index).is_some_and(|other| other != index)
            {
                self.complain(format!("two leaders in term {}", replica.term().0));
            }
            if state != State::Leading {
                continue;
            }
            let now_ns = node.clock.monotonic_ns();
            if !replica.lease_valid(now_ns) && shard.is_withholding() {
                self.reach("no lease, with replies withheld");
            }
            if before != Some(State::Leading) {
                self.reach("took up leadership");
                self.primary = Some(index);
            }
        }
    }

    /// Adds up for how long zones are without an engine because a primary was deposed with changes under way.
    fn time_without_engine(&mut self, index: usize, before: Option<&State>, state: &State) {
        let now_ns = self.world.now_ns();
        match (before, state) {
            (Some(State::Leading), State::Frozen | State::Replaying) => self.deposed_ns[index] = Some(now_ns),
            (Some(State::Frozen | State::Replaying), State::Following | State::Leading) => {
                let Some(since_ns) = self.deposed_ns[index].take() else { return };
                let what = match before {
                    Some(State::Frozen) => "ms without an engine, frozen until committed",
                    _ => "ms without an engine, rebuilt",
                };
                *self.reached.entry(what).or_default() += (now_ns - since_ns) / 1_000_000;
            }
            (None, _) => self.deposed_ns[index] = None,
            _ => {}
        }
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    async fn heal(&mut self) {
        self.world.heal_all();
        self.undo.clear();
        for index in 0..NODES {
            self.world.resume(self.nodes[index]);
            self.world.disarm(self.nodes[index]);
            self.undo(Undo::Disk(index));
            self.world.with_disk(self.nodes[index], |disk| disk.faults.latency.slow = 0.0);
            self.start_node(index);
        }
    }

    /// A primary must serve again, and every key is read once more.
    async fn final_read(&mut self) {
        let reader = self.world.add_node("reader", "clients");
        let (shared, complaints) = (Rc::clone(&self.shared), Rc::clone(&self.complaints));
        let sockets = self.sockets();
        self.world.start(reader, move |host| async move {
            if let Err(why) = read_finally(&host, &shared, &sockets).await {
                complaints.borrow_mut().push(why);
            }
        });
        while self.world.is_running(reader) {
            self.look();
            (0..NODES).for_each(|index| self.start_node(index));
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every replica comes to hold what the others hold.
    async fn compare_replicas(&mut self) {
        let deadline_ns = self.world.now_ns() + EQUAL_MS_MAX * 1_000_000;
        loop {
            (0..NODES).for_each(|index| self.start_node(index));
            let told: Vec<_> = self.seen.borrow().iter().map(|seen| told_by(&seen.node)).collect();
            let is_equal = told.iter().all(|it| it.is_some() && *it == told[0]);
            if is_equal {
                return;
            }
            let at_one_place =
                told.iter().flatten().all(|(applied, _)| Some(*applied) == told[0].map(|it| it.0));
            if self.world.now_ns() > deadline_ns {
                let what = if at_one_place { "hold different data" } else { "do not catch up" };
                let states: Vec<_> = self.seen.borrow().iter().map(|seen| state_of(&seen.node)).collect();
                self.complain(format!("the replicas {what}: {told:?}, {states:?}"));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn state_of(node: &Weak<Node>) -> Option<State> {
    node.upgrade().map(|node| node.shard.borrow().state().clone())
}

/// The position applied and the digest of the data there, of a replica without anything under way.
fn told_by(node: &Weak<Node>) -> Option<(u64, u128)> {
    let node = node.upgrade()?;
    let shard = node.shard.borrow();
    let is_settled = matches!(shard.state(), State::Leading | State::Following) && !shard.has_open_turn();
    is_settled.then(|| (shard.applied().0, shard.engine.data.digest()))
}

/// Waits until a primary serves and reads every key there.
async fn read_finally(host: &Host, shared: &SharedRef, sockets: &[SocketAddr]) -> Result<(), String> {
    let now_ns = || (shared.borrow().now_ns)();
    let deadline_ns = now_ns() + HEALED_MS_MAX * 1_000_000;
    let mut last = String::new();
    while now_ns() < deadline_ns {
        for socket in sockets {
            if !matches!(ask(host, *socket, b"GET nobody-wrote-this\r\n").await, Ok(answer) if answer == b"$-1\r\n")
            {
                continue;
            }
            let calls = shared.borrow().book.workloads.final_reads();
            let began_ns = now_ns();
            shared.borrow_mut().book.recorder.begin_final_read(began_ns);
            let reading = client::read_all(host, shared, *socket, calls);
            match timeout(Duration::from_secs(FINAL_READ_S_MAX), reading).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = format!(": the final read failed: {error}"),
                Err(_) => last = ": the final read is not answered".to_string(),
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(format!("no primary serves after everything was healed{last}"))
}
