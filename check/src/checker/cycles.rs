//! Cycles among transactions, and what each kind of them is called.
//!
//! Lives here: a graph of what must come before what, the search for cycles, their names (Adya's, as Elle uses them).
//! Not here: where the edges come from (`list_append`), the words around a cycle (`explain_cycle` there).
//!
//! Edges of real time are kept linear in number by nodes that stand for instants: a transaction leads to the instant of
//! its return, each instant to the next, and an instant to every transaction invoked after it.

use std::collections::{BTreeMap, VecDeque};

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// It appended, the other appended next.
    WriteWrite { key: usize, index: usize },
    /// It appended what the other read last.
    WriteRead { key: usize, index: usize },
    /// It read without what the other appended.
    ReadWrite { key: usize, index: usize },
    /// Program order of a process, or of a connection that reads at a replica.
    Program,
    /// It had returned before the other was invoked.
    RealTime,
}

impl Edge {
    fn is_anti(self) -> bool {
        matches!(self, Edge::ReadWrite { .. })
    }

    fn is_order(self) -> bool {
        matches!(self, Edge::Program | Edge::RealTime)
    }
}

/// A cycle: each transaction with the edge that leads to the next, the last one to the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub name: &'static str,
    pub steps: Vec<(usize, Edge)>,
}

/// Transactions by number, then instants.
#[derive(Debug, Default)]
pub struct Graph {
    transactions: usize,
    next: Vec<BTreeMap<usize, Edge>>,
}

/// Beginnings tried when a cycle of a certain kind is looked for in one strongly connected part.
const BEGINNINGS_MAX: usize = 2_000;

impl Graph {
    pub fn new(transactions: usize) -> Graph {
        Graph { transactions, next: vec![BTreeMap::new(); transactions] }
    }

