//! A TCP proxy that is faulty on order.
//!
//! Lives here: passing bytes between a listener and one upstream address, and for each direction delay, cut, stall,
//! small pieces, a bandwidth cap, and resets in the middle. Not here: when a fault comes (`nemesis`).
//!
//! Invariant: a stream never goes on after a hole. Where a cut has swallowed bytes, the connection is silent until the
//! cut heals and then ends by a reset, as a connection ends whose packets were lost for too long.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_check::random::between;
use ramkeep_net::{ChaCha8Rng, Conn, Host, JoinHandle, Listener, mpsc, sleep, spawn, timeout};

/// Bytes taken from a socket at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks on the way in one direction of one connection; then the sender feels that nobody takes them.
const CHUNKS_MAX: usize = 64;
/// How often a stalled direction looks whether it goes on.
const STALL_STEP: Duration = Duration::from_millis(2);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the one who connected.
    Out,
    /// To the one who connected.
    Back,
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::Out, Direction::Back];
}

/// What is wrong with one direction. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Each chunk arrives this much later, drawn anew for each; order is kept.
    pub delay_us: (u64, u64),
    /// Bytes are swallowed, connections stay; new ones are accepted and hear nothing.
    pub is_cut: bool,
    /// Bytes wait where they are.
    pub is_stalled: bool,
    /// Bytes arrive in pieces of this size, each by itself.
    pub piece_bytes: Option<usize>,
    pub bytes_per_second: Option<u64>,
    /// The next connection to move so many bytes is reset in their midst.
    pub reset_after_bytes: Option<usize>,
}

pub struct Proxy {
    address: SocketAddr,
    shared: Rc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    host: Host,
    upstream: SocketAddr,
    ways: [Cell<Way>; 2],
    rng: RefCell<ChaCha8Rng>,
    connections: RefCell<BTreeMap<u64, Connection>>,
    next_connection: Cell<u64>,
    resets: Cell<u64>,
}

/// One connection through the proxy, or one that was only accepted.
struct Connection {
    ends: Vec<Rc<Conn>>,
    tasks: Vec<JoinHandle<()>>,
    has_hole: Rc<Cell<bool>>,
}

