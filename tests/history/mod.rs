//! Whether what clients saw of one key can be explained by one register: linearizability (Herlihy & Wing 1990).
//!
//! # Idea
//! Walk through the moments of the history in order and keep every *configuration* that explains it so far: the value of
//! the register, and which of the open operations have taken effect already (just-in-time linearization, Lowe 2017,
//! after Wing & Gong 1993). An operation that returns must have taken effect by then; a configuration in which no order
//! of open operations makes it so is dropped. None left: no order of effects explains what was seen.
//!
//! ```text
//! set 1   ├────────┤                          configurations after set 1 returned: {1}
//! get          ├───────── 1 ┤                 … after get returned 1:            {1, set 2 open} {1→2, set 2 done}
//! set 2            ├─────────── ?             never answered: may happen at any time, or never
//! ```
//! # What may be claimed over a network
//! - An operation without an answer, or with `busy`, *may* have taken effect, at any later time.
//! - A request that the network delivers twice is another operation without an answer; a set of it brings an old value
//!   back long after its answer. That is the network's, not the server's, and the history has to say so.
//! - A cache may forget: where that is allowed ([`Memory::Forgets`]) a value may become absent at any time, but one that
//!   was forgotten or overwritten is never seen again.
//!
//! # Cost
//! Configurations grow with the operations that are open at once. An open operation that nobody waits for is freedom, so
//! of two configurations that differ only in such operations the one that used fewer is enough.

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Write this value. Values are unique.
    Set(u64),
    Delete,
    Get,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `STORED`
    Stored,
    /// `DELETED`, `NOT_FOUND`
    Deleted(bool),
    /// To a delete: the key is gone, whether it was there or not (a flush, an invalidated namespace).
    Cleared,
    /// The value, or a miss.
    Got(Option<u64>),
}

/// One operation on the key. Times are of any clock that all clients share.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub asked: Asked,
    pub invoked: u64,
    /// When the answer came, and which; `None`: nobody knows whether it happened.
    pub returned: Option<(u64, Answer)>,
}

/// Whether a value may become absent by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Keeps,
    Forgets,
}

/// The value of the register, and the open operations that have taken effect, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    value: Option<u64>,
    done: u128,
}

/// Operations that may be open at once.
const OPEN_MAX: usize = 128;
/// Configurations beyond which the question is given up, loudly.
const CONFIGURATIONS_MAX: usize = 200_000;

/// Checks the operations on one key, which is absent at first.
///
/// # Errors
/// The operation that nothing explains.
pub fn check(operations: &[Operation], memory: Memory) -> Result<(), Operation> {
    // What had no effect on the register and was not answered tells nothing.
    let known = operations.iter().filter(|op| op.asked != Asked::Get || op.returned.is_some());
    let operations: Vec<Operation> = known.copied().collect();
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        moments.push((operation.invoked, false, index));
        moments.extend(operation.returned.map(|(at, _)| (at, true, index)));
    }
    // At equal times what begins comes first: then the two overlap, and either order is allowed.
    moments.sort_unstable();
    let mut open: [Option<usize>; OPEN_MAX] = [None; OPEN_MAX];
    let mut configurations = vec![Configuration { value: None, done: 0 }];
    for (_, returns, index) in moments {
        if !returns {
            let place = open.iter().position(Option::is_none).expect("fewer open operations");
            open[place] = Some(index);
            continue;
        }
        let place = open.iter().position(|&at| at == Some(index)).expect("it was invoked before");
        configurations = complete(&configurations, place, &open, &operations, memory);
        if configurations.is_empty() {
            return Err(operations[index]);
        }
        open[place] = None;
        configurations.iter_mut().for_each(|configuration| configuration.done &= !(1 << place));
        let waited_for =
            open.iter().enumerate().filter(|(_, at)| at.is_some_and(|at| operations[at].returned.is_some()));
        let waited_for = waited_for.fold(0, |mask, (place, _)| mask | 1u128 << place);
        prune(&mut configurations, waited_for);
    }
    Ok(())
}

/// All configurations that follow from `before` by letting open operations take effect until `place` has.
fn complete(
    before: &[Configuration],
    place: usize,
    open: &[Option<usize>; OPEN_MAX],
    operations: &[Operation],
    memory: Memory,
) -> Vec<Configuration> {
    let (mut complete, mut incomplete) = (Vec::new(), before.to_vec());
    let mut seen: std::collections::BTreeSet<Configuration> = before.iter().copied().collect();
    while let Some(configuration) = incomplete.pop() {
        if configuration.done >> place & 1 == 1 {
            complete.push(configuration);
            continue;
        }
        for (next, at) in open.iter().enumerate() {
            let Some(at) = *at else { continue };
            if configuration.done >> next & 1 == 1 {
                continue;
            }
            if let Some(value) = effect(&operations[at], configuration.value, memory) {
                let follower = Configuration { value, done: configuration.done | 1 << next };
                if seen.insert(follower) {
                    incomplete.push(follower);
                }
            }
        }
        assert!(seen.len() <= CONFIGURATIONS_MAX, "undecided: too many operations are open at once");
    }
    complete
}

/// The register after an operation takes effect on `value`; `None` if its answer cannot be had from that.
fn effect(operation: &Operation, value: Option<u64>, memory: Memory) -> Option<Option<u64>> {
    let may_be_absent = value.is_none() || memory == Memory::Forgets;
    match (operation.asked, operation.returned.map(|(_, answer)| answer)) {
        (Asked::Set(new), None | Some(Answer::Stored)) => Some(Some(new)),
        (Asked::Delete, None | Some(Answer::Cleared)) => Some(None),
        (Asked::Delete, Some(Answer::Deleted(true))) => value.is_some().then_some(None),
        (Asked::Delete, Some(Answer::Deleted(false))) => may_be_absent.then_some(None),
        (Asked::Get, Some(Answer::Got(None))) => may_be_absent.then_some(None),
        (Asked::Get, Some(Answer::Got(seen))) => (seen == value).then_some(value),
        (asked, answer) => panic!("{asked:?} was answered with {answer:?}"),
    }
}

/// Keeps, of configurations with equal values and equal operations that somebody waits for, the freest.
fn prune(configurations: &mut Vec<Configuration>, waited_for: u128) {
    configurations.sort_unstable_by_key(|c| (c.done.count_ones(), *c));
    let mut kept: Vec<Configuration> = Vec::new();
    for &c in configurations.iter() {
        let is_freer = |k: &Configuration| {
            k.value == c.value && (k.done ^ c.done) & waited_for == 0 && k.done & !c.done == 0
        };
        if !kept.iter().any(is_freer) {
            kept.push(c);
        }
    }
    *configurations = kept;
}
