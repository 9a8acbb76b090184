//! The simulated world: its nodes, their power, processes and clocks, and the order of all events.
//!
//! Lives here: [`World`] with the verbs of fault injection, [`simulate`], and [`State`], the one place that all
//! handles share. Not here: what a link does to bytes (`network`), what a disk forgets ([`crate::simdisk`]).
//!
//! Invariant: every draw comes from the world's seed, every event goes through one queue ordered by time and
//! by when it was scheduled, and each is recorded in the trace.

use super::clock::ClockError;
use super::host::Host;
use super::link::{Link, LinkState, NetworkCounts, NetworkOptions};
use super::network::{Connection, ConnectionId, Listening, Side};
use super::time::{Sleep, pause_ns};
use crate::random::{Draw, Stream, stream};
use crate::simdisk::SimDisk;
use crate::{LocalFuture, ShutdownSignal, Trace};
use madsim::runtime::{Handle, Runtime};
use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The wall clocks' time at the start of a run: the first second of 2026.
const WALL_START_US: i64 = 1_767_225_600_000_000;

/// One machine of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// How a world is made.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// All links and connections.
    pub network: NetworkOptions,
    /// Sector size of every disk.
    pub sector_bytes: usize,
    /// Room of every disk.
    pub disk_bytes: u64,
    /// Events kept for printing.
    pub events_kept: usize,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { network: NetworkOptions::default(), sector_bytes: 512, disk_bytes: 1 << 30, events_kept: 200 }
    }
}

pub(super) enum Event {
    Call(ConnectionId),
    Called(ConnectionId),
    CallFailed(ConnectionId),
    CallTimeout(ConnectionId),
    Arrive(ConnectionId, Side),
    GiveUp(ConnectionId, Side, u64),
    Probe(ConnectionId, Side),
    OpenLink(NodeId, NodeId),
}

/// One machine.
pub(super) struct Node {
    pub name: String,
    pub zone: String,
    pub ip: IpAddr,
    /// Counts starts of the process.
    pub boot: u64,
    pub is_powered: bool,
    process: Option<madsim::task::NodeId>,
    exit_wakers: Vec<Waker>,
    pub clock: ClockError,
    pub disk: Rc<RefCell<SimDisk>>,
    pub locked_directories: BTreeSet<String>,
    /// Small files outside the data directory.
    pub files: BTreeMap<String, Vec<u8>>,
    pub listeners: BTreeMap<u16, Listening>,
    pub next_port: u16,
    /// How often each random stream has been handed out.
    pub streams: BTreeMap<String, u64>,
    pub signals: VecDeque<ShutdownSignal>,
    pub signal_wakers: Vec<Waker>,
    /// Where its process is to end.
    armed: Option<Armed>,
    /// In which write of its own thread.
    aim: Option<Aim>,
}

impl Node {
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

/// An end to come, in a write that a process makes while it stands still.
#[derive(Debug, Clone, Copy)]
struct Aim {
    bytes_min: u64,
    loses_power: bool,
}

/// An end to come, at a named place of the code.
#[derive(Debug, Clone, Copy)]
struct Armed {
    name: &'static str,
    /// Visits until then.
    left: u32,
    loses_power: bool,
}

/// What happened at a named place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointCounts {
    pub visits: u64,
    /// Processes and machines that ended there.
    pub ends: u64,
}

/// Everything that changes.
pub(super) struct State {
    pub seed: u64,
    pub nodes: Vec<Node>,
    pub network: NetworkOptions,
    pub links: BTreeMap<(NodeId, NodeId), LinkState>,
    pub connections: BTreeMap<ConnectionId, Connection>,
    pub counts: NetworkCounts,
    points: BTreeMap<&'static str, PointCounts>,
    pub rng: ChaCha8Rng,
    sector_bytes: usize,
    disk_bytes: u64,
    /// To be woken once the state is no longer borrowed.
    pub woken: Vec<Waker>,
    events: BTreeMap<(u64, u64), Event>,
    next_number: u64,
    trace: Trace,
}

