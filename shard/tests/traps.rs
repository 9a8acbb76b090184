//! Traps of consensus, each a scenario.
//!
//! 1 executed and then refused by the log; 2 a proposal forwarded by a deposed primary (`log`, unit tests); 3 replies
//! after a step-down, and a tail that only a second primary had; 4 a promise forgotten by a restart, a process that
//! stands still (also `reads`); 5 transfers (`handover`); 6 the longest log at a voter without data (`log_only`);
//! 7, 8 foreign directories and damaged disks (`log/tests`); 9 a new primary before its first entry; 10 cuts one way
//! and to one node; 11 a change of members asked at a primary that was cut off, messages twice and in any order (also
//! `lives`); 13 an append from below a cut; 14 large entries and slow disks (also `handover`); 15 step-down with the tail
//! kept, partly kept, overwritten (`step_down`, and after every event of `lives`); 16, 17 equal timeouts, equal traces
//! (`lives`).

use crate::common::cluster::{Cluster, TICK_NS, serving};
use crate::common::{described, making};
use crate::disk::Random;
use ramkeep_engine::session::SessionId;
use ramkeep_log::{Member, NodeId, Role, Uuid};
use ramkeep_shard::State;

fn write(cluster: &mut Cluster, node: NodeId, session: SessionId, command: &str) -> String {
    cluster.node(node).say(session, command);
    cluster.node(node).end_turn();
    cluster.deliver_all().unwrap();
    cluster.node(node).hear(session)
}

/// Trap 1: what was executed always finds room in the log. A turn larger than an entry becomes a group of entries, and
/// is applied on the others as a whole.
#[test]
fn a_turn_larger_than_an_entry_is_one_group() {
    let (mut cluster, primary, session) = serving(1);
    let value = "v".repeat(900);
    let mut commands = String::from("MULTI\r\n");
    for number in 0..6 {
        commands += &format!("SET big{number} {value}\r\n");
    }
    commands += "EXEC";
    let told = write(&mut cluster, primary, session, &commands);
    assert!(told.ends_with("*6\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), "{told}");
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.node(primary).fenced, None);
    let digest = cluster.node(primary).digest();
    for other in cluster.others(primary) {
        assert_eq!(cluster.node(other).digest(), digest);
    }
}

/// Trap 1, cut: a group whose last part never came is void on every replica.
#[test]
fn a_group_cut_off_by_a_change_of_term_is_void() {
    for kept in 0..3 {
        let (mut cluster, old, session) = serving(20 + kept);
        let others = cluster.others(old);
        let value = "v".repeat(900);
        for other in &others {
            cluster.cut.insert((*other, old));
        }
        cluster.node(old).say(session, "MULTI");
        for number in 0..8 {
            cluster.node(old).say(session, &format!("SET big{number} {value}"));
        }
        cluster.node(old).say(session, "EXEC");
        cluster.node(old).end_turn();
        cluster.settle().unwrap();
        // A few appends arrive: perhaps the first part of the group.
        for _ in 0..kept {
            if !cluster.messages.is_empty() {
                cluster.deliver(0).unwrap();
            }
        }
        cluster.messages.clear();
        cluster.isolate(old);
        cluster.ticks(60).unwrap();
        let next = cluster.primary().expect("one of the two others");
        let reader = cluster.node(next).open();
        let seen: Vec<String> =
            (0..8).map(|number| cluster.node(next).ask(reader, &format!("EXISTS big{number}"))).collect();
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "all or nothing: {seen:?}");
        assert_eq!(write(&mut cluster, next, reader, "SET x after"), "+OK\r\n");
        cluster.cut.clear();
        cluster.ticks(30).unwrap();
        let digest = cluster.node(next).digest();
        assert_eq!(cluster.node(old).digest(), digest);
    }
}

