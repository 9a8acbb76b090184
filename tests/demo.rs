//! Does `ramkeep demo` show what it promises, and does it notice a server that loses?
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use ramkeep_tests::cluster::free_ports;
use ramkeep_tests::server::{Options, Program, Server, fresh_folder};
use ramkeep_tests::tools::{printed, program, skip};
use serde_json::Value as Json;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn demo(folder: &Path, words: &[&str]) -> Child {
    Command::new(Program::under_test().path)
        .arg("demo")
        .args(words)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn against(folder: &Path, server: &Server, seconds: &str) -> Child {
    demo(folder, &["--seconds", seconds, "--against", &format!("redis://127.0.0.1:{}", server.port())])
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("a child of ours can be waited for")
}

/// The number behind a word of the last lines.
fn number(text: &str, word: &str) -> u64 {
    let line =
        text.lines().rfind(|line| line.contains("   LOST ")).unwrap_or_else(|| panic!("no summary: {text}"));
    let (_, rest) = line.split_once(&format!("{word} ")).unwrap_or_else(|| panic!("no {word}: {line}"));
    let (number, _) = rest.split_once("   ").unwrap_or((rest, ""));
    number.replace(' ', "").parse().unwrap_or_else(|_| panic!("no number behind {word}: {line}"))
}

#[test]
fn zones_die_and_nothing_is_lost() {
    let folder = fresh_folder();
    let output = end(demo(&folder, &["--seconds", "8"]));
    let text = printed(&output);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(number(&text, "faults") >= 1, "{text}");
    assert!(number(&text, "acknowledged") > 100, "{text}");
    assert_eq!(number(&text, "acknowledged"), number(&text, "found"), "{text}");
    assert!(text.contains("checker: linearizable"), "{text}");
    let page = fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(
        page.contains("acknowledged writes lost") && page.contains("killed (kill -9)"),
        "the page tells it too"
    );
    let history = fs::read_to_string(folder.join("history.jsonl")).expect("a history");
    assert!(history.lines().last().is_some_and(|line| line.contains("footer")), "the history is whole");
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let mut server = Server::start(Options::under_test());
    let folder = fresh_folder();
    let child = against(&folder, &server, "6");
    thread::sleep(Duration::from_secs(3));
    server.kill();
    fs::remove_dir_all(server.folder()).expect("the data are ours to remove");
    fs::create_dir(server.folder()).expect("the target folder is writable");
    server.start_again();
    let output = end(child);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(number(&text, "LOST") > 0, "{text}");
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let found = lines.iter().filter(|line| line.starts_with("FOUND ")).count();
    assert!((1..=11).contains(&found), "{text}");
    assert!(
        lines.last().is_some_and(|line| line.starts_with("report   ")),
        "the summary is the last: {text}"
    );
    fs::remove_dir_all(folder).expect("ours to remove");
}

/// A Ctrl-C, which a terminal sends to the whole group.
fn interrupt(child: &Child) {
    let group = format!("-{}", child.id());
    let sent = Command::new("kill").args(["-INT", "--", &group]).status().expect("kill runs");
    assert!(sent.success());
}

/// Starts a demonstration in a group of its own, and waits until it has something to read back.
fn demo_under_way(folder: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(Program::under_test().path)
        .args(["demo", "--seconds", "120", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut line = String::new();
    while !line.contains("writers for 120 s") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("text") > 0, "it goes on");
    }
    (child, lines)
}

#[test]
fn the_first_interrupt_ends_the_attacks_and_everything_is_read_back() {
    let folder = fresh_folder();
    let (mut child, mut lines) = demo_under_way(&folder);
    thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    interrupt(&child);
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("text");
    let status = child.wait().expect("a child of ours can be waited for");
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(
        text.contains("a second Ctrl-C ends at once") && text.contains("checker: linearizable"),
        "{text}"
    );
    assert!(number(&text, "acknowledged") > 100, "{text}");
    assert_eq!(number(&text, "acknowledged"), number(&text, "found"), "{text}");
    assert!(folder.join("report.html").exists() && folder.join("history.jsonl").exists());
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn the_second_interrupt_ends_a_demonstration_at_once() {
    let folder = fresh_folder();
    let (mut child, mut lines) = demo_under_way(&folder);
    let nodes = nodes_of(child.id());
    interrupt(&child);
    let mut line = String::new();
    while !line.contains("a second Ctrl-C ends at once") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("text") > 0, "it goes on");
    }
    interrupt(&child);
    assert_eq!(child.wait().expect("a child of ours can be waited for").code(), Some(2));
    wait_until("the nodes have ended too", || !nodes.iter().any(|node| is_running(*node)));
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn a_closed_terminal_leaves_nothing_behind() {
    let (folder, temporary) = (fresh_folder(), fresh_folder());
    fs::create_dir_all(&temporary).expect("the target folder is writable");
    let child = Command::new(Program::under_test().path)
        .args(["demo", "--dir"])
        .arg(&folder)
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let count = || fs::read_dir(&temporary).expect("it is there").count();
    let deadline = Instant::now() + Duration::from_secs(30);
    while count() == 0 {
        assert!(Instant::now() < deadline, "the zones have a folder");
        thread::sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let output = end(child);
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert_eq!(count(), 0, "its folder is gone");
    for folder in [folder, temporary] {
        fs::remove_dir_all(folder).expect("ours to remove");
    }
}

/// Servers that are no Ramkeep, where they are installed.
fn others() -> Vec<Program> {
    let names = ["redis-server", "valkey-server"];
    let found: Vec<Program> = names.into_iter().filter_map(program).map(|path| Program { path }).collect();
    if found.is_empty() {
        skip(
            "a_server_that_writes_nothing_down_is_shown_as_what_it_is",
            "neither redis-server nor valkey-server",
        );
    }
    found
}

#[test]
fn a_server_that_writes_nothing_down_is_shown_as_what_it_is() {
    for program in others() {
        let folder = fresh_folder();
        let mut server = Server::start(Options::of(program.clone()));
        let good = end(against(&folder, &server, "3"));
        let text = printed(&good);
        assert_eq!(good.status.code(), Some(0), "{program:?}: nobody did it any harm: {text}");
        assert!(text.contains("LOST 0") && text.contains("checker: linearizable"), "{program:?}: {text}");
        server.client().call(&["FLUSHALL"]).expect("a running server answers");
        let child = against(&folder, &server, "6");
        thread::sleep(Duration::from_secs(3));
        server.kill();
        server.start_again();
        let output = end(child);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{program:?}: {text}");
        assert!(number(&text, "LOST") > 0, "{program:?}: {text}");
        fs::remove_dir_all(folder).expect("ours to remove");
    }
}

/// A server that stays away has not been shown to have lost anything.
#[test]
fn a_server_that_does_not_come_back_is_not_said_to_have_lost() {
    let mut server = Server::start(Options::under_test());
    let folder = fresh_folder();
    let child = against(&folder, &server, "3");
    thread::sleep(Duration::from_secs(2));
    server.kill();
    let output = end(child);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("found unknown   LOST unknown") && text.contains("cannot be read back"), "{text}");
    fs::remove_dir_all(folder).expect("ours to remove");
}

/// Process ids of the nodes that a process has started and that run.
fn nodes_of(parent: u32) -> Vec<u32> {
    let output = Command::new("ps")
        .args(["-A", "-o", "ppid=,pid=,stat=,args="])
        .output()
        .expect("ps is part of every system");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let child = |line: &str| {
        let mut words = line.split_whitespace();
        let (above, process, state) = (words.next()?, words.next()?, words.next()?);
        // Others are there for a moment: a `ps`, a `kill`.
        let is_node = words.any(|word| word.ends_with(".conf"));
        (above.parse() == Ok(parent) && is_node && !state.starts_with('Z')).then(|| process.parse().ok())?
    };
    text.lines().filter_map(child).collect()
}

fn is_running(process: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output();
    let state = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    state.is_ok_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Kills the process that has started three nodes, and waits for their end.
fn kill_with_its_nodes(mut parent: Child) {
    wait_until("three nodes run", || nodes_of(parent.id()).len() == 3);
    let nodes = nodes_of(parent.id());
    parent.kill().expect("a child of ours takes signals");
    parent.wait().expect("a child of ours can be waited for");
    wait_until("the nodes have ended too", || !nodes.iter().any(|node| is_running(*node)));
}

#[test]
fn no_node_outlives_a_demonstration_that_is_killed() {
    let folder = fresh_folder();
    kill_with_its_nodes(demo(&folder, &["--seconds", "60"]));
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn no_node_outlives_a_cluster_in_the_foreground_that_is_killed() {
    let folder = fresh_folder();
    let mut foreground = Command::new(Program::under_test().path);
    foreground.args(["dev", "--foreground", "--port", &free_ports().to_string(), "--dir"]).arg(&folder);
    let foreground =
        foreground.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program starts");
    kill_with_its_nodes(foreground);
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn another_server_is_written_to_only_when_its_database_is_empty() {
    let server = Server::start(Options::under_test());
    let folder = fresh_folder();
    let text = |output: &Output| printed(output);
    let address = format!("redis://127.0.0.1:{}", server.port());
    let good = end(demo(&folder, &["--seconds", "3", "--json", "--against", &address]));
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let summary: Json = serde_json::from_slice(&good.stdout).expect("one JSON value and nothing else");
    assert!(summary["acknowledged"].as_u64().is_some_and(|count| count > 0), "{summary}");
    assert_eq!(summary["found"], summary["acknowledged"], "{summary}");
    assert_eq!(summary["verdict"], "linearizable", "{summary}");
    assert!(summary["against"].as_str().is_some_and(|shown| shown.starts_with(&address)), "{summary}");
    assert!(
        String::from_utf8_lossy(&good.stderr).contains("reading everything back"),
        "the story is beside it"
    );
    let refused = end(against(&folder, &server, "3"));
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("choose an empty one"), "{}", text(&refused));
    fs::remove_dir_all(folder).expect("ours to remove");
}
