//! Members come and go while customers write: is every acknowledged write still there, and does a removed node say so?
//!
//! Real processes; the cluster is made by `ramkeep dev`, further nodes by their own configuration files, as an operator
//! would.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use ramkeep_tests::cluster::Cluster;
use ramkeep_tests::resp::Client;
use ramkeep_tests::server::{Program, free_port};
use ramkeep_tests::tools::printed;
use serde_json::Value as Json;
use std::cell::RefCell;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A node beside those of `ramkeep dev`, with a configuration file of its own.
struct Extra {
    name: &'static str,
    zone: &'static str,
    port: u16,
    peer_port: u16,
    child: Child,
}

impl Extra {
    /// Starts a node that waits to be added.
    fn start(cluster: &Cluster, name: &'static str, zone: &'static str) -> Extra {
        let (port, peer_port) = (free_port(), free_port());
        let folder = cluster.data(name);
        let like = fs::read_to_string(cluster.data("a").with_extension("conf")).expect("a's configuration");
        let kept = |line: &&str| {
            ["bind", "cluster-id", "peer-secret", "enable-debug", "member"]
                .iter()
                .any(|word| line.starts_with(word))
        };
        let mut text: String = like.lines().filter(kept).map(|line| format!("{line}\n")).collect();
        text += &format!(
            "port {port}\ndir \"{}\"\nnode-name {name}\njoin-cluster yes\n\
             member {name} {zone} engine 127.0.0.1:{peer_port} 127.0.0.1:{port}\n",
            folder.display()
        );
        let file = folder.with_extension("conf");
        fs::write(&file, text).expect("a folder of the test");
        let log = File::create(folder.with_extension("log")).expect("a folder of the test");
        let mut command = Command::new(Program::under_test().path);
        command.arg(file).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        Extra { name, zone, port, peer_port, child: command.spawn().expect("the program starts") }
    }

