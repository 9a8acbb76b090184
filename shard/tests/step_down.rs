//! A primary that is deposed with changes not yet committed: what becomes of them, and what anybody sees of them.

use crate::common::cluster::Cluster;
use ramkeep_log::NodeId;
use ramkeep_shard::State;

/// A primary that executed `SET x new` over the committed `SET x old`, told the first two of `told` of it, and was cut
/// off before it heard an answer. Gives it, the two others, and its client.
fn cut_off_with_a_tail(
    seed: u64,
    told: usize,
) -> (Cluster, NodeId, Vec<NodeId>, ramkeep_engine::session::SessionId) {
    let mut cluster = Cluster::new(3, seed);
    let old = cluster.elect().unwrap();
    let session = cluster.node(old).open();
    cluster.node(old).say(session, "SET x old");
    cluster.node(old).end_turn();
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.node(old).hear(session), "+OK\r\n");
    let others = cluster.others(old);
    cluster.node(old).say(session, "SET x new");
    cluster.node(old).end_turn();
    cluster.settle().unwrap();
    // The append reaches `told` of the others; no answer comes back.
    for other in &others {
        cluster.cut.insert((*other, old));
    }
    for other in &others[told..] {
        cluster.cut.insert((old, *other));
    }
    cluster.deliver_all().unwrap();
    cluster.isolate(old);
    (cluster, old, others, session)
}

#[test]
fn a_tail_that_the_next_primary_commits_is_kept_without_a_rebuild() {
    let (mut cluster, old, others, session) = cut_off_with_a_tail(1, 2);
    assert_eq!(cluster.node(old).hear(session), "", "its own disk is no majority");
    cluster.ticks(40).unwrap();
    let next = cluster.primary().expect("the two others elect one");
    assert!(others.contains(&next));
    assert!(cluster.node(old).is(&State::Frozen));
    assert_eq!(cluster.node(old).hear(session), "");
    assert!(cluster.node(old).clients[&session].is_closed, "the outcome is unknown: only the end says so");
    let reader = cluster.node(next).open();
    assert_eq!(cluster.node(next).ask(reader, "GET x"), "$3\r\nnew\r\n");
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert!(cluster.node(old).is(&State::Following));
    assert_eq!(cluster.node(old).rebuilds, 0);
    let digest = cluster.node(next).digest();
    assert_eq!(cluster.node(old).digest(), digest);
}

#[test]
fn a_tail_that_is_overwritten_is_forgotten_by_a_rebuild() {
    let (mut cluster, old, _, session) = cut_off_with_a_tail(2, 0);
    cluster.ticks(40).unwrap();
    let next = cluster.primary().expect("the two others elect one");
    assert!(cluster.node(old).is(&State::Frozen));
    assert!(cluster.node(old).clients[&session].is_closed);
    let reader = cluster.node(next).open();
    assert_eq!(cluster.node(next).ask(reader, "GET x"), "$3\r\nold\r\n");
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert!(cluster.node(old).is(&State::Following));
    assert_eq!(cluster.node(old).rebuilds, 1);
    let digest = cluster.node(next).digest();
    assert_eq!(cluster.node(old).digest(), digest);
}

#[test]
fn a_frozen_replica_answers_no_data_and_a_read_of_the_tail_is_never_answered() {
    let (mut cluster, old, _, session) = cut_off_with_a_tail(3, 0);
    let reader = cluster.node(old).open();
    let bystander = cluster.node(old).open();
    cluster.node(old).say(reader, "GET x");
    assert_eq!(cluster.node(old).hear(reader), "", "the value is not committed");
    assert_eq!(cluster.node(old).ask(bystander, "GET y"), "$-1\r\n", "nothing uncommitted in it");
    cluster.ticks(40).unwrap();
    assert!(cluster.node(old).is(&State::Frozen));
    for gone in [session, reader] {
        assert_eq!(cluster.node(old).hear(gone), "");
        assert!(cluster.node(old).clients[&gone].is_closed);
    }
    assert!(!cluster.node(old).clients[&bystander].is_closed, "nothing of its was unknown");
    assert!(cluster.node(old).ask(bystander, "INFO replication").contains("role:"));
    cluster.node(old).say(bystander, "GET x");
    cluster.ticks(4).unwrap();
    let answer = cluster.node(old).hear(bystander);
    assert!(!answer.contains("new") && !answer.contains("old"), "{answer:?}");
}

#[test]
fn a_tail_partly_kept_and_partly_overwritten_is_rebuilt_with_the_part_that_was_kept() {
    let (mut cluster, old, others, session) = cut_off_with_a_tail(4, 1);
    // More of the tail, which nobody hears of.
    assert!(!cluster.node(old).clients[&session].is_closed);
    let second = cluster.node(old).open();
    cluster.node(old).say(second, "SET y lost");
    cluster.node(old).end_turn();
    cluster.settle().unwrap();
    cluster.messages.clear();
    cluster.ticks(60).unwrap();
    // Only the one that holds the first part can lead.
    assert_eq!(cluster.primary(), Some(others[0]));
    let reader = cluster.node(others[0]).open();
    assert_eq!(cluster.node(others[0]).ask(reader, "GET x"), "$3\r\nnew\r\n");
    assert_eq!(cluster.node(others[0]).ask(reader, "SET z after"), "");
    cluster.ticks(2).unwrap();
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert_eq!(cluster.node(old).rebuilds, 1);
    assert!(cluster.node(old).is(&State::Following));
    let digest = cluster.node(others[0]).digest();
    assert_eq!(cluster.node(old).digest(), digest);
}

#[test]
fn a_deposed_primary_that_leads_again_with_its_tail_goes_on() {
    let mut cluster = Cluster::new(3, 5);
    let old = cluster.elect().unwrap();
    let session = cluster.node(old).open();
    cluster.node(old).ask(session, "SET x old");
    cluster.ticks(4).unwrap();
    cluster.isolate(old);
    cluster.node(old).ask(session, "SET x new");
    // It loses its role, and is heard again before the others have elected one.
    while !cluster.node(old).is(&State::Frozen) {
        cluster.pass(10_000_000).unwrap();
        cluster.messages.clear();
    }
    cluster.cut.clear();
    cluster.ticks(100).unwrap();
    let primary = cluster.elect().unwrap();
    let digest = cluster.node(primary).digest();
    assert_eq!(cluster.node(old).digest(), digest);
    // A log with one more entry wins the votes of the others, if it asks for them.
    if primary == old {
        let reader = cluster.node(old).open();
        assert_eq!(cluster.node(old).ask(reader, "GET x"), "$3\r\nnew\r\n");
        assert_eq!(cluster.node(old).rebuilds, 0);
    }
}
