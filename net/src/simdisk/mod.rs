//! A disk that forgets, lies and breaks, all from a seed.
//!
//! Lives here: [`SimDisk`], a whole disk as plain data: what processes see, what is on the medium, and what a
//! power loss makes of the difference. `content` holds one file's bytes, `faults` the rates and counts. No
//! runtime: the simulated back end adds only the waiting, any test can drive it by hand, and [`SteppedDisk`] ends
//! after any number of steps.
//! Not here: [`Disk`](crate::Disk) itself, fault schedules, what is in the files.
//!
//! Model: a write changes the page cache; a sync makes sectors durable one by one; names live apart from
//! contents and become durable in order, by a sync of the directory. A power loss keeps a random subset of what
//! was not synced, torn inside a sector, and a prefix of the name changes. A killed process loses nothing
//! that the kernel already had; its writes under way happen, do not happen, or happen in part.
//!
//! Invariant: the same seed and calls give the same outcome, and with all rates at 0 nothing synced is lost.

mod content;
mod faults;
mod sectors;
mod stepped;
#[cfg(test)]
mod tests;

pub use faults::{FaultCounts, Faults, Latency, Operation};
pub use stepped::SteppedDisk;

use crate::random::{Draw, mix};
use content::Content;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Sector sizes that the model is tested with.
pub const SECTOR_BYTES: [usize; 2] = [512, 4096];

/// One file's content, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(u64);

/// A write that has been begun and not yet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(u64);

/// The whole disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    /// Rates and delays; may be changed at any time.
    pub faults: Faults,
    counts: FaultCounts,
    sector_bytes: usize,
    capacity_bytes: u64,
    rng: ChaCha8Rng,
    contents: BTreeMap<FileId, Content>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    unsynced_names: Vec<NameChange>,
    writes: BTreeMap<WriteId, Write>,
    /// Per file: how many writes have been synced, and where the last of them lies.
    finished: BTreeMap<FileId, Finished>,
    /// The next sector to become durable lands on another's place.
    misdirects_next: bool,
    next_id: u64,
}

/// Synced writes of one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finished {
    /// How many.
    pub count: u64,
    /// Where the last of them begins.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(String, FileId),
    /// With the file: the new name does not rest on the old one having been durable.
    Rename(String, String, FileId),
    Remove(String),
}

#[derive(Debug, Clone)]
struct Write {
    file: FileId,
    offset: u64,
    bytes: Vec<u8>,
    is_applied: bool,
}

impl SimDisk {
    /// An empty disk with sectors of `sector_bytes`, without faults.
    pub fn new(rng: ChaCha8Rng, sector_bytes: usize, capacity_bytes: u64) -> Self {
        assert!(sector_bytes.is_power_of_two(), "sectors are a power of two");
        Self {
            faults: Faults::default(),
            counts: FaultCounts::default(),
            sector_bytes,
            capacity_bytes,
            rng,
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            writes: BTreeMap::new(),
            finished: BTreeMap::new(),
            misdirects_next: false,
            next_id: 0,
        }
    }

    /// How often each fault has really happened.
    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// Smallest piece that the medium keeps or loses.
    pub fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    /// Changes the room of the disk; less than is used means that nothing may grow.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    /// Bytes left.
    pub fn free_bytes(&self) -> u64 {
        let named: BTreeSet<FileId> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        let used: u64 = named.iter().map(|file| self.contents[file].len()).sum();
        self.capacity_bytes.saturating_sub(used)
    }

