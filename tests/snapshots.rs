//! Do snapshots bring everything back, keep the log short, and load into other servers?
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ramkeep_tests::resp::Client;
use ramkeep_tests::server::{Options, Program, Server};
use ramkeep_tests::tools;

fn options() -> Options {
    Options::under_test().with(&["--segment-size-bytes", "1mb", "--enable-debug-command", "yes"])
}

fn text(client: &mut Client, words: &[&str]) -> String {
    client.call(words).expect("the server answers").text().expect("a text")
}

/// Makes a snapshot by this command, after one that the server may be making by itself.
fn save(client: &mut Client, words: &[&str]) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let reply = client.call(words).expect("the server answers");
        if !reply.is_error() || Instant::now() > until {
            assert_eq!(reply.text().as_deref(), Some("OK"), "{words:?}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Strings of several encodings, a large one, hashes, deadlines, two databases.
fn fill(client: &mut Client, count: usize) {
    for number in 0..count {
        let key = format!("key:{number}");
        let value = "value".repeat(number % 300);
        let words = match number % 4 {
            0 => vec!["SET".to_owned(), key, value],
            1 => vec!["SET".to_owned(), key, number.to_string()],
            2 => vec!["HSET".to_owned(), key, "a".into(), value, "b".into(), "-7".into()],
            _ => vec!["SET".to_owned(), key, value, "EX".into(), "100000".into()],
        };
        client.send(&words).expect("the server takes it");
    }
    for _ in 0..count {
        assert!(!client.reply().expect("an answer").is_error());
    }
    for words in [
        vec!["SETRANGE", "large", "300000", "end"],
        vec!["SELECT", "3"],
        vec!["SET", "other", "database"],
        vec!["SELECT", "0"],
    ] {
        assert!(!client.call(&words).expect("an answer").is_error());
    }
}

fn snapshots(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.folder()).expect("the data folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rdb"));
    paths.sort();
    paths
}

#[test]
fn a_snapshot_and_the_log_after_it_bring_everything_back() {
    let mut server = Server::start(options().with(&["--snapshot-log-bytes", "2mb"]));
    let mut client = server.client();
    fill(&mut client, 20_000);
    save(&mut client, &["SAVE"]);
    fill(&mut client, 3_000);
    save(&mut client, &["DEBUG", "RELOAD"]);
    fill(&mut client, 1_000);
    let digest = text(&mut client, &["DEBUG", "DIGEST"]);
    let segments = fs::read_dir(server.folder())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("log-"));
    assert!(segments.count() <= 8, "the log is cut below the snapshots");
    server.kill();
    server.start_again();
    let mut client = server.client();
    assert_eq!(text(&mut client, &["DEBUG", "DIGEST"]), digest);
    let kept = snapshots(&server);
    assert!((1..=2).contains(&kept.len()), "{kept:?}");
}

#[test]
fn a_damaged_snapshot_is_refused_and_nothing_is_changed() {
    let mut server = Server::start(options());
    let mut client = server.client();
    fill(&mut client, 20_000);
    assert_eq!(text(&mut client, &["SAVE"]), "OK");
    server.stop();
    let path = snapshots(&server).pop().expect("SAVE made one");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 4;
    fs::write(&path, &bad).unwrap();
    let program = Program::under_test().path;
    let run = |words: &[&str]| {
        std::process::Command::new(&program).args(words).arg(server.folder()).output().expect("it runs")
    };
    let verified = run(&["snapshot", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", tools::printed(&verified));
    let empty = server.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    let snapshot = |word: &str, json: &[&str]| {
        let mut command = std::process::Command::new(&program);
        let output = command.args(["snapshot", word]).args(json).arg(&empty).output().expect("it runs");
        (output.status.code(), tools::printed(&output))
    };
    for (word, json) in [("verify", &[][..]), ("list", &[]), ("verify", &["--json"]), ("list", &["--json"])] {
        let (code, told) = snapshot(word, json);
        assert!(code == Some(1) && told.contains("is no data directory"), "{word}: {told}");
    }
    fs::copy(server.folder().join("identity"), empty.join("identity")).unwrap();
    let (code, told) = snapshot("verify", &[]);
    assert!(code == Some(1) && told.contains("no snapshot in ") && told.contains("nothing was"), "{told}");
    let (code, told) = snapshot("list", &[]);
    assert!(code == Some(0) && told.contains("no snapshot in "), "{told}");
    fs::remove_dir_all(&empty).unwrap();
    for word in ["verify", "list"] {
        let (code, told) = snapshot(word, &[]);
        assert!(code == Some(1) && told.contains("empty: "), "{word} of nothing: {told}");
    }
    let output = std::process::Command::new(&program)
        .args(["--port", &server.port().to_string(), "--dir"])
        .arg(server.folder())
        .output()
        .expect("it runs, and ends");
    let printed = tools::printed(&output);
    assert!(
        !output.status.success() && printed.contains("nothing here holds what stands between"),
        "{printed}"
    );
    fs::write(&path, &good).unwrap();
    assert!(run(&["snapshot", "verify"]).status.success());
    server.start_again();
    assert_eq!(server.client().call(&["DBSIZE"]).unwrap().integer(), Some(20_001));
}

#[test]
fn redis_and_valkey_load_a_snapshot() {
    let server = Server::start(options().with(&["--rdbcompression", "yes"]));
    let mut client = server.client();
    fill(&mut client, 4_000);
    assert_eq!(text(&mut client, &["SAVE"]), "OK");
    let snapshot = snapshots(&server).pop().expect("SAVE made one");
    for name in ["redis-server", "valkey-server"] {
        let Some(path) = tools::program(name) else {
            tools::skip("redis_and_valkey_load_a_snapshot", &format!("{name} is not installed"));
            continue;
        };
        let mut other = Server::start(Options::of(Program { path }));
        other.kill();
        fs::copy(&snapshot, other.folder().join("dump.rdb")).unwrap();
        other.start_again();
        let mut theirs = other.client();
        let deadline = Instant::now() + Duration::from_secs(10);
        while theirs.call(&["DBSIZE"]).unwrap().is_error() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        for words in [
            &["DBSIZE"][..],
            &["STRLEN", "large"],
            &["GET", "key:400"],
            &["GET", "key:401"],
            &["HGET", "key:402", "a"],
            &["HLEN", "key:402"],
            &["PEXPIRETIME", "key:403"],
            &["GETRANGE", "large", "299990", "-1"],
        ] {
            let expected = client.call(words).unwrap();
            assert_eq!(theirs.call(words).unwrap(), expected, "{name}: {words:?}");
        }
    }
}
