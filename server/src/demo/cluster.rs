//! Three zones of a demonstration: processes in a temporary folder.
//!
//! Lives here: ports, files, start, kill, cut, what each node says of itself. Not here: when what is done (`super`).
//!
//! Invariant: no process and no folder outlives the value.
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

use crate::dev::write_private;
use ramkeep_check::reply::Reply;
use ramkeep_drive::ask::ask;
use ramkeep_drive::ports::free_port;
use ramkeep_drive::process::{Process, Program};
use ramkeep_drive::target::Target;
use ramkeep_net::{Host, sleep};
use ramkeep_server::cli::demo::Role;
use ramkeep_server::cli::dev::{DevNode, configuration};
use rand_core::RngCore;
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const ZONES: [&str; 3] = ["a", "b", "c"];
/// Longest wait for a node to say what it is: one that does not is down.
const PROBE: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(20);
/// A started cluster serves within this many steps.
const READY_STEPS_MAX: usize = 3_000;
/// A port that was free may be taken by another before the node listens.
const ATTEMPTS_MAX: usize = 3;
/// The log is short: small segments spare the disk.
const SEGMENTS: &str = "segment-size-bytes 16mb\n";

/// The nodes, by zone.
pub struct Cluster {
    host: Host,
    nodes: Vec<Node>,
    folder: Folder,
}

struct Node {
    port: u16,
    process: RefCell<Option<Process>>,
}

/// Removed with its value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

impl Cluster {
    /// Starts the nodes and waits until one leads and the others follow.
    pub async fn start(host: &Host) -> Result<Cluster, String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            match Cluster::try_start(host).await {
                Ok(cluster) => return Ok(cluster),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn try_start(host: &Host) -> Result<Cluster, String> {
        let mut random = host.rng("demo");
        let name = format!("ramkeep-demo-{}-{:08x}", host.facts().process_id, random.next_u32());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).map_err(|error| format!("{}: {error}", folder.0.display()))?;
        let ports: Option<Vec<u16>> = (0..ZONES.len() * 2).map(|_| free_port()).collect();
        let ports = ports.ok_or("no free ports")?;
        let nodes: Vec<DevNode> = ZONES
            .iter()
            .zip(ports.chunks(2))
            .map(|(name, ports)| DevNode {
                name: (*name).into(),
                role: "engine",
                port: ports[0],
                peer_port: ports[1],
            })
            .collect();
        let mut hex = || format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
        let (id, secret) = (format!("demo-{}", hex()), hex());
        for node in &nodes {
            let text = configuration(node, &nodes, &folder.0.display().to_string(), &id, &secret) + SEGMENTS;
            let path = configuration_path(&folder.0, &node.name);
            write_private(&path, &text).map_err(|error| format!("{path}: {error}"))?;
        }
        let nodes = nodes.iter().map(|node| Node { port: node.port, process: RefCell::new(None) }).collect();
        let cluster = Cluster { host: host.clone(), nodes, folder };
        for zone in 0..ZONES.len() {
            cluster.start_node(zone)?;
        }
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        for _ in 0..READY_STEPS_MAX {
            let mut roles = Vec::new();
            for (zone, node) in self.nodes.iter().enumerate() {
                let ended = node.process.borrow_mut().as_mut().and_then(Process::ended);
                if let Some(status) = ended {
                    return Err(format!("zone {} ended: {status}\n{}", ZONES[zone], self.printed(zone)));
                }
                roles.push(self.role(zone).await);
            }
            let count = |wanted| roles.iter().filter(|role| **role == wanted).count();
            if count(Role::Primary) == 1 && count(Role::Replica) == ZONES.len() - 1 {
                return Ok(());
            }
            sleep(STEP).await;
        }
        Err(format!("the zones do not become a cluster\n{}", self.printed(0)))
    }

