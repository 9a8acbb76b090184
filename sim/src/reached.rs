//! Marks for rare places: a campaign that never gets there has not tested us.
//!
//! Lives here: counters that register themselves when first hit, and the list of them.
//! Not here: which places are required; a campaign names those it wants to have seen.
//!
//! Invariant: counting changes nothing that the counted code can see. Counters live as long as the process, across
//! simulated restarts and seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One marked place.
pub struct Site {
    name: &'static str,
    hits: AtomicU64,
}

static SITES: Mutex<Vec<&'static Site>> = Mutex::new(Vec::new());

impl Site {
    pub const fn new(name: &'static str) -> Site {
        Site { name, hits: AtomicU64::new(0) }
    }

    /// Counts one visit; only the first one of a process takes the lock.
    pub fn hit(&'static self) {
        if self.hits.fetch_add(1, Ordering::Relaxed) == 0 {
            SITES.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
    }
}

/// Marks a place: `reached!("torn tail cut at start")`.
#[macro_export]
macro_rules! reached {
    ($name:literal) => {{
        static SITE: $crate::reached::Site = $crate::reached::Site::new($name);
        SITE.hit();
    }};
}

/// Visits by name, of every place visited so far. Places of one name are added up.
pub fn visits() -> BTreeMap<&'static str, u64> {
    let mut visits = BTreeMap::new();
    for site in SITES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        *visits.entry(site.name).or_default() += site.hits.load(Ordering::Relaxed);
    }
    visits
}

/// Those of `wanted` that no visit has reached.
pub fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    let visits = visits();
    wanted.iter().copied().filter(|name| !visits.contains_key(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_counted_by_name() {
        for _ in 0..3 {
            reached!("a place in a loop");
        }
        reached!("another place");
        reached!("another place");
        assert_eq!(visits()["a place in a loop"], 3);
        assert_eq!(visits()["another place"], 2);
        assert_eq!(missing(&["another place", "nowhere"]), ["nowhere"]);
    }
}
