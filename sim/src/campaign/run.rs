//! One run: a node, its clients, its faults, and the verdict.
//!
//! Lives here: starting and restarting the node, making the drawn faults happen, healing, the final read.
//! Not here: what is drawn (`options`), the clients (`client`), the judges (`checker`).
//!
//! Invariant: everything comes from the seed; the trace's hash tells whether two runs were the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_net::{
    Host, NodeId, PointCounts, WRITTEN_NOT_SYNCED, World, WorldOptions, simulate, sleep, timeout,
};
use ramkeep_server::point;
use rand_chacha::ChaCha8Rng;

use super::client::{self, Shared, SharedRef};
use super::damage;
use super::node::{Bugs, End, PORT, Place, serve};
use super::options::{Fault, Options, Purpose};
use crate::checker::{Report, check};
use crate::history::{ClockKind, Header, History, Recorder, Source, VERSION};
use crate::random::{between, chance, pick};
use crate::session::Book;
use crate::workload::Workloads;

/// After the last fault the node must serve within this.
pub(super) const HEALED_MS_MAX: u64 = 30_000;
/// The whole final read takes no longer.
pub(super) const FINAL_READ_S_MAX: u64 = 120;
/// A power loss or kill that waits for a write to hit waits no longer.
const AIM_STEPS_MAX: u32 = 4_000;
const AIM_STEP_US: u64 = 50;
/// A write of several entries or sectors, which may be parted.
const AIM_BYTES: u64 = 1_024;

/// What came of a run.
pub struct Verdict {
    pub report: Report,
    /// What the node itself did wrong: refused to start, did not come back, a changed digest.
    pub complaints: Vec<String>,
    /// The damage that the node found, where it was to find some.
    pub detected: Option<String>,
    pub history: History,
    pub trace_hash: u64,
    pub answered: u64,
    pub faults: BTreeMap<String, u64>,
    /// A sync has lied: one node cannot know what it lost.
    pub may_lose: bool,
    /// Rare states that the run has been in, and how often.
    pub reached: BTreeMap<&'static str, u64>,
    /// Named places of the code that processes came to, and ended at.
    pub points: BTreeMap<&'static str, PointCounts>,
}

impl Verdict {
    pub fn is_passed(&self) -> bool {
        let is_explained = self.report.is_passed() || (self.may_lose && self.report.undecided.is_empty());
        is_explained && self.complaints.is_empty()
    }
}

/// Plays the run that the options describe.
pub fn run(options: &Options, bugs: Bugs) -> Verdict {
    if options.purpose.is_cluster() {
        return super::cluster::run(options, bugs);
    }
    let world_options = WorldOptions { sector_bytes: 512, ..WorldOptions::default() };
    let limit = Duration::from_millis(options.duration_ms + 600_000);
    let drawn = options.clone();
    let outcome = simulate(options.seed, world_options, limit, move |world| async move {
        let run = Run::new(world, drawn, bugs);
        run.play().await
    });
    let Outcome { history, faults, complaints, detected, trace_hash, answered, points } = outcome;
    let report = check(&history, &options.limits());
    let may_lose = options.has(Fault::LyingSync);
    Verdict {
        report,
        complaints,
        detected,
        history,
        trace_hash,
        answered,
        faults,
        may_lose,
        reached: BTreeMap::new(),
        points,
    }
}

struct Outcome {
    history: History,
    faults: BTreeMap<String, u64>,
    complaints: Vec<String>,
    detected: Option<String>,
    trace_hash: u64,
    answered: u64,
    points: BTreeMap<&'static str, PointCounts>,
}

/// What the node's process says of itself.
#[derive(Debug, Default)]
struct Told {
    complaints: Vec<String>,
    /// Why it refused to start for good: its data are damaged.
    refusal: Option<String>,
    /// Why its last start failed, if it did and may go better next time.
    failure: Option<String>,
}

pub(super) struct Run {
    pub(super) world: World,
    pub(super) options: Rc<Options>,
    bugs: Bugs,
    pub(super) node: NodeId,
    shared: SharedRef,
    told: Rc<RefCell<Told>>,
    pub(super) rng: ChaCha8Rng,
    jumps_left_ms: i64,
}

