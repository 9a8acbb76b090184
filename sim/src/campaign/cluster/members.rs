//! Members that lose their disk, members that an operator replaces, and whoever comes in their place.
//!
//! Lives here: when a disk may be lost and a member be replaced, doing it, and whether all members vote again.
//! Not here: how a member is replaced, and that one with an empty directory is; the nodes do that by themselves.
//!
//! It would catch: a node that votes or acknowledges under an identity whose data are gone, a replacement that counts
//! before it has caught up, a change of members that two halves of them understand differently, one that never comes to
//! its end.
//!
//! Two disks that are lost at once may have held the only two copies of what was acknowledged: the next one is lost only
//! after all members vote again, as far as each of them knows. Whatever else is drawn goes on meanwhile; it takes no copy
//! away.

use std::rc::Rc;
use std::time::Duration;

use ramkeep_engine::config::node_number;
use ramkeep_log::{Membership, NodeId as MemberId, Replica};
use ramkeep_net::simdisk::SimDisk;
use ramkeep_net::{Link, NodeId, sleep, timeout};

use super::Run;
use super::aimed::{LOOK, LOOKS_MAX};
use super::attack::Undo;
use crate::campaign::damage::damage;
use crate::campaign::node::{FOUNDERS, line, name};
use crate::campaign::options::Fault;
use crate::campaign::run::ask;
use crate::random::{between, chance, pick};

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// All that was on it is gone.
    Lost,
    /// Some place of it does not hold what was written, or cannot be read.
    Damaged,
}

/// A disk that was harmed, until another incarnation of the node votes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub index: usize,
    /// Under which the node must not come back.
    id: MemberId,
    /// A damage that nobody has noticed by then ends with the disk.
    replaced_at_ns: Option<u64>,
}

/// A member that is to be replaced by the node that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    old: usize,
    new: usize,
    /// What is not done by then was refused, or its answer was lost: it is asked for again another time.
    until_ns: u64,
}

/// Founders, one that waits to take somebody's place, and one more replica.
const NODES_MAX: usize = 5;
/// A damaged disk that is not noticed is replaced after so long.
const NOTICED_MS: (u64, u64) = (3_000, 12_000);
/// An operator asks so many nodes in turn, and waits so long for each.
const ASKED_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_millis(800);
/// The end of a change of members is durable everywhere some ticks after all know of it: before that, a power loss of all makes
/// them take it for unfinished, and the old members count once more.
const SETTLED_NS: u64 = 500_000_000;
/// A wish is carried out within this, or not at all.
const CHANGE_MS_MAX: u64 = 6_000;
/// What a primary tells the old members of a change, so that they know of it later than it does.
const LATE: Link = Link { latency_us: (20_000, 60_000), slow: 0.0, slow_us: (1, 1), reset: 0.0 };

impl Run {
    /// A disk that was to be lost or damaged is, as soon as the promise allows it.
    pub(super) fn harm_if_due(&mut self) {
        let may_be = self.lost.is_none() && self.change.is_none();
        let Some(harm) = self.harm_due.filter(|_| may_be) else {
            self.settled_since_ns = None;
            return;
        };
        let Some(members) = self.settled() else {
            self.settled_since_ns = None;
            return;
        };
        let now_ns = self.world.now_ns();
        if now_ns < *self.settled_since_ns.get_or_insert(now_ns) + SETTLED_NS {
            return;
        }
        let id = self.draw_voter(&members);
        let index = index_of(id).expect("every voter is a node of the run");
        self.harm_due = None;
        self.harm(harm, index, id);
    }

    fn harm(&mut self, harm: Harm, index: usize, id: MemberId) {
        self.lost = Some(Loss { index, id, replaced_at_ns: None });
        let loses_power = chance(&mut self.rng, 500);
        if harm == Harm::Lost {
            self.end(index, loses_power);
            self.empty(index);
            return self.reach("a disk was lost");
        }
        for _ in 0..between(&mut self.rng, 1, 12) {
            let fault = if chance(&mut self.rng, 700) { Fault::BitRot } else { Fault::ReadError };
            damage(&self.world, &mut self.rng, self.nodes[index], fault);
        }
        let wait_ms = between(&mut self.rng, NOTICED_MS.0, NOTICED_MS.1);
        let replaced_at_ns = Some(self.world.now_ns() + wait_ms * 1_000_000);
        self.lost = Some(Loss { index, id, replaced_at_ns });
        // It need not come to light at once.
        if chance(&mut self.rng, 700) {
            self.end(index, loses_power);
        }
        self.reach("a disk was damaged");
    }

