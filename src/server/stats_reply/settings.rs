//! `stats settings`: how the server was started, under memcached's names. What memcached can set and this server has not is
//! told as the setting that says so.

use crate::limits::{LISTEN_BACKLOG, SOCKET_BUFFER_BYTES, TICK_READS_MAX};
use crate::server::figures::{Figures, stat};
use cache::memory::class::Class;

/// Settings of memcached for parts that are not here, as memcached says that they are off.
const ABSENT: &[(&str, &str)] = &[
    ("verbosity", "0"),
    ("oldest", "0"),
    ("stat_key_prefix", ":"),
    ("detail_enabled", "no"),
    ("cas_enabled", "yes"),
    ("binding_protocol", "ascii"),
    ("auth_enabled_sasl", "no"),
    ("auth_enabled_ascii", "no"),
    ("maxconns_fast", "yes"),
    ("hashpower_init", "0"),
    ("slab_reassign", "yes"),
    ("slab_automove", "1"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "0"),
    ("slab_automove_freeratio", "0.000"),
    ("lru_crawler", "no"),
    ("lru_crawler_sleep", "0"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
    ("flush_enabled", "yes"),
    ("lru_maintainer_thread", "no"),
    ("lru_segmented", "no"),
    ("hot_lru_pct", "0"),
    ("warm_lru_pct", "0"),
    ("hot_max_factor", "0.00"),
    ("warm_max_factor", "0.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "0"),
    ("watcher_logbuf_size", "0"),
    ("worker_logbuf_size", "0"),
    ("read_buf_mem_limit", "0"),
    ("track_sizes", "no"),
    ("inline_ascii_response", "no"),
    ("ext_item_size", "0"),
    ("ext_item_age", "0"),
    ("ext_low_ttl", "0"),
    ("ext_recache_rate", "0"),
    ("ext_wbuf_size", "0"),
    ("ext_compact_under", "0"),
    ("ext_drop_under", "0"),
    ("ext_max_sleep", "0"),
    ("ext_max_frag", "0.00"),
    ("ext_drop_unread", "no"),
    ("num_napi_ids", "0"),
    ("memory_file", "(null)"),
    ("ssl_enabled", "no"),
    ("client_flags_size", "4"),
];

/// `STAT name value`
pub fn stats(figures: &Figures, text: &mut String) {
    let (workers, settings) = (figures.workers.len(), &figures.settings);
    stat(text, "maxbytes", figures.memory_bytes);
    streams(figures, text);
    stat(text, "inter", figures.listen.ip());
    stat(text, "evictions", if settings.evicts { "on" } else { "off" });
    stat(text, "item_size_max", settings.value_bytes_max);
    stat(text, "num_threads", workers);
    stat(text, "num_threads_per_udp", 1);
    stat(text, "growth_factor", format_args!("{:.3}", 1.0 + 1.0 / Class::PER_DOUBLING as f64));
    stat(text, "chunk_size", figures.pool.layout().slots(Class::from_index(0)).slot_bytes);
    stat(text, "slab_chunk_max", figures.pool.layout().slots(Class::CHUNK).slot_bytes);
    stat(text, "reqs_per_event", TICK_READS_MAX);
    stat(text, "hash_algorithm", "foldhash");
    ABSENT.iter().for_each(|(name, value)| stat(text, name, value));
    stat(text, "eviction_policy", settings.policy);
    stat(text, "mean_item", settings.mean_item_bytes);
    stat(text, "io", figures.io.name());
    stat(text, "socket_buffer", SOCKET_BUFFER_BYTES);
}

/// Where it listens, and for whom.
fn streams(figures: &Figures, text: &mut String) {
    let (settings, port) = (&figures.settings, figures.listen.port());
    stat(text, "maxconns", settings.max_connections);
    stat(text, "udpport", if settings.transport.udp { port } else { 0 });
    stat(text, "tcpport", if settings.transport.tcp { port } else { 0 });
    match &settings.unix {
        Some((path, mode)) => {
            stat(text, "domain_socket", path.display());
            stat(text, "umask", mode);
        }
        None => {
            stat(text, "domain_socket", "NULL");
            stat(text, "umask", "700");
        }
    }
    stat(text, "tcp_backlog", LISTEN_BACKLOG);
    stat(text, "idle_timeout", settings.idle_timeout_s);
    stat(text, "shutdown_command", if settings.allow_shutdown { "yes" } else { "no" });
    stat(text, "dump_enabled", "yes");
}
