//! Is there one order of the operations that explains every answer?
//!
//! Lives here: the search of Wing and Gong with Lowe's memory of visited states, over one independent part of a
//! history. Not here: splitting a history into parts (`checker`), telling a reader what is wrong (`explain`).
//!
//! An order must keep real time (what returned before another was invoked comes first) and program order (calls of one
//! pipeline take effect as they were sent). An operation of unknown outcome may stand anywhere after its invocation, or
//! be left out. Giving up is an outcome of its own and never counts as passed.
//!
//! Two things keep it fast after a crash, when many outcomes are unknown at once. Those are tried last, only where
//! nothing with a known outcome fits. And of two ways to the same state through the same known operations, the one that
//! used up fewer unknown ones leaves more open, so that the other need not be followed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::history::{Operation, Value};

use super::model::{Attempt, Model, ModelError, is_read};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search<S> {
    /// Indices into the attempts, in an order that explains them.
    Linearizable(Vec<usize>),
    Impossible(Furthest<S>),
    /// The step limit came first.
    Undecided,
}

/// The longest order that fitted, and where it led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Furthest<S> {
    pub order: Vec<usize>,
    pub state: S,
}

/// Work of one search, to be counted by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub u64);

/// Seeks an order of `attempts`, trying at most `steps_max` states.
pub fn search<M: Model>(
    model: &M,
    attempts: &[Attempt<'_>],
    steps_max: u64,
    steps: &mut Steps,
) -> Result<Search<M::State>, ModelError> {
    Searcher::new(model, attempts).run(steps_max, steps)
}

/// Where an entry of the time line stands. `None` past the last entry.
type Link = Option<usize>;

/// A call or return of an operation that must be in the order.
#[derive(Clone, Copy, Debug)]
struct Entry {
    attempt: usize,
    is_return: bool,
    previous: Link,
    next: Link,
}

/// What is tried next.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// An entry of the time line.
    Line(Link),
    /// A place among the operations of unknown outcome.
    Loose(usize),
}

/// One operation taken into the order, with what is left to try in its place.
struct Frame<S> {
    attempt: usize,
    before: S,
    /// Further states that the operation may lead to.
    others: Vec<S>,
    /// True when nothing else needs to be tried in its place.
    is_forced: bool,
}

/// The state that a new frame led to.
type Moved<S> = (S, Frame<S>);

/// A frame taken back, and another state to try in its place.
type Undone<S> = (Frame<S>, Option<S>);

struct Searcher<'m, 'a, M: Model> {
    model: &'m M,
    attempts: &'m [Attempt<'a>],
    /// Firm attempts as a time line, less those taken.
    entries: Vec<Entry>,
    head: Link,
    /// Per firm attempt: its entries on the time line.
    call_at: Vec<usize>,
    return_at: Vec<usize>,
    /// Attempts of unknown outcome, the likely ones first, and each one's place there.
    loose: Vec<usize>,
    loose_at: Vec<usize>,
    order: Order,
    is_free_read: Vec<bool>,
    taken: Taken,
    visited: Visited<M::State>,
}

/// Bits of the attempts in the order.
struct Taken {
    firm: Box<[u64]>,
    loose: Box<[u64]>,
}

/// For each state and the firm attempts on the way to it: the fewest loose ones that led there.
type Visited<S> = HashMap<(Box<[u64]>, S), Vec<Box<[u64]>>, FixedState>;

/// Program order between attempts that overlap in time.
struct Order {
    /// The nearest firm attempt that must be taken before this one.
    before: Vec<Link>,
    /// Attempts before which this one, of unknown outcome, must be taken or never.
    after: Vec<Vec<usize>>,
    /// True where an attempt of unknown outcome comes earlier in the same program: taking this one forbids that one.
    is_after_unknown: Vec<bool>,
}

