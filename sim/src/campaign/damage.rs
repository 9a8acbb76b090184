//! Damage to what was acknowledged, which one node cannot survive and must find.
//!
//! Lives here: where and when it is done. Not here: what the disk makes of it (`net::simdisk`), the verdict (`run`).
//!
//! It would catch: damage in the middle of the log taken for its end, unchecked checksums, a bad vote file believed.
//!
//! What one node cannot tell from a write that was torn and never acknowledged is left out: damage to the very last
//! write of the log, as long as nothing was written after it (a mark follows within a tick). Nor can it notice a sync
//! that lied.

use std::time::Duration;

use ramkeep_net::simdisk::SimDisk;
use ramkeep_net::{NodeId, World, sleep};
use ramkeep_server::start::IDENTITY_FILE;
use rand_chacha::ChaCha8Rng;

use super::options::Fault;
use super::run::Run;
use crate::random::{below, between, chance, pick};

const VOTE: &str = "data/vote";
/// Writes of the log that must follow a misdirected one, so that its sector is not of the last.
const WRITES_AFTER: u64 = 2;
const WAIT_STEPS_MAX: u32 = 400;
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Does one damage of this kind, and lets the node meet it.
pub(super) async fn strike(run: &mut Run, fault: Fault) {
    match fault {
        Fault::BitRot | Fault::ReadError => at_rest(run, fault).await,
        Fault::MisdirectedWrite => misdirected(run).await,
        _ => lying_sync(run).await,
    }
}

async fn at_rest(run: &mut Run, fault: Fault) {
    if !damage(&run.world, &mut run.rng, run.node, fault) {
        return;
    }
    if chance(&mut run.rng, 500) {
        run.restart(false, 50).await;
    }
}

/// Damages what is at rest on the node's disk; false if there is nothing yet.
pub(super) fn damage(world: &World, rng: &mut ChaCha8Rng, node: NodeId, fault: Fault) -> bool {
    let Some((name, offset)) = draw_place(world, rng, node) else { return false };
    world.record("damage", node, &[offset]);
    world.with_disk(node, |disk| {
        let done = match fault {
            Fault::BitRot => disk.rot(&name, offset),
            _ => disk.make_unreadable(&name, offset),
        };
        done.expect("the place was drawn from the file");
    });
    true
}

/// A byte that is used, of a file that is not about to be written, outside the last write.
fn draw_place(world: &World, rng: &mut ChaCha8Rng, node: NodeId) -> Option<(String, u64)> {
    let names = world.with_disk(node, |disk| disk.names());
    let segments: Vec<&String> = names.iter().filter(|name| name.starts_with("data/log-")).collect();
    let snapshots: Vec<&String> = names.iter().filter(|name| name.ends_with(".rdb")).collect();
    let name = match below(rng, 100) {
        0..5 => format!("data/{IDENTITY_FILE}"),
        5..20 => VOTE.to_string(),
        20..70 if !snapshots.is_empty() => (*pick(rng, &snapshots)).clone(),
        _ if segments.is_empty() => return None,
        _ => (*pick(rng, &segments)).clone(),
    };
    let (used, last) = world.with_disk(node, |disk| (disk.used_bytes(&name), disk.finished(&name)));
    if used == 0 {
        return None;
    }
    let offset = below(rng, used);
    let is_last = name.starts_with("data/log-") && (last.offset..last.end).contains(&offset);
    (!is_last).then_some((name, offset))
}

fn log_writes(disk: &SimDisk) -> u64 {
    let names = disk.names();
    let segments = names.iter().filter(|name| name.starts_with("data/log-"));
    segments.map(|name| disk.finished(name).count).sum()
}

async fn misdirected(run: &mut Run) {
    let count = |disk: &mut SimDisk| disk.counts().writes_misdirected;
    let before = run.world.with_disk(run.node, count);
    // An end at a named place could come before the writes that must follow.
    run.world.disarm(run.node);
    run.world.with_disk(run.node, SimDisk::misdirect_next);
    let mut is_done = false;
    for _ in 0..WAIT_STEPS_MAX {
        sleep(Duration::from_micros(between(&mut run.rng, 10, 500))).await;
        is_done = run.world.with_disk(run.node, count) > before;
        if is_done {
            break;
        }
    }
    if !is_done {
        return;
    }
    let writes = run.world.with_disk(run.node, |disk| log_writes(disk));
    for _ in 0..WAIT_STEPS_MAX {
        sleep(WAIT_STEP).await;
        if run.world.with_disk(run.node, |disk| log_writes(disk)) >= writes + WRITES_AFTER {
            run.restart(true, 50).await;
            return;
        }
    }
}

async fn lying_sync(run: &mut Run) {
    run.world.with_disk(run.node, |disk| disk.faults.sync_lie = 1.0);
    sleep(Duration::from_millis(between(&mut run.rng, 1, 300))).await;
    run.restart(true, 50).await;
    run.world.with_disk(run.node, |disk| disk.faults.sync_lie = 0.0);
}
