//! Does `ramkeep demo` show what it promises, and does it notice a server that loses?
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use ramkeep_tests::server::{Options, Program, Server, fresh_folder};
use ramkeep_tests::tools::printed;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

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
        text.lines().find(|line| line.contains("LOST ")).unwrap_or_else(|| panic!("no summary: {text}"));
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
    fs::remove_dir_all(folder).expect("ours to remove");
}

#[test]
fn another_server_is_written_to_only_when_its_database_is_empty() {
    let server = Server::start(Options::under_test());
    let folder = fresh_folder();
    let text = |output: &Output| printed(output);
    let good = end(against(&folder, &server, "3"));
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    assert!(number(&text(&good), "acknowledged") > 0, "{}", text(&good));
    let refused = end(against(&folder, &server, "3"));
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("choose an empty one"), "{}", text(&refused));
    fs::remove_dir_all(folder).expect("ours to remove");
}
