//! The command table: what every command is, declared once beside its handler.
//!
//! Lives here: the shape of a declaration, its const builder, and the lookup by name.
//! Not here: the handlers and their slices (`commands`), admission (`execute`).

use crate::call::Call;
use crate::error::Result;
use crate::resp::Args;
use std::ops::BitOr;

/// Writes the reply into the call, or gives the error that is the reply.
pub type Handler = fn(&mut Call<'_>) -> Result;

/// Facts about a command that admission and COMMAND INFO read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u32);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// Changes data: needs a primary and room in the log.
    pub const WRITE: Flags = Flags(1);
    pub const READ_ONLY: Flags = Flags(1 << 1);
    /// Either of the two.
    pub const DATA: Flags = Flags(1 | 1 << 1);
    /// May make memory grow: refused over `maxmemory`.
    pub const DENY_OOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const FAST: Flags = Flags(1 << 4);
    /// Answered while the log is still being replayed.
    pub const LOADING: Flags = Flags(1 << 5);
    /// Answered on a replica whose link to the primary is down.
    pub const STALE: Flags = Flags(1 << 6);
    pub const NO_SCRIPT: Flags = Flags(1 << 7);
    /// Allowed before AUTH.
    pub const NO_AUTH: Flags = Flags(1 << 8);
    /// Refused between MULTI and EXEC.
    pub const NO_MULTI: Flags = Flags(1 << 9);
    /// Left out of MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 10);
    /// Left out of SLOWLOG.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 11);
    pub const MOVABLE_KEYS: Flags = Flags(1 << 12);
    pub const ALLOW_BUSY: Flags = Flags(1 << 13);
    pub const BLOCKING: Flags = Flags(1 << 14);
    /// Runs at once between MULTI and EXEC instead of being queued.
    pub const TRANSACTION_CONTROL: Flags = Flags(1 << 15);
    /// The reply rests on keys that are many or unknown: it waits for all that is uncommitted.
    pub const READS_MANY: Flags = Flags(1 << 16);
    /// Its effects may be larger than its arguments: it runs with a way back.
    pub const MAY_OUTGROW: Flags = Flags(1 << 17);
    /// Takes constant time: it may be timed together with others. Follows from the complexity.
    pub const QUICK: Flags = Flags(1 << 18);

    /// Told to clients alone: nothing is ever loaded beside what is served.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 19);

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Flags in the order and words of COMMAND INFO.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(Flags, &str); 16] = [
            (Flags::WRITE, "write"),
            (Flags::READ_ONLY, "readonly"),
            (Flags::DENY_OOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::NO_SCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::MOVABLE_KEYS, "movablekeys"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

/// ACL categories of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Categories(u32);

impl Categories {
    pub const NONE: Categories = Categories(0);
    pub const KEYSPACE: Categories = Categories(1);
    pub const READ: Categories = Categories(1 << 1);
    pub const WRITE: Categories = Categories(1 << 2);
    pub const SET: Categories = Categories(1 << 3);
    pub const SORTED_SET: Categories = Categories(1 << 4);
    pub const LIST: Categories = Categories(1 << 5);
    pub const HASH: Categories = Categories(1 << 6);
    pub const STRING: Categories = Categories(1 << 7);
    pub const BITMAP: Categories = Categories(1 << 8);
    pub const HYPERLOGLOG: Categories = Categories(1 << 9);
    pub const GEO: Categories = Categories(1 << 10);
    pub const STREAM: Categories = Categories(1 << 11);
    pub const PUBSUB: Categories = Categories(1 << 12);
    pub const ADMIN: Categories = Categories(1 << 13);
    pub const FAST: Categories = Categories(1 << 14);
    pub const SLOW: Categories = Categories(1 << 15);
    pub const BLOCKING: Categories = Categories(1 << 16);
    pub const DANGEROUS: Categories = Categories(1 << 17);
    pub const CONNECTION: Categories = Categories(1 << 18);
    pub const TRANSACTION: Categories = Categories(1 << 19);
    pub const SCRIPTING: Categories = Categories(1 << 20);

    /// Every category with its name, in the order of ACL CAT.
    pub const ALL: [(Categories, &'static str); 21] = [
        (Categories::KEYSPACE, "keyspace"),
        (Categories::READ, "read"),
        (Categories::WRITE, "write"),
        (Categories::SET, "set"),
        (Categories::SORTED_SET, "sortedset"),
        (Categories::LIST, "list"),
        (Categories::HASH, "hash"),
        (Categories::STRING, "string"),
        (Categories::BITMAP, "bitmap"),
        (Categories::HYPERLOGLOG, "hyperloglog"),
        (Categories::GEO, "geo"),
        (Categories::STREAM, "stream"),
        (Categories::PUBSUB, "pubsub"),
        (Categories::ADMIN, "admin"),
        (Categories::FAST, "fast"),
        (Categories::SLOW, "slow"),
        (Categories::BLOCKING, "blocking"),
        (Categories::DANGEROUS, "dangerous"),
        (Categories::CONNECTION, "connection"),
        (Categories::TRANSACTION, "transaction"),
        (Categories::SCRIPTING, "scripting"),
    ];

    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |(category, _)| self.has(*category)).map(|(_, name)| name)
    }
}

/// Where a command's keys stand among its arguments; the name is argument 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end.
    Range {
        first: i16,
        last: i16,
        step: i16,
    },
    /// Argument `at` is the number of keys that follow it.
    Counted {
        at: usize,
    },
}

