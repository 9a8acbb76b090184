//! What is done to three nodes while the run lasts, and what takes it back.
//!
//! Lives here: the faults that were drawn, where they are aimed, when they end. Not here: which there are and how often
//! (`options`), what must be true afterwards (`verdict`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_net::{NodeId, sleep};

use super::Run;
use super::members::Harm;
use crate::campaign::options::{Fault, Purpose};
use crate::campaign::run::draw_point;
use crate::random::{below, between, chance};

/// A write of a disk that is made slow so that a power loss finds it under way.
const SLOW_WRITE_US: (u64, u64) = (5_000, 40_000);
/// A power loss of all that waits for writes to hit waits no longer.
const AIM_STEPS_MAX: u32 = 4_000;
const AIM_STEP: Duration = Duration::from_micros(50);

/// What takes back a fault, later.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Start(usize),
    Resume(usize),
    Heal(Vec<(NodeId, NodeId)>),
    /// Two processes end, and the connections heal that cut them off from the others.
    Rejoin {
        pairs: Vec<(NodeId, NodeId)>,
        restart: [usize; 2],
    },
    /// Disk calls succeed again.
    Disk(usize),
    /// Not back but on: a wall clock is set back by so many milliseconds.
    SetBack(usize, i64),
    /// A node that is no member any more is emptied, and may become one again.
    Empty(usize),
    /// Disks take as long as before.
    Quicken,
    /// Its messages to others take as long as before.
    Hasten(Vec<(NodeId, NodeId)>),
    /// A machine loses its power.
    PowerLoss(usize),
    /// A process stands still.
    Stand {
        index: usize,
        for_ms: u64,
    },
}

impl Run {
    /// Makes faults happen until the time is over.
    pub(super) async fn attack(&mut self) {
        let end_ns = self.world.now_ns() + self.options.duration_ms * 1_000_000;
        let options = Rc::clone(&self.options);
        let mut next: Vec<(u64, Fault)> = Vec::new();
        for rate in &options.faults {
            next.push((self.world.now_ns() + self.pause_ns(rate.interval_ms), rate.fault));
        }
        while self.world.now_ns() < end_ns {
            self.look();
            self.undo_due();
            self.leave_alone_if_calm().await;
            self.break_fetch_if_due();
            self.harm_if_due();
            self.replace_damaged_if_due();
            self.harm_two_if_due();
            self.replace_if_due().await;
            let now_ns = self.world.now_ns();
            for ((at_ns, fault), rate) in next.iter_mut().zip(&options.faults) {
                if *at_ns <= now_ns {
                    self.strike(*fault).await;
                    *at_ns = self.world.now_ns() + self.pause_ns(rate.interval_ms);
                }
            }
            self.start_ended();
            sleep(Duration::from_micros(between(&mut self.rng, 200, 5_000))).await;
        }
    }

