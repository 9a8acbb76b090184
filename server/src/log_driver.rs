//! The log's files: what the replica asks for, done on the node's disk.
//!
//! Lives here: segment files, the vote file, the choice between writing on the shard's thread and on
//! the writer's. Not here: what is written (`ramkeep-log`), how (`ramkeep-net`).

use crate::install::Offer;
use crate::node::Node;
use crate::point;
use ramkeep_engine::LogFacts;
use ramkeep_log::{Layout, Output, SegmentFile, Written};
use ramkeep_net::{Disk, LogFile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Name of the file with term and vote.
pub const VOTE_FILE: &str = "vote";
const SEGMENT_PREFIX: &str = "log-";
/// Writes larger than this go to the writer's thread, whoever waits.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Name of a segment's file.
pub fn segment_name(segment: u64) -> String {
    format!("{SEGMENT_PREFIX}{segment:016x}")
}

/// Number of the segment in a file of this name, if it is one.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(SEGMENT_PREFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// A segment's file as this process has it.
struct Segment {
    file: Rc<dyn LogFile>,
    bytes: u64,
}

pub struct LogDriver {
    disk: Rc<dyn Disk>,
    layout: Cell<Layout>,
    /// None: there is none yet that could be used.
    vote: RefCell<Option<Rc<dyn LogFile>>>,
    /// Segments made by this process: the ones it may write.
    open: RefCell<BTreeMap<u64, Segment>>,
    /// Bytes of the segments found at the start.
    found: RefCell<BTreeMap<u64, u64>>,
    saves_in_flight: Cell<u64>,
    cuts_in_flight: Cell<u64>,
    /// Of any kind.
    in_flight: Cell<u64>,
}

/// Something that the disk is doing for the log.
struct Operation(Rc<Node>);

impl Operation {
    fn begin(node: &Rc<Node>) -> Operation {
        node.log.in_flight.set(node.log.in_flight.get() + 1);
        Operation(Rc::clone(node))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.0.log.in_flight.set(self.0.log.in_flight.get() - 1);
    }
}

impl LogDriver {
    pub fn new(
        disk: Rc<dyn Disk>,
        layout: Layout,
        vote: Option<Rc<dyn LogFile>>,
        found: &[SegmentFile],
    ) -> LogDriver {
        LogDriver {
            disk,
            layout: Cell::new(layout),
            vote: RefCell::new(vote),
            open: RefCell::default(),
            found: RefCell::new(found.iter().map(|file| (file.segment, file.bytes)).collect()),
            saves_in_flight: Cell::new(0),
            cuts_in_flight: Cell::new(0),
            in_flight: Cell::new(0),
        }
    }

    /// The node's data directory.
    pub(crate) fn disk(&self) -> &Rc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout.get()
    }

    /// Does what the replica asked for, or starts it.
    pub(crate) fn carry_out(&self, node: &Rc<Node>, output: Output) {
        match output {
            Output::Write { segment, offset, bytes } => self.write(node, segment, offset, bytes),
            Output::Prepare { segment, bytes } => self.prepare(node, segment, bytes),
            Output::SaveHardState { generation, slot, bytes } => self.save(node, generation, slot, bytes),
            Output::Discard { segments, cut } => self.discard(node, segments, cut),
            Output::Cut { segments } => self.cut(node, segments),
            Output::Send { to, message } => {
                if let Some(peers) = node.peers() {
                    node.host.point(point::MESSAGE_MADE);
                    peers.send(to, &message);
                }
            }
            Output::Fetch { segment, offset, bytes, .. } => self.fetch(node, segment, offset, bytes),
            Output::WantSnapshot { from, position, term } => node.offers.make(Offer { from, position, term }),
            Output::MembersChanged { position } => {
                tracing::info!(position = position.0, "the members changed");
                node.tell_members();
            }
            // Nobody has asked for a round yet.
            Output::ReadReady { .. } => {}
            Output::Committed { .. } | Output::RoleChanged { .. } | Output::Fenced { .. } => {
                unreachable!("the shard takes these itself")
            }
        }
    }

    fn write(&self, node: &Rc<Node>, segment: u64, offset: u64, bytes: Vec<u8>) {
        let file = Rc::clone(&self.open.borrow().get(&segment).expect("the segment was prepared").file);
        // Where all wait for the disk, two hand-offs between threads cost more than they gain (decision 0010).
        if bytes.len() <= INLINE_BYTES_MAX
            && node.may_write_inline()
            && let Some(outcome) = file.write_now(offset, &bytes)
        {
            node.host.point(point::WRITE_MADE);
            return node.written(Written { segment, offset, bytes }, outcome);
        }
        node.wrote_beside_readers();
        let (node, operation) = (Rc::clone(node), Operation::begin(node));
        let write = file.write_at(offset, bytes);
        node.host.point(point::WRITE_ISSUED);
        ramkeep_net::spawn(async move {
            let _operation = operation;
            match write.await {
                Ok(bytes) => {
                    node.host.point(point::WRITE_SYNCED);
                    node.written(Written { segment, offset, bytes }, Ok(()));
                    node.host.point(point::WRITE_TOLD);
                }
                Err(error) => node.written(Written { segment, offset, bytes: Vec::new() }, Err(error)),
            }
        });
    }

    fn prepare(&self, node: &Rc<Node>, segment: u64, bytes: u64) {
        let (node, disk, operation) = (Rc::clone(node), Rc::clone(&self.disk), Operation::begin(node));
        ramkeep_net::spawn(async move {
            let _operation = operation;
            let name = segment_name(segment);
            let made = match disk.create(&name, bytes).await {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    // A spare of an earlier run that recovery found to hold nothing.
                    match disk.remove(&name).await {
                        Ok(()) => disk.create(&name, bytes).await,
                        Err(error) => Err(error),
                    }
                }
                made => made,
            };
            match made {
                Ok(file) => {
                    node.host.point(point::SEGMENT_MADE);
                    // A spare of an earlier run was found under this name.
                    node.log.found.borrow_mut().remove(&segment);
                    node.log.open.borrow_mut().insert(segment, Segment { file, bytes });
                    node.prepared(segment, Ok(()));
                }
                Err(error) => node.prepared(segment, Err(error)),
            }
        });
    }

    fn save(&self, node: &Rc<Node>, generation: u64, slot: usize, bytes: Vec<u8>) {
        let offset = slot as u64 * u64::from(self.layout().sector_bytes);
        let write = self.vote.borrow().as_ref().expect("a replica has a vote file").write_at(offset, bytes);
        let (node, operation) = (Rc::clone(node), Operation::begin(node));
        self.saves_in_flight.set(self.saves_in_flight.get() + 1);
        node.host.point(point::VOTE_ISSUED);
        ramkeep_net::spawn(async move {
            let _operation = operation;
            let outcome = write.await;
            node.host.point(point::VOTE_SAVED);
            node.log.saves_in_flight.set(node.log.saves_in_flight.get() - 1);
            match outcome {
                Ok(_) => {
                    node.drive(|replica, now| replica.saved(generation, now));
                    node.host.point(point::VOTE_TOLD);
                }
                Err(error) => {
                    tracing::error!(%error, "the vote file cannot be written");
                    node.drive(|replica, now| replica.save_failed(now));
                }
            }
        });
    }

    /// Removes segments that a snapshot covers.
    fn cut(&self, node: &Rc<Node>, segments: Vec<u64>) {
        for segment in &segments {
            self.open.borrow_mut().remove(segment);
            self.found.borrow_mut().remove(segment);
        }
        self.cuts_in_flight.set(self.cuts_in_flight.get() + 1);
        let (node, disk, operation) = (Rc::clone(node), Rc::clone(&self.disk), Operation::begin(node));
        ramkeep_net::spawn(async move {
            let _operation = operation;
            node.host.point(point::CUT_BEGUN);
            for segment in segments {
                if let Err(error) = disk.remove(&segment_name(segment)).await {
                    tracing::warn!(segment, %error, "a segment that was cut stays");
                }
                node.host.point(point::CUT_HALF_DONE);
            }
            if let Err(error) = disk.sync_dir().await {
                tracing::debug!(%error, "removed names may come back");
            }
            node.log.cuts_in_flight.set(node.log.cuts_in_flight.get() - 1);
            node.host.point(point::CUT_DONE);
        });
    }

    /// Whether segments are being removed below a snapshot.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cuts_in_flight.get() > 0
    }

    /// Reads old frames for a peer that lags.
    fn fetch(&self, node: &Rc<Node>, segment: u64, offset: u64, bytes: u64) {
        let open = self.open.borrow().get(&segment).map(|segment| Rc::clone(&segment.file));
        let (node, disk, operation) = (Rc::clone(node), Rc::clone(&self.disk), Operation::begin(node));
        ramkeep_net::spawn(async move {
            let _operation = operation;
            let read = async {
                let file = match open {
                    Some(file) => file,
                    None => disk.open(&segment_name(segment)).await?,
                };
                file.read_at(offset, usize::try_from(bytes).unwrap_or(usize::MAX)).await
            };
            let found = read.await.unwrap_or_else(|error| {
                tracing::error!(segment, %error, "old entries cannot be read back");
                Vec::new()
            });
            node.drive(|replica, now_ns| replica.fetched(segment, offset, &found, now_ns));
        });
    }

    fn discard(&self, node: &Rc<Node>, segments: Vec<u64>, cut: Option<(u64, u64)>) {
        let (node, disk, operation) = (Rc::clone(node), Rc::clone(&self.disk), Operation::begin(node));
        ramkeep_net::spawn(async move {
            let _operation = operation;
            for segment in segments {
                let is_ours = node.log.open.borrow().contains_key(&segment);
                if is_ours {
                    continue;
                }
                node.log.found.borrow_mut().remove(&segment);
                if let Err(error) = disk.remove(&segment_name(segment)).await {
                    tracing::debug!(segment, %error, "a dead segment stays");
                }
            }
            if let Some((segment, bytes)) = cut
                && let Ok(file) = disk.open(&segment_name(segment)).await
            {
                match file.truncate(bytes).await {
                    Ok(()) => node.log.was_truncated(segment, bytes),
                    Err(error) => tracing::debug!(segment, %error, "a void end stays"),
                }
            }
            if let Err(error) = disk.sync_dir().await {
                tracing::debug!(%error, "removed names may come back");
            }
        });
    }

    /// Whether the disk is doing anything for the log.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// The directory has another vote file.
    pub(crate) fn set_vote(&self, vote: Rc<dyn LogFile>) {
        *self.vote.borrow_mut() = Some(vote);
    }

    /// The directory is another one now, and empty: what was in it was set aside.
    pub(crate) fn begin_anew(&self, layout: Layout) {
        self.layout.set(layout);
        self.open.borrow_mut().clear();
        self.found.borrow_mut().clear();
    }

    /// The replica starts anew: what this process made is found now as a start would find it.
    pub(crate) fn forget_open(&self) {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        let found = open.into_iter().map(|(segment, file)| (segment, file.bytes));
        self.found.borrow_mut().extend(found);
    }

    /// Whether no save of the vote file is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.saves_in_flight.get() == 0
    }

    fn was_truncated(&self, segment: u64, bytes: u64) {
        if let Some(found) = self.found.borrow_mut().get_mut(&segment) {
            *found = bytes.min(*found);
        }
    }

    pub(crate) fn refresh(&self, facts: &mut LogFacts) {
        let (found, open) = (self.found.borrow(), self.open.borrow());
        let open_bytes: u64 = open.values().map(|segment| segment.bytes).sum();
        facts.log_bytes = found.values().sum::<u64>() + open_bytes;
        facts.segments = (found.len() + open.len()) as u64;
        facts.free_disk_bytes = self.disk.free_bytes().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_read_back_and_others_are_none() {
        assert_eq!(segment_name(27), "log-000000000000001b");
        assert_eq!(segment_number(&segment_name(27)), Some(27));
        for other in ["vote", "log-1", "log-00000000000000zz", "snapshot"] {
            assert_eq!(segment_number(other), None);
        }
    }
}
