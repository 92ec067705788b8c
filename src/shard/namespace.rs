//! Namespaces: a key prefix up to the first separator has a generation, and a new generation invalidates all its keys at
//! once.
//!
//! ```text
//! key  user:42:name                     delete user:            the key that ends with its first separator names the
//!      └──┘ namespace "user"            md user:                namespace: deleting it invalidates what begins so
//!
//! number in an item's state word (17 bits) = generation of the shard + generation of the namespace, when it was stored
//! live now?                                  the same sum now
//! ```
//! # Why a sum is enough
//! Both generations only ever grow, by one at a time, so a sum that has changed does not come back before it wraps; and
//! a reader that found an item has seen both generations at least as new as the item's (the slot was stored after them),
//! so it cannot put an old and a new one together and get the item's number again.
//!
//! # Bounds
//! A table of [`NAMESPACES`] generations a shard, by a seeded hash of the prefix; nothing grows with the number of names.
//! Two names of one place share a generation: invalidating one invalidates the other. That is an early miss, never a
//! stale answer.
//!
//! Numbers wrap after 2^17 steps. Items of old numbers are removed before (`Scrub`): a walk over all pages, a bounded
//! number of items a tick, begins every [`STEPS_PER_SCRUB`] steps; if the last one is not over by then, further steps are
//! refused as busy. So a dead item is gone within twice that many steps. Whoever moves items must leave dead ones behind.
//!
//! # Cost
//! Off: one branch. On: a search for the separator, a hash of the prefix and a load for each item looked at and stored.

use crate::config::limits::KEY_BYTES_MAX;
use crate::hash::KeyHash;
use crate::protocol::meta::Kind;
use crate::protocol::request::Command;
use crate::sync::{AtomicU32, Ordering};

/// Generations of a shard.
pub const NAMESPACES: usize = 4096;

/// Steps of generations between two walks over the pages.
pub const STEPS_PER_SCRUB: u32 = 1 << 15;

const _: () = assert!(2 * STEPS_PER_SCRUB < crate::memory::State::GENERATION_MAX);

/// The generations of a shard's namespaces. Written by the owner, read by all.
pub struct Namespaces {
    names: Option<Names>,
    generations: Box<[AtomicU32]>,
}

/// How keys are divided into namespaces.
#[derive(Clone)]
pub struct Names {
    separator: u8,
    hash: KeyHash,
}

impl Names {
    /// Names that end at `separator`.
    pub fn new(separator: u8, hash: KeyHash) -> Names {
        Names { separator, hash }
    }

    /// The place of a key's namespace; `None` if it has none.
    #[inline]
    fn place(&self, key: &[u8]) -> Option<Place> {
        let end = memchr::memchr(self.separator, key)?;
        Some(Place((self.hash.hash(&key[..end]) >> 32) as usize % NAMESPACES))
    }

    /// The namespace whose name this key is, with the separator and nothing more.
    fn named(&self, key: &[u8]) -> Option<Place> {
        let end = memchr::memchr(self.separator, key)?;
        if end + 1 == key.len() { self.place(key) } else { None }
    }

    /// The namespace that a command invalidates: a delete of its name. An `md` that looks at the cas number or leaves
    /// something behind (`C I x`) is about the one item with that key, as ever.
    pub fn invalidated_by(&self, command: &Command<'_>) -> Option<Place> {
        match command {
            Command::Delete { key, .. } => self.named(key.bytes()),
            Command::Meta(meta)
                if meta.kind == Kind::Delete && !b"CIx".iter().any(|&flag| meta.has(flag)) =>
            {
                self.named(meta.key(&mut [0; KEY_BYTES_MAX + 2]).ok()?.bytes())
            }
            _ => None,
        }
    }
}

/// Which generation of a shard's namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl Namespaces {
    /// The namespaces of a shard; without names there are none.
    pub fn new(names: Option<Names>) -> Namespaces {
        let places = if names.is_some() { NAMESPACES } else { 0 };
        Namespaces { names, generations: (0..places).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The generation of a key's namespace; 0 for a key without.
    #[inline]
    pub fn generation(&self, key: &[u8]) -> u32 {
        match &self.names {
            None => 0,
            // Acquire: pairs with the Release in `step`; as for the shard's generation.
            Some(names) => {
                names.place(key).map_or(0, |Place(at)| self.generations[at].load(Ordering::Acquire))
            }
        }
    }

    /// Begins a new generation of a namespace. Owner only.
    pub(super) fn step(&self, Place(at): Place) {
        let generation = &self.generations[at];
        // Relaxed load: the owner reads what it wrote itself. Release: pairs with the Acquire in `generation`.
        generation.store(generation.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// The walk that removes dead items before their number comes back.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// Steps since the last walk began.
    steps: u32,
    /// Where the walk is: page and slot.
    pub(super) at: Option<(usize, usize)>,
}

impl Scrub {
    /// Whether another step may be taken now.
    pub(super) fn may_step(&self) -> bool {
        self.steps < STEPS_PER_SCRUB
    }

    /// Notes a step of a generation, and begins a walk when it is time.
    pub(super) fn note_step(&mut self) {
        self.steps += 1;
        self.begin_if_due();
    }

    /// The walk is over.
    pub(super) fn end(&mut self) {
        self.at = None;
        self.begin_if_due();
    }

    fn begin_if_due(&mut self) {
        if self.at.is_none() && self.steps >= STEPS_PER_SCRUB {
            (self.steps, self.at) = (0, Some((0, 0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(b':', KeyHash::new(7))
    }

    #[test]
    fn a_namespace_ends_at_the_first_separator() {
        let of = |key: &[u8]| names().place(key);
        assert_eq!(of(b"user:42:name"), of(b"user:7"));
        assert_eq!(of(b"user:42:name"), of(b"user:"));
        assert_ne!(of(b"user:42"), of(b"users:42"));
        assert_eq!(of(b"user"), None);
        assert!(of(b":x").is_some());
        for (key, is_name) in
            [(&b"user:"[..], true), (b":", true), (b"user", false), (b"user:4", false), (b"user:4:", false)]
        {
            assert_eq!(names().named(key).is_some(), is_name, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_step_changes_its_namespace_only() {
        let namespaces = Namespaces::new(Some(names()));
        let before = namespaces.generation(b"b:1");
        namespaces.step(names().named(b"a:").unwrap());
        assert_eq!(namespaces.generation(b"a:1"), 1);
        assert_eq!(namespaces.generation(b"b:1"), before);
        assert_eq!(namespaces.generation(b"a"), 0);
        assert_eq!(Namespaces::new(None).generation(b"a:1"), 0);
    }

    /// Between a step and the end of a walk that began after it there are never as many steps as a number has values.
    #[test]
    fn steps_wait_for_a_walk_that_lags() {
        let mut scrub = Scrub::default();
        (0..STEPS_PER_SCRUB).for_each(|_| scrub.note_step());
        assert_eq!(scrub.at, Some((0, 0)));
        (0..STEPS_PER_SCRUB).for_each(|_| {
            assert!(scrub.may_step());
            scrub.note_step();
        });
        assert!(!scrub.may_step(), "the walk has not moved");
        scrub.at = Some((9, 0));
        scrub.end();
        assert!(scrub.may_step());
        assert_eq!(scrub.at, Some((0, 0)), "the next walk is due at once");
    }
}
