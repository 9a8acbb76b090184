//! The nodes under attack and every link to and between them.
//!
//! Lives here: ports, folders, configuration, the proxies, start and readiness. Not here: faults (`nemesis`).
//!
//! Clients live in zones too: each zone's clients reach each node over a proxy of their own, and each node reaches
//! each other node over one, so that a zone can be cut off with its clients.
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ramkeep_check::reply::Reply;
use ramkeep_net::{ChaCha8Rng, Host, sleep};

use crate::proxy::Proxy;
use ramkeep_drive::ask::ask;
use ramkeep_drive::ports::free_port;
use ramkeep_drive::process::{Process, Program, log_tail};
use ramkeep_drive::target::Target;

/// Zones of clients; with three nodes each has one of the nodes.
pub const ZONES: usize = 3;
const ZONE_NAMES: [&str; ZONES] = ["a", "b", "c"];
/// Longest wait for a node that was started, replay of its log included.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(5);
/// Longest wait for a node that is asked whether it is primary.
const PROBE: Duration = Duration::from_millis(300);

pub struct Node {
    pub name: String,
    pub folder: PathBuf,
    pub port: u16,
    peer_port: u16,
    pub process: Option<Process>,
    pub is_paused: bool,
}

pub struct Cluster {
    host: Host,
    program: Program,
    folder: PathBuf,
    pub nodes: Vec<Node>,
    /// By the client's zone, then by node.
    pub client_links: Vec<Vec<Proxy>>,
    /// By (from, to).
    pub peer_links: BTreeMap<(usize, usize), Proxy>,
    ports: Ports,
}

/// Ports for the nodes that stay, then as many again and again for those that come and go.
const PORTS_FIXED: u16 = 40;
const PORTS: u16 = 190;

/// Hands out ports: counted up from a base, or free ones.
struct Ports {
    base: Option<u16>,
    next: u16,
}

impl Ports {
    fn new(base: Option<u16>) -> Ports {
        Ports { base, next: 0 }
    }

