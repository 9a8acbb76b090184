//! Several nodes in one test: messages are values in a queue, time is a number.

use std::collections::{BTreeMap, BTreeSet};

use ramkeep_log::*;

use super::{Disk, Node, Random, TICK_NS};

pub struct Cluster {
    /// The places of the cluster, each with the id that it has now.
    pub voters: Vec<NodeId>,
    /// Those who voted at first.
    pub founders: Vec<NodeId>,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Disks of nodes that are down.
    pub down: BTreeMap<NodeId, Disk>,
    pub messages: Vec<(NodeId, NodeId, Message)>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub now_ns: u64,
    pub starts: u64,
    pub seed: u64,
    pub mutants: Mutants,
    /// Everything ever committed anywhere, by position.
    pub history: BTreeMap<Position, CommittedEntry>,
    /// How much of each node's committed entries was compared.
    checked: BTreeMap<NodeId, usize>,
    pub trace: Vec<String>,
    /// Snapshots of others that took the place of a log.
    pub installed: usize,
    /// Numbers of nodes that lost their disks and are not yet members again.
    pub wiped: BTreeSet<u32>,
    pub wipes: u8,
    pub replaced: usize,
}

pub fn id(number: u32) -> NodeId {
    NodeId::of(number, 1)
}

impl Cluster {
    pub fn new(count: u32, seed: u64) -> Self {
        let voters: Vec<NodeId> = (1..=count).map(id).collect();
        let down = voters.iter().map(|voter| (*voter, Disk::new(*voter))).collect();
        let mut cluster = Self {
            voters: voters.clone(),
            founders: voters.clone(),
            nodes: BTreeMap::new(),
            down,
            messages: Vec::new(),
            cut: BTreeSet::new(),
            now_ns: 0,
            starts: 0,
            seed,
            mutants: Mutants::default(),
            history: BTreeMap::new(),
            checked: BTreeMap::new(),
            trace: Vec::new(),
            installed: 0,
            wiped: BTreeSet::new(),
            wipes: 0,
            replaced: 0,
        };
        for voter in voters {
            cluster.start(voter).unwrap();
        }
        cluster
    }

    pub fn start(&mut self, node: NodeId) -> Result<(), String> {
        let disk = self.down.remove(&node).expect("it is down");
        self.starts += 1;
        let seed = self.seed * 1000 + self.starts * 10 + u64::from(node.node());
        let started = Node::start_with(disk, node, &self.founders, seed, self.now_ns, self.mutants);
        self.nodes.insert(node, started.map_err(|error| format!("{node:?} does not start: {error}"))?);
        self.checked.insert(node, 0);
        self.collect()
    }

    pub fn stop(&mut self, node: NodeId) -> Option<&mut Disk> {
        let stopped = self.nodes.remove(&node)?;
        self.down.insert(node, stopped.disk);
        self.down.get_mut(&node)
    }

    /// Runs every node, takes what it sends, and compares what it has committed.
    pub fn collect(&mut self) -> Result<(), String> {
        for (node_id, node) in &mut self.nodes {
            node.run(self.now_ns);
            for (to, message) in node.sent.drain(..) {
                let mut bytes = Vec::new();
                message.encode(ShardId(0), &mut bytes);
                let message =
                    Message::decode(ShardId(0), &bytes.into()).map_err(|error| error.to_string())?;
                self.messages.push((*node_id, to, message));
            }
            let checked = self.checked.get_mut(node_id).unwrap();
            for entry in &node.committed[*checked..] {
                *checked += 1;
                if entry.position.0 != *checked as u64 {
                    return Err(format!("{node_id:?} hands out {:?} as number {checked}", entry.position));
                }
                let known = self.history.entry(entry.position).or_insert_with(|| entry.clone());
                if known != entry {
                    return Err(format!("{node_id:?} has {entry:?} where another has {known:?}"));
                }
            }
        }
        Ok(())
    }

