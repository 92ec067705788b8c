//! What the owner of a shard counts.

crate::counters! {
    /// What the owner of a shard counts. Written by its worker only.
    OwnerCounters {
        /// Store commands.
        counter cmd_set,
        /// Commands that touch an item's deadline.
        counter cmd_touch,
        /// flush_all commands.
        counter cmd_flush,
        /// Items stored since start.
        counter total_items,
        /// Deletes that found their key.
        counter delete_hits,
        /// Deletes that did not.
        counter delete_misses,
        /// Increments that found their key.
        counter incr_hits,
        /// Increments that did not.
        counter incr_misses,
        /// Decrements that found their key.
        counter decr_hits,
        /// Decrements that did not.
        counter decr_misses,
        /// Touches that found their key.
        counter touch_hits,
        /// Touches that did not.
        counter touch_misses,
        /// cas stores with the right number.
        counter cas_hits,
        /// cas stores of an absent key.
        counter cas_misses,
        /// cas stores with another number.
        counter cas_badval,
        /// Items in the table now.
        gauge curr_items,
        /// Bytes of used slab slots now.
        gauge used_bytes,
        /// Bytes of key, value and header in used slab slots now.
        gauge item_bytes,
        /// Pages of this owner now.
        gauge pages,
        /// Retired items that wait for grace now.
        gauge retired_items,
        /// Items now whose values are still coming.
        gauge unfinished_items,
        /// Bytes of the slots of items now whose values are still coming.
        gauge unfinished_bytes,
        /// Items evicted by command of the policy.
        counter evicted_by_policy,
        /// Items that the policy wanted evicted and that stayed: they had been read without its knowledge.
        counter second_chances,
        /// Items evicted because no memory was free.
        counter evicted_by_pressure,
        /// Items evicted because their lines were crowded.
        counter evicted_by_crowding,
        /// Items removed because their deadline had passed, or because they were flushed.
        counter expired,
        /// Namespaces invalidated.
        counter namespaces_invalidated,
        /// Items of old generations removed before their number could come back.
        counter scrubbed,
        /// Commands of the policy that came too late.
        counter stale_commands,
        /// Pages that were sent to the policy again because its ring was full.
        counter event_resyncs,
        /// Pages that the mover emptied.
        counter pages_moved,
        /// Items that the mover copied to another page.
        counter items_moved,
        /// Items evicted because they found no place in a table that grew.
        counter evicted_by_growth,
        /// Times that an insert waited for a larger index, so that it took no other key's place.
        counter growth_waits,
        /// Doublings of the table.
        counter table_doublings,
        /// Halvings of the table.
        counter table_halvings,
        /// Slots of the table.
        gauge table_slots,
        /// Stores that had to wait for grace.
        counter grace_waits,
        /// Times that a value had to wait because values that were still coming held as much memory as they may.
        counter unfinished_waits,
        /// Values that were not stored because they did not come to their end.
        counter unfinished_abandoned,
    }
}
