//! The command line.
//!
//! Lives here: telling subcommands apart, and redis-server's own rule for the arguments of `server`: an optional
//! file, then `--directive value …`. Not here: what the values mean (`engine::config`), running anything.
//!
//! Invariant: what cannot be understood is a `UsageError` that names the closest thing known; the process then ends
//! with exit code 2.

use crate::cli::client::Target;
use crate::cli::demo::{self, DemoArguments};
use crate::cli::dev::{DEFAULT_DIRECTORY, DEFAULT_PORT, DevAction, DevArguments, Plan};
use crate::cli::member::{self, MemberAction, MemberArguments};
use crate::cli::status::{FailoverArguments, StatusArguments};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use ramkeep_drive::target::Url;
use ramkeep_engine::config::{DIRECTIVES, closest_directive, split_address};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    Server(ServerArguments),
    Log(LogArguments),
    ConfigCheck(ConfigCheckArguments),
    Snapshot(SnapshotArguments),
    SnapshotCreate(Target),
    Dev(DevArguments),
    Demo(DemoArguments),
    Status(StatusArguments),
    Failover(FailoverArguments),
    Member(MemberArguments),
    /// Print this and end with exit code 0.
    Print(String),
}

impl Invocation {
    /// The node that is asked gets this password, unless the command line gives one.
    pub fn with_password(mut self, password: Option<String>) -> Self {
        let target = match &mut self {
            Invocation::SnapshotCreate(target) => Some(target),
            Invocation::Status(arguments) => Some(&mut arguments.target),
            Invocation::Failover(arguments) => Some(&mut arguments.target),
            Invocation::Member(arguments) => Some(&mut arguments.target),
            Invocation::Server(_)
            | Invocation::Log(_)
            | Invocation::ConfigCheck(_)
            | Invocation::Snapshot(_)
            | Invocation::Dev(_)
            | Invocation::Demo(_)
            | Invocation::Print(_) => None,
        };
        if let Some(target) = target {
            target.password = target.password.take().or(password);
        }
        self
    }
}

/// Name of the variable in the environment that holds it.
pub const PASSWORD_VARIABLE: &str = "RAMKEEP_PASSWORD";

/// How to start a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServerArguments {
    pub file: Option<String>,
    /// More directives come from standard input, after the file.
    pub reads_standard_input: bool,
    /// Applied last, in this order.
    pub overrides: Vec<Override>,
}

/// One `--directive value …`.
#[derive(Debug, PartialEq, Eq)]
pub struct Override {
    pub name: String,
    pub values: Vec<String>,
}

/// `log inspect` and `log verify`.
#[derive(Debug, PartialEq, Eq)]
pub struct LogArguments {
    pub action: LogAction,
    /// A data directory of a node that is not running.
    pub directory: PathBuf,
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAction {
    /// Print every record.
    Inspect,
    /// Print what is damaged, if anything.
    Verify,
}

/// `snapshot list` and `snapshot verify`.
#[derive(Debug, PartialEq, Eq)]
pub struct SnapshotArguments {
    pub action: SnapshotAction,
    /// A data directory.
    pub directory: PathBuf,
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotAction {
    List,
    Verify,
}

/// `config check`.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigCheckArguments {
    /// `-` for standard input.
    pub file: String,
    pub json: bool,
}

/// The command line cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    pub message: String,
}

