//! Who does harm: the order of faults that a seed draws, and how each is done and undone.
//!
//! Lives here: kinds of faults, doing them, waiting until writes are taken again, counting.
//! Not here: faults of a node's files (`files`), the links' and processes' own means (`proxy`, `process`), trials on nodes
//! apart (`trial`).
//!
//! Invariant: one fault at a time is in force, except where a fault is made of several; before the next one everything
//! is healed and a write sent after that was acknowledged. With three nodes never more than one zone is harmed at
//! once, unless all nodes are killed together.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ramkeep_check::random::{below, between, chance, pick};
use ramkeep_net::{ChaCha8Rng, Host, sleep};

use crate::cluster::{Cluster, ZONES};
use crate::proxy::{Direction, Proxy, Way};
use crate::trial::full_disk;
use ramkeep_drive::client::SharedRef;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of the primary.
    Kill,
    /// `kill -9` of a node that is not primary.
    KillReplica,
    /// `kill -9` of all nodes together.
    KillAll,
    /// Several kills shortly after each other, into recovery itself.
    RestartLoop,
    /// SIGTERM to the primary.
    Terminate,
    /// SIGSTOP of the primary, and SIGCONT.
    Pause,
    PauseReplica,
    /// Bytes between clients of a zone and the nodes are swallowed, one way or both.
    ClientCut,
    ClientStall,
    /// Connections are reset in the middle of replies.
    ClientReset,
    /// Delay, a byte at a time, little bandwidth.
    ClientSlow,
    /// A zone, with its clients, cut off from the others, one way or both.
    ZoneCut,
    /// Two nodes do not hear each other, the third hears both.
    PeerCut,
    PeerSlow,
    PeerReset,
    PeerStall,
    /// Files of a node that is down are damaged.
    Damage,
    /// A disk runs full, on a node apart.
    FullDisk,
    /// A member loses its data: it starts again with an empty directory, and has to be replaced.
    EmptyMember,
    /// The disk of a member runs full: the others go on, it catches up once there is room.
    FullMember,
}

impl Fault {
    pub const ALL: &[Fault] = &[
        Fault::Kill,
        Fault::KillReplica,
        Fault::KillAll,
        Fault::RestartLoop,
        Fault::Terminate,
        Fault::Pause,
        Fault::PauseReplica,
        Fault::ClientCut,
        Fault::ClientStall,
        Fault::ClientReset,
        Fault::ClientSlow,
        Fault::ZoneCut,
        Fault::PeerCut,
        Fault::PeerSlow,
        Fault::PeerReset,
        Fault::PeerStall,
        Fault::Damage,
        Fault::FullDisk,
        Fault::EmptyMember,
        Fault::FullMember,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::KillReplica => "kill-replica",
            Fault::KillAll => "kill-all",
            Fault::RestartLoop => "restart-loop",
            Fault::Terminate => "terminate",
            Fault::Pause => "pause",
            Fault::PauseReplica => "pause-replica",
            Fault::ClientCut => "client-cut",
            Fault::ClientStall => "client-stall",
            Fault::ClientReset => "client-reset",
            Fault::ClientSlow => "client-slow",
            Fault::ZoneCut => "zone-cut",
            Fault::PeerCut => "peer-cut",
            Fault::PeerSlow => "peer-slow",
            Fault::PeerReset => "peer-reset",
            Fault::PeerStall => "peer-stall",
            Fault::Damage => "damage",
            Fault::FullDisk => "full-disk",
            Fault::EmptyMember => "empty-member",
            Fault::FullMember => "full-member",
        }
    }

    /// How often it comes before all others have come.
    fn weight(self, nodes: usize) -> usize {
        let is_cluster = nodes > 1;
        match self {
            Fault::Kill => {
                if is_cluster {
                    5
                } else {
                    3
                }
            }
            Fault::Pause | Fault::ClientCut => 2,
            Fault::RestartLoop
            | Fault::Terminate
            | Fault::ClientStall
            | Fault::ClientReset
            | Fault::ClientSlow
            | Fault::FullDisk => 1,
            Fault::ZoneCut => {
                if is_cluster {
                    3
                } else {
                    0
                }
            }
            Fault::Damage => 2,
            Fault::KillReplica
            | Fault::KillAll
            | Fault::PauseReplica
            | Fault::PeerCut
            | Fault::PeerSlow
            | Fault::PeerReset
            | Fault::PeerStall
            | Fault::EmptyMember
            | Fault::FullMember => usize::from(is_cluster),
        }
    }
}

