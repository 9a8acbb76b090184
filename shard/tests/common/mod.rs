//! One replica of a shard with its disk and its clients, by hand and by seed, without files or a runtime.
//!
//! Does what a node's driver does with every output of the shard, except that each step can be held back.

use std::collections::{BTreeMap, VecDeque};

use ramkeep_engine::config::Config;
use ramkeep_engine::session::{Peer, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Engine, NodeFacts};
use ramkeep_log::{Member, Membership, Message, Mutants, NodeId, Position, Replica, Term};
use ramkeep_shard::{Loading, Mutant, Options, Output, Place, Shard, State, StateDigest};

use crate::disk;

pub mod cluster;
pub mod history;
pub mod making;

/// A disk whose snapshots are files.
pub type Disk = disk::Disk<Vec<u8>>;

/// Calls that wait for a primary, in these tests.
pub const HELD_CALLS_MAX: usize = 20;

/// A clock that is wrong: it began elsewhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug, Default)]
pub struct WrongClock {
    pub ahead_ns: u64,
    pub fast_ppm: i64,
}

impl WrongClock {
    pub fn at(self, true_ns: u64) -> Now {
        let drift_ns = i128::from(true_ns) * i128::from(self.fast_ppm) / 1_000_000;
        let monotonic_ns = (i128::from(true_ns) + drift_ns + i128::from(self.ahead_ns)) as u64;
        Now { monotonic_ns, wall_us: 1_700_000_000_000_000 + monotonic_ns / 1000 }
    }
}

/// One end of a connection: what the client has said and not been heard, and what it was told.
#[derive(Default)]
pub struct Client {
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    pub is_closed: bool,
}

/// What a process starts with besides its disk.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    pub voters: &'a [NodeId],
    pub log_only: &'a [NodeId],
    pub clock: WrongClock,
    pub mutant: Option<Mutant>,
    pub moves_sessions: bool,
}

pub struct Node {
    pub id: NodeId,
    pub shard: Shard,
    pub disk: Disk,
    pub clock: WrongClock,
    pub true_ns: u64,
    pub sent: Vec<(NodeId, Message)>,
    pub clients: BTreeMap<SessionId, Client>,
    /// Completions of the disk wait for [`Node::sync`].
    pub slow_disk: bool,
    /// Reading the log again waits for [`Node::rebuild`].
    pub slow_rebuild: bool,
    pub wants_rebuild: bool,
    pub rebuilds: usize,
    pub fenced: Option<String>,
    /// The process stands still right after the next execution, until [`Node::go_on`].
    pub stands_still: bool,
    /// Whose calls were executed when it stopped.
    unfinished: Option<SessionId>,
    /// A snapshot is wanted and not yet begun.
    pub wants_snapshot: bool,
    /// To be told to the others.
    pub digested: Vec<StateDigest>,
    pub making: Option<making::Making>,
    /// The snapshot of another member that it should get.
    pub wants_from: Option<(NodeId, Position, Term)>,
    /// Sessions that are to be taken to the primary.
    pub leaving: Vec<SessionId>,
    /// Questions for a moment of the primary.
    pub questions: Vec<u64>,
}

/// What snapshots of these tests are of.
pub const PLACE: Place = Place { shard: 0, cluster: [9; 16] };

fn engine(seed: u64) -> Engine {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Engine::new(ramkeep_engine::Options {
        config: Config::new(),
        node: NodeFacts::default(),
        seed: bytes,
        stopwatch: || 0,
    })
}

/// A replica that only ever replays: what the committed log means.
pub fn model() -> Shard {
    Shard::new(engine(0), options())
}

pub fn options() -> Options {
    // Segments of these tests hold 16 KiB and entries 4 KiB.
    Options { turn_bytes_max: 1536, held_calls_max: HELD_CALLS_MAX, ..Options::default() }
}

/// The voters at first, each with a name and a zone.
fn founding(voters: &[NodeId], log_only: &[NodeId]) -> Membership {
    let member = |(index, node): (usize, &NodeId)| Member {
        node: *node,
        is_log_only: log_only.contains(node),
        votes: true,
        ..described(index)
    };
    Membership::new(voters.iter().enumerate().map(member).collect())
}

