//! Fixed stories of three nodes that other systems got wrong, each with what must come of it.
//!
//! What one shard can show by itself stands in `shard/tests` (`traps` lists it) and `log/tests`; here is what needs
//! nodes, disks and connections. The numbers J… are those of published failures of similar systems; the table of all
//! stories stands in `docs/src/simulation.md`.
//!
//! A story that says what it caught was tried with that rule broken; what others look for is not tried yet. `SIM_SCENE_BUG=M8` (a number or part of a name from
//! the list of seeded bugs) plays all of them with that bug: those that name it must fail.
#![cfg(madsim)]

mod clients;
mod clocks;
mod disks;
mod failover;
mod members;
mod quarantine;
mod reads;
mod slow;

use std::time::Duration;

use ramkeep_net::sleep;
use ramkeep_sim::campaign::bugs;
use ramkeep_sim::campaign::node::Bugs;
use ramkeep_sim::campaign::options::Purpose;

async fn pause_ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// None, unless stories are tried with one.
#[allow(clippy::disallowed_methods, reason = "a test reads its settings")]
fn bugs() -> Bugs {
    let Ok(wanted) = std::env::var("SIM_SCENE_BUG") else { return Bugs::default() };
    let known = bugs::all();
    let mut known = known.iter().filter(|bug| bug.number == wanted || bug.name.contains(&wanted));
    let found = known.clone().find(|bug| bug.purpose == Purpose::Cluster).or_else(|| known.next());
    found.expect("the name of a seeded bug").bugs
}
