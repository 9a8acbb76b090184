//! One replica of a shard's log: Raft behind a narrow wrapper, with the rules that the library leaves to us.
//!
//! Lives here: what is asked of the outside ([`Output`]), elections, proposals, acknowledgement after the sync,
//! the lease, the fence. Not here: what the replica tells of itself (`facts`), what comes of its disk (`disk`), what entries
//! mean, files, connections.
//!
//! Invariants, each of which loses acknowledged writes when broken:
//! - nothing of an entry, a term or a vote is told to a peer as ours before it is durable here;
//! - proposals are taken only as leader in the same call, and carry that term; appliers ignore any other;
//! - a started process neither votes nor campaigns for the longest election timeout, unless it is alone;
//! - after a failed write or save nothing is acknowledged, voted, proposed or served: the replica is fenced.

mod disk;
mod facts;
mod guard;
mod handover;
mod lag;
mod lease;
mod members;
mod options;
mod output;
mod places;
mod promises;
mod storage;

use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{Message as RaftMessage, MessageType};
use raft::{RawNode, ReadOnlyOption, StateRole};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::hard_state::HardState;
use crate::membership::Membership;
use crate::message::Message;
use crate::recovery::Recovered;
use crate::types::{Entry, EntryKind, NodeId, Position, Term};
use crate::writer::Writer;

use guard::{Facts, Verdict};
use lag::Pointer;
use lease::{Lease, Round};
use promises::Promises;
use storage::{Fetch, Start, Storage};

pub use handover::Follower;
pub use members::Newcomer;
pub use options::{Options, OptionsError};
pub use output::{FenceReason, Output, Refused, Role};
pub(crate) use places::Places;
pub(crate) use storage::{from_raft, to_raft};

/// Messages to a peer that may be under way unanswered.
const MESSAGES_IN_FLIGHT: usize = 256;

/// What becomes valid when it is durable.
#[derive(Debug)]
struct Waiting {
    ready: u64,
    entries: u64,
    promise: u64,
    messages: Vec<RaftMessage>,
}

/// One replica of one shard's log.
pub struct Replica {
    options: Options,
    raw: RawNode<Storage>,
    /// As applied.
    members: Membership,
    writer: Writer,
    promises: Promises,
    lease: Lease,
    rng: ChaCha8Rng,
    waiting: VecDeque<Waiting>,
    /// Proposed by this primary and not yet committed: position and size.
    uncommitted: VecDeque<(Position, u64)>,
    uncommitted_bytes: u64,
    fetching: Option<Fetch>,
    is_active: bool,
    rewritten_entries: u64,
    /// A verified snapshot held here covers everything up to this position.
    covered: Position,
    /// A snapshot of the leader that this replica should have.
    wanted: Option<Pointer>,
    /// Where the snapshot ends to which each member was pointed last.
    pointed: BTreeMap<NodeId, Position>,
    /// Ticks as leader.
    ticks_led: u64,
    /// What to discard once the first write is done.
    discard: Option<Output>,
    /// Room that can be given back before it, if the disk has none.
    give_back: Option<Output>,
    next_tick_ns: u64,
    held_off_until_ns: u64,
    heartbeat_ticks_elapsed: usize,
    /// The last term in which it asked for a lease.
    round_begun_in: Term,
    /// When each peer last said something.
    heard_ns: BTreeMap<NodeId, u64>,
    /// From when on each peer may vote, as far as can be told from here: its hold-off after a start is over.
    may_vote_from_ns: BTreeMap<NodeId, u64>,
    write_begun_ns: Option<u64>,
    prepare_retry_ns: Option<u64>,
    now_ns: u64,
    told: (Role, Term),
    fenced: Option<FenceReason>,
    fence_told: bool,
}

