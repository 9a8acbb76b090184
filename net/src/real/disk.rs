//! The disk on files of the operating system.
//!
//! Lives here: [`RealDisk`] and its files. Not here: the threads (`worker`), what is in the files.
//!
//! Five threads per directory, each started when first needed: one only writes to log files, one makes
//! (zeroes) new files so that the writer never waits for that, one writes and reads back large files in the
//! making, one gives back the space of removed ones, one does everything else.
//!
//! Invariant: log files are open with O_DSYNC, so that a write has returned only when it is on the medium.
#![allow(clippy::disallowed_methods, reason = "the replacement itself")]

use super::paced::{Pace, Rested};
use super::retired::{self, Retired};
use super::system;
use super::worker::Worker;
use crate::disk::{Draft, Fence, LOCK_NAME, PARTIAL_SUFFIX, ReadJob, check_name};
use crate::{Disk, LocalFuture, LogFile};
use std::ffi::OsStr;
use std::fs::{File, FileType, OpenOptions, TryLockError};
use std::future::ready;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// Piece in which zeros are written.
const ZERO_BYTES: usize = 1 << 20;

/// A locked data directory.
pub struct RealDisk {
    directory: Arc<Path>,
    workers: Rc<Workers>,
    retired: Retired,
    /// Held open for its lock; `None` for a directory opened only for reading.
    lock: Option<Arc<File>>,
}

struct Workers {
    writer: Worker,
    allocator: Worker,
    drafts: Worker,
    sweeper: Worker,
    files: Worker,
}

