//! Everything a run decides before it begins, drawn from its seed.
//!
//! Lives here: the draw, the kinds of faults one node knows, and the one line that tells all of it.
//! Not here: making the faults happen.
//!
//! Invariant: the same seed, duration and purpose give the same options. Each group draws from a stream of its own, so
//! that one more draw in one group leaves the others as they were.

use std::fmt;

use ramkeep_server::node::WRITES_BESIDE_READERS;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::node::FOUNDERS;
use crate::checker::Limits;
use crate::checker::model::expiry::ClockError;
use crate::random::{below, between, chance, pick};
use crate::workload::{Mix, PROCESSES_MAX};

/// What a run is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Faults within the budget of one node: everything acknowledged survives.
    Survive,
    /// Faults that damage what was acknowledged: the node may refuse to serve, but never answers wrongly.
    Detect,
    /// Three nodes in three zones: everything acknowledged survives, and they serve again once all is healed.
    Cluster,
    /// The same, until two of them are damaged or lose their disks at once, which is more than the promise covers: they
    /// may serve no more, but never answer wrongly.
    Exceed,
}

impl Purpose {
    /// Whether it is about more than one node.
    pub fn is_cluster(self) -> bool {
        matches!(self, Purpose::Cluster | Purpose::Exceed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process ends at any await point; what it wrote stays readable until the next power loss.
    Kill,
    /// The machine ends: a random subset of unsynced sectors stays, torn inside a sector, names without a directory
    /// sync may be gone.
    PowerLoss,
    /// Several kills shortly after each other, into recovery itself.
    RestartLoop,
    /// The wall clock jumps.
    ClockJump,
    /// The clocks run at a wrong rate.
    ClockDrift,
    /// A connection is reset from outside.
    Reset,
    /// A client goes away in the middle of writing a pipeline.
    HalfPipeline,
    /// A client does not wait for its reply.
    ClientTimeout,
    /// Disk calls take long.
    SlowDisk,
    /// The disk has no room for a while.
    DiskFull,
    /// One sync fails: the node must fence itself and restart.
    SyncError,
    /// One write is cut short with an error.
    TornWrite,
    /// A process or a machine ends at a named place of the code.
    CrashPoint,
    /// The primary's process ends.
    PrimaryKill,
    /// All machines lose their power at once.
    AllDown,
    /// One node and the others do not hear each other, with or without the clients' zone.
    Partition,
    /// Some direction between two nodes is cut.
    OneWayCut,
    /// What is sent from one node to another is held for a while.
    Stall,
    /// A process stands still and goes on later, as after SIGSTOP.
    Pause,
    /// The primary is cut off from the other nodes and from no client; it may stand still and its clock be set back.
    LonePrimary,
    /// Two nodes that do not hear each other ask the third for its vote, which loses its power when it has given one.
    SplitVote,
    /// The next connection over which a node fetches a snapshot breaks in the middle.
    FetchBroken,
    /// All that a member has on its disk is gone, and the node starts with an empty directory.
    DiskLost,
    /// What a member has on its disk is damaged; where it does not notice, its disk is replaced.
    DiskDamaged,
    /// Two members at once lose their disks, or have them damaged.
    TwoHarmed,
    /// An operator has a member replaced by a fourth node that waits for it; the one that left is emptied, and waits next.
    MembersChanged,
    /// A bit of what was acknowledged flips, at rest.
    BitRot,
    /// A sector of what was acknowledged cannot be read any more.
    ReadError,
    /// A sector lands in another place, and not in its own.
    MisdirectedWrite,
    /// A sync says it is done and is not, and the machine ends soon after. No node can notice that alone.
    LyingSync,
}

impl Fault {
    pub const SURVIVED: &[Fault] = &[
        Fault::Kill,
        Fault::PowerLoss,
        Fault::RestartLoop,
        Fault::ClockJump,
        Fault::ClockDrift,
        Fault::Reset,
        Fault::HalfPipeline,
        Fault::ClientTimeout,
        Fault::SlowDisk,
        Fault::DiskFull,
        Fault::SyncError,
        Fault::TornWrite,
        Fault::CrashPoint,
    ];

    pub const CLUSTER: &[Fault] = &[
        Fault::Kill,
        Fault::PrimaryKill,
        Fault::PowerLoss,
        Fault::AllDown,
        Fault::Partition,
        Fault::OneWayCut,
        Fault::Stall,
        Fault::Pause,
        Fault::ClockJump,
        Fault::ClockDrift,
        Fault::Reset,
        Fault::HalfPipeline,
        Fault::ClientTimeout,
        Fault::SlowDisk,
        Fault::DiskFull,
        Fault::SyncError,
        Fault::TornWrite,
        Fault::CrashPoint,
        Fault::DiskLost,
        Fault::LonePrimary,
        Fault::SplitVote,
        Fault::FetchBroken,
        Fault::MembersChanged,
        Fault::DiskDamaged,
    ];

    pub const DETECTED: &[Fault] =
        &[Fault::BitRot, Fault::ReadError, Fault::MisdirectedWrite, Fault::LyingSync];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::PowerLoss => "power-loss",
            Fault::RestartLoop => "restart-loop",
            Fault::ClockJump => "clock-jump",
            Fault::ClockDrift => "clock-drift",
            Fault::Reset => "reset",
            Fault::HalfPipeline => "half-pipeline",
            Fault::ClientTimeout => "client-timeout",
            Fault::SlowDisk => "slow-disk",
            Fault::DiskFull => "disk-full",
            Fault::SyncError => "sync-error",
            Fault::TornWrite => "torn-write",
            Fault::CrashPoint => "crash-point",
            Fault::PrimaryKill => "primary-kill",
            Fault::AllDown => "all-down",
            Fault::Partition => "partition",
            Fault::OneWayCut => "one-way-cut",
            Fault::Stall => "stall",
            Fault::Pause => "pause",
            Fault::DiskLost => "disk-lost",
            Fault::LonePrimary => "lone-primary",
            Fault::SplitVote => "split-vote",
            Fault::FetchBroken => "fetch-broken",
            Fault::MembersChanged => "members-changed",
            Fault::DiskDamaged => "disk-damaged",
            Fault::TwoHarmed => "two-harmed",
            Fault::BitRot => "bit-rot",
            Fault::ReadError => "read-error",
            Fault::LyingSync => "lying-sync",
            Fault::MisdirectedWrite => "misdirected-write",
        }
    }
}

