//! What reads rest on: the lease before and after the execution, rounds where there is none, and calls that wait for a
//! primary.

use crate::common::Node;
use crate::common::cluster::{TICK_NS, serving};
use ramkeep_engine::session::SessionId;
use ramkeep_shard::State;

fn hear(node: &mut Node, session: SessionId) -> String {
    node.hear(session)
}

#[test]
fn a_read_under_the_lease_is_answered_at_once() {
    let (mut cluster, primary, session) = serving(1);
    let sent = cluster.messages.len();
    assert_eq!(cluster.node(primary).ask(session, "GET x"), "$3\r\nold\r\n");
    cluster.settle().unwrap();
    assert_eq!(cluster.messages.len(), sent, "no message");
}

/// Trap 4: the process stands still between the execution and the reply.
#[test]
fn a_read_executed_before_a_stall_is_not_answered_when_another_was_elected_meanwhile() {
    let (mut cluster, old, session) = serving(2);
    cluster.node(old).stands_still = true;
    cluster.node(old).say(session, "GET x");
    assert!(cluster.node(old).is_still());
    cluster.paused.insert(old);
    cluster.messages.clear();
    cluster.ticks(60).unwrap();
    let next = cluster.primary().expect("the two others elect one");
    let writer = cluster.node(next).open();
    cluster.node(next).say(writer, "SET x new");
    cluster.node(next).end_turn();
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(next).hear(writer), "+OK\r\n");
    cluster.paused.clear();
    cluster.node(old).go_on();
    assert_eq!(hear(cluster.node(old), session), "", "the lease is over");
    cluster.ticks(4).unwrap();
    assert_eq!(hear(cluster.node(old), session), "");
    assert!(cluster.node(old).clients[&session].is_closed);
}

#[test]
fn a_read_executed_before_a_stall_is_answered_by_a_round_when_nobody_else_was_elected() {
    let (mut cluster, primary, session) = serving(3);
    cluster.ticks(1).unwrap();
    cluster.node(primary).stands_still = true;
    cluster.node(primary).say(session, "GET x");
    cluster.true_ns += 450_000_000;
    let now_ns = cluster.true_ns;
    cluster.node(primary).true_ns = now_ns;
    cluster.node(primary).go_on();
    assert_eq!(hear(cluster.node(primary), session), "");
    cluster.deliver_all().unwrap();
    assert_eq!(hear(cluster.node(primary), session), "$3\r\nold\r\n");
}

#[test]
fn without_a_lease_calls_wait_and_go_on_when_the_primary_is_heard_again() {
    let (mut cluster, primary, session) = serving(4);
    cluster.isolate(primary);
    cluster.ticks(9).unwrap();
    assert!(cluster.node(primary).is(&State::Leading), "it has not noticed yet");
    cluster.node(primary).say(session, "SET x new");
    cluster.node(primary).end_turn();
    assert_eq!(hear(cluster.node(primary), session), "");
    assert!(cluster.node(primary).is(&State::Leading));
    assert!(!cluster.node(primary).shard.has_open_turn() && !cluster.node(primary).shard.is_withholding());
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    let answer = hear(cluster.node(primary), session);
    let may_say = ["+OK\r\n", "-READONLY You can't write against a read only replica.\r\n"];
    assert!(may_say.contains(&answer.as_str()), "{answer:?}");
}

#[test]
fn a_call_that_finds_no_primary_is_refused_after_its_time_and_never_happens() {
    let (mut cluster, primary, session) = serving(5);
    for voter in cluster.voters.clone() {
        cluster.isolate(voter);
    }
    cluster.ticks(30).unwrap();
    cluster.node(primary).say(session, "INCR n\r\nGET x\r\nPING");
    cluster.ticks(39).unwrap();
    assert_eq!(hear(cluster.node(primary), session), "", "it waits for 2 s");
    cluster.ticks(2).unwrap();
    let answer = hear(cluster.node(primary), session);
    let refused = "-NOQUORUM There is no primary with a lease right now. Nothing was executed.\r\n";
    assert_eq!(answer, format!("{refused}{refused}+PONG\r\n"));
    // The next call waits again, and finds one.
    cluster.node(primary).say(session, "GET n");
    cluster.cut.clear();
    let next = cluster.elect().unwrap();
    cluster.ticks(4).unwrap();
    let answer = hear(cluster.node(primary), session);
    assert!(answer == "$-1\r\n" || next != primary && answer.starts_with("-READONLY"), "{answer:?}");
    let reader = cluster.node(next).open();
    assert_eq!(cluster.node(next).ask(reader, "GET n"), "$-1\r\n");
}

