//! The end of a run: all is healed, a primary must serve, and all replicas come to hold the same.
//!
//! Not here: judging what clients were answered (`checker`).

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ramkeep_net::{Host, sleep, timeout};
use ramkeep_server::node::Node;
use ramkeep_shard::State;

use super::Run;
use super::attack::Undo;
use crate::campaign::client::{self, SharedRef};
use crate::campaign::run::{FINAL_READ_S_MAX, HEALED_MS_MAX, ask};

/// Replicas show the same data within this after the last call.
const EQUAL_MS_MAX: u64 = 30_000;

impl Run {
    pub(super) async fn heal(&mut self) {
        self.world.heal_all();
        for index in self.all() {
            self.all().for_each(|other| self.world.set_link(self.nodes[index], self.nodes[other], None));
        }
        self.undo.clear();
        self.replace_damaged_soon();
        for index in self.all() {
            self.world.resume(self.nodes[index]);
            self.world.disarm(self.nodes[index]);
            self.undo(Undo::Disk(index));
            self.world.with_disk(self.nodes[index], |disk| disk.faults.latency.slow = 0.0);
            self.start_node(index);
        }
    }

    /// A primary must serve again, and every key is read once more.
    pub(super) async fn final_read(&mut self) {
        let reader = self.world.add_node("reader", "clients");
        let (shared, complaints) = (Rc::clone(&self.shared), Rc::clone(&self.complaints));
        let sockets = self.sockets();
        self.world.start(reader, move |host| async move {
            if let Err(why) = read_finally(&host, &shared, &sockets).await {
                complaints.borrow_mut().push(why);
            }
        });
        while self.world.is_running(reader) {
            self.look();
            self.all().for_each(|index| self.start_node(index));
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every member comes to hold what the others hold, and to vote, and no change of them is left half done.
    pub(super) async fn compare_replicas(&mut self) {
        let deadline_ns = self.world.now_ns() + EQUAL_MS_MAX * 1_000_000;
        loop {
            self.look();
            self.replace_damaged_if_due();
            self.all().for_each(|index| self.start_node(index));
            let replicas = self.replicas();
            let told: Vec<_> =
                replicas.iter().map(|index| told_by(&self.seen.borrow()[*index].node)).collect();
            let is_equal = told.iter().all(|it| it.is_some() && *it == told[0]);
            if is_equal && self.lost.is_none() && self.settled().is_some() {
                return;
            }
            let position = |it: &Option<(u64, u128)>| it.map(|(applied, _)| applied);
            let at_one_place = told.iter().all(|it| it.is_some() && position(it) == position(&told[0]));
            if self.world.now_ns() > deadline_ns {
                let what = match (is_equal, at_one_place) {
                    (true, _) => "do not all vote again",
                    (false, true) => "hold different data",
                    (false, false) => "do not catch up",
                };
                let states: Vec<_> = self.seen.borrow().iter().map(|seen| state_of(&seen.node)).collect();
                let refusals = self.refusals.borrow().clone();
                self.complain(format!("the replicas {what}: {told:?}, {states:?}, {refusals:?}"));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn state_of(node: &Weak<Node>) -> Option<State> {
    node.upgrade().map(|node| node.shard.borrow().state().clone())
}

/// The position applied and the digest of the data there, of a replica without anything under way.
fn told_by(node: &Weak<Node>) -> Option<(u64, u128)> {
    let node = node.upgrade()?;
    let shard = node.shard.borrow();
    let is_settled = matches!(shard.state(), State::Leading | State::Following) && !shard.has_open_turn();
    is_settled.then(|| (shard.applied().0, shard.engine.data.digest()))
}

/// Waits until a primary serves and reads every key there.
async fn read_finally(host: &Host, shared: &SharedRef, sockets: &[SocketAddr]) -> Result<(), String> {
    let now_ns = || (shared.borrow().now_ns)();
    let deadline_ns = now_ns() + HEALED_MS_MAX * 1_000_000;
    let mut last = String::new();
    while now_ns() < deadline_ns {
        for socket in sockets {
            if !matches!(ask(host, *socket, b"GET nobody-wrote-this\r\n").await, Ok(answer) if answer == b"$-1\r\n")
            {
                continue;
            }
            let calls = shared.borrow().book.workloads.final_reads();
            let began_ns = now_ns();
            shared.borrow_mut().book.recorder.begin_final_read(began_ns);
            let reading = client::read_all(host, shared, *socket, calls);
            match timeout(Duration::from_secs(FINAL_READ_S_MAX), reading).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = format!(": the final read failed: {error}"),
                Err(_) => last = ": the final read is not answered".to_string(),
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(format!("no primary serves after everything was healed{last}"))
}