/// What the configuration says of the node at a place.
pub fn described(place: usize) -> Member {
    Member {
        name: format!("n{place}"),
        zone: format!("z{place}"),
        client_address: format!("127.0.0.1:{}", 7400 + place),
        ..Member::default()
    }
}

impl Node {
    /// A process starts over what the disk has.
    pub fn start(disk: Disk, id: NodeId, seed: u64, setup: Setup<'_>, true_ns: u64) -> Result<Self, String> {
        let Setup { log_only, clock, mutant, moves_sessions, .. } = setup;
        let mut node = Self {
            id,
            shard: Shard::new(
                engine(seed),
                Options { mutant, moves_sessions, is_log_only: log_only.contains(&id), ..options() },
            ),
            disk,
            clock,
            true_ns,
            sent: Vec::new(),
            clients: BTreeMap::new(),
            slow_disk: false,
            slow_rebuild: false,
            wants_rebuild: false,
            rebuilds: 0,
            fenced: None,
            stands_still: false,
            unfinished: None,
            wants_snapshot: false,
            digested: Vec::new(),
            making: None,
            wants_from: None,
            leaving: Vec::new(),
            questions: Vec::new(),
        };
        node.take_part(seed, setup)?;
        Ok(node)
    }

    /// Starts anew from what its disk has, in the same process. False: not now.
    pub fn begin_anew(&mut self, seed: u64, setup: Setup<'_>) -> Result<bool, String> {
        let mut is_begun = false;
        self.with(|shard, _, outputs| is_begun = shard.begin_anew(outputs));
        if !is_begun {
            return Ok(false);
        }
        // What was under way for the old replica comes to an end; nobody hears of it.
        self.disk.complete_write();
        self.disk.complete_save();
        (self.making, self.wants_from, self.wants_rebuild) = (None, None, false);
        self.take_part(seed, setup)?;
        Ok(true)
    }

    /// Reads snapshot and log, and lets a replica take part.
    fn take_part(&mut self, seed: u64, setup: Setup<'_>) -> Result<(), String> {
        let Setup { voters, log_only, .. } = setup;
        let (id, node) = (self.id, self);
        let now = node.now();
        let members = node.load_snapshot(now)?;
        let (entries, recovered, _) =
            disk::recover(&node.disk, id, Mutants::default()).map_err(|error| format!("{id:?}: {error}"))?;
        for entry in &entries {
            node.shard.replay(entry, now).map_err(|error| error.to_string())?;
        }
        let members = members.unwrap_or_else(|| founding(voters, log_only));
        let mut log_options = ramkeep_log::Options::new(disk::layout(), id, voters.to_vec())
            .with_members(members, log_only.contains(&id));
        log_options.entry_bytes_max = 4 << 10;
        log_options.message_bytes_max = 4 << 10;
        log_options.cache_bytes_max = 8 << 10;
        // Nothing is kept for those that lag, so that they need a snapshot.
        log_options.kept_bytes_max = 0;
        log_options.mutants = Mutants::default();
        node.shard.start(Replica::new(log_options, recovered, seed, now.monotonic_ns));
        node.with(|shard, now, outputs| shard.replayed(now, outputs));
        Ok(())
    }

    /// Loads the snapshot that the disk has; gives the members that it tells of.
    fn load_snapshot(&mut self, now: Now) -> Result<Option<Membership>, String> {
        if self.disk.held.is_empty() {
            return Ok(None);
        }
        let mut load = self.shard.begin_load();
        load.feed(&self.disk.held);
        load.feed(&[]);
        let loaded = self.shard.load(&mut load, PLACE, self.disk.snapshot.0, usize::MAX, now);
        match loaded.map_err(|error| error.to_string())? {
            Loading::Done(head, _) if head.members.is_empty() => Ok(None),
            Loading::Done(head, _) => {
                Membership::decode(&head.members).map(Some).map_err(|error| error.to_string())
            }
            other => Err(format!("the snapshot is not whole: {other:?}")),
        }
    }

    pub fn now(&self) -> Now {
        self.clock.at(self.true_ns)
    }

    pub fn replica(&self) -> &Replica {
        self.shard.replica().expect("it was started")
    }