impl Run {
    fn new(world: World, options: Options, bugs: Bugs) -> Run {
        let node = world.add_node("node", "a");
        let header = Header {
            version: VERSION,
            run: format!("sim-{:x}", options.seed),
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
        let rng = world.rng("faults");
        let jumps_left_ms = options.clock_jump_ms_total_max.cast_signed();
        Run {
            world,
            options: Rc::new(options),
            bugs,
            node,
            shared: Rc::new(RefCell::new(shared)),
            told: Rc::default(),
            rng,
            jumps_left_ms,
        }
    }

    async fn play(mut self) -> Outcome {
        self.set_up();
        self.start_node();
        let clients = self.start_clients();
        self.attack().await;
        self.heal();
        self.shared.borrow_mut().is_over = true;
        for client in clients {
            let patience = Duration::from_millis(self.options.client_timeout_ms * 4 + 20_000);
            if timeout(patience, self.world.exited(client)).await.is_err() {
                self.complain("a client does not end");
            }
        }
        if self.options.purpose == Purpose::Detect && !self.has_refused() {
            // What stands on the disk is looked at once more before the last word.
            self.restart(false, 50).await;
        }
        if self.has_refused() {
            self.check_refusal().await;
        } else {
            self.final_read().await;
        }
        let trace_hash = self.world.trace().hash();
        let points = self.world.points();
        self.world.kill(self.node);
        let (shared, told) = (Rc::clone(&self.shared), Rc::clone(&self.told));
        drop(self);
        sleep(Duration::from_millis(1)).await;
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let shared = shared.into_inner();
        let told = told.take();
        let answered = shared.book.answered;
        let (history, faults) = shared.book.recorder.end();
        let (complaints, detected) = (told.complaints, told.refusal);
        Outcome { history, faults, complaints, detected, trace_hash, answered, points }
    }

    fn complain(&self, text: impl Into<String>) {
        self.told.borrow_mut().complaints.push(text.into());
    }

    fn has_refused(&self) -> bool {
        self.told.borrow().refusal.is_some()
    }

    /// Having refused, the node has changed nothing: it refuses again.
    async fn check_refusal(&self) {
        let first = self.told.borrow_mut().refusal.take();
        if !self.world.is_running(self.node) {
            self.start_node();
        }
        if timeout(Duration::from_millis(HEALED_MS_MAX), self.world.exited(self.node)).await.is_err() {
            self.complain("the node serves after it had refused to");
        }
        self.told.borrow_mut().refusal = first;
    }

    fn set_up(&mut self) {
        let options = Rc::clone(&self.options);
        self.world.change_network(|network| {
            network.link.latency_us = (options.network_latency_us.low, options.network_latency_us.high);
        });
        self.world.with_disk(self.node, |disk| {
            disk.faults.latency.sync_us = (options.disk_latency_us.low, options.disk_latency_us.high);
            self.bugs.set_up_disk(&mut disk.faults);
            disk.faults.write_back = f64::from(options.sectors_kept_per_mille) / 2_000.0;
            if options.has(Fault::SlowDisk) {
                disk.faults.latency.slow = 0.02;
                disk.faults.latency.slow_us = (1_000, 300_000);
            }
        });
        if options.clock_drift_ppm != 0 {
            self.world.set_clock_rate(self.node, options.clock_drift_ppm);
        }
    }

    fn start_clients(&self) -> Vec<NodeId> {
        let address = SocketAddr::new(self.world.address(self.node), PORT);
        let start = |number: u32| {
            let client = self.world.add_node(&format!("client{number}"), "clients");
            let (shared, options) = (Rc::clone(&self.shared), Rc::clone(&self.options));
            self.world.start(client, move |host| {
                client::run(host, shared, options, vec![address], client::Habit::Works(0))
            });
            client
        };
        (0..self.options.clients).map(start).collect()
    }

    fn start_node(&self) {
        let (options, bugs) = (Rc::clone(&self.options), self.bugs);
        let told = Rc::clone(&self.told);
        self.world.start(self.node, move |host| async move {
            let end = serve(host, &options, bugs, Place::Alone, |_| {}).await;
            let mut told = told.borrow_mut();
            match end {
                Ok(()) => told.failure = None,
                Err(End::Disk(why)) => told.failure = Some(why),
                Err(End::Damage(why)) if options.purpose == Purpose::Detect => told.refusal = Some(why),
                Err(End::Damage(why)) => told.complaints.push(format!("refused to start: {why}")),
            }
        });
    }

    /// Makes faults happen until the time is over, and starts the node again after each end.
    async fn attack(&mut self) {
        let end_ns = self.world.now_ns() + self.options.duration_ms * 1_000_000;
        let options = Rc::clone(&self.options);
        let mut next: Vec<(u64, Fault)> = Vec::new();
        for rate in &options.faults {
            next.push((self.world.now_ns() + self.pause_ns(rate.interval_ms), rate.fault));
        }
        while self.world.now_ns() < end_ns && !self.has_refused() {
            if !self.world.is_running(self.node) {
                sleep(Duration::from_millis(between(&mut self.rng, 1, 200))).await;
                self.start_node();
            }
            let now_ns = self.world.now_ns();
            for ((at_ns, fault), rate) in next.iter_mut().zip(&options.faults) {
                if *at_ns <= now_ns && !self.has_refused() {
                    self.strike(*fault).await;
                    *at_ns = self.world.now_ns() + self.pause_ns(rate.interval_ms);
                }
            }
            sleep(Duration::from_micros(between(&mut self.rng, 200, 20_000))).await;
        }
    }

    fn pause_ns(&mut self, interval_ms: u64) -> u64 {
        between(&mut self.rng, interval_ms * 200_000, interval_ms * 1_800_000)
    }

    async fn strike(&mut self, fault: Fault) {
        self.shared.borrow_mut().book.recorder.fault(self.world.now_ns(), fault.name(), BTreeMap::new());
        match fault {
            Fault::Kill => self.restart(false, 300).await,
            Fault::PowerLoss => self.restart(true, 300).await,
            Fault::RestartLoop => {
                for _ in 0..between(&mut self.rng, 2, 6) {
                    let has_power = chance(&mut self.rng, 500);
                    self.restart(has_power, 20).await;
                    sleep(Duration::from_micros(between(&mut self.rng, 0, 20_000))).await;
                }
            }
            Fault::ClockJump => {
                let by_ms = between(&mut self.rng, 1, (self.jumps_left_ms / 2).max(1).cast_unsigned());
                if self.jumps_left_ms >= by_ms.cast_signed() {
                    self.jumps_left_ms -= by_ms.cast_signed();
                    let sign = if chance(&mut self.rng, 500) { 1 } else { -1 };
                    self.world.jump_wall_clock(self.node, sign * by_ms.cast_signed() * 1_000);
                }
            }
            Fault::Reset => {
                self.world.reset_random(Some(self.node));
            }
            Fault::DiskFull => {
                self.world.with_disk(self.node, |disk| disk.set_capacity(0));
                sleep(Duration::from_millis(between(&mut self.rng, 100, 2_000))).await;
                self.world.with_disk(self.node, |disk| disk.set_capacity(1 << 30));
            }
            Fault::SyncError => self.fail_disk(|faults, rate| faults.sync_error = rate).await,
            Fault::TornWrite => self.fail_disk(|faults, rate| faults.write_error = rate).await,
            Fault::CrashPoint => {
                let (name, visit) = draw_point(&mut self.rng, Purpose::Survive);
                let loses_power = chance(&mut self.rng, 500);
                self.world.arm(self.node, name, visit, loses_power);
            }
            Fault::ClockDrift | Fault::HalfPipeline | Fault::ClientTimeout | Fault::SlowDisk => {}
            Fault::PrimaryKill
            | Fault::AllDown
            | Fault::Partition
            | Fault::OneWayCut
            | Fault::Stall
            | Fault::Pause
            | Fault::DiskLost
            | Fault::LonePrimary
            | Fault::SplitVote
            | Fault::FetchBroken
            | Fault::MembersChanged
            | Fault::DiskDamaged
            | Fault::TwoHarmed => unreachable!("faults of a cluster"),
            Fault::BitRot | Fault::ReadError | Fault::LyingSync | Fault::MisdirectedWrite => {
                damage::strike(self, fault).await;
            }
        }
    }

    /// Ends process or machine and starts it again: at any moment, or at one where a write is under way.
    pub(super) async fn restart(&mut self, loses_power: bool, pause_ms_max: u64) {
        if chance(&mut self.rng, 500) {
            let bytes = if chance(&mut self.rng, 500) { AIM_BYTES } else { 1 };
            // A write for which the process stands still is over before anybody can look.
            self.world.aim(self.node, bytes, loses_power);
            let has_write = || self.world.with_disk(self.node, |disk| disk.bytes_under_way() >= bytes);
            for _ in 0..AIM_STEPS_MAX {
                if has_write() || !self.world.is_running(self.node) {
                    break;
                }
                sleep(Duration::from_micros(AIM_STEP_US)).await;
            }
            self.world.take_aim_back(self.node);
        }
        if loses_power {
            self.world.power_loss(self.node);
        } else {
            self.world.kill(self.node);
        }
        sleep(Duration::from_millis(between(&mut self.rng, 1, pause_ms_max))).await;
        if !self.has_refused() {
            self.start_node();
        }
    }

    /// Lets disk calls fail for a moment. The node must fence itself; a fenced one is started again.
    async fn fail_disk(&mut self, set: impl Fn(&mut ramkeep_net::simdisk::Faults, f64)) {
        self.world.with_disk(self.node, |disk| set(&mut disk.faults, 1.0));
        sleep(Duration::from_millis(between(&mut self.rng, 1, 20))).await;
        self.world.with_disk(self.node, |disk| set(&mut disk.faults, 0.0));
        if chance(&mut self.rng, 500) {
            sleep(Duration::from_millis(between(&mut self.rng, 1, 50))).await;
            self.restart(true, 50).await;
        }
    }

    fn heal(&self) {
        self.world.heal_all();
        self.world.disarm(self.node);
        self.world.with_disk(self.node, |disk| {
            disk.set_capacity(1 << 30);
            disk.faults.latency.slow = 0.0;
        });
    }

    /// The node must serve again, and every key is read once more.
    async fn final_read(&mut self) {
        let reader = self.world.add_node("reader", "clients");
        let address = SocketAddr::new(self.world.address(self.node), PORT);
        let (shared, told) = (Rc::clone(&self.shared), Rc::clone(&self.told));
        let purpose = self.options.purpose;
        self.world.start(reader, move |host| async move {
            if let Err(why) = read_finally(&host, &shared, address).await {
                let mut told = told.borrow_mut();
                let failure = told.failure.clone();
                match purpose {
                    Purpose::Survive | Purpose::Cluster | Purpose::Exceed => told.complaints.push(why),
                    // Not to serve is what is wanted, with a reason.
                    Purpose::Detect if failure.is_some() => told.refusal = failure,
                    Purpose::Detect if told.refusal.is_some() => {}
                    Purpose::Detect => told.complaints.push(why),
                }
            }
        });
        while self.world.is_running(reader) {
            if !self.world.is_running(self.node) && !self.has_refused() {
                self.start_node();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A named place of the code, and at which visit of it the process is to end.
pub(super) fn draw_point(rng: &mut ChaCha8Rng, purpose: Purpose) -> (&'static str, u32) {
    let names: Vec<&'static str> = crash_points(purpose).collect();
    (*pick(rng, &names), between(rng, 1, 3) as u32)
}

/// Every named place at which a process may be made to end.
pub fn crash_points(purpose: Purpose) -> impl Iterator<Item = &'static str> {
    let is_visited = move |name: &&str| !purpose.is_cluster() || !point::OF_A_NODE_ALONE.contains(name);
    point::ALL.iter().copied().filter(is_visited).chain([WRITTEN_NOT_SYNCED])
}

/// Waits until the node serves, reads every key, and has the node rebuild its data from its log.
async fn read_finally(host: &Host, shared: &SharedRef, address: SocketAddr) -> Result<(), String> {
    let now_ns = || (shared.borrow().now_ns)();
    let deadline_ns = now_ns() + HEALED_MS_MAX * 1_000_000;
    while !is_serving(host, address).await {
        if now_ns() > deadline_ns {
            return Err("the node does not serve after everything was healed".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let calls = shared.borrow().book.workloads.final_reads();
    let began_ns = now_ns();
    shared.borrow_mut().book.recorder.begin_final_read(began_ns);
    let reading = client::read_all(host, shared, address, calls);
    let reading = timeout(Duration::from_secs(FINAL_READ_S_MAX), reading).await;
    let reading = reading.map_err(|_| "the final read is not answered".to_string())?;
    reading.map_err(|error| format!("the final read failed: {error}"))?;
    match ask(host, address, b"DEBUG LOADAOF\r\n").await {
        Ok(answer) if answer == b"+OK\r\n" => Ok(()),
        Ok(answer) => Err(format!("DEBUG LOADAOF answered {}", answer.escape_ascii())),
        Err(error) => Err(format!("DEBUG LOADAOF: {error}")),
    }
}

async fn is_serving(host: &Host, address: SocketAddr) -> bool {
    matches!(ask(host, address, b"PING\r\n").await, Ok(answer) if answer == b"+PONG\r\n")
}

/// One inline request and the first piece of its answer.
pub(super) async fn ask(host: &Host, address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let patience = Duration::from_secs(10);
    let asking = async {
        let conn = host.connect(address).await?;
        conn.write_all(request).await?;
        let mut answer = Vec::with_capacity(256);
        while !answer.ends_with(b"\r\n") && conn.read(&mut answer).await? > 0 {}
        Ok(answer)
    };
    timeout(patience, asking).await?
}