impl RealDisk {
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        if let Some(parent) = directory.canonicalize()?.parent() {
            match sync_directory(parent) {
                // A directory made for us in a place that we may not read is its maker's to keep.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                outcome => outcome?,
            }
        }
        let lock = lock_directory(directory)?;
        for name in names(directory)? {
            if name.ends_with(PARTIAL_SUFFIX) {
                remove_file(&directory.join(name))?;
            }
        }
        // Whatever names are seen here count as there from now on, so they must be durable.
        sync_directory(directory)?;
        Ok(Self::new(directory, Some(Arc::new(lock))))
    }

    pub fn open_read_only(directory: &Path) -> io::Result<Self> {
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self::new(directory, None))
    }

    fn new(directory: &Path, lock: Option<Arc<File>>) -> Self {
        let workers = Workers {
            writer: Worker::new("log-writer"),
            allocator: Worker::new("allocator"),
            drafts: Worker::with_patience("drafts"),
            sweeper: Worker::with_patience("sweeper"),
            files: Worker::new("files"),
        };
        Self { directory: directory.into(), workers: Rc::new(workers), retired: Retired::default(), lock }
    }

    /// Runs `job` on the directory. It holds the lock until it has ended, even if the disk is dropped before.
    fn on_files<T: Send + 'static>(
        &self,
        worker: &Worker,
        is_change: bool,
        job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        if is_change && self.lock.is_none() {
            return Box::pin(ready(Err(io::ErrorKind::ReadOnlyFilesystem.into())));
        }
        let (directory, lock) = (Arc::clone(&self.directory), self.lock.clone());
        worker.submit(move || {
            let outcome = job(&directory);
            drop(lock);
            outcome
        })
    }

    fn log_file(&self) -> impl FnOnce(File) -> Rc<dyn LogFile> + use<> {
        let workers = Rc::clone(&self.workers);
        let lock = self.lock.clone();
        move |file| {
            Rc::new(RealFile { shared: Arc::new(Shared { file, fence: Fence::default(), lock }), workers })
        }
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str, bytes: u64) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        let name = name.to_owned();
        let file = self.on_files(&self.workers.allocator, true, move |directory| {
            check_name(&name)?;
            create_zeroed(directory, &name, bytes)
        });
        let wrap = self.log_file();
        Box::pin(async move { Ok(wrap(file.await?)) })
    }

    fn open(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        let (name, is_writable) = (name.to_owned(), self.lock.is_some());
        let file = self.on_files(&self.workers.files, false, move |directory| {
            check_name(&name)?;
            open_log_file(&directory.join(name), is_writable)
        });
        let wrap = self.log_file();
        Box::pin(async move { Ok(wrap(file.await?)) })
    }

    fn list(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        self.on_files(&self.workers.files, false, |directory| {
            let mut names = names(directory)?;
            names.retain(|name| check_name(name).is_ok());
            names.sort_unstable();
            Ok(names)
        })
    }

    fn rename(&self, from: &str, to: &str) -> LocalFuture<'static, io::Result<()>> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.on_files(&self.workers.files, true, move |directory| {
            check_name(&from)?;
            check_name(&to)?;
            rename_file(&directory.join(from), &directory.join(to))
        })
    }

    fn remove(&self, name: &str) -> LocalFuture<'static, io::Result<()>> {
        let (name, retired) = (name.to_owned(), self.retired.clone());
        self.on_files(&self.workers.files, true, move |directory| {
            check_name(&name)?;
            let path = directory.join(name);
            let held = Retired::hold(&path);
            remove_file(&path)?;
            held.into_iter().for_each(|file| retired.keep(file));
            Ok(())
        })
    }

    fn sync_dir(&self) -> LocalFuture<'static, io::Result<()>> {
        let (retired, workers) = (self.retired.clone(), Rc::clone(&self.workers));
        let gone = self.on_files(&self.workers.files, true, move |directory| {
            sync_directory(directory)?;
            Ok(retired.take())
        });
        Box::pin(async move {
            for file in gone.await? {
                // Its outcome interests nobody: the kernel frees what is left when the file is closed.
                drop(workers.sweeper.submit(move || retired::shrink(&file)));
            }
            Ok(())
        })
    }

    fn set_aside(&self, folder: &str, names: Vec<String>) -> LocalFuture<'static, io::Result<()>> {
        let folder = folder.to_owned();
        self.on_files(&self.workers.files, true, move |directory| {
            check_name(&folder)?;
            set_aside(directory, &directory.join(folder), &names)
        })
    }

    fn folders(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        self.on_files(&self.workers.files, false, |directory| {
            let mut names = names_of(directory, FileType::is_dir)?;
            names.retain(|name| check_name(name).is_ok());
            names.sort_unstable();
            Ok(names)
        })
    }

    fn read_file(&self, name: &str) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let name = name.to_owned();
        self.on_files(&self.workers.files, false, move |directory| {
            check_name(&name)?;
            std::fs::read(directory.join(name))
        })
    }

    fn write_file_atomic(&self, name: &str, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<()>> {
        let name = name.to_owned();
        self.on_files(&self.workers.files, true, move |directory| {
            check_name(&name)?;
            replace_file(directory, OsStr::new(&name), &bytes)
        })
    }

    fn draft(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn Draft>>> {
        let owned = name.to_owned();
        let file = self.on_files(&self.workers.drafts, true, move |directory| {
            check_name(&owned)?;
            begin_draft(&directory.join(format!("{owned}{PARTIAL_SUFFIX}")))
        });
        let (directory, name, lock) = (Arc::clone(&self.directory), name.to_owned(), self.lock.clone());
        let workers = Rc::clone(&self.workers);
        Box::pin(async move {
            let file = file.await?;
            let (fence, pace) = (Fence::default(), Mutex::new(Pace::leaving_cache()));
            let shared = DraftShared { file, pace, fence, directory, name, _lock: lock };
            let draft: Rc<dyn Draft> = Rc::new(RealDraft { shared: Arc::new(shared), workers });
            Ok(draft)
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        system::free_bytes(&self.directory)
    }
}

struct DraftShared {
    file: File,
    pace: Mutex<Pace>,
    fence: Fence,
    directory: Arc<Path>,
    name: String,
    /// The directory stays locked while the file may still be written.
    _lock: Option<Arc<File>>,
}

impl DraftShared {
    fn partial(&self) -> PathBuf {
        self.directory.join(format!("{}{PARTIAL_SUFFIX}", self.name))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.fence.check()?;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        self.fence.watch(pace.write(&self.file, bytes))
    }

    fn read_through(&self, job: ReadJob) -> io::Result<()> {
        self.fence.check()?;
        self.fence.watch(self.file.sync_data())?;
        // What is in the page cache proves nothing about the medium.
        system::drop_cached(&self.file, 0..self.file.metadata()?.len());
        job(&mut Rested::new(File::open(self.partial())?));
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.fence.check()?;
        let named = self.directory.join(&self.name);
        self.fence.watch(
            self.file
                .sync_all()
                .and_then(|()| rename_file(&self.partial(), &named))
                // A name that is seen and may go with the power would be believed by the next process.
                .and_then(|()| sync_directory(&self.directory).inspect_err(|_| drop(remove_file(&named)))),
        )
    }
}

struct RealDraft {
    shared: Arc<DraftShared>,
    workers: Rc<Workers>,
}

impl Draft for RealDraft {
    fn append(&self, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let shared = Arc::clone(&self.shared);
        self.workers.drafts.submit(move || shared.append(&bytes).map(|()| bytes))
    }

    fn read_through(&self, job: ReadJob) -> LocalFuture<'static, io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        self.workers.drafts.submit(move || shared.read_through(job))
    }

    fn finish(&self) -> LocalFuture<'static, io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        self.workers.drafts.submit(move || shared.finish())
    }

    fn abandon(&self) -> LocalFuture<'static, io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        self.workers.drafts.submit(move || remove_file(&shared.partial()))
    }
}

