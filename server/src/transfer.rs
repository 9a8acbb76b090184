//! Snapshot files from one node to another.
//!
//! Lives here: the messages about pieces of a file, serving them, fetching a whole file in spite of broken
//! connections, checking it before it counts. Not here: connections (`peers`), what is in a snapshot (`engine::rdb`),
//! what becomes of one that was fetched (the caller's).
//!
//! A connection of its own carries them, so that no heartbeat and no entry waits behind a file. Whoever fetches asks
//! for one piece after another, a few ahead, as fast as its own disk takes them; so memory is bounded on both sides,
//! and after a break it goes on at the byte where it stopped, as long as the process lives.
//!
//! Invariant: a fetched file has its name only after it was read back from the medium to its end and is the snapshot
//! that was asked for.

use crate::holdings::{Lease, VerifiedSnapshot};
use crate::node::Node;
use crate::peers::{Announced, Peers, purpose};
use crate::point;
use crate::snapshot::{self, name_of};
use ramkeep_log::{Position, Term};
use ramkeep_net::peer::{Frame, HandshakeError, Session};
use ramkeep_net::{Draft, LocalFuture, LogFile, timeout};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Kinds of frames. Numbers on the wire; never used again.
mod kind {
    pub const WANT: u8 = 1;
    pub const PIECE: u8 = 2;
    pub const REFUSED: u8 = 3;
}

/// Pieces asked for ahead.
const PIECES_AHEAD: u64 = 4;
/// Bytes written at once.
const APPEND_BYTES: usize = 256 << 10;
/// No piece that anybody may ask for is longer.
const PIECE_BYTES_MAX: u32 = 1 << 20;
/// A connection on which nothing happens for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between two connections.
const RETRY: Duration = Duration::from_millis(250);
/// Between two looks at what others hold.
const LOOK: Duration = Duration::from_millis(250);
/// After a fetch that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Connections in a row that brought nothing.
const FRUITLESS_MAX: u32 = 40;

