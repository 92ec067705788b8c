//! What exporters and clients read of `stats`: every name of memcached's is there, and says what it says there.

mod support;

use sherwood::config::serve::Io;
use sherwood::server::Server;
use std::collections::BTreeMap;
use support::memcached::Memcached;
use support::peer::Peer;

/// Names of `stats` in memcached 1.6.18 and 1.6.45.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
    curr_connections total_connections rejected_connections connection_structures response_obj_oom response_obj_count \
    response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set \
    cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses \
    incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large \
    store_no_memory auth_cmds auth_errors bytes_read bytes_written limit_maxbytes accepting_conns listen_disabled_num \
    time_in_listen_disabled_us threads conn_yields hash_power_level hash_bytes hash_is_expanding \
    slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_evictions_nomem slab_reassign_inline_reclaim \
    slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem slab_reassign_last_busy_status \
    slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails \
    log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers unexpected_napi_ids \
    round_robin_fallback bytes curr_items total_items slab_global_page_pool expired_unfetched evicted_unfetched \
    evicted_active evictions reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold \
    moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions domain_socket umask \
    shutdown_command growth_factor chunk_size num_threads num_threads_per_udp stat_key_prefix detail_enabled \
    reqs_per_event cas_enabled tcp_backlog binding_protocol auth_enabled_sasl auth_enabled_ascii item_size_max \
    maxconns_fast hashpower_init slab_reassign slab_automove slab_automove_ratio slab_automove_window slab_chunk_max \
    lru_crawler lru_crawler_sleep lru_crawler_tocrawl tail_repair_time flush_enabled dump_enabled hash_algorithm \
    lru_maintainer_thread lru_segmented hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor temp_lru temporary_ttl \
    idle_timeout watcher_logbuf_size worker_logbuf_size read_buf_mem_limit track_sizes inline_ascii_response \
    ext_item_size ext_item_age ext_low_ttl ext_recache_rate ext_wbuf_size ext_compact_under ext_drop_under \
    ext_max_sleep ext_max_frag slab_automove_freeratio ext_drop_unread num_napi_ids memory_file client_flags_size \
   ";

/// Of a class.
const ITEMS: &str = "number number_hot number_warm number_cold age_hot age_warm age mem_requested evicted \
    evicted_nonzero evicted_time outofmemory tailrepairs reclaimed expired_unfetched evicted_unfetched evicted_active \
    crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
    direct_reclaims hits_to_hot hits_to_warm hits_to_cold hits_to_temp";

const SLABS: &str = "chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end \
    get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits mem_requested";

const CONNS: &str = "UDP addr state secs_since_last_cmd";

/// The lines of `stats WHAT`, in order.
fn lines(peer: &mut Peer, what: &str) -> Vec<(String, String)> {
    let text = String::from_utf8(peer.ask(format!("stats {what}\r\n").as_bytes())).unwrap();
    let body = text.strip_suffix("END\r\n").unwrap_or_else(|| panic!("no END: {text}"));
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    };
    body.lines().map(|text| line(text).unwrap_or_else(|| panic!("no figure: {text}"))).collect()
}

fn stats(peer: &mut Peer, what: &str) -> BTreeMap<String, String> {
    lines(peer, what).into_iter().collect()
}

fn number(figures: &BTreeMap<String, String>, name: &str) -> u64 {
    let value = figures.get(name).unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

fn start() -> (Server, Peer) {
    let server = Server::start(support::config(Io::Mmsg, 1), &|_| ()).unwrap();
    let peer = Peer::new(server.addr());
    (server, peer)
}

/// `stats` and `stats items`, of a server that evicts nothing any more.
fn settled(peer: &mut Peer) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    const TRIES: usize = 10_000;
    for _ in 0..TRIES {
        let (before, items, after) = (stats(peer, ""), stats(peer, "items"), stats(peer, ""));
        let is_still = |name| before[name] == after[name];
        if is_still("evictions") && is_still("reclaimed") && is_still("curr_items") {
            return (after, items);
        }
    }
    panic!("the server goes on evicting");
}

