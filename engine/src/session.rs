//! One client's connection as the engine sees it, and the registry of all of them.
//!
//! Lives here: what a command may read or change about a client. Not here: sockets, and the
//! replies that wait (`shard::gate`).

use crate::command::Command;
use crate::node::Blocked;
use crate::resp::{OwnedArgs, Protocol};
use crate::time::Now;
use hashbrown::HashMap;

/// Unique for the life of the process, given in the order of connecting; CLIENT ID prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Which replies a client wants: CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    On,
    Off,
    /// The next command's reply is left out.
    SkipNext,
    /// This command's reply is left out.
    Skip,
}

/// How old what a replica shows may be, to a client that said READONLY: CLIENT READ-CONSISTENCY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadConsistency {
    /// Whatever is committed and applied there.
    #[default]
    Eventual,
    /// What was committed at most so long ago.
    Bounded { age_ms_max: u64 },
    /// Everything that was acknowledged before the call.
    Linearizable,
}

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
pub struct Transaction {
    pub queue: Vec<(&'static Command, OwnedArgs)>,
    /// A command was refused at queue time: EXEC answers EXECABORT.
    pub is_aborted: bool,
    pub bytes: u64,
}

/// Bounds what one client may queue between MULTI and EXEC.
pub const TRANSACTION_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    pub database: u8,
    pub protocol: Protocol,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub address: String,
    pub local_address: String,
    pub is_authenticated: bool,
    pub user: Vec<u8>,
    pub transaction: Option<Transaction>,
    /// Number of keys under WATCH.
    pub watched: usize,
    pub reply_mode: ReplyMode,
    pub no_evict: bool,
    pub no_touch: bool,
    /// The connection closes once the replies so far are out.
    pub is_closing: bool,
    pub connected_at: Now,
    pub last_command_at: Now,
    /// Full name of the last command.
    pub last_command: &'static str,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Bytes received and not yet executed.
    pub query_buffer_bytes: u64,
    /// Replies made and not yet handed to the network.
    pub output_buffer_bytes: u64,
    /// The running call is answered later; no further one is taken.
    pub blocked: Option<Blocked>,
    /// A queued command runs: it must not wait.
    pub is_in_exec: bool,
    /// MONITOR: it is told what others ask for, and asks for no data itself.
    pub is_monitor: bool,
    /// READONLY: it reads from a replica what is committed and applied there.
    pub reads_replica: bool,
    pub read_consistency: ReadConsistency,
}

/// What a client has set on its connection: it goes along when the connection moves to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub database: u8,
    pub protocol: Protocol,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub is_authenticated: bool,
    pub user: Vec<u8>,
    /// CLIENT REPLY OFF.
    pub is_silent: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    pub reads_replica: bool,
    pub read_consistency: ReadConsistency,
}

/// Counted for a key under WATCH: its name and its places in the two directions that are kept.
const WATCHED_KEY_BYTES: u64 = 96;

/// Facts of a new connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: String,
    pub local_address: String,
}

impl Session {
    pub fn new(id: SessionId, peer: Peer, is_authenticated: bool, now: Now) -> Session {
        Session {
            id,
            database: 0,
            protocol: Protocol::Resp2,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            address: peer.address,
            local_address: peer.local_address,
            is_authenticated,
            user: b"default".to_vec(),
            transaction: None,
            watched: 0,
            reply_mode: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            is_closing: false,
            connected_at: now,
            last_command_at: now,
            last_command: "NULL",
            commands: 0,
            bytes_in: 0,
            bytes_out: 0,
            query_buffer_bytes: 0,
            output_buffer_bytes: 0,
            blocked: None,
            is_in_exec: false,
            is_monitor: false,
            reads_replica: false,
            read_consistency: ReadConsistency::Eventual,
        }
    }

    /// What goes along when the connection moves; `None` while something rests on this very node: a transaction, a
    /// watch, a call that is answered later, a reply to be left out, MONITOR.
    pub fn profile(&self) -> Option<Profile> {
        let is_free = self.transaction.is_none()
            && self.watched == 0
            && self.blocked.is_none()
            && !self.is_closing
            && !self.is_monitor
            && matches!(self.reply_mode, ReplyMode::On | ReplyMode::Off);
        is_free.then(|| Profile {
            database: self.database,
            protocol: self.protocol,
            name: self.name.clone(),
            library_name: self.library_name.clone(),
            library_version: self.library_version.clone(),
            is_authenticated: self.is_authenticated,
            user: self.user.clone(),
            is_silent: self.reply_mode == ReplyMode::Off,
            no_evict: self.no_evict,
            no_touch: self.no_touch,
            reads_replica: self.reads_replica,
            read_consistency: self.read_consistency,
        })
    }