/// A fault of this run and how often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRate {
    pub fault: Fault,
    /// Mean time between two of the kind, in simulated time.
    pub interval_ms: u64,
}

/// A range to draw a duration from, each time anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub low: u64,
    pub high: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.low, self.high)
    }
}

/// What the nodes of a cluster are, where they are not three voters that keep the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The founder with this index keeps the log and no data.
    pub log_only: Option<usize>,
    pub extra: Option<Extra>,
}

/// One more replica, which an operator adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    /// The last of the nodes.
    pub index: usize,
    /// The founder in whose zone it stands; it votes only while nobody else there does.
    pub beside: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub purpose: Purpose,
    pub shape: Shape,
    /// Simulated time until the faults stop.
    pub duration_ms: u64,
    pub mix: Mix,
    pub clients: u32,
    pub pipeline_depth_max: u32,
    /// Calls that all clients together make in a second, about, while the node serves.
    pub calls_per_s: u64,
    /// Pause of a client between two pipelines.
    pub think_us: Range,
    pub client_timeout_ms: u64,
    /// Of a thousand pipelines, after how many a client leaves for another node, for no reason.
    pub wander_per_mille: u32,
    /// All clients begin at the first node (0), or one after the other at different ones (1).
    pub spread: usize,
    /// The first so many clients only read, one call at a time, and stay where they are answered.
    pub readers: u32,
    /// Of a thousand pipelines, in how many a client asks again behind them when no reply comes.
    pub nudge_per_mille: u32,
    /// Besides the clients, so many read at replicas.
    pub replica_readers: u32,
    /// Besides the clients, so many read at replicas and must see everything that was acknowledged before.
    pub linearizable_readers: u32,
    /// Besides them, so many that only read stay at one node each, the first, the second and so on.
    pub stayers: u32,
    pub faults: Vec<FaultRate>,
    pub segment_bytes: u64,
    /// Growth of the log after which a snapshot is made; 0: never.
    pub snapshot_log_bytes: u64,
    /// Growth of the log after which replicas compare their data; 0: never.
    pub digest_log_bytes: u64,
    /// Bytes of log that a primary keeps for members that lag.
    pub kept_bytes_max: u64,
    /// Bytes of a snapshot that a node asks another one for at once.
    pub piece_bytes: u32,
    pub sector_bytes: u32,
    /// Folders of data that a node sets aside at most. Campaigns: none. They damage no member, so whoever finds damage there
    /// has found a bug.
    pub quarantines_max: u64,
    /// After a reply that waits for no write, so many writes of a node alone go to the log's own thread.
    pub writes_beside_readers: u32,
    pub network_latency_us: Range,
    pub disk_latency_us: Range,
    /// All jumps of the run together stay within this; 0 without the fault.
    pub clock_jump_ms_total_max: u64,
    /// The same of what primaries' clocks are set back by while they are alone.
    pub lone_jump_ms_total_max: u64,
    /// How much too fast (or slow) the clocks run, in millionths; 0 without the fault.
    pub clock_drift_ppm: i64,
    /// Which unsynced sectors survive a power loss, of a thousand.
    pub sectors_kept_per_mille: u32,
}

