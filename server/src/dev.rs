//! The processes of `ramkeep dev`.
//!
//! Lives here: starting, stopping and signalling nodes on this machine. Not here: their plan (`cli::dev`).
//!
//! Invariant: no process is signalled but one that runs the node's own configuration file. What a command that stays has
//! started ends with it, by whatever cause.
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

use ramkeep_drive::process::ENDS_WITH_INPUT;
use ramkeep_net::{Host, ShutdownSignals};
use ramkeep_server::cli::Outcome;
use ramkeep_server::cli::client::{Client, ClientError};
use ramkeep_server::cli::dev::{
    DevAction, DevArguments, DevNode, Plan, configuration, hints, node_of, target,
};
use ramkeep_server::cli::status::{ask, table};
use ramkeep_server::status::{ClusterStatus, NodeStatus};
use rand_core::RngCore;
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A started cluster serves within this time, replay of its logs included.
const READY_STEPS_MAX: usize = 600;
const STEP: Duration = Duration::from_millis(100);
/// A node that is started follows a primary within this time, where the others can have one; and where there is
/// hardly one, it has learnt within the shorter time what became of it.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(10);
const LONELY_TIME_MAX: Duration = Duration::from_secs(2);
const STOP_STEPS_MAX: usize = 150;
/// A node that runs answers within this; it asks silent ones for two seconds itself.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// A process that was killed is gone within some of these.
const GONE_STEP: Duration = Duration::from_millis(20);

/// Does what was asked, or says what went wrong.
pub async fn run(host: &Host, arguments: &DevArguments) -> Result<Outcome, String> {
    let directory = std::path::absolute(&arguments.directory).map_err(|error| error.to_string())?;
    let dev = Dev {
        host,
        directory: directory.display().to_string(),
        shown: arguments.directory.clone(),
        started: RefCell::default(),
    };
    let done = match &arguments.action {
        DevAction::Up(plan) => dev.up(plan).await,
        DevAction::Kill(zone) => dev.kill(zone).await,
        DevAction::Pause(zone) => dev.signal(zone, "STOP").map(|()| format!("zone {zone}: stands still\n")),
        DevAction::Resume(zone) => dev.signal(zone, "CONT").map(|()| format!("zone {zone}: runs on\n")),
        DevAction::Start(zone) => dev.start_one(zone).await,
        DevAction::Partition(zone) => {
            dev.call(zone, "CUT").await?;
            Ok(format!("zone {zone}: cut off from the others\n"))
        }
        DevAction::Heal(Some(zone)) => {
            dev.call(zone, "HEAL").await?;
            Ok(format!("zone {zone}: reaches all others again that are not cut off themselves\n"))
        }
        DevAction::Heal(None) => dev.heal().await,
        DevAction::Status => {
            let status = dev.status().await?;
            return Ok(Outcome { text: table(&status), exit_code: u8::from(!status.has_quorum) });
        }
        DevAction::Stop => dev.stop().await,
    };
    done.map(|text| Outcome { text, exit_code: 0 })
}

/// How long a node lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Until it is stopped.
    OfItsOwn,
    /// No longer than the command that starts it.
    OfCommand,
}

struct Dev<'h> {
    host: &'h Host,
    /// Absolute.
    directory: String,
    /// As the user wrote it.
    shown: String,
    /// Nodes that this very command started.
    started: RefCell<Vec<(String, Child)>>,
}

