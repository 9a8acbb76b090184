//! Threads that do for a disk what would make its caller wait.
//!
//! Lives here: [`Worker`], a thread with a queue of jobs, started at its first job. Not here: the jobs.
//!
//! Invariant: jobs run one at a time in the order of their submission; dropping the worker lets it finish them.
#![allow(clippy::disallowed_methods, reason = "the replacement itself")]

use crate::LocalFuture;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

/// A thread of its own for one kind of job. No polling: it sleeps in `park` while it has none.
pub struct Worker {
    name: &'static str,
    has_patience: bool,
    queue: Arc<Mutex<Queue>>,
    thread: OnceCell<Thread>,
}

impl Worker {
    pub fn new(name: &'static str) -> Self {
        Self { name, has_patience: false, queue: Arc::default(), thread: OnceCell::new() }
    }

    /// One whose thread stands back where others want the processor.
    pub fn with_patience(name: &'static str) -> Self {
        Self { name, has_patience: true, queue: Arc::default(), thread: OnceCell::new() }
    }

    /// Runs `job` on the thread. It runs even when the future is dropped.
    pub fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let (done, outcome) = oneshot::channel();
        if let Err(error) = self.push(Box::new(move || drop(done.send(job())))) {
            return Box::pin(std::future::ready(Err(error)));
        }
        Box::pin(
            async move { outcome.await.unwrap_or_else(|_| Err(io::Error::other("a disk thread panicked"))) },
        )
    }

    fn push(&self, job: Job) -> io::Result<()> {
        let thread = match self.thread.get() {
            Some(thread) => thread,
            None => {
                let started = start(self.name, self.has_patience, Arc::clone(&self.queue))?;
                self.thread.get_or_init(|| started)
            }
        };
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        thread.unpark();
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn start(name: &'static str, has_patience: bool, queue: Arc<Mutex<Queue>>) -> io::Result<Thread> {
    let body = move || {
        if has_patience {
            super::system::stand_back();
        }
        loop {
            let (job, is_closed) = {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                (queue.jobs.pop_front(), queue.is_closed)
            };
            match job {
                Some(job) => job(),
                None if is_closed => return,
                // A push between the look and this line has left its permit, so park gives way at once.
                None => std::thread::park(),
            }
        }
    };
    Ok(std::thread::Builder::new().name(name.into()).spawn(body)?.thread().clone())
}
