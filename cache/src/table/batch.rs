//! The batch engine: many lookups in flight, so that the memory works while we do.
//!
//! # Idea
//! A lookup is two dependent cache misses (line, then item), some 80–100 ns each. One at a time, a core waits. In
//! blocks of [`READ_BATCH_MAX`], each stage asks for what the next needs (MICA 2, Li et al. 2016; AMAC, Kocberber
//! et al. 2015), and the first stage of the next block runs before the last stage of this one:
//!
//! ```text
//! block n      prefetch lines │ scan lines, prefetch items │ scan second lines │ compare, hand out
//! block n+1                                    prefetch lines ─┘
//! ```
//! # Cost
//! About one memory latency per block and stage instead of two per key. Unbatched, each key waits for both.
//!
//! # Several tables
//! The lookups of a batch may be of several tables ([`find_in`]): each stage takes the lines of the lookup's own table. One
//! batch for each table would leave some blocks half empty. The stages are written once and compiled twice: for one table,
//! which needs no choice within the loops, and for several.
//!
//! Keys that a block does not settle (displaced by two lines or more, a tag that lied, a miss) take the way of
//! [`Table::find`]; their lines are in the cache by then.

use crate::base::item_ref::ItemRef;
use crate::base::prefetch;
use crate::limits::{READ_BATCH_MAX, SHARDS_MAX};
use crate::table::probe::Probe;
use crate::table::read::{FindHint, candidate};
use crate::table::shape::Shape;
use crate::table::simd::{Kernel, Scanner};
use crate::table::{Found, Keys, Line, Table};
use arrayvec::ArrayVec;

/// One key to look up.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'k> {
    /// The key.
    pub key: &'k [u8],
    /// The table's key hash of it.
    pub hash: u64,
    /// The table that it is looked up in, of those that [`find_in`] is given. Who has one table only does not look at it.
    pub table: u8,
}

/// Looks up all of `lookups`, each in the table that it names; `found(i, answer)` is called once for each, in order. Any
/// length. `tables(n)` is table `n`; its shape is read once, if there is a lookup for it.
///
/// The caller is within a tick: items stay readable until the tick ends.
///
/// # Panics
/// When a lookup names table [`SHARDS_MAX`] or a later one.
#[inline]
pub fn find_in<'t, K: Keys>(
    tables: impl Fn(usize) -> &'t Table,
    keys: &K,
    lookups: &[Lookup<'_>],
    found: impl FnMut(usize, Found),
) {
    let several = Several::of(tables, lookups);
    let Some(first) = several.views.first() else { return };
    first.table.scanner.run(FindBatch { views: &several, keys, lookups, found });
}

impl Table {
    /// Looks up all of `lookups`; `found(i, answer)` is called once for each, in order. Any length.
    ///
    /// The caller is within a tick: items stay readable until the tick ends.
    #[inline]
    pub fn find_batch<K: Keys>(&self, keys: &K, lookups: &[Lookup<'_>], found: impl FnMut(usize, Found)) {
        self.scanner.run(FindBatch { views: TableView::of(self), keys, lookups, found });
    }

    /// Brings what a write of these keys will touch into the cache: their home lines, and the items that seem to be
    /// theirs. The first two stages of a batch, without the third.
    #[inline]
    pub fn warm<K: Keys>(&self, keys: &K, lookups: &[Lookup<'_>]) {
        self.scanner.run(Warm { table: self, keys, lookups });
    }

    /// Asks for the home line of a hash without waiting for it.
    #[inline(always)]
    pub fn prefetch_home(&self, hash: u64) {
        prefetch::read(self.all_lines()[self.shape().probe(hash).home].as_ptr());
    }
}

struct Warm<'a, K> {
    table: &'a Table,
    keys: &'a K,
    lookups: &'a [Lookup<'a>],
}

impl<K: Keys> Kernel for Warm<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Scanner>(self, scanner: S) {
        let Warm { table, keys, lookups } = self;
        let views = TableView::of(table);
        for block in lookups.chunks(READ_BATCH_MAX) {
            let batch = FindBatch { views, keys, lookups: block, found: |_, _| {} };
            let probes = batch.prefetch_lines(block);
            batch.scan_lines(scanner, &probes, block);
        }
    }
}

/// A table at the moment at which a batch began: a key that moves meanwhile is still found where it was, and a miss asks
/// again.
#[derive(Clone, Copy)]
struct TableView<'a> {
    table: &'a Table,
    shape: Shape,
    lines: &'a [Line],
}

impl<'a> TableView<'a> {
    #[inline]
    fn of(table: &'a Table) -> TableView<'a> {
        TableView { table, shape: table.shape(), lines: table.all_lines() }
    }
}

/// The tables of a batch.
trait Views<'a> {
    /// The table of a lookup.
    fn of(&self, lookup: &Lookup<'_>) -> &TableView<'a>;
}

impl<'a> Views<'a> for TableView<'a> {
    #[inline(always)]
    fn of(&self, _lookup: &Lookup<'_>) -> &TableView<'a> {
        self
    }
}

/// Those tables that a batch has lookups for, in the order of their first lookups.
struct Several<'a> {
    views: ArrayVec<TableView<'a>, SHARDS_MAX>,
    /// Where in `views` each table is.
    places: [u8; SHARDS_MAX],
}

