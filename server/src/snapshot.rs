//! Snapshot files: made while the node serves, read at a start.
//!
//! Lives here: their names, the way from slices to a file that counts, the choice of the one to load, how many
//! are kept. Not here: what is in them (`engine::rdb`), when one may begin and count (`shard`).
//!
//! The steps, each of which may be the last before a crash: bytes are appended, durably, to a file that vanishes at
//! the next opening; the state they hold is committed; the file is read back and is right; it gets its name,
//! durably; only then are segments of the log and older snapshots removed.

use crate::holdings::VerifiedSnapshot;
use crate::node::Node;
use crate::point;
use ramkeep_engine::rdb::{Foot, Head, Item, Loader};
use ramkeep_engine::value::HashLimits;
use ramkeep_log::{Layout, Position};
use ramkeep_net::{Disk, Draft};
use ramkeep_shard::{Begin, Certainty, Loading, Place, Slice};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".rdb";
/// Bytes of one append.
const APPEND_BYTES: usize = 256 << 10;
/// Bytes of one read at a start.
const READ_BYTES: usize = 1 << 20;
/// Items loaded before others have their turn.
const ITEMS_AT_ONCE: usize = 4096;
/// How often it is looked whether a snapshot may begin, or count.
const STEP: Duration = Duration::from_millis(20);
/// Segments' worth of disk that a snapshot leaves to the log; with less it is given up.
const SEGMENTS_LEFT: u64 = 2;

/// Name of the snapshot at a position.
pub fn name_of(position: Position) -> String {
    format!("{PREFIX}{:016x}{SUFFIX}", position.0)
}

/// Position of the snapshot in a file of this name, if it is one.
pub fn position_of(name: &str) -> Option<Position> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(Position)
}

/// What snapshots of a directory's shard are of.
pub fn place_of(layout: &Layout) -> Place {
    Place { shard: layout.shard.0, cluster: layout.cluster.0 }
}

/// Makes a snapshot whenever the shard wants one.
pub async fn make_when_wanted(node: Rc<Node>) {
    let disk = Rc::clone(node.log.disk());
    let place = place_of(&node.log.layout());
    loop {
        node.snapshot_wanted.notified().await;
        let head = loop {
            match node.with_shard(|shard, now, outputs| shard.begin_snapshot(place, now, outputs)) {
                Begin::Begun(head) => break Some(head),
                Begin::Later => ramkeep_net::sleep(STEP).await,
                Begin::Never => break None,
            }
        };
        let Some(head) = head else { continue };
        let outcome = make(&node, &disk, &head).await;
        match &outcome {
            Ok(made) => tracing::info!(position = head.position, bytes = made.bytes, "snapshot made"),
            Err(error) => tracing::warn!(position = head.position, %error, "no snapshot was made"),
        }
        let is_made = outcome.is_ok();
        let outcome = outcome.map(|made| {
            node.holdings.add(made.clone());
            made.bytes
        });
        let outcome = outcome.map_err(|error| error.to_string());
        node.with_shard(|shard, now, outputs| shard.snapshot_ended(outcome, now, outputs));
        if is_made {
            remove_old(&node).await;
            node.announce();
        }
        node.wake_paused();
    }
}

/// Makes the file.
async fn make(node: &Rc<Node>, disk: &Rc<dyn Disk>, head: &Head) -> io::Result<VerifiedSnapshot> {
    let position = Position(head.position);
    let _claim = node.holdings.claim(position).ok_or(io::ErrorKind::ResourceBusy)?;
    let draft = disk.draft(&name_of(position)).await?;
    node.host.point(point::SNAPSHOT_BEGUN);
    let outcome = fill_and_finish(node, head, &draft).await;
    if outcome.is_err()
        && let Err(error) = draft.abandon().await
    {
        tracing::debug!(%error, "an unfinished snapshot stays until the next start");
    }
    outcome
}

async fn fill_and_finish(
    node: &Rc<Node>,
    head: &Head,
    draft: &Rc<dyn Draft>,
) -> io::Result<VerifiedSnapshot> {
    let mut bytes = 0;
    let mut under_way = None;
    let mut buffer = Vec::with_capacity(APPEND_BYTES * 2);
    let foot = loop {
        let slice = node.with_shard(|shard, _, _| shard.snapshot_slice(&mut buffer));
        let is_last = matches!(slice, Slice::Last(_));
        if matches!(slice, Slice::Void) {
            return Err(io::Error::other("it was given up"));
        }
        if buffer.len() >= APPEND_BYTES || is_last {
            // While one piece is written the next is made.
            if let Some(append) = under_way.take() {
                append_done(append).await?;
                node.host.point(point::SNAPSHOT_APPENDED);
            }
            check_room(node, buffer.len() as u64)?;
            bytes += buffer.len() as u64;
            let piece = std::mem::replace(&mut buffer, Vec::with_capacity(APPEND_BYTES * 2));
            under_way = Some(draft.append(piece));
        }
        if let Slice::Last(foot) = slice {
            break foot;
        }
        node.wake_paused();
        ramkeep_net::yield_now().await;
    };
    if let Some(append) = under_way.take() {
        append_done(append).await?;
        node.host.point(point::SNAPSHOT_APPENDED);
    }
    while wait_for_certainty(node)? {
        ramkeep_net::sleep(STEP).await;
    }
    node.host.point(point::SNAPSHOT_WRITTEN);
    let found =
        read_through(draft).await?.and_then(|found| match found == (Some(head.clone()), Some(foot)) {
            true => Ok(()),
            false => Err("it holds something else than was written".to_string()),
        });
    found.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("reading it back: {why}")))?;
    node.host.point(point::SNAPSHOT_READ_BACK);
    // Memory may have turned out to be wrong while the file was read.
    while wait_for_certainty(node)? {
        ramkeep_net::sleep(STEP).await;
    }
    draft.finish().await?;
    node.host.point(point::SNAPSHOT_NAMED);
    Ok(VerifiedSnapshot { head: head.clone(), foot, bytes })
}

