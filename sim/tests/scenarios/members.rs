//! Members that lose their disk, or were away for long.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::{bugs, pause_ms};
use ramkeep_log::Role;
use ramkeep_net::simdisk::SimDisk;
use ramkeep_net::spawn;
use ramkeep_sim::scene::{Trio, play};

/// Whether the node votes, under the id that it has now, and no change of members is under way.
fn is_settled_voter(trio: &Trio, index: usize) -> bool {
    trio.node(index).is_some_and(|node| {
        let shard = node.shard.borrow();
        shard.replica().is_some_and(|replica| {
            let members = replica.members();
            members.is_voter(replica.node()) && !members.is_joint() && members.voters().len() == 3
        })
    })
}

pub async fn wait_for_voters(trio: &Trio) {
    for _ in 0..600 {
        if (0..3).all(|index| is_settled_voter(trio, index)) {
            return;
        }
        pause_ms(50).await;
    }
    panic!("not all are voters again");
}

/// The process dies, and its disk is lost.
pub fn burn(trio: &Trio, index: usize) {
    trio.world.kill(trio.nodes[index]);
    trio.world.with_disk(trio.nodes[index], SimDisk::replaced);
}

/// Writes values of 30 KB, so that the log fills some segments.
pub async fn write_much(trio: &Trio, name: &str, count: usize) {
    let (_, client) = trio.primary().await;
    let filler = "x".repeat(30_000);
    for number in 0..count {
        assert_eq!(client.told(&format!("SET {name}:{} {filler}", number % 4)).await, "+OK\r\n");
    }
    assert_eq!(client.told(&format!("SET {name} done")).await, "+OK\r\n");
}

/// A zone is down while the others make snapshots and cut their logs; it comes back, and then another zone burns.
#[test]
fn a_zone_that_was_away_gets_a_snapshot_and_another_zone_may_burn() {
    for seed in 0..3 {
        play(80 + seed, move |world| async move {
            let trio = Trio::with_snapshots(world, bugs(), 64 << 10);
            let (primary, _) = trio.primary().await;
            let [away, other] = trio.others(primary);
            trio.world.kill(trio.nodes[away]);
            write_much(&trio, "early", 120).await;
            // After a minute nobody keeps a log for it any more.
            pause_ms(70_000).await;
            write_much(&trio, "late", 120).await;
            let base = trio
                .node(primary)
                .map(|node| node.shard.borrow().replica().map_or(0, |replica| replica.base().0));
            assert!(base.is_some_and(|base| base > 0), "the log was cut: {base:?}");
            trio.start_node(away);
            trio.agree().await;
            for burnt in [primary, other] {
                burn(&trio, burnt);
                let (_, client) = trio.primary().await;
                assert_eq!(client.told("GET early").await, "$4\r\ndone\r\n");
                assert_eq!(client.told("GET late").await, "$4\r\ndone\r\n");
                write_much(&trio, &format!("without {burnt}").replace(' ', "-"), 3).await;
                trio.start_node(burnt);
                wait_for_voters(&trio).await;
                trio.agree().await;
            }
        });
    }
}

/// A member was replaced, for good as all nodes know. Then all lose their power at once, and one of those that voted before and
/// after loses its disk: the others must not take the change for unfinished, and wait for the one that left.
#[test]
fn a_change_of_members_that_is_over_is_over_after_a_power_loss() {
    for seed in 0..4 {
        play(110 + seed, move |world| async move {
            let trio = Trio::with_snapshots(world, bugs(), 1 << 30);
            let (primary, client) = trio.primary().await;
            assert_eq!(client.told("SET k v").await, "+OK\r\n");
            let [lost, other] = trio.others(primary);
            burn(&trio, lost);
            pause_ms(500).await;
            trio.start_node(lost);
            wait_for_voters(&trio).await;
            // Two ticks, so that every log holds a mark of it.
            pause_ms(100).await;
            trio.nodes.iter().for_each(|node| trio.world.power_loss(*node));
            burn(&trio, if seed % 2 == 0 { primary } else { other });
            (0..3).for_each(|index| trio.start_node(index));
            let (_, client) = trio.primary().await;
            assert_eq!(client.told("GET k").await, "$1\r\nv\r\n");
            wait_for_voters(&trio).await;
            trio.agree().await;
        });
    }
}