impl Replica {
    /// A replica over what recovery found. It begins by making sure that all of it is durable, and takes part
    /// only then. `seed` gives its election timeouts; `now_ns` is a monotonic clock that counts suspend.
    ///
    /// # Panics
    ///
    /// If the options do not pass [`Options::check`].
    #[must_use]
    pub fn new(options: Options, recovered: Recovered, seed: u64, now_ns: u64) -> Self {
        options.check().expect("options are checked by the caller");
        let held_off_ns = options.hold_off_ticks as u64 * options.tick_ns();
        let rewritten_entries = recovered.tail.rewrite.len() as u64;
        let (dead, void_from) = (recovered.tail.dead.clone(), recovered.tail.void_from);
        let has_void = !dead.is_empty() || void_from.is_some();
        let discard = has_void.then_some(Output::Discard { segments: dead, cut: void_from });
        let give_back =
            recovered.tail.blank_from.map(|cut| Output::Discard { segments: Vec::new(), cut: Some(cut) });
        let promise = HardState {
            term: recovered.term,
            vote: recovered.vote,
            committed: recovered.committed,
            member: options.node,
            ..recovered.hard_state
        };
        let members = recovered.members.unwrap_or_else(|| options.members.clone());
        let by_changes = match options.mutants.replaced_count() {
            true => Position::ZERO,
            false => members::committed_by_changes(&recovered.unapplied),
        };
        let storage = Storage::new(Start {
            members: members.conf_state(),
            term: recovered.term,
            vote: recovered.vote,
            committed: by_changes.max(recovered.committed),
            base: recovered.base,
            covered: recovered.covered,
            terms: recovered.terms,
            last: recovered.last,
            unapplied: recovered.unapplied,
            places: recovered.places,
            layout: options.layout,
            cache_bytes_max: options.cache_bytes_max,
        });
        let config = raft_config(&options, recovered.applied);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, storage, &logger).expect("options and recovered state were checked");
        let mut replica = Self {
            members,
            writer: Writer::new(options.layout, recovered.tail),
            promises: Promises::new(options.layout, promise),
            lease: Lease::new(options.lease_ms * 1_000_000),
            rng: ChaCha8Rng::seed_from_u64(seed),
            raw,
            waiting: VecDeque::new(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            fetching: None,
            is_active: false,
            rewritten_entries,
            covered: recovered.covered,
            wanted: None,
            pointed: BTreeMap::new(),
            ticks_led: 0,
            discard,
            give_back,
            next_tick_ns: now_ns + options.tick_ns(),
            held_off_until_ns: now_ns + held_off_ns,
            heartbeat_ticks_elapsed: 0,
            round_begun_in: Term::default(),
            heard_ns: BTreeMap::new(),
            may_vote_from_ns: BTreeMap::new(),
            write_begun_ns: None,
            prepare_retry_ns: None,
            now_ns,
            told: (Role::Follower, recovered.term),
            fenced: None,
            fence_told: false,
            options,
        };
        replica.redraw();
        replica
    }

    /// Appends a payload, not empty, to the log, in this very call. The position is final as long as the term is.
    /// A payload above the uncommitted bound is taken alone: when nothing else is uncommitted.
    pub fn propose(&mut self, payload: Vec<u8>) -> Result<Position, Refused> {
        assert!(!payload.is_empty(), "an empty entry is the library's own");
        if self.fenced.is_some() {
            return Err(Refused::Fenced);
        }
        if self.role() != Role::Primary {
            return Err(Refused::NotPrimary);
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(Refused::Transferring);
        }
        let bytes = payload.len() as u64;
        if bytes > self.options.entry_bytes_max {
            return Err(Refused::TooLarge);
        }
        let fits_uncommitted = self.uncommitted_bytes == 0
            || self.uncommitted_bytes + bytes <= self.options.uncommitted_bytes_max;
        if !fits_uncommitted || !self.writer.has_room_for(bytes) {
            return Err(Refused::NoRoom);
        }
        let context = storage::origin_context(self.term());
        self.raw.propose(context, payload).map_err(|_| Refused::NotPrimary)?;
        let position = self.last();
        self.uncommitted.push_back((position, bytes));
        self.uncommitted_bytes += bytes;
        Ok(position)
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn next_tick_ns(&self) -> u64 {
        self.next_tick_ns
    }

    /// Lets time pass. However late it comes, it is at most one tick: a follower must not run ahead of the
    /// clock that the primary's lease counts on.
    pub fn tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if now_ns < self.next_tick_ns || self.fenced.is_some() {
            return;
        }
        self.next_tick_ns = now_ns + self.options.tick_ns();
        self.writer.mark();
        if self.prepare_retry_ns.is_some_and(|retry_ns| now_ns >= retry_ns) {
            self.prepare_retry_ns = None;
        }
        if !self.is_active || self.is_held_off() {
            return;
        }
        self.raw.tick();
        self.redraw();
        self.tick_lag();
        if self.raw.raft.state == StateRole::Leader {
            self.heartbeat_ticks_elapsed += 1;
            if self.heartbeat_ticks_elapsed >= self.options.heartbeat_ticks {
                self.heartbeat_ticks_elapsed = 0;
                self.begin_round(Round::Lease { stamp_ns: now_ns });
            }
        }
    }

