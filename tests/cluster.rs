//! Three zones as real processes: is every acknowledged write still there when zones die?
//!
//! The cluster is made and broken by `ramkeep dev`, as a user would. `RAMKEEP_ZONE_KILLS` sets how often the
//! primary's zone is killed under load (5 without it).
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use ramkeep_tests::cluster::{Cluster, ZONES, free_ports};
use ramkeep_tests::resp::Client;
use ramkeep_tests::server::{Program, fresh_folder};
use ramkeep_tests::tools::{self, printed};
use serde_json::Value as Json;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 6;

/// Writes new keys one after another, through whichever node answers; gives those that were acknowledged.
fn write(addresses: Vec<SocketAddr>, writer: usize, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut turn = writer;
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let Ok(mut client) = Client::connect(addresses[turn % addresses.len()]) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        client.set_patience(Duration::from_secs(3)).expect("a socket takes a timeout");
        while !stop.load(Ordering::Relaxed) {
            let key = format!("key:{writer}:{number}");
            number += 1;
            match client.call(&["SET", &key, &key]) {
                Ok(reply) if reply.text().as_deref() == Some("OK") => acknowledged.push(key),
                Ok(_) => {
                    thread::sleep(Duration::from_millis(10));
                    break;
                }
                Err(_) => break,
            }
        }
    }
    acknowledged
}

#[test]
fn the_primarys_zone_dies_under_load_and_no_acknowledged_write_is_lost() {
    let kills = tools::setting("RAMKEEP_ZONE_KILLS", 5);
    let cluster = Cluster::start();
    let stop = Arc::new(AtomicBool::new(false));
    let addresses: Vec<SocketAddr> = (0..ZONES.len()).map(|zone| cluster.address(zone)).collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (addresses, stop) = (addresses.clone(), Arc::clone(&stop));
            thread::spawn(move || write(addresses, writer, &stop))
        })
        .collect();
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(700));
        let killed = cluster.kill_primary();
        thread::sleep(Duration::from_millis(300));
        cluster.dev(&["start", &killed]);
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> =
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer does not panic")).collect();
    assert!(acknowledged.len() > 200, "the writers got on: {}", acknowledged.len());
    cluster.wait("a primary", || cluster.primary().is_some());
    let primary = cluster.primary().expect("somebody serves");
    let zone = ZONES.iter().position(|zone| *zone == primary).expect("a zone");
    let mut client = Client::connect(cluster.address(zone)).expect("a running server accepts connections");
    for key in &acknowledged {
        let found = client.call(&["GET", key]).expect("an answer").text();
        assert_eq!(found.as_deref(), Some(key.as_str()), "an acknowledged write is gone");
    }
    // Whoever was away has all of it.
    cluster.wait("all replicas catch up", || {
        cluster.status(zone).is_some_and(|(_, status)| {
            let nodes = status["nodes"].as_array().expect("nodes");
            let applied = |node: &Json| node["applied_position"].as_u64();
            nodes.iter().all(|node| applied(node).is_some() && applied(node) == applied(&nodes[0]))
        })
    });
}

