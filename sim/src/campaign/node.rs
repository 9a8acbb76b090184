//! The node of a run: the server's own code as a process of the simulated world.
//!
//! Lives here: its settings, its start as the binary does it, and why it ended.
//! Not here: when it is started and killed (`run`).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ramkeep_engine::NodeFacts;
use ramkeep_engine::config::Config;
use ramkeep_engine::time::Now;
use ramkeep_log::Mutants;
use ramkeep_net::Host;
use ramkeep_net::simdisk::Faults;
use ramkeep_server::founding::FoundingError;
use ramkeep_server::node::Node;
use ramkeep_server::start;

use super::options::{Options, Shape};

pub const PORT: u16 = 6379;
const PEER_PORT: u16 = 7379;
/// The first so many nodes found the cluster; others wait to be added.
pub(super) const FOUNDERS: usize = 3;
/// A turn ends here: small, so that several entries are under way.
const TURN_BYTES_MAX: usize = 4 << 10;
/// Segments below this would not hold a turn and the room wanted before it.
const SEGMENT_BYTES_MIN: u64 = 128 << 10;

/// Which seeded bugs are on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    pub log: Mutants,
    pub shard: Option<ramkeep_shard::Mutant>,
    /// Segments are made without a sync of their directory.
    pub is_directory_sync_forgotten: bool,
    /// Snapshots are not synced before the log below them is cut.
    pub is_snapshot_sync_forgotten: bool,
    /// Something that differs from run to run gets into the simulation.
    pub is_chance_leaked: bool,
}

impl Bugs {
    /// Those of them that the disk has.
    pub(super) fn set_up_disk(&self, faults: &mut Faults) {
        faults.is_directory_sync_forgotten = self.is_directory_sync_forgotten;
        faults.unsynced_prefix = self.is_snapshot_sync_forgotten.then_some("data/snapshot-");
    }
}

/// Counts starts of nodes over all runs of the process: what no simulation may depend on.
static LEAK: AtomicU64 = AtomicU64::new(0);

/// Why the node's process ended without being told to.
pub enum End {
    /// The disk failed: started again, it may go better.
    Disk(String),
    /// Its data are not what it wrote: it will not start.
    Damage(String),
}

impl End {
    pub fn why(&self) -> &str {
        let (End::Disk(why) | End::Damage(why)) = self;
        why
    }
}

impl From<start::StartError> for End {
    fn from(error: start::StartError) -> End {
        match error {
            start::StartError::Directory(_)
            | start::StartError::PeerPort(_)
            | start::StartError::Founding(FoundingError::Disk(_)) => End::Disk(error.to_string()),
            _ => End::Damage(error.to_string()),
        }
    }
}

/// What the node is to others.
#[derive(Clone, Debug)]
pub enum Place {
    Alone,
    /// One of these, by its index.
    Member {
        index: usize,
        members: Rc<Vec<IpAddr>>,
    },
}

/// Name of a member, and of the zone that it may have for itself.
pub fn name(index: usize) -> &'static str {
    ["a", "b", "c", "d", "e"][index]
}

/// A member as a configuration describes it; each stands in a zone of its own, but one more replica.
pub(super) fn line(index: usize, address: IpAddr, shape: Shape) -> String {
    let zone = shape.extra.filter(|extra| extra.index == index).map_or(index, |extra| extra.beside);
    let role = if shape.log_only == Some(index) { "log" } else { "engine" };
    format!("{} {} {role} {address}:{PEER_PORT} {address}:{PORT}", name(index), name(zone))
}

impl Place {
    fn configure(&self, config: &mut Config, shape: Shape) {
        let Place::Member { index, members } = self else { return };
        let mut words: Vec<Vec<u8>> = Vec::new();
        for (other, address) in members.iter().enumerate() {
            // Nobody's configuration names a node that comes later but its own.
            if other < FOUNDERS || other == *index {
                words.extend(line(other, *address, shape).split(' ').map(|word| word.as_bytes().to_vec()));
            }
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut set = |name: &str, words: &[&[u8]]| {
            config.set_at_start(name, words).expect("settings of a run are legal");
        };
        set("node-name", &[name(*index).as_bytes()]);
        set("cluster-id", &[b"simulated"]);
        set("peer-secret", &[b"a secret of simulated nodes"]);
        set("member", &words);
        if *index >= FOUNDERS {
            set("join-cluster", &[b"yes"]);
        }
    }
}

/// The node's process: as the binary starts it, on the simulated host. `built` may look at it from then on.
pub async fn serve(
    host: Host,
    options: &Options,
    bugs: Bugs,
    place: Place,
    built: impl FnOnce(&Rc<Node>),
) -> Result<(), End> {
    if bugs.is_chance_leaked {
        ramkeep_net::sleep(Duration::from_millis(LEAK.fetch_add(1, Ordering::Relaxed))).await;
    }
    let mut config = Config::new();
    let snapshot_log_bytes = options.snapshot_log_bytes.to_string();
    let digest_log_bytes = options.digest_log_bytes.to_string();
    let quarantines_max = options.quarantines_max.to_string();
    let settings: [(&str, &[u8]); 6] = [
        // Clients of a run are other machines.
        ("protected-mode", b"no"),
        ("dir", b"data"),
        ("snapshot-log-bytes", snapshot_log_bytes.as_bytes()),
        ("digest-log-bytes", digest_log_bytes.as_bytes()),
        ("quarantine-keep", quarantines_max.as_bytes()),
        ("enable-debug-command", b"yes"),
    ];
    for (name, value) in settings {
        config.set_at_start(name, &[value]).expect("settings of a run are legal");
    }
    place.configure(&mut config, options.shape);
    let clock = host.clock();
    let started_at = Now { monotonic_ns: clock.monotonic_ns(), wall_us: clock.wall_us() };
    let start_options = start::Options {
        config,
        facts: NodeFacts { port: PORT, started_at, ..NodeFacts::default() },
        directory: "data".into(),
        sector_bytes: options.sector_bytes,
        segment_bytes: Some(options.segment_bytes.max(SEGMENT_BYTES_MIN)),
        shard: ramkeep_shard::Options {
            turn_bytes_max: TURN_BYTES_MAX,
            mutant: bugs.shard,
            ..ramkeep_shard::Options::default()
        },
        kept_bytes_max: Some(options.kept_bytes_max),
        mutants: bugs.log,
        stopwatch: ramkeep_net::stopwatch_ns,
        writes_beside_readers: options.writes_beside_readers,
    };
    let directory = Rc::new(start::open(&host, &start_options).await?);
    let node = start::build(&host, &directory, start_options).await?;
    node.holdings.set_piece_bytes(options.piece_bytes);
    built(&node);
    let address = SocketAddr::new([0, 0, 0, 0].into(), PORT);
    let Ok(listener) = host.listen(address, 64) else { return Ok(()) };
    start::spawn_tasks(&node, &directory, vec![listener]);
    start::connect(&node, &directory).await?;
    let report = start::recover(&node, &directory, bugs.log).await?;
    host.trace("recovered", &[report.frames, report.cut_bytes, report.rewritten_frames]);
    // A fenced node serves nothing: its process ends.
    node.fenced().await;
    Ok(())
}