/// Simulated time that a cluster takes after its last fault, at most.
const CLUSTER_END_MS_MAX: u64 = 180_000;

/// What primaries' clocks may be set back by while they are alone, all times together.
const LONE_JUMP_MS: u64 = 10_000;
/// Slower disks and networks get no small pieces of snapshots.
const SMALL_PIECES_US_MAX: u64 = 2_000;

/// Streams of the seed; a number is never reused for something else.
const STREAM_WORKLOAD: u64 = 1;
const STREAM_FAULTS: u64 = 2;
const STREAM_DISK: u64 = 3;
const STREAM_NETWORK: u64 = 4;
const STREAM_CLOCK: u64 = 5;
const STREAM_SNAPSHOTS: u64 = 6;
const STREAM_LISTS: u64 = 7;
const STREAM_DIGESTS: u64 = 8;
const STREAM_LOG_THREAD: u64 = 9;
const STREAM_READERS: u64 = 10;
const STREAM_SHAPE: u64 = 11;
const STREAM_QUARANTINES: u64 = 12;

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

impl Options {
    pub fn draw(seed: u64, duration_ms: u64, purpose: Purpose) -> Options {
        let workload = &mut stream(seed, STREAM_WORKLOAD);
        let disk = &mut stream(seed, STREAM_DISK);
        let network = &mut stream(seed, STREAM_NETWORK);
        let clock = &mut stream(seed, STREAM_CLOCK);
        let faults = draw_faults(&mut stream(seed, STREAM_FAULTS), purpose);
        let has = |fault: Fault| faults.iter().any(|rate| rate.fault == fault);
        let jump_ms = *pick(clock, &[20, 500, 5_000, 3_600_000]);
        // The lease allows for clocks that differ by 2 %; a node alone has no lease that others could end.
        let drift_ppm_max = if purpose.is_cluster() { 10_000 } else { 100_000 };
        let drift_ppm = between(clock, 0, 2 * drift_ppm_max) as i64 - drift_ppm_max as i64;
        let is_cluster = purpose.is_cluster();
        let quarantines_max = match purpose {
            // Without, a damaged member waits for somebody to empty it.
            Purpose::Exceed => *pick(&mut stream(seed, STREAM_QUARANTINES), &[0, 3]),
            _ if has(Fault::DiskDamaged) => 3,
            _ => 0,
        };
        let snapshots = &mut stream(seed, STREAM_SNAPSHOTS);
        let snapshot_log_bytes = *pick(snapshots, &[0, 16 << 10, 128 << 10, 1 << 20]);
        let slowest_us = *pick(disk, &[200, 2_000, 20_000]);
        let farthest_us = *pick(network, &[100, 1_000, 30_000]);
        let lists = &mut stream(seed, STREAM_LISTS);
        let readers = &mut stream(seed, STREAM_READERS);
        let mix = draw_mix(workload, lists);
        let clients = between(workload, 2, 12) as u32;
        let pipeline_depth_max = *pick(workload, &[1, 1, 2, 4, 16]);
        // Most runs are calm, so that many fit in a second; a few press hard.
        let calls_per_s = *pick(workload, &[60, 80, 120, 160, 240, 1_000]);
        let think_us_max = u64::from(clients) * u64::from(1 + pipeline_depth_max) * 1_000_000 / calls_per_s;
        Options {
            seed,
            purpose,
            shape: match is_cluster {
                true => draw_shape(&mut stream(seed, STREAM_SHAPE), has(Fault::MembersChanged)),
                false => Shape::default(),
            },
            duration_ms,
            mix,
            clients,
            pipeline_depth_max,
            calls_per_s,
            think_us: Range { low: 0, high: think_us_max },
            client_timeout_ms: *pick(workload, &[200, 1_000, 5_000]),
            wander_per_mille: *pick(workload, &[0, 30, 200]),
            readers: *pick(workload, if is_cluster { &[0, 2, 4] } else { &[0] }),
            replica_readers: *pick(lists, if is_cluster { &[0, 1, 2] } else { &[0] }),
            stayers: *pick(readers, if is_cluster { &[0, 3, 3] } else { &[0] }),
            linearizable_readers: *pick(readers, if is_cluster { &[0, 1, 2] } else { &[0] }),
            nudge_per_mille: *pick(lists, &[0, 300, 1_000]),
            clock_jump_ms_total_max: if has(Fault::ClockJump) { jump_ms } else { 0 },
            lone_jump_ms_total_max: match has(Fault::ClockJump) && has(Fault::LonePrimary) {
                true => LONE_JUMP_MS,
                false => 0,
            },
            clock_drift_ppm: if has(Fault::ClockDrift) { drift_ppm } else { 0 },
            faults,
            snapshot_log_bytes,
            digest_log_bytes: *pick(
                &mut stream(seed, STREAM_DIGESTS),
                if is_cluster { &[0, 16 << 10, 64 << 10, 64 << 10, 256 << 10] } else { &[0] },
            ),
            spread: *pick(readers, if is_cluster { &[0, 1, 1] } else { &[0] }),
            // Each piece costs its reading: where that is slow, small ones would take longer than the run.
            piece_bytes: (*pick(readers, &[64, 64, 512, 64 << 10]))
                .max(if slowest_us.max(farthest_us) > SMALL_PIECES_US_MAX { 1 << 10 } else { 0 }),
            kept_bytes_max: *pick(snapshots, &[0, 0, 512 << 10, 8 << 20]),
            // The segment is what a log is cut by.
            segment_bytes: *pick(
                disk,
                match is_cluster {
                    true => &[128 << 10, 128 << 10, 256 << 10, 1 << 20, 4 << 20],
                    false => &[1 << 20, 1 << 20, 1 << 20, 1 << 20, 4 << 20],
                },
            ),
            sector_bytes: *pick(disk, &[512, 4096]),
            quarantines_max,
            writes_beside_readers: *pick(
                &mut stream(seed, STREAM_LOG_THREAD),
                &[0, 0, 2, 8, WRITES_BESIDE_READERS],
            ),
            network_latency_us: Range { low: between(network, 10, 100), high: farthest_us },
            disk_latency_us: Range { low: between(disk, 20, 200), high: slowest_us },
            sectors_kept_per_mille: *pick(disk, &[0, 200, 500, 900, 1000]),
        }
    }