    /// Takes a message from the peer `from`, which the connection has proved to be it.
    pub fn receive(&mut self, from: NodeId, message: Message, now_ns: u64) {
        self.now_ns = now_ns;
        let Message(message) = message;
        #[cfg(feature = "mutants")]
        let message = self.mutated(message);
        let message = self.with_priority_of_log(message);
        let is_from_peer = message.from == from.0
            && message.to == self.options.node.0
            && from != self.options.node
            && !self.members.is_retired(from);
        if !is_from_peer || !self.is_active || self.fenced.is_some() {
            return;
        }
        self.hear(from, &message, now_ns);
        let raft = &self.raw.raft;
        let facts = Facts {
            is_log_only: self.options.is_log_only,
            priority: self.options.priority(),
            term: raft.term,
            committed: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            persisted: raft.raft_log.persisted,
            held_off: self.is_held_off(),
        };
        match guard::judge(&message, facts) {
            Verdict::Step if message.get_msg_type() == MessageType::MsgSnapshot => {
                self.receive_pointer(message)
            }
            Verdict::Step => {
                self.note_answer(&message);
                self.step(message);
            }
            Verdict::Drop => {}
            Verdict::LostDurable => self.fence(FenceReason::LostDurable),
        }
    }

    fn step(&mut self, message: RaftMessage) {
        // Its errors say that the message changed nothing.
        let _ = self.raw.step(message);
        self.redraw();
    }

    /// Whose last entry is of a later term has what this replica lacks: no priority of this one counts against that, however
    /// long its own tail is. The library looks at the length alone.
    fn with_priority_of_log(&self, mut message: RaftMessage) -> RaftMessage {
        let is_request =
            matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if is_request && message.log_term > self.raw.raft.raft_log.last_term() {
            message.priority = message.priority.max(self.options.priority());
        }
        message
    }

    /// A candidate's log looks as good as any.
    #[cfg(feature = "mutants")]
    fn mutated(&self, mut message: RaftMessage) -> RaftMessage {
        let is_request =
            matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if is_request && self.options.mutants.votes_for_any_log() {
            (message.log_term, message.index) = (message.term, u64::MAX);
        }
        message
    }

    /// Begins a round that proves that this primary still is one. False if it is not, or not yet ready:
    /// nothing follows then. A round is lost with its term.
    pub fn read_index(&mut self, context: u64) -> bool {
        self.role() == Role::Primary && self.begin_round(Round::Read { context })
    }

    /// Asks for the last mark before an orderly stop; the replica is [`Self::is_idle`] when it is written.
    pub fn close(&mut self) {
        self.writer.close();
    }

