//! From a data directory to a serving node.
//!
//! Lives here: the directory's identity, reading the log into memory while LOADING is answered,
//! accepting clients, the orderly end. Not here: the process around it (`main`).

use crate::book;
use crate::comparison;
use crate::founding::{self, Found, FoundingError};
use crate::install;
use crate::joining;
use crate::log_driver::{LogDriver, VOTE_FILE, segment_name, segment_number};
use crate::node::Node;
use crate::peers::{self, Peers};
use crate::point;
use crate::quarantine;
use crate::roster::{self, ROSTER_FILE, Roster, RosterError, cluster_uuid};
use crate::snapshot;
use crate::transfer;
use crate::tunnel;
use ramkeep_engine::config::{self, Config, Settings};
use ramkeep_engine::{Engine, NodeFacts, ShardRole};
use ramkeep_log::{
    FOUNDER, HardState, HardStateError, Identity, IdentityError, Layout, Member, Membership, MembershipError,
    Mutants, NodeId, Position, Recovered, Recovery, RecoveryError, RecoveryOptions, RecoveryStep, Replica,
    Report, SegmentError, SegmentFile, ShardId, Uuid,
};
use ramkeep_net::{Disk, Host, Listener};
use ramkeep_shard::{ReplayError, Shard};
use rand_core::RngCore;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// Name of the file that says whose directory it is.
pub const IDENTITY_FILE: &str = "identity";
/// Number of a node that is no member of a cluster.
const ALONE: u32 = 1;
/// The one shard.
const SHARD: ShardId = ShardId(0);
/// Replay tells how far it is after so long, and again each time.
const PROGRESS_NS: u64 = 1_000_000_000;
/// Longest wait for replies to leave at an orderly end, in steps of [`DRAIN_STEP`].
const DRAIN_STEPS_MAX: usize = 500;
/// How often a starting node looks whether it leads.
const LEADING_STEP: Duration = Duration::from_millis(1);
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// What a node is started with.
pub struct Options {
    pub config: Config,
    pub facts: NodeFacts,
    pub directory: String,
    pub sector_bytes: u32,
    /// Of a directory that is made; none for what is configured.
    pub segment_bytes: Option<u64>,
    pub shard: ramkeep_shard::Options,
    /// Bytes of log that a primary keeps for members that lag; none for what suits the size of segments.
    pub kept_bytes_max: Option<u64>,
    pub mutants: Mutants,
    pub stopwatch: fn() -> u64,
    /// Writes of the log that its own thread makes after a reply that waited for none; see `node`.
    pub writes_beside_readers: u32,
}

