//! One run: nodes, clients, harm, the final read, the verdict.
//!
//! Lives here: the order of its phases. Not here: each of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ramkeep_check::checker::model::expiry::ClockError;
use ramkeep_check::checker::{Limits, check, count_writes};
use ramkeep_check::history::{ClockKind, Header, History, Recorder, Source, Status, VERSION};
use ramkeep_check::session::Book;
use ramkeep_check::workload::{Mix, Workloads};
use ramkeep_net::{ChaCha8Rng, Host, JoinHandle, sleep, spawn, timeout};
use rand_core::{RngCore, SeedableRng};

use crate::cluster::{Cluster, ZONES};
use crate::damage;
use crate::nemesis::{Blow, Nemesis};
use crate::options::RunOptions;
use crate::report::Summary;
use ramkeep_drive::ask::ask;
use ramkeep_drive::client::{self, Habit, Manner, Shared, SharedRef};
use ramkeep_drive::marks;
use ramkeep_drive::process::Program;
use ramkeep_drive::target::Target;

/// A client of the history gives a call up after this.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(1_000);
const PIPELINE_DEPTH_MAX: u32 = 4;
/// Keys of each model in use at once.
const KEYS: u32 = 12;
const TTL_MS_MAX: u64 = 2_000;
const PADDED_PER_MILLE: u32 = 60;
/// How far the wall clock, which deadlines follow, may be led away from the monotonic one while a key lives.
const CLOCK_ERROR_NS: u64 = 50_000_000;
/// A process that was stopped carries out what it had begun with the time it had read before.
const PAUSE_ERROR_NS: u64 = 5_000_000_000;
const FINAL_PATIENCE: Duration = Duration::from_secs(20);
/// How often the nodes' digests are compared before they count as different.
const DIGEST_ROUNDS: u32 = 100;

/// Streams of the seed; a number is never reused for something else.
const STREAM_NEMESIS: u64 = 1;
const STREAM_CLIENTS: u64 = 1_000;
const STREAM_MARKS: u64 = 2_000;
const STREAM_LINKS: u64 = 3_000;
const STREAM_REPLICA_READERS: u64 = 4_000;