    /// What the checkers must allow for, given these options.
    pub fn limits(&self) -> Limits {
        // A deadline moves by every jump, and by the drift over its own length.
        let drift_ns = self.mix.ttl_ms_max * self.clock_drift_ppm.unsigned_abs();
        let jumps_ms = self.clock_jump_ms_total_max + self.lone_jump_ms_total_max;
        let mut error_ns = jumps_ms * 1_000_000 + drift_ns;
        if self.purpose.is_cluster() {
            // A new primary's clock may have gone another way since the start, and been moved the other way.
            let run_ms = self.duration_ms + CLUSTER_END_MS_MAX;
            error_ns = 2 * error_ns + 2 * run_ms * self.clock_drift_ppm.unsigned_abs();
        }
        Limits { clock_error: ClockError { early_ns: error_ns, late_ns: error_ns }, ..Limits::default() }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|rate| rate.fault == fault)
    }
}

fn draw_shape(rng: &mut ChaCha8Rng, has_spare: bool) -> Shape {
    let founder = |rng: &mut ChaCha8Rng| below(rng, FOUNDERS as u64) as usize;
    let log_only = chance(rng, 200).then(|| founder(rng));
    let index = FOUNDERS + usize::from(has_spare);
    let extra = chance(rng, 300).then(|| Extra { index, beside: founder(rng) });
    Shape { log_only, extra }
}

