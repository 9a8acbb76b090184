//! Fixed stories of three nodes that other systems got wrong, each with what must come of it.
//!
//! What one shard can show by itself stands in `shard/tests` (`traps` lists it) and `log/tests`; here is what needs
//! nodes, disks and connections. The numbers J… are those of published failures of similar systems.
#![cfg(madsim)]

use std::time::Duration;

use ramkeep_net::sleep;
use ramkeep_sim::campaign::node::Bugs;
use ramkeep_sim::scene::{Trio, play};

const HOUR_US: i64 = 3_600_000_000;

async fn pause_ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// The primary's clock is an hour ahead; those that take over have it right. What was seen to be gone stays gone, and a
/// second of life is not an hour.
#[test]
fn a_primary_an_hour_ahead_leaves_no_key_that_comes_back_or_stays() {
    play(1, |world| async move {
        let trio = Trio::start(world, Bugs::default());
        let (old, client) = trio.primary().await;
        trio.world.jump_wall_clock(trio.nodes[old], HOUR_US);
        assert_eq!(client.told("SET short v PX 200").await, "+OK\r\n");
        assert_eq!(client.told("SET long v EX 7200").await, "+OK\r\n");
        pause_ms(400).await;
        assert_eq!(client.told("GET short").await, "$-1\r\n", "its time is over");
        assert_eq!(client.told("SET second v PX 1000").await, "+OK\r\n");
        trio.world.kill(trio.nodes[old]);
        let set_at_ns = trio.world.now_ns();
        let (_, client) = trio.primary().await;
        assert_eq!(client.told("GET short").await, "$-1\r\n", "what was seen to be gone stays gone");
        while trio.world.now_ns() < set_at_ns + 3_000_000_000 {
            assert_eq!(client.told("GET short").await, "$-1\r\n");
            pause_ms(50).await;
        }
        assert_eq!(client.told("GET second").await, "$-1\r\n", "gone within three seconds");
        assert_eq!(client.told("GET long").await, "$1\r\nv\r\n", "nothing else was lost");
    });
}

/// J1: a primary in the minority acknowledges nothing once its lease is over, whatever clients reach it.
#[test]
fn a_primary_in_the_minority_stops_to_acknowledge() {
    play(2, |world| async move {
        let trio = Trio::start(world, Bugs::default());
        let (old, inside) = trio.primary().await;
        assert_eq!(inside.told("SET k 0").await, "+OK\r\n");
        trio.part(old);
        // The first writes find a primary that does not know yet: they are executed and never answered.
        let first = inside.ask("SET k lost").await;
        assert!(first.is_err(), "{first:?}");
        let (new, outside) = trio.primary().await;
        assert_ne!(new, old);
        assert_eq!(outside.told("SET k 1").await, "+OK\r\n");
        let late = trio.connect(old).await;
        let answer = late.told("SET k 2").await;
        assert!(answer.starts_with("-NOQUORUM") || answer.starts_with("-READONLY"), "{answer}");
        assert!(late.told("GET k").await.starts_with('-'));
        trio.world.heal_all();
        trio.agree().await;
        let (_, client) = trio.primary().await;
        assert_eq!(client.told("GET k").await, "$1\r\n1\r\n");
    });
}

/// J15: the process stands still for longer than its lease, and is asked before it has heard of its successor.
#[test]
fn a_primary_that_stood_still_answers_no_stale_read() {
    for seed in 0..10 {
        play(30 + seed, move |world| async move {
            let trio = Trio::start(world, Bugs::default());
            let (old, client) = trio.primary().await;
            assert_eq!(client.told("SET k old").await, "+OK\r\n");
            trio.world.pause(trio.nodes[old]);
            pause_ms(600 + seed * 300).await;
            // The pause may be over before anybody was elected.
            let elected = trio
                .others(old)
                .into_iter()
                .find(|index| trio.node(*index).is_some_and(|node| node.shard.borrow().is_leading()));
            if let Some(new) = elected {
                let writer = trio.connect(new).await;
                let written = writer.told("SET k new").await;
                trio.world.resume(trio.nodes[old]);
                let answer = client.ask("GET k").await;
                // Refused, unanswered, or carried to the new primary; never from memory that is behind.
                let is_stale = answer.as_ref().is_ok_and(|answer| answer.contains("old"));
                assert!(written != "+OK\r\n" || !is_stale, "{answer:?}");
            }
        });
    }
}