/// Clients that read at replicas.
const REPLICA_READERS: u32 = 2;

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// Plays the run; an error is something of the machine, not of the server.
pub async fn run(host: &Host, options: &RunOptions, program: Program) -> Result<Summary, String> {
    if options.nodes == 2 {
        return Err("1 node, or 3 in three zones: two have no majority to lose".into());
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(host.rng("seed").next_u32()));
    println!("seed {seed} (--seed {seed} draws the same faults and calls)");
    let folder = options.dir.clone().unwrap_or_else(|| default_folder(host));
    let made = damage::remove(&folder).and_then(|()| make(&folder));
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    let shared = share(host, options, seed);
    let mut links = 0;
    let cluster = Cluster::new(host, program, &folder, options.nodes as usize, options.base_port, || {
        links += 1;
        stream(seed, STREAM_LINKS + links)
    });
    let cluster = cluster.map_err(|error| format!("no cluster in {}: {error}", folder.display()))?;
    let tasks = start_clients(host, &shared, options, &cluster, seed);
    let only = only(options);
    let mut nemesis = Nemesis::new(
        host.clone(),
        cluster,
        Rc::clone(&shared),
        stream(seed, STREAM_NEMESIS),
        folder.join("scratch"),
        only,
    );
    nemesis.begin().await;
    nemesis.attack(Duration::from_secs(options.seconds)).await;
    shared.borrow_mut().is_over = true;
    for task in tasks {
        if timeout(FINAL_PATIENCE, task).await.is_err() {
            nemesis.complaints.push("a client does not end".into());
        }
    }
    let marks = final_read(host, &shared, &mut nemesis).await;
    compare_digests(host, &mut nemesis).await;
    let Nemesis { cluster, counts, blows, complaints, shared: of_nemesis, .. } = nemesis;
    drop((cluster, of_nemesis));
    let Ok(shared) = Rc::try_unwrap(shared) else { return Err("a client goes on after the run".into()) };
    let shared = shared.into_inner();
    let unavailable_ms = unavailable(&shared.marks, &blows);
    let (history, faults) = shared.book.recorder.end();
    if let Some(path) = &options.history {
        export(&history, &faults, path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("judging {} calls", history.operations.len());
    let report = check(&history, &limits());
    let mut summary = Summary {
        seed,
        nodes: options.nodes as usize,
        seconds: options.seconds,
        faults,
        counts,
        ok: history.count(Status::Ok),
        fail: history.count(Status::Fail),
        info: history.count(Status::Info),
        history_writes: count_writes(&history),
        marks,
        unavailable_ms,
        report,
        complaints,
        missed: Vec::new(),
    };
    summary.check_wishes(&options.at_least)?;
    if summary.is_passed() && !options.keep {
        damage::remove(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    } else {
        println!("the nodes' folders stay in {}", folder.display());
    }
    Ok(summary)
}

/// A server that is wrong on purpose keeps nothing: only where that is its flaw is it killed.
fn only(options: &RunOptions) -> Vec<String> {
    match options.canary.as_deref() {
        Some("forgets") => vec!["kill".into()],
        Some(_) => vec!["client-reset".into(), "client-slow".into()],
        None => options.only.clone(),
    }
}

fn default_folder(host: &Host) -> PathBuf {
    std::env::temp_dir().join(format!("ramkeep-jepsen-{}", host.facts().process_id))
}

#[allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]
fn make(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder.join("scratch"))
}

fn limits() -> Limits {
    let clock_error = ClockError { early_ns: CLOCK_ERROR_NS, late_ns: CLOCK_ERROR_NS + PAUSE_ERROR_NS };
    Limits { clock_error, ..Limits::default() }
}

fn share(host: &Host, options: &RunOptions, seed: u64) -> SharedRef {
    let header = Header {
        version: VERSION,
        run: format!("real-{seed:x}"),
        source: Source::Real,
        seed: seed.to_string(),
        commit: String::new(),
        config: BTreeMap::from([
            ("nodes".into(), options.nodes.into()),
            ("seconds".into(), options.seconds.into()),
            ("clients".into(), options.clients.into()),
            ("rate".into(), options.rate.into()),
        ]),
        clock: ClockKind::Monotonic,
        models: Vec::new(),
        minimum_ok: BTreeMap::new(),
    };
    let weight = |weight: u32| if options.canary.is_some() { 0 } else { weight };
    let mix = Mix {
        register: 4,
        counter: weight(2),
        hash: weight(3),
        transaction: weight(4),
        expiry: weight(2),
        append: weight(3),
        bank: weight(2),
        scan: weight(2),
        echo_per_mille: 20,
        keys: KEYS,
        ttl_ms_max: TTL_MS_MAX,
        padded_per_mille: PADDED_PER_MILLE,
    };
    Rc::new(RefCell::new(Shared {
        clock: host.clock(),
        book: Book::new(Recorder::new(header), Workloads::new(mix)),
        marks: marks::Marks::default(),
        is_over: false,
    }))
}

fn start_clients(
    host: &Host,
    shared: &SharedRef,
    options: &RunOptions,
    cluster: &Cluster,
    seed: u64,
) -> Vec<JoinHandle<()>> {
    let interval_us = |clients: u32, rate: u32| u64::from(clients) * 1_000_000 / u64::from(rate.max(1));
    let manner = Manner {
        pipeline_depth_max: PIPELINE_DEPTH_MAX,
        call_interval_us: interval_us(options.clients, options.rate),
        timeout: CLIENT_TIMEOUT,
    };
    let mut tasks = Vec::new();
    for number in 0..options.clients {
        let targets = cluster.client_targets(number as usize % ZONES);
        let rng = stream(seed, STREAM_CLIENTS + u64::from(number));
        let habit = Habit::Works;
        tasks.push(spawn(client::run(host.clone(), Rc::clone(shared), manner, habit, targets, rng)));
    }
    let replica_readers = if options.nodes > 1 && options.canary.is_none() { REPLICA_READERS } else { 0 };
    for number in 0..replica_readers {
        let targets = cluster.client_targets(number as usize % ZONES);
        let rng = stream(seed, STREAM_REPLICA_READERS + u64::from(number));
        let habit = Habit::ReadsReplica;
        tasks.push(spawn(client::run(host.clone(), Rc::clone(shared), manner, habit, targets, rng)));
    }
    for number in 0..options.mark_writers {
        let targets = cluster.client_targets(number as usize % ZONES);
        let rng = stream(seed, STREAM_MARKS + u64::from(number));
        let pause_us = interval_us(options.mark_writers, options.mark_rate);
        tasks.push(spawn(marks::run(host.clone(), Rc::clone(shared), targets, pause_us, rng)));
    }
    tasks
}

/// Reads every key of the run from a healed cluster.
async fn final_read(host: &Host, shared: &SharedRef, nemesis: &mut Nemesis) -> marks::Found {
    let primary = nemesis.cluster.primary().await.unwrap_or(0);
    let target: Target = nemesis.cluster.address(primary).into();
    let (calls, marks) = {
        let mut shared = shared.borrow_mut();
        let now_ns = shared.clock.monotonic_ns();
        shared.book.recorder.begin_final_read(now_ns);
        (shared.book.workloads.final_reads(), shared.marks.clone())
    };
    if let Err(error) = client::read_all(host, shared, &target, calls, FINAL_PATIENCE).await {
        nemesis.complaints.push(format!("the final read failed: {error}"));
    }
    match marks::read_back(host, &target, &marks).await {
        Ok(found) => found,
        Err(error) => {
            nemesis.complaints.push(format!("reading back what was counted failed: {error}"));
            marks::Found::default()
        }
    }
}

/// With three nodes: what each holds at the end must be the same, once the last entries have reached all.
async fn compare_digests(host: &Host, nemesis: &mut Nemesis) {
    if nemesis.cluster.nodes.len() == 1 {
        return;
    }
    let mut digests = Vec::new();
    for _ in 0..DIGEST_ROUNDS {
        digests.clear();
        for number in 0..nemesis.cluster.nodes.len() {
            let address = nemesis.cluster.address(number);
            let answer = ask(host, address, &["DEBUG", "DIGEST"], FINAL_PATIENCE).await;
            digests.push(format!("{answer:?}"));
        }
        if digests.iter().all(|digest| *digest == digests[0]) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    nemesis.complaints.push(format!("the nodes hold different data at the end: {digests:?}"));
}

/// For each blow the time until a write sent after it was acknowledged. The run's end may come before one.
fn unavailable(marks: &marks::Marks, blows: &[Blow]) -> BTreeMap<&'static str, Vec<f64>> {
    let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for blow in blows {
        if let Some(time_ns) = marks.until_written_ns(blow.at_ns) {
            times.entry(blow.fault.name()).or_default().push(time_ns as f64 / 1e6);
        }
    }
    times
}

#[allow(clippy::disallowed_methods, reason = "an export for people, not a server's data")]
fn export(history: &History, faults: &BTreeMap<String, u64>, path: &Path) -> io::Result<()> {
    let mut out = io::BufWriter::new(std::fs::File::create(path)?);
    history.write(&mut out, faults.clone())?;
    io::Write::flush(&mut out)
}
