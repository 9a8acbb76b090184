//! What clients asked and were told, checked against the one order that the committed log gives.
//!
//! Every value is written once, so the log says where each write stands. Then a history of registers is linearizable
//! if no answer goes back behind one that was complete before its question: a linear check, exact.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet, or the connection closed: it may have happened, or may still.
    Unknown,
    /// A write was acknowledged.
    Done,
    /// A read saw this value, or none.
    Saw(Option<u64>),
    /// An error that says: without effect.
    Refused,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub key: u64,
    /// The value that it writes; none in a read.
    pub writes: Option<u64>,
    pub asked_at: u64,
    pub answered_at: u64,
    pub outcome: Outcome,
    /// Who said READONLY and asked: it may be shown old data, but only what is committed, and never goes back.
    pub reader: Option<u64>,
}

#[derive(Default)]
pub struct History {
    pub calls: Vec<Call>,
    /// Place of each value in the committed log.
    places: BTreeMap<u64, u64>,
}

/// A value as it stands in a request and in the log.
pub fn written(value: u64) -> String {
    format!("<{value:08}>")
}

impl History {
    pub fn ask(&mut self, key: u64, writes: Option<u64>, at: u64) -> usize {
        self.calls.push(Call {
            key,
            writes,
            asked_at: at,
            answered_at: u64::MAX,
            outcome: Outcome::Unknown,
            reader: None,
        });
        self.calls.len() - 1
    }

    pub fn answer(&mut self, call: usize, outcome: Outcome, at: u64) {
        (self.calls[call].outcome, self.calls[call].answered_at) = (outcome, at);
    }

    /// Takes the payload of the next committed entry.
    pub fn committed(&mut self, payload: &[u8]) -> Result<(), String> {
        for found in payload.windows(10).filter(|window| window[0] == b'<' && window[9] == b'>') {
            let Some(value) = std::str::from_utf8(&found[1..9]).ok().and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let place = self.places.len() as u64 + 1;
            if self.places.insert(value, place).is_some() {
                return Err(format!("value {value} was written twice"));
            }
        }
        Ok(())
    }

    pub fn committed_count(&self) -> usize {
        self.places.len()
    }

    /// At the end, when everything that will ever be committed is.
    pub fn check(&self) -> Result<(), String> {
        let mut by_key: BTreeMap<u64, Vec<(u64, u64, u64, &Call)>> = BTreeMap::new();
        for call in &self.calls {
            let place = match (call.outcome, call.writes) {
                (Outcome::Refused, Some(value)) => match self.places.get(&value) {
                    Some(_) => return Err(format!("refused, and yet it happened: {call:?}")),
                    None => continue,
                },
                (Outcome::Done, Some(value)) => match self.places.get(&value) {
                    Some(place) => *place,
                    None => return Err(format!("acknowledged and lost: {call:?}")),
                },
                (Outcome::Saw(Some(value)), None) => match self.places.get(&value) {
                    Some(place) => *place,
                    None => return Err(format!("it saw what was never committed: {call:?}")),
                },
                (Outcome::Saw(None), None) => 0,
                _ => continue,
            };
            by_key.entry(call.key).or_default().push((call.asked_at, call.answered_at, place, call));
        }
        for calls in by_key.values_mut() {
            let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
            for (.., place, call) in calls.iter() {
                let Some(reader) = call.reader else { continue };
                let before = seen.insert(reader, *place).unwrap_or_default();
                if *place < before {
                    return Err(format!("a reader went back behind place {before} of the log: {call:?}"));
                }
            }
            calls.sort_by_key(|(asked_at, ..)| *asked_at);
            let mut answered: Vec<(u64, u64)> = calls.iter().map(|(_, at, place, _)| (*at, *place)).collect();
            answered.sort_unstable();
            let (mut next, mut newest) = (0, 0);
            for (asked_at, _, place, call) in calls.iter() {
                while next < answered.len() && answered[next].0 < *asked_at {
                    newest = newest.max(answered[next].1);
                    next += 1;
                }
                if *place < newest && call.reader.is_none() {
                    return Err(format!(
                        "it went back behind place {newest} of the log: {call:?} at {place}"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_read_that_goes_back_is_found() {
    let mut history = History::default();
    for value in [1, 2] {
        let call = history.ask(0, Some(value), value * 10);
        history.answer(call, Outcome::Done, value * 10 + 5);
        history.committed(written(value).as_bytes()).unwrap();
    }
    let call = history.ask(0, None, 24);
    history.answer(call, Outcome::Saw(Some(1)), 30);
    assert_eq!(history.check(), Ok(()), "it was asked before the second write was acknowledged");
    let call = history.ask(0, None, 40);
    history.answer(call, Outcome::Saw(Some(1)), 50);
    assert!(history.check().is_err());
}

#[test]
fn a_lost_write_and_a_refused_one_that_happened_are_found() {
    for (outcome, is_committed) in [(Outcome::Done, false), (Outcome::Refused, true)] {
        let mut history = History::default();
        let call = history.ask(0, Some(7), 1);
        history.answer(call, outcome, 2);
        if is_committed {
            history.committed(written(7).as_bytes()).unwrap();
        }
        assert!(history.check().is_err(), "{outcome:?}");
    }
}