    /// Gets the snapshot that a node should have, if whoever has it can be reached; a crash may come in between.
    pub fn fetch(&mut self, node: NodeId, crashes: bool) -> Result<(), String> {
        let Some((from, position, _)) = self.nodes.get_mut(&node).and_then(|node| node.wants.take()) else {
            return Ok(());
        };
        // It may have made a newer one since, which then takes the place of the one that it pointed to.
        let Some(other) = self.nodes.get(&from).filter(|other| other.disk.snapshot.0 >= position) else {
            return Ok(());
        };
        let (position, term) = other.disk.snapshot;
        let (covered, members) = (other.disk.held.covered.clone(), other.disk.held.members.clone());
        let found = self.nodes.get_mut(&node).expect("it wants something");
        if found.disk.snapshot.0 >= position || found.replica.committed() >= position {
            return Ok(());
        }
        (found.disk.snapshot, found.disk.held.covered) = ((position, term), covered);
        found.disk.held.members = members;
        self.trace.push(format!("{} {node:?} has the snapshot at {position:?}", self.now_ns));
        if crashes {
            self.stop(node);
            return Ok(());
        }
        self.starts += 1;
        let seed = self.seed * 1000 + self.starts * 10 + u64::from(node.node());
        let (voters, now_ns) = (self.founders.clone(), self.now_ns);
        let started = self.node(node).start_anew(&voters, seed, now_ns);
        started.map_err(|error| format!("{node:?} does not start anew: {error}"))?;
        self.checked.insert(node, 0);
        self.installed += 1;
        self.collect()
    }

    /// Whether a disk may be lost: all others have theirs, and what was replaced before is a voter again everywhere.
    pub fn may_wipe(&self, node: NodeId) -> bool {
        let is_settled = |other: &Node| {
            let members = other.replica.members();
            let is_voter = |voter: &NodeId| members.is_voter(*voter);
            !members.is_joint() && self.voters.iter().all(is_voter)
        };
        let primary = self.primary().and_then(|primary| self.nodes.get(&primary));
        self.wiped.is_empty() && self.primary() != Some(node) && primary.is_some_and(is_settled)
    }

    /// The process dies and its disk is gone.
    pub fn wipe(&mut self, node: NodeId) {
        self.stop(node);
        self.down.remove(&node);
        self.wiped.insert(node.node());
        self.wipes += 1;
    }

    /// A node without a disk asks to be a member again.
    pub fn ask_to_join(&mut self) -> Result<(), String> {
        let (Some(number), Some(primary)) = (self.wiped.first().copied(), self.primary()) else {
            return Ok(());
        };
        let directory = Uuid([self.wipes; 16]);
        let newcomer = Newcomer { number, directory, described: Member::default() };
        let now_ns = self.now_ns;
        if let Ok(id) = self.node(primary).replica.admit(&newcomer, now_ns) {
            self.wiped.remove(&number);
            let place = self.voters.iter_mut().find(|voter| voter.node() == number);
            *place.expect("it has a place") = id;
            self.down.insert(id, Disk::new(id));
            self.replaced += 1;
            self.start(id)?;
        }
        self.collect()
    }

    /// The node starts anew over what its disk has.
    pub fn restart_anew(&mut self, node: NodeId, voters: &[NodeId], now_ns: u64) {
        self.node(node).start_anew(voters, 77, now_ns).unwrap();
        self.checked.insert(node, 0);
        self.collect().unwrap();
    }

    /// Everybody gets the snapshot that it should have.
    pub fn fetch_all(&mut self) -> Result<(), String> {
        self.voters.clone().into_iter().try_for_each(|node| self.fetch(node, false))
    }

    pub fn deliver(&mut self, index: usize) -> Result<(), String> {
        let (from, to, message) = self.messages.remove(index);
        if self.cut.contains(&(from, to)) {
            return Ok(());
        }
        if let Some(node) = self.nodes.get_mut(&to) {
            self.trace.push(format!("{} {from:?} {to:?} {}", self.now_ns, message.name()));
            node.replica.receive(from, message, self.now_ns);
        }
        self.collect()
    }

