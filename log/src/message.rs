//! What replicas of a shard say to each other.
//!
//! Lives here: the message and its bytes on the wire. Not here: connections, authentication, and whether a
//! well-formed message makes sense now (`replica::guard`).
//!
//! Invariant: what decodes can be handed to Raft without a panic from the message alone: numbers are bounded,
//! entries follow each other, and types that a node may only tell itself do not exist on the wire.

use bytes::Bytes;
use raft::eraftpb::{Message as RaftMessage, MessageType};

use crate::bytes_at::{put, u32_at, u64_at};
use crate::replica::{from_raft, to_raft};
use crate::types::{Entry, EntryKind, NodeId, Position, ShardId, Term};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 96;
const ENTRY_HEAD_BYTES: usize = 24;
const FLAG_REJECT: u8 = 1;
/// No position, term or priority comes near it; so sums of two never overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// The types on the wire and their tags. A tag is never used again.
const TYPES: &[(u8, MessageType)] = &[
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgHeartbeat),
    (4, MessageType::MsgHeartbeatResponse),
    (5, MessageType::MsgRequestVote),
    (6, MessageType::MsgRequestVoteResponse),
    (7, MessageType::MsgRequestPreVote),
    (8, MessageType::MsgRequestPreVoteResponse),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndex),
    (11, MessageType::MsgReadIndexResp),
    (12, MessageType::MsgSnapshot),
];

/// A message between two replicas of a shard. All integers little-endian.
///
/// | offset | bytes | field                                                                       |
/// |-------:|------:|-----------------------------------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..end                                                        |
/// |      4 |     4 | length of the message, this head included                                    |
/// |      8 |     1 | version, now 1                                                               |
/// |      9 |     1 | type: 1 append, 2 its answer, 3 heartbeat, 4 its answer, 5 vote, 6 its       |
/// |        |       | answer, 7 pre-vote, 8 its answer, 9 timeout now, 10 read index, 11 its       |
/// |        |       | answer, 12 a snapshot of `position` that the sender holds                   |
/// |     10 |     1 | flags: bit 0 = rejected                                                      |
/// |     11 |     1 | zero                                                                         |
/// |     12 |     4 | shard                                                                        |
/// |     16 |     8 | to (member)                                                                  |
/// |     24 |     8 | from (member)                                                                |
/// |     32 |     8 | term; 0 only in read index                                                   |
/// |     40 |     8 | term at `position`                                                           |
/// |     48 |     8 | position                                                                     |
/// |     56 |     8 | committed position; with a snapshot: that before the first of the log        |
/// |     64 |     8 | term at the committed position                                               |
/// |     72 |     8 | position suggested by a rejection                                            |
/// |     80 |     8 | priority of a candidate, signed                                              |
/// |     88 |     4 | number of entries                                                            |
/// |     92 |     4 | length of the context                                                        |
/// |     96 |     c | context                                                                      |
/// |   96+c |       | entries, each: payload length (4), kind (1: 1 normal, 2 change of members),  |
/// |        |       | zero (3), term (8), term of its origin (8), payload; the first follows       |
/// |        |       | `position`, each next one the one before it                                  |
#[derive(Clone, Debug, PartialEq)]
pub struct Message(pub(crate) RaftMessage);

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The lengths do not add up.
    #[error("the message's lengths do not add up")]
    Length,
    /// The checksum does not match.
    #[error("checksum mismatch in a message")]
    Checksum,
    /// From another version.
    #[error("message of version {0}, this program reads {VERSION}")]
    Version(u8),
    /// A type, kind or flag that does not exist.
    #[error("a message with an unknown tag")]
    Tag,
    /// A number out of its bounds, or fields that do not belong to this type.
    #[error("a message that no replica would send")]
    Senseless,
    /// Of another shard.
    #[error("a message for shard {0}")]
    Shard(u32),
}

impl Message {
    /// Who sent it.
    #[must_use]
    pub fn from(&self) -> NodeId {
        NodeId(self.0.from)
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        NodeId(self.0.to)
    }