impl State {
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    pub fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }

    pub fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn schedule(&mut self, at_ns: u64, event: Event) {
        let number = self.fresh_number();
        self.events.insert((at_ns, number), event);
    }

    pub fn record(&self, now_ns: u64, kind: &'static str, node: NodeId, numbers: &[u64]) {
        self.trace.record(now_ns, kind, node.0, numbers);
    }

    fn run(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Call(id) => self.call(now_ns, id),
            Event::Called(id) => self.called(now_ns, id),
            Event::CallFailed(id) => self.call_failed(now_ns, id, io::ErrorKind::ConnectionRefused),
            Event::CallTimeout(id) => self.call_failed(now_ns, id, io::ErrorKind::TimedOut),
            Event::Arrive(id, side) => self.arrive(now_ns, id, side),
            Event::GiveUp(id, side, delivered_bytes) => self.give_up(now_ns, id, side, delivered_bytes),
            Event::Probe(id, side) => self.probe(now_ns, id, side),
            Event::OpenLink(from, to) => self.open_link(now_ns, from, to),
        }
    }

    /// Ends the process as the kernel sees it. `None` if none was running.
    fn end_process(&mut self, now_ns: u64, node: NodeId) -> Option<madsim::task::NodeId> {
        let state = self.node_mut(node);
        let process = state.process.take()?;
        state.locked_directories.clear();
        state.signals.clear();
        state.signal_wakers.clear();
        let mut exit_wakers = std::mem::take(&mut state.exit_wakers);
        self.woken.append(&mut exit_wakers);
        self.close_all(now_ns, node);
        Some(process)
    }
}

/// What all handles of one world share.
pub(super) struct Shared {
    pub state: RefCell<State>,
    time: TimeHandle,
    driver: RefCell<Option<Waker>>,
    /// When the driver will next look by itself.
    driver_due_ns: Cell<u64>,
}

impl Shared {
    pub fn now_ns(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    /// Time passes for all before anybody else is heard of: what falls due meanwhile is done late.
    pub fn stand_still(&self, duration_ns: u64) {
        self.time.advance(Duration::from_nanos(duration_ns));
    }

    /// Changes the state, then wakes whom that concerns.
    pub fn change<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let (outcome, woken, next_ns) = {
            let mut state = self.state.borrow_mut();
            let outcome = change(&mut state, self.now_ns());
            let next_ns = state.events.first_key_value().map(|((at_ns, _), _)| *at_ns);
            (outcome, std::mem::take(&mut state.woken), next_ns)
        };
        woken.into_iter().for_each(Waker::wake);
        if next_ns.is_some_and(|next_ns| next_ns < self.driver_due_ns.get())
            && let Some(driver) = self.driver.borrow_mut().take()
        {
            driver.wake();
        }
        outcome
    }
}