/// Trap 3: A executes x; B has it, leads, and falls before committing it; C leads without x. Nobody saw x.
#[test]
fn a_tail_that_a_second_primary_had_and_a_third_never_saw_is_seen_by_nobody() {
    let mut cluster = Cluster::new(3, 3);
    let a = cluster.elect().unwrap();
    let client = cluster.node(a).open();
    assert_eq!(write(&mut cluster, a, client, "SET x old"), "+OK\r\n");
    let (b, c) = (cluster.others(a)[0], cluster.others(a)[1]);
    // x reaches B alone, and no answer comes back.
    cluster.cut_between(a, c);
    cluster.cut.insert((b, a));
    let reader = cluster.node(a).open();
    cluster.node(a).say(client, "SET x new");
    cluster.node(a).say(reader, "GET x");
    cluster.node(a).end_turn();
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(a).hear(client) + &cluster.node(a).hear(reader), "");
    cluster.isolate(a);
    // B leads by C's vote, and is cut off before its first entry arrives anywhere.
    for _ in 0..100 {
        cluster.pass(TICK_NS).unwrap();
        while cluster.node(b).replica().role() != Role::Primary && !cluster.messages.is_empty() {
            cluster.deliver(0).unwrap();
        }
        if cluster.node(b).replica().role() == Role::Primary {
            break;
        }
    }
    assert_eq!(cluster.node(b).replica().role(), Role::Primary);
    assert!(!cluster.node(b).is(&State::Leading), "its own first entry is not committed");
    cluster.messages.clear();
    cluster.isolate(b);
    let at_b = cluster.node(b).open();
    cluster.node(b).say(at_b, "GET x");
    // A lost its disk's cache; C and A elect C: A's log is longer, so A may lead instead, but then x is committed.
    cluster.stop(a).unwrap();
    cluster.cut.clear();
    cluster.isolate(b);
    cluster.start(a).unwrap();
    let next = cluster.elect().unwrap();
    let reader = cluster.node(next).open();
    let seen = write(&mut cluster, next, reader, "GET x");
    let committed = if next == a { "$3\r\nnew\r\n" } else { "$3\r\nold\r\n" };
    assert_eq!(seen, committed);
    let told = cluster.node(b).hear(at_b);
    assert!(told.is_empty() || told.starts_with("-NOQUORUM"), "{told}");
    cluster.cut.clear();
    cluster.ticks(60).unwrap();
    let digests: Vec<u128> = cluster.nodes.values().map(|node| node.digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Trap 4: the follower whose answer the lease rests on restarts at once, and would have forgotten its promise.
#[test]
fn a_follower_that_restarts_inside_the_lease_elects_nobody_until_it_is_over() {
    for seed in 0..10 {
        let (mut cluster, primary, _) = serving(40 + seed);
        let others = cluster.others(primary);
        cluster.isolate(others[1]);
        cluster.ticks(30).unwrap();
        assert_eq!(cluster.primary(), Some(primary), "two of three go on");
        // The long isolated one meets the restarted one; the primary is cut off.
        cluster.stop(others[0]).unwrap().kill(true);
        cluster.start(others[0]).unwrap();
        cluster.cut.clear();
        cluster.isolate(primary);
        // Every tick the invariants say that there are not two leases.
        cluster.ticks(60).unwrap();
        assert!(others.contains(&cluster.primary().expect("the two others elect one")), "seed {seed}");
    }
}

/// Trap 9: a new primary serves only when its own first entry is committed and all before it is applied.
#[test]
fn a_new_primary_serves_nothing_before_its_first_entry_is_committed() {
    let (mut cluster, old, _) = serving(9);
    let others = cluster.others(old);
    cluster.isolate(old);
    let mut seen = false;
    for _ in 0..60 {
        cluster.pass(TICK_NS).unwrap();
        while !cluster.messages.is_empty() {
            cluster.deliver(0).unwrap();
            for other in &others {
                let node = cluster.node(*other);
                let leads = node.replica().role() == Role::Primary;
                if leads && node.replica().term_of(node.replica().committed()) != Some(node.replica().term())
                {
                    seen = true;
                    let session = node.open();
                    node.say(session, "GET x");
                    assert_eq!(node.hear(session), "");
                    assert!(!node.is(&State::Leading));
                }
            }
        }
    }
    assert!(seen, "there was such a moment");
}

/// Trap 10: a primary that cannot hear one follower, and one that hears nobody.
#[test]
fn a_cut_to_one_follower_changes_nothing_and_a_deaf_primary_is_replaced() {
    let (mut cluster, primary, session) = serving(10);
    let others = cluster.others(primary);
    cluster.cut_between(primary, others[0]);
    let term = cluster.node(primary).replica().term();
    for _ in 0..200 {
        assert_eq!(write(&mut cluster, primary, session, "SET x on"), "+OK\r\n");
        cluster.ticks(1).unwrap();
    }
    assert_eq!(cluster.node(primary).replica().term(), term);
    assert_eq!(cluster.primary(), Some(primary));
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    // Deaf: it sends and never hears.
    for other in &others {
        cluster.cut.insert((*other, primary));
    }
    cluster.ticks(80).unwrap();
    let next = cluster.primary().expect("another serves");
    assert_ne!(next, primary);
    let writer = cluster.node(next).open();
    assert_eq!(write(&mut cluster, next, writer, "SET x new"), "+OK\r\n");
}

/// J7, trap 11: a change of members is asked at a primary that was cut off and does not know it. It is a tail like any
/// other: overwritten by what the others committed meanwhile, who are the members that they were.
/// Looks for: members that count before the change is committed.
#[test]
fn a_change_asked_at_a_primary_that_was_cut_off_changes_nothing() {
    for seed in 0..10 {
        let (mut cluster, old, _) = serving(70 + seed);
        let before = cluster.node(old).replica().members().clone();
        cluster.isolate(old);
        let member = Member { node: NodeId::of(9, 1), directory: Uuid([9; 16]), ..described(9) };
        let mut asked = None;
        cluster.node(old).with(|shard, now, outputs| {
            shard.drive(now, outputs, |replica| asked = Some(replica.add_member(member, now.monotonic_ns)));
        });
        assert!(matches!(asked, Some(Ok(_))), "it thinks that it leads: {asked:?}");
        cluster.settle().unwrap();
        assert_eq!(cluster.node(old).replica().members(), &before, "it is not committed");
        // The others elect one of them by the members that they know, and go on.
        cluster.ticks(40 + seed as usize * 5).unwrap();
        let next = cluster.primary().expect("one of the two others");
        assert_ne!(next, old);
        let writer = cluster.node(next).open();
        assert_eq!(write(&mut cluster, next, writer, "SET x new"), "+OK\r\n");
        cluster.cut.clear();
        cluster.ticks(40).unwrap();
        let next = cluster.elect().unwrap();
        let digest = cluster.node(next).digest();
        for voter in cluster.voters.clone() {
            assert_eq!(cluster.node(voter).replica().members(), &before, "seed {seed}");
            assert_eq!(cluster.node(voter).digest(), digest, "seed {seed}");
        }
        let reader = cluster.node(next).open();
        assert_eq!(write(&mut cluster, next, reader, "GET x"), "$3\r\nnew\r\n");
    }
}

/// J11: messages come twice, late and in any order, for as long as it takes to change the primary several times. No
/// assertion fails, and what must always hold is looked at after each of them.
/// Looks for: answers that are taken for those to a later question, entries taken twice.
#[test]
fn messages_that_come_twice_and_in_any_order_harm_nothing() {
    let mut terms = 0;
    for seed in 0..6 {
        let (mut cluster, first, _) = serving(110 + seed);
        let began = cluster.node(first).replica().term();
        let mut random = Random(seed);
        let (mut written, mut acknowledged) = (0, 0);
        for round in 0..600 {
            let leading = cluster.primary();
            if let Some(primary) = leading {
                let session = cluster.node(primary).open();
                cluster.node(primary).say(session, &format!("INCR sum{}", round % 3));
                cluster.node(primary).end_turn();
                written += 1;
                cluster.settle().unwrap();
                for _ in 0..random.below(30) {
                    let count = cluster.messages.len() as u64;
                    if count == 0 {
                        break;
                    }
                    let index = random.below(count) as usize;
                    if random.below(2) == 0 && count < 200 {
                        let again = cluster.messages[index].clone();
                        cluster.messages.push(again);
                    }
                    cluster.deliver(index).unwrap();
                }
                if cluster.nodes.contains_key(&primary) {
                    acknowledged += usize::from(cluster.node(primary).hear(session).starts_with(':'));
                }
                if round % 150 == 149 {
                    cluster.isolate(primary);
                }
            } else {
                cluster.deliver_all().unwrap();
            }
            if round % 150 == 50 {
                cluster.cut.clear();
            }
            cluster.pass(10_000_000 + random.below(40_000_000)).unwrap();
        }
        let primary = cluster.heal().unwrap();
        terms += cluster.node(primary).replica().term().0 - began.0;
        assert!(acknowledged > 20, "seed {seed}: {acknowledged} of {written}");
        let reader = cluster.node(primary).open();
        let mut sum = 0;
        for key in 0..3 {
            let told = write(&mut cluster, primary, reader, &format!("INCRBY sum{key} 0"));
            sum += told.trim_start_matches(':').trim_end().parse::<usize>().expect("a number");
        }
        assert!((acknowledged..=written).contains(&sum), "seed {seed}: {sum} of {acknowledged} to {written}");
        let digest = cluster.node(primary).digest();
        assert!(cluster.nodes.values().all(|node| node.digest() == digest), "seed {seed}");
    }
    assert!(terms >= 3, "the primary changed: {terms} terms");
}

/// Makes a snapshot and cuts the log below it.
fn cut_below_a_snapshot(cluster: &mut Cluster, id: NodeId) {
    // Before anything is cut the model knows all that is committed.
    cluster.compare().unwrap();
    let node = cluster.node(id);
    let session = node.open();
    node.say(session, "BGSAVE");
    let mut begun = making::begin(node).expect("nothing stands in its way");
    loop {
        match making::step(node, &mut begun) {
            making::Step::More => {}
            making::Step::Void => panic!("what it holds is committed"),
            making::Step::Whole(file) => {
                making::put(node, &begun.head, file);
                making::end(node);
                return;
            }
        }
    }
}

/// Trap 13, J10: an append arrives that was sent before the follower made a snapshot and cut its log above it; from the
/// primary that still leads, and from one that no longer does. It is answered and changes nothing.
/// Looks for: a term or an entry asked for below the base of the log.
#[test]
fn an_append_from_below_a_cut_changes_nothing() {
    for changes_primary in [false, true] {
        let (mut cluster, primary, session) = serving(130);
        let [follower, other] = cluster.others(primary)[..] else { unreachable!("three voters") };
        let value = "v".repeat(900);
        cluster.node(primary).say(session, &format!("SET early {value}"));
        cluster.node(primary).end_turn();
        cluster.settle().unwrap();
        let held: Vec<_> = cluster.messages.iter().filter(|(_, to, _)| *to == follower).cloned().collect();
        assert!(
            held.iter().any(|(_, _, message)| message.name().contains("ppend")),
            "an append is among them"
        );
        cluster.deliver_all().unwrap();
        cluster.node(primary).hear(session);
        for number in 0..400 {
            let told = write(&mut cluster, primary, session, &format!("SET k{} {value}", number % 9));
            assert_eq!(told, "+OK\r\n");
            if number % 8 == 0 {
                cluster.ticks(1).unwrap();
            }
        }
        cluster.ticks(4).unwrap();
        cut_below_a_snapshot(&mut cluster, follower);
        cluster.settle().unwrap();
        let base = cluster.node(follower).replica().base();
        assert!(base.0 > 2, "the log was cut: {base:?}");
        if changes_primary {
            cluster.isolate(primary);
            cluster.ticks(60).unwrap();
            let next = cluster.primary().expect("one of the two others");
            assert!([follower, other].contains(&next));
            cluster.cut.clear();
        }
        for late in held {
            cluster.messages.push(late);
        }
        cluster.ticks(20).unwrap();
        assert!(cluster.node(follower).replica().base() >= base);
        let next = cluster.elect().unwrap();
        let writer = cluster.node(next).open();
        assert_eq!(write(&mut cluster, next, writer, "SET x after"), "+OK\r\n");
        cluster.ticks(10).unwrap();
        let digest = cluster.node(next).digest();
        assert_eq!(cluster.node(follower).digest(), digest);
        // And what it would start with is the same.
        cluster.stop(follower).unwrap().kill(true);
        cluster.start(follower).unwrap();
        cluster.ticks(40).unwrap();
        assert_eq!(cluster.node(follower).digest(), digest);
    }
}

/// Trap 14: large entries do not starve heartbeats: a follower that is fed a long log elects nobody.
#[test]
fn a_follower_that_is_fed_a_long_log_does_not_campaign() {
    let (mut cluster, primary, session) = serving(14);
    let behind = cluster.others(primary)[0];
    cluster.isolate(behind);
    let value = "v".repeat(900);
    for number in 0..300 {
        let told = write(&mut cluster, primary, session, &format!("SET k{} {value}", number % 9));
        assert_eq!(told, "+OK\r\n");
        if number % 3 == 0 {
            cluster.ticks(1).unwrap();
        }
    }
    let term = cluster.node(primary).replica().term();
    cluster.cut.clear();
    cluster.ticks(60).unwrap();
    assert_eq!(cluster.node(primary).replica().term(), term);
    let digest = cluster.node(primary).digest();
    assert_eq!(cluster.node(behind).digest(), digest);
}
