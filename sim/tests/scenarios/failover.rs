//! Who leads, and what becomes of what was acknowledged when that changes.

use crate::{bugs, pause_ms};
use ramkeep_sim::campaign::options::{Fault, FaultRate, Options, Purpose, Shape};
use ramkeep_sim::campaign::run::run;
use ramkeep_sim::scene::{Trio, play};
use ramkeep_sim::workload::Mix;

/// J1: a primary in the minority acknowledges nothing once its lease is over, whatever clients reach it.
#[test]
fn a_primary_in_the_minority_stops_to_acknowledge() {
    play(2, |world| async move {
        let trio = Trio::start(world, bugs());
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

/// J4: one failover after the other, each by the death of the primary. Nothing is lost in any, nothing is done twice.
#[test]
fn a_hundred_failovers_lose_nothing() {
    play(5, |world| async move {
        let trio = Trio::start(world, bugs());
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
        let trio = Trio::start(world, bugs());
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

/// Trap 10, as three zones see it: a chain A–B–C whose bridge moves. At most one term, and nobody is told a lie.
#[test]
fn a_bridge_that_moves_leaves_one_primary() {
    play(8, |world| async move {
        let trio = Trio::start(world, bugs());
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

/// J9: all restart at once. Nobody is told that the data are gone while they are being read.
#[test]
fn no_read_is_empty_while_all_come_back() {
    for loses_power in [false, true] {
        play(4, move |world| async move {
            let trio = Trio::start(world, bugs());
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

/// J2: one of the others lacks what was acknowledged, because it was cut off. WAIT says how many hold it; the primary dies;
/// the one that lacks it does not become the next.
/// Caught: M10, a vote for a log that lacks committed entries.
#[test]
fn one_that_lacks_what_was_acknowledged_is_not_the_next_primary() {
    for seed in 0..10 {
        play(360 + seed, move |world| async move {
            let trio = Trio::start(world, bugs());
            let (old, client) = trio.primary().await;
            let mut others = trio.others(old);
            others.rotate_left((seed % 2) as usize);
            let [holds, lacks] = others;
            trio.part(lacks);
            for number in 0..20 {
                assert_eq!(client.told(&format!("SET k{number} {number}")).await, "+OK\r\n");
            }
            assert_eq!(client.told("WAIT 1 0").await, ":1\r\n");
            assert_eq!(client.told("WAIT 2 200").await, ":1\r\n", "and not two");
            // What it has sent and a cut has held back goes with it.
            trio.world.power_loss(trio.nodes[old]);
            trio.world.heal_all();
            let (new, client) = trio.primary().await;
            assert_eq!(new, holds, "seed {seed}");
            for number in 0..20 {
                let length = number.to_string().len();
                let found = client.told(&format!("GET k{number}")).await;
                assert_eq!(found, format!("${length}\r\n{number}\r\n"), "seed {seed}");
            }
            trio.start_node(old);
            trio.agree().await;
        });
    }
}

/// A run of the campaign with these workloads and faults alone.
fn attack(seed: u64, mix: Mix, faults: &[Fault], interval_ms: u64) {
    let drawn = Options::draw(seed, 60_000, Purpose::Cluster);
    let options = Options {
        mix,
        faults: faults.iter().map(|fault| FaultRate { fault: *fault, interval_ms }).collect(),
        clients: 8,
        clock_jump_ms_total_max: 0,
        clock_drift_ppm: 0,
        shape: Shape::default(),
        ..drawn
    };
    let verdict = run(&options, bugs());
    assert!(verdict.is_passed(), "{options}\n{:?}\n{}", verdict.complaints, verdict.report);
    assert!(verdict.answered > 500, "seed {seed}: {} calls were answered", verdict.answered);
}

/// No calls but those of the workloads that are added.
const NONE: Mix = Mix {
    register: 0,
    counter: 0,
    hash: 0,
    transaction: 0,
    expiry: 0,
    append: 0,
    bank: 0,
    scan: 0,
    echo_per_mille: 50,
    keys: 3,
    ttl_ms_max: 300,
    padded_per_mille: 60,
};

/// J3: transactions over lists, also of one operation, while primaries die and zones are cut off every five seconds, as
/// the test of a similar system does that still shows losses.
/// Caught: M1, a reply before a majority has it.
#[test]
fn lists_lose_nothing_to_cuts_and_deaths_every_five_seconds() {
    for seed in 0..10 {
        let mix = Mix { append: 10, ..NONE };
        attack(400 + seed, mix, &[Fault::PrimaryKill, Fault::Kill, Fault::Partition], 5_000);
    }
}

/// J8: pauses, deaths and cuts of every kind at once, every three seconds each.
/// Caught: M1, and a frozen primary that answers reads.
#[test]
fn pauses_deaths_and_cuts_at_once_leave_one_history() {
    for seed in 0..10 {
        let mix = Mix { register: 5, counter: 3, append: 5, transaction: 3, bank: 2, ..NONE };
        let faults = [Fault::Pause, Fault::PrimaryKill, Fault::Kill, Fault::Partition, Fault::OneWayCut];
        attack(420 + seed, mix, &faults, 3_000);
    }
}
