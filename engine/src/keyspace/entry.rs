//! One key with its value: a thin pointer to a single allocation.
//!
//! Lives here: the layout, and all unsafe code of the keyspace but the prefetch hint.
//! Not here: where entries stand (`table`), which change is made when (`place`).
//!
//! Layout; integers in the machine's byte order, every field but the bytes aligned to 8:
//!
//! | bytes | present when | field |
//! |------:|--------------|-------|
//! | 8 | always | head: kind 3 bits, storage 4, has expiry 1, access clock 24, key length 16, embedded length 16 |
//! | 8 | has expiry | deadline, ms since 1970, `i64` |
//! | 8 | key length field is `0xffff` | the key's real length, `u64` |
//! | 8 / 24 | storage is integer / value | `i64` / [`Value`] |
//! | n | always | key |
//! | n | storage is embedded | the string |
//!
//! The allocation's size is the layout's length rounded up to an allocator's size class, so that a string may
//! change its length within the class without moving.
//!
//! Invariant: the head alone tells the layout; it changes only together with the bytes it describes.

use super::prefetch::prefetch;
use crate::value::{ChunkedBytes, Encoding, Kind, StringRef, Value, canonical_integer};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

/// Longest string that stands inside its entry. Longer ones are shared by clones instead of copied.
pub const EMBEDDED_BYTES_MAX: usize = 1024;
/// Longest string that Redis calls `embstr`.
const EMBSTR_BYTES_MAX: usize = 44;
/// Access clock values are below this.
pub const ACCESS_LIMIT: u32 = 1 << 24;

const HEAD_BYTES: usize = 8;
const ALIGN: usize = 8;
const KEY_LENGTH_ESCAPE: usize = 0xffff;

const _: () = assert!(align_of::<Value>() <= ALIGN && size_of::<Value>().is_multiple_of(ALIGN));
const _: () = assert!(size_of::<Option<Entry>>() == 8);
const _: () = assert!(EMBEDDED_BYTES_MAX <= 0xffff);

/// A key, its value, its expiry and its access clock. Clones share big values (copy on write).
#[repr(transparent)]
pub struct Entry(NonNull<u8>);

/// What a new entry shall hold.
pub enum Content<'a> {
    Integer(i64),
    /// At most [`EMBEDDED_BYTES_MAX`] bytes.
    Embedded(&'a [u8]),
    Value(Value),
}