impl Order {
    fn new(attempts: &[Attempt<'_>]) -> Order {
        let mut chain: Vec<usize> = (0..attempts.len()).collect();
        chain.sort_by_key(|&index| (attempts[index].operation.process, attempts[index].operation.id));
        let mut order = Order {
            before: vec![None; attempts.len()],
            after: vec![Vec::new(); attempts.len()],
            is_after_unknown: vec![false; attempts.len()],
        };
        for (place, &index) in chain.iter().enumerate() {
            let process = attempts[index].operation.process;
            let earlier = chain[..place].iter().rev();
            // Behind the nearest firm one an unknown one is past taking anyway.
            for &other in earlier.take_while(|&&other| attempts[other].operation.process == process) {
                if attempts[other].is_firm() {
                    order.before[index] = Some(other);
                    break;
                }
                order.is_after_unknown[index] = true;
            }
            if !attempts[index].is_firm() {
                let later = chain[place + 1..].iter();
                let same = later.take_while(|&&other| attempts[other].operation.process == process);
                order.after[index] = same.copied().collect();
            }
        }
        order
    }
}

/// Every text that a known result holds.
fn values_seen<'a>(attempts: &[Attempt<'a>]) -> BTreeSet<&'a [u8]> {
    let mut seen = BTreeSet::new();
    for attempt in attempts.iter().filter(|attempt| attempt.is_known) {
        add_values(&attempt.operation.result, &mut seen);
        attempt.operation.micro_operations.iter().for_each(|micro| add_values(&micro.result, &mut seen));
    }
    seen
}

fn add_values<'a>(result: &'a Value, seen: &mut BTreeSet<&'a [u8]>) {
    match result {
        Value::Bytes(bytes) => {
            seen.insert(bytes);
        }
        Value::Array(items) => items.iter().for_each(|item| add_values(item, seen)),
        Value::Map(map) => map.values().for_each(|item| add_values(item, seen)),
        Value::Null | Value::Integer(_) | Value::Error(_) => {}
    }
}

fn writes_any(operation: &Operation, seen: &BTreeSet<&[u8]>) -> bool {
    let micro_args = operation.micro_operations.iter().flat_map(|micro| &micro.args);
    operation.args.iter().chain(micro_args).any(|argument| seen.contains(argument.as_slice()))
}

/// A call that can change nothing in any state, so that it may be taken as soon as it fits. A write without effect
/// here might be needed later; a WATCH cleans its mark.
fn is_free_read(attempt: &Attempt<'_>) -> bool {
    is_read(attempt.operation) && attempt.operation.command != "WATCH"
}

