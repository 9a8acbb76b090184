//! Seeds of random streams: one stream per node, boot and purpose.
//!
//! Lives here: how a stream's seed comes from the campaign's. Not here: who draws from it.
//!
//! Invariant: one more draw in one stream never moves another.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// Names one stream under a campaign's seed.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// Who draws: the node's name.
    pub node: &'a str,
    /// Which start of that node, or how often this stream has been asked for before.
    pub instance: u64,
    /// What for, such as `"election"`.
    pub purpose: &'a str,
}

/// The generator of `stream` in the campaign with this `seed`.
pub fn stream(seed: u64, stream: Stream<'_>) -> ChaCha8Rng {
    let mut state = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    for part in [stream.node.as_bytes(), &stream.instance.to_le_bytes(), stream.purpose.as_bytes()] {
        state = mix(state ^ part.len() as u64);
        for byte in part {
            state = mix(state ^ u64::from(*byte));
        }
    }
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        word.copy_from_slice(&state.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// A bijection of 64-bit numbers in which each input bit reaches about half of the output bits.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", finalizer by Stafford (variant 13).
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Small draws that the fault models need, on any generator.
pub(crate) trait Draw: rand_core::RngCore {
    /// A number below `bound`; 0 when `bound` is 0. The bias of the multiplication is below 2^-32 for small bounds.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        let high = high.max(low);
        low + self.below((high - low).saturating_add(1))
    }

    /// True with this probability. Draws nothing when it is 0, so that a fault switched off costs no draw.
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

impl<R: rand_core::RngCore> Draw for R {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::RngCore;

    #[test]
    fn streams_repeat_for_one_name_and_differ_between_names() {
        let draw =
            |seed, node, instance, purpose| stream(seed, Stream { node, instance, purpose }).next_u64();
        let base = draw(1, "a", 0, "disk");
        assert_eq!(base, draw(1, "a", 0, "disk"));
        for other in [
            draw(2, "a", 0, "disk"),
            draw(1, "b", 0, "disk"),
            draw(1, "a", 1, "disk"),
            draw(1, "a", 0, "net"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut rng = stream(7, Stream { node: "", instance: 0, purpose: "" });
        for _ in 0..1000 {
            assert!(rng.below(10) < 10);
            assert!((5..=6).contains(&rng.between(5, 6)));
            assert!(!rng.chance(0.0));
            assert!(rng.chance(1.0));
        }
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2200..2800).contains(&hits), "{hits}");
    }
}
