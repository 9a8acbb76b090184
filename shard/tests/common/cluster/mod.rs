//! A shard's replicas in one test: messages are values in a queue, time is a number.
//!
//! After every event it checks what must always hold: one primary per term, committed entries equal everywhere,
//! nothing applied that is not committed, what is acknowledged durable on a majority, and a replica that follows
//! has exactly the data that the committed log gives.
//!
//! Lives here: nodes, messages, time, the checks. Not here: who asks (`clients`), what strikes (`disturbances`).

mod clients;
mod disturbances;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_log::{CommittedEntry, Message, Mutants, NodeId, Position, ShardId, Term};
use ramkeep_shard::{Mutant, Shard, State, StateDigest};

use super::history::History;
use super::{Disk, Node, Setup, WrongClock, model};
use crate::disk::{Random, recover};

pub const TICK_NS: u64 = 50_000_000;

/// A node that is down: its disk, and what it had acknowledged as durable.
pub struct Down {
    pub disk: Disk,
    durable: BTreeMap<Position, Term>,
}

/// A connection of a random life, and its calls without an answer.
struct Connection {
    node: NodeId,
    session: SessionId,
    asked: VecDeque<usize>,
    /// It said READONLY: it only reads, also from a replica.
    reader: Option<u64>,
}

/// Which kinds of faults a life has: a random half of them, so that each is also seen without the others.
#[derive(Clone, Copy, Debug)]
pub struct Faults(u64);

impl Faults {
    pub fn draw(random: &mut Random) -> Self {
        Self(random.next())
    }

    /// Snapshots are made and fetched; such lives are longer.
    pub fn makes_snapshots(self) -> bool {
        self.has(9)
    }

    fn has(self, kind: u32) -> bool {
        self.0 >> kind & 1 == 1
    }
}

pub struct Cluster {
    /// The places of the cluster, each with the id that it has now.
    pub voters: Vec<NodeId>,
    /// Those who voted at first.
    founders: Vec<NodeId>,
    /// A node that lost its disk and is not yet a member again.
    wiped: Option<NodeId>,
    wipes: u8,
    /// What the disk lost last had acknowledged: answers of it may still be under way.
    grave: Down,
    /// Members again under a new id.
    pub replaced: usize,
    pub nodes: BTreeMap<NodeId, Node>,
    pub down: BTreeMap<NodeId, Down>,
    pub messages: Vec<(NodeId, NodeId, Message)>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Processes that stand still: they take no tick, message or call.
    pub paused: BTreeSet<NodeId>,
    pub true_ns: u64,
    pub seed: u64,
    pub mutant: Option<Mutant>,
    /// What nodes started from now on do with calls for the primary.
    pub moves_sessions: bool,
    /// Voters without data.
    log_only: Vec<NodeId>,
    starts: u64,
    clocks: BTreeMap<NodeId, WrongClock>,
    /// Every entry ever committed and known, by position.
    pub committed: BTreeMap<Position, CommittedEntry>,
    model: Shard,
    digests: BTreeMap<Position, u128>,
    leaders: BTreeMap<Term, NodeId>,
    /// Highest committed position that each running process has told, and that was found durable on a majority.
    told: BTreeMap<NodeId, Position>,
    /// Committed anywhere, as far as any node knew.
    known: Position,
    /// What of each running process was last compared with the model.
    compared: BTreeMap<NodeId, (Position, State)>,
    pub history: History,
    connections: Vec<Connection>,
    /// When cuts and pauses end.
    mended_at_ns: u64,
    steps: u64,
    values: u64,
    pub frozen_seen: usize,
    pub rebuilds_seen: usize,
    /// Snapshots of another member with which a node started anew.
    pub installed: usize,
    /// Snapshots made.
    pub made: usize,
    pub replies: usize,
    pub trace: Vec<String>,
    /// Digests at marked positions, and how many members agreed at most.
    marks: BTreeMap<(Position, Term), StateDigest>,
    pub agreed: u64,
}

pub fn id(number: u32) -> NodeId {
    NodeId::of(number, 1)
}