    /// Its `member` line.
    fn line(&self) -> [String; 5] {
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (peer, client) = (address(self.peer_port), address(self.port));
        [self.name.into(), self.zone.into(), "engine".into(), peer, client]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ramkeep member …` through zone b's node; whether it succeeded, and what it printed.
fn member(cluster: &Cluster, words: &[&str]) -> (bool, String) {
    let port = cluster.address(1).port().to_string();
    let output = cluster.run(&[&["member"], words, &["--port", &port, "--timeout", "60"]].concat());
    (output.status.success(), printed(&output))
}

fn members(cluster: &Cluster) -> Json {
    let port = cluster.address(1).port().to_string();
    let output = cluster.run(&["member", "list", "--json", "--port", &port]);
    serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
}

/// Adds the node once it waits.
fn come(cluster: &Cluster, words: &[&str], node: &Extra) -> String {
    let line = node.line();
    let words: Vec<&str> = words.iter().copied().chain(line.iter().map(String::as_str)).collect();
    let shown = RefCell::new(String::new());
    cluster.wait("the node is taken in", || {
        let (is_done, text) = member(cluster, &words);
        shown.replace(text);
        is_done
    });
    shown.into_inner()
}

/// Writes new keys one after another, through whichever node answers; gives those that were acknowledged.
fn write(addresses: Vec<SocketAddr>, writer: usize, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(addresses[number as usize % addresses.len()]) else {
            number += 1;
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        client.set_patience(Duration::from_secs(3)).expect("a socket takes a timeout");
        while !stop.load(Ordering::Relaxed) {
            let key = format!("key:{writer}:{number}");
            number += 1;
            match client.call(&["SET", &key, &key]) {
                Ok(reply) if reply.text().as_deref() == Some("OK") => acknowledged.push(key),
                _ => break,
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    acknowledged
}

#[test]
fn members_are_added_replaced_and_removed_under_load_and_nothing_acknowledged_is_lost() {
    let cluster = Cluster::start();
    let stop = Arc::new(AtomicBool::new(false));
    let addresses: Vec<SocketAddr> = (0..2).map(|zone| cluster.address(zone)).collect();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (addresses, stop) = (addresses.clone(), Arc::clone(&stop));
            thread::spawn(move || write(addresses, writer, &stop))
        })
        .collect();

    for (words, part) in [
        (&["remove", "c"][..], "less than three zones"),
        (&["remove", "x"], "there is no member 'x'; there are a, b, c"),
        (&["replace", "c"], "runs and holds data"),
        (&["add", "d", "d", "engine", "127.0.0.1:9", "127.0.0.1:8"], "does not answer at 127.0.0.1:9"),
        (&["add", "c", "c", "engine", "127.0.0.1:9", "127.0.0.1:8"], "exists already"),
    ] {
        let (is_done, text) = member(&cluster, words);
        assert!(!is_done && text.contains(part), "{words:?}: {text}");
    }

    let d = Extra::start(&cluster, "d", "d");
    let shown = come(&cluster, &["add"], &d);
    assert!(shown.contains("d votes for zone d") && shown.contains("4 voters bear no more"), "{shown}");
    let extra = Extra::start(&cluster, "d2", "d");
    let shown = come(&cluster, &["add"], &extra);
    assert!(shown.contains("d2 is a replica in zone d"), "{shown}");

    // Whoever votes for a zone goes; the zone's other member takes its place, in the same change.
    let (is_done, text) = member(&cluster, &["remove", "d"]);
    assert!(is_done && text.contains("d is no member any more"), "{text}");
    let listed = members(&cluster);
    let standing = |name: &str| {
        let all = listed["members"].as_array().expect("members");
        all.iter().find(|member| member["node"] == name).map(|member| member["standing"].clone())
    };
    assert_eq!((standing("d"), standing("d2")), (None, Some("voter".into())), "{listed}");
    let output = cluster.run(&["status", "--port", &d.port.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).starts_with("node d was removed or replaced"), "{}", printed(&output));
    cluster.wait("the node that was removed says so", || {
        let answer = Client::connect(d.address()).ok().and_then(|mut client| client.call(&["GET", "x"]).ok());
        answer.is_some_and(|answer| answer.to_string().contains("until it is a member again"))
    });
    let (is_done, text) = member(&cluster, &["remove", "d2"]);
    assert!(is_done, "{text}");

    // Another node takes a voter's place, then the primary's, which hands over first.
    let (e, f) = (Extra::start(&cluster, "e", "c"), Extra::start(&cluster, "f", "a"));
    assert!(come(&cluster, &["replace", "c"], &e).contains("e votes for zone c"));
    assert!(come(&cluster, &["replace", "a"], &f).contains("f votes for zone a"));
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> =
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer does not panic")).collect();
    assert!(acknowledged.len() > 200, "the writers got on: {}", acknowledged.len());

    // What is left of the founders may go too.
    cluster.dev(&["kill", "b"]);
    cluster.wait("the others serve", || {
        let answer =
            Client::connect(f.address()).ok().and_then(|mut client| client.call(&["SET", "last", "1"]).ok());
        answer.is_some_and(|answer| answer.text().as_deref() == Some("OK"))
    });
    for node in [&e, &f] {
        let mut client = Client::connect(node.address()).expect("a running server accepts connections");
        for key in &acknowledged {
            let found = client.call(&["GET", key]).expect("an answer").text();
            assert_eq!(found.as_deref(), Some(key.as_str()), "an acknowledged write is gone");
        }
    }
}

#[test]
fn a_node_is_taken_in_only_as_what_it_is_configured_to_be() {
    let cluster = Cluster::start();
    let e = Extra::start(&cluster, "e", "c");
    for (verb, zone, role) in [(&["add"][..], "zz", "engine"), (&["replace", "c"], "c", "log")] {
        let mut line = e.line();
        (line[1], line[2]) = (zone.into(), role.into());
        let words: Vec<&str> = verb.iter().copied().chain(line.iter().map(String::as_str)).collect();
        cluster.wait("the node waits, and is asked", || {
            let (is_done, text) = member(&cluster, &words);
            assert!(!is_done, "{words:?}: {text}");
            text.contains(&format!("of zone '{zone}' and role '{role}'"))
                && text.contains("its own configuration says zone 'c' and role 'engine'")
        });
    }
    let listed = members(&cluster);
    assert_eq!(listed["members"].as_array().map(Vec::len), Some(3), "nothing has changed: {listed}");
    assert!(come(&cluster, &["replace", "c"], &e).contains("e votes for zone c"));
    // Four member lines in its configuration, three voters in the cluster.
    cluster.wait("its banner counts those who vote", || {
        let printed = fs::read_to_string(cluster.data("e").with_extension("log")).expect("its log");
        printed.contains("every OK is on disk (fsync) in 2 of 3 zones")
    });
    cluster.dev(&["kill", "c"]);
    let output = cluster.run(&["dev", "start", "c"]);
    let told = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("zone c was replaced or removed, and serves nothing"), "{told}");
}

/// Writes so many keys through a node that serves; all are acknowledged.
fn write_some(cluster: &Cluster, name: &str, count: usize) -> Vec<String> {
    cluster.wait("somebody serves", || cluster.primary().is_some());
    let mut client = Client::connect(cluster.address(0)).expect("a running server accepts connections");
    let keys: Vec<String> = (0..count).map(|number| format!("{name}:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]).expect("an answer").text().as_deref(), Some("OK"));
    }
    keys
}

/// The incarnation under which the node votes, while no change is under way.
fn votes_as(cluster: &Cluster, name: &str) -> Option<u64> {
    let port = cluster.address(0).port().to_string();
    let output = cluster.run(&["member", "list", "--json", "--port", &port]);
    let listed: Json = serde_json::from_slice(&output.stdout).ok()?;
    let is_settled = listed["is_changing"] == false && listed["primary"].is_string();
    let member = listed["members"].as_array()?.iter().find(|member| member["node"] == name)?.clone();
    (is_settled && member["standing"] == "voter" && member["is_heard"] == true)
        .then(|| member["incarnation"].as_u64())?
}

fn quarantines(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).expect("a data directory").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("quarantine-")))
        .collect()
}

/// Turns a bit of an entry in the middle of the log; done twice it is as before.
fn flip(data: &Path) {
    let mut segments: Vec<PathBuf> = fs::read_dir(data)
        .expect("a data directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")))
        .collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).expect("a segment");
    let end = bytes.iter().rposition(|byte| *byte & 0xef != 0).expect("something was written");
    let at = (end / 2..end).find(|at| bytes[*at] & 0xef != 0).expect("something was written");
    bytes[at] ^= 0x10;
    fs::write(&segments[0], bytes).expect("a segment");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder of the test");
    for entry in fs::read_dir(from).expect("a data directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
}

/// Starts a node of `ramkeep dev` and does not wait for it.
fn start_without_waiting(cluster: &Cluster, name: &str) -> Child {
    let file = cluster.data(name).with_extension("conf");
    let log = File::options().append(true).open(file.with_extension("log")).expect("its log");
    let mut command = Command::new(Program::under_test().path);
    command.arg(file).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    command.spawn().expect("the program starts")
}

#[test]
fn damaged_and_outdated_directories_are_set_aside_and_two_of_three_wait() {
    let cluster = Cluster::start();
    let mut keys = write_some(&cluster, "first", 300);
    cluster.dev(&["kill", "c"]);
    let image = cluster.data("image");
    copy(&cluster.data("c"), &image);
    flip(&cluster.data("c"));
    cluster.dev(&["start", "c"]);
    cluster.wait("c votes under a new id", || votes_as(&cluster, "c") == Some(2));
    assert_eq!(quarantines(&cluster.data("c")).len(), 1);
    keys.extend(write_some(&cluster, "second", 100));

    // The directory that it had before it was replaced.
    cluster.dev(&["kill", "c"]);
    fs::remove_dir_all(cluster.data("c")).expect("the node's data");
    fs::rename(&image, cluster.data("c")).expect("the image");
    cluster.dev(&["start", "c"]);
    cluster.wait("c votes under the next id", || votes_as(&cluster, "c") == Some(3));
    assert_eq!(quarantines(&cluster.data("c")).len(), 1);
    keys.extend(write_some(&cluster, "third", 100));

    // Two of three: nobody is admitted, so nothing is moved.
    for zone in ["b", "c"] {
        cluster.dev(&["kill", zone]);
        flip(&cluster.data(zone));
    }
    let mut damaged = ["b", "c"].map(|zone| start_without_waiting(&cluster, zone));
    thread::sleep(Duration::from_secs(4));
    assert_eq!(cluster.primary(), None);
    assert_eq!(quarantines(&cluster.data("b")).len() + quarantines(&cluster.data("c")).len(), 1);
    // One of them is repaired by hand: the other is replaced.
    damaged[1].kill().expect("it runs");
    damaged[1].wait().expect("a child of ours can be waited for");
    flip(&cluster.data("c"));
    cluster.dev(&["start", "c"]);
    cluster.wait("b votes under a new id", || votes_as(&cluster, "b") == Some(2));
    assert_eq!(quarantines(&cluster.data("b")).len(), 1);
    let mut client = Client::connect(cluster.address(1)).expect("a running server accepts connections");
    for key in &keys {
        let found = client.call(&["GET", key]).expect("an answer").text();
        assert_eq!(found.as_deref(), Some(key.as_str()), "an acknowledged write is gone");
    }
    damaged[0].kill().expect("it runs");
    damaged[0].wait().expect("a child of ours can be waited for");
}
