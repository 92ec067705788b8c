//! Every bound of the cache, with the assertions that relate them.
//!
//! A limit that is reached is a normal answer with a counter, never a wait and never a crash.

/// Longest key, in bytes (memcached's own limit).
pub const KEY_BYTES_MAX: usize = 250;

/// Largest `--value-max`, in bytes: what the 24-bit length of an item can say.
pub const VALUE_BYTES_LIMIT: usize = (1 << 24) - 1;
/// Load for which the index is sized, in percent.
pub const LOAD_PERCENT: u64 = 78;
/// Share of the slab that the policy leaves free, in percent, beside [`FREE_RESERVE_PAGES`]: free slots of sizes that nobody
/// stores just now.
pub const FREE_RESERVE_PERCENT: usize = 1;
/// Pages of each owner that the policy leaves free as well: what is stored while its commands are on their way, a few MiB
/// however large the memory is.
pub const FREE_RESERVE_PAGES: usize = 4;
/// Shards of a cache at most: tables that the reads of one batch may be of.
pub const SHARDS_MAX: usize = 64;
/// Reads looked up together: hashed, prefetched, scanned, compared.
pub const READ_BATCH_MAX: usize = 32;
/// Commands of the policy that an owner applies in one tick: well under 1 ms.
pub const TICK_COMMANDS_MAX: usize = 1_024;
/// Commands whose memory is asked for together; an owner applies so many in any tick.
pub const COMMAND_BATCH: usize = 16;
/// What a command costs about, in ns, with the freeing of its item later; with the share below it says how many a tick of
/// some length may have.
pub const COMMAND_NS: u64 = 250;
/// One part in so many of a tick is for commands.
pub const COMMANDS_SHARE: u64 = 4;
/// Items that an owner may spare for each that it evicts by command: those that were read and the policy not told.
pub const SECOND_CHANCES_PER_EVICTION: u32 = 4;
/// Items that it may spare in a row at most.
pub const SECOND_CHANCES_MAX: u32 = 256;
/// Keys of `Guard::get_batch` that are hashed before the first is looked up; any number may be asked for.
pub const GET_BATCH_MAX: usize = 4 * READ_BATCH_MAX;

/// Lines that a key may stand from its home, home included; also the spare lines at the end of a table.
pub const PROBE_LINES_MAX: usize = 16;
/// Keys that one insert may displace.
pub const DISPLACED_MAX: usize = 64;
/// Ordered scans of a miss before the question goes to the owner.
pub const MISS_ROUNDS_MAX: usize = 8;

/// Keys that one home line of an index can have: what a step of a walk may see at once.
pub const HOME_ITEMS_MAX: usize = 8 * PROBE_LINES_MAX;
/// Times that one call of a walk meets a line whose keys are moving, before it ends where it is.
pub const WALK_TRIES_MAX: usize = 2;

/// Items of one owner that may wait for grace; beyond it writes wait.
pub const RETIRED_ITEMS_MAX: usize = 1 << 16;

/// Values that are still coming hold at most one part in so many of their owner's share of the memory, or one value.
pub const UNFINISHED_SHARE: usize = 16;
/// And they lie in at most one part in so many of its pages, or are one value: such a page cannot be emptied for another size.
pub const UNFINISHED_PAGES_SHARE: usize = 2;
/// How long the first of those that wait for room keeps others from it, after it has asked last, in ms.
pub const UNFINISHED_TURN_MS: u64 = 100;

/// Items among which pressure chooses its victims.
pub const PRESSURE_SAMPLE: usize = 64;
/// Load of a table beyond which it grows, in percent: as long as it has not grown yet, one key in 10^7 is crowded out there.
pub const GROW_LOAD_PERCENT: u64 = LOAD_PERCENT;
/// Load of a table that need not grow, in percent: memory is full before it has more items.
pub const FULL_LOAD_PERCENT: u64 = 85;
/// A table that did not get memory to grow asks again when it has one item more for so many slots.
pub const GROW_ASK_SLOTS: u64 = 64;
/// Home lines that each insert moves while a table grows: 2 % of the slots are filled until all are moved.
pub const INSERT_GROW_LINES: u64 = 8;
/// Home lines that inserts move at a time: the lines behind the last one are looked at once more each time.
pub const INSERT_GROW_STEP_LINES: u64 = 32;
/// Load of a table below which it halves when memory is full, in percent: twice that is far from growing again.
pub const SHRINK_LOAD_PERCENT: u64 = 30;
/// Home lines that a growing table moves in one tick.
pub const TICK_GROW_LINES: u64 = 256;
/// Items that the mover copies in one tick while there are free pages; without any it takes twice as many.
pub const TICK_MOVE_ITEMS: usize = 256;
/// Items that the mover evicts in one tick, of a page that stores wait for: 0.3 ms where their table lines are cold.
pub const TICK_EVICT_ITEMS: usize = 512;
/// Bytes that the mover copies in one tick; at least one item.
pub const TICK_MOVE_BYTES: usize = 256 << 10;
/// Share of used slots up to which a page is sparse enough to be emptied by copying, in percent.
pub const SPARSE_PERCENT: usize = 88;
/// Free pages for each owner that the mover keeps in the pool, so that a size without a page gets one at once.
pub const FREE_PAGES_PER_OWNER: usize = 2;

/// Pages among which pressure chooses the coldest.
pub const PAGES_SAMPLE: usize = 16;
/// Items of a page that tell how cold it is.
pub const PAGE_SAMPLE: usize = 4;
/// Victims that pressure takes at a time.
pub const PRESSURE_EVICT: usize = 16;
/// Bytes of victims after which pressure takes no more at a time: sixteen long values would be a share of a small memory.
pub const PRESSURE_EVICT_BYTES: usize = 64 << 10;
/// Slots that an owner frees in one tick.
pub const TICK_RECLAIM_MAX: usize = 4096;
/// Of those, slots that are kept for the stores of the tick.
pub const RECYCLED_SLOTS_MAX: usize = 1024;
/// Slots that an owner looks at in one tick to tell the policy again what it did not hear.
pub const TICK_RESYNC_MAX: usize = 512;
/// Slots that an owner looks at in one tick to remove items of old generations.
pub const TICK_SCRUB_MAX: usize = 256;
/// Hit records that fit a worker's ring to the policy; a full ring drops hits and counts them.
pub const HIT_RING_RECORDS: usize = 1 << 14;
/// Events that fit an owner's ring to the policy; a full ring marks the page for a resync.
pub const EVENT_RING_RECORDS: usize = 1 << 14;
/// Room in the event ring that catching up leaves to fresh events.
pub const EVENT_RESYNC_ROOM: usize = 64;
/// Commands that fit the policy's ring to an owner.
pub const COMMAND_RING_RECORDS: usize = 1 << 12;

/// Hot keys that are told at most.
pub const HOT_KEYS_MAX: usize = 100;
/// Counts of hot keys are halved once in so many s.
pub const HOT_KEYS_AGE_S: u64 = 10;
/// Looks at the board of hot keys before a reader does without.
pub const HOT_KEYS_READS_MAX: usize = 64;

const _: () = assert!(PROBE_LINES_MAX < 1 << 5, "a fragment keeps five bits of the home");
const _: () = assert!(SHRINK_LOAD_PERCENT * 2 < GROW_LOAD_PERCENT);
const _: () = assert!(TICK_COMMANDS_MAX <= COMMAND_RING_RECORDS && COMMAND_BATCH <= TICK_COMMANDS_MAX);
const _: () = assert!(SHARDS_MAX < u8::MAX as usize, "a lookup names its table in 8 bits");