impl Options {
    /// Bytes of a sector and of a segment, in a directory that is made.
    fn sizes(&self) -> (u32, u64) {
        (self.sector_bytes, self.segment_bytes.unwrap_or(self.config.settings().segment_size_bytes))
    }
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the data directory cannot be used: {0}")]
    Directory(#[source] io::Error),
    #[error("identity of the data directory: {0}")]
    Identity(#[from] IdentityError),
    #[error(
        "the data directory holds earlier data but no {0} file: it may have been copied in part. Nothing was changed"
    )]
    Incomplete(&'static str),
    #[error("vote file: {0}")]
    Vote(#[from] HardStateError),
    #[error("the log is damaged: {0}. Nothing was cut or changed; `ramkeep log verify` tells more")]
    Log(#[from] RecoveryError),
    #[error("the log cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    #[error("the data directory belongs to {0}")]
    Foreign(String),
    /// Nobody else holds what it holds.
    #[error("the data directory belongs to a node that was alone")]
    WasAlone,
    #[error("the port for other nodes cannot be opened: {0}")]
    PeerPort(#[source] io::Error),
    #[error(transparent)]
    Founding(#[from] FoundingError),
    #[error("the snapshot's members: {0}")]
    Members(#[from] MembershipError),
    #[error(
        "the data cannot be gone on with ({why}), and as many earlier ones stand aside as may be kept: {folders}. Delete \
         in the data directory what is not needed any more"
    )]
    Quarantines { why: String, folders: String },
    #[error("segment-size-bytes: this size cannot be used with the largest entry of 4 MiB")]
    SegmentSize,
}

impl StartError {
    /// Whether it is about what the directory holds: damaged, incomplete, somebody else's. What a newer program wrote, a
    /// disk that fails and a wrong configuration are none of that.
    fn is_about_data(&self) -> bool {
        match self {
            StartError::Incomplete(_) | StartError::Foreign(_) => true,
            StartError::Identity(error) => *error == IdentityError::Damaged,
            StartError::Vote(error) => !matches!(error, HardStateError::Version { .. }),
            StartError::Log(error) => match error {
                RecoveryError::Foreign { error, .. } => !matches!(error, SegmentError::Version { .. }),
                RecoveryError::Members { error, .. } => *error == MembershipError::Senseless,
                RecoveryError::Layout => false,
                _ => true,
            },
            StartError::Founding(error) => match error {
                FoundingError::Roster(error) => *error == RosterError::Damaged,
                FoundingError::OtherDirectory { .. } => true,
                _ => false,
            },
            StartError::Members(error) => *error == MembershipError::Senseless,
            // The log is whole, and this program does not understand it.
            StartError::Replay(_) => false,
            StartError::WasAlone
            | StartError::Directory(_)
            | StartError::PeerPort(_)
            | StartError::Quarantines { .. }
            | StartError::SegmentSize => false,
        }
    }
}

/// An opened data directory.
pub struct Directory {
    disk: Rc<dyn Disk>,
    layout: Cell<Layout>,
    member: Cell<NodeId>,
    /// All founding members, once known; none for a node alone.
    roster: RefCell<Option<Roster>>,
    /// Why what it holds is not to be read: the node asks to be replaced.
    spoilt: Option<String>,
    /// This start made it.
    pub is_new: bool,
    pub log_bytes: u64,
    segments: Vec<SegmentFile>,
    kept_bytes_max: Option<u64>,
    mutants: Mutants,
}

/// Opens the directory, or makes it. A directory that is not empty is never made anew.
pub async fn open(host: &Host, options: &Options) -> Result<Directory, StartError> {
    let disk = host.disk(&options.directory).map_err(StartError::Directory)?;
    open_on(disk, host, options).await
}

/// The same on a disk that was opened before; `options.directory` is its name only.
pub async fn open_on(disk: Rc<dyn Disk>, host: &Host, options: &Options) -> Result<Directory, StartError> {
    let names = disk.list().await.map_err(StartError::Directory)?;
    let mut segments = Vec::new();
    for name in &names {
        if let Some(segment) = segment_number(name) {
            let file = disk.open(name).await.map_err(StartError::Directory)?;
            segments.push(SegmentFile { segment, bytes: file.len().map_err(StartError::Directory)? });
        }
    }
    let log_bytes = segments.iter().map(|segment| segment.bytes).sum();
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_new = !has(IDENTITY_FILE) && segments.is_empty();
    let settings = options.config.settings();
    let (identity, spoilt) = match identity_of(host, options, &*disk, &names, !segments.is_empty()).await {
        Ok(identity) => (identity, None),
        // Nothing of it is written.
        Err(error) if error.is_about_data() && quarantine::is_allowed(settings) => {
            (draw_identity(host, settings, options.sizes()), Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    Ok(Directory {
        layout: Cell::new(identity.layout(SHARD)),
        member: Cell::new(identity.member),
        roster: RefCell::default(),
        spoilt,
        disk,
        is_new,
        log_bytes,
        segments,
        kept_bytes_max: options.kept_bytes_max,
        mutants: options.mutants,
    })
}

/// Whose directory it is; a new one is made this node's.
async fn identity_of(
    host: &Host,
    options: &Options,
    disk: &dyn Disk,
    names: &[String],
    has_log: bool,
) -> Result<Identity, StartError> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_cluster = !options.config.settings().members.is_empty();
    if !has(IDENTITY_FILE) {
        // A member founds nothing and fetches nothing before it has an identity.
        let was_member = has(ROSTER_FILE) || names.iter().any(|name| snapshot::position_of(name).is_some());
        return match has_log || is_cluster && was_member {
            true => Err(StartError::Incomplete(IDENTITY_FILE)),
            false => make_identity(host, options, disk).await,
        };
    }
    let identity = Identity::decode(&disk.read_file(IDENTITY_FILE).await.map_err(StartError::Directory)?)?;
    if !has(VOTE_FILE) {
        return Err(StartError::Incomplete(VOTE_FILE));
    }
    check_owner(&identity, options)?;
    // An earlier process may have failed to sync its name: the power would take it from under the log that begins now.
    if !has_log {
        let again = disk.write_file_atomic(IDENTITY_FILE, identity.encode());
        again.await.map_err(StartError::Directory)?;
    }
    if is_cluster && has_log && !has(ROSTER_FILE) {
        return Err(StartError::Incomplete(ROSTER_FILE));
    }
    Ok(identity)
}

impl Directory {
    pub(crate) fn disk(&self) -> &Rc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout.get()
    }

    /// It is another one now, which the node takes part with under this id.
    pub(crate) async fn become_new(
        &self,
        node: &Node,
        layout: Layout,
        id: NodeId,
        roster: Roster,
    ) -> Result<(), StartError> {
        self.layout.set(layout);
        self.member.set(id);
        self.roster.replace(Some(roster));
        node.log.set_vote(self.disk.open(VOTE_FILE).await.map_err(StartError::Directory)?);
        Ok(())
    }
}

/// Whether the directory is this node's, in this cluster.
fn check_owner(identity: &Identity, options: &Options) -> Result<(), StartError> {
    let settings = options.config.settings();
    let number = identity.member.node();
    match roster::own(settings) {
        None if number != ALONE => {
            Err(StartError::Foreign("a member of a cluster, and there are no 'member' lines".into()))
        }
        None => Ok(()),
        Some(_) if number == ALONE => Err(StartError::WasAlone),
        Some(me) if number != me.number() => {
            let owner = roster::by_number(settings, number).map_or("of another name", |member| &member.name);
            Err(StartError::Foreign(format!("member {owner}")))
        }
        Some(_) if identity.cluster != cluster_uuid(&settings.cluster_id) => {
            Err(StartError::Foreign(format!("another cluster, {}", identity.cluster)))
        }
        Some(_) => Ok(()),
    }
}

/// The identity of a directory that does not exist yet.
pub(crate) fn draw_identity(
    host: &Host,
    settings: &Settings,
    (sector_bytes, segment_bytes): (u32, u64),
) -> Identity {
    let mut random = host.rng("identity");
    let mut uuid = || {
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        Uuid(bytes)
    };
    let me = roster::own(settings);
    Identity {
        directory: uuid(),
        cluster: me.map_or_else(&mut uuid, |_| cluster_uuid(&settings.cluster_id)),
        member: NodeId::of(me.map_or(ALONE, |member| member.number()), FOUNDER),
        sector_bytes,
        segment_bytes,
    }
}

/// Whether a log can be laid out so.
pub(crate) fn check_sizes(layout: Layout) -> Result<(), StartError> {
    let member = NodeId::of(ALONE, FOUNDER);
    replica_options(layout, member, vec![member], Mutants::default())
        .check()
        .map_err(|_| StartError::SegmentSize)
}

/// Makes vote file and identity, in this order: without its identity a directory is new.
async fn make_identity(host: &Host, options: &Options, disk: &dyn Disk) -> Result<Identity, StartError> {
    let drawn = draw_identity(host, options.config.settings(), options.sizes());
    let directory = options.mutants.directory(drawn.directory, drawn.member.node());
    let identity = Identity { directory, ..drawn };
    let layout = identity.layout(SHARD);
    check_sizes(layout)?;
    let vote = HardState::new_file(&layout, identity.member);
    disk.write_file_atomic(VOTE_FILE, vote).await.map_err(StartError::Directory)?;
    disk.write_file_atomic(IDENTITY_FILE, identity.encode()).await.map_err(StartError::Directory)?;
    Ok(identity)
}

fn replica_options(
    layout: Layout,
    member: NodeId,
    voters: Vec<NodeId>,
    mutants: Mutants,
) -> ramkeep_log::Options {
    ramkeep_log::Options { mutants, ..ramkeep_log::Options::new(layout, member, voters) }
}

/// Opens the port for other nodes and finds out who they are; returns at once for a node alone. Clients may come in
/// meanwhile: they are answered LOADING.
pub async fn connect(node: &Rc<Node>, directory: &Directory) -> Result<(), StartError> {
    let settings = node.shard.borrow().engine.config.settings().clone();
    if settings.members.is_empty() {
        return Ok(());
    }
    let Layout { cluster, directory: uuid, .. } = directory.layout();
    let listener = peers::listen(&node.host, &settings).await.map_err(StartError::PeerPort)?;
    let peers = Peers::new(&node.host, &settings, directory.member.get(), cluster, uuid);
    assert!(node.peers.set(Rc::clone(&peers)).is_ok(), "a node connects once");
    ramkeep_net::spawn(peers::accept_peers(Rc::clone(node), Rc::clone(&peers), listener));
    let is_blank = directory.segments.is_empty();
    let me = founding::Me {
        settings: &settings,
        member: directory.member.get(),
        directory: uuid,
        cluster,
        is_blank,
    };
    if let Some(why) = &directory.spoilt {
        return quarantine::rejoin(node, directory, why).await;
    }
    let disk = &*directory.disk;
    let roster = match founding::found(me, &peers, disk, &node.clock).await.map_err(StartError::from) {
        Err(error) if error.is_about_data() && quarantine::is_allowed(&settings) => {
            return quarantine::rejoin(node, directory, &error.to_string()).await;
        }
        Err(error) => return Err(error),
        Ok(Found::Founder(roster)) => roster,
        Ok(Found::Stranger(founded)) => {
            let layout = directory.layout();
            let joined = joining::join(me, &peers, disk, &layout, founded, &node.clock);
            let (id, roster) = joined.await?;
            directory.member.set(id);
            peers.rename(id);
            node.log.set_vote(disk.open(VOTE_FILE).await.map_err(StartError::Directory)?);
            roster
        }
    };
    peers.found(roster.clone());
    directory.roster.replace(Some(roster));
    Ok(())
}

/// Builds the node over its directory; it answers LOADING until `recover` is through.
pub async fn build(host: &Host, directory: &Directory, options: Options) -> Result<Rc<Node>, StartError> {
    let mut seed = [0; 32];
    host.rng("engine").fill_bytes(&mut seed);
    let engine = Engine::new(ramkeep_engine::Options {
        config: options.config,
        node: options.facts,
        seed,
        stopwatch: options.stopwatch,
    });
    let vote = match directory.spoilt {
        None => Some(directory.disk.open(VOTE_FILE).await.map_err(StartError::Directory)?),
        Some(_) => None,
    };
    host.point(point::STARTED);
    let log = LogDriver::new(Rc::clone(&directory.disk), directory.layout(), vote, &directory.segments);
    let mut shard_options = options.shard;
    shard_options.is_log_only |= roster::is_log_only(engine.config.settings());
    shard_options.moves_sessions |= !engine.config.settings().members.is_empty();
    shard_options.withheld_bytes_max =
        usize::try_from(engine.config.settings().withheld_replies_bytes_max).unwrap_or(usize::MAX);
    let mut shard = Shard::new(engine, shard_options);
    if shard_options.moves_sessions {
        // Who leads is not known yet; INFO must not call this node a primary meanwhile.
        shard.engine.log.role =
            if shard_options.is_log_only { ShardRole::LogOnly } else { ShardRole::Replica };
    }
    let node = Node::new(host.clone(), shard, log, options.writes_beside_readers);
    Ok(node)
}

/// Reads the log into memory and lets the replica take part. Gives what recovery had to cut.
pub async fn recover(node: &Rc<Node>, directory: &Directory, mutants: Mutants) -> Result<Report, StartError> {
    let read = loop {
        let settings = node.shard.borrow().engine.config.settings().clone();
        match read_log(node, directory, mutants).await {
            Err(error) if error.is_about_data() && quarantine::is_allowed(&settings) => {
                quarantine::rejoin(node, directory, &error.to_string()).await?;
            }
            outcome => break outcome?,
        }
    };
    node.host.point(point::LOG_READ);
    let report = read.report.clone();
    take_part(node, directory, read, mutants);
    while !is_part_of_shard(node) && !node.is_fenced.get() {
        ramkeep_net::sleep(LEADING_STEP).await;
    }
    warn_of_another_zone(node);
    Ok(report)
}

/// Who the members are stands in the log; a configuration that says something else of this node is believed in nothing.
fn warn_of_another_zone(node: &Node) {
    let shard = node.shard.borrow();
    let known = shard.replica().and_then(|replica| replica.members().get(replica.node()));
    if let (Some(own), Some(known)) = (roster::own(shard.engine.config.settings()), known)
        && let Some(warning) = book::other_zone(own, known)
    {
        tracing::warn!("{warning}");
    }
}

/// Lets a replica take part over what was read.
fn take_part(node: &Rc<Node>, directory: &Directory, read: ReadLog, mutants: Mutants) {
    let ReadLog { recovered, base, .. } = read;
    let settings = node.shard.borrow().engine.config.settings().clone();
    let members = base.unwrap_or_else(|| founding_members(directory, &settings));
    let is_log_only = node.shard.borrow().is_log_only();
    let mut options = replica_options(directory.layout(), directory.member.get(), vec![], mutants)
        .with_members(members, is_log_only);
    options.kept_bytes_max = directory.kept_bytes_max.unwrap_or(options.kept_bytes_max);
    let seed = node.host.rng("elections").next_u64();
    let replica = Replica::new(options, recovered, seed, node.clock.monotonic_ns());
    node.with_shard(|shard, now, outputs| {
        shard.start(replica);
        shard.replayed(now, outputs);
    });
    node.tell_members();
    node.host.point(point::TAKES_PART);
}

/// The members before the first entry of the log.
fn founding_members(directory: &Directory, settings: &Settings) -> Membership {
    let roster = directory.roster.borrow();
    let Some(roster) = &*roster else {
        return Membership::of_voters(&[directory.member.get()]);
    };
    let member = |node: NodeId| {
        let described = roster::by_number(settings, node.node()).map(book::described).unwrap_or_default();
        let directory = roster.directory_of(node).unwrap_or_default();
        Member { node, directory, votes: true, ..described }
    };
    Membership::new(roster.voters().into_iter().map(member).collect())
}

/// Whether the node leads, or follows a primary.
fn is_part_of_shard(node: &Node) -> bool {
    let shard = node.shard.borrow();
    let follows = node.peers().is_some_and(|peers| {
        shard.replica().and_then(Replica::leader).is_some_and(|leader| leader != peers.me())
    });
    shard.is_leading() || follows
}

/// What snapshot and log held.
struct ReadLog {
    recovered: Recovered,
    report: Report,
    /// The members as of the snapshot's position, if it says so.
    base: Option<Membership>,
}

/// Replays everything known to be committed.
async fn read_log(node: &Rc<Node>, directory: &Directory, mutants: Mutants) -> Result<ReadLog, StartError> {
    let disk = &directory.disk;
    let vote = disk.read_file(VOTE_FILE).await.map_err(StartError::Directory)?;
    let hard_state = HardState::read(&directory.layout(), directory.member.get(), &vote)?;
    let mut told_ns = node.clock.monotonic_ns();
    let mut tell = |read, all| tell_progress(node, "loading the snapshot", (read, all), &mut told_ns);
    let base = snapshot::load_newest(node, disk, &directory.layout(), &mut tell).await;
    let snapshot = base.map_err(StartError::Directory)?;
    node.host.point(point::SNAPSHOT_LOADED);
    let base = snapshot.as_ref().map_or_else(Default::default, |it| (it.position(), it.term()));
    let members = snapshot.map(|snapshot| snapshot.head.members).filter(|members| !members.is_empty());
    let members = members.map(|members| Membership::decode(&members)).transpose()?;
    let options = RecoveryOptions { layout: directory.layout(), hard_state, base, mutants };
    let mut files = Vec::new();
    for name in disk.list().await.map_err(StartError::Directory)? {
        if let Some(segment) = segment_number(&name) {
            let file = disk.open(&name).await.map_err(StartError::Directory)?;
            files.push(SegmentFile { segment, bytes: file.len().map_err(StartError::Directory)? });
        }
    }
    let mut recovery = Recovery::new(options, &files)?;
    let mut entries = Vec::new();
    let mut open = None;
    loop {
        let step = recovery.step(&mut entries)?;
        replay(node, &mut entries)?;
        tell_progress(node, "replaying the log", recovery.progress(), &mut told_ns);
        match step {
            RecoveryStep::Finished => break,
            RecoveryStep::Continue => ramkeep_net::yield_now().await,
            RecoveryStep::Read { segment, offset, bytes } => {
                let file = match &open {
                    Some((number, file)) if *number == segment => Rc::clone(file),
                    _ => {
                        let file = disk.open(&segment_name(segment)).await.map_err(StartError::Directory)?;
                        open = Some((segment, Rc::clone(&file)));
                        file
                    }
                };
                let read = file.read_at(offset, bytes as usize).await.map_err(StartError::Directory)?;
                recovery.supply(&read);
            }
        }
    }
    let (recovered, report) = recovery.finish()?;
    Ok(ReadLog { recovered, report, base: members })
}

fn replay(node: &Rc<Node>, entries: &mut Vec<ramkeep_log::CommittedEntry>) -> Result<(), StartError> {
    if entries.is_empty() {
        return Ok(());
    }
    let now = node.now();
    let mut shard = node.shard.borrow_mut();
    for entry in entries.drain(..) {
        shard.replay(&entry, now)?;
    }
    Ok(())
}

fn tell_progress(node: &Rc<Node>, what: &str, (read, all): (u64, u64), told_ns: &mut u64) {
    let now_ns = node.clock.monotonic_ns();
    let percent = (read * 100).checked_div(all).unwrap_or(100).min(100) as u8;
    node.shard.borrow_mut().engine.log.loading_percent = percent;
    if now_ns.saturating_sub(*told_ns) >= PROGRESS_NS {
        *told_ns = now_ns;
        tracing::info!("{what}: {percent} %");
    }
}

/// Reads the log again whenever the shard asks for it, or a snapshot of another member is there to start anew with.
async fn read_again_when_wanted(node: Rc<Node>, directory: Rc<Directory>) {
    loop {
        node.reading_wanted.notified().await;
        let mut outcome = Ok(());
        let why = node.rejoin_due.take();
        if let Some(why) = why {
            outcome = come_back(&node, &directory, &why).await;
            if let Err(error) = &outcome {
                tracing::error!(%error, "this node serves nothing until it is restarted");
                node.give_up();
                continue;
            }
        }
        if node.is_rebuild_due.take() {
            outcome = rebuild(&node, &directory).await;
        }
        if outcome.is_ok() && node.is_anew_due.take() {
            outcome = start_anew(&node, &directory).await;
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "the log cannot be read again");
            let is_damaged = error.is_about_data();
            node.with_shard(|shard, _, outputs| {
                shard.rebuild_failed(is_damaged, error.to_string(), outputs);
            });
        }
    }
}

/// A node whose data are not to be trusted sets them aside and begins as a new member.
async fn come_back(node: &Rc<Node>, directory: &Directory, why: &str) -> Result<(), StartError> {
    quarantine::rejoin(node, directory, why).await?;
    node.is_rebuild_due.set(false);
    node.is_anew_due.set(false);
    let read = read_log(node, directory, directory.mutants).await?;
    take_part(node, directory, read, directory.mutants);
    node.wake_paused();
    Ok(())
}

/// Replica and memory start anew, if the newest snapshot here reaches beyond the log.
async fn start_anew(node: &Rc<Node>, directory: &Directory) -> Result<(), StartError> {
    let newest = snapshot::list(&directory.disk).await.map_err(StartError::Directory)?;
    let reaches = newest.first().is_some_and(|position| install::is_behind(node, *position));
    let has_data = node.shard.borrow().applied() > Position::ZERO;
    if !reaches || !node.with_shard(|shard, _, outputs| shard.begin_anew(outputs)) {
        // If the log must be read again first, the leader offers the snapshot again after that.
        return Ok(());
    }
    while node.log.is_busy() {
        ramkeep_net::sleep(LEADING_STEP).await;
    }
    node.log.forget_open();
    let read = read_log(node, directory, directory.mutants).await?;
    tracing::info!(position = read.recovered.covered.0, "started anew from a snapshot of the primary");
    node.host.point(if has_data { point::ANEW_OVER_DATA } else { point::ANEW_WITHOUT_DATA });
    take_part(node, directory, read, directory.mutants);
    node.wake_paused();
    Ok(())
}

async fn rebuild(node: &Rc<Node>, directory: &Directory) -> Result<(), StartError> {
    node.host.point(point::REBUILD_BEGUN);
    // Files that are being removed are none to read.
    while node.log.is_cutting() {
        ramkeep_net::sleep(LEADING_STEP).await;
    }
    // What is committed is known to the replica; recovery over the same files gives it out again.
    let ReadLog { recovered, .. } = read_log(node, directory, Mutants::default()).await?;
    let committed = node.shard.borrow().replica().map_or(Position::ZERO, Replica::committed);
    let mut rest: Vec<_> = recovered
        .unapplied
        .into_iter()
        .filter(|entry| entry.position <= committed)
        .map(ramkeep_log::Entry::into_committed)
        .collect();
    replay(node, &mut rest)?;
    node.with_shard(|shard, now, outputs| shard.replayed(now, outputs));
    Ok(())
}

/// Starts everything that a node does beside recovering.
pub fn spawn_tasks(node: &Rc<Node>, directory: &Rc<Directory>, listeners: Vec<Listener>) {
    node.let_in(listeners);
    ramkeep_net::spawn(Rc::clone(node).end_turns());
    ramkeep_net::spawn(Rc::clone(node).tick());
    ramkeep_net::spawn(read_again_when_wanted(Rc::clone(node), Rc::clone(directory)));
    ramkeep_net::spawn(install::fetch_when_offered(Rc::clone(node)));
    ramkeep_net::spawn(snapshot::make_when_wanted(Rc::clone(node)));
    ramkeep_net::spawn(transfer::fetch_when_told(Rc::clone(node)));
    ramkeep_net::spawn(comparison::digest_when_wanted(Rc::clone(node)));
}

/// Takes clients in until the node stops.
pub(crate) async fn accept(node: Rc<Node>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok((conn, peer)) => {
                if node.is_stopping.get() {
                    return;
                }
                if let Some(refusal) = refusal(&node, peer.ip()) {
                    node.shard.borrow_mut().engine.stats.rejected_connections += 1;
                    // The client may be gone already; there is nothing to lose then.
                    let _ = conn.try_write(refusal.as_bytes());
                    continue;
                }
                let keepalive = node.shard.borrow().engine.config.settings().tcp_keepalive_s;
                if keepalive > 0
                    && let Err(error) = conn.set_keepalive(keepalive)
                {
                    tracing::debug!(%error, "keepalive cannot be set");
                }
                ramkeep_net::spawn(tunnel::serve(Rc::clone(&node), conn));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                ramkeep_net::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Why a client is turned away before it says a word.
fn refusal(node: &Rc<Node>, peer: std::net::IpAddr) -> Option<&'static str> {
    let shard = node.shard.borrow();
    let settings = shard.engine.config.settings();
    if node.is_full() || node.is_full_of_strangers(peer) {
        return Some("-ERR max number of clients reached\r\n");
    }
    config::denies(settings, peer).then_some(
        "-DENIED Ramkeep is running in protected mode because no password is set. In this mode connections are only accepted from the loopback interface. Set a password with requirepass, or disable protected mode from this host with CONFIG SET protected-mode no.\r\n",
    )
}

/// Ends in order: no new clients, all that was executed is durable and answered, a last mark in the log.
pub async fn stop(node: &Rc<Node>) {
    node.is_stopping.set(true);
    hand_over(node).await;
    node.with_shard(|shard, now, outputs| shard.end_turn(now, outputs));
    for _ in 0..DRAIN_STEPS_MAX {
        if node.is_drained() || node.is_behind_fence() {
            break;
        }
        ramkeep_net::sleep(DRAIN_STEP).await;
    }
    wait_until_idle(node).await;
    // Behind a fence nothing of it is done.
    node.drive(|replica, _| {
        if replica.is_idle() {
            replica.close();
        }
    });
    wait_until_idle(node).await;
}

/// A primary that leaves in order hands leadership over first, where there is somebody to take it.
async fn hand_over(node: &Rc<Node>) {
    let is_begun = node.with_shard(|shard, now, outputs| shard.transfer(None, now, outputs)).is_ok();
    for _ in 0..DRAIN_STEPS_MAX {
        if !is_begun || !node.shard.borrow().is_handing_over() || node.is_behind_fence() {
            return;
        }
        ramkeep_net::sleep(DRAIN_STEP).await;
    }
}

/// Waits until nothing is being written.
async fn wait_until_idle(node: &Rc<Node>) {
    for _ in 0..DRAIN_STEPS_MAX {
        let is_idle = node.shard.borrow().replica().is_none_or(Replica::is_idle) && node.log.is_idle();
        if is_idle || node.is_behind_fence() {
            break;
        }
        ramkeep_net::sleep(DRAIN_STEP).await;
    }
}
