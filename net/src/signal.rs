//! A flag that one task waits for, set on the same thread.
//!
//! Lives here: [`Signal`]. Not here: signals between threads, or for several waiting tasks (`Notify`).
//!
//! Invariant: a signal set before it is waited for is not lost, and is seen once.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// What [`Notify`](crate::Notify) is, at the price of two cells.
#[derive(Default)]
pub struct Signal {
    is_set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    pub fn new() -> Signal {
        Signal::default()
    }

    /// Wakes the task that waits, or lets the next wait return at once.
    pub fn set(&self) {
        if !self.is_set.replace(true)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Ready if it was set since it was last ready. Only the last task that asked is woken.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_set.replace(false) {
            return Poll::Ready(());
        }
        let waker = self.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(waker.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen_once_whether_set_before_or_after() {
        let signal = Signal::new();
        let mut context = Context::from_waker(Waker::noop());
        assert!(signal.poll(&mut context).is_pending());
        signal.set();
        signal.set();
        assert!(signal.poll(&mut context).is_ready());
        assert!(signal.poll(&mut context).is_pending());
    }
}
