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

use ramkeep_engine::NodeFacts;
use ramkeep_engine::config::Config;
use ramkeep_engine::time::Now;
use ramkeep_log::Mutants;
use ramkeep_net::{Host, NodeId, World, WorldOptions, simulate, sleep, timeout};
use ramkeep_server::start;
use rand_chacha::ChaCha8Rng;

use super::client::{self, Shared, SharedRef};
use super::options::{Fault, Options};
use crate::checker::{Report, check};
use crate::history::{ClockKind, Header, History, Recorder, Source, VERSION};
use crate::random::{between, chance};
use crate::workload::Workloads;

const PORT: u16 = 6379;
/// A turn ends here: small, so that several entries are under way.
const TURN_BYTES_MAX: usize = 4 << 10;
/// Segments below this would not hold a turn and the room wanted before it.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// After the last fault the node must serve within this.
const HEALED_MS_MAX: u64 = 30_000;

/// Which seeded bugs are on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    pub log: Mutants,
    pub shard: Option<ramkeep_shard::Mutant>,
}

/// What came of a run.
pub struct Verdict {
    pub report: Report,
    /// What the node itself did wrong: refused to start, did not come back, a changed digest.
    pub complaints: Vec<String>,
    pub history: History,
    pub trace_hash: u64,
    pub answered: u64,
    pub faults: BTreeMap<String, u64>,
}

impl Verdict {
    pub fn is_passed(&self) -> bool {
        self.report.is_passed() && self.complaints.is_empty()
    }
}

/// Plays the run that the options describe.
pub fn run(options: &Options, bugs: Bugs) -> Verdict {
    let world_options = WorldOptions { sector_bytes: 512, ..WorldOptions::default() };
    let limit = Duration::from_millis(options.duration_ms + 600_000);
    let drawn = options.clone();
    let outcome = simulate(options.seed, world_options, limit, move |world| async move {
        let run = Run::new(world, drawn, bugs);
        run.play().await
    });
    let (history, faults, complaints, trace_hash, answered) = outcome;
    let report = check(&history, &options.limits());
    Verdict { report, complaints, history, trace_hash, answered, faults }
}

type Outcome = (History, BTreeMap<String, u64>, Vec<String>, u64, u64);

