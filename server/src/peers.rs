//! The other nodes: lanes to them, connections from them.
//!
//! Lives here: which connection carries what, who is let in, messages of the log to and from their bytes.
//! Not here: frames and authentication (`net::peer`), what a message does (`ramkeep-log`), how the cluster was
//! founded (`founding`).
//!
//! Invariant: a message reaches the replica only from the member that the connection proved, with the data
//! directory that this member is known by.
//!
//! Two lanes lead to each peer, each a connection of its own: `urgent` for heartbeats, votes and answers, `bulk` for
//! entries, so that no heartbeat waits behind megabytes. A third kind of connection, `ask`, carries one question and
//! its answer; a fourth, `snapshot`, the pieces of a file, a fifth, `tunnel`, a client whose node is not the primary;
//! these are opened when they are needed.

use crate::book;
use crate::comparison;
use crate::founding;
use crate::holdings::VerifiedSnapshot;
use crate::joining;
use crate::members;
use crate::node::Node;
use crate::point;
use crate::roster::{Roster, by_number, own};
use crate::status;
use crate::transfer;
use crate::tunnel;
use ramkeep_engine::config::{Member, Settings, split_address};
use ramkeep_log::{Membership, Message, NodeId, Position, ShardId, Term, Uuid};
use ramkeep_net::peer::{
    Caller, Credentials, HandshakeError, Link, LinkCounts, LinkOptions, Refusal, Remote, Secret, Session,
    accept, dial,
};
use ramkeep_net::{Host, Listener, timeout};
use ramkeep_shard::{Moment, StateDigest};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// What a connection is for. Numbers on the wire; never used again.
pub mod purpose {
    pub const URGENT: u8 = 1;
    pub const BULK: u8 = 2;
    pub const ASK: u8 = 3;
    pub const SNAPSHOT: u8 = 4;
    pub const TUNNEL: u8 = 5;
}

/// Kinds of frames on the lanes.
const MESSAGE: u8 = 1;
const SNAPSHOT_HELD: u8 = 2;
/// A replica asks the primary for a moment: the question's number, eight bytes.
const ASK_MOMENT: u8 = 3;
/// The answer: the number, the last position executed, shard time in milliseconds; eight bytes each, little-endian.
const MOMENT: u8 = 4;
/// What the sender's data are at a marked position.
const DIGEST: u8 = 5;
/// From the primary: all members.
const MEMBERS: u8 = 6;

const URGENT_PENDING_BYTES_MAX: usize = 1 << 20;
const BULK_PENDING_BYTES_MAX: usize = 32 << 20;
/// A lane that says nothing for so long, though its caller probes it, is closed.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const BACKLOG: u32 = 64;
/// Connections of peers open at once, clients that they carry among them.
const SESSIONS_MAX: usize = 12_000;
/// A whole question with its answer takes no longer.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);
/// Opening a connection takes no longer.
const CALL_TIME_MAX: Duration = Duration::from_secs(3);
const SHARD: ShardId = ShardId(0);

/// Lanes to one peer.
struct Lanes {
    /// Where they lead.
    address: String,
    urgent: Rc<Link>,
    bulk: Rc<Link>,
}

/// What the node keeps of the other nodes.
pub struct Peers {
    host: Host,
    credentials: RefCell<Credentials>,
    configured: Vec<Member>,
    routes: Vec<(String, String)>,
    /// Every node that this one talks to, and itself.
    book: RefCell<Rc<[Member]>>,
    me: Cell<NodeId>,
    /// None before the cluster is founded.
    lanes: RefCell<BTreeMap<u32, Lanes>>,
    roster: RefCell<Option<Roster>>,
    /// It has looked: its directory holds no roster, and nothing else that a cluster has left there.
    is_unfounded: Cell<bool>,
    /// Who the members are, as far as the log here says.
    membership: RefCell<Option<Membership>>,
    /// Who they are, as the primary told last.
    told: RefCell<Option<Membership>>,
    /// This node asks to become a member.
    is_applying: Cell<bool>,
    /// Connections from others, to be closed when what they rest on changes.
    sessions: RefCell<BTreeMap<u64, (u32, Rc<Session>)>>,
    sessions_opened: Cell<u64>,
    /// Nodes with which nothing is exchanged: a cut made by hand.
    cut: RefCell<BTreeSet<u32>>,
    messages_received: Cell<u64>,
    /// What each node told last of its newest snapshot.
    announced: RefCell<BTreeMap<u32, Announced>>,
}