    fn printed(&self, zone: usize) -> String {
        let process = self.nodes[zone].process.borrow();
        process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    pub fn start_node(&self, zone: usize) -> Result<(), String> {
        let mut process = self.nodes[zone].process.borrow_mut();
        assert!(process.is_none(), "a node is started once at a time");
        let program = Program::Ramkeep(PathBuf::from(self.host.facts().executable));
        let arguments = [configuration_path(&self.folder.0, ZONES[zone])];
        let log = self.folder.0.join(format!("{}.log", ZONES[zone]));
        let started = Process::start(&program, &arguments, &self.folder.0, &log)
            .map_err(|error| format!("zone {} does not start: {error}", ZONES[zone]))?;
        *process = Some(started);
        Ok(())
    }

    pub fn kill(&self, zone: usize) {
        if let Some(mut process) = self.nodes[zone].process.take() {
            process.kill();
        }
    }

    pub fn is_running(&self, zone: usize) -> bool {
        self.nodes[zone].process.borrow().is_some()
    }

    /// The zone exchanges nothing with the others, or does again.
    pub async fn cut(&self, zone: usize, is_cut: bool) -> Result<(), String> {
        let words = ["RAMKEEP", if is_cut { "CUT" } else { "HEAL" }];
        match ask(&self.host, self.address(zone), &words, ramkeep_drive::ask::PATIENCE).await {
            Ok(Reply::Simple(_)) => Ok(()),
            Ok(other) => Err(format!("zone {}: {} answered {other:?}", ZONES[zone], words.join(" "))),
            Err(error) => Err(format!("zone {}: {} is not answered: {error}", ZONES[zone], words.join(" "))),
        }
    }

    pub fn address(&self, zone: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[zone].port))
    }

    /// Where clients of a zone find the nodes, their own zone's first.
    pub fn targets(&self, zone: usize) -> Vec<Target> {
        let zones = ZONES.len();
        (0..zones).map(|place| self.address((zone + place) % zones).into()).collect()
    }

    /// What the node says of itself.
    pub async fn role(&self, zone: usize) -> Role {
        if !self.is_running(zone) {
            return Role::Down;
        }
        match ask(&self.host, self.address(zone), &["INFO", "durability", "replication"], PROBE).await {
            Ok(Reply::Bulk(text)) => role_of(&String::from_utf8_lossy(&text)),
            _ => Role::Down,
        }
    }

    /// The zone whose node leads and may answer.
    pub async fn primary(&self) -> Option<usize> {
        for zone in 0..ZONES.len() {
            if self.role(zone).await == Role::Primary {
                return Some(zone);
            }
        }
        None
    }

    /// A digest of the node's data.
    pub async fn digest(&self, zone: usize) -> Option<String> {
        match ask(&self.host, self.address(zone), &["DEBUG", "DIGEST"], Duration::from_secs(20)).await {
            Ok(Reply::Simple(digest)) => Some(digest),
            _ => None,
        }
    }
}

fn configuration_path(folder: &Path, zone: &str) -> String {
    folder.join(format!("{zone}.conf")).display().to_string()
}

/// Reads INFO.
fn role_of(info: &str) -> Role {
    let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match (fact("shard_role"), fact("lease_left_ms"), fact("master_link_status")) {
        (Some("primary"), Some("0") | None, _) => Role::NoLease,
        (Some("primary"), Some(_), _) => Role::Primary,
        (_, _, Some("up")) => Role::Replica,
        _ => Role::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_it_says_of_itself() {
        for (info, role) in [
            ("shard_role:primary\r\nlease_left_ms:700\r\n", Role::Primary),
            ("shard_role:primary\r\nlease_left_ms:0\r\n", Role::NoLease),
            ("shard_role:replica\r\nlease_left_ms:0\r\nmaster_link_status:up\r\n", Role::Replica),
            ("shard_role:replica\r\nlease_left_ms:0\r\nmaster_link_status:down\r\n", Role::Lost),
            ("", Role::Lost),
        ] {
            assert_eq!(role_of(info), role, "{info}");
        }
    }
}
