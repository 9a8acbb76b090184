//! The disk traits on the simulated disk: the same steps as the real back end, with delays between them.
//!
//! Lives here: [`NodeDisk`] and its files, and the queues that stand for the real back end's threads.
//! Not here: what is lost and when (`simdisk`).
//!
//! Invariant: between any two steps the process may be killed or the power go; each step by itself is whole.

use super::time::pause_ns;
use super::world::{NodeId, Shared, World};
use crate::disk::{Draft, Fence, PARTIAL_SUFFIX, ReadJob, check_name};
use crate::random::mix;
use crate::simdisk::{FileId, Operation, SimDisk};
use crate::{Disk, LocalFuture, LogFile, Notify, oneshot};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;

/// A place at which a process may end.
pub const WRITTEN_NOT_SYNCED: &str = "written, not synced";
/// Before every single step of a disk: a story counts them, and ends a process at each.
pub const DISK_STEP: &str = "step of the disk";
/// Piece in which zeros are written.
const ZERO_BYTES: u64 = 1 << 20;

/// One directory of a node's disk.
pub struct NodeDisk {
    inner: Rc<Inner>,
}

struct Inner {
    shared: Rc<Shared>,
    node: NodeId,
    boot: u64,
    /// It was opened by a process of the node.
    is_of_process: bool,
    core: Rc<RefCell<SimDisk>>,
    directory: String,
    is_writable: bool,
    writer: Worker,
    allocator: Worker,
    drafts: Worker,
    files: Worker,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.change(|state, _| {
            let node = state.node_mut(self.node);
            if self.is_writable && node.boot == self.boot {
                node.locked_directories.remove(&self.directory);
            }
        });
        [&self.writer, &self.allocator, &self.drafts, &self.files].into_iter().for_each(Worker::close);
    }
}

/// Stands for a thread: runs jobs one at a time in the order of their submission.
struct Worker {
    queue: Rc<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: RefCell<VecDeque<Option<LocalFuture<'static, ()>>>>,
    filled: Notify,
}

impl Worker {
    fn start() -> Self {
        let queue = Rc::<Queue>::default();
        let jobs = Rc::clone(&queue);
        drop(super::spawn(async move {
            loop {
                let job = jobs.jobs.borrow_mut().pop_front();
                match job {
                    Some(Some(job)) => job.await,
                    Some(None) => return,
                    None => jobs.filled.notified().await,
                }
            }
        }));
        Self { queue }
    }

    fn submit<T: 'static>(
        &self,
        job: impl Future<Output = io::Result<T>> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let (done, outcome) = oneshot::channel();
        self.push(Some(Box::pin(async move { drop(done.send(job.await)) })));
        Box::pin(
            async move { outcome.await.unwrap_or_else(|_| Err(io::Error::other("the process has ended"))) },
        )
    }

    fn close(&self) {
        self.push(None);
    }

    fn push(&self, job: Option<LocalFuture<'static, ()>>) {
        self.queue.jobs.borrow_mut().push_back(job);
        self.queue.filled.notify_one();
    }
}