    /// One call into the shard, and everything that follows from it.
    pub fn with(&mut self, call: impl FnOnce(&mut Shard, Now, &mut Vec<Output>)) {
        let now = self.now();
        let mut outputs = Vec::new();
        call(&mut self.shard, now, &mut outputs);
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            let mut outputs = Vec::new();
            self.act(output, now, &mut outputs);
            queue.extend(outputs);
        }
    }

    fn act(&mut self, output: Output, now: Now, outputs: &mut Vec<Output>) {
        match output {
            Output::Log(output) => self.act_for_log(output, now, outputs),
            Output::Released(session) => self.flush(session),
            Output::Close(session) | Output::Cut(session) => self.close(session),
            Output::Leave(session) => self.leaving.push(session),
            Output::AskMoment { question, .. } => self.questions.push(question),
            Output::Action(action) => panic!("no test asks for {action:?}"),
            Output::Rebuild => {
                self.wants_rebuild = true;
                if !self.slow_rebuild {
                    self.read_log_again(now, outputs);
                }
            }
            Output::Snapshot => self.wants_snapshot = true,
            Output::Digested(digest) => self.digested.push(digest),
            // Digests are made slice by slice, and asked for what they found.
            Output::Digest | Output::Diverged(_) => {}
            Output::Fenced(fence) => self.fenced = Some(fence.why),
        }
    }

    fn act_for_log(&mut self, output: ramkeep_log::Output, now: Now, outputs: &mut Vec<Output>) {
        use ramkeep_log::Output as Log;
        let now_ns = now.monotonic_ns;
        match output {
            Log::Send { to, message } => self.sent.push((to, message)),
            Log::Write { segment, offset, bytes } => {
                assert!(self.disk.in_flight.is_none(), "one write in flight");
                self.disk.in_flight = Some((segment, offset, bytes));
                if !self.slow_disk {
                    self.complete_write(now, outputs);
                }
            }
            Log::SaveHardState { generation, slot, bytes } => {
                assert!(self.disk.saving.is_none(), "one save in flight");
                self.disk.saving = Some((generation, slot, bytes));
                if !self.slow_disk {
                    self.complete_save(now, outputs);
                }
            }
            Log::Prepare { segment, bytes } => {
                self.disk.segments.insert(segment, vec![0; bytes as usize]);
                self.shard.drive(now, outputs, |replica| replica.prepared(segment, now_ns));
            }
            Log::Discard { segments, cut } => self.disk.discard(segments, cut),
            Log::Cut { segments } => segments.iter().for_each(|segment| {
                self.disk.segments.remove(segment).expect("what is cut was there");
            }),
            Log::Fetch { segment, offset, bytes, .. } => {
                let read = self.disk.read(segment, offset, bytes);
                self.shard.drive(now, outputs, |replica| replica.fetched(segment, offset, &read, now_ns));
            }
            Log::WantSnapshot { from, position, term } => self.wants_from = Some((from, position, term)),
            Log::MembersChanged { .. } => {}
            Log::Committed { .. } | Log::RoleChanged { .. } | Log::ReadReady { .. } | Log::Fenced { .. } => {
                unreachable!("the shard takes these itself")
            }
        }
    }

    fn complete_write(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if let Some(written) = self.disk.complete_write() {
            self.shard.drive(now, outputs, |replica| replica.written(written, now.monotonic_ns));
        }
    }

    fn complete_save(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if let Some(generation) = self.disk.complete_save() {
            self.shard.drive(now, outputs, |replica| replica.saved(generation, now.monotonic_ns));
        }
    }

    fn read_log_again(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.wants_rebuild = false;
        self.rebuilds += 1;
        self.load_snapshot(now).expect("a verified snapshot can be read");
        let (entries, recovered, _) =
            disk::recover(&self.disk, self.id, Mutants::default()).expect("a living log can be read");
        let unapplied = recovered.unapplied.into_iter().map(ramkeep_log::Entry::into_committed);
        for entry in entries.into_iter().chain(unapplied) {
            self.shard.replay(&entry, now).expect("what was committed can be applied");
        }
        self.shard.replayed(now, outputs);
    }

    /// Completes everything that the disk has in flight.
    pub fn sync(&mut self) {
        let slow = std::mem::replace(&mut self.slow_disk, false);
        self.with(|_, _, _| {});
        while self.disk.in_flight.is_some() || self.disk.saving.is_some() {
            let now = self.now();
            let mut outputs = Vec::new();
            self.complete_save(now, &mut outputs);
            self.complete_write(now, &mut outputs);
            self.with(|_, _, more| more.extend(outputs));
        }
        self.slow_disk = slow;
    }

    pub fn rebuild(&mut self) {
        if self.wants_rebuild {
            self.with(|_, _, _| {});
            let now = self.now();
            let mut outputs = Vec::new();
            self.read_log_again(now, &mut outputs);
            self.with(|_, _, more| more.extend(outputs));
        }
    }

    pub fn tick(&mut self) {
        self.with(|shard, now, outputs| shard.tick(now, outputs));
        self.feed_all();
    }

    pub fn receive(&mut self, from: NodeId, message: Message) {
        self.with(|shard, now, outputs| {
            shard.drive(now, outputs, |replica| replica.receive(from, message, now.monotonic_ns));
        });
        self.feed_all();
    }

    pub fn end_turn(&mut self) {
        self.with(|shard, now, outputs| shard.end_turn(now, outputs));
    }

    // --- clients -------------------------------------------------------------------------------

    pub fn open(&mut self) -> SessionId {
        let peer = Peer { address: "127.0.0.1:1".into(), local_address: "127.0.0.1:2".into() };
        let now = self.now();
        let session = self.shard.open(peer, now);
        self.clients.insert(session, Client::default());
        session
    }

    /// The client says inline commands, one a line. They are executed as far as they may; the turn stays open.
    pub fn say(&mut self, session: SessionId, commands: &str) {
        let client = self.clients.get_mut(&session).expect("an open connection");
        client.input.extend_from_slice(commands.as_bytes());
        client.input.extend_from_slice(b"\r\n");
        self.feed(session);
    }

    /// What the client was told since it last looked.
    pub fn hear(&mut self, session: SessionId) -> String {
        let client = self.clients.get_mut(&session).expect("an open connection");
        String::from_utf8_lossy(&std::mem::take(&mut client.output)).into_owned()
    }

    /// Says, ends the turn, hears.
    pub fn ask(&mut self, session: SessionId, command: &str) -> String {
        self.say(session, command);
        self.end_turn();
        self.hear(session)
    }

    fn feed_all(&mut self) {
        let waiting: Vec<SessionId> = self
            .clients
            .iter()
            .filter(|(_, client)| !client.input.is_empty())
            .map(|(session, _)| *session)
            .collect();
        waiting.into_iter().for_each(|session| self.feed(session));
    }

    fn feed(&mut self, session: SessionId) {
        while let Some(client) = self.clients.get_mut(&session)
            && !client.is_closed
            && self.unfinished.is_none()
            && !client.input.is_empty()
            && self.shard.takes_requests(session)
        {
            let input = std::mem::take(&mut client.input);
            let mut received = ramkeep_shard::Received::default();
            self.with(|shard, now, outputs| received = shard.received(session, &input, now, outputs));
            if let Some(client) = self.clients.get_mut(&session) {
                client.input = input[received.consumed..].to_vec();
            }
            if self.stands_still {
                self.unfinished = Some(session);
                return;
            }
            self.finish(session);
            if !received.has_more {
                break;
            }
        }
    }

    fn finish(&mut self, session: SessionId) {
        if self.shard.wants_confirmation() {
            self.with(|shard, now, outputs| shard.confirm(now, outputs));
        }
        self.flush(session);
    }

    /// Whether it stands still with calls executed and not answered.
    pub fn is_still(&self) -> bool {
        self.unfinished.is_some()
    }

    /// It goes on where it stopped, by the clock of now.
    pub fn go_on(&mut self) {
        self.stands_still = false;
        if let Some(session) = self.unfinished.take() {
            self.finish(session);
            self.feed(session);
        }
    }

    fn flush(&mut self, session: SessionId) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        let released = self.shard.released(session).to_vec();
        client.output.extend_from_slice(&released);
        self.shard.sent(session, released.len());
    }

    /// Closes the connection once what was released is out.
    pub fn close(&mut self, session: SessionId) {
        self.flush(session);
        self.shard.close(session);
        if let Some(client) = self.clients.get_mut(&session) {
            client.is_closed = true;
        }
    }

    pub fn is(&self, state: &State) -> bool {
        self.shard.state() == state
    }

    pub fn digest(&self) -> u128 {
        self.shard.engine.data.digest()
    }
}
