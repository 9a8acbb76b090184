//! Calls into libc: the only `unsafe` of this crate.
//!
//! Lives here: clocks, random bytes, socket calls that tokio has no form for, disk space, process facts.
//! Not here: any decision.

use crate::facts::{ProcessFacts, ProcessUsage};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The clock that goes on while the machine is suspended.
#[cfg(target_os = "linux")]
const MONOTONIC: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: libc::clockid_t = libc::CLOCK_MONOTONIC;

fn read_clock(clock: libc::clockid_t) -> (u64, u64) {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for one timespec, which the call fills in when it gives 0.
    let time = unsafe {
        assert_eq!(
            libc::clock_gettime(clock, time.as_mut_ptr()),
            0,
            "the clock exists on every supported kernel"
        );
        time.assume_init()
    };
    (time.tv_sec.max(0) as u64, time.tv_nsec as u64)
}

#[inline]
pub fn monotonic_ns() -> u64 {
    let (seconds, nanoseconds) = read_clock(MONOTONIC);
    seconds * 1_000_000_000 + nanoseconds
}

#[inline]
pub fn wall_us() -> u64 {
    let (seconds, nanoseconds) = read_clock(libc::CLOCK_REALTIME);
    seconds * 1_000_000 + nanoseconds / 1_000
}

/// From now on the calling thread gets the processor after others that want it. Only a wish.
pub fn stand_back() {
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is involved. On Linux 0 is the calling thread alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10)
    };
}

/// Asks the kernel to forget what it holds of a part of a file that is with the device: the next read is one of the
/// medium. Only a hint.
pub fn drop_cached(file: &impl AsFd, range: Range<u64>) {
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is involved; the descriptor is open for the length of the call.
    unsafe {
        let (offset, length) = (range.start.cast_signed(), (range.end - range.start).cast_signed());
        libc::posix_fadvise(file.as_fd().as_raw_fd(), offset, length, libc::POSIX_FADV_DONTNEED)
    };
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

/// Hands a range of a file to the device, without waiting for it and without making it durable.
pub fn begin_write_back(file: &impl AsFd, range: Range<u64>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return sync_file_range(file, range, libc::SYNC_FILE_RANGE_WRITE);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, range);
        Ok(())
    }
}

/// Waits until the device has taken a range of a file. It is not durable by that: a sync makes it so.
pub fn end_write_back(file: &impl AsFd, range: Range<u64>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        sync_file_range(file, range, flags)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = range;
        // SAFETY: fsync takes no pointer; the descriptor is open because it is borrowed.
        check(unsafe { libc::fsync(file.as_fd().as_raw_fd()) } as libc::ssize_t).map(drop)
    }
}

#[cfg(target_os = "linux")]
fn sync_file_range(file: &impl AsFd, range: Range<u64>, flags: libc::c_uint) -> io::Result<()> {
    let (offset, length) = (range.start.cast_signed(), (range.end - range.start).cast_signed());
    // SAFETY: no memory is involved; the descriptor is open because it is borrowed.
    check(unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, flags) } as libc::ssize_t)
        .map(drop)
}

/// Fills `bytes` from the kernel's generator.
pub fn fill_random(bytes: &mut [u8; 32]) {
    // SAFETY: the pointer is valid for the length given, which is below the 256 bytes that getentropy allows.
    let outcome = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    assert_eq!(outcome, 0, "the kernel gives random bytes");
}

fn check(outcome: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
}

/// Reads once from a socket into the spare capacity of `buffer`, which must have some.
pub fn receive(socket: &impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    assert!(!spare.is_empty(), "a read into no room would look like the end of the stream");
    // SAFETY: the pointer is valid for writes of `spare.len()` bytes; recv never writes more.
    let outcome =
        unsafe { libc::recv(socket.as_fd().as_raw_fd(), spare.as_mut_ptr().cast(), spare.len(), 0) };
    let received = check(outcome)?;
    // SAFETY: recv has initialised the first `received` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Writes once to a socket, without SIGPIPE.
pub fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer is valid for reads of `bytes.len()` bytes.
    check(unsafe {
        libc::send(socket.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
    })
}

/// Closes one or both directions of a socket.
pub fn shutdown(socket: &impl AsFd, which: Shutdown) -> io::Result<()> {
    let how = match which {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: shutdown takes no pointer; the descriptor is open because it is borrowed.
    check(unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), how) } as libc::ssize_t).map(drop)
}

fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let (pointer, length) = (&raw const value, size_of_val(&value) as libc::socklen_t);
    // SAFETY: the pointer is valid for `length` bytes, the size of the C int that these options take.
    let outcome =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, pointer.cast(), length) };
    check(outcome as libc::ssize_t).map(drop)
}

/// Lets `[::]` and `0.0.0.0` be bound side by side.
pub fn set_only_ipv6(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)
}

/// Makes the close of a socket a reset.
pub fn set_no_linger(socket: &impl AsFd) -> io::Result<()> {
    let value = libc::linger { l_onoff: 1, l_linger: 0 };
    let (pointer, length) = (&raw const value, size_of_val(&value) as libc::socklen_t);
    // SAFETY: the pointer is valid for `length` bytes, the size of the struct that this option takes.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            pointer.cast(),
            length,
        )
    };
    check(outcome as libc::ssize_t).map(drop)
}

/// Probes a silent peer after `idle_seconds`, three times within about as long again; 0 switches it off.
pub fn set_keepalive(socket: &impl AsFd, idle_seconds: u32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, i32::from(idle_seconds > 0))?;
    #[cfg(target_os = "linux")]
    if idle_seconds > 0 {
        let idle = i32::try_from(idle_seconds).unwrap_or(i32::MAX);
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle)?;
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (idle / 3).max(1))?;
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)?;
    }
    Ok(())
}

/// Bytes that an unprivileged process may still write on the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut facts = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero byte, the other pointer is valid for one statvfs, filled in on success.
    let facts = unsafe {
        check(libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) as libc::ssize_t)?;
        facts.assume_init()
    };
    // The widths of these fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Ok((facts.f_bavail as u64).saturating_mul(facts.f_frsize as u64))
}

/// Raises the soft limit of open files towards `wanted`; gives the limit that holds afterwards.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to one valid rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 0;
        }
        if limit.rlim_cur >= wanted {
            return limit.rlim_cur;
        }
        let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
        match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) {
            0 => raised.rlim_cur,
            _ => limit.rlim_cur,
        }
    }
}

fn cpu_us(who: libc::c_int) -> (u64, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for one rusage, and all zeros is a valid one should the call fail.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    let to_us = |time: libc::timeval| time.tv_sec.max(0) as u64 * 1_000_000 + time.tv_usec as u64;
    (to_us(usage.ru_utime), to_us(usage.ru_stime))
}

pub fn process_usage() -> ProcessUsage {
    let (user_cpu_us, system_cpu_us) = cpu_us(libc::RUSAGE_SELF);
    #[cfg(target_os = "linux")]
    let (thread_user_cpu_us, thread_system_cpu_us) = cpu_us(libc::RUSAGE_THREAD);
    #[cfg(not(target_os = "linux"))]
    let (thread_user_cpu_us, thread_system_cpu_us) = (0, 0);
    let resident_bytes = read_text("/proc/self/statm")
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * system_value(libc::_SC_PAGESIZE));
    ProcessUsage { resident_bytes, user_cpu_us, system_cpu_us, thread_user_cpu_us, thread_system_cpu_us }
}

fn system_value(name: libc::c_int) -> u64 {
    // SAFETY: sysconf takes no pointer.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0)
}

#[allow(clippy::disallowed_methods, reason = "the kernel's own figures, not data")]
fn read_text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
pub fn process_facts() -> ProcessFacts {
    let (system, hostname) = machine();
    let memory_total_bytes = system_value(libc::_SC_PHYS_PAGES) * system_value(libc::_SC_PAGESIZE);
    ProcessFacts {
        process_id: std::process::id(),
        hostname,
        system,
        memory_total_bytes,
        memory_limit_bytes: memory_limit_bytes().filter(|limit| *limit < memory_total_bytes),
        executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
    }
}

/// Name and release of the system with the machine's kind, and the host's name.
fn machine() -> (String, String) {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is valid for one utsname, and all zeros is a valid one should the call fail.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    let text = |bytes: &[libc::c_char]| {
        let bytes: Vec<u8> = bytes.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (
        format!("{} {} {}", text(&names.sysname), text(&names.release), text(&names.machine)),
        text(&names.nodename),
    )
}

/// The smallest memory limit along the path of this process's control group, version 2, else version 1.
fn memory_limit_bytes() -> Option<u64> {
    let groups = read_text("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let unified = Path::new(own)
        .ancestors()
        .filter_map(|group| read_text(&format!("/sys/fs/cgroup{}/memory.max", group.display())))
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    unified.or_else(|| read_text("/sys/fs/cgroup/memory/memory.limit_in_bytes")?.trim().parse().ok())
}