impl NodeDisk {
    pub fn open(shared: Rc<Shared>, node: NodeId, directory: &str) -> io::Result<Self> {
        let is_free =
            shared.change(|state, _| state.node_mut(node).locked_directories.insert(directory.to_owned()));
        if !is_free {
            let text = format!("{directory} is in use by another process");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        let disk = Self::new(shared, node, directory, true);
        disk.inner.clean()?;
        Ok(disk)
    }

    pub fn open_read_only(shared: Rc<Shared>, node: NodeId, directory: &str) -> Self {
        Self::new(shared, node, directory, false)
    }

    fn new(shared: Rc<Shared>, node: NodeId, directory: &str, is_writable: bool) -> Self {
        let (boot, is_of_process, core) = {
            let state = shared.state.borrow();
            let node = state.node(node);
            (node.boot, node.is_running(), Rc::clone(&node.disk))
        };
        let inner = Inner {
            shared,
            node,
            boot,
            is_of_process,
            core,
            directory: directory.trim_end_matches('/').to_owned(),
            is_writable,
            writer: Worker::start(),
            allocator: Worker::start(),
            drafts: Worker::start(),
            files: Worker::start(),
        };
        Self { inner: Rc::new(inner) }
    }
}

impl Inner {
    /// Removes what was being made when the node went down, and makes sure of the names that are there.
    fn clean(&self) -> io::Result<()> {
        let mut core = self.core.borrow_mut();
        let prefix = self.path("");
        for name in core.names() {
            if name.starts_with(&prefix) && name.ends_with(PARTIAL_SUFFIX) {
                core.remove(&name)?;
            }
        }
        core.sync_directory()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) }
    }

    /// One step: waits as long as it takes, then does it.
    async fn step<T>(
        &self,
        kind: &'static str,
        operation: Operation,
        step: impl FnOnce(&mut SimDisk) -> io::Result<T>,
    ) -> io::Result<T> {
        let delay_ns = self.core.borrow_mut().draw_latency_ns(operation);
        pause_ns(delay_ns).await;
        if self.ends_at(DISK_STEP) {
            std::future::pending::<()>().await;
        }
        let outcome = step(&mut self.core.borrow_mut());
        self.record(kind, &[u64::from(outcome.is_ok())]);
        outcome
    }

    /// One step during which the process stands still.
    fn step_standing<T>(
        &self,
        kind: &'static str,
        operation: Operation,
        step: impl FnOnce(&mut SimDisk) -> io::Result<T>,
    ) -> io::Result<T> {
        let delay_ns = self.core.borrow_mut().draw_latency_ns(operation);
        self.shared.stand_still(delay_ns);
        if self.ends_at(DISK_STEP) {
            return Err(ended());
        }
        let outcome = step(&mut self.core.borrow_mut());
        self.record(kind, &[u64::from(outcome.is_ok())]);
        outcome
    }

    /// Whether the process ends at this place. What its code does before its next wait must not reach the disk.
    fn ends_at(&self, name: &'static str) -> bool {
        World::of(Rc::clone(&self.shared)).visit(self.node, name);
        self.has_ended()
    }

    /// Whether it, or its machine, ends because a write like those under way was waited for.
    fn ends_where_aimed(&self, is_last: bool) -> bool {
        let bytes = self.core.borrow().bytes_under_way();
        World::of(Rc::clone(&self.shared)).hit(self.node, bytes, is_last);
        self.has_ended()
    }

    fn has_ended(&self) -> bool {
        let state = self.shared.state.borrow();
        let node = state.node(self.node);
        self.is_of_process && (node.boot != self.boot || !node.is_running())
    }

    fn record(&self, kind: &'static str, numbers: &[u64]) {
        self.shared.state.borrow().record(self.shared.now_ns(), kind, self.node, numbers);
    }

    async fn write_new(&self, path: &str, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let file = self.step("disk.create", Operation::Names, |core| core.create(path)).await?;
        let mut offset = 0;
        for piece in pieces {
            self.step("disk.write", Operation::Write, |core| core.write(file, offset, &piece)).await?;
            offset += piece.len() as u64;
        }
        self.step("disk.sync", Operation::Sync, |core| core.sync(file)).await
    }

    /// Makes a file beside and puts it in its place; the name is not durable yet.
    async fn place(&self, path: &str, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let partial = format!("{path}{PARTIAL_SUFFIX}");
        let outcome = match self.write_new(&partial, pieces).await {
            Ok(()) => self.step("disk.rename", Operation::Names, |core| core.rename(&partial, path)).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // The first error is what the caller must hear of.
            let _ = self.core.borrow_mut().remove(&partial);
        }
        outcome
    }

    /// Makes a file beside, puts it in its place, and makes the name durable.
    async fn put(&self, path: &str, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        self.place(path, pieces).await?;
        self.step("disk.sync-names", Operation::Sync, SimDisk::sync_directory).await
    }

    async fn create(&self, path: &str, bytes: u64) -> io::Result<()> {
        if self.core.borrow().find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let pieces = (0..bytes.div_ceil(ZERO_BYTES)).map(|piece| {
            let length = (bytes - piece * ZERO_BYTES).min(ZERO_BYTES);
            vec![0; length as usize]
        });
        let is_sync_forgotten = self.core.borrow().faults.is_directory_sync_forgotten;
        let outcome = match is_sync_forgotten {
            true => self.place(path, pieces).await,
            false => self.put(path, pieces).await,
        };
        if outcome.is_err() {
            let _ = self.core.borrow_mut().remove(path);
        }
        outcome
    }
}

