//! Disks: what restarts find, at whatever moment they came.

use crate::members::write_much;
use crate::{bugs, pause_ms};
use ramkeep_net::DISK_STEP;
use ramkeep_server::point;
use ramkeep_sim::scene::{Trio, play};
use std::time::Duration;

/// Values of 30 KB each, until the log was cut or somebody ends.
async fn write_until_it_ends(trio: &Trio, index: usize) -> u64 {
    let filler = "x".repeat(30_000);
    let mut client = trio.primary().await.1;
    for number in 0..240 {
        if !trio.world.is_running(trio.nodes[index]) {
            return number;
        }
        // The last of them may have happened or not.
        while client.ask(&format!("SET k{} {number}.{filler}", number % 4)).await.is_err() {
            if !trio.world.is_running(trio.nodes[index]) {
                return number;
            }
            client = trio.primary().await.1;
        }
    }
    240
}

/// J10: a node ends at each named step of making a snapshot and cutting the log below it, and while it starts from both;
/// the primary, or another. It starts again, all agree, and what was acknowledged is there.
/// Looks for: a snapshot that has its name before it is whole, a log that is cut before the snapshot is durable, a log that
/// begins elsewhere than its snapshot ends.
#[test]
fn a_node_that_ends_at_any_step_of_a_snapshot_starts_again() {
    const STEPS: [&str; 8] = [
        point::SNAPSHOT_BEGUN,
        point::SNAPSHOT_APPENDED,
        point::SNAPSHOT_WRITTEN,
        point::SNAPSHOT_READ_BACK,
        point::SNAPSHOT_NAMED,
        point::CUT_BEGUN,
        point::CUT_HALF_DONE,
        point::CUT_DONE,
    ];
    const STARTS: [&str; 3] = [point::SNAPSHOT_LOADED, point::LOG_READ, point::TAKES_PART];
    for (number, step) in STEPS.into_iter().enumerate() {
        for (is_primary, loses_power) in [(true, true), (true, false), (false, true)] {
            play(300 + number as u64, move |world| async move {
                let trio = Trio::with_snapshots(world, bugs(), 64 << 10);
                let (primary, _) = trio.primary().await;
                let index = if is_primary { primary } else { trio.others(primary)[0] };
                let node = trio.nodes[index];
                trio.world.arm(node, step, 1, loses_power);
                let acknowledged = write_until_it_ends(&trio, index).await;
                assert!(!trio.world.is_running(node), "it came to: {step}");
                pause_ms(10).await;
                trio.world.arm(node, STARTS[number % 3], 1, loses_power);
                trio.start_node(index);
                if ramkeep_net::timeout(Duration::from_secs(20), trio.world.exited(node)).await.is_err() {
                    panic!("it came to: {}", STARTS[number % 3]);
                }
                trio.start_node(index);
                trio.agree().await;
                let (_, client) = trio.primary().await;
                for key in 0..4 {
                    let found = client.told(&format!("GET k{key}")).await;
                    let found =
                        found.split("\r\n").nth(1).and_then(|value| value.split('.').next()?.parse().ok());
                    let newest = (0..acknowledged).rev().find(|number| number % 4 == key);
                    assert!(found >= newest, "{step}: {found:?} where {newest:?} was acknowledged");
                }
                write_much(&trio, "after", 3).await;
                trio.agree().await;
            });
        }
    }
}

/// A snapshot of the primary is installed into a node that has data already, because its log ends below what the others
/// have cut. The node ends, and with it perhaps the power, before every so many steps of its disk meanwhile; it starts
/// again, gets there, and has what all have.
/// Looks for: a log that is thrown away before the snapshot has its name, and one that is kept beside it.
#[test]
fn a_node_that_ends_at_any_step_of_an_installation_gets_there() {
    let (disks, away) = play(320, |world| async move {
        let trio = Trio::with_snapshots(world, bugs(), 64 << 10);
        let (primary, _) = trio.primary().await;
        let away = trio.others(primary)[0];
        write_much(&trio, "before", 8).await;
        trio.agree().await;
        trio.world.kill(trio.nodes[away]);
        pause_ms(70_000).await;
        write_much(&trio, "early", 130).await;
        pause_ms(1_000).await;
        (trio.end(), away)
    });
    let taken = play(321, {
        let disks = disks.clone();
        move |world| async move {
            install(Trio::with_disks(world, bugs(), 64 << 10, Some(disks)), away, None).await
        }
    });
    println!("{taken} steps of the disk");
    assert!(taken > 60, "it fetched, and started anew: {taken} steps");
    let mut ended = 0;
    for (number, step) in (1..=taken).step_by((taken / 70).max(1) as usize).enumerate() {
        let disks = disks.clone();
        let end = Some((step, number % 2 == 0));
        ended += play(321, move |world| async move {
            install(Trio::with_disks(world, bugs(), 64 << 10, Some(disks)), away, end).await
        });
    }
    assert!(ended > 50, "{ended} ended");
}

/// Gives how many steps the disk took until the node had all; or, where it is to end before a step, whether it did.
async fn install(trio: Trio, away: usize, end: Option<(u32, bool)>) -> u32 {
    let (node, other) = (trio.nodes[away], trio.others(away)[0]);
    let (step, loses_power) = end.unwrap_or((u32::MAX, false));
    trio.world.arm(node, DISK_STEP, step, loses_power);
    let applied = |index| trio.node(index).map(|node| node.shard.borrow().applied());
    let mut ended = 0;
    for _ in 0..1_200 {
        if !trio.world.is_running(node) {
            ended += 1;
            pause_ms(20).await;
            trio.start_node(away);
        }
        if applied(away).is_some_and(|mine| mine.0 > 0 && Some(mine) == applied(other)) {
            break;
        }
        pause_ms(25).await;
    }
    let steps = trio.world.disarm(node).map_or(0, |left| u32::MAX - left);
    trio.agree().await;
    let (_, client) = trio.primary().await;
    assert_eq!(client.told("GET early").await, "$4\r\ndone\r\n");
    assert_eq!(client.told("GET before").await, "$4\r\ndone\r\n");
    // What it would start with is the same.
    trio.agree().await;
    trio.world.power_loss(node);
    trio.start_node(away);
    trio.agree().await;
    if end.is_some() { ended } else { steps }
}

/// J15: positions never run back over a restart.
#[test]
fn positions_never_run_back() {
    play(7, |world| async move {
        let trio = Trio::start(world, bugs());
        let mut highest = 0;
        for round in 0..10 {
            let (_, client) = trio.primary().await;
            assert_eq!(client.told(&format!("SET k {round}")).await, "+OK\r\n");
            trio.agree().await;
            for index in 0..3 {
                let position = trio.node(index).expect("it runs").shard.borrow().applied().0;
                assert!(position > highest, "round {round}: {position} after {highest}");
            }
            highest = trio.node(0).expect("it runs").shard.borrow().applied().0;
            trio.nodes.iter().for_each(|node| trio.world.power_loss(*node));
            (0..3).for_each(|index| trio.start_node(index));
        }
    });
}
