//! `ramkeep dev`: a cluster on this machine, to be played with and broken.
//!
//! Lives here: the plan of such a cluster (names, ports, files) as text. Not here: processes (the binary's `dev`),
//! what the nodes do.
//!
//! Everything of it is in one directory: for each node `NAME.conf`, which `ramkeep NAME.conf` starts as well, its
//! data in `NAME/`, what it prints in `NAME.log`, its process id in `NAME.pid`.

use super::client::Target;

/// `ramkeep dev …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevArguments {
    pub directory: String,
    pub action: DevAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevAction {
    /// Start all nodes.
    Up(Plan),
    /// `kill -9`, as if the machine had lost power.
    Kill(String),
    /// Start a node that was killed.
    Start(String),
    /// The process stands still, as a machine that is suspended.
    Pause(String),
    Resume(String),
    /// The zone exchanges nothing with the others.
    Partition(String),
    /// Takes the partition of a zone back; of all zones without a name.
    Heal(Option<String>),
    Status,
    /// Stop all nodes in order; the data stay.
    Stop,
}

/// What a cluster is made of. None: as it is in the folder, or the usual where a new one is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub nodes: Option<usize>,
    pub port: Option<u16>,
    pub log_only_zone: Option<String>,
    pub foreground: bool,
}

pub const DEFAULT_NODES: usize = 3;
pub const DEFAULT_PORT: u16 = 6379;
/// Most nodes of such a cluster.
pub const NODES_MAX: usize = 7;

/// One node of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevNode {
    pub name: String,
    pub role: &'static str,
    pub port: u16,
    pub peer_port: u16,
}

impl Plan {
    /// The nodes a, b, c … of a new cluster, or why there cannot be such.
    pub fn nodes(&self) -> Result<Vec<DevNode>, String> {
        let (count, first) = (self.nodes.unwrap_or(DEFAULT_NODES), self.port.unwrap_or(DEFAULT_PORT));
        if count.is_multiple_of(2) || count > NODES_MAX {
            return Err(format!(
                "--nodes {count}: an odd number up to {NODES_MAX}, since an even one bears no more failures"
            ));
        }
        if first == 0 {
            return Err("--port 0: the nodes need ports that stay the same".into());
        }
        let mut nodes = Vec::new();
        for index in 0..count {
            let offset = index as u16;
            let name = char::from(b'a' + index as u8).to_string();
            let Some(port) = first.checked_add(offset) else {
                return Err(format!("--port {first}: the ports behind it do not exist"));
            };
            let peer_port = peer_port(port);
            let role = if self.log_only_zone.as_ref() == Some(&name) { "log" } else { "engine" };
            nodes.push(DevNode { name, role, port, peer_port });
        }
        match &self.log_only_zone {
            Some(zone) if nodes.iter().all(|node| node.name != *zone) => {
                Err(format!("--log-only-zone {zone}: there is no such zone"))
            }
            _ => Ok(nodes),
        }
    }

    /// Whether this can be said of a cluster that exists; an error tells what it is.
    pub fn check(&self, known: &[DevNode]) -> Result<(), String> {
        let first = known.first().map_or(0, |node| node.port);
        let logs = known.iter().filter(|node| node.role == "log").map(|node| node.name.as_str());
        let logs: Vec<&str> = logs.collect();
        let agrees = self.nodes.is_none_or(|nodes| nodes == known.len())
            && self.port.is_none_or(|port| port == first)
            && self.log_only_zone.as_ref().is_none_or(|zone| logs == [zone]);
        let with_logs =
            if logs.is_empty() { String::new() } else { format!(", {} log-only", logs.join(", ")) };
        match agrees {
            true => Ok(()),
            false => Err(format!("a cluster of {} nodes from port {first} on{with_logs}", known.len())),
        }
    }
}

/// From here on Linux gives ports out by itself: one of those would now and then be taken when a node starts.
const GIVEN_OUT_FIRST: u16 = 32_768;
const PEER_DISTANCE: u16 = 10_000;

/// The port for other nodes: ten thousand above that for clients, or a multiple of that below it.
fn peer_port(port: u16) -> u16 {
    match port.checked_sub(GIVEN_OUT_FIRST - PEER_DISTANCE) {
        None => port + PEER_DISTANCE,
        Some(beyond) => GIVEN_OUT_FIRST - 2 * PEER_DISTANCE + beyond % PEER_DISTANCE,
    }
}

/// A node's configuration file.
pub fn configuration(
    node: &DevNode,
    all: &[DevNode],
    directory: &str,
    cluster: &str,
    secret: &str,
) -> String {
    let mut text = format!(
        "# Made by `ramkeep dev`. Start this node alone with: ramkeep {directory}/{name}.conf\n\
         port {port}\nbind 127.0.0.1\ndir \"{directory}/{name}\"\n\
         node-name {name}\nzone {name}\ncluster-id {cluster}\npeer-secret {secret}\n\
         # Lets `ramkeep dev partition` cut this node off from the others.\nenable-debug-command local\n",
        name = node.name,
        port = node.port,
    );
    for other in all {
        text += &format!(
            "member {name} {name} {role} 127.0.0.1:{peer} 127.0.0.1:{client}\n",
            name = other.name,
            role = other.role,
            peer = other.peer_port,
            client = other.port,
        );
    }
    text
}