/// Why a snapshot was not fetched. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Another one may be there by now.
    #[error("the peer does not hold it, or not any more")]
    NotHeld,
    #[error("the peer cannot read it")]
    Unreadable,
    #[error("the peer holds another file of that position now")]
    Changed,
    #[error("this node is making the file of that position already")]
    Busy,
    #[error("this node has no peers")]
    Alone,
    /// What came is not what was asked for, or was damaged on its way to this disk.
    #[error("what came is wrong: {0}")]
    Wrong(String),
    #[error("the disk: {0}")]
    Disk(#[source] io::Error),
    #[error("the peer cannot be reached: {0}")]
    Unreachable(#[source] HandshakeError),
    #[error("the connection broke, and another member leads and offers its own: {0}")]
    Outdated(#[source] HandshakeError),
}

/// Fetches the snapshot at `position`, of `term`, from the member with this number. It is then one of this node's own:
/// verified, durable, counted among those kept. Gives it at once when it is here already.
///
/// Goes on for as long as the peer can be reached at times, and at a break only if no other member leads and offers one;
/// drop the future to give up.
pub async fn fetch(
    node: &Rc<Node>,
    from: u32,
    position: Position,
    term: Term,
) -> Result<VerifiedSnapshot, FetchError> {
    if let Some(lease) = node.holdings.lease(position, term) {
        return Ok(lease.snapshot.clone());
    }
    let peers = Rc::clone(node.peers().ok_or(FetchError::Alone)?);
    let _claim = node.holdings.claim(position).ok_or(FetchError::Busy)?;
    let draft = node.log.disk().draft(&name_of(position)).await.map_err(FetchError::Disk)?;
    let file = PartialFile { draft, version: None, offset: 0, buffer: Vec::new(), under_way: None };
    let mut fetching = Fetching { node: Rc::clone(node), peers, from, position, term, file, breaks: 0 };
    let outcome = fetching.run().await;
    match &outcome {
        Ok(snapshot) => {
            node.host.point(point::SNAPSHOT_FETCHED);
            if fetching.breaks > 0 {
                node.host.point(point::FETCHED_AFTER_BREAK);
            }
            node.holdings.add(snapshot.clone());
            snapshot::remove_old(node).await;
        }
        Err(_) => {
            if let Err(error) = fetching.file.draft.abandon().await {
                tracing::debug!(%error, "a part of a snapshot stays until the next start");
            }
        }
    }
    outcome
}

/// Brings the newest snapshot of the others here, for as long as the node runs, where this node makes none itself.
pub async fn fetch_when_told(node: Rc<Node>) {
    loop {
        ramkeep_net::sleep(LOOK).await;
        let Some((from, announced)) = newest_wanted(&node) else { continue };
        match fetch(&node, from, announced.position, announced.term).await {
            Ok(fetched) => {
                tracing::info!(position = fetched.head.position, bytes = fetched.bytes, "snapshot fetched");
                node.with_shard(|shard, now, outputs| {
                    shard.snapshot_fetched(&fetched.head, fetched.foot, fetched.bytes, now, outputs);
                });
            }
            Err(error) => {
                tracing::warn!(position = announced.position.0, %error, "no snapshot was fetched");
                ramkeep_net::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// The newest snapshot that any other node told of, if this node wants it.
fn newest_wanted(node: &Node) -> Option<(u32, Announced)> {
    let mut announced = node.peers()?.announced();
    announced.sort_by_key(|(_, announced)| announced.position);
    let shard = node.shard.borrow();
    announced.into_iter().rev().find(|(_, it)| shard.wants_snapshot_of(it.position, it.term))
}

/// One fetch, over as many connections as it takes.
struct Fetching {
    node: Rc<Node>,
    peers: Rc<Peers>,
    from: u32,
    position: Position,
    term: Term,
    file: PartialFile,
    /// Connections that were there and broke before the file was whole.
    breaks: u32,
}

/// What has come so far.
struct PartialFile {
    draft: Rc<dyn Draft>,
    /// Of the first piece: every other one must be of the same file.
    version: Option<Version>,
    /// Bytes that have come.
    offset: u64,
    buffer: Vec<u8>,
    under_way: Option<LocalFuture<'static, io::Result<Vec<u8>>>>,
}

/// How one connection ended.
enum Broken {
    /// Another one may do better.
    Connection(HandshakeError),
    Fetch(FetchError),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Connection(error.into())
    }
}

impl Fetching {
    async fn run(&mut self) -> Result<VerifiedSnapshot, FetchError> {
        let mut fruitless = 0;
        loop {
            let before = self.file.offset;
            let outcome = match self.peers.call(self.from, purpose::SNAPSHOT).await {
                Ok(session) => {
                    let outcome = self.receive(&session).await;
                    self.breaks += u32::from(matches!(outcome, Err(Broken::Connection(_))));
                    outcome
                }
                Err(error) => Err(Broken::Connection(error)),
            };
            match outcome {
                Ok(()) => break,
                Err(Broken::Fetch(error)) => return Err(error),
                Err(Broken::Connection(error)) if self.node.offers.are_of_another(self.from) => {
                    return Err(FetchError::Outdated(error));
                }
                Err(Broken::Connection(error)) => {
                    fruitless = if self.file.offset > before { 0 } else { fruitless + 1 };
                    if fruitless >= FRUITLESS_MAX {
                        return Err(FetchError::Unreachable(error));
                    }
                    tracing::debug!(%error, offset = self.file.offset, "fetching a snapshot was interrupted");
                    ramkeep_net::sleep(RETRY).await;
                }
            }
        }
        self.file.write_rest().await?;
        self.verify().await
    }

    /// Receives pieces over one connection until the file is whole.
    async fn receive(&mut self, session: &Session) -> Result<(), Broken> {
        let mut asked = self.file.offset;
        let piece_bytes = self.node.holdings.piece_bytes();
        let window_bytes = PIECES_AHEAD * u64::from(piece_bytes);
        while !self.file.is_whole() {
            let end = self.file.version.map_or(asked + 1, |version| version.bytes);
            while asked < end && asked - self.file.offset < window_bytes {
                let want =
                    Want { position: self.position, term: self.term, offset: asked, bytes: piece_bytes };
                session.push(kind::WANT, |buffer| want.encode(buffer));
                asked += u64::from(piece_bytes);
            }
            let frame = session.receive_within(SILENCE_MAX).await?;
            let piece = Piece::of(&frame).map_err(Broken::Fetch)?;
            self.take(piece).await.map_err(Broken::Fetch)?;
        }
        Ok(())
    }

    async fn take(&mut self, piece: Piece<'_>) -> Result<(), FetchError> {
        let known = *self.file.version.get_or_insert(piece.version);
        if piece.version != known {
            return Err(FetchError::Changed);
        }
        let wanted =
            u64::from(self.node.holdings.piece_bytes()).min(known.bytes.saturating_sub(self.file.offset));
        if piece.offset != self.file.offset || piece.bytes.len() as u64 != wanted {
            return Err(FetchError::Wrong("another piece than was asked for".to_owned()));
        }
        let left = known.bytes - self.file.offset;
        snapshot::check_room(&self.node, left).map_err(FetchError::Disk)?;
        self.file.add(piece.bytes).await
    }

    /// Reads the file back from the medium, and gives it its name if it is the one that was asked for.
    async fn verify(&self) -> Result<VerifiedSnapshot, FetchError> {
        let found = snapshot::read_through(&self.file.draft).await.map_err(FetchError::Disk)?;
        let (head, foot) = match found.map_err(FetchError::Wrong)? {
            (Some(head), Some(foot)) => (head, foot),
            _ => return Err(FetchError::Wrong("it is no snapshot of a shard".to_owned())),
        };
        let place = snapshot::place_of(&self.node.log.layout());
        let is_asked_for = (head.shard, head.cluster) == (place.shard, place.cluster)
            && (head.position, head.term) == (self.position.0, self.term.0);
        if !is_asked_for {
            return Err(FetchError::Wrong("it is another snapshot".to_owned()));
        }
        self.file.draft.finish().await.map_err(FetchError::Disk)?;
        Ok(VerifiedSnapshot { head, foot, bytes: self.file.offset })
    }
}

impl PartialFile {
    fn is_whole(&self) -> bool {
        self.version.is_some_and(|version| version.bytes == self.offset)
    }

    async fn add(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.offset += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= APPEND_BYTES { self.write().await } else { Ok(()) }
    }

    /// Writes what has come; waits only for the write before.
    async fn write(&mut self) -> Result<(), FetchError> {
        let empty = match self.under_way.take() {
            Some(append) => append.await.map_err(FetchError::Disk)?,
            None => Vec::new(),
        };
        let bytes = std::mem::replace(&mut self.buffer, empty);
        self.buffer.clear();
        self.under_way = Some(self.draft.append(bytes));
        Ok(())
    }

    async fn write_rest(&mut self) -> Result<(), FetchError> {
        self.write().await?;
        match self.under_way.take() {
            Some(append) => append.await.map(drop).map_err(FetchError::Disk),
            None => Ok(()),
        }
    }
}

/// Answers a peer's questions for pieces until it ends the connection.
pub(crate) async fn serve(node: &Rc<Node>, session: &Session) -> io::Result<()> {
    let mut open: Option<Served> = None;
    loop {
        let frame = match session.receive_within(SILENCE_MAX).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        };
        let want = Want::of(&frame)?;
        if open.as_ref().is_none_or(|open| !open.is_of(&want)) {
            open = Served::open(node, &want).await?;
        }
        match &open {
            None => session.push(kind::REFUSED, |buffer| buffer.push(REFUSED_NOT_HELD)),
            Some(served) => match served.read(&want).await {
                Ok(bytes) => {
                    node.host.point(point::PIECE_READ);
                    let piece = Piece { version: served.version, offset: want.offset, bytes: &bytes };
                    session.push(kind::PIECE, |buffer| piece.encode(buffer));
                    node.holdings.count_served(bytes.len() as u64);
                }
                Err(error) => {
                    tracing::error!(position = want.position.0, %error, "a snapshot cannot be read");
                    node.holdings.forget(want.position);
                    session.push(kind::REFUSED, |buffer| buffer.push(REFUSED_UNREADABLE));
                }
            },
        }
        timeout(SILENCE_MAX, session.drain()).await??;
        ramkeep_net::yield_now().await;
    }
}

/// A snapshot that is being served: it is not removed meanwhile.
struct Served {
    lease: Lease,
    file: Rc<dyn LogFile>,
    version: Version,
}

impl Served {
    /// None: it is not held here.
    async fn open(node: &Rc<Node>, want: &Want) -> io::Result<Option<Served>> {
        let Some(lease) = node.holdings.lease(want.position, want.term) else { return Ok(None) };
        let file = node.log.disk().open(&name_of(want.position)).await?;
        let bytes = file.len()?;
        let end = file.read_at(bytes.saturating_sub(8), 8).await?;
        let checksum = <[u8; 8]>::try_from(&*end).map_err(|_| io::ErrorKind::InvalidData)?;
        let version = Version { bytes, checksum: u64::from_le_bytes(checksum) };
        Ok(Some(Served { lease, file, version }))
    }

    fn is_of(&self, want: &Want) -> bool {
        (self.lease.snapshot.position(), self.lease.snapshot.term()) == (want.position, want.term)
    }

    async fn read(&self, want: &Want) -> io::Result<Vec<u8>> {
        self.file.read_at(want.offset, want.bytes.min(PIECE_BYTES_MAX) as usize).await
    }
}

const REFUSED_NOT_HELD: u8 = 1;
const REFUSED_UNREADABLE: u8 = 2;

/// A piece is wanted. All integers little-endian.
///
/// | offset | bytes | field                                 |
/// |-------:|------:|---------------------------------------|
/// |      0 |     8 | position of the snapshot              |
/// |      8 |     8 | term of the entry there               |
/// |     16 |     8 | place in the file                     |
/// |     24 |     4 | bytes, at most; fewer only at its end |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Want {
    position: Position,
    term: Term,
    offset: u64,
    bytes: u32,
}

const WANT_BYTES: usize = 28;

impl Want {
    fn encode(&self, buffer: &mut Vec<u8>) {
        for number in [self.position.0, self.term.0, self.offset] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(&self.bytes.to_le_bytes());
    }

    fn of(frame: &Frame) -> io::Result<Want> {
        let body = &frame.body;
        if frame.kind != kind::WANT || body.len() != WANT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no question for a piece"));
        }
        Ok(Want {
            position: Position(u64_at(body, 0)),
            term: Term(u64_at(body, 8)),
            offset: u64_at(body, 16),
            bytes: u32::from_le_bytes(body[24..28].try_into().expect("four bytes")),
        })
    }
}

/// Two files with the same are the same: the checksum at the end of an RDB file is one of all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    bytes: u64,
    checksum: u64,
}

/// A piece of a file. All integers little-endian.
///
/// | offset | bytes | field                                   |
/// |-------:|------:|-----------------------------------------|
/// |      0 |     8 | length of the whole file                |
/// |      8 |     8 | its last 8 bytes: the checksum of all   |
/// |     16 |     8 | place of the piece in the file          |
/// |     24 |     n | its bytes                               |
///
/// Instead of one a refusal may come, one byte: 1 = not held here, 2 = cannot be read.
struct Piece<'a> {
    version: Version,
    offset: u64,
    bytes: &'a [u8],
}

