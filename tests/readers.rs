//! Do clients that read slowly, or not at all, harm the others?
//!
//! Not here: the limits on their buffers, which the official suite asks about.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::time::Duration;

use ramkeep_tests::resp::{Client, Value};
use ramkeep_tests::server::{Options, Server};

const VALUE_BYTES: usize = 1 << 20;
const READS: usize = 32;

#[test]
fn a_client_that_does_not_read_keeps_nobody_waiting_and_gets_everything_later() {
    let server = Server::start(Options::under_test());
    let value = "x".repeat(VALUE_BYTES);
    let mut slow = Client::connect(server.address()).expect("the server takes connections");
    assert_eq!(slow.call(&["SET", "large", &value]).expect("SET is answered").text().as_deref(), Some("OK"));
    for _ in 0..READS {
        slow.send(&["GET", "large"]).expect("requests are small");
    }
    let mut other = Client::connect(server.address()).expect("the server takes connections");
    other.set_patience(Duration::from_secs(10)).expect("a patience can be set");
    for count in 1..=20 {
        let reply = other.call(&["INCR", "count"]).expect("others are answered meanwhile");
        assert_eq!(reply.integer(), Some(count));
    }
    for _ in 0..READS {
        assert_eq!(slow.reply().expect("all replies come").text().map(|text| text.len()), Some(VALUE_BYTES));
    }
    assert!(matches!(other.call(&["PING"]), Ok(Value::Status(_))));
}
