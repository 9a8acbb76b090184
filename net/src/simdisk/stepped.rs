//! A [`Disk`] over the simulated disk that takes no time and ends after so many steps.
//!
//! Lives here: [`SteppedDisk`], with which a test asks of each single step what happens if it is the last one.
//! Not here: the disk's model (the module above), one with delays in simulated time (`sim`).
//!
//! Each operation does its steps at once when it is called, in the order of the calls. When the steps are used up
//! nothing ends any more: every later operation waits for ever, as seen from a process that has died.

use super::{FileId, SimDisk};
use crate::disk::{Draft, Fence, PARTIAL_SUFFIX, ReadJob, check_name};
use crate::{Disk, LocalFuture, LogFile};
use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::io;
use std::rc::Rc;

/// See the head of this file. Clones are the same disk.
#[derive(Clone)]
pub struct SteppedDisk(Rc<Inner>);

struct Inner {
    core: Rc<RefCell<SimDisk>>,
    taken: Cell<u64>,
    last: Cell<u64>,
}

/// Why an operation did not succeed.
enum Stop {
    Error(io::Error),
    /// The steps are used up.
    Ended,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Error(error)
    }
}

type Outcome<T> = Result<T, Stop>;

fn told<T: 'static>(outcome: Outcome<T>) -> LocalFuture<'static, io::Result<T>> {
    match outcome {
        Ok(value) => Box::pin(ready(Ok(value))),
        Err(Stop::Error(error)) => Box::pin(ready(Err(error))),
        Err(Stop::Ended) => Box::pin(pending()),
    }
}

impl SteppedDisk {
    /// Opens the disk as a starting process does: what was being made is removed.
    pub fn open(core: Rc<RefCell<SimDisk>>) -> io::Result<Self> {
        {
            let mut core = core.borrow_mut();
            for name in core.names() {
                if name.ends_with(PARTIAL_SUFFIX) {
                    core.remove(&name)?;
                }
            }
            core.sync_directory()?;
        }
        Ok(Self(Rc::new(Inner { core, taken: Cell::new(0), last: Cell::new(u64::MAX) })))
    }

    /// Steps taken since the opening.
    pub fn steps(&self) -> u64 {
        self.0.taken.get()
    }

    /// No more than so many further steps are taken.
    pub fn end_after(&self, steps: u64) {
        self.0.last.set(self.steps().saturating_add(steps));
    }

    /// Whether the steps are used up and another one was wanted.
    pub fn has_ended(&self) -> bool {
        self.0.taken.get() > self.0.last.get()
    }
}

impl Inner {
    fn step<T>(&self, step: impl FnOnce(&mut SimDisk) -> io::Result<T>) -> Outcome<T> {
        if self.taken.get() >= self.last.get() {
            self.taken.set(self.last.get() + 1);
            return Err(Stop::Ended);
        }
        self.taken.set(self.taken.get() + 1);
        Ok(step(&mut self.core.borrow_mut())?)
    }

    /// A new file of these bytes under its name, durably.
    fn put(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        let file = self.step(|core| core.create(&partial))?;
        self.step(|core| core.write(file, 0, bytes))?;
        self.step(|core| core.sync(file))?;
        self.step(|core| core.rename(&partial, name))?;
        self.step(SimDisk::sync_directory)
    }

    fn find(&self, name: &str) -> Outcome<FileId> {
        check_name(name)?;
        self.step(|core| core.find(name))
    }
}

/// An open file; its content stays while it is open.
struct Open {
    inner: Rc<Inner>,
    file: FileId,
    fence: Fence,
}

impl Open {
    fn new(inner: &Rc<Inner>, file: FileId) -> Self {
        inner.core.borrow_mut().opened(file);
        Self { inner: Rc::clone(inner), file, fence: Fence::default() }
    }

    /// Does something after which, should it fail, nothing more is promised.
    fn change<T>(&self, change: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        self.fence.check()?;
        match change() {
            Err(Stop::Error(error)) => {
                Err(Stop::Error(self.fence.watch::<T>(Err(error)).err().expect("an error")))
            }
            outcome => outcome,
        }
    }

    fn read(&self, offset: u64, length: usize) -> Outcome<Vec<u8>> {
        self.fence.check()?;
        self.inner.step(|core| core.read(self.file, offset, length))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.inner.core.borrow_mut().closed(self.file);
    }
}

