//! The secret that the nodes of a cluster share, and what is drawn from it.
//!
//! Lives here: HMAC-SHA-256 with labels, the keys of one connection. Not here: when they are used.
//!
//! Invariant: what is proved in one role or direction proves nothing in another: each use has its label.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of the tag behind an authenticated frame: the first half of the HMAC.
pub const TAG_BYTES: usize = 16;

/// What all nodes of a cluster know and nobody else. Not printed.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// SHA-256 over the parts, one after the other.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

impl Secret {
    pub fn new(text: &[u8]) -> Self {
        Self(keyed(text))
    }

    /// HMAC over a label and a handshake's transcript.
    pub fn prove(&self, label: &[u8], transcript: &[u8; 32]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(label);
        mac.update(transcript);
        mac.finalize().into_bytes().into()
    }

    /// Whether `proof` is what [`Secret::prove`] gives, compared in constant time.
    pub fn is_proved(&self, label: &[u8], transcript: &[u8; 32], proof: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(label);
        mac.update(transcript);
        mac.verify_slice(proof).is_ok()
    }

    /// The key of one direction of a connection.
    pub fn key(&self, label: &[u8], transcript: &[u8; 32]) -> Key {
        Key(keyed(&self.prove(label, transcript)))
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Authenticates the frames of one direction.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    pub fn tag(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        mac.update(bytes);
        mac.finalize().into_bytes()[..TAG_BYTES].try_into().expect("a MAC has 32 bytes")
    }

    /// Compared in constant time.
    pub fn is_tag(&self, bytes: &[u8], tag: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(bytes);
        tag.len() == TAG_BYTES && mac.verify_truncated_left(tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_secret_label_and_transcript_alone() {
        let (secret, other) = (Secret::new(b"one"), Secret::new(b"two"));
        let proof = secret.prove(b"caller", &[1; 32]);
        assert!(secret.is_proved(b"caller", &[1; 32], &proof));
        assert!(!secret.is_proved(b"taker", &[1; 32], &proof));
        assert!(!secret.is_proved(b"caller", &[2; 32], &proof));
        assert!(!other.is_proved(b"caller", &[1; 32], &proof));
        assert!(!secret.is_proved(b"caller", &[1; 32], &proof[..31]));
        assert!(!secret.is_proved(b"caller", &[1; 32], &[]));
    }

    #[test]
    fn a_tag_holds_for_its_bytes_alone_and_is_never_empty() {
        let key = Secret::new(b"one").key(b"out", &[1; 32]);
        let tag = key.tag(b"bytes");
        assert!(key.is_tag(b"bytes", &tag));
        assert!(!key.is_tag(b"Bytes", &tag));
        assert!(!key.is_tag(b"bytes", &tag[..15]));
        assert!(!key.is_tag(b"bytes", &[]));
    }
}