impl Connection {
    /// Both ends are told that it broke: the sockets close as soon as the tasks let go of them.
    fn reset(self) {
        for end in &self.ends {
            // A socket that is gone already needs no reset.
            let _ = end.reset_on_close();
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Proxy {
    pub fn start(
        host: &Host,
        listen: SocketAddr,
        upstream: SocketAddr,
        rng: ChaCha8Rng,
    ) -> io::Result<Proxy> {
        let listener = host.listen(listen, 128)?;
        let address = listener.local_address();
        let shared = Rc::new(Shared {
            host: host.clone(),
            upstream,
            ways: [Cell::default(), Cell::default()],
            rng: RefCell::new(rng),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            resets: Cell::new(0),
        });
        let accepting = spawn(accept(listener, Rc::clone(&shared)));
        Ok(Proxy { address, shared, accepting })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn change(&self, direction: Direction, change: impl FnOnce(&mut Way)) {
        let cell = &self.shared.ways[direction as usize];
        let mut way = cell.get();
        change(&mut way);
        cell.set(way);
    }

    /// Takes every fault away. Connections that lost bytes end now.
    pub fn heal(&self) {
        for way in &self.shared.ways {
            way.set(Way::default());
        }
        let mut connections = self.shared.connections.borrow_mut();
        let holed: Vec<u64> =
            connections.iter().filter(|(_, one)| one.has_hole.get()).map(|(number, _)| *number).collect();
        for number in holed {
            connections.remove(&number).expect("it was just seen").reset();
        }
    }

    /// Resets every connection; gives how many.
    pub fn reset_all(&self) -> usize {
        let connections = std::mem::take(&mut *self.shared.connections.borrow_mut());
        let count = connections.len();
        connections.into_values().for_each(Connection::reset);
        count
    }

    /// How often `reset_after_bytes` has struck.
    pub fn resets(&self) -> u64 {
        self.shared.resets.get()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset_all();
    }
}

impl Shared {
    fn way(&self, direction: Direction) -> Way {
        self.ways[direction as usize].get()
    }

    async fn while_stalled(&self, direction: Direction) {
        while self.way(direction).is_stalled {
            sleep(STALL_STEP).await;
        }
    }

    fn end(&self, number: u64) {
        if let Some(connection) = self.connections.borrow_mut().remove(&number) {
            connection.reset();
        }
    }
}

async fn accept(listener: Listener, shared: Rc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.next_connection.get();
        shared.next_connection.set(number + 1);
        let is_cut = Direction::BOTH.iter().any(|&direction| shared.way(direction).is_cut);
        let client = Rc::new(client);
        let connection = Connection {
            ends: vec![Rc::clone(&client)],
            tasks: Vec::new(),
            has_hole: Rc::new(Cell::new(is_cut)),
        };
        shared.connections.borrow_mut().insert(number, connection);
        if !is_cut {
            let task = spawn(open(client, Rc::clone(&shared), number));
            if let Some(connection) = shared.connections.borrow_mut().get_mut(&number) {
                connection.tasks.push(task);
            }
        }
    }
}

/// Connects to the upstream and lets the bytes flow.
async fn open(client: Rc<Conn>, shared: Rc<Shared>, number: u64) {
    for direction in Direction::BOTH {
        shared.while_stalled(direction).await;
    }
    let connecting = timeout(CONNECT_PATIENCE, shared.host.connect(shared.upstream));
    let Ok(Ok(server)) = connecting.await else {
        shared.end(number);
        return;
    };
    let server = Rc::new(server);
    let mut connections = shared.connections.borrow_mut();
    let Some(connection) = connections.get_mut(&number) else { return };
    connection.ends.push(Rc::clone(&server));
    let is_ended = Rc::new(Cell::new(0));
    for (direction, from, to) in [(Direction::Out, &client, &server), (Direction::Back, &server, &client)] {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let pump =
            Pump { shared: Rc::clone(&shared), number, direction, has_hole: Rc::clone(&connection.has_hole) };
        connection.tasks.push(spawn(pump.clone().take(Rc::clone(from), sender)));
        connection.tasks.push(spawn(pump.give(Rc::clone(to), receiver, Rc::clone(&is_ended))));
    }
}

/// One direction of one connection.
#[derive(Clone)]
struct Pump {
    shared: Rc<Shared>,
    number: u64,
    direction: Direction,
    has_hole: Rc<Cell<bool>>,
}

struct Chunk {
    due_ns: u64,
    /// Empty at the end of the stream.
    bytes: Vec<u8>,
}

impl Pump {
    /// Reads what comes and says when each chunk is due.
    async fn take(self, from: Rc<Conn>, chunks: mpsc::Sender<Chunk>) {
        let clock = self.shared.host.clock();
        let mut due_ns = 0;
        loop {
            self.shared.while_stalled(self.direction).await;
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            if from.read(&mut bytes).await.is_err() {
                self.shared.end(self.number);
                return;
            }
            let is_end = bytes.is_empty();
            let (low, high) = self.shared.way(self.direction).delay_us;
            let delay_us = between(&mut *self.shared.rng.borrow_mut(), low, high);
            due_ns = due_ns.max(clock.monotonic_ns() + delay_us * 1000);
            if chunks.send(Chunk { due_ns, bytes }).await.is_err() || is_end {
                return;
            }
        }
    }

    /// Writes each chunk when it is due, unless a cut swallows it.
    async fn give(self, to: Rc<Conn>, mut chunks: mpsc::Receiver<Chunk>, is_ended: Rc<Cell<u32>>) {
        let clock = self.shared.host.clock();
        while let Some(chunk) = chunks.recv().await {
            clock.sleep_until(chunk.due_ns).await;
            self.shared.while_stalled(self.direction).await;
            if self.shared.way(self.direction).is_cut || self.has_hole.get() {
                self.has_hole.set(true);
                continue;
            }
            if chunk.bytes.is_empty() {
                // The other end may be gone; its own direction then tells.
                let _ = to.shutdown_write();
                is_ended.set(is_ended.get() + 1);
                if is_ended.get() == Direction::BOTH.len() as u32 {
                    self.shared.connections.borrow_mut().remove(&self.number);
                }
                return;
            }
            if self.write(&to, &chunk.bytes).await.is_err() {
                self.shared.end(self.number);
                return;
            }
        }
    }

    async fn write(&self, to: &Conn, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let cell = &self.shared.ways[self.direction as usize];
            let mut way = cell.get();
            let mut size = way.piece_bytes.unwrap_or(bytes.len()).clamp(1, bytes.len());
            if let Some(left) = way.reset_after_bytes {
                if left < size {
                    way.reset_after_bytes = None;
                    cell.set(way);
                    self.shared.resets.set(self.shared.resets.get() + 1);
                    to.write_all(&bytes[..left]).await?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                way.reset_after_bytes = Some(left - size);
                cell.set(way);
            }
            if let Some(bytes_per_second) = way.bytes_per_second {
                size = size.min((bytes_per_second / 100).max(1) as usize);
                let pause_us = size as u64 * 1_000_000 / bytes_per_second.max(1);
                sleep(Duration::from_micros(pause_us)).await;
            }
            let (piece, rest) = bytes.split_at(size);
            to.write_all(piece).await?;
            bytes = rest;
            if way.piece_bytes.is_some() {
                ramkeep_net::yield_now().await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    const HERE: &str = "127.0.0.1:0";

    /// An echo server behind a proxy, and a connection through it.
    async fn set_up() -> (Proxy, Conn) {
        let host = Host::real();
        let listener = host.listen(HERE.parse().unwrap(), 8).unwrap();
        let upstream = listener.local_address();
        spawn(async move {
            while let Ok((conn, _)) = listener.accept().await {
                spawn(async move {
                    let mut bytes = Vec::new();
                    while conn.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                        if conn.write_all(&bytes).await.is_err() {
                            return;
                        }
                        bytes.clear();
                    }
                });
            }
        });
        let proxy =
            Proxy::start(&host, HERE.parse().unwrap(), upstream, ChaCha8Rng::seed_from_u64(1)).unwrap();
        let conn = host.connect(proxy.address()).await.unwrap();
        assert_eq!(echo(&conn, b"hello").await.unwrap(), b"hello");
        (proxy, conn)
    }

    async fn echo(conn: &Conn, bytes: &[u8]) -> io::Result<Vec<u8>> {
        conn.write_all(bytes).await?;
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            let reading = timeout(Duration::from_millis(400), conn.read(&mut got)).await;
            match reading? {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn kind(outcome: io::Result<Vec<u8>>) -> io::ErrorKind {
        outcome.expect_err("nothing should come through").kind()
    }

    #[test]
    fn bytes_pass_whole_and_in_order_in_pieces_late_and_slowly() {
        ramkeep_net::run(async {
            let (proxy, conn) = set_up().await;
            let text: Vec<u8> = (0..3000_u32).map(|number| number as u8).collect();
            proxy.change(Direction::Out, |way| way.piece_bytes = Some(1));
            proxy.change(Direction::Back, |way| way.delay_us = (1_000, 20_000));
            assert_eq!(echo(&conn, &text).await.unwrap(), text);
            proxy.heal();
            proxy.change(Direction::Back, |way| way.bytes_per_second = Some(30_000));
            let clock = Host::real().clock();
            let began_ns = clock.monotonic_ns();
            assert_eq!(echo(&conn, &text).await.unwrap(), text);
            assert!(clock.monotonic_ns() - began_ns >= 90_000_000, "3000 bytes at 30 kB/s");
        })
        .unwrap();
    }

    #[test]
    fn a_cut_swallows_one_direction_and_a_stream_with_a_hole_never_goes_on() {
        ramkeep_net::run(async {
            let (proxy, conn) = set_up().await;
            proxy.change(Direction::Back, |way| way.is_cut = true);
            assert_eq!(kind(echo(&conn, b"lost").await), io::ErrorKind::TimedOut);
            let late = Host::real().connect(proxy.address()).await.unwrap();
            assert_eq!(kind(echo(&late, b"never").await), io::ErrorKind::TimedOut);
            proxy.heal();
            for conn in [&conn, &late] {
                assert_ne!(kind(echo(conn, b"after").await), io::ErrorKind::TimedOut, "it ends at the heal");
            }
            let fresh = Host::real().connect(proxy.address()).await.unwrap();
            assert_eq!(echo(&fresh, b"again").await.unwrap(), b"again");
        })
        .unwrap();
    }

    #[test]
    fn a_stall_keeps_everything() {
        ramkeep_net::run(async {
            let (proxy, conn) = set_up().await;
            proxy.change(Direction::Out, |way| way.is_stalled = true);
            assert_eq!(kind(echo(&conn, b"wait").await), io::ErrorKind::TimedOut);
            proxy.heal();
            let mut got = Vec::new();
            while got.len() < 4 {
                conn.read(&mut got).await.unwrap();
            }
            assert_eq!(got, b"wait");
        })
        .unwrap();
    }

    #[test]
    fn a_reset_comes_in_the_middle_of_a_reply() {
        ramkeep_net::run(async {
            let (proxy, conn) = set_up().await;
            proxy.change(Direction::Back, |way| way.reset_after_bytes = Some(3));
            conn.write_all(b"hello").await.unwrap();
            let mut got = Vec::new();
            let error = loop {
                match conn.read(&mut got).await {
                    Ok(0) => panic!("an end is no reset"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(got.len() <= 3 && b"hello".starts_with(&got), "{got:?}");
            assert_eq!(proxy.resets(), 1);
        })
        .unwrap();
    }
}
