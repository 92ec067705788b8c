//! memcached's figures that are nothing here: no LRU lists, no crawler, no log.

use crate::server::figures::stat;

/// Of `stats`, all 0.
pub const GENERAL: &[&str] = &[
    "response_obj_oom",
    "response_obj_count",
    "response_obj_bytes",
    "read_buf_count",
    "read_buf_bytes",
    "read_buf_bytes_free",
    "read_buf_oom",
    "reserved_fds",
    "get_expired",
    "get_flushed",
    "auth_cmds",
    "auth_errors",
    "listen_disabled_num",
    "time_in_listen_disabled_us",
    "slab_reassign_chunk_rescues",
    "slab_reassign_evictions_nomem",
    "slab_reassign_inline_reclaim",
    "slab_reassign_busy_items",
    "slab_reassign_busy_deletes",
    "slab_reassign_busy_nomem",
    "slab_reassign_running",
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "malloc_fails",
    "log_worker_dropped",
    "log_worker_written",
    "log_watcher_skipped",
    "log_watcher_sent",
    "log_watchers",
    "unexpected_napi_ids",
    "round_robin_fallback",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "lru_bumps_dropped",
];

/// Of a class in `stats slabs`, all 0.
pub const SLABS: &[&str] = &[
    "free_chunks_end",
    "get_hits",
    "cmd_set",
    "delete_hits",
    "incr_hits",
    "decr_hits",
    "cas_hits",
    "cas_badval",
    "touch_hits",
];

/// Of a class in `stats items`, all 0.
pub const ITEMS: &[&str] = &[
    "number_hot",
    "number_warm",
    "number_cold",
    "number_temp",
    "age_hot",
    "age_warm",
    "age",
    "evicted_time",
    "outofmemory",
    "tailrepairs",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "hits_to_hot",
    "hits_to_warm",
    "hits_to_cold",
    "hits_to_temp",
];

/// Each of `names`, behind `prefix`, is 0.
pub fn stats(prefix: &str, names: &[&str], text: &mut String) {
    names.iter().for_each(|name| stat(text, &format!("{prefix}{name}"), 0));
}
