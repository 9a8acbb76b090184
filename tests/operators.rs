//! What operators do to a running node: limits on memory, pauses, watching, moving its port, closing clients.
//!
//! Not here: what single commands answer (`differential`).
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::time::{Duration, Instant};

use ramkeep_tests::resp::{Client, Value, encode};
use ramkeep_tests::server::{Options, Server, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

fn start() -> Server {
    Server::start(Options::under_test().with(&["--enable-debug-command", "yes"]))
}

fn connect(server: &Server) -> Client {
    let client = server.client();
    client.set_patience(PATIENCE).expect("a fresh socket takes options");
    client
}

fn ask(client: &mut Client, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    client.call(&words).unwrap_or_else(|error| panic!("{command}: {error}")).to_string()
}

/// A number of INFO.
fn fact(client: &mut Client, name: &str) -> u64 {
    let text = client.call(&["INFO", "everything"]).expect("INFO is answered").text().expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in INFO"))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn memory_stays_at_its_limit_and_what_was_evicted_stays_away_after_kill_9() {
    let mut server = start();
    let mut client = connect(&server);
    assert_eq!(ask(&mut client, "CONFIG SET maxmemory 4mb maxmemory-policy allkeys-lru"), "OK");
    let value = "v".repeat(200);
    for batch in 0..100 {
        let keys: Vec<String> = (0..300).map(|number| format!("key:{batch}:{number}")).collect();
        let bytes: Vec<u8> = keys.iter().flat_map(|key| encode(&["SET", key, &value])).collect();
        client.send_raw(&bytes).expect("a running server takes commands");
        for key in &keys {
            assert_eq!(client.reply().expect("each SET is answered").text().as_deref(), Some("OK"), "{key}");
        }
        let used = fact(&mut client, "used_memory");
        assert!(used < (4 << 20) + (64 << 10), "{used} bytes");
    }
    assert!(fact(&mut client, "evicted_keys") > 10_000);
    let last = client.call(&["GET", "key:99:299"]).expect("GET is answered");
    assert_eq!(last.text(), Some(value), "the newest key is there");
    let digest = ask(&mut client, "DEBUG DIGEST");
    server.kill();
    server.start_again();
    assert_eq!(ask(&mut connect(&server), "DEBUG DIGEST"), digest);
}

#[test]
fn the_log_is_told_as_large_as_its_files_are() {
    let mut server = start();
    for _ in 0..3 {
        assert_eq!(ask(&mut connect(&server), "SET k v"), "OK");
        server.stop();
        server.start_again();
    }
    let files = |server: &Server| -> Vec<u64> {
        let all = std::fs::read_dir(server.folder()).expect("it is there").flatten();
        let segments = all.filter(|file| file.file_name().to_string_lossy().starts_with("log-"));
        segments.filter_map(|file| file.metadata().ok()).map(|facts| facts.len()).collect()
    };
    wait_until("both agree", || {
        let mut client = connect(&server);
        let told = (fact(&mut client, "log_segments"), fact(&mut client, "log_bytes"));
        let files = files(&server);
        told == (files.len() as u64, files.iter().sum())
    });
}

#[test]
fn a_lowered_limit_is_reached_without_writes_and_noeviction_refuses_them() {
    let server = start();
    let mut client = connect(&server);
    ask(&mut client, "DEBUG POPULATE 5000 key 100");
    let limit = fact(&mut client, "used_memory") / 2;
    ask(&mut client, &format!("CONFIG SET maxmemory-policy allkeys-random maxmemory {limit}"));
    wait_until("memory is below its limit", || fact(&mut client, "used_memory") <= limit);
    ask(&mut client, "CONFIG SET maxmemory-policy noeviction maxmemory 1");
    let refused = "(error) OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(ask(&mut client, "SET k v"), refused);
    assert_eq!(ask(&mut client, "DEL key:1 k").split(' ').next(), Some("(integer)"));
}

#[test]
fn clients_that_hold_too_much_are_closed() {
    let server = start();
    let (mut operator, mut greedy) = (connect(&server), connect(&server));
    ask(&mut operator, "CONFIG SET maxmemory-clients 1mb");
    // An argument that never ends.
    greedy.send_raw(b"*2\r\n$3\r\nGET\r\n$50000000\r\n").expect("a running server takes bytes");
    for _ in 0..64 {
        // The server may close at any of these.
        if greedy.send_raw(&[b'x'; 64 << 10]).is_err() {
            break;
        }
    }
    wait_until("the client is closed", || fact(&mut operator, "evicted_clients") == 1);
    assert!(greedy.reply().is_err(), "its connection has ended");
}

#[test]
fn a_client_that_does_not_read_is_closed_when_killed() {
    let server = start();
    let (mut operator, mut idle) = (connect(&server), connect(&server));
    ask(&mut operator, &format!("SET large {}", "x".repeat(4 << 20)));
    let id = ask(&mut idle, "CLIENT ID").replace("(integer) ", "");
    for _ in 0..8 {
        idle.send(&["GET", "large"]).expect("requests are small");
    }
    wait_until("replies wait for it", || {
        let list = ask(&mut operator, &format!("CLIENT LIST ID {id}"));
        list.contains("omem=") && !list.contains("omem=0 ")
    });
    assert_eq!(ask(&mut operator, &format!("CLIENT KILL ID {id}")), "(integer) 1");
    wait_until("it is gone", || !ask(&mut operator, "CLIENT LIST").contains(&format!("id={id} ")));
}

#[test]
fn paused_writes_wait_and_are_executed_once() {
    let server = start();
    let (mut operator, mut writer) = (connect(&server), connect(&server));
    assert_eq!(ask(&mut operator, "CLIENT PAUSE 600000 WRITE"), "OK");
    writer
        .send_raw(&[encode(&["GET", "n"]), encode(&["INCR", "n"]), encode(&["PING"])].concat())
        .expect("sent");
    assert!(writer.reply().expect("reads go on").is_null());
    wait_until("the writer waits", || fact(&mut operator, "blocked_clients") == 1);
    assert_eq!(ask(&mut operator, "GET n"), "(nil)");
    assert_eq!(ask(&mut operator, "CLIENT UNPAUSE"), "OK");
    assert_eq!(writer.reply().expect("the write goes on").integer(), Some(1));
    assert_eq!(writer.reply().expect("and what stands behind it").text().as_deref(), Some("PONG"));
    assert_eq!(ask(&mut operator, "CLIENT PAUSE 100"), "OK");
    assert_eq!(ask(&mut writer, "INCR n"), "(integer) 2", "a pause ends by itself");
}

#[test]
fn a_wait_is_cut_short() {
    let server = start();
    let (mut operator, mut waiting) = (connect(&server), connect(&server));
    let id = ask(&mut waiting, "CLIENT ID").replace("(integer) ", "");
    for (reason, answer) in
        [("TIMEOUT", "(integer) 0"), ("ERROR", "(error) UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        waiting.send(&["WAIT", "5", "0"]).expect("sent");
        wait_until("it waits", || fact(&mut operator, "blocked_clients") == 1);
        assert_eq!(ask(&mut operator, &format!("CLIENT UNBLOCK {id} {reason}")), "(integer) 1");
        assert_eq!(waiting.reply().expect("it is answered").to_string(), answer);
    }
}

#[test]
fn what_others_ask_for_can_be_watched() {
    let server = start();
    let (mut watcher, mut other) = (connect(&server), connect(&server));
    assert_eq!(ask(&mut watcher, "MONITOR"), "OK");
    other.send_raw(b"SET k \"a b\"\r\nAUTH default secret\r\nPING\r\n").expect("sent");
    for expected in [r#""SET" "k" "a b""#, r#""AUTH" "(redacted)" "(redacted)""#, r#""PING""#] {
        let line = watcher.reply().expect("a line for each command").text().expect("a status");
        assert!(line.ends_with(expected) && line.contains(" [0 127.0.0.1:"), "{line}");
    }
    assert_eq!(ask(&mut watcher, "GET k"), "(error) ERR Replica can't interact with the keyspace");
}

#[test]
fn the_port_moves_and_stays_where_it_was_when_it_cannot() {
    let server = start();
    let mut client = connect(&server);
    let other = Server::start(Options::under_test());
    let taken = ask(&mut client, &format!("CONFIG SET timeout 77 port {}", other.port()));
    assert!(taken.contains("argument 'port'") && taken.contains("Unable to listen on this port"), "{taken}");
    assert_eq!(ask(&mut client, "CONFIG GET timeout"), "1) \"timeout\"\n2) \"0\"", "all of it is taken back");
    assert_eq!(ask(&mut connect(&server), "PING"), "PONG");
    let port = free_port();
    assert_eq!(ask(&mut client, &format!("CONFIG SET port {port}")), "OK");
    assert_eq!(ask(&mut client, "PING"), "PONG", "connections stay");
    let mut moved = Client::connect(([127, 0, 0, 1], port).into()).expect("clients come in at the new port");
    assert_eq!(fact(&mut moved, "tcp_port"), u64::from(port));
    assert!(Client::connect(server.address()).is_err(), "and not at the old one");
    assert!(matches!(moved.call(&["SET", "k", "v"]), Ok(Value::Status(_))));
}

#[test]
fn a_second_sigterm_ends_a_node_that_stands_still() {
    let mut server = start();
    let mut client = connect(&server);
    client.send(&["DEBUG", "SLEEP", "20"]).expect("a running server takes commands");
    std::thread::sleep(Duration::from_millis(300));
    let pid = server.pid().expect("it runs").to_string();
    let terminate = || {
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill is part of every system").success());
        std::thread::sleep(Duration::from_millis(300));
    };
    terminate();
    assert!(server.is_running(), "the first asks for an orderly end");
    terminate();
    let begun = Instant::now();
    wait_until("the node has ended", || !server.is_running());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn strangers_take_a_part_of_the_places_only() {
    let server =
        Server::start(Options::under_test().with(&["--requirepass", "secret", "--maxclients", "100"]));
    let mut friend = connect(&server);
    assert_eq!(ask(&mut friend, "AUTH secret"), "OK");
    let mut strangers: Vec<Client> = Vec::new();
    // A quarter of the places, or 32; one address has half of them.
    wait_until("16 strangers are let in, and no more", || {
        let mut stranger = connect(&server);
        match stranger.call(&["PING"]) {
            Ok(answer) if answer.to_string().contains("NOAUTH") => strangers.push(stranger),
            Ok(answer) => {
                assert_eq!(answer.to_string(), "(error) ERR max number of clients reached");
                return true;
            }
            Err(_) => return true,
        }
        assert!(strangers.len() <= 16);
        false
    });
    assert!(strangers.len() >= 15, "{}", strangers.len());
    assert_eq!(ask(&mut friend, "PING"), "PONG");
    assert_eq!(ask(&mut strangers[0], "AUTH secret"), "OK");
    let mut next = connect(&server);
    assert_eq!(ask(&mut next, "AUTH secret"), "OK", "there is a place again");
    assert!(fact(&mut friend, "rejected_connections") >= 1);
}

#[test]
fn a_stranger_that_does_not_read_is_closed() {
    let server = Server::start(Options::under_test().with(&["--requirepass", "secret"]));
    let mut stranger = connect(&server);
    stranger.set_patience(Duration::from_secs(10)).expect("a socket takes a timeout");
    let calls = b"PING\r\n".repeat(100_000);
    let mut sent = 0;
    // Each is answered by 50 bytes; more than both sockets take waits for it.
    while sent < 100 && stranger.send_raw(&calls).is_ok() {
        sent += 1;
    }
    assert!(sent < 100, "it is not closed");
    let mut friend = connect(&server);
    assert_eq!(ask(&mut friend, "AUTH secret"), "OK");
}

#[test]
fn a_node_that_lets_in_everybody_says_so() {
    let open = Server::start(Options::under_test().with(&["--bind", "0.0.0.0", "--insecure", "yes"]));
    wait_until("the banner warns", || open.log_tail().contains("everybody who reaches this port"));
    let closed = Server::start(Options::under_test().with(&["--bind", "0.0.0.0", "--requirepass", "x"]));
    wait_until("the banner is there", || closed.log_tail().contains("redis://"));
    assert!(!closed.log_tail().contains("WARNING"));
}