/// A verified snapshot that another node holds, or held when it told of it.
///
/// On the lanes, integers little-endian: position (8), term (8), length of the file (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub position: Position,
    pub term: Term,
    pub bytes: u64,
}

impl Announced {
    fn encode(&self, buffer: &mut Vec<u8>) {
        for number in [self.position.0, self.term.0, self.bytes] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let words = <[u8; 24]>::try_from(body).ok()?;
        let number = |at: usize| u64::from_le_bytes(words[at..at + 8].try_into().expect("eight bytes"));
        Some(Self { position: Position(number(0)), term: Term(number(8)), bytes: number(16) })
    }
}

/// How a peer's lanes do.
#[derive(Clone, Copy, Debug)]
pub struct LaneFacts {
    pub is_connected: bool,
    pub urgent: LinkCounts,
    pub bulk: LinkCounts,
}

impl Peers {
    /// No lanes yet.
    pub fn new(host: &Host, settings: &Settings, me: NodeId, cluster: Uuid, directory: Uuid) -> Rc<Self> {
        let secret = (!settings.peer_secret.is_empty()).then(|| Secret::new(&settings.peer_secret));
        let credentials = Credentials { cluster: cluster.0, member: me.0, directory: directory.0, secret };
        Rc::new(Self {
            host: host.clone(),
            book: RefCell::new(
                book::entries(&settings.members, &settings.peer_routes, None, None, me.node()).into(),
            ),
            configured: settings.members.clone(),
            routes: settings.peer_routes.clone(),
            me: Cell::new(me),
            lanes: RefCell::default(),
            roster: RefCell::default(),
            is_unfounded: Cell::default(),
            membership: RefCell::default(),
            told: RefCell::default(),
            is_applying: Cell::default(),
            sessions: RefCell::default(),
            sessions_opened: Cell::default(),
            cut: RefCell::default(),
            messages_received: Cell::default(),
            announced: RefCell::default(),
            credentials: RefCell::new(credentials),
        })
    }

    /// A lane to a member, not open yet.
    fn lane(
        self: &Rc<Self>,
        member: &Member,
        purpose: u8,
        label: &str,
        pending_bytes_max: usize,
    ) -> Rc<Link> {
        let (host_name, port) =
            split_address(&member.peer_address).expect("addresses were checked when they were read");
        let options = LinkOptions {
            host: host_name.to_owned(),
            port,
            to: u64::from(member.number()),
            purpose,
            pending_bytes_max,
            label: format!("{} {label}", member.name),
        };
        let (peers, number) = (Rc::downgrade(self), member.number());
        let credentials = self.credentials.borrow().clone();
        Link::new(self.host.clone(), credentials, options, move |remote| {
            let found = NodeId(remote.member);
            let peers = peers.upgrade().ok_or(Refusal::Cut)?;
            if found.node() == number {
                peers.check_directory(found, Uuid(remote.directory))
            } else {
                Err(Refusal::Misdirected)
            }
        })
    }

    /// This node is a member under another id now; before the cluster is founded for it.
    pub(crate) fn rename(&self, me: NodeId) {
        self.me.set(me);
        self.credentials.borrow_mut().member = me.0;
    }

    /// This node is none that the others know from now on: it asks under this id and directory. Nothing goes out under the
    /// old ones any more.
    pub(crate) fn leave(&self, me: NodeId, directory: Uuid) {
        self.end();
        self.lanes.borrow_mut().clear();
        self.roster.borrow_mut().take();
        self.is_unfounded.set(false);
        self.rename(me);
        self.credentials.borrow_mut().directory = directory.0;
    }

