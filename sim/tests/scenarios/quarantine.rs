//! Members whose data are damaged while they are down: what is done about it, and what is left alone.

use crate::members::{burn, wait_for_voters, write_much};
use crate::{bugs, pause_ms};
use ramkeep_net::DISK_STEP;
use ramkeep_net::simdisk::SimDisk;
use ramkeep_sim::scene::{Trio, play};

const SNAPSHOT_LOG_BYTES: u64 = 64 << 10;
const QUARANTINES_MAX: u64 = 3;

/// What is damaged.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A byte in the middle of the log.
    Log,
    /// Segments of the log are gone.
    LogGone,
    /// Both slots of the vote file.
    Vote,
    Identity,
    IdentityGone,
    RosterGone,
}

const WHAT: [What; 6] =
    [What::Log, What::LogGone, What::Vote, What::Identity, What::IdentityGone, What::RosterGone];

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("data/log-")).collect()
}

/// The process dies, and something on its disk is not what it was.
fn damage(trio: &Trio, index: usize, what: What) {
    trio.world.kill(trio.nodes[index]);
    trio.world.with_disk(trio.nodes[index], |disk| {
        let rot = |disk: &mut SimDisk, name: &str, offset| disk.rot(name, offset).expect("a byte of it");
        match what {
            What::Log => {
                // The newest of those that are full: nothing below a snapshot.
                let full = segments(disk).into_iter().rev().filter(|name| disk.used_bytes(name) > 60_000);
                let name = full.take(2).last().expect("much was written");
                let offset = disk.used_bytes(&name) / 2;
                rot(disk, &name, offset);
            }
            What::LogGone => segments(disk).iter().for_each(|name| disk.remove(name).expect("it is there")),
            What::Vote => {
                // The second one begins with a sector, of whichever size.
                let used = disk.used_bytes("data/vote");
                let offsets = [30, 512 + 30, 4096 + 30].into_iter().filter(|offset| *offset < used);
                offsets.for_each(|offset| rot(disk, "data/vote", offset));
            }
            What::Identity => rot(disk, "data/identity", 20),
            What::IdentityGone => disk.remove("data/identity").expect("it is there"),
            What::RosterGone => disk.remove("data/roster").expect("it is there"),
        }
        disk.sync_directory().expect("a directory can be synced");
    });
}

/// Files that the node has set aside.
fn aside(trio: &Trio, index: usize) -> Vec<String> {
    let names = trio.world.with_disk(trio.nodes[index], |disk| disk.names());
    names.into_iter().filter(|name| name.starts_with("data/quarantine-")).collect()
}

/// Under which id, of those of the node, it votes; none while it does not.
fn incarnation(trio: &Trio, index: usize) -> Option<u32> {
    let node = trio.node(index)?;
    let shard = node.shard.borrow();
    let replica = shard.replica()?;
    replica.members().is_voter(replica.node()).then(|| replica.node().incarnation())
}

async fn wait_until_replaced(trio: &Trio, index: usize) {
    for _ in 0..1_200 {
        if incarnation(trio, index).is_some_and(|number| number > 1) {
            return wait_for_voters(trio).await;
        }
        pause_ms(50).await;
    }
    panic!("node {index} is not replaced");
}

async fn check_written(trio: &Trio, names: &[&str]) {
    let (_, client) = trio.primary().await;
    for name in names {
        assert_eq!(client.told(&format!("GET {name}")).await, "$4\r\ndone\r\n", "{name} is gone");
    }
}

