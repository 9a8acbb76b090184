//! Server processes under test.
//!
//! Lives here: where the server's program is, free ports, start, readiness, kill, restart on the
//! same folder, removal of what was left.
//! Not here: the client (`resp`) and what the tests ask.
//!
//! Invariant: a server and its folder are gone when their value is dropped, unless the test failed:
//! then the folder stays and its path is printed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cargo;
use crate::resp::{Client, Value};

/// Longest wait for a server that has been started, replay of its log included.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a server that has been asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Which program a server process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
}

impl Program {
    /// The server under test: `RAMKEEP_TEST_BINARY` where that is set, otherwise our own, freshly built.
    pub fn under_test() -> Self {
        static PATH: OnceLock<PathBuf> = OnceLock::new();
        let path = PATH.get_or_init(|| match std::env::var_os("RAMKEEP_TEST_BINARY") {
            Some(path) => PathBuf::from(path),
            None => cargo::build_server(),
        });
        Self { path: path.clone() }
    }

    /// Redis and its kin need to be told to keep every write; ours does nothing else.
    fn is_redis_like(&self) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.contains("redis-server") || name.contains("valkey-server"))
    }
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: Program,
    /// Extra arguments in redis-server's form.
    pub arguments: Vec<String>,
    /// Whether every acknowledged write must survive (only asked of Redis-like programs).
    pub durable: bool,
}

impl Options {
    pub fn under_test() -> Self {
        Self::of(Program::under_test())
    }

    pub fn of(program: Program) -> Self {
        Self { program, arguments: Vec::new(), durable: false }
    }

    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }
}

/// One server process on a loopback port, with a folder of its own.
pub struct Server {
    options: Options,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server in a fresh folder and waits until it answers.
    pub fn start(options: Options) -> Self {
        let mut server = Self { folder: fresh_folder(), port: free_port(), options, child: None };
        server.start_again();
        server
    }

    /// Starts the process again on the same folder and port; it must not be running.
    pub fn start_again(&mut self) {
        self.try_start_again().unwrap_or_else(|why| panic!("{why}\n{}", self.log_tail()));
    }

    fn try_start_again(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "a server is started once at a time");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(|error| format!("no log file: {error}"))?;
        let mut command = Command::new(&self.options.program.path);
        command.args(["--port", &self.port.to_string(), "--dir"]).arg(&self.folder);
        if self.options.program.is_redis_like() {
            command.args(["--save", "", "--bind", "127.0.0.1"]);
            if self.options.durable {
                command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            }
        }
        let child = command
            .args(&self.options.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(|error| error.to_string())?)
            .stdout(log)
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", self.options.program.path.display()))?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                self.child = None;
                return Err(format!("the server ended while starting: {status}"));
            }
            if let Ok(mut client) = Client::connect(self.address()) {
                match client.call(&["PING"]) {
                    Ok(Value::Error(text)) if text.starts_with("LOADING") => {}
                    Ok(_) => return Ok(()),
                    Err(_) => {}
                }
            }
            if Instant::now() > deadline {
                return Err("the server does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// A new connection to the running server.
    pub fn client(&self) -> Client {
        Client::connect(self.address()).expect("a running server accepts connections")
    }

    /// `kill -9`: the process has no say in it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended by itself, which the caller will notice at the restart.
            let _ = child.kill();
            child.wait().expect("a child of ours can be waited for");
        }
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("only a running server is stopped");
        let killed = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .expect("kill is part of every system");
        assert!(killed.success(), "a running child takes signals");
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                self.child = Some(child);
                panic!("no end {STOP_PATIENCE:?} after SIGTERM\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The end of what the server has printed.
    pub fn log_tail(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            // A log that cannot be read is only less to show.
            let _ = file.read_to_end(&mut text);
        }
        let start = text.len().saturating_sub(2000);
        format!("--- end of {}\n{}", self.log_path().display(), String::from_utf8_lossy(&text[start..]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "the server's folder is left for a look: {}\n{}",
                self.folder.display(),
                self.log_tail()
            );
        } else if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

/// A folder of its own under the target folder, on a real disk (`/tmp` may be memory).
pub fn fresh_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = cargo::profile_folder().join("tests-data").join(name);
    match fs::remove_dir_all(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => panic!("{} stays: {error}", folder.display()),
    }
    fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// A loopback port that nobody listens on, below those of outgoing connections: a server that is killed can come back to it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 23_000;
    const COUNT: u32 = 7_000;
    // Processes that ask at once begin at places of their own.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    let next = || FIRST + (start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..COUNT).map(|_| next()).find(is_free).expect("some ports are free")
}