/// Runs the events when they are due, for as long as the world exists.
struct Driver {
    shared: Weak<Shared>,
    /// The wait for the next event, and when that is.
    sleep: Option<(u64, Sleep)>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else { return Poll::Ready(()) };
        // While it runs it looks at every event itself.
        shared.driver_due_ns.set(0);
        loop {
            let next_ns = shared.change(|state, now_ns| {
                while let Some(entry) = state.events.first_entry().filter(|entry| entry.key().0 <= now_ns) {
                    let event = entry.remove();
                    state.run(now_ns, event);
                }
                state.events.first_key_value().map(|((at_ns, _), _)| *at_ns)
            });
            shared.driver_due_ns.set(next_ns.unwrap_or(u64::MAX));
            let Some(next_ns) = next_ns else { break };
            let (_, sleep) = match &mut self.sleep {
                Some(waiting) if waiting.0 == next_ns => waiting,
                other => {
                    let left_ns = next_ns.saturating_sub(shared.now_ns());
                    other.insert((next_ns, Sleep::exact(Duration::from_nanos(left_ns))))
                }
            };
            if Pin::new(sleep).poll(context).is_pending() {
                break;
            }
            self.sleep = None;
        }
        *shared.driver.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

thread_local! {
    /// Carries the first future of a process to the scheduler, which starts it within the same call but asks
    /// for a closure that could be sent to another thread.
    static STARTING: RefCell<Option<LocalFuture<'static, ()>>> = const { RefCell::new(None) };
}

/// A world and its levers. Cheap to clone.
#[derive(Clone)]
pub struct World {
    shared: Rc<Shared>,
}

/// Runs `body` in a world of its own, on a thread of its own, and gives what it gives. `limit` bounds the
/// simulated time. Panics go through.
#[allow(
    clippy::disallowed_methods,
    reason = "one fresh thread per world: what the scheduler keeps per thread starts anew"
)]
pub fn simulate<T: Send + 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    options: WorldOptions,
    limit: Duration,
    body: impl FnOnce(World) -> F + Send,
) -> T {
    let run = || {
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.set_time_limit(limit);
        runtime.block_on(async move {
            let world = World::new(seed, options);
            let outcome = body(world.clone()).await;
            world.end().await;
            outcome
        })
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl World {
    fn new(seed: u64, options: WorldOptions) -> Self {
        let state = State {
            seed,
            nodes: Vec::new(),
            network: options.network,
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            counts: NetworkCounts::default(),
            points: BTreeMap::new(),
            rng: stream(seed, Stream { node: "world", instance: 0, purpose: "network" }),
            sector_bytes: options.sector_bytes,
            disk_bytes: options.disk_bytes,
            woken: Vec::new(),
            events: BTreeMap::new(),
            next_number: 0,
            trace: Trace::new(options.events_kept),
        };
        let shared = Rc::new(Shared {
            state: RefCell::new(state),
            time: TimeHandle::current(),
            driver: RefCell::new(None),
            driver_due_ns: Cell::new(0),
        });
        drop(super::spawn(Driver { shared: Rc::downgrade(&shared), sleep: None }));
        Self { shared }
    }

    /// A new machine, switched on, without a process. Its address is drawn from 10.0.0.0/8 in order.
    pub fn add_node(&self, name: &str, zone: &str) -> NodeId {
        self.shared.change(|state, now_ns| {
            let id = NodeId(state.nodes.len() as u32);
            let disk_rng = stream(state.seed, Stream { node: name, instance: 0, purpose: "disk" });
            let uptime_ns = state.rng.between(1_000_000_000, 1_000_000_000_000);
            state.nodes.push(Node {
                name: name.to_owned(),
                zone: zone.to_owned(),
                ip: Ipv4Addr::from_bits(0x0a00_0001 + id.0).into(),
                boot: 0,
                is_powered: true,
                process: None,
                exit_wakers: Vec::new(),
                clock: ClockError::new(now_ns, uptime_ns, WALL_START_US + (now_ns / 1_000) as i64),
                disk: Rc::new(RefCell::new(SimDisk::new(disk_rng, state.sector_bytes, state.disk_bytes))),
                locked_directories: BTreeSet::new(),
                files: BTreeMap::new(),
                listeners: BTreeMap::new(),
                next_port: 0,
                streams: BTreeMap::new(),
                signals: VecDeque::new(),
                signal_wakers: Vec::new(),
                armed: None,
                aim: None,
            });
            id
        })
    }

    pub(super) fn of(shared: Rc<Shared>) -> Self {
        Self { shared }
    }

    /// What this node sees. The campaign's own clients use it directly; a process gets it from [`World::start`].
    pub fn host(&self, node: NodeId) -> Host {
        Host::new(Rc::clone(&self.shared), node)
    }

    /// The node's address.
    pub fn address(&self, node: NodeId) -> IpAddr {
        self.shared.state.borrow().node(node).ip
    }

    /// Starts the node's process, switching the machine on if need be. The process ends when the future does.
    pub fn start<F: Future<Output = ()> + 'static>(&self, node: NodeId, body: impl FnOnce(Host) -> F) {
        let name = self.shared.change(|state, now_ns| {
            state.node_mut(node).boot += 1;
            let known = state.node(node);
            assert!(known.process.is_none(), "a node runs one process at a time");
            let (name, boot) = (format!("{}#{}", known.name, known.boot), known.boot);
            if !state.node(node).is_powered {
                let uptime_ns = state.rng.between(1_000_000_000, 60_000_000_000);
                state.node_mut(node).is_powered = true;
                state.node_mut(node).clock.restart(now_ns, uptime_ns);
                for other in 0..state.nodes.len() as u32 {
                    state.open_link(now_ns, NodeId(other), node);
                }
            }
            state.record(now_ns, "start", node, &[boot]);
            name
        });
        let (shared, future) = (Rc::clone(&self.shared), body(self.host(node)));
        let first: LocalFuture<'static, ()> = Box::pin(async move {
            future.await;
            shared.change(|state, now_ns| {
                state.record(now_ns, "exit", node, &[]);
                state.end_process(now_ns, node);
                state.node(node).disk.borrow_mut().kill();
            });
        });
        STARTING.with_borrow_mut(|starting| *starting = Some(first));
        let take = || STARTING.take().expect("set just before; the scheduler asks once");
        let process = Handle::current().create_node().name(name).init(take).build().id();
        self.shared.change(|state, _| state.node_mut(node).process = Some(process));
    }

    /// True while the node's process runs.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.shared.state.borrow().node(node).is_running()
    }

    /// Waits until the node's process has ended, by itself or not.
    pub async fn exited(&self, node: NodeId) {
        poll_fn(|context| {
            self.shared.change(|state, _| {
                let node = state.node_mut(node);
                if node.process.is_none() {
                    return Poll::Ready(());
                }
                node.exit_wakers.push(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// SIGKILL: all tasks of the node end where they are; its machine stays on. Nothing happens if none runs.
    pub fn kill(&self, node: NodeId) {
        let process = self.shared.change(|state, now_ns| {
            let process = state.end_process(now_ns, node)?;
            state.record(now_ns, "kill", node, &[]);
            state.node(node).disk.borrow_mut().kill();
            Some(process)
        });
        if let Some(process) = process {
            Handle::current().kill(process);
        }
    }

    /// Pulls the plug: nobody hears of it. The machine stays off until [`World::start`].
    pub fn power_loss(&self, node: NodeId) {
        let process = self.shared.change(|state, now_ns| {
            if !std::mem::replace(&mut state.node_mut(node).is_powered, false) {
                return None;
            }
            state.record(now_ns, "power-loss", node, &[]);
            state.vanish_all(node);
            state.node(node).disk.borrow_mut().power_loss();
            state.end_process(now_ns, node)
        });
        if let Some(process) = process {
            Handle::current().kill(process);
        }
    }

    /// The node's process, or its whole machine, ends at the `visit`-th visit from now on of a named place. Takes the
    /// place of what was armed before.
    pub fn arm(&self, node: NodeId, name: &'static str, visit: u32, loses_power: bool) {
        assert!(visit > 0, "the first visit is number one");
        let armed = Armed { name, left: visit, loses_power };
        self.shared.change(|state, _| state.node_mut(node).armed = Some(armed));
    }

    /// Nothing is to end at a named place any more. Gives how many visits were left until then, if something was.
    pub fn disarm(&self, node: NodeId) -> Option<u32> {
        self.shared.change(|state, _| state.node_mut(node).armed.take().map(|armed| armed.left))
    }

    /// The node's process, or its whole machine, ends in the next write of at least so many bytes for which it stands
    /// still: no other moment of the world falls into such a write.
    pub fn aim(&self, node: NodeId, bytes_min: u64, loses_power: bool) {
        self.shared.change(|state, _| state.node_mut(node).aim = Some(Aim { bytes_min, loses_power }));
    }

    /// Takes an aim back. False if it was hit, or there was none.
    pub fn take_aim_back(&self, node: NodeId) -> bool {
        self.shared.change(|state, _| state.node_mut(node).aim.take().is_some())
    }

    /// A write of so many bytes is between two of its steps. If one was aimed at it may end the process here, and does
    /// so at the last.
    pub(super) fn hit(&self, node: NodeId, bytes: u64, is_last: bool) {
        let aim = self.shared.change(|state, _| {
            let aim = state.node(node).aim.filter(|aim| bytes >= aim.bytes_min)?;
            if !is_last && state.rng.chance(0.5) {
                return None;
            }
            state.node_mut(node).aim = None;
            Some(aim)
        });
        match aim.map(|aim| aim.loses_power) {
            Some(true) => self.power_loss(node),
            Some(false) => self.kill(node),
            None => {}
        }
    }

    /// Named places and what happened there, of those visited so far.
    pub fn points(&self) -> BTreeMap<&'static str, PointCounts> {
        self.shared.state.borrow().points.clone()
    }

    pub(super) fn visit(&self, node: NodeId, name: &'static str) {
        let end = self.shared.change(|state, now_ns| {
            state.points.entry(name).or_default().visits += 1;
            let known = state.node_mut(node);
            // Its process may have ended, and the rest of its code until the next wait be running still.
            known.process?;
            let armed = known.armed.as_mut().filter(|armed| armed.name == name)?;
            armed.left -= 1;
            if armed.left > 0 {
                return None;
            }
            let armed = known.armed.take()?;
            state.points.entry(name).or_default().ends += 1;
            state.record(now_ns, name, node, &[]);
            Some(armed.loses_power)
        });
        match end {
            Some(true) => self.power_loss(node),
            Some(false) => self.kill(node),
            None => {}
        }
    }

    /// Stops the process as SIGSTOP does; time, kernel and network go on.
    pub fn pause(&self, node: NodeId) {
        self.of_process(node, "pause", |handle, process| handle.pause(process));
    }

    /// Lets a stopped process go on.
    pub fn resume(&self, node: NodeId) {
        self.of_process(node, "resume", |handle, process| handle.resume(process));
    }

    fn of_process(&self, node: NodeId, kind: &'static str, verb: impl FnOnce(&Handle, madsim::task::NodeId)) {
        let process = self.shared.change(|state, now_ns| {
            state.record(now_ns, kind, node, &[]);
            state.node(node).process
        });
        if let Some(process) = process {
            verb(&Handle::current(), process);
        }
    }

    /// Sends a signal to the node's process.
    pub fn signal(&self, node: NodeId, signal: ShutdownSignal) {
        self.shared.change(|state, now_ns| {
            state.record(now_ns, "signal", node, &[u64::from(signal == ShutdownSignal::Interrupt)]);
            let node = state.node_mut(node);
            node.signals.push_back(signal);
            let mut wakers = std::mem::take(&mut node.signal_wakers);
            state.woken.append(&mut wakers);
        });
    }

    // ---- clocks ------------------------------------------------------------------------------------------

    /// Both clocks of the node run faster by these millionths (slower if negative) from now on.
    pub fn set_clock_rate(&self, node: NodeId, rate_ppm: i64) {
        self.change_clock(node, "clock-rate", rate_ppm, |clock, now_ns| clock.set_rate(now_ns, rate_ppm));
    }

    /// The node's wall clock jumps.
    pub fn jump_wall_clock(&self, node: NodeId, by_us: i64) {
        self.change_clock(node, "clock-jump", by_us, |clock, _| clock.jump_wall(by_us));
    }

    fn change_clock(
        &self,
        node: NodeId,
        kind: &'static str,
        by: i64,
        change: impl FnOnce(&mut ClockError, u64),
    ) {
        self.shared.change(|state, now_ns| {
            state.record(now_ns, kind, node, &[by as u64]);
            change(&mut state.node_mut(node).clock, now_ns);
        });
    }

    // ---- network -----------------------------------------------------------------------------------------

    fn change_links(
        &self,
        kind: &'static str,
        pairs: Vec<(NodeId, NodeId)>,
        change: impl Fn(&mut LinkState, u64),
    ) {
        self.shared.change(|state, now_ns| {
            for (from, to) in pairs {
                state.record(now_ns, kind, from, &[u64::from(to.0)]);
                let link = state.links.entry((from, to)).or_default();
                change(link, now_ns);
                let opens_ns = link.stalled_until_ns;
                state.open_link(now_ns, from, to);
                if opens_ns > now_ns {
                    state.schedule(opens_ns, Event::OpenLink(from, to));
                }
            }
        });
    }

    /// Nothing gets from one node to the other any more; the other direction is as before.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.change_links("cut", vec![(from, to)], |link, _| link.is_cut = true);
    }

    /// Nothing gets from one zone to the other any more.
    pub fn cut_zones(&self, from: &str, to: &str) {
        let pairs = self.pairs(|a, b| a.zone == from && b.zone == to);
        self.change_links("cut", pairs, |link, _| link.is_cut = true);
    }

    /// Cuts the node off from all others, both ways.
    pub fn isolate(&self, node: NodeId) {
        let name = self.shared.state.borrow().node(node).name.clone();
        let pairs = self.pairs(|a, b| (a.name == name) != (b.name == name));
        self.change_links("cut", pairs, |link, _| link.is_cut = true);
    }

    /// Takes back a cut or stall of one direction. Links that were set keep their delays.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.change_links("heal", vec![(from, to)], LinkState::clear);
    }

    /// Takes back all cuts and stalls.
    pub fn heal_all(&self) {
        let pairs = self.pairs(|_, _| true);
        self.change_links("heal", pairs, LinkState::clear);
    }

    /// Holds everything from one node to the other for a while.
    pub fn stall(&self, from: NodeId, to: NodeId, duration: Duration) {
        self.change_links("stall", vec![(from, to)], |link, now_ns| {
            link.stalled_until_ns = now_ns + duration.as_nanos() as u64;
        });
    }

    /// Gives one direction its own delays and chances; `None` those of the world.
    pub fn set_link(&self, from: NodeId, to: NodeId, link: Option<Link>) {
        self.change_links("link", vec![(from, to)], |state, _| state.link.clone_from(&link));
    }

    /// Changes what holds for all connections.
    pub fn change_network(&self, change: impl FnOnce(&mut NetworkOptions)) {
        self.shared.change(|state, _| change(&mut state.network));
    }

    /// Resets one open connection, drawn at random, of this node or of any. False if there is none.
    pub fn reset_random(&self, node: Option<NodeId>) -> bool {
        self.shared.change(|state, now_ns| state.reset_one(now_ns, |end| node.is_none_or(|node| node == end)))
    }

    /// How often each thing has happened on the network.
    pub fn network_counts(&self) -> NetworkCounts {
        self.shared.state.borrow().counts
    }

    fn pairs(&self, is_meant: impl Fn(&Node, &Node) -> bool) -> Vec<(NodeId, NodeId)> {
        let state = self.shared.state.borrow();
        let ids = || (0..state.nodes.len() as u32).map(NodeId);
        ids()
            .flat_map(|from| ids().map(move |to| (from, to)))
            .filter(|(from, to)| is_meant(state.node(*from), state.node(*to)))
            .collect()
    }

    // ---- disks and the rest ------------------------------------------------------------------------------

    /// Looks at or changes the node's disk: rates, capacity, rot, counts.
    pub fn with_disk<T>(&self, node: NodeId, change: impl FnOnce(&mut SimDisk) -> T) -> T {
        let disk = Rc::clone(&self.shared.state.borrow().node(node).disk);
        let mut disk = disk.borrow_mut();
        change(&mut disk)
    }

    /// A random stream of the campaign's own.
    pub fn rng(&self, purpose: &str) -> ChaCha8Rng {
        stream(self.shared.state.borrow().seed, Stream { node: "campaign", instance: 0, purpose })
    }

    /// True time since the start of the run.
    pub fn now_ns(&self) -> u64 {
        self.shared.now_ns()
    }

    /// The run's trace.
    pub fn trace(&self) -> Trace {
        self.shared.state.borrow().trace.clone()
    }

    /// Records an event of the campaign.
    pub fn record(&self, kind: &'static str, node: NodeId, numbers: &[u64]) {
        self.shared.state.borrow().record(self.shared.now_ns(), kind, node, numbers);
    }

    /// Kills everything and lets go of what takes room, so that a long row of worlds does not pile up even if
    /// tasks of the campaign are still waiting.
    async fn end(&self) {
        let count = self.shared.state.borrow().nodes.len() as u32;
        (0..count).for_each(|node| self.kill(NodeId(node)));
        pause_ns(1_000_000).await;
        self.shared.change(|state, _| {
            state.connections.clear();
            state.events.clear();
            let rng = state.rng.clone();
            state.nodes.iter().for_each(|node| *node.disk.borrow_mut() = SimDisk::new(rng.clone(), 512, 0));
        });
    }
}

impl LinkState {
    fn clear(&mut self, _now_ns: u64) {
        (self.is_cut, self.stalled_until_ns) = (false, 0);
    }
}