    /// How long the next operation takes, in nanoseconds.
    pub fn draw_latency_ns(&mut self, operation: Operation) -> u64 {
        self.faults.latency.draw(operation, &mut self.rng, &mut self.counts)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // ---- names -------------------------------------------------------------------------------------------

    /// The file of this name, if there is one.
    pub fn find(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Folders below a prefix: the disk itself knows only names.
    pub(crate) fn folders(&self, prefix: &str) -> Vec<String> {
        let inner = self.names.keys().filter_map(|name| name.strip_prefix(prefix)?.split_once('/'));
        let mut folders: Vec<String> = inner.map(|(folder, _)| folder.to_owned()).collect();
        folders.dedup();
        folders
    }

    /// Makes an empty file, emptying one of the same name. Its name is not durable yet.
    pub fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.free_bytes() == 0 {
            return Err(self.no_space());
        }
        let file = FileId(self.fresh_id());
        self.contents.insert(file, Content::new(self.sector_bytes));
        self.change_names(NameChange::Put(name.to_owned(), file));
        Ok(file)
    }

    /// Renames, replacing `to`. Not durable yet.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from)?;
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    /// Removes a name. Not durable yet.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        self.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Makes all changes of names durable. After a failure they stay as they are seen and go at a power loss.
    pub fn sync_directory(&mut self) -> io::Result<()> {
        let changes = std::mem::take(&mut self.unsynced_names);
        if self.rng.chance(self.faults.sync_error) {
            self.counts.sync_errors += 1;
            return Err(input_output_error());
        }
        if self.rng.chance(self.faults.sync_lie) {
            self.counts.sync_lies += 1;
            self.unsynced_names = changes;
            return Ok(());
        }
        changes.iter().for_each(|change| change.apply(&mut self.durable_names));
        self.forget_nameless(|content| content.opened > 0);
        Ok(())
    }

    /// Another disk, with nothing on it, is in its place: nothing comes back, not even what a failed sync had left behind.
    /// No process has a file of it open.
    pub fn replaced(&mut self) {
        self.names.clear();
        self.durable_names.clear();
        self.unsynced_names.clear();
        self.writes.clear();
        self.forget_nameless(|_| false);
    }

    fn forget_nameless(&mut self, is_kept: impl Fn(&Content) -> bool) {
        let named: BTreeSet<FileId> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        let written: BTreeSet<FileId> = self.writes.values().map(|write| write.file).collect();
        self.contents
            .retain(|file, content| named.contains(file) || written.contains(file) || is_kept(content));
        self.finished.retain(|file, _| self.contents.contains_key(file));
    }

    // ---- contents ----------------------------------------------------------------------------------------

    /// Keeps the content while its file is open, even without a name.
    pub fn opened(&mut self, file: FileId) {
        if let Some(content) = self.contents.get_mut(&file) {
            content.opened += 1;
        }
    }

    /// Ends one [`SimDisk::opened`].
    pub fn closed(&mut self, file: FileId) {
        if let Some(content) = self.contents.get_mut(&file) {
            content.opened = content.opened.saturating_sub(1);
        }
    }

    fn content(&mut self, file: FileId) -> io::Result<&mut Content> {
        self.contents.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Length as processes see it.
    pub fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.contents.get(&file).ok_or(io::ErrorKind::NotFound)?.len())
    }

    /// What processes see of these bytes; fewer only at the end of the file.
    pub fn read(&mut self, file: FileId, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let is_error = self.rng.chance(self.faults.read_error);
        let place = self.rng.below(u64::MAX);
        let content = self.content(file)?;
        let end = content.len().min(offset.saturating_add(length as u64));
        if end <= offset {
            return Ok(Vec::new());
        }
        if is_error {
            let sectors = content.sectors(offset, end - offset);
            let count = sectors.end - sectors.start;
            content.unreadable.insert(sectors.start + place % count);
        }
        if content.sectors(offset, end - offset).any(|sector| content.unreadable.contains(&sector)) {
            self.counts.read_errors += 1;
            return Err(input_output_error());
        }
        Ok(content.cached[offset as usize..end as usize].to_vec())
    }

    /// Takes a write in. Nothing of it is visible yet.
    pub fn begin_write(&mut self, file: FileId, offset: u64, bytes: Vec<u8>) -> io::Result<WriteId> {
        self.content(file)?;
        let write = WriteId(self.fresh_id());
        self.writes.insert(write, Write { file, offset, bytes, is_applied: false });
        Ok(write)
    }

