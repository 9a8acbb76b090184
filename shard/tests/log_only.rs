//! A voter that keeps the log and no data: it makes writes durable, and leads only to hand over.

use crate::common::cluster::{Cluster, id};
use ramkeep_shard::State;

#[test]
fn a_log_only_voter_acknowledges_and_serves_nothing() {
    let mut cluster = Cluster::with_log_only(3, 1, &[3]);
    let primary = cluster.elect().unwrap();
    assert_ne!(primary, id(3));
    let follower = cluster.others(primary).into_iter().find(|voter| *voter != id(3)).unwrap();
    cluster.stop(follower).unwrap().kill(false);
    let session = cluster.node(primary).open();
    cluster.node(primary).say(session, "SET x 1");
    cluster.node(primary).end_turn();
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(primary).hear(session), "+OK\r\n", "its disk and the log-only voter's");
    let reader = cluster.node(id(3)).open();
    assert!(cluster.node(id(3)).ask(reader, "GET x").starts_with("-NODATA"));
    assert!(cluster.node(id(3)).ask(reader, "READONLY").contains("OK"));
    assert!(cluster.node(id(3)).ask(reader, "GET x").starts_with("-NODATA"));
    assert!(cluster.node(id(3)).ask(reader, "INFO replication").contains("role:"));
    assert_eq!(
        cluster.node(id(3)).shard.engine.data.used_memory(),
        crate::common::model().engine.data.used_memory()
    );
}

/// Trap 6: only the log-only voter holds the last entry. It leads for a moment, feeds the other, and hands over.
#[test]
fn a_log_only_voter_with_the_longest_log_leads_briefly_and_nothing_is_lost() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_log_only(3, 10 + seed, &[3]);
        let primary = cluster.elect().unwrap();
        let behind = cluster.others(primary).into_iter().find(|voter| *voter != id(3)).unwrap();
        cluster.isolate(behind);
        let session = cluster.node(primary).open();
        cluster.node(primary).say(session, "SET x last");
        cluster.node(primary).end_turn();
        cluster.deliver_all().unwrap();
        assert_eq!(cluster.node(primary).hear(session), "+OK\r\n");
        cluster.stop(primary).unwrap().kill(false);
        cluster.messages.clear();
        cluster.cut.clear();
        let next = cluster.elect().unwrap();
        assert_eq!(next, behind);
        let reader = cluster.node(next).open();
        cluster.node(next).say(reader, "GET x");
        cluster.ticks(2).unwrap();
        assert_eq!(cluster.node(next).hear(reader), "$4\r\nlast\r\n", "seed {seed}");
        assert!(!cluster.node(id(3)).is(&State::Leading));
    }
}

/// Seed 10897 of a soak: a deposed primary had a longer tail than the log-only voter, whose entries were newer, and whoever
/// else had those was lost. Neither elected the other.
#[test]
fn a_long_tail_of_before_does_not_keep_a_log_only_voter_from_feeding_who_has_it() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_log_only(3, 300 + seed, &[3]);
        let primary = cluster.elect().unwrap();
        let next = cluster.others(primary).into_iter().find(|voter| *voter != id(3)).unwrap();
        cluster.isolate(primary);
        let session = cluster.node(primary).open();
        for number in 0..30 {
            cluster.node(primary).say(session, &format!("SET tail {number}"));
            cluster.node(primary).end_turn();
        }
        cluster.ticks(60).unwrap();
        assert_eq!(cluster.primary(), Some(next));
        let writer = cluster.node(next).open();
        cluster.node(next).say(writer, "SET x last");
        cluster.node(next).end_turn();
        cluster.deliver_all().unwrap();
        assert_eq!(cluster.node(next).hear(writer), "+OK\r\n");
        assert!(cluster.node(primary).replica().last() > cluster.node(next).replica().last());
        cluster.stop(next).unwrap().kill(false);
        cluster.messages.clear();
        cluster.cut.clear();
        assert_eq!(cluster.elect().unwrap(), primary, "seed {seed}");
        let reader = cluster.node(primary).open();
        cluster.node(primary).say(reader, "GET x");
        cluster.ticks(2).unwrap();
        assert_eq!(cluster.node(primary).hear(reader), "$4\r\nlast\r\n", "seed {seed}");
    }
}

/// The library panics when it would refuse a pre-vote while its own term is still zero.
#[test]
fn a_fresh_voter_asked_first_by_a_log_only_one_does_not_panic() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_log_only(3, 200 + seed, &[3]);
        // The log-only voter is the first whose time is up: the others stand still.
        cluster.paused.insert(id(1));
        cluster.paused.insert(id(2));
        for _ in 0..60 {
            cluster.pass(crate::common::cluster::TICK_NS).unwrap();
        }
        cluster.paused.clear();
        assert_ne!(cluster.elect().unwrap(), id(3));
    }
}

#[test]
fn a_log_only_voter_is_never_offered_leadership() {
    let mut cluster = Cluster::with_log_only(3, 3, &[3]);
    let primary = cluster.elect().unwrap();
    let other = cluster.others(primary).into_iter().find(|voter| *voter != id(3)).unwrap();
    let mut outcome = None;
    cluster
        .node(primary)
        .with(|shard, now, outputs| outcome = Some(shard.transfer(Some(id(3)), now, outputs).is_ok()));
    assert_eq!(outcome, Some(false));
    cluster.node(primary).with(|shard, now, outputs| {
        assert_eq!(shard.transfer(None, now, outputs), Ok(other));
    });
}

#[test]
fn with_equal_logs_the_one_that_keeps_the_data_leads() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_log_only(3, 100 + seed, &[2, 3]);
        assert_eq!(cluster.elect().unwrap(), id(1), "seed {seed}");
        // It dies: no data can be served, the log goes on being kept; it comes back and serves.
        cluster.stop(id(1)).unwrap().kill(true);
        cluster.ticks(60).unwrap();
        assert_eq!(cluster.primary(), None);
        cluster.start(id(1)).unwrap();
        assert_eq!(cluster.elect().unwrap(), id(1), "seed {seed}");
    }
}