/// An error if so many more bytes would leave too little disk to the log.
pub(crate) fn check_room(node: &Node, bytes: u64) -> io::Result<()> {
    let left_to_log = node.log.layout().segment_bytes * SEGMENTS_LEFT;
    if node.log.disk().free_bytes()? < left_to_log.saturating_add(bytes) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "the log needs the space that is left"));
    }
    Ok(())
}

async fn append_done(append: ramkeep_net::LocalFuture<'static, io::Result<Vec<u8>>>) -> io::Result<()> {
    append.await.map(|_| ())
}

/// Whether the state is still in doubt; an error when it never will be certain.
fn wait_for_certainty(node: &Rc<Node>) -> io::Result<bool> {
    match node.shard.borrow().snapshot_certainty() {
        Certainty::Certain => Ok(false),
        Certainty::Waiting => Ok(true),
        Certainty::Void => Err(io::Error::other("it was given up")),
    }
}

/// Reads a whole file back from the medium and checks it; gives what it says of itself, or what is wrong with it.
pub(crate) async fn read_through(draft: &Rc<dyn Draft>) -> io::Result<Result<Found, String>> {
    let outcome = Arc::new(Mutex::new(Err("it was not read".to_string())));
    let told = Arc::clone(&outcome);
    let read = move |file: &mut dyn io::Read| {
        *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = verify(file);
    };
    draft.read_through(Box::new(read)).await?;
    let found = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok(found)
}

/// Reads a file to its end and compares it with what it says of itself.
fn verify(file: &mut dyn io::Read) -> Result<Found, String> {
    let mut verifier = Verifier::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if let Some(found) = verifier.feed(&buffer[..read])? {
            return Ok(found);
        }
    }
}

/// What a file says of itself at its beginning and its end.
pub type Found = (Option<Head>, Option<Foot>);

/// Checks a file piece by piece: checksum, form, number of keys, digest of what it holds.
pub struct Verifier {
    loader: Loader,
    database: usize,
    pub keys: u64,
    sums: Vec<u128>,
}

impl Default for Verifier {
    fn default() -> Verifier {
        let hash_key = ramkeep_engine::hash::HashKey([0, 0]);
        let limits = HashLimits { listpack_entries_max: 128, listpack_value_bytes_max: 64, hash_key };
        let sums = vec![0; ramkeep_engine::data::DATABASE_COUNT];
        Verifier { loader: Loader::new(limits), database: 0, keys: 0, sums }
    }
}

impl Verifier {
    /// Takes the file's next bytes, none at its end. Gives, once it was read and is right, what it says of itself.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Found>, String> {
        match bytes {
            [] => self.loader.feed_end(),
            bytes => self.loader.feed(bytes),
        }
        while let Some(item) = self.loader.next_item().map_err(|error| error.to_string())? {
            match item {
                Item::Database(number) => {
                    let number = usize::try_from(number).ok().filter(|number| *number < self.sums.len());
                    self.database = number.ok_or("a database that does not exist")?;
                }
                Item::Entry(entry) => {
                    self.keys += 1;
                    self.sums[self.database] = self.sums[self.database].wrapping_add(entry.digest());
                }
                Item::Unsupported { key, kind } => {
                    return Err(format!("'{}' is a {kind}", String::from_utf8_lossy(&key)));
                }
                Item::End { has_checksum: false } => return Err("it has no checksum".to_string()),
                Item::End { has_checksum: true } => {
                    let digest = ramkeep_engine::keyspace::combine_digests(self.sums.iter().copied());
                    let foot = self.loader.foot();
                    if foot.is_some_and(|foot| foot != Foot { keys: self.keys, digest }) {
                        return Err("its keys are not those that it tells of".to_string());
                    }
                    return Ok(Some((self.loader.head(), foot)));
                }
            }
        }
        Ok(None)
    }
}