    /// The log says who the members are. Whoever is none any more is let go.
    pub(crate) fn know(self: &Rc<Self>, members: &Membership) {
        *self.membership.borrow_mut() = Some(members.clone());
        self.write_book();
        for (_, session) in self.sessions.borrow().values() {
            let remote = session.remote();
            if self.check_directory(NodeId(remote.member), Uuid(remote.directory)).is_err() {
                session.close();
            }
        }
    }

    /// The primary says who the members are: only where they can be reached is taken from that.
    fn hear(self: &Rc<Self>, members: Membership) {
        if self.told.borrow().as_ref() != Some(&members) {
            *self.told.borrow_mut() = Some(members);
            self.write_book();
        }
    }

    fn write_book(self: &Rc<Self>) {
        let (told, known) = (self.told.borrow(), self.membership.borrow());
        let book =
            book::entries(&self.configured, &self.routes, told.as_ref(), known.as_ref(), self.me().node());
        *self.book.borrow_mut() = book.into();
        if self.roster.borrow().is_some() {
            self.open_lanes();
        }
    }

    pub fn me(&self) -> NodeId {
        self.me.get()
    }

    /// Every node that this one talks to, and itself.
    pub fn book(&self) -> Rc<[Member]> {
        Rc::clone(&self.book.borrow())
    }

