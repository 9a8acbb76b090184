//! The binary `ramkeep`: reads the command line and runs what it asks for.

#[cfg(not(madsim))]
mod demo;
#[cfg(not(madsim))]
mod dev;
#[cfg(not(madsim))]
mod process;

#[cfg(all(not(madsim), not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(all(not(madsim), feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    process::main()
}

/// In simulation the campaigns start nodes themselves.
#[cfg(madsim)]
fn main() {}
