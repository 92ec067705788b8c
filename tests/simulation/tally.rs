//! What happened in a run: a simulation in which nothing happens proves nothing.

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub answers: u64,
    pub hits: u64,
    pub misses: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub twice: u64,
    pub forwarded: u64,
    pub evicted: u64,
    pub expired: u64,
    pub doublings: u64,
    /// Answers over connections.
    pub over_streams: u64,
    pub long_values: u64,
    pub resets: u64,
    /// Connections that were answered to the end.
    pub ended: u64,
    pub turned_away: u64,
    /// Times that a client had no room for a reply.
    pub stuck: u64,
    /// Values that were given up, and times that one had to wait for memory.
    pub abandoned: u64,
    pub crowded: u64,
    pub digest: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.answers += other.answers;
        self.hits += other.hits;
        self.misses += other.misses;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.twice += other.twice;
        self.forwarded += other.forwarded;
        self.evicted += other.evicted;
        self.expired += other.expired;
        self.doublings += other.doublings;
        self.over_streams += other.over_streams;
        self.long_values += other.long_values;
        self.resets += other.resets;
        self.ended += other.ended;
        self.turned_away += other.turned_away;
        self.stuck += other.stuck;
        self.abandoned += other.abandoned;
        self.crowded += other.crowded;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}