/// Exit code after a `UsageError`.
pub const USAGE_EXIT_CODE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "ramkeep",
    version,
    about = "A Redis-compatible in-memory database that answers OK when the write is on disk",
    override_usage = "ramkeep [server] [FILE] [--DIRECTIVE VALUE …]\n       ramkeep <COMMAND>"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node (the default): FILE in redis.conf's syntax, `-` for standard input, then directives as options
    #[command(override_usage = "ramkeep [server] [FILE] [--DIRECTIVE VALUE …] [-]")]
    Server {
        /// As for redis-server: `--port 7000 --bind 127.0.0.1 ::1 --save ""`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Read the transaction log of a node that is not running
    Log {
        #[command(subcommand)]
        action: LogCommand,
    },
    /// Look at the snapshots in a data directory
    Snapshot {
        #[command(subcommand)]
        action: SnapshotCommand,
    },
    /// Three zones on this machine, to be played with and broken
    Dev(DevOptions),
    /// Start three zones, kill and cut them off under load, count what was lost; exit code 1 if anything was
    Demo(DemoOptions),
    /// Tell how the cluster does; exit code 1 without a quorum
    Status {
        #[command(flatten)]
        node: NodeOptions,
        /// One JSON value
        #[arg(long)]
        json: bool,
    },
    /// Hand the primary's role to another node
    Failover {
        #[command(flatten)]
        node: NodeOptions,
        /// The node that is to serve; any that can if not given
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Show the members of the cluster, or change them
    Member {
        #[command(subcommand)]
        action: MemberCommand,
    },
    /// Look at configuration files
    Config {
        #[command(subcommand)]
        action: ConfigCommand,
    },
}

/// Which node is asked; any node of a cluster knows of all.
#[derive(clap::Args)]
struct NodeOptions {
    /// Of the node that is asked; 127.0.0.1 if nothing is said
    #[arg(long)]
    host: Option<String>,
    /// Of the node that is asked; 6379 if nothing is said
    #[arg(long, short)]
    port: Option<u16>,
    /// A node that is asked if those named before it do not answer; may be given several times
    #[arg(long, value_name = "HOST:PORT", value_parser = read_address)]
    at: Vec<(String, u16)>,
    /// Password of the node; without it that in the environment variable RAMKEEP_PASSWORD, which `ps` does not show
    #[arg(long)]
    password: Option<String>,
}

impl NodeOptions {
    /// Without `--at` the usual address counts; with it only what was said.
    fn target(self) -> Target {
        let mut addresses = Vec::new();
        if self.host.is_some() || self.port.is_some() || self.at.is_empty() {
            let host = self.host.unwrap_or_else(|| "127.0.0.1".to_owned());
            addresses.push((host, self.port.unwrap_or(DEFAULT_PORT)));
        }
        addresses.extend(self.at);
        Target { addresses, password: self.password }
    }
}

fn read_address(text: &str) -> Result<(String, u16), String> {
    split_address(text)
        .map(|(host, port)| (host.to_owned(), port))
        .ok_or_else(|| "HOST:PORT is wanted".to_owned())
}

#[derive(clap::Args)]
struct DemoOptions {
    /// How long it goes on, 3 to 3600 seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(demo::SECONDS_MIN as i64..=demo::SECONDS_MAX as i64))]
    seconds: u32,
    /// Write to this server instead, and do it no harm: redis://[[user]:password@]host[:port][/database]
    #[arg(long, value_name = "URL", value_parser = Url::parse)]
    against: Option<Url>,
    /// Where the history and the report go
    #[arg(long, default_value = demo::DEFAULT_DIRECTORY)]
    dir: String,
    /// The summary as one JSON value, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

impl DemoOptions {
    fn arguments(self) -> DemoArguments {
        let DemoOptions { seconds, against, dir: directory, json } = self;
        DemoArguments { seconds, against, directory, json }
    }
}

#[derive(clap::Args)]
struct DevOptions {
    /// Zones, each with one node; 3 if nothing is said and the folder holds no cluster
    #[arg(long)]
    nodes: Option<usize>,
    /// Port of the first node's clients, the others follow; 6379 if nothing is said and the folder holds no cluster
    #[arg(long)]
    port: Option<u16>,
    /// Where all of it is kept
    #[arg(long, default_value = DEFAULT_DIRECTORY, global = true)]
    dir: String,
    /// A zone that holds the log alone
    #[arg(long, value_name = "ZONE")]
    log_only_zone: Option<String>,
    /// Stay until Ctrl-C, then stop the nodes
    #[arg(long)]
    foreground: bool,
    #[command(subcommand)]
    action: Option<DevCommand>,
}

#[derive(Subcommand)]
enum DevCommand {
    /// kill -9
    Kill { zone: String },
    /// Start a node that does not run
    Start { zone: String },
    /// Make a node stand still
    Pause { zone: String },
    /// Let it run on
    Resume { zone: String },
    /// Cut a zone off from the others
    Partition { zone: String },
    /// Take a zone's partition back, or all of them
    Heal { zone: Option<String> },
    /// Show all nodes
    Status,
    /// Stop all nodes; the data stay
    Stop,
}

impl DevOptions {
    fn arguments(self) -> DevArguments {
        let action = match self.action {
            None => DevAction::Up(Plan {
                nodes: self.nodes,
                port: self.port,
                log_only_zone: self.log_only_zone,
                foreground: self.foreground,
            }),
            Some(DevCommand::Kill { zone }) => DevAction::Kill(zone),
            Some(DevCommand::Start { zone }) => DevAction::Start(zone),
            Some(DevCommand::Pause { zone }) => DevAction::Pause(zone),
            Some(DevCommand::Resume { zone }) => DevAction::Resume(zone),
            Some(DevCommand::Partition { zone }) => DevAction::Partition(zone),
            Some(DevCommand::Heal { zone }) => DevAction::Heal(zone),
            Some(DevCommand::Status) => DevAction::Status,
            Some(DevCommand::Stop) => DevAction::Stop,
        };
        DevArguments { directory: self.dir, action }
    }
}

#[derive(Subcommand)]
enum MemberCommand {
    /// Who is a member, who votes, what is under way
    List {
        #[command(flatten)]
        node: NodeOptions,
        /// One JSON value
        #[arg(long)]
        json: bool,
    },
    /// Add a node that runs and waits: it catches up, and votes if its zone has no voter
    Add {
        /// Its `member` line
        #[arg(required = true, num_args = 5, value_names = ["NAME", "ZONE", "ROLE", "PEER_ADDRESS", "CLIENT_ADDRESS"])]
        member: Vec<String>,
        #[command(flatten)]
        change: ChangeOptions,
    },
    /// Take a node out; at least three zones keep a voter
    Remove {
        name: String,
        #[command(flatten)]
        change: ChangeOptions,
    },
    /// Let a node that lost its data, or another one, take a node's place
    Replace {
        name: String,
        /// The `member` line of the other one
        #[arg(num_args = 5, value_names = ["NAME", "ZONE", "ROLE", "PEER_ADDRESS", "CLIENT_ADDRESS"])]
        with: Vec<String>,
        #[command(flatten)]
        change: ChangeOptions,
    },
}

#[derive(clap::Args)]
struct ChangeOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Seconds for which the change is followed
    #[arg(long, value_name = "SECONDS", default_value_t = member::TIMEOUT_S, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    timeout: u64,
}

impl MemberCommand {
    fn arguments(self) -> MemberArguments {
        let (action, change) = match self {
            MemberCommand::List { node, json } => {
                let action = MemberAction::List { json };
                return MemberArguments { target: node.target(), action, timeout_s: member::TIMEOUT_S };
            }
            MemberCommand::Add { member, change } => (MemberAction::Add(member), change),
            MemberCommand::Remove { name, change } => (MemberAction::Remove(name), change),
            MemberCommand::Replace { name, with, change } => (MemberAction::Replace(name, with), change),
        };
        MemberArguments { target: change.node.target(), action, timeout_s: change.timeout }
    }
}

#[derive(Subcommand)]
enum LogCommand {
    /// Print every record
    Inspect(LogTarget),
    /// Check every record; exit code 1 if one is damaged
    Verify(LogTarget),
}

#[derive(Subcommand)]
enum SnapshotCommand {
    /// Print each snapshot's file, position and size
    List(LogTarget),
    /// Read each snapshot to its end; exit code 1 if one is damaged, or there is none
    Verify(LogTarget),
    /// Have a running node make one, and wait for it
    Create(NodeOptions),
}

#[derive(clap::Args)]
struct LogTarget {
    /// The data directory
    directory: PathBuf,
    /// One JSON value per line
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Tell of each directive in a redis.conf whether it is honoured, harmless or refused; exit code 1 if one is refused
    Check {
        /// The file, or `-` for standard input
        file: String,
        /// One JSON value
        #[arg(long)]
        json: bool,
    },
}

/// Reads the command line, without the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut words = Vec::new();
    for (index, argument) in arguments.into_iter().enumerate() {
        let word =
            argument.into_string().map_err(|_| usage(format!("argument {} is not UTF-8", index + 1)))?;
        words.push(word);
    }
    let first = words.first().map(String::as_str);
    let is_alone = words.len() == 1;
    match first {
        Some("--version" | "-v" | "-V") if is_alone => {
            Ok(Invocation::Print(CommandLine::command().render_version()))
        }
        Some("--help" | "-h") if is_alone => {
            Ok(Invocation::Print(CommandLine::command().render_long_help().to_string()))
        }
        Some("server") if !matches!(words.get(1).map(String::as_str), Some("--help" | "-h")) => {
            server(&words[1..]).map(Invocation::Server)
        }
        Some(
            "server" | "log" | "snapshot" | "config" | "dev" | "demo" | "status" | "failover" | "member"
            | "help",
        ) => subcommand(words),
        _ => server(&words).map(Invocation::Server),
    }
}

