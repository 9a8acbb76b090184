//! What the log and small state files need of a disk.
//!
//! Lives here: the traits [`Disk`], [`LogFile`] and [`Draft`], and [`Fence`], which keeps a file failed once it has failed.
//! Not here: files of the operating system (`real`), the simulated disk (`simdisk`), formats.
//!
//! Invariant: a completed write is durable, and after one failed write or sync nothing more is promised
//! about that file: every later call on it fails.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A future of one thread, boxed so that the traits stay usable as `dyn`.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Ending of names that are still being made; such files vanish when the directory is opened and are never listed.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// Name of the file whose lock keeps a second process out of the directory; never listed.
pub const LOCK_NAME: &str = "LOCK";

/// One data directory, locked for this process. Names are plain file names without a path.
///
/// Each operation is durable when its future completes unless said otherwise. A started operation goes on
/// when its future is dropped.
pub trait Disk {
    /// Makes a file of `bytes` written zeros, synced, its name synced too. Fails with `AlreadyExists` when
    /// the name is taken; on any error (`StorageFull` among them) no file of that name is left.
    fn create(&self, name: &str, bytes: u64) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>>;

    /// Names of all finished files, sorted.
    fn list(&self) -> LocalFuture<'static, io::Result<Vec<String>>>;

    /// Renames, replacing `to` if it exists. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> LocalFuture<'static, io::Result<()>>;

    /// Removes a name. Durable only after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> LocalFuture<'static, io::Result<()>>;

    /// Makes all renames and removals so far durable.
    fn sync_dir(&self) -> LocalFuture<'static, io::Result<()>>;

    /// Moves finished files into a folder of the directory, which is made if there is none. After a crash each of them is
    /// in the one place or the other. What is in folders is never listed, changed or removed.
    fn set_aside(&self, folder: &str, names: Vec<String>) -> LocalFuture<'static, io::Result<()>>;

    /// Names of the folders that hold something set aside, sorted.
    fn folders(&self) -> LocalFuture<'static, io::Result<Vec<String>>>;

    /// The whole content of a small file.
    fn read_file(&self, name: &str) -> LocalFuture<'static, io::Result<Vec<u8>>>;

    /// Replaces a small file: after a crash it holds either the old content or all of the new one.
    fn write_file_atomic(&self, name: &str, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<()>>;

    /// Begins a file of unknown length. It has a name only after [`Draft::finish`]; one that is not finished is
    /// gone at the next opening.
    fn draft(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn Draft>>>;

    /// Bytes that an unprivileged process may still write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Reads a whole file on a thread that may stand still; what it finds it keeps to itself.
pub type ReadJob = Box<dyn FnOnce(&mut dyn io::Read) + Send>;

/// A large file in the making. Its operations happen in the order of their calls, beside those of other files.
pub trait Draft {
    /// Adds bytes at the end. Those of the call before are with the device when the future completes, so that little
    /// is on its way at any time; none are durable before [`Draft::read_through`] or [`Draft::finish`]. Gives the
    /// buffer back for reuse.
    fn append(&self, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>>;

    /// Makes what was appended durable and reads it from the start, from the medium.
    fn read_through(&self, job: ReadJob) -> LocalFuture<'static, io::Result<()>>;

    /// Gives the file its name, replacing a file of that name, durably. Nothing is appended any more. After an error no file
    /// of that name is seen: the next process would believe it, and the power might take it away.
    fn finish(&self) -> LocalFuture<'static, io::Result<()>>;

    /// Removes what there is.
    fn abandon(&self) -> LocalFuture<'static, io::Result<()>>;
}

/// One open file of fixed place, written in pieces that are durable when the call completes.
///
/// Writes of one directory happen one after another in the order of their calls.
pub trait LogFile {
    /// Writes all of `bytes` and makes them durable; gives the buffer back for reuse. A write that has been
    /// called happens even if the future is dropped.
    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>>;

    /// Writes durably on the caller's thread, which stands still meanwhile. `None` where the back end cannot
    /// do that; nothing is written then. The caller sees to it that no [`LogFile::write_at`] is under way.
    fn write_now(&self, offset: u64, bytes: &[u8]) -> Option<io::Result<()>>;

    /// Up to `length` bytes from `offset`, fewer only at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> LocalFuture<'static, io::Result<Vec<u8>>>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// True if the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeros) to `length`, durably.
    fn truncate(&self, length: u64) -> LocalFuture<'static, io::Result<()>>;
}

/// Remembers the first failure of a file.
///
/// After a failed sync the kernel may have dropped the pages and marked them clean, so trying again could
/// succeed without anything having been written.
#[derive(Debug, Default)]
pub struct Fence {
    failure: Mutex<Option<(io::ErrorKind, String)>>,
}

impl Fence {
    /// An error of the first failure's kind, if there was one.
    pub fn check(&self) -> io::Result<()> {
        match &*self.failure() {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(
                *kind,
                format!("file is closed to further use after a failed write: {text}"),
            )),
        }
    }

    /// Passes `outcome` on and keeps its error.
    pub fn watch<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            self.failure().get_or_insert_with(|| (error.kind(), error.to_string()));
        }
        outcome
    }

    fn failure(&self) -> MutexGuard<'_, Option<(io::ErrorKind, String)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses names that would leave the directory or collide with our own bookkeeping.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if is_plain && name != LOCK_NAME && !name.ends_with(PARTIAL_SUFFIX) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a name for a data file: {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_keeps_the_first_failure_and_its_kind() {
        let fence = Fence::default();
        assert!(fence.check().is_ok());
        assert!(fence.watch::<()>(Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(fence.watch::<()>(Err(io::ErrorKind::NotFound.into())).is_err());
        assert_eq!(fence.check().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn names_stay_inside_the_directory() {
        for bad in ["", ".", "..", "a/b", "LOCK", "x.partial", ".hidden", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("log-0001").is_ok());
    }
}
