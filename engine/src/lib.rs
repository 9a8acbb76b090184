//! The engine: decides what commands do to the data. Pure.
//!
//! Lives here: the RESP codec, the keyspace and its types, the command table with its handlers,
//! effects, sessions as commands see them, parameters, counters.
//! Not here: the log, replication and when replies may leave (`ramkeep-log`, `ramkeep-shard`);
//! files, sockets, clocks, threads, randomness of the system: they come in as values.
//!
//! Invariant: the same state and the same arguments always give the same effects and replies.

pub mod call;
pub mod command;
pub mod commands;
pub mod config;
pub mod crc16;
pub mod data;
pub mod effect;
pub mod error;
pub mod execute;
pub mod glob;
pub mod hash;
pub mod keyspace;
pub mod latency;
mod memory;
pub mod monitor;
pub mod node;
pub mod number;
pub mod pause;
pub mod rdb;
pub mod resp;
pub mod session;
pub mod slot;
pub mod slowlog;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod time;
pub(crate) mod timing;
pub mod value;

use config::Config;
use data::Data;
use hash::HashKey;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

pub use memory::RoomMade;
pub use node::{Action, Availability, Blocked, LogFacts, MemberFacts, NodeFacts, ShardRole, SnapshotAsked};
pub use stats::SnapshotFacts;

/// All that one replica of one shard knows about its data and its clients.
pub struct Engine {
    pub data: Data,
    pub sessions: session::Sessions,
    pub config: Config,
    pub stats: stats::Stats,
    pub slowlog: slowlog::SlowLog,
    pub latency: latency::LatencyMonitor,
    pub monitors: monitor::Monitors,
    pub node: NodeFacts,
    pub log: LogFacts,
    pub snapshots: SnapshotFacts,
    pub availability: Availability,
    /// What handlers asked of the node since the last look.
    pub actions: Vec<Action>,
    /// RANDOMKEY and the like: effects spell out what was chosen.
    pub random: ChaCha8Rng,
    /// What a CONFIG SET changed of which the outcome is not known yet: where clients come in.
    pub(crate) moving_doors: Option<Vec<config::Changed>>,
    /// CLIENT PAUSE, while it lasts.
    pause: Option<pause::Pause>,
    /// The active expire cycle runs: DEBUG SET-ACTIVE-EXPIRE.
    pub is_active_expire: bool,
    /// `maxmemory`; 0: no limit.
    memory_limit_bytes: u64,
    /// Held for clients, as counted last.
    clients_bytes: u64,
    /// Memory is over its limit and nothing may go: as of the last command that may make it grow.
    is_out_of_memory: bool,
    /// Bytes of effects that the log takes right now: admission, set before every batch.
    pub room_bytes: u64,
    /// How long the node is to stand still for the running command; it counts as its duration.
    pub(crate) sleep_ns: u64,
    timing: timing::Timing,
}

/// What an engine starts from.
pub struct Options {
    pub config: Config,
    pub node: NodeFacts,
    pub seed: [u8; 32],
    pub stopwatch: fn() -> u64,
}

impl Engine {
    pub fn new(options: Options) -> Engine {
        let mut random = ChaCha8Rng::from_seed(options.seed);
        let hash_key = draw_hash_key(&mut random);
        let mut engine = Engine {
            data: Data::new(hash_key),
            sessions: session::Sessions::default(),
            config: options.config,
            stats: stats::Stats::default(),
            slowlog: slowlog::SlowLog::default(),
            latency: latency::LatencyMonitor::default(),
            monitors: monitor::Monitors::default(),
            node: options.node,
            log: LogFacts::default(),
            snapshots: SnapshotFacts::default(),
            availability: Availability::Primary,
            actions: Vec::new(),
            random,
            moving_doors: None,
            pause: None,
            is_active_expire: true,
            memory_limit_bytes: 0,
            clients_bytes: 0,
            is_out_of_memory: false,
            room_bytes: u64::MAX,
            sleep_ns: 0,
            timing: timing::Timing::new(options.stopwatch),
        };
        engine.parameters_changed();
        engine
    }

    /// Empty data under the same hash key, for a rebuild from the log. Watches are broken.
    pub fn forget_data(&mut self) {
        self.data.clear_for_rebuild();
    }

    /// Takes over what the parameters say where it is kept in another form.
    pub fn parameters_changed(&mut self) {
        let settings = self.config.settings();
        self.data.hash_limits = value::HashLimits {
            listpack_entries_max: settings.hash_listpack_entries_max as usize,
            listpack_value_bytes_max: settings.hash_listpack_value_bytes_max as usize,
            hash_key: self.data.hash_key(),
        };
        self.data.access.set_frequency(settings.maxmemory_policy.counts_frequency().then_some(
            data::Frequency {
                log_factor: settings.lfu_log_factor,
                decay_minutes: settings.lfu_decay_minutes,
            },
        ));
        let slow_ns = settings
            .slowlog_slower_than_us
            .map_or(u64::MAX, |microseconds| microseconds.saturating_mul(1000));
        let spike_ns = match settings.latency_monitor_threshold_ms {
            0 => u64::MAX,
            milliseconds => milliseconds.saturating_mul(1_000_000),
        };
        self.timing.slow_threshold_ns = slow_ns.min(spike_ns);
        self.timing.tracks_latency = settings.latency_tracking;
        self.slowlog.set_length_max(usize::try_from(settings.slowlog_entries_max).unwrap_or(usize::MAX));
        self.memory_limit_bytes = settings.maxmemory_bytes;
        if self.memory_limit_bytes == 0 {
            self.is_out_of_memory = false;
        }
    }

    /// Sets the times that lookups use, before a batch. `shard_ms` is shard time.
    pub fn set_time(&mut self, now: time::Now, shard_ms: i64) {
        self.data.set_now_ms(shard_ms);
        self.set_access_time(now);
    }

    /// Sets the time that keys are marked with: before a batch and before effects are applied.
    pub fn set_access_time(&mut self, now: time::Now) {
        self.data.access.set_seconds(now.monotonic_ns / 1_000_000_000);
    }
}

fn draw_hash_key(random: &mut ChaCha8Rng) -> HashKey {
    use rand_core::RngCore;
    HashKey([random.next_u64(), random.next_u64()])
}