impl NodeDisk {
    /// Runs `job` on one of the queues, with the checked path of `name`.
    fn submit<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
        &self,
        worker: &Worker,
        is_change: bool,
        name: &str,
        job: impl FnOnce(Rc<Inner>, String) -> F + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let (inner, name) = (Rc::clone(&self.inner), name.to_owned());
        worker.submit(async move {
            check_name(&name)?;
            if is_change {
                inner.check_writable()?;
            }
            let path = inner.path(&name);
            job(inner, path).await
        })
    }
}

fn log_file(inner: &Rc<Inner>, path: &str) -> io::Result<Rc<dyn LogFile>> {
    let file = inner.core.borrow().find(path)?;
    inner.core.borrow_mut().opened(file);
    let open = Open { inner: Rc::clone(inner), file, fence: Fence::default() };
    Ok(Rc::new(NodeFile { open: Rc::new(open) }))
}

impl Disk for NodeDisk {
    fn create(&self, name: &str, bytes: u64) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        self.submit(&self.inner.allocator, true, name, move |inner, path| async move {
            inner.create(&path, bytes).await?;
            log_file(&inner, &path)
        })
    }

    fn open(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        self.submit(&self.inner.files, false, name, |inner, path| async move {
            inner.step("disk.open", Operation::Read, |core| core.find(&path)).await?;
            log_file(&inner, &path)
        })
    }

    fn list(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        let inner = Rc::clone(&self.inner);
        self.inner.files.submit(async move {
            let prefix = inner.path("");
            let names = inner.step("disk.list", Operation::Read, |core| Ok(core.names())).await?;
            let names = names.iter().filter_map(|name| name.strip_prefix(&prefix));
            Ok(names.filter(|name| check_name(name).is_ok()).map(str::to_owned).collect())
        })
    }

    fn rename(&self, from: &str, to: &str) -> LocalFuture<'static, io::Result<()>> {
        let to = to.to_owned();
        self.submit(&self.inner.files, true, from, move |inner, from| async move {
            check_name(&to)?;
            let to = inner.path(&to);
            inner.step("disk.rename", Operation::Names, |core| core.rename(&from, &to)).await
        })
    }

    fn remove(&self, name: &str) -> LocalFuture<'static, io::Result<()>> {
        self.submit(&self.inner.files, true, name, |inner, path| async move {
            inner.step("disk.remove", Operation::Names, |core| core.remove(&path)).await
        })
    }

    fn sync_dir(&self) -> LocalFuture<'static, io::Result<()>> {
        let inner = Rc::clone(&self.inner);
        self.inner.files.submit(async move {
            inner.check_writable()?;
            inner.step("disk.sync-names", Operation::Sync, SimDisk::sync_directory).await
        })
    }

    fn set_aside(&self, folder: &str, names: Vec<String>) -> LocalFuture<'static, io::Result<()>> {
        self.submit(&self.inner.files, true, folder, move |inner, folder| async move {
            for name in names {
                check_name(&name)?;
                let (from, to) = (inner.path(&name), format!("{folder}/{name}"));
                inner.step("disk.rename", Operation::Names, |core| core.rename(&from, &to)).await?;
            }
            inner.step("disk.sync-names", Operation::Sync, SimDisk::sync_directory).await
        })
    }

    fn folders(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        let inner = Rc::clone(&self.inner);
        self.inner.files.submit(async move {
            let prefix = inner.path("");
            inner.step("disk.list", Operation::Read, |core| Ok(core.folders(&prefix))).await
        })
    }

    fn read_file(&self, name: &str) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        self.submit(&self.inner.files, false, name, |inner, path| async move {
            let read = |core: &mut SimDisk| {
                let file = core.find(&path)?;
                core.read(file, 0, usize::MAX)
            };
            inner.step("disk.read", Operation::Read, read).await
        })
    }

    fn write_file_atomic(&self, name: &str, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<()>> {
        self.submit(&self.inner.files, true, name, |inner, path| async move {
            inner.put(&path, std::iter::once(bytes)).await
        })
    }

    fn draft(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn Draft>>> {
        self.submit(&self.inner.drafts, true, name, |inner, path| async move {
            let partial = format!("{path}{PARTIAL_SUFFIX}");
            let file = inner.step("disk.create", Operation::Names, |core| core.create(&partial)).await?;
            inner.core.borrow_mut().opened(file);
            let open = Open { inner, file, fence: Fence::default() };
            let draft: Rc<dyn Draft> = Rc::new(NodeDraft { open: Rc::new(open), path });
            Ok(draft)
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.inner.core.borrow().free_bytes())
    }
}

struct NodeDraft {
    open: Rc<Open>,
    /// The name that it will have.
    path: String,
}

impl NodeDraft {
    fn partial(&self) -> String {
        format!("{}{PARTIAL_SUFFIX}", self.path)
    }
}

impl Draft for NodeDraft {
    fn append(&self, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let open = Rc::clone(&self.open);
        self.open.inner.drafts.submit(async move {
            open.fence.check()?;
            open.inner.check_writable()?;
            let file = open.file;
            let append = |core: &mut SimDisk| core.write(file, core.len(file)?, &bytes);
            let outcome = open.inner.step("disk.apply", Operation::Write, append).await;
            open.fence.watch(outcome.map(|()| bytes))
        })
    }

    fn read_through(&self, job: ReadJob) -> LocalFuture<'static, io::Result<()>> {
        let open = Rc::clone(&self.open);
        self.open.inner.drafts.submit(async move {
            open.sync().await?;
            let file = open.file;
            let read = |core: &mut SimDisk| core.read(file, 0, usize::MAX);
            let bytes = open.inner.step("disk.read", Operation::Read, read).await?;
            job(&mut &bytes[..]);
            Ok(())
        })
    }

    fn finish(&self) -> LocalFuture<'static, io::Result<()>> {
        let (open, partial, path) = (Rc::clone(&self.open), self.partial(), self.path.clone());
        self.open.inner.drafts.submit(async move {
            open.sync().await?;
            let inner = &open.inner;
            let renamed =
                inner.step("disk.rename", Operation::Names, |core| core.rename(&partial, &path)).await;
            let outcome = match renamed {
                Ok(()) => {
                    let sync =
                        |core: &mut SimDisk| core.sync_directory().inspect_err(|_| drop(core.remove(&path)));
                    inner.step("disk.sync-names", Operation::Sync, sync).await
                }
                Err(error) => Err(error),
            };
            open.fence.watch(outcome)
        })
    }

    fn abandon(&self) -> LocalFuture<'static, io::Result<()>> {
        let (open, partial) = (Rc::clone(&self.open), self.partial());
        self.open.inner.drafts.submit(async move {
            open.inner.step("disk.remove", Operation::Names, |core| core.remove(&partial)).await
        })
    }
}