impl Dev<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    async fn up(&self, plan: &Plan) -> Result<String, String> {
        let known = self.nodes();
        let is_new = known.is_empty();
        let nodes = if is_new { plan.nodes()? } else { known };
        if is_new {
            self.check_ports(&nodes)?;
            self.write(&nodes)?;
        } else {
            plan.check(&nodes).map_err(|what| {
                format!("{} holds {what}: leave out what contradicts that, or take another --dir", self.shown)
            })?;
        }
        for node in &nodes {
            if self.process_of(&node.name).is_none() {
                let life = if plan.foreground { Life::OfCommand } else { Life::OfItsOwn };
                self.start(&node.name, life)?;
            }
        }
        let mut status = self
            .wait(READY_STEPS_MAX, |status| {
                status.has_quorum && status.nodes.iter().all(|node| node.primary == status.primary)
            })
            .await?;
        let first = &nodes[0];
        // The first node is the first primary, so that its port is the one to connect to.
        if is_new && first.role == "engine" && status.primary.as_ref() != Some(&first.name) {
            let asked = Client::connect(self.host, &target(first.port)).await;
            let moved = match asked {
                Ok(mut client) => client.call(&["RAMKEEP", "FAILOVER", "TO", &first.name]).await,
                Err(error) => Err(error),
            };
            moved.map_err(|error| format!("zone {} does not take over: {error}", first.name))?;
            let leads =
                |status: &ClusterStatus| status.has_quorum && status.primary.as_ref() == Some(&first.name);
            status = self.wait(READY_STEPS_MAX, leads).await?;
        }
        let text = table(&status) + &hints(&self.shown, first.port, nodes.len());
        if !plan.foreground {
            return Ok(text);
        }
        print!("{text}");
        let signals = self.host.shutdown_signals().and_then(ShutdownSignals::and_hangup);
        let mut signals = signals.map_err(|error| error.to_string())?;
        signals.next().await;
        self.stop().await
    }

    /// Starts a node that does not run, and waits until it follows a primary. Without a majority of running nodes there
    /// hardly is one, so that is not waited for long.
    async fn start_one(&self, zone: &str) -> Result<String, String> {
        let port = self.port_of(zone)?;
        if self.process_of(zone).is_some() {
            return Err(format!("zone {zone} runs already"));
        }
        self.start(zone, Life::OfItsOwn)?;
        self.wait_for_answer(zone, port).await?;
        let nodes = self.nodes();
        let running = nodes.iter().filter(|node| self.process_of(&node.name).is_some()).count();
        let is_minority = running <= nodes.len() / 2;
        let patience = if is_minority { LONELY_TIME_MAX } else { FOLLOW_TIME_MAX };
        let until_ns = self.host.clock().monotonic_ns() + patience.as_nanos() as u64;
        loop {
            self.check_running()?;
            let seen = self.status().await;
            if let Ok(status) = &seen
                && status.nodes.iter().any(|node| node.node == zone && follows(node))
            {
                return Ok(table(status));
            }
            if self.host.clock().monotonic_ns() < until_ns {
                ramkeep_net::sleep(STEP).await;
                continue;
            }
            let state = self.state_of(port).await;
            return match seen {
                // One that comes back with old data is called that as well, until the others have taken it in again.
                _ if state == "removed" => Err(format!(
                    "zone {zone} was replaced or removed, and serves nothing; {}",
                    self.said(zone)
                )),
                Ok(status) if status.has_quorum => Err(format!(
                    "zone {zone} runs and does not follow a primary, although there is a quorum: it is '{state}'; {}",
                    self.said(zone)
                )),
                _ if is_minority => {
                    Ok(format!("zone {zone} runs; no quorum yet: {running} of {} nodes run\n", nodes.len()))
                }
                _ => Ok(format!("zone {zone} runs; no quorum yet\n")),
            };
        }
    }

    /// What the node says that it is; one that reads its data says nothing yet.
    async fn state_of(&self, port: u16) -> String {
        let answer = ramkeep_net::timeout(ANSWER_TIME_MAX, ask(self.host, &target(port))).await;
        let own = answer.ok().and_then(Result::ok).and_then(|status| {
            status.nodes.into_iter().find(|node| node.node == status.asked).map(|node| node.state)
        });
        own.unwrap_or_else(|| "starting".to_owned())
    }

    /// The last line that the node has printed, and where the others are.
    fn said(&self, name: &str) -> String {
        format!("it said last: {}\nsee {}/{name}.log", self.last_line(name), self.shown)
    }

    fn last_line(&self, name: &str) -> String {
        let log = self.host.read_file(&self.path(&format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).trim_end().lines().last().unwrap_or("").to_owned()
    }

    /// A refusal is an answer as well: the node may be reading its data.
    async fn wait_for_answer(&self, zone: &str, port: u16) -> Result<(), String> {
        for _ in 0..READY_STEPS_MAX {
            self.check_running()?;
            let answer = ramkeep_net::timeout(ANSWER_TIME_MAX, ask(self.host, &target(port))).await;
            if matches!(answer, Ok(Ok(_) | Err(ClientError::Refused(_)))) {
                return Ok(());
            }
            ramkeep_net::sleep(STEP).await;
        }
        Err(format!("zone {zone} runs and does not answer; see {}/{zone}.log", self.shown))
    }

    /// Nothing is written for nodes that could not start: the files would keep the ports for good.
    fn check_ports(&self, nodes: &[DevNode]) -> Result<(), String> {
        for port in nodes.iter().flat_map(|node| [node.port, node.peer_port]) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            self.host
                .listen(address, 1)
                .map_err(|error| format!("port {port} cannot be had: {error}; take another --port"))?;
        }
        Ok(())
    }

    fn write(&self, nodes: &[DevNode]) -> Result<(), String> {
        std::fs::create_dir_all(&self.directory).map_err(|error| format!("{}: {error}", self.shown))?;
        let mut random = self.host.rng("dev");
        let mut hex = || format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
        let (cluster, secret) = (format!("dev-{}", hex()), hex());
        for node in nodes {
            let text = configuration(node, nodes, &self.directory, &cluster, &secret);
            let name = self.path(&format!("{}.conf", node.name));
            write_private(&name, &text).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// The nodes whose files are there.
    fn nodes(&self) -> Vec<DevNode> {
        let names = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
        let texts = names.map_while(|name| self.host.read_file(&self.path(&format!("{name}.conf"))).ok());
        texts.filter_map(|text| node_of(&String::from_utf8_lossy(&text))).collect()
    }

    /// The same, of a cluster that there must be.
    fn existing(&self) -> Result<Vec<DevNode>, String> {
        let nodes = self.nodes();
        match nodes.is_empty() {
            true => Err(format!("there is no cluster in {}: `ramkeep dev` makes one", self.shown)),
            false => Ok(nodes),
        }
    }

    fn port_of(&self, zone: &str) -> Result<u16, String> {
        let nodes = self.existing()?;
        let found = nodes.iter().find(|node| node.name == zone).map(|node| node.port);
        found.ok_or_else(|| {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            format!("there is no zone '{zone}'; there are {}", names.join(", "))
        })
    }

    fn start(&self, name: &str, life: Life) -> Result<(), String> {
        let executable = self.host.facts().executable;
        let log = self.path(&format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(|error| format!("{log}: {error}"))?;
        let errors = output.try_clone().map_err(|error| format!("{log}: {error}"))?;
        let mut command = Command::new(&executable);
        match life {
            Life::OfItsOwn => command.stdin(Stdio::null()),
            // Its other end is held with the child.
            Life::OfCommand => command.stdin(Stdio::piped()).env(ENDS_WITH_INPUT, "1"),
        };
        let child = command
            .arg(self.path(&format!("{name}.conf")))
            .stdout(output)
            .stderr(errors)
            // A signal from the terminal is for the command, not for the nodes.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{executable}: {error}"))?;
        let file = self.path(&format!("{name}.pid"));
        let written = self.host.write_file(&file, format!("{}\n", child.id()).as_bytes());
        self.started.borrow_mut().push((name.to_owned(), child));
        written.map_err(|error| format!("{file}: {error}"))
    }

    /// The process that runs this node, if it does.
    fn process_of(&self, name: &str) -> Option<u32> {
        let text = self.host.read_file(&self.path(&format!("{name}.pid"))).ok()?;
        let process: u32 = String::from_utf8_lossy(&text).trim().parse().ok()?;
        let line = told_by_ps("stat=,args=", process)?;
        let is_ours = line.contains(&self.path(&format!("{name}.conf"))) && !line.starts_with('Z');
        is_ours.then_some(process)
    }

    fn signal(&self, name: &str, signal: &str) -> Result<(), String> {
        self.port_of(name)?;
        let process = self.process_of(name).ok_or_else(|| format!("zone {name} does not run"))?;
        let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("zone {name} cannot be signalled: {status}")),
            Err(error) => Err(format!("zone {name} cannot be signalled: {error}")),
        }
    }

    /// Returns when the process has let go of its ports and its directory, so that it can be started again at once.
    async fn kill(&self, name: &str) -> Result<String, String> {
        let process = self.process_of(name);
        self.signal(name, "KILL")?;
        for _ in 0..STOP_STEPS_MAX {
            if process.is_none_or(is_gone) {
                return Ok(format!("zone {name}: killed\n"));
            }
            ramkeep_net::sleep(GONE_STEP).await;
        }
        Err(format!("zone {name} was killed and has not ended yet: perhaps its disk does not answer"))
    }

    async fn call(&self, zone: &str, word: &'static str) -> Result<(), String> {
        let port = self.port_of(zone)?;
        if self.process_of(zone).is_none() {
            return Err(format!("zone {zone} does not run"));
        }
        tell(self.host.clone(), port, word).await.map_err(|error| format!("zone {zone}: {error}"))
    }

    /// All nodes are asked at once, so that one that stands still keeps none of the others cut off.
    async fn heal(&self) -> Result<String, String> {
        let (running, down): (Vec<_>, Vec<_>) =
            self.existing()?.into_iter().partition(|node| self.process_of(&node.name).is_some());
        let asked: Vec<_> = running
            .into_iter()
            .map(|node| (node.name, ramkeep_net::spawn(tell(self.host.clone(), node.port, "HEAL"))))
            .collect();
        let mut failed: Vec<String> =
            down.into_iter().map(|node| format!("zone {} does not run", node.name)).collect();
        for (name, asking) in asked {
            let outcome = asking.await.map_err(|error| error.to_string());
            if let Err(why) = outcome.and_then(|told| told.map_err(|error| error.to_string())) {
                failed.push(format!("zone {name} could not be asked: {why}"));
            }
        }
        match failed.is_empty() {
            true => Ok("all zones reach each other again\n".into()),
            false => Err(format!("{}; all others are healed", failed.join("; "))),
        }
    }

    /// As a node sees it that has a quorum, whichever answers first; else as the first that answers at all.
    async fn status(&self) -> Result<ClusterStatus, String> {
        let nodes = self.existing()?;
        let (sender, mut answers) = ramkeep_net::mpsc::unbounded_channel();
        for DevNode { port, .. } in nodes {
            let (host, sender) = (self.host.clone(), sender.clone());
            ramkeep_net::spawn(async move {
                let answer = ramkeep_net::timeout(ANSWER_TIME_MAX, ask(&host, &target(port))).await;
                // Nobody waits any more for what comes after the first that has a quorum.
                let _ = sender.send(answer);
            });
        }
        drop(sender);
        let mut found = None;
        while let Some(answer) = answers.recv().await {
            match answer {
                Ok(Ok(status)) if status.has_quorum => return Ok(status),
                Ok(Ok(status)) => found = found.or(Some(status)),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        found.ok_or_else(|| "no node answers".to_owned())
    }

    /// A node that ended by itself has said why; one that was killed is not waited for.
    fn check_running(&self) -> Result<(), String> {
        for (name, _) in &*self.started.borrow() {
            if self.process_of(name).is_none() {
                return Err(format!("zone {name} ended: {}", self.last_line(name)));
            }
        }
        Ok(())
    }

    async fn wait(
        &self,
        steps_max: usize,
        is_enough: impl Fn(&ClusterStatus) -> bool,
    ) -> Result<ClusterStatus, String> {
        let mut last = Err("no node answers".to_owned());
        for _ in 0..steps_max {
            self.check_running()?;
            last = self.status().await;
            if let Ok(status) = &last
                && is_enough(status)
            {
                return last;
            }
            ramkeep_net::sleep(STEP).await;
        }
        let seen = last.map_or_else(|why| why, |status| table(&status));
        Err(format!("the cluster is not ready; see the .log files in {}\n{seen}", self.shown))
    }

    async fn stop(&self) -> Result<String, String> {
        let names = self.existing()?.into_iter().map(|node| node.name);
        let running: Vec<(String, u32)> =
            names.filter_map(|name| self.process_of(&name).map(|process| (name, process))).collect();
        for (name, _) in &running {
            // One that stands still would not hear.
            self.signal(name, "CONT")?;
            self.signal(name, "TERM")?;
        }
        for _ in 0..STOP_STEPS_MAX {
            if running.iter().all(|(_, process)| is_gone(*process)) {
                return Ok(format!("stopped {} nodes; the data stay in {}\n", running.len(), self.shown));
            }
            ramkeep_net::sleep(STEP).await;
        }
        Err("some nodes do not stop; `ramkeep dev kill ZONE` ends them".into())
    }
}

/// Writes a file that nobody else on the machine may read, since it holds the secret between the nodes; all of it or none.
pub fn write_private(path: &str, text: &str) -> std::io::Result<()> {
    let partial = format!("{path}.partial");
    // What a crash has left may be open to others, and stays so while it is written to.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

/// A node that was removed may know a primary for a moment.
fn follows(node: &NodeStatus) -> bool {
    node.primary.is_some() && node.state != "removed"
}

/// Tells a node a word that it only confirms.
async fn tell(host: Host, port: u16, word: &'static str) -> Result<(), ClientError> {
    let telling = async {
        let mut client = Client::connect(&host, &target(port)).await?;
        client.call(&["RAMKEEP", word]).await.map(drop)
    };
    let told = ramkeep_net::timeout(ANSWER_TIME_MAX, telling).await;
    told.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// One line about a process; empty if there is none.
fn told_by_ps(columns: &str, process: u32) -> Option<String> {
    let output = Command::new("ps").args(["-o", columns, "-p", &process.to_string()]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether nothing of a process holds ports or files any more.
fn is_gone(process: u32) -> bool {
    told_by_ps("stat=", process).is_some_and(|state| has_ended(&state))
}

/// Reads what `ps` calls its state. A zombie has let go of everything, unless threads of it still end (`l`).
fn has_ended(state: &str) -> bool {
    state.is_empty() || state.starts_with('Z') && !state.contains('l')
}

#[cfg(test)]
mod tests {
    use super::has_ended;

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        for (state, expected) in
            [("", true), ("Z", true), ("Zs", true), ("Zl", false), ("Sl", false), ("D", false)]
        {
            assert_eq!(has_ended(state), expected, "{state}");
        }
    }
}
