//! Clients of random lives: they connect, ask, and are told.
//!
//! Not here: whether the answers can be explained (`history`).

use std::collections::VecDeque;

use ramkeep_log::NodeId;

use super::{Cluster, Connection};
use crate::common::history::{Outcome, written};
use crate::disk::Random;

impl Cluster {
    pub(super) fn connect(&mut self, node: NodeId, is_reader: bool) {
        if self.log_only.contains(&node) || self.paused.contains(&node) {
            return;
        }
        if let Some(found) = self.nodes.get_mut(&node) {
            let session = found.open();
            let reader = is_reader.then(|| {
                assert_eq!(found.ask(session, "READONLY"), "+OK\r\n");
                self.values += 1;
                self.values
            });
            self.connections.push(Connection { node, session, asked: VecDeque::new(), reader });
        }
    }

    /// A connection asks one to three things of five keys.
    pub(super) fn ask(&mut self, index: usize, stands_still: bool, random: &mut Random) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if self.paused.contains(&connection.node) {
            return;
        }
        let node = self.nodes.get_mut(&connection.node).expect("connections end with their node");
        node.stands_still = stands_still;
        for _ in 0..=random.below(3) {
            let key = random.below(5);
            let writes = (connection.reader.is_none() && random.below(2) == 0).then(|| {
                self.values += 1;
                self.values
            });
            let call = self.history.ask(key, writes, self.steps);
            self.history.calls[call].reader = connection.reader;
            connection.asked.push_back(call);
            let command = match writes {
                Some(value) => format!("SET k{key} {}", written(value)),
                None => format!("GET k{key}"),
            };
            node.say(connection.session, &command);
        }
        if node.is_still() {
            self.paused.insert(node.id);
            return;
        }
        node.stands_still = false;
        if random.below(3) > 0 {
            node.end_turn();
        }
    }

    /// Processes that stood still go on.
    pub(super) fn go_on(&mut self) {
        for node in std::mem::take(&mut self.paused) {
            if let Some(node) = self.nodes.get_mut(&node) {
                node.go_on();
            }
        }
    }

    pub(super) fn hear_all(&mut self) -> Result<(), String> {
        let at = self.steps;
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            let Some(node) = self.nodes.get_mut(&connection.node) else { continue };
            let text = node.hear(connection.session);
            let mut lines = text.split_terminator("\r\n");
            while let Some(line) = lines.next() {
                let call = connection.asked.pop_front().ok_or("an answer without a question")?;
                let outcome = match line.as_bytes().first() {
                    Some(b'+') => Outcome::Done,
                    Some(b'-') => Outcome::Refused,
                    Some(b'$') if line == "$-1" => Outcome::Saw(None),
                    Some(b'$') => {
                        let value = lines.next().and_then(|value| value[1..9].parse().ok());
                        Outcome::Saw(Some(value.ok_or("an answer that is no value")?))
                    }
                    _ => return Err(format!("an answer that was not asked for: {line}")),
                };
                self.replies += usize::from(outcome != Outcome::Refused);
                self.history.answer(call, outcome, at);
            }
        }
        connections.retain(|connection| {
            self.nodes
                .get(&connection.node)
                .and_then(|node| node.clients.get(&connection.session))
                .is_some_and(|client| !client.is_closed)
        });
        self.connections = connections;
        Ok(())
    }
}