/// A member's log, vote or identity is damaged while it is down; it starts and is replaced, and what it had is kept. Then
/// another zone burns.
/// Looks for: a member that counts for what it has lost, data that go before they are anywhere else.
#[test]
fn a_damaged_member_is_replaced_and_another_zone_may_burn() {
    for (number, what) in WHAT.into_iter().enumerate() {
        for snapshot_log_bytes in [0, SNAPSHOT_LOG_BYTES] {
            play(400 + number as u64, move |world| async move {
                let trio = Trio::with_snapshots(world, bugs(), snapshot_log_bytes);
                trio.quarantines_max.set(QUARANTINES_MAX);
                let (primary, _) = trio.primary().await;
                write_much(&trio, "early", 20).await;
                trio.agree().await;
                let damaged = trio.others(primary)[number % 2];
                damage(&trio, damaged, what);
                let names = trio.world.with_disk(trio.nodes[damaged], |disk| disk.names());
                write_much(&trio, "meanwhile", 4).await;
                trio.start_node(damaged);
                wait_until_replaced(&trio, damaged).await;
                trio.agree().await;
                let kept = aside(&trio, damaged);
                for name in names.iter().filter_map(|name| name.strip_prefix("data/")) {
                    let is_kept = name.contains(".partial") || kept.iter().any(|it| it.ends_with(name));
                    assert!(is_kept, "{what:?}: {name} is not among {kept:?}");
                }
                write_much(&trio, "late", 2).await;
                for burnt in trio.others(damaged) {
                    burn(&trio, burnt);
                    check_written(&trio, &["early", "meanwhile", "late"]).await;
                    trio.start_node(burnt);
                    wait_for_voters(&trio).await;
                    trio.agree().await;
                }
                check_written(&trio, &["early", "meanwhile", "late"]).await;
            });
        }
    }
}

/// Two of three are damaged: nobody leads, so nobody is taken in and nothing is moved. One is repaired from a copy; then
/// the other is replaced.
/// Looks for: data that are set aside where they may be needed, a second founding by those that are empty-handed.
#[test]
fn with_two_of_three_damaged_nothing_is_moved_until_one_is_repaired() {
    // Without its whole log alone a node is none that knows: a leader tells it.
    for (number, what) in WHAT.into_iter().filter(|what| !matches!(what, What::LogGone)).enumerate() {
        play(420 + number as u64, move |world| async move {
            let trio = Trio::start(world, bugs());
            trio.quarantines_max.set(QUARANTINES_MAX);
            trio.primary().await;
            write_much(&trio, "early", 20).await;
            trio.agree().await;
            // The third is the one that would found a cluster.
            let [third, one, other] = [0, 1, 2];
            let intact = trio.end();
            for index in [one, other] {
                damage(&trio, index, what);
            }
            // With the third one empty, none is left that knows of the cluster.
            let is_third_empty = number % 2 == 1;
            if is_third_empty {
                burn(&trio, third);
            }
            let names = |index: usize| trio.world.with_disk(trio.nodes[index], |disk| disk.names());
            let before = [one, other].map(names);
            (0..3).for_each(|index| trio.start_node(index));
            for _ in 0..400 {
                pause_ms(50).await;
                assert!((0..3).all(|index| !trio.leads(index)), "{what:?}: somebody leads");
            }
            assert_eq!([one, other].map(names), before, "{what:?}: something was moved");
            if is_third_empty {
                trio.world.kill(trio.nodes[third]);
                trio.world.with_disk(trio.nodes[third], |disk| *disk = intact[third].clone());
                trio.start_node(third);
            }
            trio.world.kill(trio.nodes[one]);
            trio.world.with_disk(trio.nodes[one], |disk| *disk = intact[one].clone());
            trio.start_node(one);
            wait_until_replaced(&trio, other).await;
            trio.agree().await;
            check_written(&trio, &["early"]).await;
            assert!(!aside(&trio, other).is_empty() && aside(&trio, one).is_empty());
        });
    }
}

