//! A run cut into columns of equal width: what the plots draw.
//!
//! Not here: the drawing.

use crate::cli::demo::Run;

/// Most columns.
const BINS_MAX: usize = 300;
const BIN_S_MIN: f64 = 0.1;

/// What happened in one column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bin {
    /// Counted writes that were acknowledged.
    pub writes: u64,
    /// Of all calls answered here, sorted.
    pub latencies_ms: Vec<f64>,
}

impl Bin {
    /// The latency that so many of a thousand calls do not exceed.
    pub fn latency_ms(&self, per_mille: usize) -> Option<f64> {
        let count = self.latencies_ms.len();
        (count > 0).then(|| self.latencies_ms[(count * per_mille).div_ceil(1_000).max(1) - 1])
    }
}

/// The columns, and their width in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    pub width_s: f64,
    pub list: Vec<Bin>,
}

impl Bins {
    pub fn of(run: &Run) -> Bins {
        let width_s = (run.seconds / BINS_MAX as f64).max(BIN_S_MIN);
        let mut list = vec![Bin::default(); (run.seconds / width_s).ceil().max(1.0) as usize];
        let count = list.len();
        let is_within = |at_s: f64| (0.0..=run.seconds).contains(&at_s);
        let place =
            |at_s: f64| is_within(at_s).then_some((at_s / width_s) as usize).filter(|place| *place < count);
        for at_s in &run.acknowledged_s {
            if let Some(place) = place(*at_s) {
                list[place].writes += 1;
            }
        }
        for (at_s, latency_ms) in &run.latencies {
            if let Some(place) = place(*at_s) {
                list[place].latencies_ms.push(*latency_ms);
            }
        }
        list.iter_mut().for_each(|bin| bin.latencies_ms.sort_by(f64::total_cmp));
        Bins { width_s, list }
    }

    /// Writes a second, by column.
    pub fn rates(&self) -> impl Iterator<Item = f64> {
        self.list.iter().map(|bin| bin.writes as f64 / self.width_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::sample;

    #[test]
    fn each_call_falls_into_its_column() {
        let Bins { width_s, list } = Bins::of(&sample());
        assert_eq!((width_s, list.len()), (0.1, 60));
        assert_eq!(list.iter().map(|bin| bin.writes).sum::<u64>(), 52);
        assert_eq!(list[5].latencies_ms, [1.0]);
        assert!(list[20..27].iter().all(|bin| bin.writes == 0));
    }

    #[test]
    fn a_share_of_the_calls_is_not_slower() {
        let bin = Bin { writes: 0, latencies_ms: (1..=200).map(f64::from).collect() };
        assert_eq!([500, 990, 1_000].map(|share| bin.latency_ms(share)), [100.0, 198.0, 200.0].map(Some));
        assert_eq!(Bin::default().latency_ms(500), None);
    }
}
