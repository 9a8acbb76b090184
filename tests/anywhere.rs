//! Clients at any node of three: where their calls are executed, and how much they may send.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use ramkeep_tests::cluster::{Cluster, ZONES};
use ramkeep_tests::resp::{self, Client};
use std::time::Duration;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

fn ok(client: &mut Client, words: &[&str]) {
    let answer = client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert_eq!(answer.text().as_deref(), Some("OK"), "{words:?}: {answer:?}");
}

fn client_at(cluster: &Cluster, zone: usize) -> Client {
    let client = Client::connect(cluster.address(zone)).expect("a connection");
    client.set_patience(PATIENCE).expect("a socket takes a timeout");
    client
}

#[test]
fn what_is_about_a_node_is_answered_by_it_whatever_was_said_before() {
    let cluster = Cluster::start();
    for zone in 0..ZONES.len() {
        let mut client = client_at(&cluster, zone);
        ok(&mut client, &["CLIENT", "SETNAME", &format!("worker-{zone}")]);
        for round in 0..20 {
            ok(&mut client, &["SET", "k", "1"]);
            let port = client.call(&["CONFIG", "GET", "port"]).expect("an answer");
            let port = port.elements().and_then(|found| found[1].text());
            assert_eq!(port, Some(cluster.address(zone).port().to_string()), "round {round}");
            // Back at the primary everything is as it was.
            assert_eq!(client.call(&["GET", "k"]).expect("an answer").text().as_deref(), Some("1"));
            let name = client.call(&["CLIENT", "GETNAME"]).expect("an answer").text();
            assert_eq!(name, Some(format!("worker-{zone}")));
        }
        // Within a transaction it goes along with the rest.
        ok(&mut client, &["MULTI"]);
        for words in [&["INFO", "server"][..], &["INCR", "n"]] {
            assert_eq!(client.call(words).expect("an answer").text().as_deref(), Some("QUEUED"));
        }
        let done = client.call(&["EXEC"]).expect("an answer");
        assert_eq!(done.elements().map(<[_]>::len), Some(2), "{done:?}");
    }
}

/// More than the buffers of all sockets on the way hold, each way.
const CALLS: usize = 60_000;

#[test]
fn a_client_may_send_all_its_calls_before_it_reads_a_reply_at_any_node() {
    let cluster = Cluster::start();
    let value = "v".repeat(500);
    for zone in 0..ZONES.len() {
        let mut client = client_at(&cluster, zone);
        ok(&mut client, &["SET", "k", &value]);
        let call = resp::encode(&["GETRANGE", "k", "0", "499"]);
        let other = resp::encode(&["ECHO", &value]);
        client.send_raw(&[call, other].concat().repeat(CALLS / 2)).expect("all is taken");
        for number in 0..CALLS {
            let reply = client.read().expect("an answer").text();
            assert_eq!(reply.as_deref(), Some(&*value), "call {number} of zone {zone}");
        }
    }
}
