//! Handing leadership over: what is drained, who inherits, what happens when nothing comes of it.

use crate::common::cluster::{Cluster, TICK_NS, serving};
use ramkeep_log::NodeId;
use ramkeep_shard::{HandoverRefused, State};

fn transfer(cluster: &mut Cluster, from: NodeId, to: Option<NodeId>) -> Result<NodeId, HandoverRefused> {
    let mut outcome = Err(HandoverRefused::NotPrimary);
    cluster.node(from).with(|shard, now, outputs| outcome = shard.transfer(to, now, outputs));
    cluster.settle().unwrap();
    outcome
}

#[test]
fn what_was_executed_is_answered_before_leadership_goes_and_what_comes_after_waits() {
    let (mut cluster, primary, session) = serving(1);
    let late = cluster.node(primary).open();
    let monitor = cluster.node(primary).open();
    assert_eq!(cluster.node(primary).ask(monitor, "MONITOR"), "+OK\r\n");
    cluster.node(primary).say(session, "SET x new");
    let heir = transfer(&mut cluster, primary, None).unwrap();
    assert!(cluster.node(primary).shard.is_handing_over());
    cluster.node(primary).say(late, "SET x later");
    assert!(!cluster.node(primary).shard.has_open_turn(), "it is not executed");
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n");
    assert!(!cluster.node(primary).clients[&session].is_closed);
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.primary(), Some(heir), "no election timeout passes");
    assert!(cluster.node(primary).is(&State::Following));
    assert!(cluster.node(primary).clients[&monitor].is_closed, "nothing is executed here any more");
    assert!(cluster.node(primary).hear(late).starts_with("-READONLY"));
    let reader = cluster.node(heir).open();
    assert_eq!(cluster.node(heir).ask(reader, "GET x"), "$3\r\nnew\r\n");
}

/// An offer that nobody took may still be taken at any time: there is no lease in its term any more. The next term makes
/// it void.
#[test]
fn a_transfer_that_nobody_takes_is_given_up_and_the_old_primary_goes_on_in_a_term_of_its_own() {
    let (mut cluster, primary, session) = serving(2);
    let heir = transfer(&mut cluster, primary, None).unwrap();
    let term = cluster.node(primary).replica().term();
    let at = cluster.messages.iter().position(|(_, _, message)| message.name() == "timeout now").unwrap();
    let offer = cluster.messages.remove(at);
    cluster.node(primary).say(session, "GET x");
    assert_eq!(cluster.node(primary).hear(session), "");
    let now_ns = cluster.true_ns;
    assert!(!cluster.node(primary).replica().lease_valid(now_ns));
    cluster.ticks(12).unwrap();
    assert!(!cluster.node(primary).shard.is_handing_over());
    assert_eq!(cluster.node(primary).hear(session), "$3\r\nold\r\n", "the call that waited goes on here");
    assert_eq!(cluster.primary(), Some(primary));
    assert_eq!(cluster.node(primary).replica().term().0, term.0 + 1);
    let now_ns = cluster.true_ns;
    assert!(cluster.node(primary).replica().lease_valid(now_ns));
    assert_eq!(cluster.node(primary).ask(session, "GET x"), "$3\r\nold\r\n");
    // It comes too late.
    cluster.node(heir).receive(offer.0, offer.2);
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.primary(), Some(primary));
    assert_eq!(cluster.node(primary).replica().term().0, term.0 + 1);
    // It may be tried again.
    assert_eq!(transfer(&mut cluster, primary, Some(heir)), Ok(heir));
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.primary(), Some(heir));
}

/// Who has only just started does not vote: until it does, the old primary goes on without a lease.
#[test]
fn a_term_is_not_renewed_before_there_is_a_majority_that_may_vote() {
    let (mut cluster, primary, session) = serving(13);
    let others = cluster.others(primary);
    cluster.ticks(30).unwrap();
    let heir = others[0];
    let term = cluster.node(primary).replica().term();
    assert_eq!(transfer(&mut cluster, primary, Some(heir)), Ok(heir));
    cluster.isolate(heir);
    cluster.messages.clear();
    cluster.stop(others[1]);
    cluster.start(others[1]).unwrap();
    cluster.node(primary).with(|shard, now, outputs| {
        let now_ns = now.monotonic_ns;
        shard.drive(now, outputs, |replica| replica.may_have_started(others[1], now_ns));
    });
    cluster.ticks(20).unwrap();
    assert!(cluster.node(primary).is(&State::Leading) && !cluster.node(primary).shard.is_handing_over());
    cluster.node(primary).say(session, "SET x new");
    cluster.node(primary).end_turn();
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n");
    assert_eq!(cluster.node(primary).replica().term(), term);
    cluster.ticks(20).unwrap();
    assert_eq!(cluster.node(primary).replica().term().0, term.0 + 1);
    assert_eq!(cluster.primary(), Some(primary));
}

