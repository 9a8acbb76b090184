//! The addresses where clients come in, and their change while the node runs.
//!
//! Lives here: opening them, and moving them when CONFIG SET asks for it. Not here: what becomes of a connection that
//! came in (`connection`, `start`), and whether an address may be opened without a password (`engine::config`).
//!
//! Invariant: connections that came in stay when their door moves. A door that cannot be moved is where it was.

use crate::node::Node;
use crate::start::accept;
use ramkeep_engine::session::SessionId;
use ramkeep_net::{Host, JoinHandle, Listener};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Listens on every address of `bind`; one that begins with `-` may be missing on this machine.
pub fn open(host: &Host, bind: &[String], port: u16, backlog: u32) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for name in bind {
        let (name, is_optional) = name.strip_prefix('-').map_or((name.as_str(), false), |name| (name, true));
        let address = match name {
            "*" => IpAddr::from([0, 0, 0, 0]),
            "::*" => IpAddr::from([0u16; 8]),
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            text => text.parse().map_err(|_| format!("bind: '{text}' is not an IP address"))?,
        };
        match host.listen(SocketAddr::new(address, port), backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_optional => tracing::debug!(%address, %error, "not listening here"),
            Err(error) => return Err(format!("cannot listen on {address} port {port}: {error}")),
        }
    }
    Ok(listeners)
}

/// Where clients come in now.
#[derive(Default)]
pub(crate) struct Doors {
    tasks: Vec<JoinHandle<()>>,
    bind: Vec<String>,
    port: u16,
}

impl Node {
    /// Lets clients in.
    pub(crate) fn let_in(self: &Rc<Node>, listeners: Vec<Listener>) {
        let mut doors = self.doors.borrow_mut();
        let shard = self.shard.borrow();
        let settings = shard.engine.config.settings();
        (doors.bind, doors.port) = (settings.bind.clone(), settings.port);
        doors.tasks = listeners
            .into_iter()
            .map(|listener| ramkeep_net::spawn(accept(Rc::clone(self), listener)))
            .collect();
    }

    /// CONFIG SET of `port` or `bind`: the session waits for the outcome.
    pub(crate) fn move_doors(self: &Rc<Node>, session: SessionId) {
        let node = Rc::clone(self);
        ramkeep_net::spawn(async move {
            let outcome = node.try_move_doors().await;
            if let Err(why) = &outcome {
                tracing::warn!(why, "clients cannot come in there, so they come in where they did");
            }
            let is_moved = outcome.is_ok();
            node.with_shard(|shard, _, outputs| shard.listened(session, is_moved, outputs));
        });
    }

    async fn try_move_doors(self: &Rc<Node>) -> Result<(), String> {
        let old = std::mem::take(&mut *self.doors.borrow_mut());
        let (bind, port, backlog) = {
            let shard = self.shard.borrow();
            let settings = shard.engine.config.settings();
            (settings.bind.clone(), settings.port, settings.tcp_backlog)
        };
        // Closed first: an address that stays cannot be opened twice.
        for task in old.tasks {
            task.abort();
            // It says that it was aborted.
            let _ = task.await;
        }
        let opened = match port {
            0 => Err("port 0 would leave no way in".to_owned()),
            port => open(&self.host, &bind, port, backlog),
        };
        match opened {
            Ok(listeners) => {
                self.let_in(listeners);
                Ok(())
            }
            Err(why) => {
                let again = open(&self.host, &old.bind, old.port, backlog);
                let listeners = again.map_err(|worse| format!("{why}; and {worse}"))?;
                self.let_in(listeners);
                let mut doors = self.doors.borrow_mut();
                (doors.bind, doors.port) = (old.bind, old.port);
                Err(why)
            }
        }
    }
}