/// Three replicas, a primary with a lease and `x` = `old`, and a client of its.
pub fn serving(seed: u64) -> (Cluster, NodeId, SessionId) {
    let mut cluster = Cluster::new(3, seed);
    let primary = cluster.elect().unwrap();
    let session = cluster.node(primary).open();
    cluster.node(primary).say(session, "SET x old");
    cluster.node(primary).end_turn();
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n");
    (cluster, primary, session)
}

impl Cluster {
    pub fn new(count: u32, seed: u64) -> Self {
        Self::with_log_only(count, seed, &[])
    }

    /// Some of the voters keep the log and no data.
    pub fn with_log_only(count: u32, seed: u64, log_only: &[u32]) -> Self {
        let voters: Vec<NodeId> = (1..=count).map(id).collect();
        let down = voters
            .iter()
            .map(|voter| (*voter, Down { disk: Disk::new(*voter), durable: BTreeMap::new() }))
            .collect();
        let mut cluster = Self {
            voters: voters.clone(),
            founders: voters.clone(),
            wiped: None,
            wipes: 0,
            grave: Down { disk: Disk::default(), durable: BTreeMap::new() },
            replaced: 0,
            nodes: BTreeMap::new(),
            down,
            messages: Vec::new(),
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            true_ns: 0,
            seed,
            mutant: None,
            moves_sessions: false,
            log_only: log_only.iter().map(|number| id(*number)).collect(),
            starts: 0,
            clocks: BTreeMap::new(),
            committed: BTreeMap::new(),
            model: model(),
            digests: BTreeMap::new(),
            leaders: BTreeMap::new(),
            told: BTreeMap::new(),
            known: Position::ZERO,
            compared: BTreeMap::new(),
            history: History::default(),
            connections: Vec::new(),
            mended_at_ns: 0,
            steps: 0,
            values: 0,
            frozen_seen: 0,
            rebuilds_seen: 0,
            installed: 0,
            made: 0,
            replies: 0,
            trace: Vec::new(),
            marks: BTreeMap::new(),
            agreed: 0,
        };
        cluster.digests.insert(Position::ZERO, cluster.model.engine.data.digest());
        for voter in voters {
            cluster.start(voter).unwrap();
        }
        cluster
    }

    /// Every node's clock is wrong by up to one percent, and began elsewhere.
    pub fn with_wrong_clocks(count: u32, seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random(seed ^ 0xc10c);
        // Every third life has a voter without data.
        let log_only: &[u32] = if seed % 3 == 2 { &[2] } else { &[] };
        let mut cluster = Self::with_log_only(count, seed, log_only);
        cluster.mutant = mutant;
        for voter in cluster.voters.clone() {
            let clock = WrongClock {
                ahead_ns: random.below(1 << 40),
                fast_ppm: random.below(20_000) as i64 - 10_000,
            };
            cluster.clocks.insert(voter, clock);
            cluster.stop(voter);
            cluster.start(voter).unwrap();
        }
        cluster
    }

    pub fn start(&mut self, node: NodeId) -> Result<(), String> {
        let down = self.down.remove(&node).expect("it is down");
        let seed = self.next_seed(node);
        let clock = self.clocks.get(&node).copied().unwrap_or_default();
        let setup = Setup {
            voters: &self.founders,
            log_only: &self.log_only,
            clock,
            mutant: self.mutant,
            moves_sessions: self.moves_sessions,
        };
        let started = Node::start(down.disk, node, seed, setup, self.true_ns)?;
        self.nodes.insert(node, started);
        self.told.insert(node, Position::ZERO);
        self.compared.remove(&node);
        self.settle()
    }

    fn next_seed(&mut self, node: NodeId) -> u64 {
        self.starts += 1;
        self.seed * 1000 + self.starts * 10 + u64::from(node.node())
    }

    /// The process ends; its disk keeps what was synced, what was not is in the caller's hand.
    pub fn stop(&mut self, node: NodeId) -> Option<&mut Disk> {
        let stopped = self.nodes.remove(&node)?;
        self.paused.remove(&node);
        self.rebuilds_seen += stopped.rebuilds;
        let replica = stopped.replica();
        let durable = (1..=replica.persisted().0)
            .filter_map(|position| Some((Position(position), replica.term_of(Position(position))?)))
            .collect();
        let connections = std::mem::take(&mut self.connections);
        self.connections = connections.into_iter().filter(|connection| connection.node != node).collect();
        self.down.insert(node, Down { disk: stopped.disk, durable });
        self.down.get_mut(&node).map(|down| &mut down.disk)
    }

