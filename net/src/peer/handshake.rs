//! Who is at the other end of a connection.
//!
//! Lives here: the four messages before anything else, the proofs in them, the reasons to refuse. Not here: who is a
//! member (asked through `admit`), frames, what follows.
//!
//! The caller says hello; the taker answers with a number used once; the caller proves that it knows the secret; the
//! taker proves it too. So whoever only connects learns nothing to try secrets on. Both proofs and the keys of both
//! directions are drawn from the secret and a digest of the first two messages, each with a label of its own.
//!
//! Invariant: with a secret, an identity counts only once it is proved, and a connection to a side without the
//! secret never opens; without one, both ends are on this machine.

use super::frame::{Frame, Incoming, Outgoing};
use super::secret::{Secret, digest};
use super::session::Session;
use crate::{Conn, timeout};
use rand_core::RngCore;
use std::io;
use std::time::Duration;

/// The whole handshake takes no longer.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(2);
/// No message of the handshake is longer.
const BODY_BYTES_MAX: usize = 256;
const MAGIC: [u8; 8] = *b"RAMKPEER";
/// Version of everything between nodes: raised when an older node would misread a newer one.
const PROTOCOL: u16 = 1;
const HELLO_BYTES: usize = 96;
const CHALLENGE_BYTES: usize = 88;
const FLAG_SECRET: u8 = 1;

const HELLO: u8 = 0xf1;
const CHALLENGE: u8 = 0xf2;
const PROOF: u8 = 0xf3;
const WELCOME: u8 = 0xf4;
const REFUSAL: u8 = 0xf5;

const CALLER_PROOF: &[u8] = b"ramkeep caller";
const TAKER_PROOF: &[u8] = b"ramkeep taker";
const CALLER_KEY: &[u8] = b"ramkeep from caller";
const TAKER_KEY: &[u8] = b"ramkeep from taker";

/// What a node is to the others.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub cluster: [u8; 16],
    pub member: u64,
    /// UUID of its data directory.
    pub directory: [u8; 16],
    /// None: peers on this machine only.
    pub secret: Option<Secret>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub member: u64,
    pub directory: [u8; 16],
}

/// Who calls, whom, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub remote: Remote,
    /// Whom it means to reach.
    pub to: u64,
    /// What the connection is for; the user's own numbers.
    pub purpose: u8,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the versions of the protocol between nodes differ")]
    Version,
    #[error("it belongs to another cluster")]
    Cluster,
    #[error("one side has a peer secret, the other has none")]
    SecretMissing,
    #[error("the peer secrets differ")]
    SecretDiffers,
    #[error("the caller is no member that it knows")]
    NotAMember,
    #[error("it is not the node that was called")]
    Misdirected,
    #[error("the caller's data directory is not the one that this member is known by")]
    Directory,
    #[error("without a peer secret only nodes on one machine talk to each other")]
    Remote,
    #[error("it takes no connections from this node now")]
    Cut,
    #[error("this member was replaced or removed: its data directory is no part of the cluster any more")]
    Replaced,
    #[error("an unknown reason, {0}")]
    Other(u8),
}

impl Refusal {
    const ALL: [(u8, Refusal); 10] = [
        (1, Refusal::Version),
        (2, Refusal::Cluster),
        (3, Refusal::SecretMissing),
        (4, Refusal::SecretDiffers),
        (5, Refusal::NotAMember),
        (6, Refusal::Misdirected),
        (7, Refusal::Directory),
        (8, Refusal::Remote),
        (9, Refusal::Cut),
        (10, Refusal::Replaced),
    ];

    fn code(self) -> u8 {
        match self {
            Refusal::Other(code) => code,
            known => {
                let row = Self::ALL.iter().find(|(_, reason)| *reason == known);
                row.expect("every reason has a code").0
            }
        }
    }

    fn from_code(code: u8) -> Self {
        Self::ALL.iter().find(|(known, _)| *known == code).map_or(Refusal::Other(code), |(_, reason)| *reason)
    }
}

/// Why a connection did not open.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other side is no node of ours: {0}")]
    Senseless(&'static str),
    #[error("the other side refused: {0}")]
    Refused(Refusal),
    #[error("refused: {0}")]
    Refusing(Refusal),
}

