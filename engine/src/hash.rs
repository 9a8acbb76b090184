//! The keyed hash that orders keys and fields.
//!
//! Lives here: SipHash-1-3 as specified by its authors (one compression round per 8-byte word, three at the
//! end, little-endian words, the length modulo 256 in the last byte) and a key's place: slot and hash.
//! Not here: tables.
//!
//! Invariant: the output is part of what a SCAN cursor means, so it never changes; golden values below.

use crate::slot::{Slot, slot_of};

/// Key of the hash: drawn once per shard and kept in its log, equal on all its replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKey(pub [u64; 2]);

/// Where a key stands: computed once per command, then carried along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyHash {
    pub hash: u64,
    pub slot: Slot,
}

impl HashKey {
    /// Hash and slot of `key`. The hash covers the whole key, the slot its hash tag.
    #[inline]
    pub fn locate(&self, key: &[u8]) -> KeyHash {
        KeyHash { hash: self.hash(key), slot: slot_of(key) }
    }

    /// SipHash-1-3 of `bytes` under this key.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let [k0, k1] = self.0;
        let mut state = State {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.absorb(u64::from_le_bytes(*word));
        }
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = bytes.len() as u8;
        state.absorb(u64::from_le_bytes(last));
        state.v2 ^= 0xff;
        state.round();
        state.round();
        state.round();
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{DefaultHasher, Hasher};

    /// Key 00 01 .. 0f, input 00 01 .. n-1, as in the reference's own test vectors.
    #[test]
    fn golden_vectors() {
        let key = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let input: Vec<u8> = (0..64).collect();
        assert_eq!(key.hash(&input[..0]), 0xabac_0158_050f_c4dc);
        let found: Vec<u64> = [1, 7, 8, 15, 16, 63].map(|n| key.hash(&input[..n])).to_vec();
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: [u64; 6] = [
        0xc9f4_9bf3_7d57_ca93,
        0xd392_7d98_9bb1_1140,
        0x3690_9511_8d29_9a8e,
        0xd320_d86d_2a51_9956,
        0xcc4f_dd1a_7d90_8b66,
        0x9d19_9062_b7bb_b3a8,
    ];

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_under_the_zero_key(bytes: Vec<u8>) {
            let mut standard = DefaultHasher::new();
            standard.write(&bytes);
            prop_assert_eq!(HashKey([0, 0]).hash(&bytes), standard.finish());
        }
    }
}