    /// Takes what nodes sent, hears what clients were told, checks what must hold.
    pub fn settle(&mut self) -> Result<(), String> {
        self.steps += 1;
        for (from, node) in &mut self.nodes {
            node.true_ns = self.true_ns;
            for (to, message) in node.sent.drain(..) {
                let mut bytes = Vec::new();
                message.encode(ShardId(0), &mut bytes);
                let message =
                    Message::decode(ShardId(0), &bytes.into()).map_err(|error| error.to_string())?;
                self.messages.push((*from, to, message));
            }
            if let Some(why) = &node.fenced {
                return Err(format!("{from:?} is fenced: {why}"));
            }
        }
        self.hear_all()?;
        self.check()
    }

    fn check(&mut self) -> Result<(), String> {
        self.check_durable()?;
        for (id, node) in &self.nodes {
            let replica = node.replica();
            if replica.role() == ramkeep_log::Role::Primary {
                let leader = *self.leaders.entry(replica.term()).or_insert(*id);
                if leader != *id {
                    return Err(format!("{leader:?} and {id:?} lead in {:?}", replica.term()));
                }
            }
            let told = self.told.get_mut(id).expect("it was started");
            if replica.committed() < *told {
                return Err(format!("{id:?} takes a commit back"));
            }
            *told = replica.committed();
            let applied = node.shard.applied();
            if applied > replica.committed() {
                return Err(format!("{id:?} has applied {applied:?}, which is not committed"));
            }
        }
        let leases = self.nodes.iter().filter(|(_, node)| {
            let now_ns = node.now().monotonic_ns;
            node.replica().lease_valid(now_ns)
        });
        if leases.count() > 1 {
            return Err("two leases at once".into());
        }
        if self.steps.is_multiple_of(8) { self.compare() } else { Ok(()) }
    }

    /// What any node knows as committed must be durable on a majority.
    fn check_durable(&mut self) -> Result<(), String> {
        let newest = self.nodes.values().max_by_key(|node| node.replica().committed());
        let Some(node) = newest.filter(|node| node.replica().committed() > self.known) else { return Ok(()) };
        let replica = node.replica();
        for position in self.known.0 + 1..=replica.committed().0 {
            let position = Position(position);
            let term = replica.term_of(position).ok_or("a committed entry has a term")?;
            let durable = self
                .voters
                .iter()
                .filter(|voter| match (self.nodes.get(voter), self.down.get(voter)) {
                    (Some(node), _) => {
                        let replica = node.replica();
                        let is_covered = position <= node.disk.snapshot.0;
                        replica.persisted() >= position
                            && (is_covered || replica.term_of(position) == Some(term))
                    }
                    (_, Some(down)) => down.durable.get(&position) == Some(&term),
                    _ => false,
                })
                .count()
                + usize::from(self.grave.durable.get(&position) == Some(&term));
            if durable <= self.voters.len() / 2 {
                return Err(format!("{position:?} is committed and durable on {durable} disks only"));
            }
        }
        self.known = replica.committed();
        Ok(())
    }

    /// Gives the model what was committed since, and compares with it every replica that follows.
    pub fn compare(&mut self) -> Result<(), String> {
        let before = self.committed.last_key_value().map_or(Position::ZERO, |(position, _)| *position);
        let newest = self.nodes.values().map(|node| node.replica().committed()).max().unwrap_or_default();
        if newest > before {
            for entry in self.read_committed(before, newest)? {
                self.history.committed(&entry.payload)?;
                let now = Now { monotonic_ns: 0, wall_us: 0 };
                self.model.replay(&entry, now).map_err(|error| error.to_string())?;
                self.digests.insert(entry.position, self.model.engine.data.digest());
                self.committed.insert(entry.position, entry);
            }
        }
        for (id, node) in &self.nodes {
            let place = (node.shard.applied(), node.shard.state().clone());
            if self.log_only.contains(id)
                || place.1 != State::Following
                || self.compared.get(id) == Some(&place)
            {
                continue;
            }
            if self.digests.get(&place.0) != Some(&node.digest()) {
                return Err(format!("{id:?} follows and has other data at {:?} than the log gives", place.0));
            }
            self.compared.insert(*id, place);
        }
        Ok(())
    }

