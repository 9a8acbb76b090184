//! A snapshot of another member takes the place of a log that ends too early.
//!
//! Lives here: fetching the one that the leader points to, and asking for the start anew. Not here: how it comes
//! (`transfer`), reading it (`start`), what recovery makes of the log (`ramkeep-log`).
//!
//! A crash at any step is harmless: until the file has its name nothing has changed; from then on a start finds it and
//! the log before it, and does what would have been done here.

use crate::node::Node;
use crate::transfer;
use ramkeep_log::{NodeId, Position, Replica, Term};
use ramkeep_net::Notify;
use std::cell::Cell;
use std::rc::Rc;

/// A snapshot that the leader has and this node should have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub from: NodeId,
    pub position: Position,
    pub term: Term,
}

/// The newest offer.
#[derive(Default)]
pub(crate) struct Offers {
    newest: Cell<Option<Offer>>,
    made: Notify,
}

impl Offers {
    pub fn make(&self, offer: Offer) {
        self.newest.set(Some(offer));
        self.made.notify_one();
    }

    /// Whether an offer waits that another one has made: whoever made those before does not lead any more.
    pub fn are_of_another(&self, than: u32) -> bool {
        self.newest.get().is_some_and(|offer| offer.from.node() != than)
    }
}

/// Whether the log here ends before this position, as far as is known.
pub(crate) fn is_behind(node: &Node, position: Position) -> bool {
    node.shard.borrow().replica().is_some_and(|replica: &Replica| replica.committed() < position)
}

/// Fetches what is offered, for as long as the node runs.
pub(crate) async fn fetch_when_offered(node: Rc<Node>) {
    loop {
        node.offers.made.notified().await;
        let Some(Offer { from, position, term }) = node.offers.newest.take() else { continue };
        if !is_behind(&node, position) {
            continue;
        }
        tracing::info!(
            position = position.0,
            "the log here ends too early: a snapshot of the primary is fetched"
        );
        match transfer::fetch(&node, from.node(), position, term).await {
            Ok(_) => {
                node.is_anew_due.set(true);
                node.reading_wanted.notify_one();
            }
            // The leader offers it again, or a newer one.
            Err(error) => tracing::warn!(position = position.0, %error, "the snapshot was not fetched"),
        }
    }
}
