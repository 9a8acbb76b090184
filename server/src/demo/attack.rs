//! The faults of a demonstration: the primary's zone is killed, then cut off, in turn.
//!
//! Lives here: when a zone is harmed, what must follow, when it comes back, the comparison of the replicas at the end.
//! Not here: the means (`cluster`).
//!
//! Invariant: one zone is harmed at a time, and the next only after all three were whole again.

use super::cluster::{Cluster, ZONES};
use super::{Stop, Story};
use ramkeep_drive::client::SharedRef;
use ramkeep_net::{Host, sleep};
use ramkeep_server::cli::demo::{FaultKind, FaultSeen, Role};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first fault, the time between two, and how long a zone stays away once another serves.
const FIRST_FAULT: Duration = Duration::from_millis(1_500);
pub const FAULT_INTERVAL: Duration = Duration::from_secs(4);
const AWAY: Duration = Duration::from_millis(700);
/// No fault begins so close to the end.
const TAIL: Duration = Duration::from_millis(2_000);

const TAKEOVER_PATIENCE: Duration = Duration::from_secs(30);
const RETURN_PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(5);
/// How often replicas are compared before they count as different, and the pause between.
const COMPARISONS_MAX: u32 = 300;
const COMPARISON_STEP: Duration = Duration::from_millis(100);

pub struct Attack<'d> {
    host: &'d Host,
    story: Story,
    shared: &'d SharedRef,
    cluster: &'d Cluster,
    begin_ns: u64,
    stop: Stop,
    pub faults: Vec<FaultSeen>,
    pub complaints: Vec<String>,
}

impl Attack<'_> {
    pub fn new<'d>(
        host: &'d Host,
        story: Story,
        shared: &'d SharedRef,
        cluster: &'d Cluster,
        begin_ns: u64,
        stop: Stop,
    ) -> Attack<'d> {
        Attack { host, story, shared, cluster, begin_ns, stop, faults: Vec::new(), complaints: Vec::new() }
    }

    fn passed(&self) -> Duration {
        Duration::from_nanos(self.host.clock().monotonic_ns() - self.begin_ns)
    }

    /// Does harm until the time is over, or something is not as promised, or somebody wants it to stop. What was done is
    /// taken back in any case.
    pub async fn run(&mut self, duration: Duration) {
        let mut next = FIRST_FAULT;
        let mut kinds = [FaultKind::Kill, FaultKind::Cut].into_iter().cycle();
        while next + TAIL <= duration || self.faults.is_empty() {
            self.stop.rest(next.saturating_sub(self.passed())).await;
            if self.stop.is_wanted() {
                break;
            }
            let struck = self.passed();
            let kind = kinds.next().expect("a cycle does not end");
            if let Err(why) = self.strike(kind).await {
                self.complaints.push(why);
                break;
            }
            next = (struck + FAULT_INTERVAL).max(self.passed() + FIRST_FAULT);
        }
        self.stop.rest(duration.saturating_sub(self.passed())).await;
    }

    /// Harms the primary's zone, sees another serve, and takes it back.
    async fn strike(&mut self, kind: FaultKind) -> Result<(), String> {
        let zone = self.primary().await?;
        let since_ns = self.host.clock().monotonic_ns();
        let at_s = self.passed().as_secs_f64();
        let details = BTreeMap::from([("zone".to_owned(), ZONES[zone].into())]);
        self.shared.borrow_mut().book.recorder.fault(since_ns, kind.word(), details);
        self.story.tell(&format!("{at_s:6.1} s  zone {}, the primary's: {:<24}", ZONES[zone], kind.text()));
        match kind {
            FaultKind::Kill => self.cluster.kill(zone),
            FaultKind::Cut => self.cluster.cut(zone, true).await?,
        }
        let unavailable_s = self.written(since_ns).await;
        let successor = match unavailable_s {
            Some(_) => self.primary().await.ok().map(|zone| ZONES[zone].to_owned()),
            None => None,
        };
        match (&successor, unavailable_s) {
            (Some(successor), Some(time)) => {
                self.story.tell_line(&format!("zone {successor} serves after {time:.2} s"));
            }
            _ => self.story.tell_line("nobody serves"),
        }
        sleep(AWAY).await;
        let until_s = self.passed().as_secs_f64();
        match kind {
            FaultKind::Kill => self.cluster.start_node(zone)?,
            FaultKind::Cut => self.cluster.cut(zone, false).await?,
        }
        let zone_name = ZONES[zone].to_owned();
        self.faults.push(FaultSeen { at_s, until_s, kind, zone: zone_name, successor, unavailable_s });
        if unavailable_s.is_none() {
            return Err(format!(
                "zone {} was {}, and for {TAKEOVER_PATIENCE:?} no write was taken",
                ZONES[zone],
                kind.text()
            ));
        }
        self.returned(zone).await
    }

    async fn primary(&self) -> Result<usize, String> {
        let until = self.passed() + TAKEOVER_PATIENCE;
        while self.passed() < until {
            if let Some(zone) = self.cluster.primary().await {
                return Ok(zone);
            }
            sleep(STEP).await;
        }
        Err(format!("for {TAKEOVER_PATIENCE:?} there is no primary"))
    }

    /// Seconds until a write sent after `since_ns` was acknowledged.
    async fn written(&self, since_ns: u64) -> Option<f64> {
        let until = self.passed() + TAKEOVER_PATIENCE;
        while self.passed() < until {
            let time_ns = self.shared.borrow().marks.until_written_ns(since_ns);
            if let Some(time_ns) = time_ns {
                return Some(time_ns as f64 / 1e9);
            }
            sleep(STEP).await;
        }
        None
    }

    /// Waits until the zone follows again.
    async fn returned(&self, zone: usize) -> Result<(), String> {
        let until = self.passed() + RETURN_PATIENCE;
        while self.passed() < until {
            if matches!(self.cluster.role(zone).await, Role::Replica | Role::Primary) {
                return Ok(());
            }
            sleep(STEP * 4).await;
        }
        Err(format!("zone {} does not come back within {RETURN_PATIENCE:?}", ZONES[zone]))
    }
}

/// Every replica comes to hold the same data.
pub async fn compare(cluster: &Cluster, complaints: &mut Vec<String>) {
    let mut digests = Vec::new();
    for _ in 0..COMPARISONS_MAX {
        digests.clear();
        for zone in 0..ZONES.len() {
            digests.push(cluster.digest(zone).await);
        }
        if digests.iter().all(|digest| digest.is_some() && *digest == digests[0]) {
            return;
        }
        sleep(COMPARISON_STEP).await;
    }
    complaints.push(format!("the zones hold different data at the end: {digests:?}"));
}
