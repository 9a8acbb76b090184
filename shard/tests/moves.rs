//! Sessions that go on at another node: who leaves, when, and with what.

use crate::common::cluster::Cluster;
use ramkeep_engine::resp::Protocol;
use ramkeep_engine::session::{Peer, SessionId};
use ramkeep_log::NodeId;
use ramkeep_shard::State;

/// Three nodes that send sessions to the primary, which is the first of those given.
fn cluster(seed: u64) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::new(3, seed);
    cluster.moves_sessions = true;
    for voter in cluster.voters.clone() {
        cluster.stop(voter);
        cluster.start(voter).unwrap();
    }
    let primary = cluster.elect().unwrap();
    cluster.ticks(4).unwrap();
    let replica = cluster.others(primary)[0];
    (cluster, primary, replica)
}

fn leaves(cluster: &mut Cluster, node: NodeId, session: SessionId) -> bool {
    let node = cluster.node(node);
    std::mem::take(&mut node.leaving).contains(&session) && node.shard.leaves(session).is_some()
}

#[test]
fn a_call_for_the_primary_leaves_with_all_that_its_client_has_set() {
    let (mut cluster, primary, replica) = cluster(1);
    let session = cluster.node(replica).open();
    for call in ["SELECT 3", "CLIENT SETNAME worker", "CLIENT NO-TOUCH on", "PING"] {
        assert_eq!(
            cluster.node(replica).ask(session, call).len(),
            if call == "PING" { 7 } else { 5 },
            "{call}"
        );
        assert!(!leaves(&mut cluster, replica, session), "{call} is about the connection");
    }
    assert_eq!(cluster.node(replica).ask(session, "SET x moved"), "");
    assert!(leaves(&mut cluster, replica, session));
    let profile = cluster.node(replica).shard.leaves(session).unwrap();
    assert_eq!((profile.database, &*profile.name, profile.no_touch), (3, &b"worker"[..], true));
    // There it goes on as it was here.
    let node = cluster.node(primary);
    let now = node.now();
    let peer = Peer { address: "there:1".into(), local_address: "here:2".into() };
    let moved = node.shard.open_again(peer, profile, false, now);
    node.clients.insert(moved, Default::default());
    assert_eq!(node.ask(moved, "CLIENT GETNAME"), "$6\r\nworker\r\n");
    node.say(moved, "SET x moved");
    node.end_turn();
    cluster.ticks(4).unwrap();
    assert_eq!(cluster.node(primary).hear(moved), "+OK\r\n");
    let other = cluster.node(primary).open();
    assert_eq!(cluster.node(primary).ask(other, "EXISTS x"), ":0\r\n", "it was in database 3");
}

#[test]
fn a_protocol_goes_along() {
    let (mut cluster, primary, replica) = cluster(2);
    let session = cluster.node(replica).open();
    assert!(cluster.node(replica).ask(session, "HELLO 3").starts_with('%'));
    cluster.node(replica).ask(session, "GET nobody");
    let profile = cluster.node(replica).shard.leaves(session).expect("its call waits");
    assert_eq!(profile.protocol, Protocol::Resp3);
    let node = cluster.node(primary);
    let now = node.now();
    let peer = Peer { address: String::new(), local_address: String::new() };
    let moved = node.shard.open_again(peer, profile, false, now);
    node.clients.insert(moved, Default::default());
    assert_eq!(node.ask(moved, "GET nobody"), "_\r\n");
}

#[test]
fn a_transaction_begins_where_it_is_executed() {
    let (mut cluster, _, replica) = cluster(3);
    let session = cluster.node(replica).open();
    assert_eq!(cluster.node(replica).ask(session, "MULTI"), "");
    assert!(leaves(&mut cluster, replica, session));
}

#[test]
fn whoever_reads_here_stays_and_its_writes_are_refused() {
    let (mut cluster, _, replica) = cluster(4);
    let session = cluster.node(replica).open();
    cluster.node(replica).ask(session, "READONLY");
    assert_eq!(cluster.node(replica).ask(session, "GET x"), "$-1\r\n");
    assert!(cluster.node(replica).ask(session, "SET x 1").starts_with("-READONLY"));
    assert!(!leaves(&mut cluster, replica, session));
}

#[test]
fn a_session_without_a_primary_waits_and_leaves_once_there_is_one() {
    let (mut cluster, _, replica) = cluster(5);
    cluster.isolate(replica);
    cluster.ticks(40).unwrap();
    let session = cluster.node(replica).open();
    assert_eq!(cluster.node(replica).ask(session, "GET x"), "");
    assert!(!leaves(&mut cluster, replica, session), "nobody is known to lead");
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert!(cluster.primary().is_some_and(|primary| primary != replica));
    assert!(leaves(&mut cluster, replica, session));
}

#[test]
fn a_deposed_primary_keeps_idle_sessions_and_ends_those_within_a_transaction() {
    let (mut cluster, old, _) = cluster(6);
    let sessions: Vec<SessionId> = (0..3).map(|_| cluster.node(old).open()).collect();
    let [idle, watching, queueing] = sessions[..] else { unreachable!("three were opened") };
    cluster.node(old).ask(idle, "SELECT 1");
    cluster.node(old).ask(watching, "WATCH x");
    cluster.node(old).ask(queueing, "MULTI");
    cluster.isolate(old);
    cluster.ticks(40).unwrap();
    assert!(cluster.primary().is_some_and(|next| next != old));
    let node = cluster.node(old);
    assert!(node.clients[&watching].is_closed && node.clients[&queueing].is_closed);
    assert!(!node.clients[&idle].is_closed);
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert_eq!(cluster.node(old).ask(idle, "GET x"), "");
    assert!(leaves(&mut cluster, old, idle));
}

/// It saw time go back: answered by the primary while its replica, deposed before, read its data anew, and then again by the
/// replica, which was not that far yet.
#[test]
fn whoever_reads_at_a_replica_waits_there_while_it_reads_its_data_anew() {
    let (mut cluster, old, _) = cluster(6);
    cluster.node(old).slow_rebuild = true;
    let writer = cluster.node(old).open();
    cluster.isolate(old);
    cluster.node(old).say(writer, "SET x lost");
    cluster.node(old).end_turn();
    cluster.ticks(40).unwrap();
    let next = cluster.primary().expect("the two others elect one");
    let there = cluster.node(next).open();
    cluster.node(next).say(there, "SET x kept");
    cluster.node(next).end_turn();
    cluster.ticks(4).unwrap();
    cluster.cut.clear();
    cluster.ticks(20).unwrap();
    assert!(cluster.node(old).is(&State::Replaying), "it reads its data anew");
    let reader = cluster.node(old).open();
    assert_eq!(cluster.node(old).ask(reader, "READONLY"), "+OK\r\n");
    let other = cluster.node(old).open();
    for session in [reader, other] {
        assert_eq!(cluster.node(old).ask(session, "GET x"), "", "nobody answers it here yet");
    }
    assert!(
        cluster.node(old).shard.leaves(other).is_some(),
        "who asked for nothing else is taken to the primary"
    );
    assert!(!leaves(&mut cluster, old, reader));
    cluster.node(old).rebuild();
    cluster.ticks(20).unwrap();
    assert_eq!(cluster.node(old).hear(reader), "$4\r\nkept\r\n");
}