/// Reads a snapshot of a directory and checks it. `told` hears how far it is.
pub async fn check(
    disk: &Rc<dyn Disk>,
    position: Position,
    told: &mut dyn FnMut(u64, u64),
) -> Result<VerifiedSnapshot, String> {
    let file = disk.open(&name_of(position)).await.map_err(|error| error.to_string())?;
    let size = file.len().map_err(|error| error.to_string())?;
    let mut verifier = Verifier::default();
    let mut offset = 0;
    loop {
        let bytes = file.read_at(offset, READ_BYTES).await.map_err(|error| error.to_string())?;
        offset += bytes.len() as u64;
        match verifier.feed(&bytes)? {
            Some((Some(head), Some(foot))) if head.position == position.0 => {
                return Ok(VerifiedSnapshot { head, foot, bytes: offset });
            }
            Some(_) => return Err("it is no snapshot of this position".to_string()),
            None => told(offset, size),
        }
        ramkeep_net::yield_now().await;
    }
}

/// Positions of the snapshots in a directory, the newest first.
pub async fn list(disk: &Rc<dyn Disk>) -> io::Result<Vec<Position>> {
    let mut positions: Vec<Position> =
        disk.list().await?.iter().filter_map(|name| position_of(name)).collect();
    positions.sort_unstable_by(|left, right| right.cmp(left));
    Ok(positions)
}

/// Removes all snapshots but the newest ones and those that somebody is using.
pub(crate) async fn remove_old(node: &Rc<Node>) {
    if node.shard.borrow().divergence().is_some() {
        // An older one may be the last that is right.
        return;
    }
    let kept = node.shard.borrow().engine.config.settings().snapshots_max;
    let disk = node.log.disk();
    let removed = async {
        let surplus = node.holdings.surplus(&list(disk).await?, kept);
        // Nobody begins to use one that goes.
        surplus.iter().for_each(|position| node.holdings.forget(*position));
        for position in &surplus {
            disk.remove(&name_of(*position)).await?;
        }
        if surplus.is_empty() { Ok(()) } else { disk.sync_dir().await }
    };
    if let Err(error) = removed.await {
        tracing::warn!(%error, "older snapshots stay");
    }
}

/// Loads the newest snapshot that is whole; gives its position and term, zero when there is none. A voter without data
/// only checks it. `told` hears how far it is.
pub async fn load_newest(
    node: &Rc<Node>,
    disk: &Rc<dyn Disk>,
    layout: &Layout,
    told: &mut dyn FnMut(u64, u64),
) -> io::Result<Option<VerifiedSnapshot>> {
    let is_log_only = node.shard.borrow().is_log_only();
    for position in list(disk).await? {
        let loaded = match is_log_only {
            false => load(node, disk, layout, position, told).await,
            true => rest_on(node, disk, layout, position, told).await,
        };
        match loaded {
            Ok(snapshot) => {
                node.holdings.add(snapshot.clone());
                return Ok(Some(snapshot));
            }
            // The one before it may do, if the log still reaches it: that is for recovery to find out.
            Err(error) => tracing::error!(name = name_of(position), %error, "this snapshot cannot be used"),
        }
    }
    node.shard.borrow_mut().begin_load();
    Ok(None)
}

async fn load(
    node: &Rc<Node>,
    disk: &Rc<dyn Disk>,
    layout: &Layout,
    position: Position,
    told: &mut dyn FnMut(u64, u64),
) -> io::Result<VerifiedSnapshot> {
    let place = place_of(layout);
    let file = disk.open(&name_of(position)).await?;
    let size = file.len()?;
    let mut load = node.shard.borrow_mut().begin_load();
    let mut offset = 0;
    let mut next = file.read_at(0, READ_BYTES);
    loop {
        let now = node.now();
        let step = node.shard.borrow_mut().load(&mut load, place, position, ITEMS_AT_ONCE, now);
        match step.map_err(|failure| io::Error::new(io::ErrorKind::InvalidData, failure.to_string()))? {
            Loading::Done(head, foot) => return Ok(VerifiedSnapshot { head, foot, bytes: size }),
            Loading::More => ramkeep_net::yield_now().await,
            Loading::NeedsBytes => {
                let bytes = next.await?;
                offset += bytes.len() as u64;
                next = file.read_at(offset, READ_BYTES);
                load.feed(&bytes);
                told(offset, size);
            }
        }
    }
}

/// Checks a snapshot whose content nobody needs in memory here.
async fn rest_on(
    node: &Rc<Node>,
    disk: &Rc<dyn Disk>,
    layout: &Layout,
    position: Position,
    told: &mut dyn FnMut(u64, u64),
) -> io::Result<VerifiedSnapshot> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let snapshot = check(disk, position, told).await.map_err(wrong)?;
    let place = place_of(layout);
    if (snapshot.head.shard, snapshot.head.cluster) != (place.shard, place.cluster) {
        return Err(wrong("it belongs to another shard or cluster".to_string()));
    }
    node.shard.borrow_mut().rest_on_snapshot(&snapshot.head, snapshot.foot);
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots_read_back_and_others_are_none() {
        assert_eq!(name_of(Position(27)), "snapshot-000000000000001b.rdb");
        assert_eq!(position_of(&name_of(Position(27))), Some(Position(27)));
        for other in ["vote", "snapshot-1.rdb", "log-000000000000001b", "snapshot-000000000000001b"] {
            assert_eq!(position_of(other), None);
        }
    }
}