/// The offer arrives after it was given up, while the old primary cannot begin a term of its own.
#[test]
fn an_offer_that_arrives_after_it_was_given_up_makes_no_read_stale() {
    let (mut cluster, old, session) = serving(3);
    let heir = transfer(&mut cluster, old, None).unwrap();
    let at = cluster.messages.iter().position(|(_, _, message)| message.name() == "timeout now").unwrap();
    let offer = cluster.messages.remove(at);
    // From here on the old primary is not told anything.
    cluster.isolate(old);
    cluster.ticks(8).unwrap();
    cluster.node(heir).receive(offer.0, offer.2);
    cluster.settle().unwrap();
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.primary(), Some(heir));
    let writer = cluster.node(heir).open();
    cluster.node(heir).say(writer, "SET x new");
    cluster.node(heir).end_turn();
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(heir).hear(writer), "+OK\r\n");
    for _ in 0..40 {
        cluster.node(old).say(session, "GET x");
        cluster.ticks(1).unwrap();
        assert!(!cluster.node(old).hear(session).contains("old"));
    }
}

/// Trap 5: to one that lags, or is not heard, or keeps no data.
#[test]
fn leadership_is_not_offered_to_one_that_is_not_heard() {
    let (mut cluster, primary, _) = serving(4);
    let others = cluster.others(primary);
    cluster.isolate(others[0]);
    cluster.ticks(14).unwrap();
    assert_eq!(transfer(&mut cluster, primary, Some(others[0])), Err(HandoverRefused::NoHeir));
    assert_eq!(transfer(&mut cluster, others[1], None), Err(HandoverRefused::NotPrimary));
    assert_eq!(transfer(&mut cluster, primary, None), Ok(others[1]));
}

/// It would drop the offer, and nobody would serve until that was given up.
#[test]
fn leadership_is_not_offered_to_one_that_has_only_just_started() {
    let (mut cluster, primary, session) = serving(10);
    let others = cluster.others(primary);
    cluster.ticks(30).unwrap();
    cluster.stop(others[0]);
    cluster.ticks(12).unwrap();
    cluster.start(others[0]).unwrap();
    cluster.ticks(4).unwrap();
    let refused = transfer(&mut cluster, primary, Some(others[0]));
    assert_eq!(refused, Err(HandoverRefused::TooFresh));
    assert_eq!(cluster.node(primary).ask(session, "GET x"), "$3\r\nold\r\n", "it goes on under its lease");
    cluster.ticks(30).unwrap();
    assert_eq!(transfer(&mut cluster, primary, Some(others[0])), Ok(others[0]));
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.primary(), Some(others[0]));
}

/// So quickly that no heartbeat was missed: its new connection tells.
#[test]
fn leadership_is_not_offered_to_one_that_has_started_between_two_heartbeats() {
    let (mut cluster, primary, _) = serving(12);
    let others = cluster.others(primary);
    cluster.ticks(30).unwrap();
    cluster.stop(others[0]);
    cluster.start(others[0]).unwrap();
    cluster.node(primary).with(|shard, now, outputs| {
        let now_ns = now.monotonic_ns;
        shard.drive(now, outputs, |replica| replica.may_have_started(others[0], now_ns));
    });
    cluster.ticks(4).unwrap();
    assert_eq!(transfer(&mut cluster, primary, Some(others[0])), Err(HandoverRefused::TooFresh));
    cluster.ticks(30).unwrap();
    assert_eq!(transfer(&mut cluster, primary, Some(others[0])), Ok(others[0]));
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.primary(), Some(others[0]));
}

#[test]
fn an_orderly_stop_hands_over_to_one_that_may_vote() {
    let (mut cluster, primary, _) = serving(11);
    let others = cluster.others(primary);
    cluster.ticks(30).unwrap();
    for fresh in [others[1], others[0]] {
        cluster.stop(fresh);
        cluster.ticks(12).unwrap();
        cluster.start(fresh).unwrap();
        cluster.ticks(4).unwrap();
    }
    // Nothing but the age of the two tells them apart; both have the whole log.
    assert_eq!(transfer(&mut cluster, primary, None), Err(HandoverRefused::TooFresh));
    cluster.ticks(12).unwrap();
    assert_eq!(transfer(&mut cluster, primary, None), Ok(others[1]));
    cluster.ticks(2).unwrap();
    assert_eq!(cluster.primary(), Some(others[1]));
}

