//! Faults that aim at one rule each: several things at once, in the one order in which a missing rule would show.
//!
//! Lives here: a primary that is left alone with its clients, two that ask a third for its vote, a fetch whose other end
//! goes away. Not here: single faults (`attack`).
//!
//! They would catch: reads without a lease or by the wall clock's, what a deposed primary keeps or gives away, votes that
//! a restart forgets.

use std::time::Duration;

use ramkeep_log::{Replica, Role};
use ramkeep_net::{NodeId, sleep};
use ramkeep_server::point::PIECE_READ;

use super::Run;
use super::attack::Undo;
use crate::campaign::options::Fault;
use crate::random::{between, chance};

/// Between two looks at who leads.
pub(super) const LOOK: Duration = Duration::from_micros(200);
/// Nobody is waited for longer: 3 s.
pub(super) const LOOKS_MAX: u32 = 15_000;
/// A write is waited for no longer: 1 s.
const WRITE_LOOKS_MAX: u32 = 5_000;
/// Of each node's connections, when a fetch is to break: about all.
const RESETS: u32 = 16;
/// A disk that is to be found with a save of its vote under way.
const SLOW_SAVE_US: (u64, u64) = (20_000, 60_000);

impl Run {
    /// A primary is left alone when all members are there and hear each other: else no other one would be elected.
    pub(super) async fn leave_alone_if_calm(&mut self) {
        let takes_back = |undo: &Undo| {
            matches!(
                undo,
                Undo::Start(_) | Undo::Resume(_) | Undo::Heal(_) | Undo::Rejoin { .. } | Undo::Disk(_)
            )
        };
        let is_calm = || !self.undo.iter().any(|(_, undo)| takes_back(undo)) && self.settled().is_some();
        if self.is_lone_due && is_calm() {
            self.is_lone_due = false;
            self.leave_alone().await;
        }
    }

    /// The primary does not hear the other nodes for a while; its clients reach it as before. Mostly it also stands still
    /// until another leads, before it has given up by itself, and where clocks jump its own is set back by that time.
    async fn leave_alone(&mut self) {
        let Some(primary) = self.primary.filter(|index| self.world.is_running(self.nodes[*index])) else {
            return;
        };
        self.await_withheld(primary).await;
        let others = self.all().filter(|other| *other != primary);
        let pairs: Vec<(NodeId, NodeId)> = others.flat_map(|other| self.both_ways(primary, other)).collect();
        pairs.iter().for_each(|(from, to)| self.world.cut(*from, *to));
        self.plan(2_500, 4_500, Undo::Heal(pairs));
        self.reach("a primary was left alone with its clients");
        let clock_jumps = self.options.has(Fault::ClockJump);
        if clock_jumps || chance(&mut self.rng, 600) {
            let still_ms = between(&mut self.rng, 1_000, 2_000);
            self.plan(50, 350, Undo::Stand { index: primary, for_ms: still_ms });
            let back_ms = still_ms + between(&mut self.rng, 400, 1_200);
            if clock_jumps && back_ms <= self.lone_jumps_left_ms {
                self.lone_jumps_left_ms -= back_ms;
                self.jumps_left_ms += back_ms;
                self.plan(400, 500, Undo::SetBack(primary, back_ms.cast_signed()));
            }
        }
    }

    /// Waits until the node has executed something whose reply it withholds.
    async fn await_withheld(&mut self, index: usize) {
        for _ in 0..WRITE_LOOKS_MAX {
            let node = self.seen.borrow()[index].node.upgrade();
            if node.is_some_and(|node| node.shard.borrow().is_withholding()) {
                self.reach("a primary was left alone while it withheld replies");
                return;
            }
            sleep(LOOK).await;
        }
    }

    pub(super) fn both_ways(&self, one: usize, other: usize) -> [(NodeId, NodeId); 2] {
        let (one, other) = (self.nodes[one], self.nodes[other]);
        [(one, other), (other, one)]
    }

    /// The primary's process ends, and comes back at once. The other two do not hear each other: each wants its vote.
    /// It loses its power as soon as the first of them leads by it, and that one stands still until the other one leads
    /// too. A vote that was told and forgotten makes two primaries of one term.
    pub(super) async fn split_vote(&mut self) {
        let Some(third) = self.primary.filter(|index| self.world.is_running(self.nodes[*index])) else {
            return;
        };
        let rivals: Vec<usize> = self.members().into_iter().filter(|other| *other != third).collect();
        if rivals.len() != 2 {
            return;
        }
        let apart = self.both_ways(rivals[0], rivals[1]);
        apart.iter().for_each(|(from, to)| self.world.cut(*from, *to));
        self.plan(4_000, 7_000, Undo::Heal(apart.to_vec()));
        self.world.kill(self.nodes[third]);
        sleep(Duration::from_millis(between(&mut self.rng, 20, 200))).await;
        self.start_node(third);
        self.slow_saves(third, true);
        let winner = self.await_leader(&rivals).await;
        self.slow_saves(third, false);
        let Some(winner) = winner else { return };
        self.world.pause(self.nodes[winner]);
        self.plan(3_000, 3_000, Undo::Resume(winner));
        self.world.power_loss(self.nodes[third]);
        sleep(Duration::from_millis(between(&mut self.rng, 1, 50))).await;
        self.start_node(third);
        // What the second one sends takes a while there: the first one is heard before it has gone ahead.
        self.slow_saves(third, true);
        let loser: Vec<usize> = rivals.into_iter().filter(|rival| *rival != winner).collect();
        if self.await_leader(&loser).await.is_some() {
            self.reach("one vote was asked for twice, and two led by it");
        }
        self.world.resume(self.nodes[winner]);
        self.plan(200, 600, Undo::Quicken);
    }

    /// The next fetch of a snapshot breaks in the middle: whoever serves it ends, or connections of all nodes are reset.
    pub(super) fn break_fetch(&mut self) {
        let pieces = between(&mut self.rng, 2, 12);
        if chance(&mut self.rng, 250) {
            self.nodes.iter().for_each(|node| self.world.arm(*node, PIECE_READ, pieces as u32, false));
        } else {
            self.broken_at_piece = Some(self.pieces_read() + pieces);
        }
    }

    fn pieces_read(&self) -> u64 {
        self.world.points().get(PIECE_READ).map_or(0, |counts| counts.visits)
    }

    /// The fetch that was to break has got there.
    pub(super) fn break_fetch_if_due(&mut self) {
        if self.broken_at_piece.is_some_and(|due| self.pieces_read() >= due) {
            self.broken_at_piece = None;
            for node in &self.nodes {
                (0..RESETS).for_each(|_| _ = self.world.reset_random(Some(*node)));
            }
        }
    }

    fn slow_saves(&self, index: usize, are_slow: bool) {
        if are_slow {
            self.world.with_disk(self.nodes[index], |disk| {
                (disk.faults.latency.slow, disk.faults.latency.slow_us) = (1.0, SLOW_SAVE_US);
            });
        } else {
            self.slow_disks(0.0);
        }
    }

    /// Waits until one of them leads, serving or not.
    async fn await_leader(&mut self, of: &[usize]) -> Option<usize> {
        for _ in 0..LOOKS_MAX {
            let leads = |index: &usize| self.with_replica(*index, Replica::role) == Some(Role::Primary);
            if let Some(leader) = of.iter().copied().find(leads) {
                self.look();
                return Some(leader);
            }
            self.undo_due();
            sleep(LOOK).await;
        }
        None
    }
}