    fn take(&mut self) -> u16 {
        let Some(base) = self.base else {
            return free_port().expect("some ports are free");
        };
        let port = base + self.next;
        self.next = if self.next + 1 < PORTS { self.next + 1 } else { PORTS_FIXED };
        port
    }
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Cluster {
    /// Makes folders, files and links; starts no node.
    pub fn new(
        host: &Host,
        program: Program,
        folder: &Path,
        nodes: usize,
        base_port: Option<u16>,
        mut rng: impl FnMut() -> ChaCha8Rng,
    ) -> io::Result<Cluster> {
        let mut ports = Ports::new(base_port);
        let node = |number: usize| Node {
            name: format!("n{}", number + 1),
            folder: folder.join(format!("n{}", number + 1)),
            port: ports.take(),
            peer_port: ports.take(),
            process: None,
            is_paused: false,
        };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let mut proxy = |to: u16| Proxy::start(host, here(ports.take()), here(to), rng());
        let mut client_links = Vec::new();
        for _ in 0..ZONES {
            let links: io::Result<Vec<Proxy>> = nodes.iter().map(|node| proxy(node.port)).collect();
            client_links.push(links?);
        }
        let mut peer_links = BTreeMap::new();
        for from in 0..nodes.len() {
            for to in (0..nodes.len()).filter(|&to| to != from) {
                peer_links.insert((from, to), proxy(nodes[to].peer_port)?);
            }
        }
        let cluster = Cluster {
            host: host.clone(),
            program,
            folder: folder.to_path_buf(),
            nodes,
            client_links,
            peer_links,
            ports,
        };
        for number in 0..cluster.nodes.len() {
            fs::create_dir_all(&cluster.nodes[number].folder)?;
            fs::write(cluster.config_path(number), cluster.config(number))?;
        }
        Ok(cluster)
    }

    fn config_path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}.conf", self.nodes[number].name))
    }

    pub fn log_path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.nodes[number].name))
    }

    fn config(&self, number: usize) -> String {
        let node = &self.nodes[number];
        let mut text = format!(
            "port {}\ndir {}\nenable-debug-command yes\nsegment-size-bytes 16mb\n",
            node.port,
            node.folder.display()
        );
        if self.nodes.len() == 1 {
            return text;
        }
        text.push_str(&format!("cluster-id jepsen\nnode-name {}\nzone {}\n", node.name, ZONE_NAMES[number]));
        for (other, member) in self.nodes.iter().enumerate() {
            let Node { name, peer_port, port, .. } = member;
            let zone = ZONE_NAMES[other];
            text.push_str(&format!("member {name} {zone} engine 127.0.0.1:{peer_port} 127.0.0.1:{port}\n"));
        }
        // A member that was replaced is found by what the log says: without a route it would be reached beside the links.
        let links = self.peer_links.iter().filter(|((from, _), _)| *from == number);
        let routes: Vec<String> =
            links.map(|((_, to), link)| format!("{}={}", self.nodes[*to].name, link.address())).collect();
        text.push_str(&format!("peer-routes {}\n", routes.join(",")));
        text
    }

    pub fn address(&self, number: usize) -> SocketAddr {
        here(self.nodes[number].port)
    }

    /// Where clients of a zone find the nodes, the zone's own first.
    pub fn client_targets(&self, zone: usize) -> Vec<Target> {
        let links = &self.client_links[zone];
        (0..links.len()).map(|place| links[(zone + place) % links.len()].address().into()).collect()
    }

    pub fn all_links(&self) -> impl Iterator<Item = &Proxy> {
        self.client_links.iter().flatten().chain(self.peer_links.values())
    }

    pub fn is_running(&mut self, number: usize) -> bool {
        self.nodes[number].process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    pub fn start(&mut self, number: usize) -> Result<(), String> {
        assert!(self.nodes[number].process.is_none(), "a node is started once at a time");
        let config = match &self.program {
            Program::Ramkeep(_) => self.config_path(number).display().to_string(),
            Program::Fake { .. } => self.nodes[number].port.to_string(),
        };
        let log = self.log_path(number);
        let process = Process::start(&self.program, &[config], &self.nodes[number].folder, &log)
            .map_err(|error| format!("{:?} does not start: {error}", self.program))?;
        self.nodes[number].process = Some(process);
        self.nodes[number].is_paused = false;
        Ok(())
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.nodes[number].process.take() {
            process.kill();
        }
    }

    pub fn pause(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.is_paused = node.process.as_ref().is_some_and(|process| process.signal("STOP"));
    }

    pub fn resume(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.is_paused {
            node.is_paused = false;
            node.process.as_ref().map(|process| process.signal("CONT"));
        }
    }

    /// SIGTERM, then waits for the end; what is wrong with it otherwise.
    pub async fn stop(&mut self, number: usize) -> Result<(), String> {
        let Some(mut process) = self.nodes[number].process.take() else { return Ok(()) };
        process.signal("TERM");
        let clock = self.host.clock();
        let deadline_ns = clock.monotonic_ns() + 20_000_000_000;
        loop {
            match process.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("SIGTERM ended with {status}\n{}", process.log_tail())),
                None if clock.monotonic_ns() > deadline_ns => {
                    return Err(format!("no end 20 s after SIGTERM\n{}", process.log_tail()));
                }
                None => sleep(STEP).await,
            }
        }
    }

    /// Waits until the node answers something that is not LOADING, or, where others may lead, has read its log.
    pub async fn ready(&mut self, number: usize) -> Result<(), String> {
        let address = self.address(number);
        let may_follow = self.nodes.len() > 1;
        let Some(process) = self.nodes[number].process.as_mut() else {
            return Err("it is not running".into());
        };
        wait_until_ready(&self.host, process, address, may_follow).await
    }

    /// The node that says it is primary. With one node it is that one.
    pub async fn primary(&self) -> Option<usize> {
        if self.nodes.len() == 1 {
            return Some(0);
        }
        for (number, node) in self.nodes.iter().enumerate() {
            if node.process.is_none() || node.is_paused {
                continue;
            }
            // A node speaks here of itself; most other commands it would take to the primary.
            let answer = ask(&self.host, self.address(number), &["INFO", "durability"], PROBE).await;
            if matches!(answer, Ok(Reply::Bulk(text)) if is_primary(&String::from_utf8_lossy(&text))) {
                return Some(number);
            }
        }
        None
    }

    /// A node apart from the others, alone, on a folder of its own.
    pub fn apart(&mut self, folder: &Path, settings: &[&str]) -> io::Result<Apart> {
        let port = self.ports.take();
        let log = folder.with_extension("log");
        let directory = folder.display().to_string();
        let mut arguments: Vec<String> =
            ["--port", &port.to_string(), "--dir", &directory, "--enable-debug-command", "yes"]
                .map(str::to_string)
                .to_vec();
        arguments.extend(settings.iter().map(|word| word.to_string()));
        let process = Process::start(&self.program, &arguments, &self.folder, &log)?;
        Ok(Apart { host: self.host.clone(), process, address: here(port), log })
    }

    /// What the nodes printed last, for a person.
    pub fn log_tails(&self) -> String {
        let tail = |number: usize| {
            let path = self.log_path(number);
            format!("--- end of {}\n{}", path.display(), log_tail(&path))
        };
        (0..self.nodes.len()).map(tail).collect::<Vec<String>>().join("\n")
    }
}

/// Whether a node's facts are those of a primary that may answer.
fn is_primary(facts: &str) -> bool {
    let fact = |name: &str| facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    fact("shard_role") == Some("primary") && fact("lease_left_ms") != Some("0")
}

/// A node that is none of the cluster's.
pub struct Apart {
    host: Host,
    pub process: Process,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Apart {
    pub async fn ready(&mut self) -> Result<(), String> {
        wait_until_ready(&self.host, &mut self.process, self.address, false).await
    }

    pub fn printed(&self) -> String {
        log_tail(&self.log)
    }
}

/// What a node prints when it has read its log and takes part.
const READY_LINE: &str = "Ready to accept connections";

async fn wait_until_ready(
    host: &Host,
    process: &mut Process,
    address: SocketAddr,
    may_follow: bool,
) -> Result<(), String> {
    let clock = host.clock();
    let deadline_ns = clock.monotonic_ns() + START_PATIENCE.as_nanos() as u64;
    loop {
        if let Some(status) = process.ended() {
            return Err(format!("it ended while starting: {status}\n{}", process.log_tail()));
        }
        if may_follow && process.has_printed(READY_LINE) {
            return Ok(());
        }
        match ask(host, address, &["PING"], Duration::from_secs(1)).await {
            Ok(Reply::Error(text)) if text.starts_with("LOADING") => {}
            Ok(_) => return Ok(()),
            Err(_) => {}
        }
        if clock.monotonic_ns() > deadline_ns {
            return Err(format!("it does not answer\n{}", process.log_tail()));
        }
        sleep(STEP).await;
    }
}