/// What happened, by number.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub kills: u64,
    pub pauses: u64,
    pub cuts: u64,
    pub resets: u64,
    pub failovers: u64,
    pub damaged: u64,
    pub refused: u64,
    pub unharmed: u64,
    pub full_disks: u64,
    pub full_disk_writes: u64,
    /// Members that lost their data and were replaced.
    pub replaced: u64,
    /// Members whose disk ran full.
    pub full_members: u64,
    /// Faults that this machine does not allow, by name.
    pub skipped: BTreeMap<&'static str, u64>,
}

/// A moment after which writes were to be taken again.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    pub fault: Fault,
    pub at_ns: u64,
}

/// After everything is healed, a write must be acknowledged within this.
const HEALED_PATIENCE: Duration = Duration::from_secs(30);
/// While a primary is away, the others get this long to take over.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(5);
/// After so many findings more of the same would only bury the first.
const COMPLAINTS_MAX: usize = 10;

pub struct Nemesis {
    pub host: Host,
    pub cluster: Cluster,
    pub shared: SharedRef,
    pub rng: ChaCha8Rng,
    pub scratch: PathBuf,
    pub only: Vec<String>,
    pub counts: Counts,
    pub blows: Vec<Blow>,
    pub complaints: Vec<String>,
    bag: Vec<Fault>,
    primary: Option<usize>,
}

impl Nemesis {
    pub fn new(
        host: Host,
        cluster: Cluster,
        shared: SharedRef,
        rng: ChaCha8Rng,
        scratch: PathBuf,
        only: Vec<String>,
    ) -> Nemesis {
        Nemesis {
            host,
            cluster,
            shared,
            rng,
            scratch,
            only,
            counts: Counts::default(),
            blows: Vec::new(),
            complaints: Vec::new(),
            bag: Vec::new(),
            primary: None,
        }
    }

    fn now_ns(&self) -> u64 {
        self.host.clock().monotonic_ns()
    }

