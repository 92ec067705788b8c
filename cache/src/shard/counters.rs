//! What the owner of a shard counts.

crate::counters! {
    /// What the owner of a shard counts. Written by its worker only.
    OwnerCounters {
        /// Store commands.
        cmd_set,
        /// Commands that touch an item's deadline.
        cmd_touch,
        /// flush_all commands.
        cmd_flush,
        /// Items stored since start.
        total_items,
        /// Deletes that found their key.
        delete_hits,
        /// Deletes that did not.
        delete_misses,
        /// Increments that found their key.
        incr_hits,
        /// Increments that did not.
        incr_misses,
        /// Decrements that found their key.
        decr_hits,
        /// Decrements that did not.
        decr_misses,
        /// Touches that found their key.
        touch_hits,
        /// Touches that did not.
        touch_misses,
        /// cas stores with the right number.
        cas_hits,
        /// cas stores of an absent key.
        cas_misses,
        /// cas stores with another number.
        cas_badval,
        /// Items in the table now.
        curr_items,
        /// Bytes of used slab slots now.
        used_bytes,
        /// Bytes of key, value and header in used slab slots now.
        item_bytes,
        /// Pages of this owner now.
        pages,
        /// Retired items that wait for grace now.
        retired_items,
        /// Items evicted by command of the policy.
        evicted_by_policy,
        /// Items that the policy wanted evicted and that stayed: they had been read without its knowledge.
        second_chances,
        /// Items evicted because no memory was free.
        evicted_by_pressure,
        /// Items evicted because their lines were crowded.
        evicted_by_crowding,
        /// Items removed because their deadline had passed, or because they were flushed.
        expired,
        /// Namespaces invalidated.
        namespaces_invalidated,
        /// Items of old generations removed before their number could come back.
        scrubbed,
        /// Commands of the policy that came too late.
        stale_commands,
        /// Pages that were sent to the policy again because its ring was full.
        event_resyncs,
        /// Pages that the mover emptied.
        pages_moved,
        /// Items that the mover copied to another page.
        items_moved,
        /// Items evicted because they found no place in a table that grew.
        evicted_by_growth,
        /// Times that an insert waited for a larger index, so that it took no other key's place.
        growth_waits,
        /// Doublings of the table.
        table_doublings,
        /// Halvings of the table.
        table_halvings,
        /// Slots of the table.
        table_slots,
        /// Stores that had to wait for grace.
        grace_waits,
    }
}