impl<'a> Several<'a> {
    #[inline]
    fn of(tables: impl Fn(usize) -> &'a Table, lookups: &[Lookup<'_>]) -> Several<'a> {
        const NOWHERE: u8 = u8::MAX;
        let mut several = Several { views: ArrayVec::new(), places: [NOWHERE; SHARDS_MAX] };
        for lookup in lookups {
            let place = &mut several.places[lookup.table as usize];
            if *place == NOWHERE {
                *place = several.views.len() as u8;
                several.views.push(TableView::of(tables(lookup.table as usize)));
            }
        }
        several
    }
}

impl<'a> Views<'a> for &Several<'a> {
    #[inline(always)]
    fn of(&self, lookup: &Lookup<'_>) -> &TableView<'a> {
        &self.views[self.places[lookup.table as usize] as usize]
    }
}

struct FindBatch<'a, V, K, F> {
    views: V,
    keys: &'a K,
    lookups: &'a [Lookup<'a>],
    found: F,
}

impl<'v, V: Views<'v>, K: Keys, F: FnMut(usize, Found)> Kernel for FindBatch<'_, V, K, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Scanner>(mut self, scanner: S) {
        let mut blocks = self.lookups.chunks(READ_BATCH_MAX);
        let Some(mut block) = blocks.next() else { return };
        let mut probes = self.prefetch_lines(block);
        let mut done = 0;
        loop {
            let items = self.scan_lines(scanner, &probes, block);
            let next = blocks.next();
            let next_probes = next.map(|next| self.prefetch_lines(next));
            for (i, lookup) in block.iter().enumerate() {
                let answer = self.compare(scanner, probes[i], items[i], lookup);
                (self.found)(done + i, answer);
            }
            done += block.len();
            let (Some(next), Some(next_probes)) = (next, next_probes) else { return };
            (block, probes) = (next, next_probes);
        }
    }
}

impl<'v, V: Views<'v>, K: Keys, F: FnMut(usize, Found)> FindBatch<'_, V, K, F> {
    /// Stage 1: homes, and their lines on the way.
    #[inline(always)]
    fn prefetch_lines(&self, block: &[Lookup<'_>]) -> [Probe; READ_BATCH_MAX] {
        let mut probes = [self.views.of(&block[0]).shape.probe(0); READ_BATCH_MAX];
        for (probe, lookup) in probes.iter_mut().zip(block) {
            let TableView { shape, lines, .. } = self.views.of(lookup);
            *probe = shape.probe(lookup.hash);
            prefetch::read(lines[probe.home].as_ptr());
        }
        probes
    }

    /// Stage 2: the candidate of each key in its home line, or in the line after it; its item on the way.
    #[inline(always)]
    fn scan_lines<S: Scanner>(
        &self,
        scanner: S,
        probes: &[Probe; READ_BATCH_MAX],
        block: &[Lookup<'_>],
    ) -> [Option<ItemRef>; READ_BATCH_MAX] {
        let mut items = [None; READ_BATCH_MAX];
        let mut displaced = [0u8; READ_BATCH_MAX];
        let mut displaced_count = 0;
        for (i, (&probe, lookup)) in probes.iter().zip(block).enumerate() {
            let lines = self.views.of(lookup).lines;
            let line = &lines[probe.home];
            let scan = scanner.scan(line, probe.home, 0, probe.fragment);
            if scan.matches != 0 {
                items[i] = candidate(line, scan.matches.trailing_zeros() as usize, probe);
                items[i].inspect(|&item| self.keys.prefetch(item));
            } else {
                // Branch-free: noted for the second pass, kept only if the probe goes on.
                displaced[displaced_count] = i as u8;
                displaced_count += !scan.last as usize;
                prefetch::read(lines[probe.home + !scan.last as usize].as_ptr());
            }
        }
        for &i in &displaced[..displaced_count] {
            let probe = probes[i as usize];
            let line = &self.views.of(&block[i as usize]).lines[probe.home + 1];
            let scan = scanner.scan(line, probe.home + 1, 1, probe.fragment);
            if scan.matches != 0 {
                items[i as usize] = candidate(line, scan.matches.trailing_zeros() as usize, probe);
                items[i as usize].inspect(|&item| self.keys.prefetch(item));
            }
        }
        items
    }

    /// Stage 3: the full key.
    #[inline(always)]
    fn compare<S: Scanner>(
        &self,
        scanner: S,
        probe: Probe,
        item: Option<ItemRef>,
        lookup: &Lookup<'_>,
    ) -> Found {
        if let Some(item) = item
            && self.keys.key_is(item, lookup.key)
        {
            return Found::Hit(item);
        }
        if item.is_some() {
            // A tag that lied, or a slot that changed: rare, once in 2^16 keys.
            let lines = self.views.of(lookup).lines;
            let again = FindHint { lines, keys: self.keys, probe, key: lookup.key };
            if let Some(item) = again.run(scanner) {
                return Found::Hit(item);
            }
        }
        self.views.of(lookup).table.settle(self.keys, lookup.hash, lookup.key)
    }
}