/// Trap 14: a slow disk costs a follower nothing, and a primary its role.
#[test]
fn a_primary_with_a_slow_disk_yields_and_loses_nothing() {
    let (mut cluster, primary, session) = serving(5);
    cluster.node(primary).slow_disk = true;
    cluster.node(primary).say(session, "SET x slow");
    cluster.node(primary).end_turn();
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n", "two other disks are a majority");
    cluster.ticks(50).unwrap();
    let next = cluster.primary().expect("one of the two others");
    assert_ne!(next, primary);
    let reader = cluster.node(next).open();
    assert_eq!(cluster.node(next).ask(reader, "GET x"), "$4\r\nslow\r\n");
    // Slow as it is, it follows once the disk answers.
    cluster.node(primary).slow_disk = false;
    cluster.node(primary).sync();
    cluster.ticks(10).unwrap();
    assert!(cluster.node(primary).is(&State::Following));
}

#[test]
fn a_slow_follower_does_not_slow_a_commit() {
    let (mut cluster, primary, session) = serving(6);
    let slow = cluster.others(primary)[0];
    cluster.node(slow).slow_disk = true;
    for _ in 0..20 {
        cluster.node(primary).say(session, "INCR n");
        cluster.node(primary).end_turn();
        cluster.deliver_all().unwrap();
        assert!(cluster.node(primary).hear(session).starts_with(':'));
    }
    cluster.ticks(60).unwrap();
    assert_eq!(cluster.primary(), Some(primary));
}

#[test]
fn a_primary_whose_log_cannot_grow_yields() {
    let (mut cluster, primary, _) = serving(7);
    cluster.node(primary).with(|shard, now, _| shard.set_no_room(Some("disk full".into()), now));
    cluster.ticks(45).unwrap();
    let next = cluster.primary().expect("one with room");
    assert_ne!(next, primary);
}

#[test]
fn wait_counts_the_voters_that_hold_the_write() {
    let (mut cluster, primary, session) = serving(8);
    let others = cluster.others(primary);
    cluster.isolate(others[0]);
    cluster.node(primary).say(session, "SET x counted");
    cluster.node(primary).say(session, "WAIT 2 300");
    cluster.node(primary).end_turn();
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n");
    cluster.pass(TICK_NS).unwrap();
    assert_eq!(cluster.node(primary).hear(session), "");
    cluster.ticks(6).unwrap();
    assert_eq!(cluster.node(primary).hear(session), ":1\r\n", "one of two, at the deadline");
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    cluster.node(primary).say(session, "WAIT 2 0");
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(primary).hear(session), ":2\r\n");
    cluster.node(primary).say(session, "WAITAOF 1 2 0");
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(primary).hear(session), "*2\r\n:1\r\n:2\r\n");
    let on_replica = cluster.node(others[1]).open();
    cluster.node(others[1]).say(on_replica, "WAIT 1 0");
    cluster.ticks(1).unwrap();
    assert!(cluster.node(others[1]).hear(on_replica).starts_with("-ERR WAIT cannot be used"));
}

#[test]
fn info_and_role_tell_who_is_what_and_who_holds_what() {
    let (mut cluster, primary, session) = serving(9);
    let replica = cluster.others(primary)[0];
    cluster.ticks(4).unwrap();
    let committed = cluster.node(primary).replica().committed().0;
    let told = cluster.node(primary).ask(session, "INFO replication");
    assert!(told.contains("role:master\r\nconnected_slaves:2\r\n"), "{told}");
    assert!(told.contains(&format!("state=online,offset={committed},lag=0")), "{told}");
    let told = cluster.node(primary).ask(session, "INFO durability");
    assert!(told.contains("zones:3\r\nzones_needed_for_ok:2\r\nshard_role:primary\r\n"), "{told}");
    assert!(told.contains("lease_left_ms:") && told.contains("zone=z1,role=engine"), "{told}");
    let told = cluster.node(primary).ask(session, "ROLE");
    assert!(told.starts_with("*3\r\n$6\r\nmaster\r\n"), "{told}");
    let reader = cluster.node(replica).open();
    let told = cluster.node(replica).ask(reader, "INFO replication");
    let port = 7400 + cluster.voters.iter().position(|voter| *voter == primary).unwrap();
    assert!(told.contains("role:slave\r\nmaster_host:127.0.0.1\r\n"), "{told}");
    assert!(told.contains(&format!("master_port:{port}\r\nmaster_link_status:up\r\n")), "{told}");
    let told = cluster.node(replica).ask(reader, "ROLE");
    assert!(told.starts_with("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n"), "{told}");
}
