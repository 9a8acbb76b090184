//! A quiet world with three nodes in three zones, played by hand: for scenarios of fixed events.
//!
//! Lives here: nodes, connections that send inline requests, finding the primary, disks carried from one world to
//! another.
//! Not here: what happens in a scenario (`tests`), drawn faults (`campaign`).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ramkeep_net::simdisk::SimDisk;
use ramkeep_net::{Conn, Host, NodeId, World, WorldOptions, simulate, sleep, timeout};
use ramkeep_server::node::Node;

use crate::campaign::node::{Bugs, PORT, Place, name, serve};
use crate::campaign::options::{Options, Purpose, Shape};

/// Simulated time that no scenario takes.
const LIMIT: Duration = Duration::from_secs(3_600);
/// Nodes that cannot agree on a primary for so long will not.
const PRIMARY_STEPS_MAX: u32 = 400;
const STEP: Duration = Duration::from_millis(50);
/// A question that is not answered within this is not answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays a scene in a quiet world; gives what it gives.
pub fn play<T: Send + 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    body: impl FnOnce(World) -> F + Send,
) -> T {
    simulate(seed, WorldOptions::default(), LIMIT, body)
}

/// Three nodes and a client of theirs.
pub struct Trio {
    pub world: World,
    pub nodes: Vec<NodeId>,
    pub client: Host,
    addresses: Rc<Vec<IpAddr>>,
    bugs: Bugs,
    /// Growth of the log after which a snapshot is made; 0: never.
    snapshot_log_bytes: u64,
    /// Folders of damaged data that a node started from now on sets aside at most; 0: it refuses to start.
    pub quarantines_max: Cell<u64>,
    /// What each runs, to be looked at.
    running: Rc<RefCell<Vec<Weak<Node>>>>,
}

impl Trio {
    /// All three are started.
    pub fn start(world: World, bugs: Bugs) -> Trio {
        Trio::with_snapshots(world, bugs, 0)
    }

    /// All three are started, and make snapshots.
    pub fn with_snapshots(world: World, bugs: Bugs, snapshot_log_bytes: u64) -> Trio {
        Trio::with_disks(world, bugs, snapshot_log_bytes, None)
    }

    /// All three are started over what another trio has left behind.
    pub fn with_disks(
        world: World,
        bugs: Bugs,
        snapshot_log_bytes: u64,
        disks: Option<[SimDisk; 3]>,
    ) -> Trio {
        let nodes: Vec<NodeId> = (0..3).map(|index| world.add_node(name(index), name(index))).collect();
        let client = world.host(world.add_node("client", "clients"));
        let addresses = Rc::new(nodes.iter().map(|node| world.address(*node)).collect());
        let running = Rc::new(RefCell::new(Vec::from([const { Weak::new() }; 3])));
        let quarantines_max = Cell::new(0);
        let trio =
            Trio { world, nodes, client, addresses, bugs, snapshot_log_bytes, quarantines_max, running };
        for (node, disk) in trio.nodes.iter().zip(disks.into_iter().flatten()) {
            trio.world.with_disk(*node, |there| *there = disk);
        }
        (0..3).for_each(|index| trio.start_node(index));
        trio
    }

    pub fn start_node(&self, index: usize) {
        let place = Place::Member { index, members: Rc::clone(&self.addresses) };
        let (bugs, running) = (self.bugs, Rc::clone(&self.running));
        let drawn = Options::draw(1, 1_000, Purpose::Cluster);
        let (snapshot_log_bytes, quarantines_max) = (self.snapshot_log_bytes, self.quarantines_max.get());
        let options = Options { shape: Shape::default(), snapshot_log_bytes, quarantines_max, ..drawn };
        self.world.start(self.nodes[index], move |host| async move {
            let built = |node: &Rc<Node>| running.borrow_mut()[index] = Rc::downgrade(node);
            if let Err(end) = serve(host, &options, bugs, place, built).await {
                panic!("{} does not start: {}", name(index), end.why());
            }
        });
    }

    /// Starts the node if it does not run.
    pub fn start_node_again(&self, index: usize) {
        if !self.world.is_running(self.nodes[index]) {
            self.start_node(index);
        }
    }

    /// What the node runs, if it does.
    pub fn node(&self, index: usize) -> Option<Rc<Node>> {
        self.running.borrow()[index].upgrade().filter(|_| self.world.is_running(self.nodes[index]))
    }