    /// Goes on as the client was elsewhere.
    fn adopt(&mut self, profile: Profile) {
        self.database = profile.database;
        self.protocol = profile.protocol;
        self.name = profile.name;
        self.library_name = profile.library_name;
        self.library_version = profile.library_version;
        self.is_authenticated = profile.is_authenticated;
        self.user = profile.user;
        self.reply_mode = if profile.is_silent { ReplyMode::Off } else { ReplyMode::On };
        self.no_evict = profile.no_evict;
        self.no_touch = profile.no_touch;
        self.reads_replica = profile.reads_replica;
        self.read_consistency = profile.read_consistency;
    }
}

impl Session {
    /// Bytes kept for the client: what it sent, what it queued, what it watches and what waits for it.
    pub fn held_bytes(&self) -> u64 {
        let queued_bytes = self.transaction.as_ref().map_or(0, |transaction| transaction.bytes);
        let watched_bytes = self.watched as u64 * WATCHED_KEY_BYTES;
        self.query_buffer_bytes + self.output_buffer_bytes + queued_bytes + watched_bytes
    }
}

/// All connected clients. The session that runs a command is taken out while it runs.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: HashMap<SessionId, Box<Session>, foldhash::fast::FixedState>,
    last_id: u64,
    /// How many of those in the map have not authenticated.
    strangers: usize,
}

impl Sessions {
    /// Registers a connection under a new id.
    pub fn open(&mut self, peer: Peer, is_authenticated: bool, now: Now) -> SessionId {
        self.last_id += 1;
        let id = SessionId(self.last_id);
        self.strangers += usize::from(!is_authenticated);
        self.by_id.insert(id, Box::new(Session::new(id, peer, is_authenticated, now)));
        id
    }

    pub fn take(&mut self, id: SessionId) -> Option<Box<Session>> {
        let session = self.by_id.remove(&id)?;
        self.strangers -= usize::from(!session.is_authenticated);
        Some(session)
    }

    pub fn put_back(&mut self, session: Box<Session>) {
        self.strangers += usize::from(!session.is_authenticated);
        let before = self.by_id.insert(session.id, session);
        assert!(before.is_none(), "a session is in one place");
    }

    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id).map(|session| &**session)
    }

    /// To change anything but whether it is authenticated: that goes by `take` and `put_back`.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id).map(|session| &mut **session)
    }

    /// The session goes on as the client was elsewhere.
    pub fn adopt(&mut self, id: SessionId, profile: Profile) {
        let mut session = self.take(id).expect("it was just opened");
        session.adopt(profile);
        self.put_back(session);
    }

    /// How many have not authenticated; the session that runs a command is not among them.
    pub fn strangers(&self) -> usize {
        self.strangers
    }

    /// The others, in the order of connecting.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        let mut all: Vec<&Session> = self.by_id.values().map(|session| &**session).collect();
        all.sort_unstable_by_key(|session| session.id);
        all.into_iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        let mut all: Vec<&mut Session> = self.by_id.values_mut().map(|session| &mut **session).collect();
        all.sort_unstable_by_key(|session| session.id);
        all.into_iter()
    }

    /// Bytes kept for all clients.
    pub fn held_bytes(&self) -> u64 {
        self.by_id.values().map(|session| session.held_bytes()).sum()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn strangers_are_counted_until_they_authenticate() {
        let mut bench = Bench::new();
        bench.check("> CONFIG SET requirepass secret\nOK");
        assert_eq!(bench.engine.sessions.strangers(), 0);
        bench.unauthenticate(1);
        bench.unauthenticate(2);
        assert_eq!(bench.engine.sessions.strangers(), 2);
        bench.check("1> AUTH secret\nOK");
        assert_eq!(bench.engine.sessions.strangers(), 1);
        bench.check("> RESET\nRESET");
        assert_eq!(bench.engine.sessions.strangers(), 2);
        let gone = bench.session(2).id;
        bench.engine.sessions.take(gone);
        assert_eq!(bench.engine.sessions.strangers(), 1);
    }
}
