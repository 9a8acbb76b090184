//! What clients hold in memory, and the limits on it.
//!
//! Lives here: each session's bytes as INFO and CLIENT LIST show them, the soft limit of output buffers,
//! `maxmemory-clients`, and MONITOR's lines. Not here: the hard limit of output buffers, looked at whenever something is sent (`lib`), and
//! that of query buffers (`ramkeep-server`).

use crate::{Output, Shard};
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;

impl Shard {
    /// Gives those who watch by MONITOR the lines made since the last time. One that does not read them is closed when
    /// what waits for it passes the hard limit for replicas.
    pub(crate) fn hand_to_monitors(&mut self, outputs: &mut Vec<Output>) {
        let lines = self.engine.monitors.take_lines();
        let limit = self.engine.config.settings().output_limits.replica.hard_bytes;
        for id in self.engine.monitors.sessions() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.outbox.reply.raw(&lines);
            let is_over = limit > 0 && connection.outbox.pending_bytes() as u64 > limit;
            outputs.push(if is_over { Output::Cut(*id) } else { Output::Released(*id) });
        }
    }

    /// Takes in what clients hold, and closes those over a limit. With every tick.
    pub(crate) fn review_clients(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut late = self.refresh_output_bytes(now);
        late.sort_unstable();
        self.engine.stats.output_buffer_limit_disconnections += late.len() as u64;
        outputs.extend(late.into_iter().map(Output::Cut));
        self.review_held(outputs);
    }

    /// Closes clients while all of them together hold more than `maxmemory-clients`.
    pub(crate) fn review_held(&mut self, outputs: &mut Vec<Output>) {
        let settings = self.engine.config.settings();
        let limit = settings.maxmemory_clients_bytes;
        if limit == 0 && settings.maxmemory_bytes == 0 {
            return;
        }
        let total = self.engine.count_clients();
        if limit > 0 && total >= limit {
            self.evict_clients(total - limit, outputs);
        }
    }

    /// Tells the sessions what waits for their clients; gives those over the soft limit for too long.
    fn refresh_output_bytes(&mut self, now: Now) -> Vec<SessionId> {
        let limit = self.engine.config.settings().output_limits.normal;
        let soft_ns = limit.soft_seconds.max(0).cast_unsigned().saturating_mul(1_000_000_000);
        let mut late = Vec::new();
        for (id, connection) in &mut self.connections {
            let bytes = connection.outbox.pending_bytes() as u64;
            if bytes != connection.told_bytes
                && let Some(session) = self.engine.sessions.get_mut(*id)
            {
                session.output_buffer_bytes = bytes;
                connection.told_bytes = bytes;
            }
            if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
                connection.over_soft_since_ns = None;
                continue;
            }
            let since_ns = *connection.over_soft_since_ns.get_or_insert(now.monotonic_ns);
            if now.monotonic_ns.saturating_sub(since_ns) > soft_ns {
                late.push(*id);
            }
        }
        late
    }

    /// Closes clients, those that hold most first, until so many bytes more than `excess` are free.
    fn evict_clients(&mut self, mut excess: u64, outputs: &mut Vec<Output>) {
        let sessions = self.engine.sessions.iter().filter(|session| !session.no_evict && !session.is_closing);
        let mut by_bytes: Vec<(u64, SessionId)> =
            sessions.map(|session| (session.held_bytes(), session.id)).collect();
        by_bytes.sort_unstable();
        while let Some((bytes, id)) = by_bytes.pop().filter(|(bytes, _)| *bytes > 0) {
            if let Some(session) = self.engine.sessions.get_mut(id) {
                session.is_closing = true;
            }
            self.engine.stats.evicted_clients += 1;
            outputs.push(Output::Cut(id));
            if bytes > excess {
                return;
            }
            excess -= bytes;
        }
    }
}
