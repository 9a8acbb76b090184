//! Simulated time: reading it and waiting for it.
//!
//! Lives here: [`sleep`], [`timeout`] and the exact wait that the link model and the disk use.
//! Not here: clocks with offset and drift, which are per node (`clock`).
//!
//! Invariant: time moves only when every task waits, or by the scheduler's few nanoseconds per step.

use crate::Elapsed;
use madsim::time::TimeHandle;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Real timers do not wait for less.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// A wait that is over at one moment of simulated time.
pub struct Sleep {
    inner: Pin<Box<madsim::time::Sleep>>,
    /// The waker that the timer already holds: the scheduler's timers cannot be taken back, and one for each
    /// time a waiting task is looked at would soon be most of the simulation's work.
    registered: Option<Waker>,
}

impl Sleep {
    /// Waits exactly `duration`, without the floor of real timers.
    pub(super) fn exact(duration: Duration) -> Self {
        let time = TimeHandle::current();
        let deadline = time.now_instant() + duration;
        let mut inner = Box::pin(time.sleep(duration));
        inner.as_mut().reset(deadline);
        Self { inner, registered: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_registered = self.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if is_registered && !self.inner.is_elapsed() {
            return Poll::Pending;
        }
        let outcome = self.inner.as_mut().poll(context);
        self.registered = outcome.is_pending().then(|| context.waker().clone());
        outcome
    }
}

/// Waits for `duration`, at least for a timer's millisecond.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::exact(duration.max(SLEEP_MIN))
}

/// Waits exactly `duration`.
pub(super) async fn pause_ns(duration_ns: u64) {
    Sleep::exact(Duration::from_nanos(duration_ns)).await;
}

/// Waits for `future`, at most for `duration`.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    crate::select! {
        output = future => Ok(output),
        () = sleep(duration) => Err(Elapsed),
    }
}