impl Keys {
    pub const fn at(index: i16) -> Keys {
        Keys::Range { first: index, last: index, step: 1 }
    }

    pub const fn range(first: i16, last: i16, step: i16) -> Keys {
        Keys::Range { first, last, step }
    }

    /// Indexes of the keys among `args`; empty when the arguments do not fit the specification.
    pub fn indexes(self, args: Args<'_>) -> Vec<usize> {
        match self {
            Keys::None => Vec::new(),
            Keys::Range { first, last, step } => {
                let count = args.len() as i64;
                let last = if last < 0 { count + i64::from(last) } else { i64::from(last) };
                let last = last.min(count - 1);
                (i64::from(first)..=last).step_by(step.max(1) as usize).map(|index| index as usize).collect()
            }
            Keys::Counted { at } => {
                let announced = (at < args.len())
                    .then(|| crate::number::integer::parse(args.get(at)))
                    .flatten()
                    .and_then(|count| usize::try_from(count).ok())
                    .unwrap_or(0);
                let rest = args.len().saturating_sub(at + 1);
                if announced > rest { Vec::new() } else { (at + 1..at + 1 + announced).collect() }
            }
        }
    }
}

/// What a command does with its keys; COMMAND GETKEYSANDFLAGS prints it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUse(pub &'static [&'static str]);

/// One command or subcommand.
#[derive(Debug)]
pub struct Command {
    /// Lower case; a subcommand carries its parent, as in `client|list`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i16,
    pub flags: Flags,
    pub keys: Keys,
    pub key_use: KeyUse,
    pub categories: Categories,
    pub group: &'static str,
    pub since: &'static str,
    pub syntax: &'static str,
    pub summary: &'static str,
    pub complexity: &'static str,
    pub handler: Handler,
    pub subcommands: &'static [Command],
}

/// Exactly so many arguments after the name.
pub const fn exactly(arguments: i16) -> i16 {
    arguments + 1
}

/// So many arguments or more after the name.
pub const fn at_least(arguments: i16) -> i16 {
    -(arguments + 1)
}

impl Command {
    const fn new(name: &'static str, arity: i16, handler: Handler, flags: Flags, acl: Categories) -> Command {
        Command {
            name,
            arity,
            flags,
            keys: Keys::None,
            key_use: KeyUse(&[]),
            categories: acl,
            group: "generic",
            since: "1.0.0",
            syntax: "",
            summary: "",
            complexity: "",
            handler,
            subcommands: &[],
        }
    }

    /// A command that changes data.
    pub const fn write(name: &'static str, arity: i16, handler: Handler) -> Command {
        Command::new(name, arity, handler, Flags::WRITE, Categories::WRITE)
    }

    /// A command that reads data.
    pub const fn read(name: &'static str, arity: i16, handler: Handler) -> Command {
        Command::new(name, arity, handler, Flags::READ_ONLY, Categories::READ)
    }

    /// A command about the node or the connection.
    pub const fn node(name: &'static str, arity: i16, handler: Handler) -> Command {
        Command::new(name, arity, handler, Flags::NONE, Categories::NONE)
    }