/// J9: all restart at once. Nobody is told that the data are gone while they are being read.
#[test]
fn no_read_is_empty_while_all_come_back() {
    for loses_power in [false, true] {
        play(4, move |world| async move {
            let trio = Trio::start(world, Bugs::default());
            let (_, client) = trio.primary().await;
            for number in 0..50 {
                assert_eq!(client.told(&format!("SET k{number} v")).await, "+OK\r\n");
            }
            for node in &trio.nodes {
                if loses_power { trio.world.power_loss(*node) } else { trio.world.kill(*node) }
            }
            (0..3).for_each(|index| trio.start_node(index));
            let mut answered = 0;
            while answered < 20 {
                for index in 0..3 {
                    let client = trio.connect(index).await;
                    match client.ask("GET k7").await {
                        Ok(answer) if answer.starts_with('-') => {}
                        Ok(answer) => {
                            assert_eq!(answer, "$1\r\nv\r\n");
                            answered += 1;
                        }
                        Err(_) => {}
                    }
                }
                pause_ms(20).await;
            }
        });
    }
}

/// J4: one failover after the other, each by the death of the primary. Nothing is lost in any, nothing is done twice.
#[test]
fn a_hundred_failovers_lose_nothing() {
    play(5, |world| async move {
        let trio = Trio::start(world, Bugs::default());
        let mut acknowledged = 0_u64;
        for round in 0..100 {
            let (primary, client) = trio.primary().await;
            let sum = client.told("INCR sum").await;
            acknowledged += 1;
            assert_eq!(sum, format!(":{acknowledged}\r\n"), "round {round}");
            assert_eq!(client.told(&format!("SET k{round} {round}")).await, "+OK\r\n");
            if round % 2 == 0 {
                trio.world.kill(trio.nodes[primary]);
            } else {
                trio.world.power_loss(trio.nodes[primary]);
            }
            pause_ms(50).await;
            trio.start_node(primary);
        }
        trio.agree().await;
        let (_, client) = trio.primary().await;
        for round in 0..100 {
            let length = round.to_string().len();
            assert_eq!(client.told(&format!("GET k{round}")).await, format!("${length}\r\n{round}\r\n"));
        }
    });
}

/// J12: after everything was healed each node serves, or knows who does, within ten seconds.
#[test]
fn every_node_knows_the_way_soon_after_a_heal() {
    play(6, |world| async move {
        let trio = Trio::start(world, Bugs::default());
        let (old, _) = trio.primary().await;
        for cut in [old, trio.others(old)[0]] {
            trio.part(cut);
            pause_ms(4_000).await;
            trio.world.heal_all();
            pause_ms(10_000).await;
            let mut served = 0;
            for index in 0..3 {
                let answer = trio.connect(index).await.told("SET k v").await;
                assert!(answer == "+OK\r\n" || answer.starts_with("-READONLY"), "{index}: {answer}");
                served += usize::from(answer == "+OK\r\n");
            }
            assert!(served >= 1, "somebody leads");
        }
    });
}

/// J15: positions never run back over a restart.
#[test]
fn positions_never_run_back() {
    play(7, |world| async move {
        let trio = Trio::start(world, Bugs::default());
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

/// Trap 10, as three zones see it: a chain A–B–C whose bridge moves. At most one term, and nobody is told a lie.
#[test]
fn a_bridge_that_moves_leaves_one_primary() {
    play(8, |world| async move {
        let trio = Trio::start(world, Bugs::default());
        let (_, client) = trio.primary().await;
        assert_eq!(client.told("SET k 0").await, "+OK\r\n");
        for round in 1..=30 {
            let ends = trio.others(round % 3);
            trio.world.cut(trio.nodes[ends[0]], trio.nodes[ends[1]]);
            trio.world.cut(trio.nodes[ends[1]], trio.nodes[ends[0]]);
            pause_ms(700).await;
            let (_, client) = trio.primary().await;
            assert_eq!(client.told("INCR k").await, format!(":{round}\r\n"), "round {round}");
            trio.world.heal_all();
        }
        trio.agree().await;
    });
}

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

async fn wait_for_voters(trio: &Trio) {
    for _ in 0..600 {
        if (0..3).all(|index| is_settled_voter(trio, index)) {
            return;
        }
        pause_ms(50).await;
    }
    panic!("not all are voters again");
}

/// The process dies, and its disk is lost.
fn burn(trio: &Trio, index: usize) {
    trio.world.kill(trio.nodes[index]);
    trio.world.with_disk(trio.nodes[index], |disk| {
        for name in disk.names() {
            disk.remove(&name).expect("a file that is there can be removed");
        }
        disk.sync_directory().expect("a directory can be synced");
    });
}

/// Writes values of 30 KB, so that the log fills some segments.
async fn write_much(trio: &Trio, name: &str, count: usize) {
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
            let trio = Trio::with_snapshots(world, Bugs::default(), 64 << 10);
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

/// A disk is lost, its node is killed again and again while it is replaced, and so is the primary that replaces it.
#[test]
fn a_replacement_that_is_interrupted_goes_on() {
    for seed in 0..6 {
        play(90 + seed, move |world| async move {
            let trio = Trio::with_snapshots(world, Bugs::default(), 64 << 10);
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