/// Of all classes together.
fn of_classes(items: &BTreeMap<String, String>, name: &str) -> u64 {
    items.iter().filter(|(key, _)| last(key) == name).map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// The part of a name behind its class or connection.
fn last(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

#[test]
fn every_name_of_memcacheds_is_told() {
    let (server, mut peer) = start();
    assert_eq!(
        peer.ask(format!("set a 0 0 1\r\nx\r\nset b 0 0 900\r\n{}\r\n", "y".repeat(900)).as_bytes()),
        b"STORED\r\nSTORED\r\n"
    );
    for (what, names) in [("", GENERAL), ("settings", SETTINGS)] {
        let told = stats(&mut peer, what);
        let missing: Vec<_> = names.split_whitespace().filter(|name| !told.contains_key(*name)).collect();
        assert!(missing.is_empty(), "stats {what} lacks {missing:?}");
    }
    for (what, prefix, names) in [("items", "items:", ITEMS), ("slabs", "", SLABS), ("conns", "", CONNS)] {
        let told = stats(&mut peer, what);
        let classes: Vec<_> = told
            .keys()
            .filter_map(|name| name.strip_prefix(prefix)?.split_once(':'))
            .map(|(class, _)| class)
            .collect();
        assert!(!classes.is_empty(), "stats {what}: {told:?}");
        for class in classes {
            for name in names.split_whitespace() {
                assert!(
                    told.contains_key(&format!("{prefix}{class}:{name}")),
                    "stats {what} lacks {class}:{name}"
                );
            }
        }
    }
    server.stop().unwrap();
}

#[test]
fn no_name_is_told_twice() {
    let (server, mut peer) = start();
    peer.ask(b"set a 0 0 1\r\nx\r\n");
    for what in
        ["", "settings", "items", "slabs", "conns", "memory", "policy", "workers", "latency", "buckets"]
    {
        let told = lines(&mut peer, what);
        let mut names: Vec<_> = told.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "stats {what}: {told:?}");
    }
    server.stop().unwrap();
}

/// The lists above are memcached's own, as far as the one that is installed goes.
#[test]
fn the_names_are_memcacheds() {
    let Some(memcached) = Memcached::start() else { return };
    let mut peer = memcached.peer();
    peer.send(b"set a 0 0 1\r\nx\r\n");
    peer.until_fence();
    for (what, names) in
        [("", GENERAL), ("settings", SETTINGS), ("items", ITEMS), ("slabs", SLABS), ("conns", CONNS)]
    {
        peer.send(format!("stats {what}\r\n").as_bytes());
        let text = String::from_utf8(peer.until_fence()).unwrap();
        let told = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        for (name, _) in told {
            let is_total = ["active_slabs", "total_malloced"].contains(&name);
            // Of a build with TLS.
            let is_tls = what == "settings" && name.starts_with("ssl_");
            let is_tcp = what == "conns" && last(name) == "listen_addr";
            assert!(
                is_total || is_tls || is_tcp || names.split_whitespace().any(|known| known == last(name)),
                "memcached has stats {what} {name}"
            );
        }
    }
}

#[test]
fn settings_say_how_the_server_was_started() {
    let (server, mut peer) = start();
    let told = stats(&mut peer, "settings");
    assert_eq!(told["udpport"], server.addr().port().to_string());
    assert_eq!((told["inter"].as_str(), told["evictions"].as_str()), ("127.0.0.1", "on"));
    assert_eq!((number(&told, "maxbytes"), number(&told, "item_size_max")), (32 << 20, 1 << 20));
    assert_eq!(number(&told, "num_threads"), 1);
    let version = &stats(&mut peer, "")["version"];
    let numbers: Vec<u32> = version.split(['.', '-']).take(3).map(|part| part.parse().unwrap()).collect();
    assert_eq!(numbers, [1, 6, 45], "clients parse three numbers");
    assert_eq!(peer.ask(b"version\r\n"), format!("VERSION {version}\r\n").into_bytes());
    server.stop().unwrap();
}

#[test]
fn a_reset_sets_counters_back_and_leaves_what_is() {
    let (server, mut peer) = start();
    peer.ask(b"set a 0 0 1\r\nx\r\nget a b\r\nmg a v\r\ndelete b\r\nincr b 1\r\n");
    let before = stats(&mut peer, "");
    assert_eq!(
        (number(&before, "cmd_set"), number(&before, "get_hits"), number(&before, "get_misses")),
        (1, 2, 1)
    );
    assert_eq!(peer.ask(b"stats reset\r\n"), b"RESET\r\n");
    let after = stats(&mut peer, "");
    for name in [
        "cmd_set",
        "get_hits",
        "get_misses",
        "cmd_get",
        "cmd_meta",
        "delete_misses",
        "incr_misses",
        "total_items",
    ] {
        assert_eq!(number(&after, name), 0, "{name}");
    }
    for name in ["curr_items", "bytes", "limit_maxbytes", "threads"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    peer.ask(b"get a\r\n");
    assert_eq!(number(&stats(&mut peer, ""), "get_hits"), 1);
    // The metrics go on: a counter of Prometheus never falls.
    let hits = server.figures().workers[0].get_hits.get();
    assert_eq!(hits, 3);
    server.stop().unwrap();
}

/// Once each, whichever worker executes it, and the commands behind it.
#[test]
fn meta_commands_are_counted_where_they_are_done() {
    for workers in [1, 2] {
        let Ok(server) = Server::start(support::config(Io::Mmsg, workers), &|_| ()) else {
            println!("SKIPPED: no CPU for {workers} workers");
            continue;
        };
        let mut peer = Peer::new(server.addr());
        for key in 0..50 {
            let datagram = format!(
                "ms k{key} 1\r\nx\r\nmg k{key} v\r\nmg k{key} v T30\r\nma k{key}\r\nmd k{key}\r\nmd k{key}\r\nme k{key}\r\nmn\r\n"
            );
            assert!(peer.ask(datagram.as_bytes()).ends_with(b"MN\r\n"));
        }
        assert_eq!(number(&stats(&mut peer, ""), "cmd_meta"), 50 * 7, "{workers} workers");
        server.stop().unwrap();
    }
}

/// Evicted and expired items, by class and together, and what of them nobody had read.
#[test]
fn what_goes_is_counted_by_class() {
    let (server, mut peer) = start();
    let value = "v".repeat(1000);
    let ask_all = |peer: &mut Peer, keys: std::ops::Range<usize>, ttl: usize| {
        for first in keys.clone().step_by(50) {
            let sets = (first..(first + 50).min(keys.end))
                .map(|key| format!("set k{key} 0 {ttl} 1000\r\n{value}\r\n"));
            let stored = peer.ask(sets.collect::<String>().as_bytes());
            assert!(stored.starts_with(b"STORED"), "{}", stored.escape_ascii());
        }
    };
    ask_all(&mut peer, 0..60_000, 100_000);
    let (all, items) = settled(&mut peer);
    assert!(number(&all, "evictions") > 10_000, "{all:?}");
    // Nobody read any of them, and all had a time to live.
    for name in ["evicted", "evicted_unfetched", "evicted_nonzero"] {
        assert_eq!(of_classes(&items, name), number(&all, "evictions"), "{name}");
    }
    assert_eq!(number(&all, "evicted_unfetched"), number(&all, "evictions"));
    assert_eq!(of_classes(&items, "number"), number(&all, "curr_items"));
    assert_eq!(of_classes(&items, "mem_requested"), number(&all, "bytes"));
    peer.ask(b"flush_all\r\n");
    ask_all(&mut peer, 100_000..140_000, 0);
    let (all, items) = settled(&mut peer);
    assert!(number(&all, "reclaimed") > 0, "{all:?}");
    assert_eq!(of_classes(&items, "reclaimed"), number(&all, "reclaimed"));
    assert_eq!(peer.ask(b"stats reset\r\n"), b"RESET\r\n");
    // What was flushed goes bit by bit, so that some may go behind the reset.
    let (before, (all, items)) = (all, settled(&mut peer));
    for name in ["evictions", "reclaimed", "evicted_unfetched", "expired_unfetched"] {
        assert!(number(&all, name) < number(&before, name), "{name}");
    }
    assert!(of_classes(&items, "evicted") < number(&before, "evictions"));
    server.stop().unwrap();
}