const PIECE_HEAD_BYTES: usize = 24;

impl<'a> Piece<'a> {
    fn encode(&self, buffer: &mut Vec<u8>) {
        for number in [self.version.bytes, self.version.checksum, self.offset] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(self.bytes);
    }

    fn of(frame: &'a Frame) -> Result<Piece<'a>, FetchError> {
        let body = &frame.body;
        match (frame.kind, &**body) {
            (kind::PIECE, _) if body.len() >= PIECE_HEAD_BYTES => Ok(Piece {
                version: Version { bytes: u64_at(body, 0), checksum: u64_at(body, 8) },
                offset: u64_at(body, 16),
                bytes: &body[PIECE_HEAD_BYTES..],
            }),
            (kind::REFUSED, [REFUSED_NOT_HELD]) => Err(FetchError::NotHeld),
            (kind::REFUSED, [REFUSED_UNREADABLE]) => Err(FetchError::Unreadable),
            _ => Err(FetchError::Wrong("an answer that makes no sense".to_owned())),
        }
    }
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_a_piece_read_back() {
        let want = Want { position: Position(7), term: Term(3), offset: 1 << 40, bytes: 9 };
        let mut body = Vec::new();
        want.encode(&mut body);
        assert_eq!(Want::of(&Frame { kind: kind::WANT, body: body.into() }).expect("whole"), want);
        let version = Version { bytes: 10, checksum: u64::MAX };
        let mut body = Vec::new();
        Piece { version, offset: 4, bytes: b"abc" }.encode(&mut body);
        let frame = Frame { kind: kind::PIECE, body: body.into() };
        let piece = Piece::of(&frame).expect("whole");
        assert_eq!((piece.version, piece.offset, piece.bytes), (version, 4, &b"abc"[..]));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for (kind, length) in (0..6).flat_map(|kind| (0..80).map(move |length| (kind, length))) {
            let frame = Frame { kind, body: vec![1; length].into() };
            assert_eq!(Want::of(&frame).is_ok(), kind == kind::WANT && length == WANT_BYTES);
            assert_eq!(Piece::of(&frame).is_ok(), kind == kind::PIECE && length >= PIECE_HEAD_BYTES);
        }
    }
}
