//! `ramkeep demo`: zones die under load, and what was acknowledged is counted.
//!
//! Lives here: the order of a demonstration: start, clients, faults, the final read, the judgement, the files.
//! Not here: faults (`attack`), processes (`cluster`), clients (`ramkeep-drive`), the checker (`ramkeep-check`), words and page
//! (`ramkeep_server::cli::demo`).
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

mod attack;
mod cluster;

use attack::{Attack, FAULT_INTERVAL, compare};
use cluster::{Cluster, ZONES};
use ramkeep_check::checker::{Limits, check, count_writes};
use ramkeep_check::history::{ClockKind, Header, Recorder, Source, Status, VERSION};
use ramkeep_check::reply::Reply;
use ramkeep_check::session::Book;
use ramkeep_check::workload::{Mix, Workloads};
use ramkeep_drive::ask::{encode, reply};
use ramkeep_drive::client::{self, Habit, Manner, Shared, SharedRef};
use ramkeep_drive::marks::{self, Marks};
use ramkeep_drive::target::{Target, Url};
use ramkeep_net::{ChaCha8Rng, Host, JoinHandle, ShutdownSignal, ShutdownSignals, sleep, spawn, timeout};
use ramkeep_server::cli::Outcome;
use ramkeep_server::cli::demo::{DemoArguments, FaultSeen, Lane, Role, Run, page::page};
use rand_core::{RngCore, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

/// Clients whose calls are judged, and writers of keys that are counted.
const CLIENTS: usize = 6;
const WRITERS: usize = 4;
/// Mean time between two calls of a client, and two keys of a writer.
const CLIENT_INTERVAL_US: u64 = 8_000;
const WRITER_INTERVAL_US: u64 = 500;
const CLIENT_TIMEOUT: Duration = Duration::from_millis(1_000);
const PIPELINE_DEPTH_MAX: u32 = 4;
const KEYS: u32 = 12;

const CLIENT_PATIENCE: Duration = Duration::from_secs(20);
const READ_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait, before the final read, for a server that does not answer.
const RETURN_PATIENCE: Duration = Duration::from_secs(20);
/// How often nodes are asked what they are.
const LOOK: Duration = Duration::from_millis(50);

const HISTORY_FILE: &str = "history.jsonl";
const PAGE_FILE: &str = "report.html";

/// Plays it; an error is something of the machine, not of the server. The first Ctrl-C ends the attacks, once there is
/// something to read back; any other signal, and the second one, ends all of it at once.
pub async fn run(host: &Host, arguments: &DemoArguments) -> Result<Outcome, String> {
    let signals = host.shutdown_signals().and_then(ShutdownSignals::and_hangup);
    let mut signals = signals.map_err(|error| format!("signals: {error}"))?;
    let stop = Stop::default();
    let mut playing = std::pin::pin!(play(host, arguments, &stop));
    loop {
        let signal = ramkeep_net::select! {
            outcome = playing.as_mut() => return outcome,
            signal = signals.next() => signal,
        };
        if signal != ShutdownSignal::Interrupt || !stop.want() {
            return Err(format!("stopped by {signal:?}"));
        }
        Story::of(arguments).tell_line(
            "\nstopping: what was acknowledged is read back and judged; a second Ctrl-C ends at once",
        );
    }
}

/// Whether somebody wants the attacks to end.
#[derive(Clone, Default)]
struct Stop(Rc<Cell<Wish>>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Wish {
    /// Nothing was written yet: there is nothing to tell.
    #[default]
    NotBegun,
    GoOn,
    Stop,
}

impl Stop {
    /// From here on there is something to read back.
    fn begin(&self) {
        self.0.set(Wish::GoOn);
    }

    /// Wants the end; false if there is nothing that could end so, or it is wanted already.
    fn want(&self) -> bool {
        let is_going_on = self.0.get() == Wish::GoOn;
        if is_going_on {
            self.0.set(Wish::Stop);
        }
        is_going_on
    }

    fn is_wanted(&self) -> bool {
        self.0.get() == Wish::Stop
    }

    /// Sleeps, and no longer than until the end is wanted.
    async fn rest(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() && !self.is_wanted() {
            let step = left.min(LOOK);
            sleep(step).await;
            left -= step;
        }
    }
}

async fn play(host: &Host, arguments: &DemoArguments, stop: &Stop) -> Result<Outcome, String> {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory).map_err(|error| format!("{directory}: {error}"))?;
    let demo = Demo::new(host, arguments, stop);
    let seen = match &arguments.against {
        None => demo.three_zones().await?,
        Some(url) => demo.against(url).await?,
    };
    let (history, page_path) = (format!("{directory}/{HISTORY_FILE}"), format!("{directory}/{PAGE_FILE}"));
    let run = demo.judge(seen, &history)?;
    host.write_file(&page_path, page(&run, HISTORY_FILE).as_bytes())
        .map_err(|error| format!("{page_path}: {error}"))?;
    Ok(run.summary(&history, &page_path).outcome(arguments.json))
}

/// Where it is told what happens meanwhile.
#[derive(Clone, Copy)]
enum Story {
    StandardOutput,
    /// Standard output is for the summary alone.
    StandardError,
}

impl Story {
    fn of(arguments: &DemoArguments) -> Story {
        if arguments.json { Story::StandardError } else { Story::StandardOutput }
    }

    /// A reader that went away is no error of ours.
    fn tell(self, text: &str) {
        let _ = match self {
            Story::StandardOutput => write_and_flush(&mut std::io::stdout(), text),
            Story::StandardError => write_and_flush(&mut std::io::stderr(), text),
        };
    }

    fn tell_line(self, text: &str) {
        self.tell(&format!("{text}\n"));
    }
}

fn write_and_flush(out: &mut dyn Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

struct Demo {
    host: Host,
    story: Story,
    stop: Stop,
    shared: SharedRef,
    seed: u64,
    seconds: Duration,
}

/// What is known before the judgement.
#[derive(Default)]
struct Seen {
    against: Option<String>,
    lanes: Vec<Lane>,
    faults: Vec<FaultSeen>,
    complaints: Vec<String>,
    /// Nothing where the server does not answer.
    found: Option<marks::Found>,
    /// Begin and length of the time in which faults happened.
    begin_ns: u64,
    seconds: f64,
}

impl Demo {
    fn new(host: &Host, arguments: &DemoArguments, stop: &Stop) -> Demo {
        let seed = u64::from(host.rng("seed").next_u32());
        let header = Header {
            version: VERSION,
            run: format!("demo-{seed:x}"),
            source: Source::Real,
            seed: seed.to_string(),
            commit: String::new(),
            config: BTreeMap::from([
                ("seconds".into(), arguments.seconds.into()),
                ("clients".into(), CLIENTS.into()),
            ]),
            clock: ClockKind::Monotonic,
            models: Vec::new(),
            minimum_ok: BTreeMap::new(),
        };
        let mix = Mix {
            register: 4,
            counter: 2,
            hash: 3,
            transaction: 3,
            // Deadlines would be judged by clocks that are not ours.
            expiry: 0,
            append: 2,
            bank: 0,
            scan: 1,
            echo_per_mille: 20,
            keys: KEYS,
            ttl_ms_max: 1_000,
            padded_per_mille: 20,
        };
        let shared = Shared {
            clock: host.clock(),
            book: Book::new(Recorder::new(header), Workloads::new(mix)),
            marks: Marks::default(),
            is_over: false,
        };
        let seconds = Duration::from_secs(u64::from(arguments.seconds));
        let (story, stop) = (Story::of(arguments), stop.clone());
        Demo { host: host.clone(), story, stop, shared: Rc::new(RefCell::new(shared)), seed, seconds }
    }

    fn now_ns(&self) -> u64 {
        self.host.clock().monotonic_ns()
    }

    fn start_clients(&self, targets: impl Fn(usize) -> Vec<Target>) -> Vec<JoinHandle<()>> {
        let manner = Manner {
            pipeline_depth_max: PIPELINE_DEPTH_MAX,
            call_interval_us: CLIENT_INTERVAL_US,
            timeout: CLIENT_TIMEOUT,
        };
        self.stop.begin();
        let (host, shared) = (&self.host, &self.shared);
        let clients = (0..CLIENTS).map(|number| {
            let rng = stream(self.seed, number as u64);
            let habit = Habit::Works;
            spawn(client::run(host.clone(), Rc::clone(shared), manner, habit, targets(number), rng))
        });
        let writers = (0..WRITERS).map(|number| {
            let rng = stream(self.seed, (CLIENTS + number) as u64);
            spawn(marks::run(host.clone(), Rc::clone(shared), targets(number), WRITER_INTERVAL_US, rng))
        });
        clients.chain(writers).collect()
    }

    async fn end_clients(&self, tasks: Vec<JoinHandle<()>>, complaints: &mut Vec<String>) {
        self.shared.borrow_mut().is_over = true;
        for task in tasks {
            if timeout(CLIENT_PATIENCE, task).await.is_err() {
                complaints.push("a client does not end".into());
            }
        }
    }

    /// Reads every key back; nothing where the server does not answer.
    async fn final_read(&self, target: &Target, complaints: &mut Vec<String>) -> Option<marks::Found> {
        self.story.tell_line("reading everything back");
        let (calls, marks) = {
            let mut shared = self.shared.borrow_mut();
            let now_ns = shared.clock.monotonic_ns();
            shared.book.recorder.begin_final_read(now_ns);
            (shared.book.workloads.final_reads(), shared.marks.clone())
        };
        let reading = async {
            self.wait_until_there(target).await?;
            client::read_all(&self.host, &self.shared, target, calls, READ_PATIENCE).await?;
            marks::read_back(&self.host, target, &marks).await
        };
        match reading.await {
            Ok(found) => Some(found),
            Err(error) => {
                complaints.push(format!("what was acknowledged cannot be read back: {error}"));
                None
            }
        }
    }

    /// A server that went away, or reads its data, is waited for.
    async fn wait_until_there(&self, target: &Target) -> std::io::Result<()> {
        let until_ns = self.now_ns() + RETURN_PATIENCE.as_nanos() as u64;
        loop {
            let outcome = match timeout(CLIENT_PATIENCE, target.connect(&self.host)).await {
                Ok(outcome) => outcome,
                Err(elapsed) => Err(elapsed.into()),
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(error) if self.now_ns() > until_ns => return Err(error),
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    async fn three_zones(&self) -> Result<Seen, String> {
        self.story.tell_line("starting three zones on this machine");
        let cluster = Rc::new(Cluster::start(&self.host).await?);
        let lanes: Lanes = Rc::new(RefCell::new(
            ZONES.iter().map(|name| Lane { name: (*name).into(), roles: Vec::new() }).collect(),
        ));
        let tasks = self.start_clients(|number| cluster.targets(number % ZONES.len()));
        let begin_ns = self.now_ns();
        let watching = self.watch(&cluster, &lanes, begin_ns);
        self.story.tell_line(&format!(
            "{CLIENTS} clients and {WRITERS} writers for {} s; the primary's zone is killed or cut off every {} s",
            self.seconds.as_secs(),
            FAULT_INTERVAL.as_secs()
        ));
        let mut attack =
            Attack::new(&self.host, self.story, &self.shared, &cluster, begin_ns, self.stop.clone());
        attack.run(self.seconds).await;
        let Attack { faults, mut complaints, .. } = attack;
        let seconds = (self.now_ns() - begin_ns) as f64 / 1e9;
        self.end_clients(tasks, &mut complaints).await;
        watching.abort();
        // An abort is an error of the task, and wanted.
        let _ = watching.await;
        let target = cluster.targets(cluster.primary().await.unwrap_or(0)).remove(0);
        let found = self.final_read(&target, &mut complaints).await;
        compare(&cluster, &mut complaints).await;
        let lanes = lanes.take();
        Ok(Seen { against: None, lanes, faults, complaints, found, begin_ns, seconds })
    }

    /// Writes down what each node is, until aborted.
    fn watch(&self, cluster: &Rc<Cluster>, lanes: &Lanes, begin_ns: u64) -> JoinHandle<()> {
        let (host, cluster, lanes) = (self.host.clone(), Rc::clone(cluster), Rc::clone(lanes));
        spawn(async move {
            loop {
                for zone in 0..ZONES.len() {
                    let role = cluster.role(zone).await;
                    let at_s = (host.clock().monotonic_ns() - begin_ns) as f64 / 1e9;
                    let roles: &mut Vec<(f64, Role)> = &mut lanes.borrow_mut()[zone].roles;
                    if roles.last().is_none_or(|(_, last)| *last != role) {
                        roles.push((if roles.is_empty() { 0.0 } else { at_s }, role));
                    }
                }
                sleep(LOOK).await;
            }
        })
    }

    async fn against(&self, url: &Url) -> Result<Seen, String> {
        let shown = format!("redis://{}:{}/{}", url.host, url.port, url.database);
        let target = url.resolve(&self.host).await.map_err(|error| format!("{shown}: {error}"))?;
        self.check_empty(&target).await.map_err(|why| format!("{shown}: {why}"))?;
        self.story.tell_line(&format!(
            "{CLIENTS} clients and {WRITERS} writers for {} s, against {shown}\n\
             do to it what you like meanwhile: what it acknowledges is read back at the end",
            self.seconds.as_secs()
        ));
        let begin_ns = self.now_ns();
        let tasks = self.start_clients(|_| vec![target.clone()]);
        self.stop.rest(self.seconds).await;
        let seconds = (self.now_ns() - begin_ns) as f64 / 1e9;
        let mut complaints = Vec::new();
        self.end_clients(tasks, &mut complaints).await;
        let found = self.final_read(&target, &mut complaints).await;
        self.story.tell_line(&format!("the keys stay in database {} of {shown}", url.database));
        Ok(Seen { against: Some(shown), complaints, found, begin_ns, seconds, ..Seen::default() })
    }

    /// Other keys could be taken for ours: the database must hold none.
    async fn check_empty(&self, target: &Target) -> Result<(), String> {
        let asking = async {
            let conn = target.connect(&self.host).await?;
            let mut request = Vec::new();
            encode(&[b"DBSIZE"], &mut request);
            conn.write_all(&request).await?;
            reply(&conn, &mut Vec::new()).await
        };
        match timeout(CLIENT_PATIENCE, asking).await.map_err(|error| error.to_string())? {
            Ok(Reply::Integer(0)) => Ok(()),
            Ok(Reply::Integer(count)) => Err(format!(
                "database {} holds {count} keys; choose an empty one, as in redis://host:port/9",
                target.database
            )),
            Ok(other) => Err(format!("DBSIZE answered {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Judges what clients were told, and writes the history.
    fn judge(self, seen: Seen, history_path: &str) -> Result<Run, String> {
        let Ok(shared) = Rc::try_unwrap(self.shared) else {
            return Err("a client goes on after the end".into());
        };
        let Shared { book, marks, clock, .. } = shared.into_inner();
        let (history, faults) = book.recorder.end();
        let mut text = Vec::new();
        history.write(&mut text, faults).map_err(|error| error.to_string())?;
        self.host.write_file(history_path, &text).map_err(|error| format!("{history_path}: {error}"))?;
        self.story.tell_line(&format!("judging {} calls", history.operations.len()));
        let began_ns = clock.monotonic_ns();
        let report = check(&history, &Limits::default());
        let judged_in_s = (clock.monotonic_ns() - began_ns) as f64 / 1e9;
        let at_s = |at_ns: u64| (at_ns as f64 - seen.begin_ns as f64) / 1e9;
        let answered = history.operations.iter().filter(|it| it.status == Status::Ok);
        let ended: Vec<(u64, u64)> = answered.filter_map(|it| Some((it.invoke_ns, it.return_ns?))).collect();
        let of_marks = marks.times_ns.iter().copied();
        let latencies = ended.iter().copied().chain(of_marks);
        let latencies = latencies.map(|(from, to)| (at_s(to), (to - from) as f64 / 1e6)).collect();
        let mut complaints = seen.complaints;
        let lost = seen.found.iter().flat_map(|found| &found.lost);
        complaints.extend(lost.map(|text| format!("LOST {text}")));
        let is_loss = |checker: &str| checker == "lost or invented write";
        Ok(Run {
            seed: self.seed,
            seconds: seen.seconds,
            against: seen.against,
            lanes: seen.lanes,
            faults: seen.faults,
            acknowledged_s: marks.acknowledged_ns.iter().map(|at_ns| at_s(*at_ns)).collect(),
            latencies,
            counted: marks.acknowledged(),
            found: seen.found.map(|found| found.found),
            judged_calls: history.operations.len() as u64,
            judged_writes: count_writes(&history),
            judged_lost: report.violations.iter().filter(|it| is_loss(it.checker)).count() as u64,
            judged_in_s,
            violations: report
                .violations
                .iter()
                .map(|it| format!("{} on {}:\n{}", it.checker, it.place, it.text))
                .collect(),
            undecided: report.undecided,
            complaints,
        })
    }
}

type Lanes = Rc<RefCell<Vec<Lane>>>;

/// A random stream of the seed.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number + 1);
    rng
}