/// Two of three have lost their disks and the third is damaged: only its data are left. It asks to be replaced, and nobody
/// takes that for its word that there is no cluster.
/// Caught: one that asks and answers as if it knew of no cluster; the two found another one, with nothing in it.
#[test]
fn two_that_lost_their_disks_found_no_cluster_beside_a_damaged_one() {
    play(430, |world| async move {
        let trio = Trio::start(world, bugs());
        trio.quarantines_max.set(QUARANTINES_MAX);
        trio.primary().await;
        write_much(&trio, "early", 20).await;
        trio.agree().await;
        let intact = trio.end();
        [0, 1].into_iter().for_each(|index| burn(&trio, index));
        damage(&trio, 2, What::Log);
        (0..3).for_each(|index| trio.start_node(index));
        for _ in 0..400 {
            pause_ms(50).await;
            assert!((0..3).all(|index| !trio.leads(index)), "somebody leads");
        }
        assert_eq!(aside(&trio, 2), [""; 0]);
        for (index, disk) in intact.into_iter().enumerate().take(2) {
            trio.world.kill(trio.nodes[index]);
            trio.world.with_disk(trio.nodes[index], |there| *there = disk);
            trio.start_node(index);
        }
        wait_until_replaced(&trio, 2).await;
        trio.agree().await;
        check_written(&trio, &["early"]).await;
    });
}

/// A damaged member ends, and with it perhaps the power, before every so many steps of its disk while it is replaced; it
/// starts again and gets there. Then another zone burns.
/// Looks for: a directory that is half the old one and half the new one, and counts.
#[test]
fn a_damaged_member_that_ends_at_any_step_of_its_replacement_gets_there() {
    let (disks, damaged) = play(440, |world| async move {
        let trio = Trio::with_snapshots(world, bugs(), SNAPSHOT_LOG_BYTES);
        let (primary, _) = trio.primary().await;
        write_much(&trio, "early", 20).await;
        trio.agree().await;
        let damaged = trio.others(primary)[0];
        damage(&trio, damaged, What::Log);
        (trio.end(), damaged)
    });
    let play_once = move |end| {
        let disks = disks.clone();
        play(441, move |world| async move {
            replace(Trio::with_disks(world, bugs(), SNAPSHOT_LOG_BYTES, Some(disks)), damaged, end).await
        })
    };
    let taken = play_once(None);
    println!("{taken} steps of the disk");
    assert!(taken > 40, "it was replaced: {taken} steps");
    let mut ended = 0;
    for (number, step) in (1..=taken).step_by((taken / 60).max(1) as usize).enumerate() {
        ended += play_once(Some((step, number % 2 == 0)));
    }
    assert!(ended > 40, "{ended} ended");
}

/// Gives how many steps the disk took until the node voted again; or, where it is to end before a step, whether it did.
async fn replace(trio: Trio, damaged: usize, end: Option<(u32, bool)>) -> u32 {
    trio.quarantines_max.set(QUARANTINES_MAX);
    let node = trio.nodes[damaged];
    // Its first start was over the settings of a trio that refuses.
    trio.world.kill(node);
    let (step, loses_power) = end.unwrap_or((u32::MAX, false));
    trio.world.arm(node, DISK_STEP, step, loses_power);
    trio.start_node(damaged);
    let mut ended = 0;
    for _ in 0..1_200 {
        if !trio.world.is_running(node) {
            ended += 1;
            pause_ms(20).await;
            trio.start_node(damaged);
        }
        if incarnation(&trio, damaged).is_some_and(|number| number > 1) {
            break;
        }
        pause_ms(50).await;
    }
    let steps = trio.world.disarm(node).map_or(0, |left| u32::MAX - left);
    wait_until_replaced(&trio, damaged).await;
    trio.agree().await;
    assert!(!aside(&trio, damaged).is_empty(), "it set aside what it had");
    write_much(&trio, "late", 2).await;
    let burnt = trio.others(damaged)[0];
    burn(&trio, burnt);
    check_written(&trio, &["early", "late"]).await;
    trio.start_node(burnt);
    wait_for_voters(&trio).await;
    trio.agree().await;
    if end.is_some() { ended } else { steps }
}