/// What a configuration file of ours says of its node. Without its `member` line: a node with data, at no port for others.
pub fn node_of(configuration: &str) -> Option<DevNode> {
    let lines = || configuration.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let value = |name: &str| lines().find(|words| words.len() == 2 && words[0] == name).map(|words| words[1]);
    let name = value("node-name")?;
    let port = value("port")?.parse().ok()?;
    let own = lines().find(|words| words.len() == 6 && words[..2] == ["member", name]);
    let peer_port = own.as_ref().and_then(|words| words[4].rsplit_once(':')?.1.parse().ok());
    let role = if own.is_some_and(|words| words[3] == "log") { "log" } else { "engine" };
    Some(DevNode { name: name.to_owned(), role, port, peer_port: peer_port.unwrap_or(0) })
}

/// Where a node's clients connect.
pub fn target(port: u16) -> Target {
    Target { addresses: vec![("127.0.0.1".into(), port)], password: None }
}

/// What to do next, once a cluster of so many nodes runs.
pub fn hints(directory: &str, port: u16, nodes: usize) -> String {
    let option = if directory == DEFAULT_DIRECTORY { String::new() } else { format!(" --dir {directory}") };
    let (ok, kill, cut) = match nodes {
        1 => ("on disk", "kill -9; `start` brings it back with all that was acknowledged", String::new()),
        _ => (
            "on disk in a majority of zones",
            "kill -9; another zone serves in about a second",
            format!("  ramkeep dev{option} partition a         cut zone a off; `heal` takes it back\n"),
        ),
    };
    format!(
        "\n  redis-cli -p {port} set hello world    OK: {ok}\n  \
         ramkeep dev{option} kill a              {kill}\n  \
         ramkeep dev{option} start a\n{cut}  \
         ramkeep dev{option} status\n  \
         ramkeep dev{option} stop                the data stay in {directory}\n"
    )
}

pub const DEFAULT_DIRECTORY: &str = "./ramkeep-dev";

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(nodes: usize, port: u16, log_only_zone: Option<&str>) -> Plan {
        let log_only_zone = log_only_zone.map(str::to_owned);
        Plan { nodes: Some(nodes), port: Some(port), log_only_zone, foreground: false }
    }

    #[test]
    fn a_plan_gives_each_zone_a_node_or_says_why_not() {
        let nodes = plan(3, 6379, Some("c")).nodes().expect("a plan");
        assert_eq!(nodes[2], DevNode { name: "c".into(), role: "log", port: 6381, peer_port: 16_381 });
        for (bad, part) in [
            (plan(2, 6379, None), "odd number"),
            (plan(9, 6379, None), "up to 7"),
            (plan(3, 65_534, None), "do not exist"),
            (plan(3, 0, None), "--port 0"),
            (plan(3, 6379, Some("x")), "no such zone"),
        ] {
            assert!(bad.nodes().expect_err(part).contains(part));
        }
    }

    #[test]
    fn ports_for_other_nodes_are_none_that_the_system_gives_out_and_none_for_clients() {
        for (port, expected) in [(6379, 16_379), (22_767, 32_767), (22_768, 12_768), (26_001, 16_001)] {
            assert_eq!(peer_port(port), expected);
        }
        for port in 1..=u16::MAX - NODES_MAX as u16 {
            let nodes = plan(NODES_MAX, port, None).nodes().expect("a plan");
            let mut ports: Vec<u16> = nodes.iter().map(|node| node.peer_port).collect();
            assert!(ports.iter().all(|port| *port < GIVEN_OUT_FIRST), "{port}: {ports:?}");
            ports.extend(nodes.iter().map(|node| node.port));
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), 2 * NODES_MAX, "{port}: {ports:?}");
        }
    }

    #[test]
    fn only_what_is_said_can_contradict_a_cluster_that_exists() {
        let known = plan(3, 7000, Some("c")).nodes().expect("a plan");
        for good in [Plan::default(), plan(3, 7000, None), plan(3, 7000, Some("c"))] {
            assert_eq!(good.check(&known), Ok(()), "{good:?}");
        }
        for bad in [plan(5, 7000, None), plan(3, 7001, None), plan(3, 7000, Some("b"))] {
            let why = bad.check(&known).expect_err("another cluster");
            assert_eq!(why, "a cluster of 3 nodes from port 7000 on, c log-only");
        }
    }

    #[test]
    fn one_node_alone_is_promised_no_other_zone() {
        assert!(hints("d", 7000, 3).contains("another zone serves"));
        let alone = hints("d", 7000, 1);
        assert!(!alone.contains("zone"), "{alone}");
    }

    #[test]
    fn the_files_it_writes_are_configurations_that_start() {
        let nodes = plan(3, 7000, Some("b")).nodes().expect("a plan");
        for node in &nodes {
            let text = configuration(node, &nodes, "/x y", "id", "0123456789abcdef");
            assert_eq!(node_of(&text).as_ref(), Some(node));
            let without: String = text
                .lines()
                .filter(|line| !line.starts_with("member"))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(node_of(&without).map(|it| (it.name, it.port)), Some((node.name.clone(), node.port)));
            let mut config = ramkeep_engine::config::Config::new();
            config.load("test", text.as_bytes(), &mut |_| Ok(Vec::new())).expect("every line is honoured");
            let settings = config.settings();
            ramkeep_engine::config::check_members(&settings.members, settings.own()).expect("a cluster");
            assert_eq!(settings.dir, format!("/x y/{}", node.name).into_bytes());
        }
    }
}
