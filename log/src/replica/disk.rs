//! A replica and its disk: what it asks for, and what comes of it.
//!
//! Not here: where in a segment what is written (`crate::writer`), the vote file's slots (`promises`).

use super::{FenceReason, Output, Replica, places};
use crate::inspect::Inspector;
use crate::writer::Written;

/// A spare segment that could not be made is asked for again after this time.
const PREPARE_RETRY_NS: u64 = 1_000_000_000;

impl Replica {
    /// The write asked for is durable.
    pub fn written(&mut self, written: Written, now_ns: u64) {
        self.now_ns = now_ns;
        self.write_begun_ns = None;
        self.writer.written(written);
    }

    /// The write asked for failed in any way.
    pub fn write_failed(&mut self, write: Written, now_ns: u64) {
        self.now_ns = now_ns;
        if self.options.mutants.sync_error_ignored() {
            self.writer.written(write);
            return;
        }
        self.writer.fail();
        self.fence(FenceReason::WriteFailed);
    }

    /// The segment asked for is there.
    pub fn prepared(&mut self, segment: u64, now_ns: u64) {
        self.now_ns = now_ns;
        self.writer.prepared(segment);
    }

    /// The segment asked for could not be made, and nothing of it remains. It is asked for again later.
    pub fn prepare_failed(&mut self, segment: u64, now_ns: u64) {
        self.now_ns = now_ns;
        self.writer.prepare_failed(segment);
        self.prepare_retry_ns = Some(now_ns + PREPARE_RETRY_NS);
    }

    /// The save of this generation is durable.
    pub fn saved(&mut self, generation: u64, now_ns: u64) {
        self.now_ns = now_ns;
        self.promises.saved(generation);
    }

    /// A save failed.
    pub fn save_failed(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.fence(FenceReason::SaveFailed);
    }

    /// What was read for [`Output::Fetch`], from the offset asked for. Empty if it could not be read.
    pub fn fetched(&mut self, segment: u64, offset: u64, bytes: &[u8], now_ns: u64) {
        self.now_ns = now_ns;
        let Some(fetch) = self.fetching.take() else { return };
        let layout = self.options.layout;
        let entries = Inspector::at(layout, segment, offset, bytes).entries(fetch.from, fetch.to);
        if !self.raw.mut_store().offer_fetched(entries, fetch.from) {
            // Superseded while it was read: Raft asks again for what is there now.
            let superseded =
                self.raw.store().place_of(fetch.from).is_none_or(|place| {
                    place != crate::types::LogOffset(layout.start_of(segment).0 + offset)
                });
            let is_cut = fetch.from <= self.raw.store().base();
            if !superseded && !is_cut {
                self.fence(match bytes.is_empty() {
                    true => FenceReason::FetchFailed,
                    false => FenceReason::FetchDamaged,
                });
            }
            return;
        }
        self.raw.on_entries_fetched(fetch.context);
        self.raw.mut_store().forget_fetched();
    }

    pub(super) fn poll_disk(&mut self, outputs: &mut Vec<Output>) {
        let committed = self.committed().min(self.persisted());
        let before = outputs.len();
        self.writer.poll(committed, self.prepare_retry_ns.is_none(), outputs);
        if outputs[before..].iter().any(|output| matches!(output, Output::Write { .. })) {
            self.write_begun_ns = Some(self.now_ns);
        }
        for (position, offset) in self.writer.take_places() {
            self.raw.mut_store().note_place(position, offset);
        }
        self.promises.poll(outputs);
        if self.writer.has_begun() {
            outputs.extend(self.discard.take());
            self.cut(outputs);
        } else if self.prepare_retry_ns.is_some() {
            // A full disk at the start: what lies behind the log's end is room for the segment in which it goes on.
            outputs.extend(self.give_back.take());
        }
    }

    pub(super) fn poll_fetch(&mut self, outputs: &mut Vec<Output>) {
        if self.fetching.is_some() {
            return;
        }
        let Some(fetch) = self.raw.mut_store().take_wanted() else { return };
        let Some(place) = self.raw.store().place_of(fetch.from) else { return };
        let layout = &self.options.layout;
        let offset = layout.within(place);
        let wanted = places::STRIDE_BYTES + self.options.entry_bytes_max + self.options.message_bytes_max;
        outputs.push(Output::Fetch {
            from: fetch.from,
            to: fetch.to,
            segment: layout.segment_of(place),
            offset,
            bytes: wanted.min(layout.segment_bytes - offset),
        });
        self.fetching = Some(fetch);
    }
}