impl Disk for SteppedDisk {
    fn create(&self, name: &str, bytes: u64) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        let create = || {
            check_name(name)?;
            if self.0.core.borrow().find(name).is_ok() {
                return Err(Stop::Error(io::ErrorKind::AlreadyExists.into()));
            }
            self.0.put(name, &vec![0; usize::try_from(bytes).expect("a small file")])?;
            let file: Rc<dyn LogFile> = Rc::new(SteppedFile(Open::new(&self.0, self.0.find(name)?)));
            Ok(file)
        };
        told(create())
    }

    fn open(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn LogFile>>> {
        told(self.0.find(name).map(|file| {
            let file: Rc<dyn LogFile> = Rc::new(SteppedFile(Open::new(&self.0, file)));
            file
        }))
    }

    fn list(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        told(self.0.step(|core| {
            let mut names = core.names();
            names.retain(|name| check_name(name).is_ok());
            Ok(names)
        }))
    }

    fn rename(&self, from: &str, to: &str) -> LocalFuture<'static, io::Result<()>> {
        told(self.0.step(|core| core.rename(from, to)))
    }

    fn remove(&self, name: &str) -> LocalFuture<'static, io::Result<()>> {
        told(self.0.step(|core| core.remove(name)))
    }

    fn sync_dir(&self) -> LocalFuture<'static, io::Result<()>> {
        told(self.0.step(SimDisk::sync_directory))
    }

    fn set_aside(&self, folder: &str, names: Vec<String>) -> LocalFuture<'static, io::Result<()>> {
        let set_aside = || {
            for name in names {
                check_name(&name)?;
                self.0.step(|core| core.rename(&name, &format!("{folder}/{name}")))?;
            }
            self.0.step(SimDisk::sync_directory)
        };
        told(set_aside())
    }

    fn folders(&self) -> LocalFuture<'static, io::Result<Vec<String>>> {
        told(self.0.step(|core| Ok(core.folders(""))))
    }

    fn read_file(&self, name: &str) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        told(self.0.find(name).and_then(|file| self.0.step(|core| core.read(file, 0, usize::MAX))))
    }

    fn write_file_atomic(&self, name: &str, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<()>> {
        told(check_name(name).map_err(Stop::Error).and_then(|()| self.0.put(name, &bytes)))
    }

    fn draft(&self, name: &str) -> LocalFuture<'static, io::Result<Rc<dyn Draft>>> {
        let begin = || {
            check_name(name)?;
            let file = self.0.step(|core| core.create(&format!("{name}{PARTIAL_SUFFIX}")))?;
            let draft: Rc<dyn Draft> =
                Rc::new(SteppedDraft { open: Open::new(&self.0, file), name: name.to_owned() });
            Ok(draft)
        };
        told(begin())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.core.borrow().free_bytes())
    }
}

struct SteppedFile(Open);

impl LogFile for SteppedFile {
    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let Open { inner, file, .. } = &self.0;
        let write = || {
            let write = inner.step(|core| core.begin_write(*file, offset, bytes))?;
            inner.step(|core| core.apply_write(write))?;
            inner.step(|core| core.finish_write(write))
        };
        told(self.0.change(write))
    }

    fn write_now(&self, _offset: u64, _bytes: &[u8]) -> Option<io::Result<()>> {
        None
    }

    fn read_at(&self, offset: u64, length: usize) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        told(self.0.read(offset, length))
    }

    fn len(&self) -> io::Result<u64> {
        self.0.fence.check()?;
        self.0.inner.core.borrow().len(self.0.file)
    }

    fn truncate(&self, length: u64) -> LocalFuture<'static, io::Result<()>> {
        let Open { inner, file, .. } = &self.0;
        let truncate = || {
            inner.step(|core| core.truncate(*file, length))?;
            inner.step(|core| core.sync(*file))
        };
        told(self.0.change(truncate))
    }
}

struct SteppedDraft {
    open: Open,
    /// The name that it will have.
    name: String,
}

impl SteppedDraft {
    fn partial(&self) -> String {
        format!("{}{PARTIAL_SUFFIX}", self.name)
    }

    fn sync(&self) -> Outcome<()> {
        self.open.change(|| self.open.inner.step(|core| core.sync(self.open.file)))
    }
}

impl Draft for SteppedDraft {
    fn append(&self, bytes: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let file = self.open.file;
        let append = || self.open.inner.step(|core| core.write(file, core.len(file)?, &bytes));
        told(self.open.change(append).map(|()| bytes))
    }

    fn read_through(&self, job: ReadJob) -> LocalFuture<'static, io::Result<()>> {
        let read = self.sync().and_then(|()| self.open.read(0, usize::MAX));
        told(read.map(|bytes| job(&mut &bytes[..])))
    }

    fn finish(&self) -> LocalFuture<'static, io::Result<()>> {
        let finish = || {
            self.sync()?;
            self.open.inner.step(|core| core.rename(&self.partial(), &self.name))?;
            self.open.inner.step(SimDisk::sync_directory)
        };
        told(self.open.change(finish))
    }

    fn abandon(&self) -> LocalFuture<'static, io::Result<()>> {
        told(self.open.inner.step(|core| core.remove(&self.partial())))
    }
}
