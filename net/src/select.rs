//! Waiting for the first of several futures, always tried in the written order.
//!
//! Lives here: the macro [`select!`](crate::select) and what it expands to. The runtime's own macro draws its
//! order from a generator that no seed reaches, so it is banned.
//!
//! Invariant: which branch runs depends on which futures are ready, never on chance.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Waits for the first of several branches; among ready ones the first written wins.
///
/// `pattern = future => handler`, with `, if condition` after the future to leave a branch out. Patterns must
/// match whatever the future gives. The futures are dropped before the handler runs.
///
/// ```
/// # ramkeep_net::run(async {
/// let (stop, ticks) = (ramkeep_net::Notify::new(), 3);
/// let outcome = ramkeep_net::select! {
///     () = stop.notified() => "stopped",
///     () = ramkeep_net::yield_now(), if ticks > 0 => { "ticked" }
/// };
/// assert_eq!(outcome, "ticked");
/// # });
/// ```
#[macro_export]
macro_rules! select {
    (@read [$($done:tt)+]) => {{
        let outcome = $crate::select!(@futures $($done)+).await;
        $crate::select!(@handle outcome $($done)+)
    }};
    (@read [$($done:tt)*] $pattern:pat = $future:expr, if $condition:expr => $handler:block $(, $($rest:tt)*)?) => {
        $crate::select!(@read [$($done)* [($pattern) ($crate::select_parts::only_if($condition, $future)) ($handler)]] $($($rest)*)?)
    };
    (@read [$($done:tt)*] $pattern:pat = $future:expr, if $condition:expr => $handler:block $($rest:tt)*) => {
        $crate::select!(@read [$($done)* [($pattern) ($crate::select_parts::only_if($condition, $future)) ($handler)]] $($rest)*)
    };
    (@read [$($done:tt)*] $pattern:pat = $future:expr, if $condition:expr => $handler:expr $(, $($rest:tt)*)?) => {
        $crate::select!(@read [$($done)* [($pattern) ($crate::select_parts::only_if($condition, $future)) ($handler)]] $($($rest)*)?)
    };
    (@read [$($done:tt)*] $pattern:pat = $future:expr => $handler:block $(, $($rest:tt)*)?) => {
        $crate::select!(@read [$($done)* [($pattern) ($future) ($handler)]] $($($rest)*)?)
    };
    (@read [$($done:tt)*] $pattern:pat = $future:expr => $handler:block $($rest:tt)*) => {
        $crate::select!(@read [$($done)* [($pattern) ($future) ($handler)]] $($rest)*)
    };
    (@read [$($done:tt)*] $pattern:pat = $future:expr => $handler:expr $(, $($rest:tt)*)?) => {
        $crate::select!(@read [$($done)* [($pattern) ($future) ($handler)]] $($($rest)*)?)
    };
    (@futures [($pattern:pat) ($future:expr) ($handler:expr)]) => { $future };
    (@futures [($pattern:pat) ($future:expr) ($handler:expr)] $($rest:tt)+) => {
        $crate::select_parts::first($future, $crate::select!(@futures $($rest)+))
    };
    (@handle $outcome:ident [($pattern:pat) ($future:expr) ($handler:expr)]) => {
        match $outcome { $pattern => $handler }
    };
    (@handle $outcome:ident [($pattern:pat) ($future:expr) ($handler:expr)] $($rest:tt)+) => {
        match $outcome {
            $crate::select_parts::Either::First($pattern) => $handler,
            $crate::select_parts::Either::Second($outcome) => $crate::select!(@handle $outcome $($rest)+),
        }
    };
    ($($branches:tt)+) => { $crate::select!(@read [] $($branches)+) };
}

/// The outcome of one of two futures.
#[doc(hidden)]
pub enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for `first` or `second`, whichever is ready; for `first` if both are.
#[doc(hidden)]
pub async fn first<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// `future` if `condition` holds, else nothing ever.
#[doc(hidden)]
pub async fn only_if<F: Future>(condition: bool, future: F) -> F::Output {
    match condition {
        true => future.await,
        false => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future waits"),
        }
    }

    #[test]
    fn the_first_written_of_the_ready_branches_wins() {
        let outcome = now(async {
            crate::select! {
                () = pending() => 0,
                _ = ready(1), if false => { unreachable!("its condition is false") }
                number = ready(2) => number,
                (a, b) = ready((3, 4)) => { a + b },
                _ = ready(9) => 9
            }
        });
        assert_eq!(outcome, 2);
    }

    #[test]
    fn a_handler_may_leave_the_loop_or_the_function_around_it() {
        async fn count() -> Result<u32, ()> {
            let mut turns = 0;
            loop {
                crate::select! {
                    outcome = ready(Err::<u32, ()>(())), if turns == 3 => return outcome,
                    () = ready(()) => turns += 1,
                }
            }
        }
        assert_eq!(now(count()), Err(()));
    }
}