struct Run {
    world: World,
    options: Rc<Options>,
    bugs: Bugs,
    node: NodeId,
    shared: SharedRef,
    complaints: Rc<RefCell<Vec<String>>>,
    rng: ChaCha8Rng,
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
            recorder: Recorder::new(header),
            workloads: Workloads::new(options.mix),
            is_over: false,
            answered: 0,
        };
        let rng = world.rng("faults");
        let jumps_left_ms = options.clock_jump_ms_total_max.cast_signed();
        Run {
            world,
            options: Rc::new(options),
            bugs,
            node,
            shared: Rc::new(RefCell::new(shared)),
            complaints: Rc::default(),
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
        self.final_read().await;
        let trace_hash = self.world.trace().hash();
        let complaints = self.complaints.borrow().clone();
        self.world.kill(self.node);
        let shared = Rc::clone(&self.shared);
        drop(self);
        sleep(Duration::from_millis(1)).await;
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let shared = shared.into_inner();
        let answered = shared.answered;
        let (history, faults) = shared.recorder.end();
        (history, faults, complaints, trace_hash, answered)
    }

    fn complain(&self, text: impl Into<String>) {
        self.complaints.borrow_mut().push(text.into());
    }

    fn set_up(&mut self) {
        let options = Rc::clone(&self.options);
        self.world.change_network(|network| {
            network.link.latency_us = (options.network_latency_us.low, options.network_latency_us.high);
        });
        self.world.with_disk(self.node, |disk| {
            disk.faults.latency.sync_us = (options.disk_latency_us.low, options.disk_latency_us.high);
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
            self.world.start(client, move |host| client::run(host, shared, options, address));
            client
        };
        (0..self.options.clients).map(start).collect()
    }

    fn start_node(&self) {
        let (options, bugs) = (Rc::clone(&self.options), self.bugs);
        let complaints = Rc::clone(&self.complaints);
        self.world.start(self.node, move |host| async move {
            if let Err(why) = serve(host, &options, bugs).await {
                complaints.borrow_mut().push(why);
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
        while self.world.now_ns() < end_ns {
            if !self.world.is_running(self.node) {
                sleep(Duration::from_millis(between(&mut self.rng, 1, 200))).await;
                self.start_node();
            }
            let now_ns = self.world.now_ns();
            for ((at_ns, fault), rate) in next.iter_mut().zip(&options.faults) {
                if *at_ns <= now_ns {
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
        self.shared.borrow_mut().recorder.fault(self.world.now_ns(), fault.name(), BTreeMap::new());
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
            Fault::ClockDrift | Fault::HalfPipeline | Fault::ClientTimeout | Fault::SlowDisk => {}
            Fault::BitRot | Fault::LyingSync | Fault::MisdirectedWrite => {}
        }
    }

    async fn restart(&mut self, loses_power: bool, pause_ms_max: u64) {
        if loses_power {
            self.world.power_loss(self.node);
        } else {
            self.world.kill(self.node);
        }
        sleep(Duration::from_millis(between(&mut self.rng, 1, pause_ms_max))).await;
        self.start_node();
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
        self.world.with_disk(self.node, |disk| {
            disk.set_capacity(1 << 30);
            disk.faults.latency.slow = 0.0;
        });
    }

    /// The node must serve again, and every key is read once more.
    async fn final_read(&mut self) {
        let reader = self.world.add_node("reader", "clients");
        let address = SocketAddr::new(self.world.address(self.node), PORT);
        let (shared, complaints) = (Rc::clone(&self.shared), Rc::clone(&self.complaints));
        self.world.start(reader, move |host| async move {
            if let Err(why) = read_finally(&host, &shared, address).await {
                complaints.borrow_mut().push(why);
            }
        });
        while self.world.is_running(reader) {
            if !self.world.is_running(self.node) {
                self.start_node();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
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
    let calls = shared.borrow().workloads.final_reads();
    let began_ns = now_ns();
    shared.borrow_mut().recorder.begin_final_read(began_ns);
    let reading = client::read_all(host, shared, address, calls).await;
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
async fn ask(host: &Host, address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
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

/// The node's process: as the binary starts it, on the simulated host.
async fn serve(host: Host, options: &Options, bugs: Bugs) -> Result<(), String> {
    let mut config = Config::new();
    let segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN).to_string();
    let settings: [(&str, &[u8]); 4] = [
        // Clients of a run are other machines.
        ("protected-mode", b"no"),
        ("dir", b"data"),
        ("segment-size-bytes", segment_bytes.as_bytes()),
        ("enable-debug-command", b"yes"),
    ];
    for (name, value) in settings {
        config.set_at_start(name, &[value]).map_err(|error| error.to_string())?;
    }
    let clock = host.clock();
    let started_at = Now { monotonic_ns: clock.monotonic_ns(), wall_us: clock.wall_us() };
    let start_options = start::Options {
        config,
        facts: NodeFacts { port: PORT, started_at, ..NodeFacts::default() },
        directory: "data".into(),
        sector_bytes: options.sector_bytes,
        shard: ramkeep_shard::Options {
            turn_bytes_max: TURN_BYTES_MAX,
            mutant: bugs.shard,
            ..ramkeep_shard::Options::default()
        },
        mutants: bugs.log,
        stopwatch: ramkeep_net::stopwatch_ns,
    };
    let directory = match start::open(&host, &start_options).await {
        Ok(directory) => Rc::new(directory),
        // The disk failed: the process ends and is started again.
        Err(start::StartError::Directory(_)) => return Ok(()),
        Err(error) => return Err(format!("refused to start: {error}")),
    };
    let node = match start::build(&host, &directory, start_options).await {
        Ok(node) => node,
        Err(start::StartError::Directory(_)) => return Ok(()),
        Err(error) => return Err(format!("refused to start: {error}")),
    };
    let address = SocketAddr::new([0, 0, 0, 0].into(), PORT);
    let Ok(listener) = host.listen(address, 64) else { return Ok(()) };
    start::spawn_tasks(&node, &directory, vec![listener]);
    match start::recover(&node, &directory, bugs.log).await {
        Ok(report) => host.trace("recovered", &[report.frames, report.cut_bytes, report.rewritten_frames]),
        Err(start::StartError::Directory(_)) => return Ok(()),
        Err(error) => return Err(format!("refused to start: {error}")),
    }
    // A fenced node serves nothing: its process ends.
    node.fenced().await;
    Ok(())
}