/// The closest subcommand, for a file that does not exist.
pub fn closest_subcommand(word: &str) -> Option<&'static str> {
    let known =
        ["server", "log", "snapshot", "config", "dev", "demo", "status", "failover", "member", "help"];
    ramkeep_engine::config::closest(word, known.into_iter())
}

fn subcommand(words: Vec<String>) -> Result<Invocation, UsageError> {
    let with_name = std::iter::once("ramkeep".to_owned()).chain(words);
    let command = match CommandLine::try_parse_from(with_name) {
        Ok(line) => line.command,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) => {
            let message = error.render().to_string();
            return Err(usage(message.strip_prefix("error: ").unwrap_or(&message).trim_end().to_owned()));
        }
    };
    Ok(match command {
        Command::Server { arguments } => Invocation::Server(server(&arguments)?),
        Command::Log { action } => {
            let (action, target) = match action {
                LogCommand::Inspect(target) => (LogAction::Inspect, target),
                LogCommand::Verify(target) => (LogAction::Verify, target),
            };
            Invocation::Log(LogArguments { action, directory: target.directory, json: target.json })
        }
        Command::Snapshot { action } => {
            let (action, target) = match action {
                SnapshotCommand::List(target) => (SnapshotAction::List, target),
                SnapshotCommand::Verify(target) => (SnapshotAction::Verify, target),
                SnapshotCommand::Create(node) => return Ok(Invocation::SnapshotCreate(node.target())),
            };
            Invocation::Snapshot(SnapshotArguments { action, directory: target.directory, json: target.json })
        }
        Command::Dev(options) => Invocation::Dev(options.arguments()),
        Command::Demo(options) => Invocation::Demo(options.arguments()),
        Command::Status { node, json } => Invocation::Status(StatusArguments { target: node.target(), json }),
        Command::Failover { node, to } => {
            Invocation::Failover(FailoverArguments { target: node.target(), to })
        }
        Command::Member { action } => Invocation::Member(action.arguments()),
        Command::Config { action: ConfigCommand::Check { file, json } } => {
            Invocation::ConfigCheck(ConfigCheckArguments { file, json })
        }
    })
}

