//! Who is worth more: the candidate that leaves the window, or the victim at the end of main?
//!
//! An item's worth is how often it was asked for lately, per unit of memory (goal `objects`; GDSF, Cherkasova 1998),
//! for as long as it will still live: one that expires within the time in which the cache turns over once counts in
//! proportion. With equal sizes and no deadlines this is TinyLFU's contest of counts.

use super::Goal;
use super::node::Space;
use super::sketch::Sketch;

/// Life of an item that outlives a turnover of the cache.
const LIFE_FULL: u64 = 64;

/// How a contest is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The candidate must be worth more.
    More,
    /// Without its last access: so a loop longer than the cache does not turn it over.
    MuchMore,
    /// As much is enough, once it was asked for twice.
    AsMuch,
    /// To have been asked for twice is enough.
    Twice,
}

/// What an item is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Estimated accesses, 0..=15.
    pub count: u64,
    /// Share of a turnover that it will live, in 1/64; 1..=64.
    pub life: u64,
    /// Memory that it takes, in units of 16 bytes; 1 if the goal is bytes.
    pub units: u64,
}

impl Worth {
    /// Compares worth per unit of memory, without dividing.
    #[inline]
    pub fn exceeds(self, other: Worth) -> bool {
        self.count * self.life * other.units > other.count * other.life * self.units
    }
}

impl Rule {
    /// Whether the candidate wins.
    #[inline]
    pub fn wins(self, candidate: Worth, victim: Worth) -> bool {
        match self {
            Rule::More => candidate.exceeds(victim),
            Rule::MuchMore => Worth { count: candidate.count.saturating_sub(1), ..candidate }.exceeds(victim),
            Rule::AsMuch => candidate.count >= 2 && !victim.exceeds(candidate) || candidate.exceeds(victim),
            Rule::Twice => !Worth { count: 2, ..victim }.exceeds(candidate),
        }
    }
}

/// What a contest is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// Counts.
    pub sketch: &'a Sketch,
    /// Rule of the arm in use.
    pub rule: Rule,
    /// Whether size counts.
    pub goal: Goal,
    /// Milliseconds since the server epoch, low 32 bits.
    pub now: u32,
    /// Time in which the cache turns over once, in ms; 0 = not known yet.
    pub turnover_ms: u32,
}

impl Judge<'_> {
    /// What the item of a node is worth.
    #[inline]
    pub fn worth<S: Space>(&self, space: &S, n: u32) -> Worth {
        Worth {
            count: self.sketch.estimate(space.node(n).hash) as u64,
            life: self.life(space.deadline(n)),
            units: match self.goal {
                Goal::Objects => space.units(n) as u64,
                Goal::Bytes => 1,
            },
        }
    }

    /// Whether size or life can make a difference between items of `space`.
    #[inline]
    pub fn weighs<S: Space>(&self, space: &S, a: u32, b: u32) -> bool {
        space.deadline(a) != space.deadline(b)
            || (self.goal == Goal::Objects && space.units(a) != space.units(b))
    }

    #[inline]
    fn life(&self, deadline: u32) -> u64 {
        let remaining = deadline.wrapping_sub(self.now);
        // A deadline that has just passed looks far away; the wheel takes such an item anyway.
        if deadline == 0 || remaining >= self.turnover_ms {
            return LIFE_FULL;
        }
        (remaining as u64 * LIFE_FULL / self.turnover_ms as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(count: u64, life: u64, units: u64) -> Worth {
        Worth { count, life, units }
    }

    #[test]
    fn rules_compare_as_they_say() {
        let table = [
            // rule, candidate, victim, wins
            (Rule::More, worth(3, 64, 1), worth(2, 64, 1), true),
            (Rule::More, worth(2, 64, 1), worth(2, 64, 1), false),
            (Rule::MuchMore, worth(3, 64, 1), worth(2, 64, 1), false),
            (Rule::MuchMore, worth(4, 64, 1), worth(2, 64, 1), true),
            (Rule::AsMuch, worth(2, 64, 1), worth(2, 64, 1), true),
            (Rule::AsMuch, worth(1, 64, 1), worth(1, 64, 1), false),
            (Rule::Twice, worth(2, 64, 1), worth(15, 64, 1), true),
            (Rule::Twice, worth(1, 64, 1), worth(0, 64, 1), false),
            // Twice as large must be asked for twice as often.
            (Rule::More, worth(4, 64, 2), worth(2, 64, 1), false),
            (Rule::More, worth(5, 64, 2), worth(2, 64, 1), true),
            (Rule::Twice, worth(2, 64, 2), worth(1, 64, 1), false),
            // About to expire.
            (Rule::More, worth(9, 1, 1), worth(1, 64, 1), false),
            (Rule::More, worth(1, 64, 1), worth(9, 1, 1), true),
        ];
        for (rule, candidate, victim, wins) in table {
            assert_eq!(rule.wins(candidate, victim), wins, "{rule:?} {candidate:?} {victim:?}");
        }
    }
}