/// An open file, shared with the operations under way.
struct Open {
    inner: Rc<Inner>,
    file: FileId,
    fence: Fence,
}

impl Drop for Open {
    fn drop(&mut self) {
        let is_same_process = self.inner.shared.state.borrow().node(self.inner.node).boot == self.inner.boot;
        if is_same_process {
            self.inner.core.borrow_mut().closed(self.file);
        }
    }
}

/// Told to code that runs on, until its next wait, in a process that has ended.
fn ended() -> io::Error {
    io::Error::other("the process has ended")
}

/// A number over a write's bytes, word by word.
fn digest(seed: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(seed, |digest, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(digest ^ u64::from_le_bytes(word))
    })
}

impl Open {
    async fn write(&self, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.fence.check()?;
        self.inner.check_writable()?;
        let digest = digest(offset, &bytes);
        self.inner.record("disk.begin", &[offset, bytes.len() as u64, digest]);
        let write = self.inner.core.borrow_mut().begin_write(self.file, offset, bytes)?;
        let applied = self.inner.step("disk.apply", Operation::Write, |core| core.apply_write(write)).await;
        self.inner.ends_at(WRITTEN_NOT_SYNCED);
        let outcome = match applied {
            Ok(()) => self.inner.step("disk.sync", Operation::Sync, |core| core.finish_write(write)).await,
            Err(error) => Err(error),
        };
        self.fence.watch(outcome)
    }

