//! What strikes a cluster in a random life, and how it is mended.
//!
//! Not here: what must hold meanwhile (`super`).

use std::collections::BTreeMap;

use ramkeep_log::{Member, Newcomer, NodeId, Replica, Uuid};
use ramkeep_shard::{State, StateDigest};

use super::{Cluster, Down, Faults};
use crate::common::{Disk, Setup, described, making};
use crate::disk::Random;

impl Cluster {
    /// Anything may happen to it, of the kinds of faults that this life has.
    pub fn disturb(&mut self, faults: Faults, random: &mut Random) -> Result<(), String> {
        let any = self.voters[random.below(self.voters.len() as u64) as usize];
        let other = self.voters[random.below(self.voters.len() as u64) as usize];
        // A process that stands still does nothing, whatever its disk does.
        let stands = self.paused.contains(&any);
        let kinds = if faults.makes_snapshots() { 73 } else { 64 };
        match random.below(if faults.has(10) { kinds + 6 } else { kinds }) {
            kind if kind >= kinds => self.digest(any, random),
            0..=11 => {
                self.pass(10_000_000 + random.below(60_000_000))?;
                if self.true_ns >= self.mended_at_ns {
                    self.cut.clear();
                    self.go_on();
                }
            }
            12..=29 if !self.messages.is_empty() => {
                let index = random.below(self.messages.len() as u64) as usize;
                // Mostly in order; a connection keeps it, a new connection does not.
                let index = if faults.has(0) && random.below(4) == 0 { index } else { 0 };
                if !self.paused.contains(&self.messages[index].1) {
                    self.deliver(index)?;
                }
            }
            30..=34 => self.deliver_all()?,
            35 if !stands && random.below(4) == 0 => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    // It may be refused, or come to nothing.
                    node.with(|shard, now, outputs| _ = shard.transfer(None, now, outputs));
                }
            }
            36..=37 => self.end_turn(any),
            38 if faults.has(1) && !self.messages.is_empty() => {
                let index = random.below(self.messages.len() as u64) as usize;
                self.messages.remove(index);
            }
            39 if faults.has(2) => {
                self.cut.insert((any, other));
                self.mend_later(random);
            }
            40 if faults.has(3) => {
                let primary = self.nodes.values().find(|node| node.shard.is_leading()).map(|node| node.id);
                self.isolate(primary.unwrap_or(any));
                self.mend_later(random);
            }
            41 if faults.has(4) => {
                let primary = self.nodes.values().find(|node| node.shard.is_leading()).map(|node| node.id);
                self.paused.insert(primary.filter(|_| random.below(2) == 0).unwrap_or(any));
                self.mend_later(random);
            }
            42 if faults.has(5) && random.below(2) == 0 => self.crash(any, random),
            64..=66 if !stands => self.make_snapshot(any, random)?,
            70 if faults.has(10) => self.wipe(any)?,
            71..=72 => self.ask_to_join()?,
            67..=69 if !stands => self.fetch(any, faults.has(5) && random.below(3) == 0, random)?,
            43..=44 if self.down.contains_key(&any) => self.start(any)?,
            45 if faults.has(6) && !stands => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.slow_disk = !node.slow_disk;
                    if !node.slow_disk {
                        node.sync();
                    }
                }
            }
            46..=47 if !stands => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.sync();
                }
            }
            48 if !stands => {
                if let Some(node) = self.nodes.get_mut(&any) {
                    node.slow_rebuild = faults.has(7) && random.below(2) == 0;
                    node.rebuild();
                }
            }
            49..=50 if self.connections.len() < 12 => self.connect(any, random.below(3) == 0),
            _ if !self.connections.is_empty() => {
                let index = random.below(self.connections.len() as u64) as usize;
                let stands_still = faults.has(8) && random.below(8) == 0;
                self.ask(index, stands_still, random);
                if stands_still {
                    self.mend_later(random);
                }
            }
            _ => self.connect(any, false),
        }
        self.carry_digests()?;
        self.settle()?;
        self.frozen_seen += usize::from(self.nodes.values().any(|node| node.is(&State::Frozen)));
        Ok(())
    }

    /// The primary may mark a position; who digests goes on with it.
    fn digest(&mut self, node: NodeId, random: &mut Random) {
        let Some(node) = self.nodes.get_mut(&node).filter(|node| !self.paused.contains(&node.id)) else {
            return;
        };
        if random.below(3) == 0 {
            node.with(|shard, now, outputs| shard.mark(now, outputs));
        }
        (0..random.below(4)).for_each(|_| _ = node.shard.digest_slice());
    }

    /// Every digest of one mark must be the same; each member hears of the others' digests.
    fn carry_digests(&mut self) -> Result<(), String> {
        let made: Vec<(NodeId, StateDigest)> = self
            .nodes
            .values_mut()
            .flat_map(|node| std::mem::take(&mut node.digested).into_iter().map(|digest| (node.id, digest)))
            .collect();
        for (from, digest) in made {
            let known = *self.marks.entry((digest.position, digest.term)).or_insert(digest);
            if known != digest {
                return Err(format!("{from:?} has other data at the mark {:?}", digest.position));
            }
            for node in self.nodes.values_mut().filter(|node| node.id != from) {
                node.with(|shard, now, outputs| shard.digest_told(from, digest, now, outputs));
                self.agreed = self.agreed.max(node.shard.engine.log.digest_agreed);
                if node.shard.divergence().is_some() {
                    return Err(format!("{:?} sees a difference where there is none", node.id));
                }
            }
        }
        Ok(())
    }

    /// Makes a snapshot, a step at a time; a crash may come between its name and the cut below it.
    fn make_snapshot(&mut self, node: NodeId, random: &mut Random) -> Result<(), String> {
        // Before anything is cut the model knows all that is committed.
        self.compare()?;
        let Some(node) = self.nodes.get_mut(&node) else { return Ok(()) };
        if node.making.is_none() {
            let session = node.open();
            node.say(session, "BGSAVE");
            node.making = making::begin(node);
            return Ok(());
        }
        for _ in 0..random.below(4) {
            let Some(mut begun) = node.making.take() else { break };
            match making::step(node, &mut begun) {
                making::Step::More => node.making = Some(begun),
                making::Step::Void => {}
                making::Step::Whole(file) => {
                    making::put(node, &begun.head, file);
                    self.made += 1;
                    if random.below(5) > 0 {
                        making::end(node);
                    } else {
                        let node = node.id;
                        self.crash(node, random);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, node: NodeId, random: &mut Random) {
        if let Some(disk) = self.stop(node) {
            match random.below(3) {
                0 => disk.lose_power(random),
                keeps => disk.kill(keeps == 1),
            }
        }
    }

    /// Gets the snapshot that a node should have, if whoever has it can be reached, and starts anew with it.
    fn fetch(&mut self, id: NodeId, crashes: bool, random: &mut Random) -> Result<(), String> {
        self.compare()?;
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let Some((from, position, term)) = node.wants_from else { return Ok(()) };
        let (from, is_cut) = (self.nodes.get(&from), self.cut.contains(&(from, id)));
        let Some(other) = from.filter(|other| !is_cut && other.disk.snapshot == (position, term)) else {
            return Ok(());
        };
        let file = other.disk.held.clone();
        let node = self.node(id);
        if node.replica().committed() >= position {
            node.wants_from = None;
            return Ok(());
        }
        if node.disk.snapshot.0 < position {
            (node.disk.snapshot, node.disk.held) = ((position, term), file);
        }
        if crashes {
            self.crash(id, random);
            return Ok(());
        }
        let (seed, clock) = (self.next_seed(id), self.clocks.get(&id).copied().unwrap_or_default());
        let (voters, log_only) = (self.founders.clone(), self.log_only.clone());
        let setup = Setup {
            voters: &voters,
            log_only: &log_only,
            clock,
            mutant: self.mutant,
            moves_sessions: self.moves_sessions,
        };
        if self.node(id).begin_anew(seed, setup)? {
            self.installed += 1;
        }
        self.settle()
    }

    /// The process dies and its disk is gone, if that is within what is promised: everything else is there, and what
    /// was replaced before is a voter again.
    fn wipe(&mut self, node: NodeId) -> Result<(), String> {
        let primary = self.primary().filter(|primary| *primary != node);
        let members = primary.map(|primary| self.node(primary).replica().members().clone());
        let is_settled =
            members.is_some_and(|it| !it.is_joint() && self.voters.iter().all(|voter| it.is_voter(*voter)));
        if is_settled && self.wiped.is_none() {
            self.compare()?;
            self.stop(node);
            if let Some(down) = self.down.remove(&node) {
                self.grave = down;
            }
            self.wiped = Some(node);
            self.wipes += 1;
        }
        Ok(())
    }

    /// A node without its disk asks to be a member again.
    fn ask_to_join(&mut self) -> Result<(), String> {
        let (Some(old), Some(primary)) = (self.wiped, self.primary()) else { return Ok(()) };
        let place = self.voters.iter().position(|voter| *voter == old).expect("it has a place");
        let described = Member { is_log_only: self.log_only.contains(&old), ..described(place) };
        let newcomer = Newcomer { number: old.node(), directory: Uuid([self.wipes; 16]), described };
        let mut outcome = None;
        self.node(primary).with(|shard, now, outputs| {
            let admit = |replica: &mut Replica, now_ns| replica.admit(&newcomer, now_ns);
            outcome = shard.change_members(now, outputs, admit).ok();
        });
        if let Some(id) = outcome {
            self.wiped = None;
            self.voters[place] = id;
            if self.log_only.contains(&old) {
                self.log_only.push(id);
            }
            if let Some(clock) = self.clocks.get(&old).copied() {
                self.clocks.insert(id, clock);
            }
            self.down.insert(id, Down { disk: Disk::new(id), durable: BTreeMap::new() });
            self.replaced += 1;
            self.start(id)?;
        }
        self.settle()
    }

    fn mend_later(&mut self, random: &mut Random) {
        self.mended_at_ns = self.true_ns + random.below(3_000_000_000);
    }

    fn end_turn(&mut self, node: NodeId) {
        if self.paused.contains(&node) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            node.end_turn();
        }
    }

    /// Everything is mended: all run, hear each other, and have a primary within a bound.
    pub fn heal(&mut self) -> Result<NodeId, String> {
        self.cut.clear();
        self.go_on();
        for voter in self.voters.clone() {
            if self.down.contains_key(&voter) {
                self.start(voter)?;
            }
            let Some(node) = self.nodes.get_mut(&voter) else { continue };
            node.slow_disk = false;
            node.slow_rebuild = false;
            node.sync();
            node.rebuild();
        }
        let mut random = Random(self.seed);
        for _ in 0..8 {
            self.ticks(20)?;
            for voter in self.voters.clone() {
                self.fetch(voter, false, &mut random)?;
            }
            // The first call makes it a learner, the next one finds it one.
            self.ask_to_join()?;
            self.deliver_all()?;
            self.ask_to_join()?;
        }
        self.ticks(40)?;
        let primary = self.elect()?;
        let members = self.node(primary).replica().members().clone();
        if members.is_joint() || !self.voters.iter().all(|voter| members.is_voter(*voter)) {
            return Err(format!("a change of members does not come to its end: {members:?}"));
        }
        Ok(primary)
    }
}
