//! Three zones under test: a cluster that `ramkeep dev` makes and breaks.
//!
//! Lives here: start, commands to it, what it says of itself, its removal. Not here: what the tests ask.
//!
//! Invariant: processes and folder are gone when the value is dropped, unless the test failed: then the folder stays
//! and its path is printed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::server::{Program, fresh_folder};
use crate::tools::printed;

/// Their names; each has one node.
pub const ZONES: [&str; 3] = ["a", "b", "c"];
/// Longest wait for something that is to come.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    folder: PathBuf,
    port: u16,
}

impl Cluster {
    /// Starts three zones; the first is primary.
    pub fn start() -> Self {
        let cluster = Self { folder: fresh_folder(), port: free_ports() };
        let output = cluster.run(&["dev", "--port", &cluster.port.to_string()]);
        assert!(output.status.success(), "{}", printed(&output));
        assert!(
            printed(&output).contains("primary a;"),
            "zone a is the first primary:\n{}",
            printed(&output)
        );
        cluster
    }

    /// A subcommand of the program.
    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(Program::under_test().path);
        command.args(words);
        if words[0] == "dev" {
            command.arg("--dir").arg(&self.folder);
        }
        command.output().expect("the program starts")
    }

    /// `ramkeep dev …`, which must succeed.
    pub fn dev(&self, words: &[&str]) {
        let output = self.run(&[&["dev"], words].concat());
        assert!(output.status.success(), "dev {words:?}: {}", printed(&output));
    }

    /// The data directory of a zone's node.
    pub fn data(&self, zone: &str) -> PathBuf {
        self.folder.join(zone)
    }

    /// Port of the first zone; the others follow.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self, zone: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port + zone as u16))
    }

    /// What a zone's node says of the cluster, if it answers, and whether there is a quorum.
    pub fn status(&self, zone: usize) -> Option<(bool, Json)> {
        let port = self.address(zone).port().to_string();
        let output = self.run(&["status", "--json", "--port", &port]);
        let status: Json = serde_json::from_slice(&output.stdout).ok()?;
        status.get("error").is_none().then_some((output.status.success(), status))
    }

    /// The zone that serves.
    pub fn primary(&self) -> Option<String> {
        (0..ZONES.len()).find_map(|zone| {
            let (has_quorum, status) = self.status(zone)?;
            has_quorum.then(|| status["primary"].as_str().map(str::to_owned))?
        })
    }

    /// Kills the zone that serves and waits until another does; gives the killed one.
    pub fn kill_primary(&self) -> String {
        self.wait("somebody serves", || self.primary().is_some());
        let primary = self.primary().expect("somebody serves");
        self.dev(&["kill", &primary]);
        self.wait("another zone serves", || self.primary().is_some_and(|now| now != primary));
        primary
    }

    /// # Panics
    ///
    /// If it does not come in time.
    pub fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for zone in ZONES {
            // One that does not run cannot be killed.
            let _ = self.run(&["dev", "kill", zone]);
        }
        if std::thread::panicking() {
            eprintln!("the cluster's folder is left for a look: {}", self.folder.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

/// Client ports from here on, the nodes' own ten thousand above: below those that systems give out by themselves.
const PORT_FIRST: u16 = 20_000;
const SLOT_PORTS: u16 = 8;
const SLOTS: u16 = 330;

/// The first of ports in a row that nobody listens on, nor on those ten thousand above.
pub fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Clusters of tests that run at once begin to look at places of their own.
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % u32::from(SLOTS)) as u16 + ASKED.fetch_add(1, Ordering::Relaxed) * 17;
    let mut bases = (0..SLOTS).map(|step| PORT_FIRST + (first + step) % SLOTS * SLOT_PORTS);
    bases
        .find(|base| (0..3).all(|offset| is_free(base + offset) && is_free(base + offset + 10_000)))
        .expect("some ports are free")
}