/// Writes so many keys and checks that each is acknowledged; gives them.
fn write_some(cluster: &Cluster, name: &str, count: usize) -> Vec<String> {
    cluster.wait("somebody serves", || cluster.primary().is_some());
    let primary = cluster.primary().expect("somebody serves");
    let zone = ZONES.iter().position(|zone| *zone == primary).expect("a zone");
    let mut client = Client::connect(cluster.address(zone)).expect("a running server accepts connections");
    let keys: Vec<String> = (0..count).map(|number| format!("{name}:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]).expect("an answer").text().as_deref(), Some("OK"));
    }
    keys
}

/// Whether the zone's node votes again and no change of members is under way.
fn is_voter(cluster: &Cluster, zone: usize) -> bool {
    let status = cluster.status(zone).filter(|(has_quorum, _)| *has_quorum);
    status.is_some_and(|(_, status)| {
        let nodes = status["nodes"].as_array().expect("nodes");
        nodes.iter().all(|node| node["standing"] == "voter")
    })
}

#[test]
fn a_node_without_its_data_is_replaced_alone_and_then_each_of_the_others_may_die() {
    let cluster = Cluster::start();
    let mut keys = write_some(&cluster, "before", 300);
    // With a snapshot the log below is cut: the newcomer needs both.
    let mut client = Client::connect(cluster.address(0)).expect("a connection");
    assert_eq!(client.call(&["SAVE"]).expect("an answer").text().as_deref(), Some("OK"));
    cluster.dev(&["kill", "c"]);
    std::fs::remove_dir_all(cluster.data("c")).expect("the node's data are there to be deleted");
    keys.extend(write_some(&cluster, "without c", 300));
    cluster.dev(&["start", "c"]);
    cluster.wait("c is a voter again", || is_voter(&cluster, 2));
    keys.extend(write_some(&cluster, "with c", 100));
    for zone in ["a", "b"] {
        cluster.dev(&["kill", zone]);
        cluster.wait("another zone serves", || cluster.primary().is_some_and(|now| now != zone));
        keys.extend(write_some(&cluster, &format!("without {zone}"), 100));
        cluster.dev(&["start", zone]);
        cluster.wait("all are back", || is_voter(&cluster, 2));
        // Whoever was away has all of it before the next one goes.
        cluster.wait("all replicas catch up", || {
            cluster.status(2).is_some_and(|(_, status)| {
                let nodes = status["nodes"].as_array().expect("nodes");
                let applied = |node: &Json| node["applied_position"].as_u64();
                nodes.iter().all(|node| applied(node).is_some() && applied(node) == applied(&nodes[0]))
            })
        });
    }
    let mut client = Client::connect(cluster.address(2)).expect("a connection");
    for key in &keys {
        let found = client.call(&["GET", key]).expect("an answer").text();
        assert_eq!(found.as_deref(), Some(key.as_str()), "an acknowledged write is gone");
    }
}

#[test]
fn a_minority_refuses_and_any_node_takes_clients_to_the_primary() {
    let cluster = Cluster::start();
    for zone in 0..ZONES.len() {
        let mut client = Client::connect(cluster.address(zone)).expect("a connection");
        let key = format!("from:{zone}");
        assert_eq!(client.call(&["SET", &key, "1"]).expect("an answer").text().as_deref(), Some("OK"));
        assert_eq!(client.call(&["INCR", &key]).expect("an answer").integer(), Some(2));
    }
    let output = cluster.run(&["snapshot", "create", "--port", &cluster.port().to_string()]);
    assert!(output.status.success() && printed(&output).contains(": 3 keys"), "{}", printed(&output));
    let (_, status) = cluster.status(0).expect("an answer");
    assert!(status["nodes"][0]["snapshot_position"].as_u64() > Some(0), "{status}");
    let output = cluster.run(&["failover", "--port", &cluster.port().to_string(), "--to", "b"]);
    assert!(output.status.success() && printed(&output).contains("primary b;"), "{}", printed(&output));
    cluster.dev(&["partition", "b"]);
    cluster.wait("another zone serves", || cluster.primary().is_some_and(|now| now != "b"));
    cluster.dev(&["heal"]);
    for _ in 0..5 {
        // Killed means that its ports are free.
        cluster.dev(&["kill", "c"]);
        cluster.dev(&["start", "c"]);
    }
    // Who has only just started may not vote yet: that is waited for, and the primary serves meanwhile.
    for to in ["b", "c", "a", "b"] {
        cluster.dev(&["kill", to]);
        cluster.dev(&["start", to]);
        let output = cluster.run(&["failover", "--port", &cluster.port().to_string(), "--to", to]);
        let is_done = output.status.success() && printed(&output).contains(&format!("primary {to};"));
        assert!(is_done, "{}", printed(&output));
    }
    cluster.dev(&["kill", "b"]);
    cluster.dev(&["kill", "c"]);
    cluster.wait("the rest sees that it is a minority", || {
        cluster.status(0).is_some_and(|(has_quorum, _)| !has_quorum)
    });
    let told = cluster.run(&["status", "--json", "--port", &cluster.address(2).port().to_string()]);
    assert_eq!(told.status.code(), Some(1), "nobody answers: {}", printed(&told));
    let told: Json = serde_json::from_slice(&told.stdout).expect("JSON, whatever happens");
    assert!(told["error"].as_str().is_some_and(|why| why.contains("refused")), "{told}");
    let output = cluster.run(&["dev", "status"]);
    assert_eq!(output.status.code(), Some(1), "no quorum: {}", printed(&output));
    let mut client = Client::connect(cluster.address(0)).expect("a connection");
    client.set_patience(Duration::from_secs(10)).expect("a socket takes a timeout");
    let answer = client.call(&["SET", "alone", "1"]);
    assert!(answer.as_ref().map_or(true, |reply| reply.is_error()), "a minority wrote: {answer:?}");
    cluster.dev(&["kill", "a"]);
    let begun = Instant::now();
    let output = cluster.run(&["dev", "start", "a"]);
    assert!(output.status.success(), "it runs: {}", printed(&output));
    assert!(
        printed(&output).contains("zone a runs; no quorum yet: 1 of 3 nodes run\n"),
        "{}",
        printed(&output)
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody is waited for: {:?}", begun.elapsed());
    // One that waits for the others ends when it is asked to.
    cluster.dev(&["stop"]);
    cluster.dev(&["start", "a"]);
    cluster.dev(&["start", "b"]);
    cluster.wait("two zones serve again", || cluster.primary().is_some());
}

fn ok(client: &mut Client, words: &[&str]) {
    let answer = client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert_eq!(answer.text().as_deref(), Some("OK"), "{words:?}: {answer:?}");
}

fn named(cluster: &Cluster, zone: usize) -> Client {
    let mut client = Client::connect(cluster.address(zone)).expect("a connection");
    client.set_patience(PATIENCE).expect("a socket takes a timeout");
    ok(&mut client, &["SELECT", "3"]);
    ok(&mut client, &["CLIENT", "SETNAME", &format!("worker-{zone}")]);
    client
}

/// Longest wait for an answer that a change of primary may delay.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn idle_connections_outlive_their_primary_with_all_that_was_set() {
    let cluster = Cluster::start();
    let mut clients: Vec<Client> = (0..ZONES.len()).map(|zone| named(&cluster, zone)).collect();
    let mut counted = 0;
    for to in ["b", "c", "a", "b"] {
        let mut within = named(&cluster, 2);
        ok(&mut within, &["MULTI"]);
        let output = cluster.run(&["failover", "--port", &cluster.port().to_string(), "--to", to]);
        assert!(output.status.success(), "{}", printed(&output));
        for (zone, client) in clients.iter_mut().enumerate() {
            counted += 1;
            let count = client.call(&["INCR", "n"]).expect("the connection is still there").integer();
            assert_eq!(count, Some(counted), "in database 3 as before");
            let name = client.call(&["CLIENT", "GETNAME"]).expect("an answer").text();
            assert_eq!(name, Some(format!("worker-{zone}")));
        }
        assert!(within.call(&["EXEC"]).is_err(), "a transaction ends with its primary");
    }
    // Those of the other nodes also survive a primary that dies without a word, if they say nothing meanwhile.
    assert_eq!(cluster.kill_primary(), "b");
    for zone in [0, 2] {
        let count = clients[zone].call(&["INCR", "n"]).expect("the connection is still there").integer();
        assert!(count.is_some_and(|count| count > counted), "{count:?}");
    }
    assert!(clients[1].call(&["INCR", "n"]).is_err(), "it was connected to the very node");
}

#[test]
fn a_replica_is_as_fresh_as_its_reader_asks() {
    let cluster = Cluster::start();
    let mut writer = Client::connect(cluster.address(0)).expect("a connection");
    // What it says first is for the primary; READONLY takes it home to its own node.
    let mut reader = named(&cluster, 2);
    ok(&mut reader, &["SELECT", "0"]);
    ok(&mut reader, &["READONLY"]);
    ok(&mut reader, &["CLIENT", "READ-CONSISTENCY", "LINEARIZABLE"]);
    for number in 0..200 {
        let number = number.to_string();
        ok(&mut writer, &["SET", "k", &number]);
        let seen = reader.call(&["GET", "k"]).expect("an answer").text();
        assert_eq!(seen.as_deref(), Some(&*number), "acknowledged before the read");
    }
    let role = reader.call(&["ROLE"]).expect("an answer");
    let word = role.elements().and_then(|elements| elements[0].text());
    assert_eq!(word.as_deref(), Some("slave"), "it reads at the node that it connected to: {role:?}");
    cluster.dev(&["kill", "a"]);
    cluster.dev(&["kill", "b"]);
    let refused = reader.call(&["GET", "k"]).expect("an answer");
    assert!(refused.is_error(), "nobody can tell how fresh it is: {refused:?}");
    ok(&mut reader, &["CLIENT", "READ-CONSISTENCY", "EVENTUAL"]);
    assert_eq!(reader.call(&["GET", "k"]).expect("an answer").text().as_deref(), Some("199"));
}

#[test]
fn a_zone_that_stands_still_keeps_nobody_from_being_healed_or_asked() {
    let cluster = Cluster::start();
    cluster.dev(&["partition", "b"]);
    cluster.dev(&["partition", "c"]);
    cluster.dev(&["pause", "a"]);
    let output = cluster.run(&["dev", "heal"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("zone a could not be asked: timed out; all others are healed"), "{told}");
    cluster.wait("b and c serve", || cluster.run(&["dev", "status"]).status.success());
    let begun = Instant::now();
    assert!(cluster.run(&["dev", "status"]).status.success());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "the first zone is not waited for: {:?}",
        begun.elapsed()
    );
    cluster.dev(&["resume", "a"]);
    cluster.dev(&["heal"]);
}

#[test]
fn a_zone_is_healed_by_its_name_and_those_that_are_not_there_are_named() {
    let cluster = Cluster::start();
    let connected = |zone: usize, other: &str| {
        cluster.status(zone).is_some_and(|(_, status)| {
            let nodes = status["nodes"].as_array().expect("nodes");
            let own = nodes.iter().find(|node| node["node"] == status["asked"]).expect("its own");
            own["connected_to"].as_array().expect("names").iter().any(|name| name == other)
        })
    };
    cluster.dev(&["partition", "b"]);
    cluster.dev(&["partition", "c"]);
    cluster.dev(&["heal", "b"]);
    cluster.wait("a and b meet again", || connected(0, "b") && connected(1, "a"));
    assert!(!connected(2, "a") && !connected(2, "b"), "c is cut off still");
    cluster.dev(&["kill", "b"]);
    for (words, part) in [
        (&["dev", "heal"][..], "zone b does not run; all others are healed"),
        (&["dev", "heal", "b"], "zone b does not run"),
        (&["dev", "heal", "x"], "there is no zone 'x'; there are a, b, c"),
    ] {
        let output = cluster.run(words);
        let told = printed(&output);
        assert!(output.status.code() == Some(1) && told.contains(part), "{words:?}: {told}");
    }
    cluster.wait("a and c meet again", || connected(0, "c") && connected(2, "a"));
}

#[test]
fn a_cluster_that_was_stopped_goes_on_as_its_folder_says() {
    let cluster = Cluster::start();
    let keys = write_some(&cluster, "before", 10);
    for zone in ZONES {
        let facts = fs::metadata(cluster.data(zone).with_extension("conf")).expect("its configuration");
        assert_eq!(facts.permissions().mode() & 0o777, 0o600, "the secret is for nobody else");
    }
    cluster.dev(&["stop"]);
    for words in [&["dev", "--port", "26400"][..], &["dev", "--nodes", "5"], &["dev", "--log-only-zone", "a"]]
    {
        let output = cluster.run(words);
        let told = printed(&output);
        let holds = format!("holds a cluster of 3 nodes from port {} on:", cluster.port());
        assert!(output.status.code() == Some(1) && told.contains(&holds), "{words:?}: {told}");
    }
    cluster.dev(&[]);
    cluster.dev(&["--nodes", "3"]);
    let mut client = Client::connect(cluster.address(0)).expect("a running server accepts connections");
    for key in &keys {
        let found = client.call(&["GET", key]).expect("an answer").text();
        assert_eq!(found.as_deref(), Some(key.as_str()), "an acknowledged write is gone");
    }
}

#[test]
fn the_first_address_that_answers_is_asked_with_the_password_of_the_environment() {
    let cluster = Cluster::start();
    // The primary authenticates, whichever node was dialled.
    for zone in 0..ZONES.len() {
        let mut client = Client::connect(cluster.address(zone)).expect("a connection");
        ok(&mut client, &["CONFIG", "SET", "requirepass", "secret"]);
    }
    let at_b = cluster.address(1).to_string();
    let run = |word: &str, first: usize, password: &str| {
        let output = Command::new(Program::under_test().path)
            .args([word, "--port", &cluster.address(first).port().to_string(), "--at", &at_b])
            .env("RAMKEEP_PASSWORD", password)
            .output()
            .expect("the program starts");
        (output.status.success(), printed(&output))
    };
    let (is_done, told) = run("status", 1, "wrong");
    assert!(!is_done && told.contains("WRONGPASS"), "{told}");
    cluster.dev(&["pause", "c"]);
    let (is_done, told) = run("status", 2, "secret");
    assert!(is_done && told.contains("primary a;"), "c takes connections and says nothing: {told}");
    cluster.dev(&["resume", "c"]);
    cluster.dev(&["kill", "a"]);
    cluster.wait("another zone serves", || run("status", 0, "secret").0);
    cluster.wait("the role is handed over", || {
        let (is_done, told) = run("failover", 0, "secret");
        assert!(!told.contains("refused (os error"), "b answers: {told}");
        is_done
    });
    let port = cluster.port().to_string();
    let told = printed(&cluster.run(&["status", "--port", &port]));
    assert!(told.contains(&format!("127.0.0.1:{port}: ")), "one address, as it was given: {told}");
    cluster.dev(&["kill", "b"]);
    let (is_done, told) = run("status", 0, "secret");
    assert!(
        !is_done && told.contains(&format!("127.0.0.1:{port}, {at_b}: none of them answers (")),
        "{told}"
    );
}

#[test]
fn where_no_cluster_is_nothing_is_healed_or_stopped() {
    let folder = fresh_folder();
    for word in ["heal", "stop", "status"] {
        let output = Command::new(Program::under_test().path)
            .args(["dev", word, "--dir"])
            .arg(&folder)
            .output()
            .expect("the program starts");
        let told = printed(&output);
        assert!(output.status.code() == Some(1) && told.contains("there is no cluster in"), "{word}: {told}");
    }
}

#[test]
fn a_cluster_whose_port_is_taken_leaves_nothing_behind() {
    let port = free_ports();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).expect("it was free");
    let folder = fresh_folder();
    let output = Command::new(Program::under_test().path)
        .args(["dev", "--port", &port.to_string(), "--dir"])
        .arg(&folder)
        .output()
        .expect("the program starts");
    let told = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("port {} cannot be had", port + 1)), "{told}");
    assert!(!folder.join("a.conf").exists(), "another port may be tried");
    // A folder that was never made is no error.
    let _ = std::fs::remove_dir_all(folder);
    drop(taken);
}
