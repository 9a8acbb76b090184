//! Nodes of one test in this process: the server's own code on real sockets and simulated disks.

use ramkeep_drive::ports::free_port;
use ramkeep_engine::NodeFacts;
use ramkeep_engine::config::Config;
use ramkeep_engine::time::Now;
use ramkeep_net::simdisk::{SimDisk, SteppedDisk};
use ramkeep_net::{ChaCha8Rng, Conn, Host, sleep, timeout};
use ramkeep_server::node::Node;
use ramkeep_server::start;
use rand_core::SeedableRng;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Longest wait for anything: far longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stays of a machine when its process or its power goes.
pub type Machine = Rc<RefCell<SimDisk>>;

pub fn machine(seed: u64) -> Machine {
    Rc::new(RefCell::new(SimDisk::new(ChaCha8Rng::seed_from_u64(seed), 512, 64 << 20)))
}

/// A member's name, role and ports.
#[derive(Clone)]
pub struct Member {
    pub name: &'static str,
    pub role: &'static str,
    client: u16,
    peer: u16,
}

impl Member {
    pub fn new(name: &'static str, role: &'static str) -> Member {
        let [client, peer] = [(); 2].map(|()| free_port().expect("some ports are free"));
        Member { name, role, client, peer }
    }

    fn words(&self) -> Vec<Vec<u8>> {
        let Member { name, role, client, peer } = self;
        let line = format!("{name} {name} {role} 127.0.0.1:{peer} 127.0.0.1:{client}");
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }
}

/// A node that serves.
pub struct Running {
    pub node: Rc<Node>,
    pub disk: SteppedDisk,
    address: SocketAddr,
}

impl Running {
    pub async fn client(&self) -> Client {
        let conn = Host::real().connect(self.address).await.expect("a running node takes clients");
        Client { conn, buffer: Vec::new() }
    }
}

/// Starts the member of this number, or a node alone where there are no members.
pub async fn start(members: &[Member], number: usize, machine: &Machine) -> Running {
    let (host, mut config) = (Host::real(), Config::new());
    let mut set = |name: &str, words: &[&[u8]]| {
        config.set_at_start(name, words).expect("settings of a test are legal");
    };
    set("segment-size-bytes", &[b"1048576"]);
    set("snapshot-log-bytes", &[b"0"]);
    set("enable-debug-command", &[b"yes"]);
    if let Some(member) = members.get(number) {
        set("cluster-id", &[b"test"]);
        set("node-name", &[member.name.as_bytes()]);
        let words: Vec<Vec<u8>> = members.iter().flat_map(Member::words).collect();
        set("member", &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    let clock = host.clock();
    let started_at = Now { monotonic_ns: clock.monotonic_ns(), wall_us: clock.wall_us() };
    let options = start::Options {
        config,
        facts: NodeFacts { started_at, ..NodeFacts::default() },
        directory: "data".into(),
        sector_bytes: 512,
        shard: ramkeep_shard::Options { turn_bytes_max: 4 << 10, ..Default::default() },
        segment_bytes: None,
        kept_bytes_max: None,
        mutants: Default::default(),
        stopwatch: ramkeep_net::stopwatch_ns,
        writes_beside_readers: ramkeep_server::node::WRITES_BESIDE_READERS,
    };
    let disk = SteppedDisk::open(Rc::clone(machine)).expect("nothing fails here");
    let opened = start::open_on(Rc::new(disk.clone()), &host, &options).await.expect("it opens");
    let directory = Rc::new(opened);
    let node = start::build(&host, &directory, options).await.expect("it is built");
    let port = members.get(number).map_or(0, |member| member.client);
    let listener = host.listen(SocketAddr::from(([127, 0, 0, 1], port)), 64).expect("a free port");
    let address = listener.local_address();
    start::spawn_tasks(&node, &directory, vec![listener]);
    start::connect(&node, &directory).await.expect("the others are there");
    start::recover(&node, &directory, Default::default()).await.expect("its data are good");
    Running { node, disk, address }
}

/// Starts all members, each on its machine.
pub async fn start_all(members: &[Member], machines: &[Machine]) -> Vec<Running> {
    let mut starting = Vec::new();
    for (number, machine) in machines.iter().enumerate() {
        let (members, machine) = (members.to_vec(), Rc::clone(machine));
        starting.push(ramkeep_net::spawn(async move { start(&members, number, &machine).await }));
    }
    let mut running = Vec::new();
    for starting in starting {
        running.push(within(starting).await.expect("it starts"));
    }
    running
}

/// The number of the node that serves as primary.
pub async fn primary(running: &[Running]) -> usize {
    until("a primary", || running.iter().any(|it| it.node.shard.borrow().is_leading())).await;
    running.iter().position(|it| it.node.shard.borrow().is_leading()).expect("just seen")
}

pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it takes no minutes")
}

pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Runs one life of all nodes; what runs in it ends with it, as killed.
pub fn life<T>(body: impl Future<Output = T>) -> T {
    ramkeep_net::run(body).expect("a runtime")
}

/// Speaks to one node.
pub struct Client {
    conn: Conn,
    buffer: Vec<u8>,
}

impl Client {
    /// Sends one request; gives the reply's line, or its text.
    pub async fn call(&mut self, words: &[&str]) -> String {
        self.send(words).await;
        within(self.reply()).await
    }

    pub async fn send(&mut self, words: &[&str]) {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        self.conn.write_all(request.as_bytes()).await.expect("the node takes it");
    }

    pub async fn reply(&mut self) -> String {
        loop {
            if let Some(line) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..line]).into_owned();
                let length = text.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                let end = line + 2 + length.map_or(0, |length| length + 2);
                if self.buffer.len() >= end {
                    let reply = match length {
                        Some(length) => self.buffer[line + 2..line + 2 + length].to_vec(),
                        None => self.buffer[..line].to_vec(),
                    };
                    self.buffer.drain(..end);
                    return String::from_utf8(reply).expect("text");
                }
            }
            self.buffer.reserve(64 << 10);
            let read = self.conn.read(&mut self.buffer).await.expect("the node answers");
            assert!(read > 0, "the node ended the connection");
        }
    }
}

/// Value of the key with this number, at its n-th writing.
pub fn value(number: usize, writing: usize) -> String {
    format!("{number}/{writing}/").repeat(700)
}

/// Writes keys up to `count`; each is acknowledged.
pub async fn fill(client: &mut Client, count: usize, writing: usize) {
    for number in 0..count {
        set(client, number, writing).await;
    }
}

/// Writes one key, again and again while the log's next segment is being made.
pub async fn set(client: &mut Client, number: usize, writing: usize) {
    let (key, value) = (format!("key{number}"), value(number, writing));
    loop {
        match client.call(&["SET", &key, &value]).await.as_str() {
            "+OK" => return,
            reply if reply.starts_with("-MISCONF") => sleep(Duration::from_millis(1)).await,
            reply => panic!("{reply}"),
        }
    }
}

/// Every key holds what was written last.
pub async fn check(client: &mut Client, count: usize, writing: usize) {
    for number in 0..count {
        assert_eq!(
            client.call(&["GET", &format!("key{number}")]).await,
            value(number, writing),
            "key{number}"
        );
    }
}