/// First message, from the caller. Integers little-endian.
///
/// | offset | bytes | field                                                |
/// |-------:|------:|------------------------------------------------------|
/// |      0 |     8 | `RAMKPEER`                                           |
/// |      8 |     2 | version of the protocol, now 1                       |
/// |     10 |     1 | flags: bit 0 = has a secret                          |
/// |     11 |     1 | purpose of the connection                            |
/// |     12 |     4 | zero                                                 |
/// |     16 |    16 | cluster                                              |
/// |     32 |     8 | member that calls                                    |
/// |     40 |     8 | member that is called                                |
/// |     48 |    16 | data directory of the caller                         |
/// |     64 |    32 | number used once                                     |
struct Hello([u8; HELLO_BYTES]);

/// Second message, from the taker; as the first without the member that is called and the purpose.
///
/// | offset | bytes | field                                                |
/// |-------:|------:|------------------------------------------------------|
/// |      0 |    11 | as in the first message                              |
/// |     11 |     5 | zero                                                 |
/// |     16 |    16 | cluster                                              |
/// |     32 |     8 | member that answers                                  |
/// |     40 |    16 | its data directory                                   |
/// |     56 |    32 | number used once                                     |
///
/// The third and fourth carry the proofs of caller and taker, 32 bytes each, or nothing without a secret. Instead of
/// any message a refusal may come, one byte with the reason.
struct Challenge([u8; CHALLENGE_BYTES]);

impl Credentials {
    fn flags(&self) -> u8 {
        if self.secret.is_some() { FLAG_SECRET } else { 0 }
    }

    fn hello(&self, to: u64, purpose: u8, random: &mut dyn RngCore) -> Hello {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&PROTOCOL.to_le_bytes());
        (bytes[10], bytes[11]) = (self.flags(), purpose);
        bytes[16..32].copy_from_slice(&self.cluster);
        bytes[32..40].copy_from_slice(&self.member.to_le_bytes());
        bytes[40..48].copy_from_slice(&to.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.directory);
        random.fill_bytes(&mut bytes[64..]);
        Hello(bytes)
    }

    fn challenge(&self, random: &mut dyn RngCore) -> Challenge {
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&PROTOCOL.to_le_bytes());
        bytes[10] = self.flags();
        bytes[16..32].copy_from_slice(&self.cluster);
        bytes[32..40].copy_from_slice(&self.member.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.directory);
        random.fill_bytes(&mut bytes[56..]);
        Challenge(bytes)
    }

    /// Whether a side with these first 32 bytes may be talked to at all.
    fn check(&self, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes[8..10] != PROTOCOL.to_le_bytes() {
            return Err(Refusal::Version);
        }
        if bytes[16..32] != self.cluster {
            return Err(Refusal::Cluster);
        }
        if bytes[10] != self.flags() {
            return Err(Refusal::SecretMissing);
        }
        Ok(())
    }

    fn proof(&self, label: &[u8], transcript: &[u8; 32]) -> Vec<u8> {
        self.secret.as_ref().map_or(Vec::new(), |secret| secret.prove(label, transcript).to_vec())
    }

    fn is_proved(&self, label: &[u8], transcript: &[u8; 32], proof: &[u8]) -> bool {
        self.secret.as_ref().is_none_or(|secret| secret.is_proved(label, transcript, proof))
    }

    fn may_talk_to(&self, conn: &Conn) -> Result<(), Refusal> {
        let is_here = conn.peer_address().ip().to_canonical().is_loopback();
        if self.secret.is_some() || is_here { Ok(()) } else { Err(Refusal::Remote) }
    }
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn array_at(bytes: &[u8], offset: usize) -> [u8; 16] {
    bytes[offset..offset + 16].try_into().expect("sixteen bytes")
}