    /// The nodes that are members, as far as the log here says, and this one.
    pub fn members(&self) -> Vec<Member> {
        let known = self.membership.borrow();
        let is_member = |number: u32| match &*known {
            Some(known) => known.members().iter().any(|it| it.node.node() == number),
            None => true,
        };
        let me = self.me().node();
        self.book().iter().filter(|it| it.number() == me || is_member(it.number())).cloned().collect()
    }

    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.book.borrow().iter().find(|member| member.number() == node.node()).cloned()
    }

    /// The node's name, for people.
    pub fn name(&self, node: NodeId) -> String {
        self.member(node).map_or_else(|| "unknown".to_owned(), |member| member.name)
    }

    /// Whether the log here says that this node votes.
    pub(crate) fn is_voter(&self, number: u32) -> bool {
        let known = self.membership.borrow();
        known.as_ref().is_none_or(|known| known.voters().iter().any(|voter| voter.node() == number))
    }

    /// This node has no roster, and says so to whoever asks.
    pub(crate) fn set_unfounded(&self) {
        self.is_unfounded.set(true);
    }

    pub(crate) fn is_unfounded(&self) -> bool {
        self.is_unfounded.get()
    }

    /// This node asks to become a member, or does not any more.
    pub(crate) fn set_applying(&self, is_applying: bool) {
        self.is_applying.set(is_applying);
    }

    pub(crate) fn is_applying(&self) -> bool {
        self.is_applying.get()
    }

    /// Whether another node says that this one was replaced or removed.
    pub(crate) fn is_turned_away(&self) -> bool {
        let lanes = self.lanes.borrow();
        lanes.values().any(|lanes| lanes.urgent.refused() == Some(Refusal::Replaced))
    }

    pub fn roster(&self) -> Option<Roster> {
        self.roster.borrow().clone()
    }

    pub fn lane_facts(&self, number: u32) -> Option<LaneFacts> {
        let lanes = self.lanes.borrow();
        let lanes = lanes.get(&number)?;
        Some(LaneFacts {
            is_connected: lanes.urgent.is_connected(),
            urgent: lanes.urgent.counts(),
            bulk: lanes.bulk.counts(),
        })
    }

    pub fn messages_received(&self) -> u64 {
        self.messages_received.get()
    }

    /// The cluster is founded: from here on every member is known by its directory.
    pub fn found(self: &Rc<Self>, roster: Roster) {
        *self.roster.borrow_mut() = Some(roster);
        // Whoever came in before is looked at again.
        self.close_sessions(|_| true);
        self.open_lanes();
    }

    /// Lanes lead to every node of the book, and to no other.
    fn open_lanes(self: &Rc<Self>) {
        let book = self.book();
        let me = self.me().node();
        let others = || book.iter().filter(|member| member.number() != me);
        let mut lanes = self.lanes.borrow_mut();
        lanes.retain(|number, lanes| {
            let stays = others().any(|it| it.number() == *number && it.peer_address == lanes.address);
            if !stays {
                lanes.urgent.end();
                lanes.bulk.end();
            }
            stays
        });
        for member in others() {
            if lanes.contains_key(&member.number()) {
                continue;
            }
            let urgent = self.lane(member, purpose::URGENT, "urgent", URGENT_PENDING_BYTES_MAX);
            let bulk = self.lane(member, purpose::BULK, "bulk", BULK_PENDING_BYTES_MAX);
            let is_cut = self.is_cut(member.number());
            for lane in [&urgent, &bulk] {
                lane.cut(is_cut);
                ramkeep_net::spawn(Rc::clone(lane).run());
            }
            let address = member.peer_address.clone();
            lanes.insert(member.number(), Lanes { address, urgent, bulk });
        }
    }

    /// Ends every lane and connection.
    pub fn end(&self) {
        for lanes in self.lanes.borrow().values() {
            lanes.urgent.end();
            lanes.bulk.end();
        }
        self.close_sessions(|_| true);
    }

    /// Exchanges nothing with the node from now on, or again.
    pub fn cut(&self, number: u32, is_cut: bool) {
        if is_cut {
            self.cut.borrow_mut().insert(number);
            self.close_sessions(|caller| caller == number);
        } else {
            self.cut.borrow_mut().remove(&number);
        }
        if let Some(lanes) = self.lanes.borrow().get(&number) {
            lanes.urgent.cut(is_cut);
            lanes.bulk.cut(is_cut);
        }
    }

    pub fn is_cut(&self, number: u32) -> bool {
        self.cut.borrow().contains(&number)
    }

    fn close_sessions(&self, of: impl Fn(u32) -> bool) {
        for (number, session) in self.sessions.borrow().values() {
            if of(*number) {
                session.close();
            }
        }
    }

    /// Sends a message of the log; it may be lost.
    pub(crate) fn send(&self, to: NodeId, message: &Message) {
        let lanes = self.lanes.borrow();
        let Some(lanes) = lanes.get(&to.node()) else { return };
        let lane = if message.is_urgent() { &lanes.urgent } else { &lanes.bulk };
        if lane.remote().is_some_and(|remote| remote.member == to.0) {
            lane.send(MESSAGE, |buffer| message.encode(SHARD, buffer));
        }
    }

    /// Asks the primary for a moment; it may be lost.
    pub(crate) fn ask_moment(&self, primary: NodeId, question: u64) {
        self.send_small(primary, ASK_MOMENT, &question.to_le_bytes());
    }

    fn send_small(&self, to: NodeId, kind: u8, body: &[u8]) {
        let lanes = self.lanes.borrow();
        let Some(lanes) = lanes.get(&to.node()) else { return };
        if lanes.urgent.remote().is_some_and(|remote| remote.member == to.0) {
            lanes.urgent.send(kind, |buffer| buffer.extend_from_slice(body));
        }
    }

    /// What was sent since the last call goes out.
    pub(crate) fn flush(&self) {
        for lanes in self.lanes.borrow().values() {
            lanes.urgent.flush();
            lanes.bulk.flush();
        }
    }

    /// Tells every node of the newest snapshot here.
    pub(crate) fn announce(&self, newest: &VerifiedSnapshot) {
        let announced = Announced { position: newest.position(), term: newest.term(), bytes: newest.bytes };
        for lanes in self.lanes.borrow().values() {
            lanes.urgent.send(SNAPSHOT_HELD, |buffer| announced.encode(buffer));
        }
    }

    /// Tells every node of the newest digest of the data here.
    pub(crate) fn tell_digest(&self, digest: &StateDigest) {
        for lanes in self.lanes.borrow().values() {
            lanes.urgent.send(DIGEST, |buffer| comparison::encode(digest, buffer));
        }
    }

    /// Tells every node who the members are: it may have been away for long, or be new.
    pub(crate) fn tell_members(&self, members: &Membership) {
        let bytes = members.encode();
        for lanes in self.lanes.borrow().values() {
            lanes.urgent.send(MEMBERS, |buffer| buffer.extend_from_slice(&bytes));
        }
    }

    /// What each node told last of its newest snapshot, by the node's number.
    pub fn announced(&self) -> Vec<(u32, Announced)> {
        self.announced.borrow().iter().map(|(number, announced)| (*number, *announced)).collect()
    }

    fn check_directory(&self, member: NodeId, directory: Uuid) -> Result<(), Refusal> {
        let members = self.membership.borrow();
        if members.as_ref().is_some_and(|members| members.is_retired(member)) {
            return Err(Refusal::Replaced);
        }
        let known = members.as_ref().and_then(|members| members.get(member)).map(|member| member.directory);
        // Who came back under a new id may be known to others only yet.
        let founder = || self.roster.borrow().as_ref().and_then(|roster| roster.directory_of(member));
        let known = known.or_else(founder);
        if known.is_none_or(|known| known == directory) { Ok(()) } else { Err(Refusal::Directory) }
    }

    fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        let member = NodeId(caller.remote.member);
        // One that is not known here proved that it belongs to the cluster: this node may have been away while it came.
        if member.node() == self.me().node() {
            return Err(Refusal::NotAMember);
        }
        if caller.to != u64::from(self.me().node()) {
            return Err(Refusal::Misdirected);
        }
        if self.is_cut(member.node()) || self.sessions.borrow().len() >= SESSIONS_MAX {
            return Err(Refusal::Cut);
        }
        // Who asks may be a directory that is not known yet: the answer tells it so.
        if caller.purpose == purpose::ASK {
            return Ok(());
        }
        self.check_directory(member, Uuid(caller.remote.directory))
    }

    /// Asks a peer one thing on a connection of its own. Gives the answer and who gave it.
    pub async fn ask(&self, number: u32, question: u8, body: &[u8]) -> Result<Answer, HandshakeError> {
        if self.is_cut(number) {
            return Err(HandshakeError::Refusing(Refusal::Cut));
        }
        let member = self.entry(number)?;
        self.ask_within(ASK_TIME_MAX, &member, question, body).await
    }

    fn entry(&self, number: u32) -> Result<Member, HandshakeError> {
        let book = self.book.borrow();
        let member = book.iter().find(|member| member.number() == number);
        member.cloned().ok_or(HandshakeError::Refusing(Refusal::NotAMember))
    }

    /// The same of a node that may be none that this one knows, with another bound.
    pub(crate) async fn ask_within(
        &self,
        limit: Duration,
        member: &Member,
        question: u8,
        body: &[u8],
    ) -> Result<Answer, HandshakeError> {
        timeout(limit, self.ask_member(member, question, body)).await.map_err(io::Error::from)?
    }

    async fn ask_member(&self, member: &Member, question: u8, body: &[u8]) -> Result<Answer, HandshakeError> {
        let session = self.dial(member, purpose::ASK).await?;
        session.send(question, body).await?;
        let frame = session.receive().await?;
        if frame.kind != question {
            return Err(HandshakeError::Senseless("an answer to another question"));
        }
        let Remote { member, directory } = session.remote();
        Ok(Answer { member: NodeId(member), directory: Uuid(directory), body: frame.body.to_vec() })
    }

    /// A fresh connection to the member.
    async fn dial(&self, member: &Member, purpose: u8) -> Result<Session, HandshakeError> {
        let (host_name, port) = split_address(&member.peer_address).expect("addresses were checked");
        let address = self.host.resolve(host_name, port).await?;
        let conn = self.host.connect(address).await?;
        let mut random = self.host.rng("peer question");
        let credentials = self.credentials.borrow().clone();
        let session = dial(conn, &credentials, u64::from(member.number()), purpose, &mut random).await?;
        let is_right = NodeId(session.remote().member).node() == member.number();
        if is_right { Ok(session) } else { Err(HandshakeError::Refusing(Refusal::Misdirected)) }
    }

    /// Opens a connection of its own to a member, known by its directory. It ends when the member is cut off.
    pub(crate) async fn call(self: &Rc<Self>, number: u32, purpose: u8) -> Result<Call, HandshakeError> {
        if self.is_cut(number) {
            return Err(HandshakeError::Refusing(Refusal::Cut));
        }
        let member = self.entry(number)?;
        let dialling = timeout(CALL_TIME_MAX, self.dial(&member, purpose));
        let session = dialling.await.map_err(io::Error::from)??;
        let remote = session.remote();
        self.check_directory(NodeId(remote.member), Uuid(remote.directory))
            .map_err(HandshakeError::Refusing)?;
        Ok(Call::new(self, number, Rc::new(session)))
    }
}

