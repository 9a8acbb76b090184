//! Does the example application keep its customers while its database, or a zone of it, is killed between the steps?
//!
//! Runs `examples/customers-flask` as its README says, over real HTTP.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ramkeep_tests::cargo;
use ramkeep_tests::cluster::Cluster;
use ramkeep_tests::server::{self, Options, Server};
use ramkeep_tests::tools;
use serde_json::{Value, json};

/// Longest wait for Flask to import and listen.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The application's process; ends with the value.
struct Application {
    child: Child,
    port: u16,
}

impl Drop for Application {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    body: Value,
}

impl Application {
    fn start(python: &std::path::Path, database_port: u16) -> Self {
        let port = server::free_port();
        let child = Command::new(python)
            .args(["-m", "flask", "run", "--port", &port.to_string()])
            .current_dir(cargo::workspace().join("examples/customers-flask"))
            .env("REDIS_PORT", database_port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this Python has run before");
        let mut application = Self { child, port };
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = application.child.try_wait().expect("a child of ours can be asked");
            assert!(ended.is_none(), "the application ended: {ended:?}");
            assert!(Instant::now() < deadline, "the application does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        application
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a fresh socket takes options");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).expect("it reads requests");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers in text");
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, content) = text.split_once("\r\n\r\n").expect("an answer has a head and a body");
        Answer {
            status: status.unwrap_or_else(|| panic!("not an HTTP answer: {text}")),
            body: serde_json::from_str(content).unwrap_or(Value::Null),
        }
    }
}

#[test]
fn customers_survive_a_kill_between_every_two_steps() {
    let Some(python) = tools::python(&["redis", "flask"]) else {
        return tools::skip("example", "no Python with Flask and redis-py");
    };
    let mut server = Server::start(Options::under_test().durable());
    let application = Application::start(&python, server.port());
    use_customers(&application, || {
        server.kill();
        server.start_again();
    });
}

#[test]
fn customers_survive_the_death_of_the_primarys_zone_between_every_two_steps() {
    let Some(python) = tools::python(&["redis", "flask"]) else {
        return tools::skip("example", "no Python with Flask and redis-py");
    };
    let cluster = Cluster::start();
    // A node that is mostly not the primary: any takes clients.
    let application = Application::start(&python, cluster.address(2).port());
    use_customers(&application, || {
        let killed = cluster.kill_primary();
        cluster.dev(&["start", &killed]);
    });
}

/// Creates, lists, reads, changes and deletes customers, with harm done after each acknowledged step.
fn use_customers(application: &Application, mut harm: impl FnMut()) {
    let mut created = Vec::new();
    for (name, balance) in [("Ada", 10), ("Bertrand", 20), ("Clara", 30)] {
        let body = json!({"name": name, "email": format!("{name}@example.org"), "balance": balance});
        let answer = application.request("POST", "/customers", Some(&body));
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        created.push(answer.body);
        harm();
    }
    created.sort_by_key(|customer| customer["id"].to_string());

    let answer = application.request("GET", "/customers", None);
    assert_eq!((answer.status, answer.body), (200, json!(created)), "all three are listed");
    harm();

    let id = created[1]["id"].as_str().expect("ids are text").to_owned();
    let path = format!("/customers/{id}");
    let answer = application.request("GET", &path, None);
    assert_eq!((answer.status, &answer.body), (200, &created[1]));
    harm();

    let answer = application.request("PUT", &path, Some(&json!({"balance": 0})));
    assert_eq!((answer.status, &answer.body["balance"]), (200, &json!("0")));
    harm();
    let answer = application.request("GET", &path, None);
    assert_eq!((answer.status, &answer.body["balance"]), (200, &json!("0")), "the change was acknowledged");
    assert_eq!(answer.body["name"], created[1]["name"], "other fields stay");

    let answer = application.request("DELETE", &path, None);
    assert_eq!(answer.status, 204);
    harm();
    for (method, body) in [("GET", None), ("DELETE", None), ("PUT", Some(json!({"balance": 1})))] {
        let answer = application.request(method, &path, body.as_ref());
        assert_eq!(answer.status, 404, "{method} of a deleted customer");
    }
    assert_eq!(application.request("GET", "/customers/not-an-id", None).status, 404);
    assert_eq!(application.request("POST", "/customers", Some(&json!({"junk": 1}))).status, 400);

    created.remove(1);
    let answer = application.request("GET", "/customers", None);
    assert_eq!((answer.status, answer.body), (200, json!(created)), "two are left");
}