impl<'m, 'a, M: Model> Searcher<'m, 'a, M> {
    fn new(model: &'m M, attempts: &'m [Attempt<'a>]) -> Self {
        // Equal instants overlap: calls stand before returns.
        let mut times: Vec<(u64, bool, u64, usize)> = Vec::new();
        let mut loose = Vec::new();
        for (index, attempt) in attempts.iter().enumerate() {
            if let Some(return_ns) = attempt.return_ns {
                times.push((attempt.invoke_ns, false, attempt.operation.id, index));
                times.push((return_ns, true, attempt.operation.id, index));
            } else {
                loose.push(index);
            }
        }
        times.sort_unstable();
        // What was seen must have happened, and what happens mostly does so soon.
        let seen = values_seen(attempts);
        loose.sort_by_cached_key(|&index| {
            let operation = attempts[index].operation;
            (!writes_any(operation, &seen), Reverse(attempts[index].invoke_ns), operation.id)
        });
        let mut loose_at = vec![0; attempts.len()];
        for (place, &index) in loose.iter().enumerate() {
            loose_at[index] = place;
        }
        let (mut call_at, mut return_at) = (vec![0; attempts.len()], vec![0; attempts.len()]);
        let mut entries = Vec::with_capacity(times.len());
        for (place, &(_, is_return, _, attempt)) in times.iter().enumerate() {
            let at = if is_return { &mut return_at } else { &mut call_at };
            at[attempt] = place;
            let next = (place + 1 < times.len()).then_some(place + 1);
            entries.push(Entry { attempt, is_return, previous: place.checked_sub(1), next });
        }
        let order = Order::new(attempts);
        let is_free =
            |(attempt, is_after_unknown): (&Attempt<'_>, &bool)| !is_after_unknown && is_free_read(attempt);
        let words = vec![0; attempts.len().div_ceil(64)].into_boxed_slice();
        Searcher {
            model,
            attempts,
            head: (!entries.is_empty()).then_some(0),
            entries,
            call_at,
            return_at,
            loose,
            loose_at,
            is_free_read: attempts.iter().zip(&order.is_after_unknown).map(is_free).collect(),
            order,
            taken: Taken { firm: words.clone(), loose: words },
            visited: HashMap::with_hasher(FixedState::default()),
        }
    }

    fn run(mut self, steps_max: u64, steps: &mut Steps) -> Result<Search<M::State>, ModelError> {
        let mut state = self.model.initial();
        let mut frames: Vec<Frame<M::State>> = Vec::new();
        let mut firm_left = self.attempts.iter().filter(|attempt| attempt.is_firm()).count();
        let mut furthest = Furthest { order: Vec::new(), state: state.clone() };
        let mut cursor = Cursor::Line(self.head);
        let mut tried = 0;
        while firm_left > 0 {
            if let Some(candidate) = self.candidate(&mut cursor) {
                tried += 1;
                steps.0 += 1;
                if tried > steps_max {
                    return Ok(Search::Undecided);
                }
                let Some((after, frame)) = self.take(candidate, &state)? else {
                    cursor = self.after(candidate);
                    continue;
                };
                firm_left -= usize::from(self.attempts[candidate].is_firm());
                state = after;
                frames.push(frame);
                if frames.len() > furthest.order.len() {
                    furthest.order = frames.iter().map(|frame| frame.attempt).collect();
                    furthest.state = state.clone();
                }
                cursor = Cursor::Line(self.head);
            } else {
                let Some((frame, after)) = self.back(&mut frames, &mut firm_left) else {
                    return Ok(Search::Impossible(furthest));
                };
                if let Some(after) = after {
                    firm_left -= usize::from(self.attempts[frame.attempt].is_firm());
                    state = after;
                    frames.push(frame);
                    cursor = Cursor::Line(self.head);
                } else {
                    cursor = self.after(frame.attempt);
                    state = frame.before;
                }
            }
        }
        Ok(Search::Linearizable(frames.iter().map(|frame| frame.attempt).collect()))
    }

    /// The attempt at the cursor or the next one that may come now; `None` when all were tried. First the firm ones
    /// called before the first return on the line, then the loose ones called before it.
    fn candidate(&self, cursor: &mut Cursor) -> Option<usize> {
        if let Cursor::Line(link) = *cursor {
            match link.map(|place| self.entries[place]) {
                Some(entry) if !entry.is_return => return Some(entry.attempt),
                _ => *cursor = Cursor::Loose(0),
            }
        }
        let first_return_ns = self.first_return_ns();
        let Cursor::Loose(place) = cursor else { unreachable!("set above") };
        while let Some(&attempt) = self.loose.get(*place) {
            if self.attempts[attempt].invoke_ns <= first_return_ns && !self.is_taken(attempt) {
                return Some(attempt);
            }
            *place += 1;
        }
        None
    }

    fn after(&self, attempt: usize) -> Cursor {
        if self.attempts[attempt].is_firm() {
            Cursor::Line(self.entries[self.call_at[attempt]].next)
        } else {
            Cursor::Loose(self.loose_at[attempt] + 1)
        }
    }

    fn first_return_ns(&self) -> u64 {
        let mut at = self.head;
        while let Some(place) = at {
            let entry = self.entries[place];
            if entry.is_return {
                return self.attempts[entry.attempt].return_ns.expect("only firm attempts are on the line");
            }
            at = entry.next;
        }
        u64::MAX
    }

    /// Takes an attempt into the order, if it may come now, fits, and leads somewhere new.
    fn take(&mut self, attempt: usize, state: &M::State) -> Result<Option<Moved<M::State>>, ModelError> {
        let is_blocked = self.order.before[attempt].is_some_and(|other| !self.is_taken(other))
            || self.order.after[attempt].iter().any(|&other| self.is_taken(other));
        if is_blocked {
            return Ok(None);
        }
        let mut others = Vec::new();
        self.model.step(state, &self.attempts[attempt], &mut others)?;
        if !self.attempts[attempt].is_firm() {
            // Without effect it may as well be left out.
            others.retain(|after| after != state);
        }
        let is_forced = M::IS_DETERMINISTIC && self.is_free_read[attempt] && others.first() == Some(state);
        self.lift(attempt);
        match self.next_new(&mut others) {
            Some(after) => Ok(Some((after, Frame { attempt, before: state.clone(), others, is_forced }))),
            None => {
                self.put_back(attempt);
                Ok(None)
            }
        }
    }

    /// Undoes the last choices until there is something else to try: either another state in the place of the
    /// frame given back (`Some`), or the attempts after it. `None` when everything was tried.
    fn back(&mut self, frames: &mut Vec<Frame<M::State>>, firm_left: &mut usize) -> Option<Undone<M::State>> {
        while let Some(mut frame) = frames.pop() {
            *firm_left += usize::from(self.attempts[frame.attempt].is_firm());
            if let Some(after) = self.next_new(&mut frame.others) {
                return Some((frame, Some(after)));
            }
            self.put_back(frame.attempt);
            if !frame.is_forced {
                return Some((frame, None));
            }
        }
        None
    }

    /// The next state that was not reached before with as little as is taken now.
    fn next_new(&mut self, others: &mut Vec<M::State>) -> Option<M::State> {
        while let Some(after) = others.pop() {
            let ways = self.visited.entry((self.taken.firm.clone(), after.clone())).or_default();
            let now = &self.taken.loose;
            let is_within = |way: &[u64], now: &[u64]| way.iter().zip(now).all(|(way, now)| way & !now == 0);
            if !ways.iter().any(|way| is_within(way, now)) {
                ways.retain(|way| !is_within(now, way));
                ways.push(now.clone());
                return Some(after);
            }
        }
        None
    }

    fn is_taken(&self, attempt: usize) -> bool {
        (self.taken.firm[attempt / 64] | self.taken.loose[attempt / 64]) >> (attempt % 64) & 1 == 1
    }

    fn lift(&mut self, attempt: usize) {
        let bit = 1 << (attempt % 64);
        if !self.attempts[attempt].is_firm() {
            self.taken.loose[attempt / 64] |= bit;
            return;
        }
        self.taken.firm[attempt / 64] |= bit;
        self.unlink(self.call_at[attempt]);
        self.unlink(self.return_at[attempt]);
    }

    /// The exact reverse of `lift`, so that the links of removed entries are still right.
    fn put_back(&mut self, attempt: usize) {
        let bit = 1 << (attempt % 64);
        if !self.attempts[attempt].is_firm() {
            self.taken.loose[attempt / 64] &= !bit;
            return;
        }
        self.relink(self.return_at[attempt]);
        self.relink(self.call_at[attempt]);
        self.taken.firm[attempt / 64] &= !bit;
    }

    fn unlink(&mut self, place: usize) {
        let Entry { previous, next, .. } = self.entries[place];
        match previous {
            Some(previous) => self.entries[previous].next = next,
            None => self.head = next,
        }
        if let Some(next) = next {
            self.entries[next].previous = previous;
        }
    }

    fn relink(&mut self, place: usize) {
        let Entry { previous, next, .. } = self.entries[place];
        match previous {
            Some(previous) => self.entries[previous].next = Some(place),
            None => self.head = Some(place),
        }
        if let Some(next) = next {
            self.entries[next].previous = Some(place);
        }
    }
}