fn begin_draft(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

/// What the threads share of an open file.
struct Shared {
    file: File,
    fence: Fence,
    /// The directory stays locked while any of its files may still be written.
    lock: Option<Arc<File>>,
}

impl Shared {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fence.check()?;
        if self.lock.is_none() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.fence.watch(self.file.write_all_at(bytes, offset).and_then(|()| self.flush_drive()))
    }

    /// Apple's O_DSYNC stops at the drive's cache.
    fn flush_drive(&self) -> io::Result<()> {
        if cfg!(target_vendor = "apple") { self.file.sync_data() } else { Ok(()) }
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.fence.check()?;
        // Never more than the file has: the length may come from damaged bytes.
        let rest = self.file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; length.min(usize::try_from(rest).unwrap_or(usize::MAX))];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

struct RealFile {
    shared: Arc<Shared>,
    workers: Rc<Workers>,
}

impl LogFile for RealFile {
    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let shared = Arc::clone(&self.shared);
        self.workers.writer.submit(move || shared.write(offset, &bytes).map(|()| bytes))
    }

    fn write_now(&self, offset: u64, bytes: &[u8]) -> Option<io::Result<()>> {
        Some(self.shared.write(offset, bytes))
    }

    fn read_at(&self, offset: u64, length: usize) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let shared = Arc::clone(&self.shared);
        self.workers.files.submit(move || shared.read(offset, length))
    }

    fn len(&self) -> io::Result<u64> {
        self.shared.fence.check()?;
        Ok(self.shared.file.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> LocalFuture<'static, io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        self.workers.writer.submit(move || {
            shared.fence.check()?;
            if shared.lock.is_none() {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            shared.fence.watch(shared.file.set_len(length).and_then(|()| shared.file.sync_all()))
        })
    }
}

fn lock_directory(directory: &Path) -> io::Result<File> {
    let path = directory.join(LOCK_NAME);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "{} is in use by another process, which holds the lock on {}",
                directory.display(),
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn set_aside(directory: &Path, folder: &Path, names: &[String]) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => sync_directory(directory)?,
    }
    for name in names {
        check_name(name)?;
        rename_file(&directory.join(name), &folder.join(name))?;
    }
    sync_directory(folder)?;
    sync_directory(directory)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    names_of(directory, FileType::is_file)
}

fn names_of(directory: &Path, is_wanted: fn(&FileType) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if is_wanted(&entry.file_type()?)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes the file under a name that recovery removes, and gives it its own name only when it is whole.
fn create_zeroed(directory: &Path, name: &str, bytes: u64) -> io::Result<File> {
    let path = directory.join(name);
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let partial = directory.join(format!("{name}{PARTIAL_SUFFIX}"));
    let outcome = write_zeros(&partial, bytes)
        .and_then(|()| rename_file(&partial, &path))
        .and_then(|()| sync_directory(directory))
        .and_then(|()| open_log_file(&path, true));
    if outcome.is_err() {
        // The first error is what the caller must hear of; leftovers go at the next opening too.
        let _ = remove_file(&partial);
        let _ = remove_file(&path);
    }
    outcome
}

fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; ZERO_BYTES];
    let mut pace = Pace::default();
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(ZERO_BYTES as u64) as usize;
        pace.write(&file, &zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

fn open_log_file(path: &Path, is_writable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    if is_writable {
        options.write(true).custom_flags(libc::O_DSYNC);
    }
    options.open(path)
}

/// Writes a file beside the old one, then puts it in its place.
pub fn replace_file(directory: &Path, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let mut partial_name = name.to_owned();
    partial_name.push(PARTIAL_SUFFIX);
    let partial: PathBuf = directory.join(partial_name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename_file(&partial, &directory.join(name))
    };
    let outcome: io::Result<()> = write();
    if outcome.is_err() {
        let _ = remove_file(&partial);
    }
    outcome?;
    sync_directory(directory)
}

fn rename_file(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

fn remove_file(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
