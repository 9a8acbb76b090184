//! Small draws from a seeded generator.
//!
//! Lives here: bounded integers, chances and choices over any `RngCore`.
//! Not here: where generators come from; the run owns one stream per purpose.
//!
//! Invariant: the same generator state gives the same draws on every platform, so a seed replays.

use rand_core::RngCore;

/// A number in `0..bound`. The bias of the modulo is below 2⁻³² for every bound used here.
pub fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    assert!(bound > 0, "a draw needs at least one outcome");
    rng.next_u64() % bound
}

/// A number in `low..=high`.
pub fn between(rng: &mut impl RngCore, low: u64, high: u64) -> u64 {
    assert!(low <= high, "the range is not empty");
    match (high - low).checked_add(1) {
        Some(width) => low + below(rng, width),
        None => rng.next_u64(),
    }
}

/// True `per_mille` times out of a thousand.
pub fn chance(rng: &mut impl RngCore, per_mille: u32) -> bool {
    below(rng, 1000) < u64::from(per_mille)
}

/// One of `choices`, each equally likely.
pub fn pick<'a, T>(rng: &mut impl RngCore, choices: &'a [T]) -> &'a T {
    let index = below(rng, choices.len() as u64) as usize;
    &choices[index]
}

/// Index of one of `weights`, each as likely as its weight.
pub fn pick_weighted(rng: &mut impl RngCore, weights: &[u32]) -> usize {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut rest = below(rng, total);
    for (index, &weight) in weights.iter().enumerate() {
        if rest < u64::from(weight) {
            return index;
        }
        rest -= u64::from(weight);
    }
    unreachable!("the rest is below the sum of the weights")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    #[test]
    fn draws_stay_in_their_bounds_and_reach_them() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = [0_u32; 4];
        for _ in 0..1000 {
            seen[between(&mut rng, 2, 5) as usize - 2] += 1;
        }
        assert!(seen.iter().all(|&count| count > 150));
        assert_eq!(between(&mut rng, 7, 7), 7);
        between(&mut rng, 0, u64::MAX);
        assert!((0..100).all(|_| pick_weighted(&mut rng, &[0, 3, 0]) == 1));
        assert!(!chance(&mut rng, 0) && chance(&mut rng, 1000));
    }
}
