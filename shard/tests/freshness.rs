//! Reads on a replica for clients that say how old they may be.

use crate::common::cluster::{Cluster, TICK_NS};
use ramkeep_engine::session::SessionId;
use ramkeep_log::NodeId;
use ramkeep_shard::Moment;

/// Three nodes; `x` is `old` everywhere. Gives the primary, a replica, a writer there and a careful reader here.
fn serving(seed: u64, consistency: &str) -> (Cluster, NodeId, NodeId, SessionId, SessionId) {
    let mut cluster = Cluster::new(3, seed);
    let primary = cluster.elect().unwrap();
    let writer = cluster.node(primary).open();
    write(&mut cluster, primary, writer, "SET x old");
    let replica = cluster.others(primary)[0];
    let reader = cluster.node(replica).open();
    assert_eq!(cluster.node(replica).ask(reader, "READONLY"), "+OK\r\n");
    let call = format!("CLIENT READ-CONSISTENCY {consistency}");
    assert_eq!(cluster.node(replica).ask(reader, &call), "+OK\r\n");
    (cluster, primary, replica, writer, reader)
}

fn write(cluster: &mut Cluster, primary: NodeId, writer: SessionId, call: &str) {
    cluster.node(primary).say(writer, call);
    cluster.node(primary).end_turn();
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.node(primary).hear(writer), "+OK\r\n");
}

/// What the primary tells of now.
fn moment(cluster: &mut Cluster, primary: NodeId) -> Option<Moment> {
    let mut told = None;
    cluster.node(primary).with(|shard, now, outputs| told = shard.moment(now, outputs));
    told
}

/// Carries the replica's questions to the primary and the answers back.
fn answer(cluster: &mut Cluster, primary: NodeId, replica: NodeId) {
    for question in std::mem::take(&mut cluster.node(replica).questions) {
        let Some(moment) = moment(cluster, primary) else { continue };
        cluster.node(replica).with(|shard, now, outputs| shard.moment_told(question, moment, now, outputs));
    }
    // Calls that waited are fed again.
    cluster.ticks(1).unwrap();
}

#[test]
fn a_linearizable_read_sees_what_was_acknowledged_before_it() {
    let (mut cluster, primary, replica, writer, reader) = serving(21, "LINEARIZABLE");
    // The replica does not hear of the write.
    cluster.cut.insert((primary, replica));
    write(&mut cluster, primary, writer, "SET x new");
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "", "it waits");
    answer(&mut cluster, primary, replica);
    assert_eq!(cluster.node(replica).hear(reader), "", "the answer is ahead of what is applied");
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    assert_eq!(cluster.node(replica).hear(reader), "$3\r\nnew\r\n");
}

#[test]
fn each_read_rests_on_a_question_that_was_asked_after_it() {
    let (mut cluster, primary, replica, writer, first) = serving(22, "LINEARIZABLE");
    let second = cluster.node(replica).open();
    cluster.node(replica).ask(second, "READONLY");
    cluster.node(replica).ask(second, "CLIENT READ-CONSISTENCY LINEARIZABLE");
    assert_eq!(cluster.node(replica).ask(first, "GET x"), "");
    let early = moment(&mut cluster, primary).expect("it leads");
    cluster.cut.insert((primary, replica));
    write(&mut cluster, primary, writer, "SET x new");
    // This read comes after the write was acknowledged; the first question was answered before.
    assert_eq!(cluster.node(replica).ask(second, "GET x"), "");
    let questions = std::mem::take(&mut cluster.node(replica).questions);
    assert_eq!(questions.len(), 1, "one question at a time");
    cluster.node(replica).with(|shard, now, outputs| shard.moment_told(questions[0], early, now, outputs));
    cluster.ticks(1).unwrap();
    assert_eq!(cluster.node(replica).hear(first), "$3\r\nold\r\n");
    assert_eq!(cluster.node(replica).hear(second), "");
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    answer(&mut cluster, primary, replica);
    assert_eq!(cluster.node(replica).hear(second), "$3\r\nnew\r\n");
}

/// The deadline that the replica knows is over, and the primary has taken it away without the majority that would tell of
/// it: the key is there afterwards, so nobody may be told that it is not.
#[test]
fn a_linearizable_read_waits_for_a_change_of_the_deadline_that_is_under_way() {
    let (mut cluster, primary, replica, writer, reader) = serving(27, "LINEARIZABLE");
    write(&mut cluster, primary, writer, "SET k v PX 450");
    cluster.ticks(2).unwrap();
    cluster.isolate(primary);
    cluster.node(primary).say(writer, "PERSIST k");
    cluster.node(primary).end_turn();
    cluster.pass(4 * TICK_NS).unwrap();
    assert_eq!(cluster.node(replica).ask(reader, "GET k"), "", "it waits");
    answer(&mut cluster, primary, replica);
    assert_eq!(cluster.node(replica).hear(reader), "", "the answer is ahead of what is committed");
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    assert_eq!(cluster.node(primary).hear(writer), ":1\r\n");
    assert_eq!(cluster.node(replica).hear(reader), "$1\r\nv\r\n");
}

#[test]
fn without_an_answer_a_careful_read_is_refused_and_an_eventual_one_is_not() {
    let (mut cluster, _, replica, _, reader) = serving(23, "LINEARIZABLE");
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "");
    assert_eq!(cluster.node(replica).hear(reader), "");
    cluster.ticks(45).unwrap();
    assert!(cluster.node(replica).hear(reader).starts_with("-NOQUORUM"), "2 s are over");
    assert!(cluster.node(replica).questions.len() > 1, "it asked again meanwhile");
    cluster.node(replica).ask(reader, "CLIENT READ-CONSISTENCY EVENTUAL");
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "$3\r\nold\r\n");
}

#[test]
fn a_bounded_read_asks_only_when_the_last_answer_is_too_old() {
    let (mut cluster, primary, replica, _, reader) = serving(24, "BOUNDED 500");
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "", "nothing is proved yet");
    answer(&mut cluster, primary, replica);
    assert_eq!(cluster.node(replica).hear(reader), "$3\r\nold\r\n");
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "$3\r\nold\r\n");
    cluster.ticks(11).unwrap();
    assert_eq!(cluster.node(replica).ask(reader, "GET x"), "");
    answer(&mut cluster, primary, replica);
    assert_eq!(cluster.node(replica).hear(reader), "$3\r\nold\r\n");
}

#[test]
fn a_primary_without_its_lease_tells_no_moment() {
    let (mut cluster, primary, _, _, _) = serving(25, "LINEARIZABLE");
    assert!(moment(&mut cluster, primary).is_some());
    cluster.isolate(primary);
    cluster.pass(40 * TICK_NS).unwrap();
    assert_eq!(moment(&mut cluster, primary), None);
}

#[test]
fn at_the_primary_every_read_is_as_fresh_as_asked() {
    let (mut cluster, primary, _, writer, _) = serving(26, "LINEARIZABLE");
    cluster.node(primary).ask(writer, "READONLY");
    cluster.node(primary).ask(writer, "CLIENT READ-CONSISTENCY LINEARIZABLE");
    assert_eq!(cluster.node(primary).ask(writer, "GET x"), "$3\r\nold\r\n");
    for bad in ["LINEAR", "BOUNDED", "BOUNDED x", "BOUNDED -1", "EVENTUAL 1"] {
        let call = format!("CLIENT READ-CONSISTENCY {bad}");
        assert!(cluster.node(primary).ask(writer, &call).starts_with("-ERR"), "{bad}");
    }
}
