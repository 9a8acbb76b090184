//! Somebody who looks at what the nodes say of themselves: INFO, as any operator may.
//!
//! Lives here: asking each node in turn, and complaining of replicas that differ. Not here: looking inside the nodes.
//!
//! It would catch: a replica that applied something wrongly, before anybody reads there.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_net::{Host, sleep, timeout};

use super::client::SharedRef;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(150);
/// A question that is not answered within this is not answered.
const PATIENCE: Duration = Duration::from_secs(1);
const DIFFERS: &str = "digest_differs:";

/// Asks until the run is over, or until a difference was told of: one is enough.
pub(super) async fn run(
    host: Host,
    shared: SharedRef,
    sockets: Vec<SocketAddr>,
    complaints: Rc<RefCell<Vec<String>>>,
) {
    for socket in sockets.iter().cycle() {
        if shared.borrow().is_over {
            return;
        }
        if let Ok(Ok(Some(position))) = timeout(PATIENCE, difference(&host, *socket)).await {
            complaints.borrow_mut().push(format!("{socket} says that replicas differ after {position}"));
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The position after which replicas differ, as the node says.
async fn difference(host: &Host, socket: SocketAddr) -> io::Result<Option<u64>> {
    let conn = host.connect(socket).await?;
    conn.write_all(b"INFO durability\r\n").await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if conn.read(&mut answer).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&answer);
        let lines = text.split_inclusive("\r\n").filter_map(|line| line.strip_suffix("\r\n"));
        let told = lines.filter_map(|line| line.strip_prefix(DIFFERS)).find_map(|told| told.parse().ok());
        if let Some(position) = told {
            return Ok((position > 0).then_some(position));
        }
        if text.starts_with('-') && text.ends_with("\r\n") {
            return Ok(None);
        }
    }
}