    /// There is no time any more for a damage to be noticed later.
    pub(super) fn replace_damaged_soon(&mut self) {
        let soon_ns = self.world.now_ns() + NOTICED_MS.0 * 1_000_000;
        if let Some(at_ns) = self.lost.as_mut().and_then(|loss| loss.replaced_at_ns.as_mut()) {
            *at_ns = soon_ns.min(*at_ns);
        }
    }

    pub(super) fn replace_damaged_if_due(&mut self) {
        let now_ns = self.world.now_ns();
        let is_due = |loss: &Loss| loss.replaced_at_ns.is_some_and(|at_ns| now_ns >= at_ns);
        let Some(Loss { index, id, .. }) = self.lost.filter(is_due) else { return };
        self.lost = Some(Loss { index, id, replaced_at_ns: None });
        // Under another id it is being replaced already, and has everything to lose.
        if self.with_replica(index, Replica::node).is_none_or(|now| now == id) {
            self.end(index, true);
            self.empty(index);
            self.reach("a damaged disk was replaced");
        }
    }

    /// Two at once: more than the promise covers.
    pub(super) fn harm_two_if_due(&mut self) {
        let is_due = self.is_excess_due && !self.is_exceeded;
        let Some(members) = is_due.then(|| self.membership()).flatten() else { return };
        self.is_exceeded = true;
        let first = self.draw_voter(&members);
        let others: Vec<MemberId> = members.voters().into_iter().filter(|id| *id != first).collect();
        for id in [first, *pick(&mut self.rng, &others)] {
            let index = index_of(id).expect("every voter is a node of the run");
            let harm = if chance(&mut self.rng, 300) { Harm::Lost } else { Harm::Damaged };
            self.harm(harm, index, id);
        }
        self.lost = None;
        self.reach("two members were harmed at once");
    }

    fn draw_voter(&mut self, members: &Membership) -> MemberId {
        let voters = members.voters();
        let primary = self.primary.filter(|_| chance(&mut self.rng, 400));
        let primary = primary.and_then(|index| voters.iter().find(|id| index_of(**id) == Some(index)));
        primary.copied().unwrap_or_else(|| *pick(&mut self.rng, &voters))
    }

    /// Nothing is left in the node's directory.
    pub(super) fn empty(&mut self, index: usize) {
        self.world.record("disk-lost", self.nodes[index], &[]);
        self.world.with_disk(self.nodes[index], SimDisk::replaced);
    }

    /// An operator adds one more replica, if the run has one.
    pub(super) fn add_extra(&mut self) {
        let Some(extra) = self.options.shape.extra else { return };
        let described = line(extra.index, self.addresses[extra.index], self.options.shape);
        let request = format!("RAMKEEP MEMBER ADD {described}\r\n");
        let operator = self.world.add_node("operator-extra", "clients");
        let (sockets, shared) = (self.sockets(), Rc::clone(&self.shared));
        self.world.start(operator, move |host| async move {
            for socket in sockets.iter().cycle() {
                if shared.borrow().is_over {
                    return;
                }
                let asking = ask(&host, *socket, request.as_bytes());
                if matches!(timeout(PATIENCE, asking).await, Ok(Ok(answer)) if answer == b"+OK\r\n") {
                    return;
                }
                sleep(PATIENCE / 4).await;
            }
        });
        self.clients.push(operator);
    }