    /// Entries after `known`, out of any log on disk that holds them in the committed terms.
    fn read_committed(&self, known: Position, until: Position) -> Result<Vec<CommittedEntry>, String> {
        let newest = self.nodes.values().max_by_key(|node| node.replica().committed()).expect("one told");
        let term_of = |position| newest.replica().term_of(position);
        let disks = self.nodes.values().map(|node| (node.id, &node.disk));
        let all = disks.chain(self.down.iter().map(|(id, down)| (*id, &down.disk)));
        for (id, disk) in all {
            let Ok((entries, recovered, _)) = recover(disk, id, Mutants::default()) else { continue };
            let unapplied = recovered.unapplied.into_iter().map(ramkeep_log::Entry::into_committed);
            let wanted: Vec<CommittedEntry> = entries
                .into_iter()
                .chain(unapplied)
                .filter(|entry| entry.position > known && entry.position <= until)
                .collect();
            let are_genuine = wanted.iter().all(|entry| Some(entry.term) == term_of(entry.position));
            if wanted.len() as u64 == until.0 - known.0 && are_genuine {
                return Ok(wanted);
            }
        }
        Err(format!("no disk holds the committed entries up to {until:?}"))
    }

    // --- messages and time -----------------------------------------------------------------------

    pub fn deliver(&mut self, index: usize) -> Result<(), String> {
        let (from, to, message) = self.messages.remove(index);
        if self.cut.contains(&(from, to)) {
            return Ok(());
        }
        if let Some(node) = self.nodes.get_mut(&to) {
            self.trace.push(format!("{} {from:?} {to:?} {}", self.true_ns, message.name()));
            node.receive(from, message);
        }
        self.settle()
    }

    /// Delivers all messages between nodes that run, and those that follow from them.
    pub fn deliver_all(&mut self) -> Result<(), String> {
        self.settle()?;
        while let Some(index) = self.messages.iter().position(|(_, to, _)| !self.paused.contains(to)) {
            self.deliver(index)?;
        }
        Ok(())
    }

    /// Time passes for everybody; those that run take a tick.
    pub fn pass(&mut self, time_ns: u64) -> Result<(), String> {
        self.true_ns += time_ns;
        for (id, node) in &mut self.nodes {
            node.true_ns = self.true_ns;
            if !self.paused.contains(id) {
                node.tick();
            }
        }
        self.settle()
    }

    pub fn ticks(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            self.pass(TICK_NS)?;
            self.deliver_all()?;
        }
        Ok(())
    }

    /// Lets time pass until there is a primary that serves.
    pub fn elect(&mut self) -> Result<NodeId, String> {
        for _ in 0..400 {
            self.ticks(1)?;
            if let Some(primary) = self.primary() {
                return Ok(primary);
            }
        }
        Err("no primary within 20 s".into())
    }

    /// The one that serves in the highest term, by its lease or, after an offer that came to nothing, by rounds.
    pub fn primary(&self) -> Option<NodeId> {
        let serving = self.nodes.iter().filter(|(id, node)| {
            let now_ns = node.now().monotonic_ns;
            let proves_itself = node.replica().lease_valid(now_ns) || node.replica().has_given_up_lease();
            let is_ready = node.shard.is_leading() && !node.shard.is_handing_over();
            is_ready && proves_itself && !self.paused.contains(id)
        });
        serving.max_by_key(|(_, node)| node.replica().term()).map(|(id, _)| *id)
    }

    pub fn node(&mut self, node: NodeId) -> &mut Node {
        self.nodes.get_mut(&node).expect("it is up")
    }

    pub fn others(&self, than: NodeId) -> Vec<NodeId> {
        self.voters.iter().copied().filter(|voter| *voter != than).collect()
    }

    pub fn isolate(&mut self, node: NodeId) {
        for other in self.voters.clone() {
            self.cut_between(node, other);
        }
    }

    pub fn cut_between(&mut self, first: NodeId, second: NodeId) {
        self.cut.insert((first, second));
        self.cut.insert((second, first));
    }
}
