//! The processor's prefetch hint.
//!
//! Lives here: the one function that names `core::arch`.
//! Not here: what to touch when (`Keyspace::touch`).
//!
//! Invariant: a hint changes no result, so every address is allowed and the simulator keeps the calls.

/// Asks for the cache line at `address`; nothing elsewhere than on x86-64.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction never faults, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