/// redis-server's rule: the first word is a file unless it begins with `-`; each `--name` takes the words up to the
/// next one; a last `-` reads standard input.
fn server(words: &[String]) -> Result<ServerArguments, UsageError> {
    let mut arguments = ServerArguments::default();
    let mut rest = words;
    if let Some((last, before)) = rest.split_last()
        && last == "-"
    {
        arguments.reads_standard_input = true;
        rest = before;
    }
    if let Some((first, after)) = rest.split_first()
        && !first.starts_with('-')
    {
        arguments.file = Some(first.clone());
        rest = after;
    }
    for word in rest {
        match word.strip_prefix("--") {
            Some(option) => arguments.overrides.push(option_of(option)?),
            None => match arguments.overrides.last_mut() {
                Some(option) => option.values.push(word.clone()),
                None => return Err(usage(format!("'{word}' is no option: options begin with '--'"))),
            },
        }
    }
    for option in &mut arguments.overrides {
        if option.values.is_empty() && option.name == "save" {
            option.values.push(String::new());
        }
        if option.values.is_empty() {
            return Err(usage(format!("'--{}' needs a value", option.name)));
        }
    }
    Ok(arguments)
}

/// Reads `name` or `name=value`.
fn option_of(option: &str) -> Result<Override, UsageError> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let name = name.to_ascii_lowercase();
    let is_known =
        name == "include" || DIRECTIVES.iter().any(|directive| directive.names().any(|known| known == name));
    if !is_known {
        let hint =
            closest_directive(&name).map(|known| format!("; did you mean '--{known}'?")).unwrap_or_default();
        return Err(usage(format!("there is no option '--{name}'{hint}")));
    }
    Ok(Override { name, values: value.map(str::to_owned).into_iter().collect() })
}