    fn complain(&mut self, text: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            println!("FOUND {text}");
            self.complaints.push(text);
        }
    }

    fn nodes(&self) -> usize {
        self.cluster.nodes.len()
    }

    /// Starts every node and waits until a write is taken.
    pub async fn begin(&mut self) {
        for number in 0..self.nodes() {
            if let Err(why) = self.cluster.start(number) {
                self.complain(why);
            }
        }
        self.recover("the start").await;
        self.primary = self.cluster.primary().await;
    }

    /// Does harm until the time is over or it has found too much.
    pub async fn attack(&mut self, duration: Duration) {
        let end_ns = self.now_ns() + duration.as_nanos() as u64;
        while self.now_ns() < end_ns && self.complaints.is_empty() {
            let pause_ms = between(&mut self.rng, 100, 900);
            sleep(Duration::from_millis(pause_ms)).await;
            for number in 0..self.nodes() {
                if !self.cluster.is_running(number) {
                    let name = self.cluster.nodes[number].name.clone();
                    self.complain(format!("{name} has ended by itself\n{}", self.cluster.log_tails()));
                }
            }
            let fault = self.draw();
            self.strike(fault).await;
            self.recover(fault.name()).await;
        }
    }

    fn draw(&mut self) -> Fault {
        if self.bag.is_empty() {
            let is_wanted =
                |fault: &Fault| self.only.is_empty() || self.only.iter().any(|name| name == fault.name());
            for &fault in Fault::ALL.iter().filter(|fault| is_wanted(fault)) {
                let count = fault.weight(self.cluster.nodes.len());
                self.bag.extend(std::iter::repeat_n(fault, count));
            }
            if self.bag.is_empty() {
                self.bag.push(Fault::Kill);
            }
        }
        let place = below(&mut self.rng, self.bag.len() as u64) as usize;
        self.bag.swap_remove(place)
    }

    async fn millis(&mut self, low: u64, high: u64) {
        let pause_ms = between(&mut self.rng, low, high);
        sleep(Duration::from_millis(pause_ms)).await;
    }

    fn record(&mut self, fault: Fault, details: &[(&str, String)]) {
        let details: BTreeMap<String, serde_json::Value> =
            details.iter().map(|(name, value)| (name.to_string(), value.clone().into())).collect();
        let now_ns = self.now_ns();
        self.shared.borrow_mut().book.recorder.fault(now_ns, fault.name(), details);
    }

    fn blow(&mut self, fault: Fault) {
        let at_ns = self.now_ns();
        self.blows.push(Blow { fault, at_ns });
    }

    fn node_detail(&self, number: usize) -> [(&'static str, String); 1] {
        [("node", self.cluster.nodes[number].name.clone())]
    }

    /// Takes every fault away, has every node running, and waits until a write is taken.
    async fn recover(&mut self, after: &str) {
        for number in 0..self.nodes() {
            self.cluster.resume(number);
            if self.cluster.nodes[number].process.is_none()
                && let Err(why) = self.cluster.start(number)
            {
                self.complain(why);
            }
        }
        self.cluster.all_links().for_each(Proxy::heal);
        for number in 0..self.nodes() {
            if let Err(why) = self.cluster.ready(number).await {
                let name = self.cluster.nodes[number].name.clone();
                self.complain(format!("after {after}, {name} does not serve: {why}"));
                return;
            }
        }
        let healed_ns = self.now_ns();
        if !self.written(healed_ns, HEALED_PATIENCE).await {
            self.complain(format!(
                "after {after} everything was healed, but for {HEALED_PATIENCE:?} no write was acknowledged\n{}",
                self.cluster.log_tails()
            ));
        }
        let primary = self.cluster.primary().await;
        if primary.is_some() && self.primary.is_some() && primary != self.primary {
            self.counts.failovers += 1;
        }
        self.primary = primary.or(self.primary);
    }

    /// Whether a write sent after `since_ns` was acknowledged in time.
    async fn written(&mut self, since_ns: u64, patience: Duration) -> bool {
        let deadline_ns = self.now_ns() + patience.as_nanos() as u64;
        while self.shared.borrow().marks.until_written_ns(since_ns).is_none() {
            if self.now_ns() > deadline_ns {
                return false;
            }
            sleep(STEP).await;
        }
        true
    }

    /// With three nodes: the others have to take over while the primary is away.
    async fn taken_over(&mut self, fault: Fault, since_ns: u64) {
        if self.nodes() > 1 && !self.written(since_ns, TAKEOVER_PATIENCE).await {
            self.complain(format!(
                "{}: for {TAKEOVER_PATIENCE:?} nobody took over\n{}",
                fault.name(),
                self.cluster.log_tails()
            ));
        }
    }

    async fn primary(&mut self) -> usize {
        let nodes = self.nodes() as u64;
        match self.cluster.primary().await.or(self.primary) {
            Some(primary) => primary,
            None => below(&mut self.rng, nodes) as usize,
        }
    }

    async fn replica(&mut self) -> usize {
        let primary = self.primary().await;
        let others: Vec<usize> = (0..self.nodes()).filter(|&number| number != primary).collect();
        if others.is_empty() { primary } else { *pick(&mut self.rng, &others) }
    }

    async fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                let victim = self.primary().await;
                self.record(fault, &self.node_detail(victim));
                self.blow(fault);
                self.kill(victim);
                self.millis(0, 300).await;
                // Some primaries come back before anybody has missed them.
                if chance(&mut self.rng, 800) {
                    let since_ns = self.now_ns();
                    self.taken_over(fault, since_ns).await;
                }
            }
            Fault::KillReplica => {
                let victim = self.replica().await;
                self.record(fault, &self.node_detail(victim));
                self.kill(victim);
                self.millis(0, 2_000).await;
            }
            Fault::KillAll => {
                self.record(fault, &[]);
                self.blow(fault);
                (0..self.nodes()).for_each(|number| self.kill(number));
                self.millis(0, 300).await;
            }
            Fault::RestartLoop => self.restart_loop().await,
            Fault::Terminate => {
                let victim = self.primary().await;
                self.record(fault, &self.node_detail(victim));
                if let Err(why) = self.cluster.stop(victim).await {
                    self.complain(why);
                }
                self.blow(fault);
            }
            Fault::Pause => {
                let victim = self.primary().await;
                self.pause(fault, victim).await;
            }
            Fault::PauseReplica => {
                let victim = self.replica().await;
                self.pause(fault, victim).await;
            }
            Fault::ClientCut | Fault::ClientStall | Fault::ClientReset | Fault::ClientSlow => {
                self.strike_clients(fault).await;
            }
            Fault::ZoneCut => self.cut_zone().await,
            Fault::PeerCut | Fault::PeerSlow | Fault::PeerReset | Fault::PeerStall => {
                self.strike_peers(fault).await;
            }
            Fault::Damage if self.nodes() == 1 => self.damage_copy().await,
            Fault::Damage => self.damage_member().await,
            Fault::EmptyMember => self.empty_member().await,
            Fault::FullMember => self.fill_member().await,
            Fault::FullDisk => {
                self.record(fault, &[]);
                match full_disk(&self.host, &mut self.cluster, &self.scratch).await {
                    Ok(Some(writes)) => {
                        self.counts.full_disks += 1;
                        self.counts.full_disk_writes += writes;
                    }
                    Ok(None) => *self.counts.skipped.entry("full-disk").or_default() += 1,
                    Err(why) => self.complain(format!("full disk: {why}")),
                }
            }
        }
    }

    fn kill(&mut self, number: usize) {
        self.counts.kills += 1;
        self.cluster.kill(number);
    }

    async fn restart_loop(&mut self) {
        let victim = self.primary().await;
        self.record(Fault::RestartLoop, &self.node_detail(victim));
        self.blow(Fault::RestartLoop);
        for _ in 0..between(&mut self.rng, 2, 5) {
            self.kill(victim);
            if let Err(why) = self.cluster.start(victim) {
                self.complain(why);
                return;
            }
            self.millis(0, 150).await;
        }
        self.kill(victim);
    }

    async fn pause(&mut self, fault: Fault, victim: usize) {
        self.counts.pauses += 1;
        self.record(fault, &self.node_detail(victim));
        let since_ns = self.now_ns();
        self.cluster.pause(victim);
        if fault == Fault::Pause && self.nodes() > 1 && chance(&mut self.rng, 700) {
            self.blow(fault);
            self.taken_over(fault, since_ns).await;
            self.millis(0, 2_000).await;
        } else {
            // Also short ones, which nobody should notice.
            let longest_ms = *pick(&mut self.rng, &[100, 1_000, 4_000]);
            self.millis(50, longest_ms).await;
        }
        self.cluster.resume(victim);
    }

    fn draw_way(&mut self) -> impl Fn(&mut Way) + use<> {
        let kind = below(&mut self.rng, 4);
        let low = between(&mut self.rng, 0, 30_000);
        let high = low + between(&mut self.rng, 0, 100_000);
        let bytes_per_second = between(&mut self.rng, 20_000, 400_000);
        move |way: &mut Way| match kind {
            0 => way.delay_us = (low, low),
            1 => way.delay_us = (low, high),
            2 => way.piece_bytes = Some(1),
            _ => way.bytes_per_second = Some(bytes_per_second),
        }
    }

    /// One way or both.
    fn draw_directions(&mut self) -> &'static [Direction] {
        let ways: [&[Direction]; 3] = [&Direction::BOTH[..1], &Direction::BOTH[1..], &Direction::BOTH];
        ways[below(&mut self.rng, 3) as usize]
    }

    async fn strike_clients(&mut self, fault: Fault) {
        let zone = below(&mut self.rng, ZONES as u64) as usize;
        self.record(fault, &[("clients", format!("zone {zone}"))]);
        let directions = self.draw_directions();
        let worsen = self.draw_way();
        if fault == Fault::ClientReset {
            for _ in 0..between(&mut self.rng, 2, 8) {
                let after = between(&mut self.rng, 0, 400) as usize;
                let links = &self.cluster.client_links[zone];
                let before: u64 = links.iter().map(Proxy::resets).sum();
                for link in links {
                    link.change(Direction::Back, |way| way.reset_after_bytes = Some(after));
                }
                self.millis(5, 200).await;
                let after: u64 = self.cluster.client_links[zone].iter().map(Proxy::resets).sum();
                self.counts.resets += after - before;
            }
            return;
        }
        self.counts.cuts += u64::from(fault == Fault::ClientCut);
        for link in &self.cluster.client_links[zone] {
            for &direction in directions {
                link.change(direction, |way| match fault {
                    Fault::ClientCut => way.is_cut = true,
                    Fault::ClientStall => way.is_stalled = true,
                    _ => worsen(way),
                });
            }
        }
        self.millis(200, 3_000).await;
    }

    async fn strike_peers(&mut self, fault: Fault) {
        let pairs: Vec<(usize, usize)> = self.cluster.peer_links.keys().copied().collect();
        let Some(&(one, other)) = pairs.get(below(&mut self.rng, pairs.len().max(1) as u64) as usize) else {
            return;
        };
        self.record(fault, &[("between", format!("n{} n{}", one + 1, other + 1))]);
        let directions = self.draw_directions();
        let worsen = self.draw_way();
        self.counts.cuts += u64::from(fault == Fault::PeerCut);
        for (from, to) in [(one, other), (other, one)] {
            let link = &self.cluster.peer_links[&(from, to)];
            if fault == Fault::PeerReset {
                self.counts.resets += link.reset_all() as u64;
            }
            for &direction in directions {
                // The same way over both links: one of them carries its bytes back.
                let direction = match (from == one, direction) {
                    (true, direction) => direction,
                    (false, Direction::Out) => Direction::Back,
                    (false, Direction::Back) => Direction::Out,
                };
                link.change(direction, |way| match fault {
                    Fault::PeerCut => way.is_cut = true,
                    Fault::PeerStall => way.is_stalled = true,
                    Fault::PeerSlow => worsen(way),
                    _ => way.reset_after_bytes = Some(1_000),
                });
            }
        }
        self.millis(500, 5_000).await;
    }

    /// Cuts a zone off, mostly the primary's.
    async fn cut_zone(&mut self) {
        let victim = if chance(&mut self.rng, 700) { self.primary().await } else { self.replica().await };
        let directions = self.draw_directions();
        let text = if directions.len() == 2 {
            "both ways"
        } else if directions[0] == Direction::Out {
            "it is not heard"
        } else {
            "it hears nothing"
        };
        self.record(Fault::ZoneCut, &[("zone", format!("{victim}")), ("how", text.to_string())]);
        self.counts.cuts += 1;
        let was_primary = self.cluster.primary().await == Some(victim);
        let since_ns = self.now_ns();
        if was_primary {
            self.blow(Fault::ZoneCut);
        }
        for &direction in directions {
            let (from_zone, to_zone) = match direction {
                Direction::Out => (Direction::Out, Direction::Back),
                Direction::Back => (Direction::Back, Direction::Out),
            };
            for (&(from, to), link) in &self.cluster.peer_links {
                if from == victim {
                    link.change(from_zone, |way| way.is_cut = true);
                } else if to == victim {
                    link.change(to_zone, |way| way.is_cut = true);
                }
            }
            for (zone, links) in self.cluster.client_links.iter().enumerate() {
                for (node, link) in links.iter().enumerate() {
                    if zone == victim && node != victim {
                        link.change(from_zone, |way| way.is_cut = true);
                    } else if zone != victim && node == victim {
                        link.change(to_zone, |way| way.is_cut = true);
                    }
                }
            }
        }
        self.taken_over(Fault::ZoneCut, since_ns).await;
        self.millis(0, 4_000).await;
    }
}