    /// Whether nothing is being written or waits to be.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.writer.is_idle() && !self.raw.has_ready()
    }

    /// Gives out everything that follows from the calls before.
    pub fn drain(&mut self, outputs: &mut Vec<Output>) {
        loop {
            if self.tell_fence(outputs) {
                return;
            }
            self.activate();
            self.process(outputs);
            self.begin_first_round();
            self.hand_on();
            self.carry_on();
            self.poll_disk(outputs);
            if !self.settle(outputs) && !self.raw_has_work() {
                break;
            }
        }
        self.tell_role(outputs);
        self.drain_wanted(outputs);
        self.poll_fetch(outputs);
        let kept_from = self.persisted().min(Position(self.raw.raft.raft_log.applied));
        self.raw.mut_store().evict(kept_from);
    }

    fn raw_has_work(&self) -> bool {
        self.is_active && self.raw.has_ready()
    }

    /// Takes part from now on, if all that was recovered is durable.
    fn activate(&mut self) {
        let is_durable = self.promises.kept() > 0 && self.durable_entries() >= self.rewritten_entries;
        if self.is_active || !is_durable {
            return;
        }
        self.is_active = true;
        if self.is_alone() {
            let campaigned = self.raw.campaign();
            assert!(campaigned.is_ok(), "the only voter can always campaign");
            self.redraw();
        }
    }

    fn durable_entries(&self) -> u64 {
        if self.options.mutants.acknowledged_before_sync() {
            self.writer.issued_entries()
        } else {
            self.writer.durable_entries()
        }
    }

    /// Hands on what Raft has decided, as often as it has something.
    fn process(&mut self, outputs: &mut Vec<Output>) {
        while self.raw_has_work() && self.fenced.is_none() {
            self.tell_role(outputs);
            let mut ready = self.raw.ready();
            let promise = ready.hs().filter(|_| ready.must_sync()).map(|hard| (hard.term, hard.vote));
            for entry in ready.take_entries() {
                let entry = from_raft(entry);
                self.raw.mut_store().append(entry.clone());
                let before = Position(entry.position.0 - 1);
                let follows = self.raw.store().term_of(before).expect("the log has no gaps");
                self.writer.append(entry, follows);
            }
            if let Some((term, vote)) = promise {
                self.promise(Term(term), NodeId(vote));
            }
            let messages = ready.take_messages();
            self.note_pointed(&messages);
            send(messages, self.base(), outputs);
            let waiting = Waiting {
                ready: ready.number(),
                entries: self.writer.appended_entries(),
                promise: self.promises.made(),
                messages: self.send_harmless(ready.take_persisted_messages(), outputs),
            };
            self.waiting.push_back(waiting);
            let rounds = ready.take_read_states();
            let committed = ready.take_committed_entries();
            self.raw.advance_append_async(ready);
            for round in rounds {
                self.end_round(&round.request_ctx, Position(round.index), outputs);
            }
            self.hand_out(committed.into_iter().map(from_raft).collect(), outputs);
            self.settle(outputs);
        }
    }

    /// Saves term and vote if they changed. The position stands for what is both committed and durable here.
    fn promise(&mut self, term: Term, vote: NodeId) {
        let latest = *self.promises.latest();
        if (latest.term, latest.vote) == (term, vote) {
            return;
        }
        let committed = self.committed().min(self.persisted());
        self.promises.make(HardState { term, vote, committed, transferred: false, ..latest });
    }

    /// Answers to heartbeats promise nothing about the disk: a slow one must not cost the primary its majority.
    fn send_harmless(&self, messages: Vec<RaftMessage>, outputs: &mut Vec<Output>) -> Vec<RaftMessage> {
        if self.promises.kept() != self.promises.made() {
            return messages;
        }
        let is_harmless = |message: &RaftMessage| message.get_msg_type() == MessageType::MsgHeartbeatResponse;
        let (harmless, others) = messages.into_iter().partition(is_harmless);
        send(harmless, self.base(), outputs);
        others
    }

    fn hand_out(&mut self, entries: Vec<Entry>, outputs: &mut Vec<Output>) {
        let Some(last) = entries.last().map(|entry| entry.position) else { return };
        for change in entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange) {
            self.apply_members(change, outputs);
        }
        if self.fenced.is_some() {
            return;
        }
        let entries = entries.into_iter().map(Entry::into_committed).collect();
        outputs.push(Output::Committed { entries });
        self.raw.advance_apply_to(last.0);
    }

    /// Lets all become valid that is durable now. True if anything did.
    fn settle(&mut self, outputs: &mut Vec<Output>) -> bool {
        let mut has_settled = false;
        let promised = if self.options.mutants.vote_not_saved() { u64::MAX } else { self.promises.kept() };
        let (durable, kept) = (self.durable_entries(), promised);
        while let Some(waiting) =
            self.waiting.pop_front_if(|waiting| waiting.entries <= durable && waiting.promise <= kept)
        {
            send(waiting.messages, self.base(), outputs);
            self.raw.on_persist_ready(waiting.ready);
            has_settled = true;
        }
        let committed = self.committed();
        while let Some((_, bytes)) = self.uncommitted.pop_front_if(|(position, _)| *position <= committed) {
            self.uncommitted_bytes -= bytes;
        }
        has_settled
    }

    /// A new primary asks for its lease at once, not only at its first heartbeat.
    fn begin_first_round(&mut self) {
        let term = self.term();
        if self.round_begun_in != term && self.begin_round(Round::Lease { stamp_ns: self.now_ns }) {
            self.round_begun_in = term;
        }
    }

    fn begin_round(&mut self, round: Round) -> bool {
        if self.raw.raft.state != StateRole::Leader || !self.raw.raft.commit_to_current_term() {
            return false;
        }
        let context = round.encode(self.options.node, self.term());
        self.raw.read_index(context);
        true
    }

    fn end_round(&mut self, context: &[u8], position: Position, outputs: &mut Vec<Output>) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        match Round::decode(context, self.options.node, self.term()) {
            Some(Round::Lease { stamp_ns }) => self.lease.renew(stamp_ns, self.term()),
            Some(Round::Read { context }) => outputs.push(Output::ReadReady { context, position }),
            None => {}
        }
    }

    fn is_held_off(&self) -> bool {
        !self.is_alone() && self.now_ns < self.held_off_until_ns && !self.options.mutants.votes_at_once()
    }

    fn fence(&mut self, reason: FenceReason) {
        self.fenced.get_or_insert(reason);
        self.lease.end();
    }

    fn tell_fence(&mut self, outputs: &mut Vec<Output>) -> bool {
        let Some(reason) = self.fenced else { return false };
        if !self.fence_told {
            self.fence_told = true;
            self.tell_role(outputs);
            outputs.push(Output::Fenced { reason });
        }
        true
    }

    fn tell_role(&mut self, outputs: &mut Vec<Output>) {
        let now = (self.role(), self.term());
        if now == self.told {
            return;
        }
        self.told = now;
        self.heartbeat_ticks_elapsed = 0;
        if now.0 != Role::Primary {
            self.lease.end();
            self.uncommitted.clear();
            self.uncommitted_bytes = 0;
            self.pointed.clear();
        }
        outputs.push(Output::RoleChanged { role: now.0, term: now.1 });
    }

    /// Draws the election timeout from our own generator wherever the library may have drawn it from its own,
    /// which no seed governs.
    fn redraw(&mut self) {
        if self.raw.raft.election_elapsed == 0 {
            let (min, max) = (self.options.election_ticks_min, self.options.election_ticks_max);
            let drawn = self.rng.next_u32() as usize % (max - min);
            self.raw.raft.set_randomized_election_timeout(min + drawn);
        }
    }
}

fn send(messages: Vec<RaftMessage>, base: Position, outputs: &mut Vec<Output>) {
    for message in messages {
        let message = lag::pointer_of(message, base);
        outputs.push(Output::Send { to: NodeId(message.to), message: Message(message) });
    }
}

fn raft_config(options: &Options, applied: Position) -> raft::Config {
    raft::Config {
        id: options.node.0,
        election_tick: options.election_ticks,
        heartbeat_tick: options.heartbeat_ticks,
        min_election_tick: options.election_ticks_min,
        max_election_tick: options.election_ticks_max,
        applied: applied.0,
        max_size_per_msg: options.message_bytes_max,
        max_inflight_msgs: MESSAGES_IN_FLIGHT,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        priority: options.priority(),
        batch_append: true,
        max_committed_size_per_ready: options.committed_bytes_max,
        ..raft::Config::default()
    }
}

#[cfg(test)]
mod tests;