/// An open connection that is closed when the node that it leads to is cut off; it is left when this is dropped.
pub(crate) struct Call {
    peers: Rc<Peers>,
    id: u64,
    session: Rc<Session>,
}

impl Call {
    fn new(peers: &Rc<Peers>, number: u32, session: Rc<Session>) -> Self {
        let id = peers.sessions_opened.get();
        peers.sessions_opened.set(id + 1);
        peers.sessions.borrow_mut().insert(id, (number, Rc::clone(&session)));
        Self { peers: Rc::clone(peers), id, session }
    }
}

impl std::ops::Deref for Call {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.peers.sessions.borrow_mut().remove(&self.id);
    }
}

/// What a peer said.
pub struct Answer {
    pub member: NodeId,
    pub directory: Uuid,
    pub body: Vec<u8>,
}

/// Opens the port for other nodes.
pub async fn listen(host: &Host, settings: &Settings) -> io::Result<Listener> {
    let me = own(settings).expect("a node of a cluster is one of its members");
    let (name, port) = split_address(&me.peer_address).expect("addresses were checked when they were read");
    let address = host.resolve(name, port).await?;
    host.listen(address, BACKLOG)
}

/// Takes other nodes in for as long as the node runs.
pub async fn accept_peers(node: Rc<Node>, peers: Rc<Peers>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok((conn, from)) => {
                let (node, peers) = (Rc::clone(&node), Rc::clone(&peers));
                ramkeep_net::spawn(async move {
                    let mut random = node.host.rng("peer");
                    let credentials = peers.credentials.borrow().clone();
                    let opened = accept(conn, &credentials, &mut random, |caller| peers.admit(caller)).await;
                    match opened {
                        Ok(session) => serve(node, peers, Rc::new(session)).await,
                        Err(error) => tracing::debug!(%from, %error, "a connection for peers did not open"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection cannot be accepted");
                ramkeep_net::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(node: Rc<Node>, peers: Rc<Peers>, session: Rc<Session>) {
    let from = NodeId(session.remote().member);
    let session = Call::new(&peers, from.node(), session);
    let outcome = match session.purpose() {
        purpose::URGENT | purpose::BULK => receive(&node, &peers, &session).await,
        purpose::ASK => answer(&node, &peers, &session).await,
        purpose::SNAPSHOT => transfer::serve(&node, &session).await,
        purpose::TUNNEL => tunnel::take(&node, Rc::clone(&session.session)).await,
        other => {
            tracing::warn!(purpose = other, "a peer opened a connection for something unknown");
            Ok(())
        }
    };
    if let Err(error) = outcome {
        let name = peers.name(from);
        tracing::debug!(name, purpose = session.purpose(), %error, "a connection of a peer ended");
    }
}

/// Hands what comes on a lane to the replica.
async fn receive(node: &Rc<Node>, peers: &Rc<Peers>, session: &Session) -> io::Result<()> {
    let from = NodeId(session.remote().member);
    // A process starts anew as quickly as a heartbeat comes late; its first message says that it takes part again.
    let mut may_have_started = session.purpose() == purpose::URGENT;
    let mut messages = Vec::new();
    loop {
        timeout(SILENCE_MAX, session.readable()).await??;
        match session.fill() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            outcome => drop(outcome?),
        }
        while let Some(frame) = session.next_frame()? {
            match frame.kind {
                MESSAGE => {
                    let message = Message::decode(SHARD, &frame.body);
                    messages
                        .push(message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
                }
                SNAPSHOT_HELD => {
                    if let Some(announced) = Announced::decode(&frame.body) {
                        peers.announced.borrow_mut().insert(from.node(), announced);
                    }
                }
                ASK_MOMENT => answer_moment(node, peers, from, &frame.body)?,
                MOMENT => moment_told(node, &frame.body)?,
                DIGEST => {
                    if let Some(digest) = comparison::decode(&frame.body) {
                        node.with_shard(|shard, now, outputs| shard.digest_told(from, digest, now, outputs));
                    }
                }
                MEMBERS => {
                    if let Ok(members) = Membership::decode(&frame.body) {
                        peers.hear(members);
                    }
                }
                // From a newer version.
                _ => {}
            }
        }
        if messages.is_empty() {
            continue;
        }
        peers.messages_received.set(peers.messages_received.get() + messages.len() as u64);
        node.host.point(point::MESSAGES_RECEIVED);
        node.drive(|replica, now_ns| {
            if std::mem::take(&mut may_have_started) {
                replica.may_have_started(from, now_ns);
            }
            messages.drain(..).for_each(|message| replica.receive(from, message, now_ns));
        });
        node.host.point(point::MESSAGES_TAKEN);
    }
}

fn answer_moment(node: &Rc<Node>, peers: &Peers, from: NodeId, question: &[u8]) -> io::Result<()> {
    let question: [u8; 8] = question.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
    if let Some(moment) = node.with_shard(|shard, now, outputs| shard.moment(now, outputs)) {
        let numbers = [question, moment.executed.0.to_le_bytes(), moment.shard_ms.to_le_bytes()];
        peers.send_small(from, MOMENT, &numbers.concat());
        peers.flush();
    }
    Ok(())
}

fn moment_told(node: &Rc<Node>, body: &[u8]) -> io::Result<()> {
    let ([question, executed, milliseconds], []) = body.as_chunks::<8>() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let moment = Moment {
        executed: Position(u64::from_le_bytes(*executed)),
        shard_ms: i64::from_le_bytes(*milliseconds),
    };
    let question = u64::from_le_bytes(*question);
    node.with_shard(|shard, now, outputs| shard.moment_told(question, moment, now, outputs));
    Ok(())
}

/// Questions of a peer, one after another.
async fn answer(node: &Rc<Node>, peers: &Rc<Peers>, session: &Session) -> io::Result<()> {
    loop {
        let frame = match session.receive_within(SILENCE_MAX).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        };
        let body = match frame.kind {
            founding::QUESTION => match founding::answer(peers) {
                Some(answer) => answer,
                None => return Ok(()),
            },
            joining::QUESTION => joining::answer(node, peers, session.remote(), &frame.body).await,
            joining::FORWARDED => joining::answer_forwarded(node, &frame.body),
            joining::WAITING => joining::answer_waiting(node, peers),
            members::CHANGE => members::change_asked(node, &frame.body).await,
            members::LIST => members::list_asked(node),
            status::QUESTION => status::own_json(node),
            status::HAND_OVER => status::hand_over_asked(node, &frame.body),
            other => {
                tracing::debug!(kind = other, "a peer asked something unknown");
                return Ok(());
            }
        };
        session.send(frame.kind, &body).await?;
    }
}

/// Members as a line, for messages.
pub fn names(settings: &Settings, numbers: impl IntoIterator<Item = u32>) -> String {
    let names = numbers
        .into_iter()
        .map(|number| by_number(settings, number).map_or("unknown", |member| &member.name).to_owned());
    names.collect::<Vec<_>>().join(", ")
}