impl<'a> Content<'a> {
    /// The way a string set as a whole is stored: as integer, embedded, or as a value.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Content<'a> {
        if let Some(integer) = canonical_integer(bytes) {
            Content::Integer(integer)
        } else if bytes.len() <= EMBEDDED_BYTES_MAX {
            Content::Embedded(bytes)
        } else {
            Content::Value(Value::String(ChunkedBytes::from(bytes)))
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Content::Integer(_) | Content::Embedded(_) => Kind::String,
            Content::Value(value) => value.kind(),
        }
    }

    fn storage(&self) -> Storage {
        match self {
            Content::Integer(_) => Storage::Integer,
            Content::Embedded(_) => Storage::Embedded,
            Content::Value(_) => Storage::Value,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Storage {
    Integer,
    Embedded,
    Value,
}

impl Storage {
    #[inline]
    fn fixed_bytes(self) -> usize {
        match self {
            Storage::Integer => size_of::<i64>(),
            Storage::Embedded => 0,
            Storage::Value => size_of::<Value>(),
        }
    }
}

/// The head, decoded.
#[derive(Clone, Copy)]
struct Head(u64);

impl Head {
    fn new(
        kind: Kind,
        storage: Storage,
        has_expiry: bool,
        access: u32,
        key_length: usize,
        embedded: usize,
    ) -> Head {
        let kind = match kind {
            Kind::String => 0u64,
            Kind::List => 1,
            Kind::Set => 2,
            Kind::SortedSet => 3,
            Kind::Hash => 4,
            Kind::Stream => 5,
        };
        let storage = match storage {
            Storage::Integer => 0u64,
            Storage::Embedded => 1,
            Storage::Value => 2,
        };
        Head(
            kind | storage << 3
                | u64::from(has_expiry) << 7
                | u64::from(access & (ACCESS_LIMIT - 1)) << 8
                | (key_length.min(KEY_LENGTH_ESCAPE) as u64) << 32
                | (embedded as u64) << 48,
        )
    }

    #[inline]
    fn kind(self) -> Kind {
        match self.0 & 7 {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::SortedSet,
            4 => Kind::Hash,
            _ => Kind::Stream,
        }
    }

    #[inline]
    fn storage(self) -> Storage {
        match self.0 >> 3 & 15 {
            0 => Storage::Integer,
            1 => Storage::Embedded,
            _ => Storage::Value,
        }
    }

    #[inline]
    fn has_expiry(self) -> bool {
        self.0 & 1 << 7 != 0
    }

    #[inline]
    fn access(self) -> u32 {
        (self.0 >> 8) as u32 & (ACCESS_LIMIT - 1)
    }

    #[inline]
    fn key_length_field(self) -> usize {
        usize::from((self.0 >> 32) as u16)
    }

    #[inline]
    fn embedded_length(self) -> usize {
        usize::from((self.0 >> 48) as u16)
    }

    #[inline]
    fn key_length_offset(self) -> usize {
        HEAD_BYTES + if self.has_expiry() { 8 } else { 0 }
    }

    #[inline]
    fn fixed_offset(self) -> usize {
        self.key_length_offset() + if self.key_length_field() == KEY_LENGTH_ESCAPE { 8 } else { 0 }
    }

    #[inline]
    fn key_offset(self) -> usize {
        self.fixed_offset() + self.storage().fixed_bytes()
    }

    fn layout(self, key_length: usize) -> Layout {
        let bytes = size_class(self.key_offset() + key_length + self.embedded_length());
        Layout::from_size_align(bytes, ALIGN).expect("a key's length is far below the address space")
    }
}

/// Rounds up to the size classes that common allocators share: steps of 16 bytes up to 128, then four to a
/// doubling.
#[inline]
fn size_class(bytes: usize) -> usize {
    if bytes <= 128 {
        bytes.next_multiple_of(16)
    } else {
        bytes.next_multiple_of(bytes.next_power_of_two() / 8)
    }
}

impl Entry {
    /// A string entry; the storage is chosen by the bytes.
    pub fn with_string(key: &[u8], value: &[u8], expiry: Option<i64>) -> Entry {
        Entry::new(key, Content::string(value), expiry)
    }

    /// An entry with access clock 0.
    pub fn new(key: &[u8], content: Content<'_>, expiry: Option<i64>) -> Entry {
        Entry::build(key, content, expiry, 0)
    }

    fn build(key: &[u8], content: Content<'_>, expiry: Option<i64>, access: u32) -> Entry {
        let embedded = match &content {
            Content::Embedded(bytes) => *bytes,
            Content::Integer(_) | Content::Value(_) => &[],
        };
        assert!(embedded.len() <= EMBEDDED_BYTES_MAX, "longer strings are values");
        let head =
            Head::new(content.kind(), content.storage(), expiry.is_some(), access, key.len(), embedded.len());
        let layout = head.layout(key.len());
        // SAFETY: the layout has at least HEAD_BYTES, so its size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(test)]
        tests::LIVE_BYTES.with(|live| live.set(live.get() + layout.size() as i64));
        // SAFETY: `layout` covers every field that `head` announces (`Head::layout` sums the same offsets), the
        // fixed fields start at multiples of 8 from an allocation aligned to 8, and `key` and `embedded` cannot
        // overlap memory that was just allocated.
        unsafe {
            let at = |offset: usize| start.as_ptr().add(offset);
            at(0).cast::<u64>().write(head.0);
            if let Some(deadline_ms) = expiry {
                at(HEAD_BYTES).cast::<i64>().write(deadline_ms);
            }
            if head.key_length_field() == KEY_LENGTH_ESCAPE {
                at(head.key_length_offset()).cast::<u64>().write(key.len() as u64);
            }
            match content {
                Content::Integer(integer) => at(head.fixed_offset()).cast::<i64>().write(integer),
                Content::Value(value) => at(head.fixed_offset()).cast::<Value>().write(value),
                Content::Embedded(_) => {}
            }
            let key_start = at(head.key_offset());
            key_start.copy_from_nonoverlapping(key.as_ptr(), key.len());
            key_start.add(key.len()).copy_from_nonoverlapping(embedded.as_ptr(), embedded.len());
        }
        Entry(start)
    }

    #[inline]
    fn head(&self) -> Head {
        // SAFETY: every entry's allocation begins with an initialised, aligned head.
        Head(unsafe { self.0.cast::<u64>().read() })
    }

    #[inline]
    fn key_length(&self, head: Head) -> usize {
        match head.key_length_field() {
            // SAFETY: with the escape in the head, the length stands initialised and aligned at this offset.
            KEY_LENGTH_ESCAPE => unsafe {
                self.0.add(head.key_length_offset()).cast::<u64>().read() as usize
            },
            length => length,
        }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        let head = self.head();
        let length = self.key_length(head);
        // SAFETY: `length` initialised bytes stand at the key's offset; they change only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.0.add(head.key_offset()).as_ptr(), length) }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        self.head().kind()
    }

    pub fn encoding(&self) -> Encoding {
        let head = self.head();
        match head.storage() {
            Storage::Integer => Encoding::Int,
            Storage::Embedded if head.embedded_length() <= EMBSTR_BYTES_MAX => Encoding::EmbStr,
            Storage::Embedded => Encoding::Raw,
            Storage::Value => self.value().expect("the storage was just read").encoding(),
        }
    }

    /// Deadline in milliseconds since 1970, `None` for a key without one.
    #[inline]
    pub fn expiry_ms(&self) -> Option<i64> {
        // SAFETY: with the flag in the head, the deadline stands initialised and aligned after it.
        self.head().has_expiry().then(|| unsafe { self.0.add(HEAD_BYTES).cast::<i64>().read() })
    }

    /// The access clock, 24 bits (LRU or LFU, as the caller means it).
    #[inline]
    pub fn access(&self) -> u32 {
        self.head().access()
    }

    /// Sets the access clock; the upper 8 bits of `access` are dropped.
    #[inline]
    pub fn touch(&self, access: u32) {
        let head = self.head();
        let cleared = head.0 & !(u64::from(ACCESS_LIMIT - 1) << 8);
        // SAFETY: the head is initialised and aligned, no reference to it is ever given out, and the type is
        // neither Send nor Sync, so nothing reads it meanwhile.
        unsafe { self.0.cast::<u64>().write(cleared | u64::from(access & (ACCESS_LIMIT - 1)) << 8) }
    }

    /// The string, if that is its kind.
    #[inline]
    pub fn string(&self) -> Option<StringRef<'_>> {
        let head = self.head();
        match head.storage() {
            Storage::Integer => {
                // SAFETY: with this storage an initialised, aligned i64 stands at the fixed offset.
                let integer = unsafe { self.0.add(head.fixed_offset()).cast::<i64>().read() };
                Some(StringRef::Integer(integer))
            }
            Storage::Embedded => Some(StringRef::Bytes(self.embedded(head))),
            Storage::Value => match self.value() {
                Some(Value::String(chunks)) => Some(StringRef::Chunks(chunks)),
                Some(_) | None => None,
            },
        }
    }

    #[inline]
    fn embedded(&self, head: Head) -> &[u8] {
        let offset = head.key_offset() + self.key_length(head);
        // SAFETY: after the key stand `embedded_length` initialised bytes, changed only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.0.add(offset).as_ptr(), head.embedded_length()) }
    }

    /// The value, unless it is an integer or stands embedded.
    #[inline]
    pub fn value(&self) -> Option<&Value> {
        let head = self.head();
        // SAFETY: with this storage an initialised, aligned Value stands at the fixed offset; it is changed only
        // through `&mut self`.
        (head.storage() == Storage::Value)
            .then(|| unsafe { self.0.add(head.fixed_offset()).cast::<Value>().as_ref() })
    }

    #[inline]
    fn value_mut(&mut self) -> Option<&mut Value> {
        let head = self.head();
        // SAFETY: as in `value`; `&mut self` makes the reference the only one.
        (head.storage() == Storage::Value)
            .then(|| unsafe { self.0.add(head.fixed_offset()).cast::<Value>().as_mut() })
    }

    /// Bytes requested for this entry: its allocation and what its value holds on the heap. O(1).
    #[inline]
    pub fn memory_bytes(&self) -> u64 {
        self.own_bytes() + self.value().map_or(0, Value::memory_bytes)
    }

    /// Bytes of the entry's own allocation: what a clone costs at once.
    #[inline]
    pub(crate) fn own_bytes(&self) -> u64 {
        let head = self.head();
        size_class(head.key_offset() + self.key_length(head) + head.embedded_length()) as u64
    }

    /// The same entry under another key: value, expiry and access clock stay (RENAME).
    pub fn with_key(self, new_key: &[u8]) -> Entry {
        let (expiry, access) = (self.expiry_ms(), self.access());
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and ManuallyDrop does not drop it.
        unsafe { this.rebuild(|_, content| Entry::build(new_key, content, expiry, access)) }
    }

    /// Sets or takes away the deadline; all else stays. Moves the entry unless it had one and keeps one.
    pub(crate) fn set_expiry(&mut self, expiry: Option<i64>) {
        if expiry.is_none() && self.expiry_ms().is_none() {
            return;
        }
        if let Some(deadline_ms) = expiry.filter(|_| self.head().has_expiry()) {
            // SAFETY: with the flag in the head, an aligned i64 stands after it, ours through `&mut self`.
            unsafe { self.0.add(HEAD_BYTES).cast::<i64>().write(deadline_ms) };
            return;
        }
        let access = self.access();
        // SAFETY: what this pointed to is not used again: it is overwritten below without being dropped.
        let moved = unsafe { self.rebuild(|key, content| Entry::build(key, content, expiry, access)) };
        // SAFETY: `rebuild` freed what this pointed to, so it is overwritten without being dropped.
        unsafe { std::ptr::write(self, moved) };
    }

    /// Sets the content; key, expiry and access clock stay.
    pub(crate) fn set_content(&mut self, content: Content<'_>) {
        *self = Entry::build(self.key(), content, self.expiry_ms(), self.access());
    }

    /// Writes a string of the same storage in place. False, with nothing changed, when it does not fit.
    #[inline]
    pub(crate) fn overwrite(&mut self, content: &Content<'_>) -> bool {
        let head = self.head();
        match (content, head.storage()) {
            (Content::Integer(integer), Storage::Integer) => {
                // SAFETY: with this storage an aligned i64 stands at the fixed offset, ours through `&mut self`.
                unsafe { self.0.add(head.fixed_offset()).cast::<i64>().write(*integer) };
                true
            }
            (Content::Embedded(bytes), Storage::Embedded) => {
                let offset = head.key_offset() + self.key_length(head);
                if size_class(offset + bytes.len()) != size_class(offset + head.embedded_length()) {
                    return false;
                }
                let resized = Head(head.0 & !(0xffff << 48) | (bytes.len() as u64) << 48);
                // SAFETY: the size class, hence the allocation, is the same for the new length, so the bytes
                // fit; they come from outside, since `&mut self` excludes borrows of this entry.
                unsafe {
                    self.0.add(offset).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                    self.0.cast::<u64>().write(resized.0);
                }
                true
            }
            _ => false,
        }
    }

    /// Changes the value in place; an integer or embedded string becomes a raw string value first.
    pub(crate) fn modify<R>(&mut self, change: impl FnOnce(&mut Value) -> R) -> R {
        if let Some(string) = self.value().is_none().then(|| self.string()).flatten() {
            let value = Value::String(ChunkedBytes::from(string.to_vec()));
            *self = Entry::build(self.key(), Content::Value(value), self.expiry_ms(), self.access());
        }
        let value = self.value_mut().expect("made a value above");
        let result = change(value);
        let kind = value.kind();
        let head = self.head();
        if head.kind() != kind {
            let key_length = head.key_length_field();
            let changed = Head::new(kind, Storage::Value, head.has_expiry(), head.access(), key_length, 0);
            // SAFETY: aligned and ours; kind is no part of the layout, all else is as before.
            unsafe { self.0.cast::<u64>().write(changed.0) };
        }
        result
    }

    /// Address for prefetch hints.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.0.as_ptr());
        prefetch(self.0.as_ptr().wrapping_add(64));
    }

    /// Builds a successor from this entry's key and content, then frees this one. A value is moved.
    ///
    /// # Safety
    /// `self` is neither used nor dropped afterwards.
    unsafe fn rebuild(&mut self, build: impl FnOnce(&[u8], Content<'_>) -> Entry) -> Entry {
        let head = self.head();
        let content = match head.storage() {
            Storage::Value => {
                // SAFETY: an initialised Value stands there; it is moved out and `free` below does not drop it.
                // `build` cannot panic between (its bytes are an entry's already; failing allocation aborts).
                Content::Value(unsafe { self.0.add(head.fixed_offset()).cast::<Value>().read() })
            }
            Storage::Integer | Storage::Embedded => self.flat_content(),
        };
        let built = build(self.key(), content);
        // SAFETY: the value was moved out, and the caller does not use this entry again.
        unsafe { self.free() };
        built
    }

    /// Content of an entry that holds no value.
    fn flat_content(&self) -> Content<'_> {
        match self.string() {
            Some(StringRef::Integer(integer)) => Content::Integer(integer),
            Some(StringRef::Bytes(bytes)) => Content::Embedded(bytes),
            Some(StringRef::Chunks(_)) | None => unreachable!("the storage holds no value"),
        }
    }

    /// Gives the allocation back without dropping a value in it.
    ///
    /// # Safety
    /// The entry is not used afterwards, not even dropped, and a value in it was dropped or moved out.
    unsafe fn free(&self) {
        let head = self.head();
        let layout = head.layout(self.key_length(head));
        #[cfg(test)]
        tests::LIVE_BYTES.with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: the allocation was made with this layout: every change of the head keeps the size class.
        unsafe { dealloc(self.0.as_ptr(), layout) };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(value) = self.value_mut() {
            // SAFETY: the value is initialised and dropped exactly once: the entry ends here.
            unsafe { std::ptr::drop_in_place(value) };
        }
        // SAFETY: the entry ends here and its value was dropped above.
        unsafe { self.free() };
    }
}