    /// Second step: the bytes are in the page cache, visible and not durable. Without room for all of them the
    /// part that fits is written. A failed write is over.
    pub fn apply_write(&mut self, write: WriteId) -> io::Result<()> {
        self.write_back();
        let Some(mut entry) = self.writes.remove(&write) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let is_error = self.rng.chance(self.faults.write_error);
        let end = entry.offset.saturating_add(entry.bytes.len() as u64);
        let growth = end.saturating_sub(self.len(entry.file)?);
        let missing = growth.saturating_sub(self.free_bytes()).min(entry.bytes.len() as u64) as usize;
        let mut kept = entry.bytes.len() - missing;
        if is_error {
            kept = self.rng.below(kept as u64 + 1) as usize;
        }
        if kept > 0 {
            self.content(entry.file)?.write(entry.offset, &entry.bytes[..kept]);
        }
        if is_error {
            self.counts.write_errors += 1;
            return Err(input_output_error());
        }
        if missing > 0 {
            return Err(self.no_space());
        }
        entry.is_applied = true;
        self.writes.insert(write, entry);
        Ok(())
    }

    /// Last step: makes the written sectors durable (as O_DSYNC does) and gives the buffer back.
    pub fn finish_write(&mut self, write: WriteId) -> io::Result<Vec<u8>> {
        let Some(entry) = self.writes.remove(&write) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        assert!(entry.is_applied, "a write is applied before it is synced");
        if self.is_sync_forgotten(entry.file) {
            return Ok(entry.bytes);
        }
        let sectors = self.content(entry.file)?.sectors(entry.offset, entry.bytes.len() as u64);
        self.sync_sectors(entry.file, |sector| sectors.contains(&sector))?;
        let finished = self.finished.entry(entry.file).or_default();
        finished.count += 1;
        finished.offset = entry.offset;
        finished.end = entry.offset + entry.bytes.len() as u64;
        Ok(entry.bytes)
    }

    fn is_sync_forgotten(&self, file: FileId) -> bool {
        let Some(prefix) = self.faults.unsynced_prefix else { return false };
        self.names.iter().any(|(name, named)| *named == file && name.starts_with(prefix))
    }

    /// Bytes of the largest write that has been begun and is not durable; zeros at its end are not counted.
    pub fn bytes_under_way(&self) -> u64 {
        let used = |write: &Write| write.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.writes.values().map(used).max().unwrap_or(0) as u64
    }

    /// Whether a write of this file has been begun and not ended.
    pub fn is_written(&self, file: FileId) -> bool {
        self.writes.values().any(|write| write.file == file)
    }

    /// Synced writes of the file of this name.
    pub fn finished(&self, name: &str) -> Finished {
        let file = self.names.get(name);
        file.and_then(|file| self.finished.get(file)).copied().unwrap_or_default()
    }

    /// Where the last byte of this file that is not zero ends.
    pub fn used_bytes(&self, name: &str) -> u64 {
        let content = self.names.get(name).map(|file| &self.contents[file]);
        let last = content.and_then(|content| content.cached.iter().rposition(|byte| *byte != 0));
        last.map_or(0, |last| last as u64 + 1)
    }

