//! Do the clients and tools that people use work unchanged?
//!
//! Each runs for real against a server of its own. Which version: what `.ci/run` installs.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::process::Command;

use ramkeep_tests::server::{Options, Server};
use ramkeep_tests::tools;

#[test]
fn redis_py_works_in_both_protocols() {
    let Some(python) = tools::python(&["redis"]) else {
        return tools::skip("redis-py", "no Python with redis-py");
    };
    let server = Server::start(Options::under_test());
    for protocol in ["2", "3"] {
        let mut command = Command::new(&python);
        command.arg(tools::file("clients/redis_py.py")).args([&server.port().to_string(), protocol]);
        assert!(tools::run(&mut command).contains("redis-py: fine"));
    }
}

#[test]
fn ioredis_works() {
    let Some((node, modules)) = tools::node(&["ioredis"]) else {
        return tools::skip("ioredis", "no Node with ioredis");
    };
    let server = Server::start(Options::under_test());
    let mut command = Command::new(node);
    command.arg(tools::file("clients/ioredis.js")).arg(server.port().to_string()).env("NODE_PATH", modules);
    assert!(tools::run(&mut command).contains("ioredis: fine"));
}

fn redis_cli(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.port().to_string()]).args(arguments);
    tools::run(&mut command).trim_end().to_owned()
}

#[test]
fn redis_cli_works() {
    if tools::program("redis-cli").is_none() {
        return tools::skip("redis-cli", "it is not installed");
    }
    let server = Server::start(Options::under_test());
    assert_eq!(redis_cli(&server, &["set", "hello", "world"]), "OK");
    assert_eq!(redis_cli(&server, &["get", "hello"]), "world");
    assert_eq!(redis_cli(&server, &["-3", "hset", "h", "field", "value"]), "1");
    assert_eq!(redis_cli(&server, &["-3", "--no-raw", "hgetall", "h"]), "1# \"field\" => \"value\"");
    assert_eq!(redis_cli(&server, &["-n", "3", "dbsize"]), "0");
    assert_eq!(redis_cli(&server, &["--scan", "--pattern", "hel*"]), "hello");
    assert!(redis_cli(&server, &["info", "server"]).contains("redis_version:7."));
    assert!(redis_cli(&server, &["--bigkeys"]).contains("Biggest string found"));
    assert!(redis_cli(&server, &["--memkeys"]).contains("Biggest"));
    assert!(redis_cli(&server, &["-r", "3", "ping"]).ends_with("PONG\nPONG\nPONG"));
}

#[test]
fn redis_cli_pipe_loads_in_bulk() {
    if tools::program("redis-cli").is_none() {
        return tools::skip("redis-cli --pipe", "it is not installed");
    }
    let server = Server::start(Options::under_test());
    let commands: String = (0..5000).map(|number| format!("SET bulk:{number} {number}\r\n")).collect();
    let file = server.folder().join("commands");
    std::fs::write(&file, commands).expect("the server's folder is writable");
    let mut command = Command::new("sh");
    command.args(["-c", "redis-cli -p \"$1\" --pipe < \"$2\"", "sh", &server.port().to_string()]).arg(&file);
    let printed = tools::run(&mut command);
    assert!(printed.contains("errors: 0, replies: 5000"), "{printed}");
    assert_eq!(redis_cli(&server, &["dbsize"]), "5000");
}

#[test]
fn redis_benchmark_works() {
    if tools::program("redis-benchmark").is_none() {
        return tools::skip("redis-benchmark", "it is not installed");
    }
    let server = Server::start(Options::under_test());
    for pipeline in ["1", "16"] {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &server.port().to_string(), "-t", "set,get,incr,hset,mset"]);
        command.args(["-n", "2000", "-r", "1000", "-P", pipeline, "-q"]);
        let printed = tools::run(&mut command);
        for test in ["SET", "GET", "INCR", "HSET", "MSET"] {
            assert!(printed.contains(test), "no figures for {test}: {printed}");
        }
        assert!(!printed.contains("Error"), "{printed}");
    }
}
