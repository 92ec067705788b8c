//! Namespaces: a key prefix up to the first separator, which can be invalidated with all its keys at once.
//!
//! ```text
//! key  user:42:name                     delete user:            the key that ends with its first separator names the
//!      └──┘ namespace "user"            md user:                namespace: deleting it invalidates what begins so
//!
//! number in an item's state word (17 bits)   the number that its shard had when it was stored
//! dead                                       its namespace was invalidated, or its shard flushed, with a later number
//! ```
//! What is invalidated is in a table of bounded size (`invalid`), until a walk over all items has removed
//! the dead ones (`scrub`). Of a namespace that no item was stored under since the walk before, the owner knows so
//! (`Stored`), and its invalidation does nothing.
//!
//! # Cost
//! Off: one branch. On: a search for the separator, a hash of the prefix and a load for each item looked at and stored.

use crate::base::hash::KeyHash;
use crate::shard::invalid::Invalid;

/// A shard's namespaces. Written by the owner, read by all.
pub struct Namespaces {
    names: Option<Names>,
    pub(super) invalid: Invalid,
}

/// How keys are divided into namespaces.
#[derive(Clone)]
pub struct Names {
    separator: u8,
    hash: KeyHash,
}

/// Which namespace: the hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(pub(super) u64);

impl Names {
    /// Names that end at `separator`.
    pub fn new(separator: u8, hash: KeyHash) -> Names {
        Names { separator, hash }
    }

    /// A key's namespace; `None` if it has none.
    #[inline]
    fn of_key(&self, key: &[u8]) -> Option<Namespace> {
        let end = memchr::memchr(self.separator, key)?;
        Some(Namespace(self.hash.hash(&key[..end])))
    }

    /// The namespace whose name this key is, with the separator and nothing more.
    pub(super) fn named(&self, key: &[u8]) -> Option<Namespace> {
        let end = memchr::memchr(self.separator, key)?;
        if end + 1 == key.len() { self.of_key(key) } else { None }
    }
}

impl Namespaces {
    /// The namespaces of a shard; without names there are none.
    pub fn new(names: Option<Names>) -> Namespaces {
        let invalid = Invalid::new(names.is_some());
        Namespaces { names, invalid }
    }

    /// The namespace of a key; `None` if it has none.
    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> Option<Namespace> {
        self.names.as_ref()?.of_key(key)
    }

    /// Whether an item with this key and number is dead.
    #[inline]
    pub(super) fn is_invalid(&self, key: &[u8], number: u32) -> bool {
        self.of(key).is_some_and(|namespace| self.invalid.has(namespace, number))
    }
}

/// Namespaces that items may have been stored under: a set of bits by the hash of the name, which never lacks one that has
/// items. The owner's own.
///
/// A bit that is set is never taken back; instead each walk over all items fills a second set, with what it meets and what
/// is stored meanwhile, and that takes the place of the first.
#[derive(Default)]
pub(super) struct Stored {
    current: Box<[u64]>,
    next: Box<[u64]>,
}

/// Bits of a set: one name of a hundred that were never stored is taken for one that was, where 10,000 were.
const STORED_BITS: usize = 1 << 20;

impl Stored {
    /// Room for names, if there are any.
    pub(super) fn new(namespaces: &Namespaces) -> Stored {
        let words = if namespaces.names.is_some() { STORED_BITS / 64 } else { 0 };
        let empty = || vec![0; words].into_boxed_slice();
        Stored { current: empty(), next: empty() }
    }

    /// Notes that an item of this namespace is there.
    #[inline]
    pub(super) fn note(&mut self, Namespace(hash): Namespace) {
        let bit = hash as usize % STORED_BITS;
        for words in [&mut self.current, &mut self.next] {
            words[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether there may be items of this namespace.
    pub(super) fn may_have(&self, Namespace(hash): Namespace) -> bool {
        let bit = hash as usize % STORED_BITS;
        self.current[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// A walk begins.
    pub(super) fn begin_walk(&mut self) {
        self.next.fill(0);
    }

    /// A walk is over: it has noted all items that there are.
    pub(super) fn end_walk(&mut self) {
        std::mem::swap(&mut self.current, &mut self.next);
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
        let of = |key: &[u8]| names().of_key(key);
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
    fn an_invalidation_is_of_its_namespace_only() {
        let namespaces = Namespaces::new(Some(names()));
        namespaces.invalid.insert(names().named(b"a:").unwrap(), 1);
        assert!(namespaces.is_invalid(b"a:1", 0) && !namespaces.is_invalid(b"a:1", 1));
        assert!(!namespaces.is_invalid(b"b:1", 0) && !namespaces.is_invalid(b"a", 0));
        assert!(!Namespaces::new(None).is_invalid(b"a:1", 0));
    }

    #[test]
    fn names_are_known_until_a_walk_did_not_meet_them() {
        let mut stored = Stored::new(&Namespaces::new(Some(names())));
        let [a, b, c] = [&b"a:"[..], b"b:", b"c:"].map(|key| names().named(key).unwrap());
        assert!(!stored.may_have(a));
        stored.note(a);
        stored.note(b);
        stored.begin_walk();
        assert!(stored.may_have(a) && stored.may_have(b));
        // The walk meets one, and another one is stored meanwhile.
        stored.note(a);
        stored.note(c);
        stored.end_walk();
        assert!(stored.may_have(a) && !stored.may_have(b) && stored.may_have(c));
    }
}
