//! Facts about the process and its machine, as values.
//!
//! Lives here: the shapes. Not here: how they are found out (`real`) or made up (`sim`).

/// What does not change while the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Process id.
    pub process_id: u32,
    /// Name of the machine.
    pub hostname: String,
    /// Operating system, release and machine, such as `Linux 6.1.0 x86_64`.
    pub system: String,
    /// Physical memory in bytes; 0 where unknown.
    pub memory_total_bytes: u64,
    /// Memory limit of the control group in bytes, if there is one below the physical memory.
    pub memory_limit_bytes: Option<u64>,
    /// Path of the running program; empty where unknown.
    pub executable: String,
}

/// What the process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Resident memory in bytes; 0 where unknown.
    pub resident_bytes: u64,
    /// CPU time in user mode, all threads, in microseconds.
    pub user_cpu_us: u64,
    /// CPU time in the kernel, all threads, in microseconds.
    pub system_cpu_us: u64,
    /// User-mode CPU time of the calling thread alone, in microseconds; 0 where unknown.
    pub thread_user_cpu_us: u64,
    /// Kernel CPU time of the calling thread alone, in microseconds; 0 where unknown.
    pub thread_system_cpu_us: u64,
}

/// A wish that the process end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT, the Ctrl-C of a terminal.
    Interrupt,
    /// SIGHUP: the terminal is gone.
    Hangup,
}