/// A connection on which no frame was exchanged yet.
struct Opening {
    conn: Conn,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Opening {
    fn new(conn: Conn) -> Self {
        Self { conn, outgoing: Outgoing::default(), incoming: Incoming::new(BODY_BYTES_MAX) }
    }

    async fn say(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.outgoing.push(kind, |buffer| buffer.extend_from_slice(body));
        while !self.outgoing.flush(|bytes| self.conn.try_write(bytes))? {
            self.conn.writable().await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, refusal: Refusal) -> HandshakeError {
        match self.say(REFUSAL, &[refusal.code()]).await {
            Ok(()) => HandshakeError::Refusing(refusal),
            Err(error) => error.into(),
        }
    }

    async fn hear(&mut self, kind: u8, length: usize) -> Result<Frame, HandshakeError> {
        let frame = loop {
            if let Some(frame) = self.incoming.next_frame().map_err(io::Error::from)? {
                break frame;
            }
            if self.conn.read(self.incoming.room()).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        if frame.kind == REFUSAL && frame.body.len() == 1 {
            return Err(HandshakeError::Refused(Refusal::from_code(frame.body[0])));
        }
        if frame.kind != kind || frame.body.len() != length {
            return Err(HandshakeError::Senseless("an unexpected message"));
        }
        Ok(frame)
    }

    fn open(
        mut self,
        credentials: &Credentials,
        transcript: &[u8; 32],
        labels: [&[u8]; 2],
        caller: Caller,
    ) -> Session {
        let [out, back] =
            labels.map(|label| credentials.secret.as_ref().map(|secret| secret.key(label, transcript)));
        self.outgoing.authenticate(out);
        self.incoming.authenticate(back);
        Session::new(self.conn, caller, self.outgoing, self.incoming)
    }
}

/// Opens the caller's end of a fresh connection.
pub async fn dial(
    conn: Conn,
    credentials: &Credentials,
    to: u64,
    purpose: u8,
    random: &mut dyn RngCore,
) -> Result<Session, HandshakeError> {
    let hello = credentials.hello(to, purpose, random);
    timeout(HANDSHAKE_TIME_MAX, call(conn, credentials, hello, to, purpose)).await.map_err(io::Error::from)?
}

async fn call(
    conn: Conn,
    credentials: &Credentials,
    hello: Hello,
    to: u64,
    purpose: u8,
) -> Result<Session, HandshakeError> {
    credentials.may_talk_to(&conn).map_err(HandshakeError::Refusing)?;
    let mut opening = Opening::new(conn);
    opening.say(HELLO, &hello.0).await?;
    let challenge = opening.hear(CHALLENGE, CHALLENGE_BYTES).await?;
    if challenge.body[..8] != MAGIC {
        return Err(HandshakeError::Senseless("it speaks another protocol"));
    }
    credentials.check(&challenge.body).map_err(HandshakeError::Refusing)?;
    let transcript = digest(&[&hello.0, &challenge.body]);
    opening.say(PROOF, &credentials.proof(CALLER_PROOF, &transcript)).await?;
    let length = if credentials.secret.is_some() { 32 } else { 0 };
    let welcome = opening.hear(WELCOME, length).await?;
    if !credentials.is_proved(TAKER_PROOF, &transcript, &welcome.body) {
        return Err(HandshakeError::Refusing(Refusal::SecretDiffers));
    }
    let remote = Remote { member: u64_at(&challenge.body, 32), directory: array_at(&challenge.body, 40) };
    let caller = Caller { remote, to, purpose };
    Ok(opening.open(credentials, &transcript, [CALLER_KEY, TAKER_KEY], caller))
}

/// Opens the taker's end of a fresh connection. `admit` is asked about a caller that has proved itself.
pub async fn accept(
    conn: Conn,
    credentials: &Credentials,
    random: &mut dyn RngCore,
    admit: impl FnOnce(&Caller) -> Result<(), Refusal>,
) -> Result<Session, HandshakeError> {
    let challenge = credentials.challenge(random);
    timeout(HANDSHAKE_TIME_MAX, take(conn, credentials, challenge, admit)).await.map_err(io::Error::from)?
}

async fn take(
    conn: Conn,
    credentials: &Credentials,
    challenge: Challenge,
    admit: impl FnOnce(&Caller) -> Result<(), Refusal>,
) -> Result<Session, HandshakeError> {
    let may_talk = credentials.may_talk_to(&conn);
    let mut opening = Opening::new(conn);
    let hello = opening.hear(HELLO, HELLO_BYTES).await?;
    if hello.body[..8] != MAGIC {
        return Err(HandshakeError::Senseless("it speaks another protocol"));
    }
    if let Err(refusal) = may_talk.and_then(|()| credentials.check(&hello.body)) {
        return Err(opening.refuse(refusal).await);
    }
    opening.say(CHALLENGE, &challenge.0).await?;
    let transcript = digest(&[&hello.body, &challenge.0]);
    let length = if credentials.secret.is_some() { 32 } else { 0 };
    let proof = opening.hear(PROOF, length).await?;
    if !credentials.is_proved(CALLER_PROOF, &transcript, &proof.body) {
        return Err(opening.refuse(Refusal::SecretDiffers).await);
    }
    let remote = Remote { member: u64_at(&hello.body, 32), directory: array_at(&hello.body, 48) };
    let caller = Caller { remote, to: u64_at(&hello.body, 40), purpose: hello.body[11] };
    if let Err(refusal) = admit(&caller) {
        return Err(opening.refuse(refusal).await);
    }
    opening.say(WELCOME, &credentials.proof(TAKER_PROOF, &transcript)).await?;
    Ok(opening.open(credentials, &transcript, [TAKER_KEY, CALLER_KEY], caller))
}
