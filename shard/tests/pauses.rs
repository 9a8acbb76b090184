//! Calls held up by CLIENT PAUSE, waits cut short by CLIENT UNBLOCK, and keys that go because memory is full.

use crate::common::Node;
use crate::common::cluster::{Cluster, TICK_NS};
use ramkeep_engine::session::SessionId;
use ramkeep_log::NodeId;

/// A primary and two clients of its.
fn serving(count: u32) -> (Cluster, NodeId, SessionId, SessionId) {
    let mut cluster = Cluster::new(count, 1);
    let primary = cluster.elect().unwrap();
    let node = cluster.node(primary);
    let (first, second) = (node.open(), node.open());
    (cluster, primary, first, second)
}

/// What the client has heard after a few ticks.
fn later(cluster: &mut Cluster, node: NodeId, session: SessionId) -> String {
    cluster.ticks(3).unwrap();
    cluster.node(node).hear(session)
}

fn set(node: &mut Node, name: &str, value: &str) {
    let engine = &mut node.shard.engine;
    assert!(engine.config.set(&[(name.as_bytes(), value.as_bytes())], true).is_ok(), "{name} {value}");
    engine.parameters_changed();
}

#[test]
fn a_paused_write_waits_with_all_that_stands_behind_it_and_is_executed_once() {
    let (mut cluster, primary, operator, client) = serving(3);
    assert_eq!(cluster.node(primary).ask(operator, "CLIENT PAUSE 600000 WRITE"), "+OK\r\n");
    cluster.node(primary).say(client, "GET k\r\nINCR k\r\nPING");
    cluster.node(primary).end_turn();
    assert_eq!(later(&mut cluster, primary, client), "$-1\r\n");
    let session = cluster.node(primary).shard.engine.sessions.get(client).unwrap();
    assert!(session.blocked.is_some(), "INFO and CLIENT LIST show it as blocked");
    assert_eq!(cluster.node(primary).ask(operator, "CLIENT UNBLOCK 2"), ":0\r\n", "a pause is not cut short");
    assert_eq!(cluster.node(primary).ask(operator, "CLIENT UNPAUSE"), "+OK\r\n");
    assert_eq!(later(&mut cluster, primary, client), ":1\r\n+PONG\r\n");
    assert_eq!(cluster.node(primary).ask(operator, "GET k"), "$1\r\n1\r\n");
}

#[test]
fn a_pause_ends_by_itself_and_holds_up_everything_if_it_is_for_all() {
    let (mut cluster, primary, operator, client) = serving(3);
    cluster.node(primary).ask(operator, "CLIENT PAUSE 5000");
    cluster.node(primary).say(client, "PING");
    assert_eq!(later(&mut cluster, primary, client), "");
    cluster.pass(5_000_000_000).unwrap();
    assert_eq!(later(&mut cluster, primary, client), "+PONG\r\n");
}

#[test]
fn nothing_expires_during_a_pause_and_a_key_past_its_deadline_reads_as_absent() {
    let (mut cluster, primary, operator, client) = serving(3);
    let node = cluster.node(primary);
    node.ask(client, "SET k v PX 100");
    node.ask(operator, "CLIENT PAUSE 600000 WRITE");
    cluster.pass(TICK_NS * 50).unwrap();
    assert!(later(&mut cluster, primary, client).ends_with("+OK\r\n"));
    let node = cluster.node(primary);
    assert_eq!(node.ask(client, "GET k"), "$-1\r\n");
    assert_eq!(node.shard.engine.data.stats.expired_keys, 0);
    node.ask(operator, "CLIENT UNPAUSE");
    cluster.ticks(3).unwrap();
    assert_eq!(cluster.node(primary).shard.engine.data.stats.expired_keys, 1);
}

/// The write behind UNPAUSE meets a key past its deadline, which it may delete again.
#[test]
fn a_write_in_the_same_batch_as_unpause_is_executed() {
    let (mut cluster, primary, operator, client) = serving(3);
    cluster.node(primary).ask(client, "SET k v PX 100");
    cluster.node(primary).ask(operator, "CLIENT PAUSE 600000 WRITE");
    cluster.pass(TICK_NS * 50).unwrap();
    cluster.ticks(2).unwrap();
    let node = cluster.node(primary);
    node.say(operator, "GET k\r\nCLIENT UNPAUSE\r\nAPPEND k w");
    node.tick();
    node.end_turn();
    assert_eq!(later(&mut cluster, primary, operator), "$-1\r\n+OK\r\n:1\r\n");
}

#[test]
fn unblocking_answers_as_at_the_deadline_or_with_an_error() {
    let (mut cluster, primary, operator, client) = serving(3);
    let id = client.0;
    for (reason, answer) in [
        ("", ":2\r\n"),
        ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ("TIMEOUT", ":2\r\n"),
    ] {
        cluster.node(primary).say(client, "SET k v\r\nWAIT 5 0");
        cluster.node(primary).end_turn();
        assert_eq!(later(&mut cluster, primary, client), "+OK\r\n");
        let unblock = format!("CLIENT UNBLOCK {id} {reason}");
        assert_eq!(cluster.node(primary).ask(operator, &unblock), ":1\r\n");
        assert_eq!(later(&mut cluster, primary, client), answer, "{reason}");
        assert_eq!(cluster.node(primary).ask(operator, &unblock), ":0\r\n", "it waits no more");
    }
}

#[test]
fn evictions_are_logged_bounded_and_followed_by_the_replicas() {
    let (mut cluster, primary, writer, _) = serving(3);
    for number in 0..600 {
        cluster.node(primary).say(writer, &format!("SET key:{number} {}", "v".repeat(40)));
        cluster.node(primary).end_turn();
        cluster.ticks(1).unwrap();
    }
    assert_eq!(cluster.node(primary).hear(writer), "+OK\r\n".repeat(600));
    let node = cluster.node(primary);
    let limit = node.shard.engine.data.used_memory() / 2;
    set(node, "maxmemory-policy", "allkeys-lru");
    set(node, "maxmemory", &limit.to_string());
    cluster.ticks(10).unwrap();
    cluster.compare().unwrap();
    let primary_data = &cluster.node(primary).shard.engine.data;
    let (used, evicted) = (primary_data.used_memory(), primary_data.stats.evicted_keys);
    assert!(used <= limit && evicted > 100, "{used} of {limit} bytes, {evicted} keys evicted");
    let digests: Vec<u128> = cluster.nodes.values().map(|node| node.digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "replicas follow");
    let others = cluster.others(primary);
    assert_eq!(cluster.node(others[0]).shard.engine.data.stats.evicted_keys, 0, "and never choose");
}