    /// The sender's term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.0.term)
    }

    /// Its type in Raft's words, for logs and traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.0.get_msg_type() {
            MessageType::MsgAppend => "append",
            MessageType::MsgAppendResponse => "append answer",
            MessageType::MsgHeartbeat => "heartbeat",
            MessageType::MsgHeartbeatResponse => "heartbeat answer",
            MessageType::MsgRequestVote => "vote",
            MessageType::MsgRequestVoteResponse => "vote answer",
            MessageType::MsgRequestPreVote => "pre-vote",
            MessageType::MsgRequestPreVoteResponse => "pre-vote answer",
            MessageType::MsgTimeoutNow => "timeout now",
            MessageType::MsgReadIndex => "read index",
            MessageType::MsgReadIndexResp => "read index answer",
            MessageType::MsgSnapshot => "snapshot pointer",
            _ => "local",
        }
    }

    /// Whether heartbeats, votes and their kind: to be sent ahead of bulk.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        !matches!(self.0.get_msg_type(), MessageType::MsgAppend)
    }

    /// Appends the message's bytes.
    ///
    /// # Panics
    ///
    /// If the message is one that a replica only tells itself: no [`crate::Replica`] gives
    /// such a one to send.
    pub fn encode(&self, shard: ShardId, bytes: &mut Vec<u8>) {
        let message = &self.0;
        let tag = TYPES
            .iter()
            .find(|(_, kind)| *kind == message.get_msg_type())
            .map(|(tag, _)| *tag)
            .expect("a replica sends only types that have a tag");
        let start = bytes.len();
        let mut head = [0; HEAD_BYTES];
        (head[8], head[9]) = (VERSION, tag);
        head[10] = if message.reject { FLAG_REJECT } else { 0 };
        put(&mut head, 12, &shard.0.to_le_bytes());
        let numbers = [
            message.to,
            message.from,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.reject_hint,
            message.priority as u64,
        ];
        for (index, number) in numbers.iter().enumerate() {
            put(&mut head, 16 + index * 8, &number.to_le_bytes());
        }
        put(&mut head, 88, &(message.entries.len() as u32).to_le_bytes());
        put(&mut head, 92, &(message.context.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&message.context);
        for entry in message.entries.iter() {
            put_entry(&from_raft(entry.clone()), bytes);
        }
        let length = u32::try_from(bytes.len() - start).expect("messages are bounded far below 4 GiB");
        put(bytes, start + 4, &length.to_le_bytes());
        let crc = crc32fast::hash(&bytes[start + 4..]);
        put(bytes, start, &crc.to_le_bytes());
    }

    /// Reads one whole message; payloads share the buffer.
    pub fn decode(shard: ShardId, bytes: &Bytes) -> Result<Self, MessageError> {
        if bytes.len() < HEAD_BYTES || u32_at(bytes, 4) as usize != bytes.len() {
            return Err(MessageError::Length);
        }
        if crc32fast::hash(&bytes[4..]) != u32_at(bytes, 0) {
            return Err(MessageError::Checksum);
        }
        if bytes[8] != VERSION {
            return Err(MessageError::Version(bytes[8]));
        }
        let found = u32_at(bytes, 12);
        if found != shard.0 {
            return Err(MessageError::Shard(found));
        }
        let kind = TYPES.iter().find(|(tag, _)| *tag == bytes[9]).ok_or(MessageError::Tag)?.1;
        if bytes[10] & !FLAG_REJECT != 0 {
            return Err(MessageError::Tag);
        }
        let mut message = RaftMessage::default();
        message.set_msg_type(kind);
        message.reject = bytes[10] & FLAG_REJECT != 0;
        let number = |index: usize| match u64_at(bytes, 16 + index * 8) {
            found if found < NUMBER_MAX => Ok(found),
            _ => Err(MessageError::Senseless),
        };
        message.to = u64_at(bytes, 16);
        message.from = u64_at(bytes, 24);
        message.term = number(2)?;
        message.log_term = number(3)?;
        message.index = number(4)?;
        message.commit = number(5)?;
        message.commit_term = number(6)?;
        message.reject_hint = number(7)?;
        message.priority = u64_at(bytes, 80) as i64;
        let (count, context_bytes) = (u32_at(bytes, 88) as usize, u32_at(bytes, 92) as usize);
        let rest = bytes.slice(HEAD_BYTES..);
        if context_bytes > rest.len() {
            return Err(MessageError::Length);
        }
        message.context = rest.slice(..context_bytes);
        let numbered = kind == MessageType::MsgAppend;
        let first = if numbered { message.index + 1 } else { 0 };
        let entries = get_entries(&rest.slice(context_bytes..), count, first, numbered)?;
        message.entries = entries.into_iter().map(to_raft).collect::<Vec<_>>().into();
        check_sense(&message)?;
        Ok(Self(message))
    }
}