#[test]
fn what_tells_of_the_node_is_answered_without_a_quorum() {
    let (mut cluster, primary, session) = serving(6);
    cluster.isolate(primary);
    for _ in 0..50 {
        assert_eq!(cluster.node(primary).ask(session, "PING"), "+PONG\r\n");
        assert!(cluster.node(primary).ask(session, "INFO server").contains("redis_version"));
        assert!(cluster.node(primary).ask(session, "CONFIG GET unavailable-wait-ms").contains("2000"));
        assert_eq!(cluster.node(primary).ask(session, "MULTI"), "+OK\r\n");
        assert_eq!(cluster.node(primary).ask(session, "DISCARD"), "+OK\r\n");
        cluster.ticks(1).unwrap();
    }
}

#[test]
fn a_transaction_waits_for_a_primary_as_a_whole() {
    let (mut cluster, primary, session) = serving(7);
    cluster.node(primary).ask(session, "MULTI");
    cluster.node(primary).ask(session, "SET x new");
    cluster.isolate(primary);
    cluster.pass(9 * TICK_NS).unwrap();
    cluster.node(primary).say(session, "EXEC");
    cluster.node(primary).end_turn();
    assert!(!cluster.node(primary).shard.is_withholding());
    assert_eq!(hear(cluster.node(primary), session), "");
}

#[test]
fn more_waiting_calls_than_the_bound_are_refused_at_once() {
    let (mut cluster, primary, _) = serving(8);
    cluster.isolate(primary);
    cluster.pass(9 * TICK_NS).unwrap();
    let node = cluster.node(primary);
    let sessions: Vec<SessionId> = (0..=crate::common::HELD_CALLS_MAX).map(|_| node.open()).collect();
    let answers: Vec<String> = sessions.iter().map(|session| node.ask(*session, "GET x")).collect();
    assert!(answers[..crate::common::HELD_CALLS_MAX].iter().all(String::is_empty));
    assert!(answers[crate::common::HELD_CALLS_MAX].starts_with("-NOQUORUM"));
}

#[test]
fn a_replica_reads_what_is_committed_for_those_who_said_so() {
    let (mut cluster, primary, writer) = serving(9);
    cluster.ticks(4).unwrap();
    let replica = cluster.others(primary)[0];
    let session = cluster.node(replica).open();
    let node = cluster.node(replica);
    assert!(node.ask(session, "GET x").starts_with("-READONLY This node is a replica"));
    assert!(node.ask(session, "SET x 1").starts_with("-READONLY You can't write"));
    assert_eq!(node.ask(session, "READONLY"), "+OK\r\n");
    assert_eq!(node.ask(session, "GET x"), "$3\r\nold\r\n");
    assert!(node.ask(session, "SET x 1").starts_with("-READONLY You can't write"));
    // What is not committed is not there yet.
    cluster.isolate(primary);
    cluster.node(primary).say(writer, "SET x new");
    cluster.node(primary).end_turn();
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.node(replica).ask(session, "GET x"), "$3\r\nold\r\n");
    assert_eq!(cluster.node(replica).ask(session, "READWRITE"), "+OK\r\n");
    assert!(cluster.node(replica).ask(session, "GET x").starts_with("-READONLY"));
}

#[test]
fn a_replica_shows_no_key_past_its_deadline_and_deletes_none() {
    let (mut cluster, primary, writer) = serving(10);
    cluster.node(primary).say(writer, "SET x short PX 1000");
    cluster.node(primary).end_turn();
    cluster.ticks(4).unwrap();
    let replica = cluster.others(primary)[0];
    let session = cluster.node(replica).open();
    cluster.node(replica).ask(session, "READONLY");
    assert_eq!(cluster.node(replica).ask(session, "GET x"), "$5\r\nshort\r\n");
    cluster.isolate(replica);
    let digest = cluster.node(replica).digest();
    cluster.ticks(30).unwrap();
    assert_eq!(cluster.node(replica).ask(session, "GET x"), "$-1\r\n");
    assert_eq!(cluster.node(replica).digest(), digest);
    // The primary logs the deletion; then it goes here too.
    cluster.cut.clear();
    cluster.ticks(40).unwrap();
    assert_ne!(cluster.node(replica).digest(), digest);
}