/// A random half of the kinds is off, the others come at rates of their own: all faults always would hide what only
/// a few of them together, or one very often, can show.
fn draw_faults(rng: &mut ChaCha8Rng, purpose: Purpose) -> Vec<FaultRate> {
    let mut faults = Vec::new();
    let is_cluster = purpose.is_cluster();
    for &fault in if is_cluster { Fault::CLUSTER } else { Fault::SURVIVED } {
        // An election takes a second: a cluster that is hit more often than that does nothing else.
        let interval_ms =
            *pick(rng, if is_cluster { &[2_000, 5_000, 15_000] } else { &[300, 1_000, 4_000, 15_000] });
        if chance(rng, 500) {
            faults.push(FaultRate { fault, interval_ms });
        }
    }
    if purpose == Purpose::Exceed {
        // Whatever else takes a copy away would be told apart from it by nobody.
        faults.retain(|it| ![Fault::DiskLost, Fault::DiskDamaged, Fault::MembersChanged].contains(&it.fault));
        faults.push(FaultRate { fault: Fault::TwoHarmed, interval_ms: between(rng, 3_000, 6_000) });
    }
    if purpose == Purpose::Detect {
        // One kind of damage a run, so that a refusal can be told apart from another's.
        let fault = *pick(rng, Fault::DETECTED);
        faults.push(FaultRate { fault, interval_ms: between(rng, 1_000, 5_000) });
    }
    faults
}