impl Clone for Entry {
    fn clone(&self) -> Entry {
        let content = match self.value() {
            Some(value) => Content::Value(value.clone()),
            None => self.flat_content(),
        };
        Entry::build(self.key(), content, self.expiry_ms(), self.access())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Entry");
        shown.field("key", &String::from_utf8_lossy(self.key()));
        match self.string() {
            Some(string) => shown.field("string", &string),
            None => shown.field("value", &self.value()),
        };
        shown.field("expiry_ms", &self.expiry_ms()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// Bytes of all entries alive on this thread.
        pub static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    }

    pub fn live_bytes() -> i64 {
        LIVE_BYTES.with(Cell::get)
    }

    #[test]
    fn sixteen_and_sixty_four_bytes_are_one_class() {
        let mut entry = Entry::with_string(&[b'k'; 16], &[b'v'; 64], None);
        assert_eq!(entry.memory_bytes(), 96);
        entry.set_expiry(Some(5));
        assert_eq!(entry.memory_bytes(), 96);
        assert_eq!(entry.encoding(), Encoding::Raw);
    }

    #[test]
    fn encodings_follow_the_length() {
        let encoding = |value: &[u8]| Entry::with_string(b"k", value, None).encoding();
        assert_eq!(encoding(b"12345"), Encoding::Int);
        assert_eq!(encoding(&[b'x'; 44]), Encoding::EmbStr);
        assert_eq!(encoding(&[b'x'; 45]), Encoding::Raw);
        assert_eq!(encoding(&[b'x'; 5000]), Encoding::Raw);
        let mut entry = Entry::with_string(b"k", b"7", None);
        entry.modify(|value| match value {
            Value::String(bytes) => bytes.append(b"7"),
            Value::Hash(_) => unreachable!("a string"),
        });
        assert_eq!(entry.encoding(), Encoding::Raw);
        assert_eq!(entry.string().unwrap().to_vec(), b"77");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Overwrite(Vec<u8>),
        Append(Vec<u8>),
        Expiry(Option<i64>),
        Rename(usize),
        Touch(u32),
        CloneAndDropOld,
        KeepClone,
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..100),
            any::<i64>().prop_map(|value| value.to_string().into_bytes()),
            vec(any::<u8>(), 900..1200),
            vec(any::<u8>(), 20_000..20_010),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            bytes().prop_map(Step::Overwrite),
            bytes().prop_map(Step::Append),
            any::<Option<i64>>().prop_map(Step::Expiry),
            prop_oneof![0..64usize, 65_530..65_540usize, Just(70_000usize)].prop_map(Step::Rename),
            any::<u32>().prop_map(Step::Touch),
            Just(Step::CloneAndDropOld),
            Just(Step::KeepClone),
        ]
    }

    /// What an entry says about itself: key, value, deadline, access clock.
    type Facts = (Vec<u8>, Vec<u8>, Option<i64>, u32);

    fn facts(entry: &Entry) -> Facts {
        (entry.key().to_vec(), entry.string().unwrap().to_vec(), entry.expiry_ms(), entry.access())
    }

    fn run(steps: Vec<Step>) {
        let before = live_bytes();
        {
            let mut entry = Entry::with_string(b"key", b"value", None);
            let mut model: Facts = facts(&entry);
            let mut kept: Vec<(Entry, Facts)> = Vec::new();
            for step in steps {
                match step {
                    Step::Overwrite(value) => {
                        let content = Content::string(&value);
                        if !entry.overwrite(&content) {
                            entry.set_content(content);
                        }
                        model.1 = value;
                    }
                    Step::Append(more) => {
                        entry.modify(|value| match value {
                            Value::String(bytes) => bytes.append(&more),
                            Value::Hash(_) => unreachable!("a string"),
                        });
                        model.1.extend(more);
                    }
                    Step::Expiry(expiry) => {
                        entry.set_expiry(expiry);
                        model.2 = expiry;
                    }
                    Step::Rename(length) => {
                        model.0 = vec![b'r'; length];
                        entry = entry.with_key(&model.0);
                    }
                    Step::Touch(access) => {
                        entry.touch(access);
                        model.3 = access & (ACCESS_LIMIT - 1);
                    }
                    Step::CloneAndDropOld => entry = entry.clone(),
                    Step::KeepClone => kept.push((entry.clone(), model.clone())),
                }
                assert_eq!(facts(&entry), model);
            }
            for (entry, model) in &kept {
                assert_eq!(&facts(entry), model);
            }
        }
        assert_eq!(live_bytes(), before, "every entry was freed once");
    }

    #[test]
    fn each_step_once() {
        use Step::*;
        run(vec![
            Overwrite(b"other".to_vec()),
            Expiry(Some(7)),
            KeepClone,
            Append(vec![1; 30]),
            KeepClone,
            Rename(65_535),
            Touch(99),
            CloneAndDropOld,
            Overwrite(b"-42".to_vec()),
            Expiry(None),
            Append(b"3".to_vec()),
        ]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_its_parts_and_frees_them(steps in vec(step(), 0..24)) {
            run(steps);
        }
    }
}