    pub const fn keys(mut self, keys: Keys, key_use: &'static [&'static str]) -> Command {
        self.keys = keys;
        self.key_use = KeyUse(key_use);
        self
    }

    pub const fn flags(mut self, flags: Flags) -> Command {
        self.flags = self.flags.with(flags);
        self
    }

    pub const fn fast(self) -> Command {
        self.flags(Flags::FAST)
    }

    pub const fn acl(mut self, categories: Categories) -> Command {
        self.categories = self.categories.with(categories);
        self
    }

    pub const fn group(mut self, group: &'static str) -> Command {
        self.group = group;
        self
    }

    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    pub const fn doc(
        mut self,
        since: &'static str,
        syntax: &'static str,
        summary: &'static str,
        complexity: &'static str,
    ) -> Command {
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self.complexity = complexity;
        let is_data = self.flags.has(Flags::WRITE) || self.flags.has(Flags::READ_ONLY);
        if is_data && matches!(complexity.as_bytes(), b"O(1)") {
            self.flags = self.flags.with(Flags::QUICK);
        }
        self
    }

    /// The name before the `|`: the container's, of a subcommand.
    pub fn container_name(&self) -> &'static str {
        self.name.split('|').next().unwrap_or(self.name)
    }

    /// All categories, with the ones that follow from flags: `@fast` or `@slow`, `@admin` with `@dangerous`.
    pub fn all_categories(&self) -> Categories {
        let speed = if self.flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW };
        let mut all = self.categories.with(speed);
        if self.flags.has(Flags::ADMIN) {
            all = all.with(Categories::ADMIN).with(Categories::DANGEROUS);
        }
        if self.flags.has(Flags::BLOCKING) {
            all = all.with(Categories::BLOCKING);
        }
        all
    }

    /// Whether so many arguments, name included, are what the command takes.
    pub fn takes(&self, arguments: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { arguments >= arity } else { arguments == arity }
    }

    /// Whether it reads or changes data: all but what tells of the node or the connection. EXEC is what its queue is.
    pub fn is_about_data(&self) -> bool {
        self.flags.has(Flags::DATA) || self.name == "watch"
    }

    /// Whether it, one of its subcommands or what a transaction queued for it, may read or change data.
    pub fn may_touch_data(&self) -> bool {
        self.is_about_data()
            || self.name == "exec"
            || self.subcommands.iter().any(|subcommand| subcommand.flags.has(Flags::DATA))
    }

    /// Index of the first key, for the prefetch of a batch.
    pub fn first_key(&self) -> Option<usize> {
        match self.keys {
            Keys::Range { first, .. } => Some(first as usize),
            Keys::None | Keys::Counted { .. } => None,
        }
    }
}

/// Names to commands: open addressing over a fixed array, built once.
pub struct Table {
    commands: Vec<&'static Command>,
    /// Index into `commands` plus one; zero is empty.
    buckets: Vec<u16>,
}

const NAME_BYTES_MAX: usize = 24;

impl Table {
    /// Builds the table over the groups; panics at a name that stands twice (a test builds it).
    pub fn new(groups: &[&'static [Command]]) -> Table {
        let mut commands: Vec<&'static Command> = groups.iter().flat_map(|group| group.iter()).collect();
        commands.sort_by_key(|command| command.name);
        let size = (commands.len() * 4).next_power_of_two();
        let mut buckets = vec![0u16; size];
        for (index, command) in commands.iter().enumerate() {
            assert!(command.name.len() <= NAME_BYTES_MAX, "{} is too long a name", command.name);
            let mut bucket = hash_name(command.name.as_bytes()) as usize & (size - 1);
            while buckets[bucket] != 0 {
                let other = commands[buckets[bucket] as usize - 1].name;
                assert_ne!(other, command.name, "a command stands once");
                bucket = (bucket + 1) & (size - 1);
            }
            buckets[bucket] = index as u16 + 1;
        }
        Table { commands, buckets }
    }

    /// The command of this name in any case.
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mask = self.buckets.len() - 1;
        let mut bucket = hash_name(name) as usize & mask;
        loop {
            let index = self.buckets[bucket];
            if index == 0 {
                return None;
            }
            let command = self.commands[index as usize - 1];
            if command.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            bucket = (bucket + 1) & mask;
        }
    }

    /// Every command, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'static Command> + '_ {
        self.commands.iter().copied()
    }
}

/// FNV-1a over the name with letters folded to lower case.
fn hash_name(name: &[u8]) -> u32 {
    let folded = |hash: u32, byte: &u8| (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193);
    let hash = name.iter().fold(0x811c_9dc5, folded);
    hash ^ (hash >> 15)
}

impl Command {
    /// The subcommand named by argument 1, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        let own = self.name.len() + 1;
        self.subcommands.iter().find(|sub| sub.name.as_bytes()[own..].eq_ignore_ascii_case(name))
    }
}