    /// A member that was to be replaced is, by the node that is none: an operator asks any node for it.
    pub(super) async fn replace_if_due(&mut self) {
        if !self.is_change_due || self.lost.is_some() || self.change.is_some() {
            return;
        }
        let Some(members) = self.membership() else { return };
        let is_member = |index: &usize| members.voters().iter().any(|id| index_of(*id) == Some(*index));
        let extra = self.options.shape.extra.map(|extra| extra.index);
        // What one that left still has is taken from it before it comes back: not from a member.
        let is_to_be_emptied = |index: usize| {
            self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Empty(emptied) if *emptied == index))
        };
        let may_come =
            |index: &usize| !is_member(index) && Some(*index) != extra && !is_to_be_emptied(*index);
        let mut spares = self.all().filter(may_come);
        let Some(new) = spares.next() else { return };
        if !self.world.is_running(self.nodes[new]) {
            return;
        }
        self.is_change_due = false;
        let Some(old) = index_of(*pick(&mut self.rng, &members.voters())) else { return };
        let until_ns = self.world.now_ns() + CHANGE_MS_MAX * 1_000_000;
        self.change = Some(Change { old, new, until_ns });
        let described = line(new, self.addresses[new], self.options.shape);
        let request = format!("RAMKEEP MEMBER REPLACE {} {described}\r\n", name(old));
        let operator = self.world.add_node(&format!("operator{}", self.world.now_ns()), "clients");
        let (sockets, first) = (self.sockets(), self.draw_node());
        self.world.start(operator, move |host| async move {
            for socket in sockets.iter().cycle().skip(first).take(ASKED_MAX) {
                // Refused or unanswered: what became of it shows by who votes.
                let asking = ask(&host, *socket, request.as_bytes());
                if matches!(timeout(PATIENCE, asking).await, Ok(Ok(answer)) if answer == b"+OK\r\n") {
                    return;
                }
                sleep(PATIENCE / 4).await;
            }
        });
        self.reach("an operator asked for a change of members");
        self.clients.push(operator);
        if self.primary != Some(old) && chance(&mut self.rng, 800) {
            self.part_at_change(old, new).await;
        }
    }

    /// The moment at which the primary counts on the new member, it and that one are parted from the two old ones. These hear
    /// of the change late; or one of them was away during it, gets all of it at once, and starts anew. Then the first two do,
    /// and what the others have done meanwhile comes to them.
    async fn part_at_change(&mut self, old: usize, new: usize) {
        let Some(primary) = self.primary else { return };
        let olds: Vec<usize> =
            self.members().into_iter().filter(|index| ![primary, new].contains(index)).collect();
        let away = olds.iter().copied().find(|index| *index != old);
        let Some(away) = away.filter(|_| olds.len() == 2) else { return };
        let is_away = chance(&mut self.rng, 500);
        let out: Vec<_> = [primary, new].iter().flat_map(|other| self.both_ways(away, *other)).collect();
        if is_away {
            out.iter().for_each(|(from, to)| self.world.cut(*from, *to));
            self.plan(6_000, 6_000, Undo::Heal(out.clone()));
        } else {
            let late: Vec<(NodeId, NodeId)> =
                olds.iter().map(|old| (self.nodes[primary], self.nodes[*old])).collect();
            late.iter().for_each(|(from, to)| self.world.set_link(*from, *to, Some(LATE)));
            self.plan(3_500, 3_500, Undo::Hasten(late));
        }
        let counts_on = |replica: &Replica| {
            let members = replica.members();
            let votes = members.voters().iter().any(|id| index_of(*id) == Some(new));
            votes && !(is_away && members.is_joint())
        };
        if !self.wait_for(primary, counts_on).await {
            return;
        }
        if is_away {
            self.both_ways(old, primary).into_iter().for_each(|(from, to)| self.world.cut(from, to));
            self.both_ways(old, new).into_iter().for_each(|(from, to)| self.world.cut(from, to));
            out.iter().for_each(|(from, to)| self.world.heal(*from, *to));
            let last = self.with_replica(primary, Replica::last).unwrap_or_default();
            self.wait_for(away, |replica| replica.persisted() >= last).await;
            self.end(away, false);
            self.start_node(away);
        }
        let sides = [primary, new].into_iter().flat_map(|one| olds.iter().map(move |other| (one, *other)));
        let pairs: Vec<_> = sides.flat_map(|(one, other)| self.both_ways(one, other)).collect();
        pairs.iter().for_each(|(from, to)| self.world.cut(*from, *to));
        let (from_ms, to_ms) = if is_away { (3_000, 5_000) } else { (1_500, 4_000) };
        self.plan(from_ms, to_ms, Undo::Rejoin { pairs, restart: [primary, new] });
        self.reach("parted at a change of members");
    }

    /// Waits until the node's replica shows something; false if it does not within a while.
    async fn wait_for(&mut self, index: usize, shows: impl Fn(&Replica) -> bool) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.with_replica(index, &shows) == Some(true) {
                return true;
            }
            self.undo_due();
            sleep(LOOK).await;
        }
        false
    }

    /// Notes when a lost disk was made up for, and when a member was replaced.
    pub(super) fn look_at_members(&mut self) {
        if self.lost.is_none() && self.change.is_none() {
            return;
        }
        let settled = self.settled();
        let votes = |index: usize, but: MemberId| {
            let mut voters = settled.iter().flat_map(Membership::voters);
            voters.any(|id| index_of(id) == Some(index) && id != but)
        };
        if let Some(loss) = self.lost.filter(|loss| votes(loss.index, loss.id)) {
            self.lost = None;
            self.reach(match loss.replaced_at_ns {
                Some(_) => "noticed that it was damaged, and votes again",
                None => "lost its disk, and votes again",
            });
        }
        let Some(Change { old, new, until_ns }) = self.change else { return };
        let is_done = votes(new, MemberId(0)) && !votes(old, MemberId(0));
        if is_done {
            self.reach("an operator replaced a member");
            // Until then it goes on with what it has, and must count for nothing.
            self.plan(100, 4_000, Undo::Empty(old));
        }
        if is_done || (settled.is_some() && self.world.now_ns() > until_ns) {
            self.change = None;
        }
    }

    /// Nodes that vote, as whoever leads knows; the founders where nobody does.
    pub(super) fn members(&self) -> Vec<usize> {
        let Some(members) = self.membership() else { return (0..FOUNDERS).collect() };
        members.voters().into_iter().filter_map(index_of).collect()
    }

    /// Members that keep the data, whether they vote or not.
    pub(super) fn replicas(&self) -> Vec<usize> {
        let Some(members) = self.membership() else { return self.members() };
        let with_data = members.members().iter().filter(|member| !member.is_log_only);
        with_data.filter_map(|member| index_of(member.node)).collect()
    }

    /// The members, as the newest primary knows them.
    fn membership(&self) -> Option<Membership> {
        let leading = self.all().filter(|index| self.is_leading(*index));
        let terms = leading.filter_map(|index| Some((self.with_replica(index, Replica::term)?, index)));
        self.with_replica(terms.max()?.1, |replica| replica.members().clone())
    }

    /// The members, if no change of them is under way and all of them vote, as each of them knows.
    pub(super) fn settled(&self) -> Option<Membership> {
        let members = self.membership()?;
        let voters = members.voters();
        let is_settled = !members.is_changing() && voters.len() >= FOUNDERS;
        let of_node = |index| self.with_replica(index, |replica| (replica.node(), replica.members().clone()));
        let is_known = |id: &MemberId| index_of(*id).and_then(of_node) == Some((*id, members.clone()));
        (is_settled && voters.iter().all(is_known)).then_some(members)
    }

    fn is_leading(&self, index: usize) -> bool {
        let node = self.seen.borrow()[index].node.upgrade();
        node.is_some_and(|node| node.shard.borrow().is_leading()) && self.world.is_running(self.nodes[index])
    }

    /// What the node's replica tells, if there is one.
    pub(super) fn with_replica<T>(&self, index: usize, told: impl FnOnce(&Replica) -> T) -> Option<T> {
        let node = self.seen.borrow()[index].node.upgrade()?;
        let shard = node.shard.borrow();
        shard.replica().filter(|_| self.world.is_running(self.nodes[index])).map(told)
    }
}

/// Which node of the run has this id.
fn index_of(id: MemberId) -> Option<usize> {
    (0..NODES_MAX).find(|index| node_number(name(*index)) == id.node())
}