    /// Between two transactions the edge that says most is kept: data before order.
    pub fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to {
            let kept = self.next[from].entry(to).or_insert(edge);
            *kept = (*kept).min(edge);
        }
    }

    /// Adds real time: `returns` and `invocations` are transactions with their instants.
    pub fn add_real_time(&mut self, mut returns: Vec<(u64, usize)>, invocations: &[(u64, usize)]) {
        returns.sort_unstable();
        let mut instants: Vec<u64> = Vec::new();
        for (at_ns, transaction) in returns {
            if instants.last() != Some(&at_ns) {
                if !instants.is_empty() {
                    let last = self.next.len() - 1;
                    self.next[last].insert(last + 1, Edge::RealTime);
                }
                instants.push(at_ns);
                self.next.push(BTreeMap::new());
            }
            let node = self.next.len() - 1;
            self.next[transaction].entry(node).or_insert(Edge::RealTime);
        }
        for &(at_ns, transaction) in invocations {
            let before = instants.partition_point(|instant| *instant < at_ns);
            if before > 0 {
                self.next[self.transactions + before - 1].entry(transaction).or_insert(Edge::RealTime);
            }
        }
    }

    /// One cycle of every part in which there is any, the one that tells most.
    pub fn cycles(&self) -> Vec<Cycle> {
        let parts = self.strong_parts();
        parts.iter().filter_map(|part| self.name_part(part)).collect()
    }

    /// From the gravest kind to the mildest.
    fn name_part(&self, part: &[usize]) -> Option<Cycle> {
        let is_inside = |node: usize| part.binary_search(&node).is_ok();
        let beginnings: Vec<usize> =
            part.iter().copied().filter(|node| *node < self.transactions).take(BEGINNINGS_MAX).collect();
        if beginnings.len() < 2 {
            return None;
        }
        let data = |edge: Edge| !edge.is_order();
        let writes = |edge: Edge| matches!(edge, Edge::WriteWrite { .. });
        for with_order in [false, true] {
            let may = |edge: Edge| with_order || data(edge);
            let name = |plain: &'static str, timed: &'static str| if with_order { timed } else { plain };
            let of_writes = |edge: Edge| may(edge) && (writes(edge) || edge.is_order());
            let seen = |edge: Edge| may(edge) && !edge.is_anti();
            if let Some(steps) = self.shortest(&beginnings, &is_inside, &of_writes, &of_writes) {
                return Some(Cycle { name: name("G0", "G0-realtime"), steps });
            }
            if let Some(steps) = self.shortest(&beginnings, &is_inside, &seen, &seen) {
                return Some(Cycle { name: name("G1c", "G1c-realtime"), steps });
            }
            if let Some(steps) = self.shortest(&beginnings, &is_inside, &Edge::is_anti, &seen) {
                return Some(Cycle { name: name("G-single", "G-single-realtime"), steps });
            }
            if let Some(steps) = self.shortest(&beginnings, &is_inside, &may, &may) {
                return Some(Cycle { name: name("G2", "G2-realtime"), steps });
            }
        }
        None
    }

    /// The shortest cycle whose first edge `begins` it; the others may be taken.
    fn shortest(
        &self,
        beginnings: &[usize],
        is_inside: &dyn Fn(usize) -> bool,
        begins: &dyn Fn(Edge) -> bool,
        may: &dyn Fn(Edge) -> bool,
    ) -> Option<Vec<(usize, Edge)>> {
        let mut best: Option<Vec<(usize, Edge)>> = None;
        for &from in beginnings {
            for (&to, &edge) in self.next[from].iter().filter(|(_, edge)| begins(**edge)) {
                if is_inside(to)
                    && let Some(back) = self.path(to, from, is_inside, may)
                    && best.as_ref().is_none_or(|best| back.len() + 1 < best.len())
                {
                    best = Some(std::iter::once((from, edge)).chain(back).collect());
                }
            }
            if best.as_ref().is_some_and(|best| best.len() <= 2) {
                break;
            }
        }
        best.map(|steps| self.without_instants(steps))
    }

    /// The way over instants from one transaction to another is one step.
    fn without_instants(&self, steps: Vec<(usize, Edge)>) -> Vec<(usize, Edge)> {
        steps.into_iter().filter(|(node, _)| *node < self.transactions).collect()
    }

    /// Steps of the shortest way from one node to another, the target not among them.
    fn path(
        &self,
        from: usize,
        to: usize,
        is_inside: &dyn Fn(usize) -> bool,
        may: &dyn Fn(Edge) -> bool,
    ) -> Option<Vec<(usize, Edge)>> {
        let mut before: BTreeMap<usize, (usize, Edge)> = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(node) = open.pop_front() {
            if node == to {
                let mut steps = Vec::new();
                let mut at = to;
                while at != from {
                    let (previous, edge) = before[&at];
                    steps.push((previous, edge));
                    at = previous;
                }
                steps.reverse();
                return Some(self.without_instants(steps));
            }
            for (&next, &edge) in &self.next[node] {
                if next != from && is_inside(next) && may(edge) && !before.contains_key(&next) {
                    before.insert(next, (node, edge));
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// Strongly connected parts of more than one node, each sorted (Tarjan, without recursion).
    fn strong_parts(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.next.len();
        let (mut order, mut low) = (vec![UNSEEN; count], vec![UNSEEN; count]);
        let (mut is_stacked, mut stack, mut parts) = (vec![false; count], Vec::new(), Vec::new());
        let mut clock = 0;
        let targets: Vec<Vec<usize>> = self.next.iter().map(|next| next.keys().copied().collect()).collect();
        for root in 0..count {
            if order[root] != UNSEEN {
                continue;
            }
            let mut calls = vec![(root, 0)];
            while let Some((node, at)) = calls.pop() {
                if at == 0 {
                    (order[node], low[node]) = (clock, clock);
                    clock += 1;
                    stack.push(node);
                    is_stacked[node] = true;
                }
                if let Some(&next) = targets[node].get(at) {
                    calls.push((node, at + 1));
                    if order[next] == UNSEEN {
                        calls.push((next, 0));
                    } else if is_stacked[next] {
                        low[node] = low[node].min(order[next]);
                    }
                    continue;
                }
                if low[node] == order[node] {
                    let start = stack.iter().rposition(|other| *other == node).expect("it is on the stack");
                    let mut part = stack.split_off(start);
                    part.iter().for_each(|node| is_stacked[*node] = false);
                    if part.len() > 1 {
                        part.sort_unstable();
                        parts.push(part);
                    }
                }
                if let Some(&(parent, _)) = calls.last() {
                    low[parent] = low[parent].min(low[node]);
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WW: Edge = Edge::WriteWrite { key: 0, index: 0 };
    const WR: Edge = Edge::WriteRead { key: 0, index: 0 };
    const RW: Edge = Edge::ReadWrite { key: 0, index: 0 };

    fn names(edges: &[(usize, usize, Edge)]) -> Vec<&'static str> {
        let mut graph = Graph::new(6);
        edges.iter().for_each(|(from, to, edge)| graph.add(*from, *to, *edge));
        graph.cycles().into_iter().map(|cycle| cycle.name).collect()
    }

    #[test]
    fn cycles_are_named_by_their_gravest_kind() {
        assert_eq!(names(&[(0, 1, WW), (1, 2, WR), (2, 3, RW)]), Vec::<&str>::new());
        assert_eq!(names(&[(0, 1, WW), (1, 0, WW)]), ["G0"]);
        assert_eq!(names(&[(0, 1, WW), (1, 0, WR)]), ["G1c"]);
        assert_eq!(names(&[(0, 1, WR), (1, 2, WW), (2, 0, RW)]), ["G-single"]);
        assert_eq!(names(&[(0, 1, RW), (1, 0, RW)]), ["G2"]);
        assert_eq!(names(&[(0, 1, Edge::Program), (1, 0, WW)]), ["G0-realtime"]);
        assert_eq!(names(&[(0, 1, RW), (1, 0, RW), (1, 2, WR), (2, 1, WR)]), ["G1c"]);
        assert_eq!(names(&[(0, 1, WW), (1, 0, WW), (3, 4, RW), (4, 3, RW)]).len(), 2);
    }

    #[test]
    fn real_time_is_one_step_between_transactions() {
        let mut graph = Graph::new(3);
        graph.add(2, 0, RW);
        graph.add_real_time(vec![(10, 0), (20, 1), (30, 2)], &[(0, 0), (15, 1), (25, 2)]);
        let cycles = graph.cycles();
        assert_eq!(cycles.len(), 1);
        assert_eq!(cycles[0].name, "G-single-realtime");
        assert_eq!(cycles[0].steps, [(2, RW), (0, Edge::RealTime)]);
    }

    #[test]
    fn equal_instants_overlap() {
        let mut graph = Graph::new(2);
        graph.add(1, 0, RW);
        graph.add_real_time(vec![(10, 0), (20, 1)], &[(0, 0), (10, 1)]);
        assert_eq!(graph.cycles(), []);
    }
}