/// A disk is lost, its node is killed again and again while it is replaced, and so is the primary that replaces it.
#[test]
fn a_replacement_that_is_interrupted_goes_on() {
    for seed in 0..6 {
        play(90 + seed, move |world| async move {
            let trio = Trio::with_snapshots(world, bugs(), 64 << 10);
            let (primary, client) = trio.primary().await;
            assert_eq!(client.told("SET k v").await, "+OK\r\n");
            write_much(&trio, "much", 40).await;
            let lost = trio.others(primary)[0];
            burn(&trio, lost);
            for step in 0..5 {
                trio.start_node(lost);
                pause_ms(300 + seed * 170 + step * 130).await;
                trio.world.kill(trio.nodes[lost]);
            }
            trio.start_node(lost);
            pause_ms(600 + seed * 250).await;
            let (primary, _) = trio.primary().await;
            trio.world.kill(trio.nodes[primary]);
            pause_ms(1_000).await;
            trio.start_node(primary);
            wait_for_voters(&trio).await;
            trio.agree().await;
            let (_, client) = trio.primary().await;
            assert_eq!(client.told("GET k").await, "$1\r\nv\r\n");
        });
    }
}

/// Who led in each term, of those that were looked at.
fn look(trio: &Trio, leaders: &mut BTreeMap<u64, usize>) {
    for index in 0..3 {
        let Some(node) = trio.node(index) else { continue };
        let shard = node.shard.borrow();
        let Some(replica) = shard.replica().filter(|replica| replica.role() == Role::Primary) else {
            continue;
        };
        let leader = *leaders.entry(replica.term().0).or_insert(index);
        assert_eq!(leader, index, "two lead in term {}", replica.term().0);
    }
}

/// Adds one, at whichever node answers, until it is over; the sums that it was told.
async fn count_up(trio: Rc<Trio>, asked: Rc<Cell<u64>>, is_over: Rc<Cell<bool>>) -> Vec<u64> {
    let (mut told, mut index) = (Vec::new(), 0);
    while !is_over.get() {
        index += 1;
        let Some(client) = trio.try_connect(index % 3).await else { continue };
        while !is_over.get() {
            asked.set(asked.get() + 1);
            match client.ask("INCR sum").await {
                Ok(answer) if answer.starts_with(':') => {
                    told.push(answer[1..].trim_end().parse().expect("a number"));
                }
                // Refused: certainly not done.
                Ok(_) => break,
                Err(_) => break,
            }
            pause_ms(5).await;
        }
    }
    told
}

/// J8: deaths, pauses, cuts both ways and one way, disks that are lost and members that are replaced, one upon the other.
/// At most one leads in a term, no sum is told twice, none is lost.
/// Caught: M10, a vote for a log that lacks committed entries; a member that counts before it has caught up.
#[test]
fn everything_at_once_leaves_one_primary_and_every_sum() {
    for seed in 0..6_u64 {
        play(340 + seed, move |world| async move {
            let trio = Rc::new(Trio::with_snapshots(world, bugs(), 64 << 10));
            trio.primary().await;
            let (asked, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let counting = spawn(count_up(Rc::clone(&trio), Rc::clone(&asked), Rc::clone(&is_over)));
            let (mut leaders, mut burnt) = (BTreeMap::new(), 0);
            for round in 0..24_u64 {
                let primary = (0..3).find(|index| trio.leads(*index));
                let index = primary.unwrap_or((round % 3) as usize);
                match (round * 5 + seed * 7) % 6 {
                    0 => trio.world.pause(trio.nodes[index]),
                    1 => trio.world.kill(trio.nodes[index]),
                    2 => trio.part(index),
                    3 => trio.world.cut(trio.nodes[index], trio.nodes[trio.others(index)[0]]),
                    4 => trio.world.power_loss(trio.nodes[trio.others(index)[1]]),
                    _ if (0..3).all(|index| is_settled_voter(&trio, index)) => {
                        burnt += 1;
                        burn(&trio, trio.others(index)[(round % 2) as usize]);
                    }
                    _ => {}
                }
                for _ in 0..60 + 20 * seed {
                    look(&trio, &mut leaders);
                    pause_ms(20).await;
                }
                trio.world.heal_all();
                trio.nodes.iter().for_each(|node| trio.world.resume(*node));
                (0..3).for_each(|index| trio.start_node_again(index));
                // Sometimes the next comes at once.
                for _ in 0..if round % 3 == 0 { 300 } else { 20 } {
                    look(&trio, &mut leaders);
                    pause_ms(20).await;
                }
            }
            is_over.set(true);
            let told = counting.await.expect("it counts");
            wait_for_voters(&trio).await;
            trio.agree().await;
            assert!(
                told.windows(2).all(|pair| pair[0] < pair[1]),
                "seed {seed}: sums run back, or come twice"
            );
            let (_, client) = trio.primary().await;
            let sum: u64 = client.told("INCRBY sum 0").await[1..].trim_end().parse().expect("a number");
            assert!(sum >= *told.last().expect("some were told"), "seed {seed}: sums are lost");
            assert!(sum <= asked.get(), "seed {seed}: {sum} of {}", asked.get());
            assert!(
                told.len() > 200 && burnt > 0 && leaders.len() > 5,
                "seed {seed}: {} sums, {burnt} burnt, {leaders:?}",
                told.len()
            );
        });
    }
}