fn usage(message: String) -> UsageError {
    UsageError { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The invocation, or the message, of words split at spaces; `""` is an empty word.
    fn parsed(line: &str) -> Result<Invocation, String> {
        let words =
            line.split_whitespace().map(|word| OsString::from(if word == "\"\"" { "" } else { word }));
        parse(words).map_err(|error| error.message)
    }

    fn target(port: u16) -> Target {
        Target { addresses: vec![("127.0.0.1".into(), port)], password: None }
    }

    /// File, whether standard input is read, and the options, in one line.
    fn server_text(line: &str) -> String {
        match parsed(line) {
            Ok(Invocation::Server(arguments)) => {
                let mut text = arguments.file.unwrap_or_else(|| "none".into());
                for option in arguments.overrides {
                    text += &format!(" | {} {:?}", option.name, option.values);
                }
                if arguments.reads_standard_input {
                    text += " | stdin";
                }
                text
            }
            Ok(other) => format!("{other:?}"),
            Err(message) => format!("error: {message}"),
        }
    }

    #[test]
    fn server_arguments_follow_the_rule_of_redis_server() {
        for (line, expected) in [
            ("", "none"),
            ("server", "none"),
            ("redis.conf", "redis.conf"),
            ("server redis.conf", "redis.conf"),
            ("-", "none | stdin"),
            ("redis.conf -", "redis.conf | stdin"),
            ("--port 7777 --bind 127.0.0.1 ::1", r#"none | port ["7777"] | bind ["127.0.0.1", "::1"]"#),
            ("server a.conf --save \"\" --Port 1", r#"a.conf | save [""] | port ["1"]"#),
            ("--save --port 1", r#"none | save [""] | port ["1"]"#),
            ("--save 900 1 --save 300 10", r#"none | save ["900", "1"] | save ["300", "10"]"#),
            ("--slowlog-log-slower-than -1", r#"none | slowlog-log-slower-than ["-1"]"#),
            ("--log-format=json -", r#"none | log-format ["json"] | stdin"#),
            ("--include a.conf", r#"none | include ["a.conf"]"#),
            ("--prot 1", "error: there is no option '--prot'; did you mean '--port'?"),
            ("--colour red", "error: there is no option '--colour'"),
            ("--port", "error: '--port' needs a value"),
            ("-p 7777", "error: '-p' is no option: options begin with '--'"),
            ("a.conf b.conf", "error: 'b.conf' is no option: options begin with '--'"),
            ("--", "error: there is no option '--'"),
        ] {
            assert_eq!(server_text(line), expected, "{line}");
        }
    }

    #[test]
    fn subcommands_are_read() {
        for (line, expected) in [
            (
                "log inspect ./data --json",
                Invocation::Log(LogArguments {
                    action: LogAction::Inspect,
                    directory: "./data".into(),
                    json: true,
                }),
            ),
            (
                "log verify ./data",
                Invocation::Log(LogArguments {
                    action: LogAction::Verify,
                    directory: "./data".into(),
                    json: false,
                }),
            ),
            (
                "snapshot verify ./data --json",
                Invocation::Snapshot(SnapshotArguments {
                    action: SnapshotAction::Verify,
                    directory: "./data".into(),
                    json: true,
                }),
            ),
            ("snapshot create -p 7000", Invocation::SnapshotCreate(target(7000))),
            (
                "config check redis.conf --json",
                Invocation::ConfigCheck(ConfigCheckArguments { file: "redis.conf".into(), json: true }),
            ),
            (
                "config check -",
                Invocation::ConfigCheck(ConfigCheckArguments { file: "-".into(), json: false }),
            ),
        ] {
            assert_eq!(parsed(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_cluster_to_play_with_is_made_and_broken_by_words() {
        let action = |line: &str| match parsed(line) {
            Ok(Invocation::Dev(arguments)) => (arguments.directory, arguments.action),
            other => panic!("{line}: {other:?}"),
        };
        let plan = |nodes, port, zone: Option<&str>| {
            let log_only_zone = zone.map(str::to_owned);
            DevAction::Up(Plan { nodes, port, log_only_zone, foreground: false })
        };
        assert_eq!(action("dev"), (DEFAULT_DIRECTORY.into(), plan(None, None, None)));
        assert_eq!(
            action("dev --nodes 5 --port 7000 --dir d --log-only-zone c"),
            ("d".into(), plan(Some(5), Some(7000), Some("c")))
        );
        assert_eq!(action("dev --dir d kill a"), ("d".into(), DevAction::Kill("a".into())));
        assert_eq!(action("dev partition b --dir d"), ("d".into(), DevAction::Partition("b".into())));
        assert_eq!(action("dev heal"), (DEFAULT_DIRECTORY.into(), DevAction::Heal(None)));
        assert_eq!(action("dev heal b"), (DEFAULT_DIRECTORY.into(), DevAction::Heal(Some("b".into()))));
        assert!(parsed("dev kil a").expect_err("no such word").contains("kill"));
    }

    #[test]
    fn a_demonstration_goes_on_for_some_seconds_here_or_elsewhere() {
        let demo = |line: &str| match parsed(line) {
            Ok(Invocation::Demo(arguments)) => Ok(arguments),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(message) => Err(message),
        };
        let against = Url::parse("redis://:pw@h:7000/9").ok();
        let expected =
            DemoArguments { seconds: 30, against: None, directory: "./ramkeep-demo".into(), json: false };
        assert_eq!(demo("demo"), Ok(expected.clone()));
        assert_eq!(
            demo("demo --seconds 5 --against redis://:pw@h:7000/9 --dir d --json"),
            Ok(DemoArguments { seconds: 5, against, directory: "d".into(), json: true })
        );
        for line in ["demo --seconds 1", "demo --against localhost", "demo --against rediss://h"] {
            assert!(demo(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_cluster_is_asked_through_any_of_its_nodes() {
        assert_eq!(
            parsed("status --json"),
            Ok(Invocation::Status(StatusArguments { target: target(6379), json: true }))
        );
        assert_eq!(
            parsed("failover -p 7001 --to b"),
            Ok(Invocation::Failover(FailoverArguments { target: target(7001), to: Some("b".into()) }))
        );
        let addresses = |line: &str| match parsed(line) {
            Ok(Invocation::Status(arguments)) => Ok(arguments.target.to_string()),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(message) => Err(message),
        };
        for (line, expected) in [
            ("status", "127.0.0.1:6379"),
            ("status --host h", "h:6379"),
            ("status --at b:7001", "b:7001"),
            ("status --at b:7001 -p 7000 --at [::1]:7002", "127.0.0.1:7000, b:7001, [::1]:7002"),
        ] {
            assert_eq!(addresses(line).as_deref(), Ok(expected), "{line}");
        }
        for line in ["status --at b", "status --at b:x", "status --at :7"] {
            assert!(addresses(line).expect_err(line).contains("HOST:PORT"), "{line}");
        }
    }

    #[test]
    fn the_password_of_the_environment_is_taken_where_the_command_line_gives_none() {
        let password = |line: &str| {
            let invocation = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            match invocation.with_password(Some("secret".into())) {
                Invocation::Status(StatusArguments { target, .. })
                | Invocation::Failover(FailoverArguments { target, .. })
                | Invocation::Member(MemberArguments { target, .. })
                | Invocation::SnapshotCreate(target) => target.password,
                other => panic!("{line}: {other:?}"),
            }
        };
        for line in ["status", "failover", "member list", "member remove d", "snapshot create"] {
            assert_eq!(password(line).as_deref(), Some("secret"), "{line}");
            let line = format!("{line} --password other");
            assert_eq!(password(&line).as_deref(), Some("other"), "{line}");
        }
    }

    #[test]
    fn members_are_named_by_the_words_of_their_line() {
        let member = |line: &str| match parsed(line) {
            Ok(Invocation::Member(arguments)) => Ok(arguments),
            other => Err(format!("{line}: {other:?}")),
        };
        let line = ["d", "zd", "engine", "h:1", "h:2"].map(str::to_owned).to_vec();
        let added = member("member add d zd engine h:1 h:2 -p 7001 --timeout 5").expect("a change");
        assert_eq!((added.target, added.timeout_s), (target(7001), 5));
        assert_eq!(added.action, MemberAction::Add(line.clone()));
        let action = |line: &str| member(line).map(|arguments| arguments.action);
        assert_eq!(action("member list --json"), Ok(MemberAction::List { json: true }));
        assert_eq!(action("member remove d"), Ok(MemberAction::Remove("d".into())));
        assert_eq!(action("member replace c"), Ok(MemberAction::Replace("c".into(), Vec::new())));
        assert_eq!(
            action("member replace c d zd engine h:1 h:2"),
            Ok(MemberAction::Replace("c".into(), line))
        );
        for bad in ["member add d", "member replace c d zd", "member", "member add d zd engine h:1 h:2 x"] {
            assert!(action(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn version_and_help_are_printed() {
        for (line, part) in [
            ("--version", env!("CARGO_PKG_VERSION")),
            ("-v", "ramkeep"),
            ("--help", "ramkeep [server] [FILE]"),
            ("-h", "config"),
            ("help", "Usage"),
            ("log --help", "inspect"),
            ("server --help", "redis-server"),
        ] {
            match parsed(line) {
                Ok(Invocation::Print(text)) => assert!(text.contains(part), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn bad_subcommands_come_with_a_hint() {
        for (line, part) in [
            ("log inspct ./data", "inspect"),
            ("config check f --jsn", "--json"),
            ("config", "check"),
            ("log verify", "DIR"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
        assert_eq!(closest_subcommand("serve"), Some("server"));
        assert_eq!(closest_subcommand("redis.conf"), None);
    }
}
