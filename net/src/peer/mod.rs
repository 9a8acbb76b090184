//! Connections between nodes: framed, checksummed, and authenticated where a secret is set.
//!
//! | where | what |
//! |---|---|
//! | `frame` | one frame's bytes, the incremental decoder, the outgoing buffer |
//! | `secret` | the shared secret, the keys that a handshake draws from it |
//! | `handshake` | who is at the other end, proved by both sides |
//! | `session` | [`Session`]: an open connection, frames in and out |
//! | `link` | [`Link`]: a lane to one peer that connects again and again, and never makes its user wait |
//!
//! Not here: what frames mean, who is a member, what to do about a lost message.
//!
//! Invariant: bytes from a connection never cause a panic, and a frame that comes out was sent, in this place of
//! this very connection, by whoever the handshake proved to be there.

mod frame;
mod handshake;
mod link;
mod secret;
mod session;

pub use frame::{BODY_BYTES_MAX, Frame, FrameError, HEAD_BYTES, KIND_MAX};
pub use handshake::{Caller, Credentials, HandshakeError, Refusal, Remote, accept, dial};
pub use link::{Link, LinkCounts, LinkOptions};
pub use secret::Secret;
pub use session::Session;

/// 16 bytes that stand for a name: the same wherever it is spelt the same.
pub fn id_of_name(name: &str) -> [u8; 16] {
    secret::digest(&[b"ramkeep name\0", name.as_bytes()])[..16].try_into().expect("a digest has 32 bytes")
}

#[cfg(all(test, not(madsim)))]
mod tests;