fn put_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    let mut head = [0; ENTRY_HEAD_BYTES];
    put(&mut head, 0, &(entry.payload.len() as u32).to_le_bytes());
    head[4] = match entry.kind {
        EntryKind::Normal => 1,
        EntryKind::ConfChange => 2,
    };
    put(&mut head, 8, &entry.term.0.to_le_bytes());
    put(&mut head, 16, &entry.origin_term.0.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&entry.payload);
}

fn get_entries(bytes: &Bytes, count: usize, first: u64, numbered: bool) -> Result<Vec<Entry>, MessageError> {
    if count > bytes.len() / ENTRY_HEAD_BYTES {
        return Err(MessageError::Length);
    }
    let mut entries = Vec::with_capacity(count);
    let mut at = 0;
    for index in 0..count {
        let head = bytes.get(at..at + ENTRY_HEAD_BYTES).ok_or(MessageError::Length)?;
        let payload_bytes = u32_at(head, 0) as usize;
        let kind = match head[4] {
            1 => EntryKind::Normal,
            2 => EntryKind::ConfChange,
            _ => return Err(MessageError::Tag),
        };
        at += ENTRY_HEAD_BYTES;
        if payload_bytes > bytes.len() - at {
            return Err(MessageError::Length);
        }
        let (term, origin) = (u64_at(head, 8), u64_at(head, 16));
        if term >= NUMBER_MAX || origin >= NUMBER_MAX {
            return Err(MessageError::Senseless);
        }
        entries.push(Entry {
            position: Position(if numbered { first + index as u64 } else { 0 }),
            term: Term(term),
            origin_term: Term(origin),
            kind,
            payload: bytes.slice(at..at + payload_bytes),
        });
        at += payload_bytes;
    }
    if at == bytes.len() { Ok(entries) } else { Err(MessageError::Length) }
}

/// What the library asserts, or would take for a message to itself, but a decoder can know.
fn check_sense(message: &RaftMessage) -> Result<(), MessageError> {
    let kind = message.get_msg_type();
    let (is_read, is_append, is_pointer) = (
        matches!(kind, MessageType::MsgReadIndex | MessageType::MsgReadIndexResp),
        kind == MessageType::MsgAppend,
        kind == MessageType::MsgSnapshot,
    );
    // A message of term 0 is a local one to the library; only read index travels without a term.
    let term_fits = (message.term == 0) == (kind == MessageType::MsgReadIndex);
    let entries_fit =
        if is_read { message.entries.len() == 1 } else { is_append || message.entries.is_empty() };
    let terms_rise = !is_append || {
        let mut last = message.log_term;
        message.entries.iter().all(|entry| {
            let rises = entry.term >= last && entry.term > 0 && entry.term <= message.term;
            last = entry.term;
            rises
        })
    };
    let has_base_term = !is_append || (message.index == 0) == (message.log_term == 0);
    let points_somewhere = !is_pointer
        || (message.index > 0
            && (1..=message.term).contains(&message.log_term)
            && message.commit <= message.index
            && !message.reject);
    if points_somewhere
        && term_fits
        && entries_fit
        && terms_rise
        && has_base_term
        && message.from != 0
        && message.to != 0
    {
        Ok(())
    } else {
        Err(MessageError::Senseless)
    }
}
