//! What a run sees inside its nodes: who leads, and in which rare states they are.
//!
//! Not here: what is asked of them from outside (`watch`).
//!
//! Invariant: looking changes nothing.

use ramkeep_log::Role;
use ramkeep_shard::State;

use super::Run;

impl Run {
    /// Looks into the nodes: who leads, and which rare states there are.
    pub(super) fn look(&mut self) {
        self.look_at_members();
        for index in self.all() {
            let Some(node) = self.seen.borrow()[index].node.upgrade() else { continue };
            if !self.world.is_running(self.nodes[index]) {
                continue;
            }
            let shard = node.shard.borrow();
            let state = shard.state().clone();
            let before = self.seen.borrow_mut()[index].state.replace(state.clone());
            match (&before, &state) {
                (Some(State::Frozen), State::Following) => self.reach("frozen, then all was committed"),
                (Some(State::Frozen), State::Replaying) => self.reach("frozen, then rebuilt"),
                (Some(State::Leading), State::Replaying) => self.reach("deposed, then rebuilt"),
                (Some(State::Leading), State::Frozen) => self.reach("deposed and frozen"),
                (Some(State::Leading), State::Following) => self.reach("deposed with nothing under way"),
                _ => {}
            }
            self.time_without_engine(index, before.as_ref(), &state);
            let Some(replica) = shard.replica() else { continue };
            if replica.role() == Role::Primary
                && self.leaders.insert(replica.term().0, index).is_some_and(|other| other != index)
            {
                self.complain(format!("two leaders in term {}", replica.term().0));
            }
            if state != State::Leading {
                continue;
            }
            let now_ns = node.clock.monotonic_ns();
            if !replica.lease_valid(now_ns) && shard.is_withholding() {
                self.reach("no lease, with replies withheld");
            }
            if before != Some(State::Leading) {
                self.reach("took up leadership");
                self.primary = Some(index);
            }
        }
    }

    /// Adds up for how long zones are without an engine because a primary was deposed with changes under way.
    fn time_without_engine(&mut self, index: usize, before: Option<&State>, state: &State) {
        let now_ns = self.world.now_ns();
        match (before, state) {
            (Some(State::Leading), State::Frozen | State::Replaying) => self.deposed_ns[index] = Some(now_ns),
            (Some(State::Frozen | State::Replaying), State::Following | State::Leading) => {
                let Some(since_ns) = self.deposed_ns[index].take() else { return };
                let what = match before {
                    Some(State::Frozen) => "ms without an engine, frozen until committed",
                    _ => "ms without an engine, rebuilt",
                };
                *self.reached.entry(what).or_default() += (now_ns - since_ns) / 1_000_000;
            }
            (None, _) => self.deposed_ns[index] = None,
            _ => {}
        }
    }

    pub(super) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }
}