    /// The steps of [`Open::write`] while the process stands still: its time passes, and nothing else of it runs. It may
    /// end between any two of them.
    fn write_standing(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fence.check()?;
        self.inner.check_writable()?;
        if self.inner.has_ended() {
            return Err(ended());
        }
        let is_alone = !self.inner.core.borrow().is_written(self.file);
        assert!(is_alone, "no write of this file is under way while one is made on the caller's thread");
        self.inner.record("disk.begin", &[offset, bytes.len() as u64, digest(offset, bytes)]);
        let write = self.inner.core.borrow_mut().begin_write(self.file, offset, bytes.to_vec())?;
        if self.inner.ends_where_aimed(false) {
            return Err(ended());
        }
        let applied =
            self.inner.step_standing("disk.apply", Operation::Write, |core| core.apply_write(write));
        if self.inner.ends_at(WRITTEN_NOT_SYNCED) || self.inner.ends_where_aimed(true) {
            return Err(ended());
        }
        let outcome = applied.and_then(|()| {
            self.inner.step_standing("disk.sync", Operation::Sync, |core| core.finish_write(write))
        });
        self.fence.watch(outcome.map(drop))
    }

    async fn sync(&self) -> io::Result<()> {
        self.fence.check()?;
        let outcome = self.inner.step("disk.sync", Operation::Sync, |core| core.sync(self.file)).await;
        self.fence.watch(outcome)
    }

    async fn truncate(&self, length: u64) -> io::Result<()> {
        self.fence.check()?;
        self.inner.check_writable()?;
        let file = self.file;
        let cut =
            self.inner.step("disk.truncate", Operation::Names, |core| core.truncate(file, length)).await;
        let outcome = match cut {
            Ok(()) => self.inner.step("disk.sync", Operation::Sync, |core| core.sync(file)).await,
            Err(error) => Err(error),
        };
        self.fence.watch(outcome)
    }
}

struct NodeFile {
    open: Rc<Open>,
}

impl LogFile for NodeFile {
    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let open = Rc::clone(&self.open);
        self.open.inner.writer.submit(async move { open.write(offset, bytes).await })
    }

    fn write_now(&self, offset: u64, bytes: &[u8]) -> Option<io::Result<()>> {
        Some(self.open.write_standing(offset, bytes))
    }

    fn read_at(&self, offset: u64, length: usize) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let open = Rc::clone(&self.open);
        self.open.inner.files.submit(async move {
            open.fence.check()?;
            let file = open.file;
            open.inner.step("disk.read", Operation::Read, |core| core.read(file, offset, length)).await
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.open.fence.check()?;
        self.open.inner.core.borrow().len(self.open.file)
    }

    fn truncate(&self, length: u64) -> LocalFuture<'static, io::Result<()>> {
        let open = Rc::clone(&self.open);
        self.open.inner.writer.submit(async move { open.truncate(length).await })
    }
}