    pub fn deliver_all(&mut self) -> Result<(), String> {
        self.collect()?;
        while !self.messages.is_empty() {
            self.deliver(0)?;
        }
        Ok(())
    }

    /// One tick for all nodes.
    pub fn tick(&mut self) -> Result<(), String> {
        self.now_ns += TICK_NS;
        for node in self.nodes.values_mut() {
            node.replica.tick(self.now_ns);
        }
        self.collect()
    }

    pub fn ticks(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            self.tick()?;
            self.deliver_all()?;
            self.fetch_all()?;
            self.ask_to_join()?;
        }
        Ok(())
    }

    /// Lets time pass until there is a primary that may serve.
    pub fn elect(&mut self) -> Result<NodeId, String> {
        for _ in 0..200 {
            self.ticks(1)?;
            if let Some(primary) = self.primary() {
                return Ok(primary);
            }
        }
        Err("no primary within 10 s".into())
    }

    /// The ready primary of the highest term.
    pub fn primary(&self) -> Option<NodeId> {
        let ready = self.nodes.iter().filter(|(_, node)| node.replica.is_ready_primary());
        ready.max_by_key(|(_, node)| node.replica.term()).map(|(id, _)| *id)
    }

    pub fn node(&mut self, node: NodeId) -> &mut Node {
        self.nodes.get_mut(&node).expect("it is up")
    }

    pub fn isolate(&mut self, node: NodeId) {
        for other in self.voters.clone() {
            self.cut.insert((node, other));
            self.cut.insert((other, node));
        }
    }

    /// Anything may happen to it: loss, delay, slow disks, crashes of any number of nodes.
    pub fn disturb(&mut self, random: &mut Random) -> Result<(), String> {
        let pick = |random: &mut Random, from: &[NodeId]| from[random.below(from.len() as u64) as usize];
        let any = pick(random, &self.voters.clone());
        let other = pick(random, &self.voters.clone());
        match random.below(45) {
            0..=9 => self.tick()?,
            10..=25 if !self.messages.is_empty() => {
                let index = random.below(self.messages.len() as u64) as usize;
                // Mostly in order; a connection keeps it, a new connection does not.
                self.deliver(if random.below(4) == 0 { index } else { 0 })?;
            }
            26 if !self.messages.is_empty() => {
                let index = random.below(self.messages.len() as u64) as usize;
                self.messages.remove(index);
            }
            27 => _ = self.cut.insert((any, other)),
            28 => self.cut.clear(),
            29 => self.deliver_all()?,
            30 if random.below(3) == 0 => {
                if let Some(disk) = self.stop(any) {
                    match random.below(3) {
                        0 => disk.lose_power(random),
                        keeps => disk.kill(keeps == 1),
                    }
                }
            }
            31..=32 if self.down.contains_key(&any) => self.start(any)?,
            33..=34 => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.slow_disk = !node.slow_disk;
                    let slow = node.slow_disk;
                    if !slow {
                        node.sync(self.now_ns);
                    }
                }
            }
            35..=36 => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.sync(self.now_ns);
                }
            }
            37 if random.below(10) == 0 => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.replica.transfer(other);
                }
            }
            40 if random.below(2) == 0 => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    // A crash may come between the name of a snapshot and the cut below it.
                    if random.below(4) == 0 { node.make_snapshot() } else { node.snapshot() }
                }
            }
            43 if random.below(4) == 0 && self.may_wipe(any) => self.wipe(any),
            44 => self.ask_to_join()?,
            41..=42 => {
                let crashes = random.below(4) == 0;
                self.fetch(any, crashes)?;
                if let Some(disk) = self.down.get_mut(&any).filter(|_| crashes) {
                    match random.below(3) {
                        0 => disk.lose_power(random),
                        keeps => disk.kill(keeps == 1),
                    }
                }
            }
            _ => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    let mut payload = random.next().to_le_bytes().to_vec();
                    payload.resize(8 + random.below(900) as usize, 1);
                    let _ = node.replica.propose(payload);
                }
            }
        }
        self.collect()
    }
}