fn draw_mix(rng: &mut ChaCha8Rng, lists: &mut ChaCha8Rng) -> Mix {
    let mut weight_of_lists = || if below(lists, 3) == 0 { 0 } else { between(lists, 1, 10) as u32 };
    let [append, bank, scan] = [weight_of_lists(), weight_of_lists(), weight_of_lists()];
    let mut weight = || if below(rng, 4) == 0 { 0 } else { between(rng, 1, 10) as u32 };
    let [mut register, counter, hash, transaction, expiry] =
        [weight(), weight(), weight(), weight(), weight()];
    if register + counter + hash + transaction + expiry == 0 {
        register = 1;
    }
    Mix {
        register,
        counter,
        hash,
        transaction,
        expiry,
        append,
        bank,
        scan,
        echo_per_mille: *pick(rng, &[0, 20, 100]),
        keys: *pick(rng, &[1, 3, 10]),
        ttl_ms_max: *pick(rng, &[20, 300, 3_000]),
        padded_per_mille: *pick(rng, &[20, 60, 500]),
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = match self.purpose {
            Purpose::Survive => "survive",
            Purpose::Detect => "detect",
            Purpose::Cluster => "cluster",
            Purpose::Exceed => "exceed",
        };
        write!(f, "seed={} purpose={purpose} duration_ms={}", self.seed, self.duration_ms)?;
        if let Some(index) = self.shape.log_only {
            write!(f, " log_only={index}")?;
        }
        if let Some(Extra { index, beside }) = self.shape.extra {
            write!(f, " extra={index}@{beside}")?;
        }
        let mix = &self.mix;
        write!(f, " mix=reg:{},ctr:{},hash:{}", mix.register, mix.counter, mix.hash)?;
        write!(f, ",txn:{},exp:{},echo:{}", mix.transaction, mix.expiry, mix.echo_per_mille)?;
        write!(f, ",lst:{},bank:{},scan:{}", mix.append, mix.bank, mix.scan)?;
        write!(f, " keys={} ttl_ms_max={} clients={}", mix.keys, mix.ttl_ms_max, self.clients)?;
        write!(f, " depth_max={} calls_per_s={}", self.pipeline_depth_max, self.calls_per_s)?;
        write!(f, " think_us={} padded={}", self.think_us, mix.padded_per_mille)?;
        write!(f, " client_timeout_ms={} wander={}", self.client_timeout_ms, self.wander_per_mille)?;
        write!(f, " readers={} replica_readers={}", self.readers, self.replica_readers)?;
        write!(f, " linearizable_readers={} spread={}", self.linearizable_readers, self.spread)?;
        write!(f, " stayers={} nudge={}", self.stayers, self.nudge_per_mille)?;
        write!(f, " segment_bytes={} sector_bytes={}", self.segment_bytes, self.sector_bytes)?;
        write!(f, " snapshot_log_bytes={} kept_bytes_max={}", self.snapshot_log_bytes, self.kept_bytes_max)?;
        write!(f, " digest_log_bytes={} piece_bytes={}", self.digest_log_bytes, self.piece_bytes)?;
        write!(f, " beside_readers={}", self.writes_beside_readers)?;
        write!(f, " network_us={} disk_us={}", self.network_latency_us, self.disk_latency_us)?;
        write!(f, " jump_ms={}+{}", self.clock_jump_ms_total_max, self.lone_jump_ms_total_max)?;
        write!(f, " drift_ppm={}", self.clock_drift_ppm)?;
        write!(f, " sectors_kept={} faults=", self.sectors_kept_per_mille)?;
        for (index, rate) in self.faults.iter().enumerate() {
            write!(f, "{}{}:{}", if index == 0 { "" } else { "," }, rate.fault.name(), rate.interval_ms)?;
        }
        Ok(())
    }
}

const _: () = assert!(12 <= PROCESSES_MAX, "the most clients drawn overlap in a part that can be searched");

#[cfg(test)]
mod tests {
    use super::*;

    fn many() -> impl Iterator<Item = Options> {
        (0..400).map(|seed| Options::draw(seed, 10_000, Purpose::Survive))
    }

    #[test]
    fn the_same_seed_draws_the_same_options() {
        for seed in 0..50 {
            let draw = || Options::draw(seed, 1000, Purpose::Detect);
            assert_eq!(draw(), draw());
        }
        let lines: std::collections::BTreeSet<String> = many().map(|options| options.to_string()).collect();
        assert_eq!(lines.len(), 400);
        assert!(lines.iter().all(|line| !line.contains('\n')));
    }

    #[test]
    fn every_fault_is_on_in_about_half_of_the_runs() {
        for &fault in Fault::SURVIVED {
            let count = many().filter(|options| options.has(fault)).count();
            assert!((140..260).contains(&count), "{} in {count} of 400", fault.name());
        }
    }

    #[test]
    fn damage_comes_only_where_it_is_to_be_detected() {
        assert!(many().all(|options| !Fault::DETECTED.iter().any(|&fault| options.has(fault))));
        let detect = (0..50).map(|seed| Options::draw(seed, 1000, Purpose::Detect));
        for options in detect {
            assert_eq!(Fault::DETECTED.iter().filter(|&&fault| options.has(fault)).count(), 1);
        }
    }

    #[test]
    fn the_checkers_allow_for_the_clock_only_where_it_is_wrong() {
        for options in many() {
            let is_wrong = options.has(Fault::ClockJump) || options.clock_drift_ppm != 0;
            assert_eq!(options.limits().clock_error != ClockError::default(), is_wrong, "{options}");
        }
    }
}