    pub async fn connect(&self, index: usize) -> Client {
        let address = SocketAddr::new(self.addresses[index], PORT);
        loop {
            match self.client.connect(address).await {
                Ok(conn) => return Client::new(conn),
                Err(_) => sleep(STEP).await,
            }
        }
    }

    /// A connection to the node, if it takes one soon.
    pub async fn try_connect(&self, index: usize) -> Option<Client> {
        let address = SocketAddr::new(self.addresses[index], PORT);
        let conn = timeout(10 * STEP, self.client.connect(address)).await.ok()?.ok()?;
        Some(Client::new(conn))
    }

    /// Waits until one of the nodes takes writes; gives it and a connection to it.
    pub async fn primary(&self) -> (usize, Client) {
        for _ in 0..PRIMARY_STEPS_MAX {
            for index in 0..3 {
                if self.leads(index) {
                    let client = self.connect(index).await;
                    if client.ask("SET probe x").await.is_ok_and(|answer| answer == "+OK\r\n") {
                        return (index, client);
                    }
                }
            }
            sleep(STEP).await;
        }
        panic!("the nodes agree on no primary");
    }

    /// Cuts the node off from the two others, both ways; clients reach it.
    pub fn part(&self, index: usize) {
        for other in self.others(index) {
            self.world.cut(self.nodes[index], self.nodes[other]);
            self.world.cut(self.nodes[other], self.nodes[index]);
        }
    }

    /// All processes end; what their disks hold.
    pub fn end(&self) -> [SimDisk; 3] {
        self.nodes.iter().for_each(|node| self.world.kill(*node));
        [0, 1, 2].map(|index| self.world.with_disk(self.nodes[index], |disk| disk.clone()))
    }

    /// Whether the node serves as primary.
    pub fn leads(&self, index: usize) -> bool {
        self.node(index).is_some_and(|node| node.shard.borrow().is_leading())
    }

    /// Every step of the node's disk takes this long in addition; 0: as long as before.
    pub fn slow_disk(&self, index: usize, by_us: u64) {
        self.world.with_disk(self.nodes[index], |disk| {
            let latency = &mut disk.faults.latency;
            (latency.slow, latency.slow_us) = (if by_us > 0 { 1.0 } else { 0.0 }, (by_us, by_us));
        });
    }

    pub fn others(&self, than: usize) -> [usize; 2] {
        [(than + 1) % 3, (than + 2) % 3]
    }

    /// Waits until all three hold the same data at the same position.
    pub async fn agree(&self) {
        for _ in 0..PRIMARY_STEPS_MAX {
            let told: Vec<_> = (0..3)
                .map(|index| {
                    let node = self.node(index)?;
                    let shard = node.shard.borrow();
                    Some((shard.applied(), shard.engine.data.digest()))
                })
                .collect();
            if told.iter().all(|it| it.is_some() && *it == told[0]) {
                return;
            }
            sleep(STEP).await;
        }
        panic!("the replicas do not come to agree");
    }
}

/// A connection that asks by inline requests.
pub struct Client {
    conn: Conn,
    /// Behind the last answer.
    heard: RefCell<Vec<u8>>,
}

impl Client {
    fn new(conn: Conn) -> Client {
        Client { conn, heard: RefCell::default() }
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, request: &str) -> io::Result<String> {
        self.say(request).await?;
        self.hear().await
    }

    /// Asks.
    pub async fn say(&self, request: &str) -> io::Result<()> {
        self.conn.write_all(format!("{request}\r\n").as_bytes()).await
    }

    /// Sends these bytes, whatever they are.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.conn.write_all(bytes).await
    }

    /// The next answer, which is one line, or two where it is a bulk string.
    pub async fn hear(&self) -> io::Result<String> {
        let hearing = async {
            let mut heard = self.heard.take();
            loop {
                let is_bulk = heard.starts_with(b"$") && !heard.starts_with(b"$-1");
                let mut ends =
                    heard.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
                if let Some(end) = ends.nth(usize::from(is_bulk)) {
                    let rest = heard.split_off(end);
                    *self.heard.borrow_mut() = rest;
                    return Ok(String::from_utf8_lossy(&heard).into_owned());
                }
                if self.conn.read(&mut heard).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        timeout(PATIENCE, hearing).await?
    }

    /// The answer that must come.
    pub async fn told(&self, request: &str) -> String {
        self.ask(request).await.unwrap_or_else(|error| panic!("{request} is not answered: {error}"))
    }
}