    /// All three steps of a write without the last: visible, not durable.
    pub fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = self.begin_write(file, offset, bytes.to_vec())?;
        self.apply_write(write)?;
        self.writes.remove(&write);
        Ok(())
    }

    /// Cuts or extends with zeros. Not durable yet.
    pub fn truncate(&mut self, file: FileId, length: u64) -> io::Result<()> {
        if length.saturating_sub(self.len(file)?) > self.free_bytes() {
            return Err(self.no_space());
        }
        self.content(file)?.set_len(length);
        Ok(())
    }

    /// Makes all of a file's content durable. After a failure nothing of the rest is tried again: it stays
    /// visible and goes at the next power loss.
    pub fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.content(file)?;
        if self.is_sync_forgotten(file) {
            return Ok(());
        }
        self.sync_sectors(file, |_| true)
    }

    fn sync_sectors(&mut self, file: FileId, is_meant: impl Fn(u64) -> bool) -> io::Result<()> {
        let is_error = self.rng.chance(self.faults.sync_error);
        if !is_error && self.rng.chance(self.faults.sync_lie) {
            self.counts.sync_lies += 1;
            return Ok(());
        }
        let content = self.contents.get_mut(&file).expect("checked by the caller");
        let sectors: Vec<u64> = content.dirty.iter().filter(|sector| is_meant(*sector)).collect();
        let is_faultless = !is_error && !self.misdirects_next && self.faults.misdirected_write == 0.0;
        if is_faultless && sectors.len() == content.dirty.iter().count() {
            content.persist_all();
            content.persist_len();
            return Ok(());
        }
        for sector in sectors {
            if is_error && self.rng.chance(0.5) {
                self.contents.get_mut(&file).expect("checked above").give_up(sector);
            } else {
                self.persist(file, sector);
            }
        }
        let content = self.contents.get_mut(&file).expect("checked above");
        if is_error {
            self.counts.sync_errors += 1;
            content.is_len_dirty = false;
            return Err(input_output_error());
        }
        content.persist_len();
        Ok(())
    }

    /// Puts one sector on the medium, or onto a wrong place of it.
    fn persist(&mut self, file: FileId, sector: u64) {
        let is_wrong =
            std::mem::take(&mut self.misdirects_next) || self.rng.chance(self.faults.misdirected_write);
        let wrong = is_wrong.then(|| self.draw_sector()).flatten();
        let content = self.contents.get_mut(&file).expect("a file being synced exists");
        match wrong.filter(|wrong| *wrong != (file, sector)) {
            None => content.persist(sector),
            Some((wrong_file, wrong_sector)) => {
                let bytes = content.cached_sector(sector);
                content.give_up(sector);
                self.contents.get_mut(&wrong_file).expect("drawn from them").overwrite(wrong_sector, &bytes);
                self.counts.writes_misdirected += 1;
            }
        }
    }

    /// A sector of any file that has some.
    fn draw_sector(&mut self) -> Option<(FileId, u64)> {
        let total: u64 = self.contents.values().map(Content::sector_count).sum();
        let mut index = self.rng.below(total);
        for (file, content) in &self.contents {
            match index.checked_sub(content.sector_count()) {
                None => return Some((*file, index)),
                Some(rest) => index = rest,
            }
        }
        None
    }

    /// The kernel writes some sectors back on its own, so that a lost one may hold an older unsynced version.
    fn write_back(&mut self) {
        if !self.rng.chance(self.faults.write_back) {
            return;
        }
        for content in self.contents.values_mut() {
            let dirty: Vec<u64> = content.dirty.iter().collect();
            for sector in dirty {
                if self.rng.chance(0.5) {
                    content.persist(sector);
                }
            }
        }
    }

    fn no_space(&mut self) -> io::Error {
        self.counts.no_space += 1;
        io::Error::from_raw_os_error(libc::ENOSPC)
    }

    // ---- verbs -------------------------------------------------------------------------------------------

    /// The process dies: each write that the kernel does not have yet happens, does not happen, or happens in
    /// part. What the kernel has stays readable, durable or not. A sector may rot.
    pub fn kill(&mut self) {
        self.counts.kills += 1;
        for (_, write) in std::mem::take(&mut self.writes) {
            if write.is_applied {
                continue;
            }
            let length = write.bytes.len() as u64;
            let mut kept = match self.rng.below(3) {
                0 => 0,
                1 => length,
                _ => self.rng.below(length + 1),
            };
            // Without room the kernel takes only what fits.
            let free = self.free_bytes();
            if let Some(content) = self.contents.get_mut(&write.file) {
                kept = kept.min(content.len().saturating_sub(write.offset).saturating_add(free));
                if kept > 0 {
                    content.write(write.offset, &write.bytes[..kept as usize]);
                }
                self.counts.writes_cut += u64::from(kept < length);
            }
        }
        self.contents.values_mut().for_each(|content| content.opened = 0);
        self.rot_by_chance();
    }

    /// The machine dies: a random subset of unsynced sectors is kept, some torn; of the unsynced changes of
    /// names a prefix. Nothing else of what was only in memory is left.
    pub fn power_loss(&mut self) {
        self.counts.power_losses += 1;
        for write in std::mem::take(&mut self.writes).into_values() {
            // A write under way may have reached the medium in any subset of its sectors.
            let fits =
                self.len(write.file).is_ok_and(|length| write.offset + write.bytes.len() as u64 <= length);
            if !write.is_applied
                && (fits || write.bytes.len() as u64 <= self.free_bytes())
                && let Some(content) = self.contents.get_mut(&write.file)
            {
                content.write(write.offset, &write.bytes);
            }
        }
        let kept_names = self.rng.below(self.unsynced_names.len() as u64 + 1) as usize;
        self.counts.name_changes_lost += (self.unsynced_names.len() - kept_names) as u64;
        for change in std::mem::take(&mut self.unsynced_names).into_iter().take(kept_names) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        // All, none, or each with a chance of its own: the extremes are likely enough to be seen.
        let kept = match self.rng.below(4) {
            0 => 0.0,
            1 => 1.0,
            _ => self.rng.below(1000) as f64 / 1000.0,
        };
        for content in self.contents.values_mut() {
            content.lose_power(kept, self.faults.torn_sector, &mut self.rng, &mut self.counts);
        }
        self.forget_nameless(|_| false);
        self.rot_by_chance();
    }

    fn rot_by_chance(&mut self) {
        if self.rng.chance(self.faults.bit_rot)
            && let Some((file, sector)) = self.draw_sector()
        {
            let bit = self.rng.below(self.sector_bytes as u64 * 8);
            self.flip(file, sector * self.sector_bytes as u64 + bit / 8, 1 << (bit % 8));
        }
    }

    /// Flips one bit of the byte at `offset`, on the medium and in what is read from now on.
    pub fn rot(&mut self, name: &str, offset: u64) -> io::Result<()> {
        let file = self.find(name)?;
        if offset >= self.len(file)? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mask = 1 << self.rng.below(8);
        self.flip(file, offset, mask);
        Ok(())
    }

    fn flip(&mut self, file: FileId, offset: u64, mask: u8) {
        let content = self.contents.get_mut(&file).expect("found by the caller");
        if content.flip(offset, mask) {
            self.counts.bits_rotted += 1;
        }
    }

    /// The next sector to become durable, of whatever file, lands on another's place.
    pub fn misdirect_next(&mut self) {
        self.misdirects_next = true;
    }

    /// From now on the sector at `offset` cannot be read, until it is written again.
    pub fn make_unreadable(&mut self, name: &str, offset: u64) -> io::Result<()> {
        let file = self.find(name)?;
        let sector = offset / self.sector_bytes as u64;
        self.content(file)?.unreadable.insert(sector);
        Ok(())
    }

    /// True if some content or name would not survive a power loss for certain.
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced_names.is_empty()
            || self.contents.values().any(|content| !content.dirty.is_empty() || content.is_len_dirty)
    }

    /// A number over all names and bytes, seen and durable, for comparing two runs.
    pub fn digest(&self) -> u64 {
        let mut digest = 0;
        for (names, is_durable) in [(&self.names, false), (&self.durable_names, true)] {
            for (name, file) in names {
                digest = name.bytes().fold(mix(digest), |digest, byte| mix(digest ^ u64::from(byte)));
                digest = self.contents[file].digest(digest, is_durable);
            }
        }
        digest
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Put(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}