    /// A process that has ended by itself is started again, a little later.
    fn start_ended(&mut self) {
        for index in self.all() {
            let is_planned =
                self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Start(planned) if *planned == index));
            if !self.world.is_running(self.nodes[index]) && !is_planned {
                self.plan(1, 200, Undo::Start(index));
            }
        }
    }

    fn pause_ns(&mut self, interval_ms: u64) -> u64 {
        between(&mut self.rng, interval_ms * 200_000, interval_ms * 1_800_000)
    }

    pub(super) fn plan(&mut self, low_ms: u64, high_ms: u64, undo: Undo) {
        let at_ns = self.world.now_ns() + between(&mut self.rng, low_ms, high_ms) * 1_000_000;
        self.undo.push((at_ns, undo));
    }

    pub(super) fn undo_due(&mut self) {
        let now_ns = self.world.now_ns();
        let (due, later) =
            std::mem::take(&mut self.undo).into_iter().partition(|(at_ns, _)| *at_ns <= now_ns);
        self.undo = later;
        let due: Vec<(u64, Undo)> = due;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::SetBack(index, by_ms) => self.jump(index, -by_ms),
            Undo::Empty(index) => {
                self.end(index, true);
                self.empty(index);
            }
            Undo::Quicken => self.slow_disks(0.0),
            Undo::Hasten(pairs) => {
                pairs.into_iter().for_each(|(from, to)| self.world.set_link(from, to, None));
            }
            Undo::PowerLoss(index) => self.end(index, true),
            Undo::Stand { index, for_ms } => self.stand(index, for_ms),
            Undo::Start(index) => self.start_node(index),
            Undo::Resume(index) => self.world.resume(self.nodes[index]),
            Undo::Heal(pairs) => pairs.into_iter().for_each(|(from, to)| self.world.heal(from, to)),
            Undo::Rejoin { pairs, restart } => {
                restart.into_iter().for_each(|index| self.end(index, false));
                pairs.into_iter().for_each(|(from, to)| self.world.heal(from, to));
            }
            Undo::Disk(index) => self.world.with_disk(self.nodes[index], |disk| {
                disk.set_capacity(1 << 30);
                disk.faults.sync_error = 0.0;
                disk.faults.write_error = 0.0;
            }),
        }
    }

    async fn strike(&mut self, fault: Fault) {
        self.shared.borrow_mut().book.recorder.fault(self.world.now_ns(), fault.name(), BTreeMap::new());
        let index = self.draw_node();
        match fault {
            Fault::Kill => self.end(index, false),
            Fault::PowerLoss => self.end(index, true),
            Fault::PrimaryKill => {
                if let Some(primary) = self.primary {
                    let loses_power = chance(&mut self.rng, 300);
                    self.end(primary, loses_power);
                }
            }
            Fault::AllDown => self.end_all().await,
            Fault::Partition => self.part(index),
            Fault::OneWayCut => {
                let count = self.nodes.len();
                let other = (index + 1 + below(&mut self.rng, count as u64 - 1) as usize) % count;
                let pair = (self.nodes[index], self.nodes[other]);
                self.world.cut(pair.0, pair.1);
                self.plan(50, 6_000, Undo::Heal(vec![pair]));
            }
            Fault::Stall => {
                let other = (index + 1) % self.nodes.len();
                let length = Duration::from_millis(between(&mut self.rng, 1, 3_000));
                self.world.stall(self.nodes[index], self.nodes[other], length);
            }
            Fault::Pause => self.pause(index),
            Fault::ClockJump => {
                let by_ms = between(&mut self.rng, 1, (self.jumps_left_ms / 2).max(1));
                let sign = if chance(&mut self.rng, 500) { 1 } else { -1 };
                self.jump(index, sign * by_ms.cast_signed());
            }
            Fault::Reset => {
                self.world.reset_random(Some(self.nodes[index]));
            }
            Fault::DiskFull => {
                self.world.with_disk(self.nodes[index], |disk| disk.set_capacity(0));
                self.plan(100, 2_000, Undo::Disk(index));
            }
            Fault::SyncError => self.fail_syncs(index).await,
            Fault::TornWrite => {
                self.world.with_disk(self.nodes[index], |disk| disk.faults.write_error = 1.0);
                self.plan(1, 20, Undo::Disk(index));
            }
            Fault::CrashPoint => {
                let index = self.primary.filter(|_| chance(&mut self.rng, 500)).unwrap_or(index);
                let (name, visit) = draw_point(&mut self.rng, Purpose::Cluster);
                let loses_power = chance(&mut self.rng, 500);
                self.world.arm(self.nodes[index], name, visit, loses_power);
            }
            Fault::LonePrimary => self.is_lone_due = true,
            Fault::SplitVote => self.split_vote().await,
            Fault::FetchBroken => self.break_fetch(),
            Fault::DiskLost => self.harm_due = Some(Harm::Lost),
            Fault::DiskDamaged => self.harm_due = Some(Harm::Damaged),
            Fault::TwoHarmed => self.is_excess_due = true,
            Fault::MembersChanged => self.is_change_due = true,
            Fault::ClockDrift | Fault::HalfPipeline | Fault::ClientTimeout | Fault::SlowDisk => {}
            Fault::RestartLoop
            | Fault::BitRot
            | Fault::ReadError
            | Fault::LyingSync
            | Fault::MisdirectedWrite => unreachable!("faults of one node"),
        }
    }

    /// Syncs fail for a moment: on one node, or on all of them, which may then lose their power; one may do so after it has
    /// gone on for a while. What was acknowledged had been synced before.
    async fn fail_syncs(&mut self, index: usize) {
        let are_all = chance(&mut self.rng, 300);
        for node in self.all().filter(|node| are_all || *node == index) {
            self.world.with_disk(self.nodes[node], |disk| disk.faults.sync_error = 1.0);
            self.plan(5, 30, Undo::Disk(node));
        }
        match (are_all, chance(&mut self.rng, 600)) {
            (true, true) => {
                sleep(Duration::from_micros(between(&mut self.rng, 1_000, 30_000))).await;
                self.all().for_each(|node| self.end(node, true));
            }
            (false, true) => self.plan(50, 600, Undo::PowerLoss(index)),
            _ => {}
        }
    }

    /// A machine may also be suspended, and its clock be set back to before when it goes on.
    fn pause(&mut self, index: usize) {
        let index = self.primary.filter(|_| chance(&mut self.rng, 600)).unwrap_or(index);
        let length_ms = between(&mut self.rng, 10, 3_000);
        self.stand(index, length_ms);
        if self.options.has(Fault::ClockJump) && chance(&mut self.rng, 600) {
            self.jump(index, -length_ms.cast_signed());
        }
    }

    fn stand(&mut self, index: usize, for_ms: u64) {
        self.world.pause(self.nodes[index]);
        self.plan(for_ms, for_ms, Undo::Resume(index));
    }

    /// Within what is left of the run's jumps.
    pub(super) fn jump(&mut self, index: usize, by_ms: i64) {
        if by_ms.unsigned_abs() <= self.jumps_left_ms {
            self.jumps_left_ms -= by_ms.unsigned_abs();
            self.world.jump_wall_clock(self.nodes[index], by_ms * 1_000);
        }
    }

    /// All lose their power at once, mostly while a majority is writing: what is lost then may be lost everywhere.
    async fn end_all(&mut self) {
        if chance(&mut self.rng, 700) {
            let are_slow = chance(&mut self.rng, 500);
            if are_slow {
                self.slow_disks(1.0);
            }
            self.await_answer_while_writing(are_slow).await;
            self.slow_disks(0.0);
        }
        self.all().for_each(|index| self.end(index, true));
    }

    /// Every write takes long, or as long as before.
    pub(super) fn slow_disks(&self, chance: f64) {
        for (index, node) in self.nodes.iter().enumerate() {
            let is_slow = chance == 0.0 && self.slow_node == Some(index);
            let (chance, slow_us) = if is_slow { (0.05, (1_000, 300_000)) } else { (chance, SLOW_WRITE_US) };
            self.world.with_disk(*node, |disk| {
                (disk.faults.latency.slow, disk.faults.latency.slow_us) = (chance, slow_us);
            });
        }
    }

    /// Waits until a majority is writing, and if asked for until somebody was answered meanwhile.
    async fn await_answer_while_writing(&mut self, wants_answer: bool) {
        let mut answered_before = None;
        for _ in 0..AIM_STEPS_MAX {
            let is_writing = |node: &&NodeId| self.world.with_disk(**node, |disk| disk.bytes_under_way() > 0);
            let answered = self.shared.borrow().book.answered;
            match (self.nodes.iter().filter(is_writing).count() > self.nodes.len() / 2, answered_before) {
                (false, _) => answered_before = None,
                (true, _) if !wants_answer => return,
                (true, Some(before)) if answered > before => return,
                (true, before) => answered_before = before.or(Some(answered)),
            }
            sleep(AIM_STEP).await;
        }
    }

    /// Ends a process or a machine and plans its next start.
    pub(super) fn end(&mut self, index: usize, loses_power: bool) {
        let node = self.nodes[index];
        if !self.world.is_running(node) {
            return;
        }
        // A process that stands still ends like any other.
        self.world.resume(node);
        if loses_power {
            self.world.power_loss(node);
        } else {
            self.world.kill(node);
        }
        self.seen.borrow_mut()[index].state = None;
        self.plan(1, 3_000, Undo::Start(index));
    }

    /// Cuts a node off from the others, often the primary, and sometimes from the clients too.
    fn part(&mut self, index: usize) {
        let index = self.primary.filter(|_| chance(&mut self.rng, 500)).unwrap_or(index);
        if self.options.has(Fault::ClockJump) && chance(&mut self.rng, 600) {
            // While it may still think that it leads its clock is set back.
            let by_ms = between(&mut self.rng, 200, 2_000).cast_signed();
            self.plan(50, 500, Undo::SetBack(index, by_ms));
        }
        let node = self.nodes[index];
        let mut others: Vec<NodeId> = self.nodes.iter().copied().filter(|other| *other != node).collect();
        if chance(&mut self.rng, 300) {
            others.extend(&self.clients);
        }
        let pairs: Vec<(NodeId, NodeId)> =
            others.into_iter().flat_map(|other| [(node, other), (other, node)]).collect();
        pairs.iter().for_each(|(from, to)| self.world.cut(*from, *to));
        self.plan(50, 6_000, Undo::Heal(pairs));
    }
}
