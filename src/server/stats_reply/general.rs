//! `stats`: the server as a whole.

use super::unknown;
use crate::VERSION;
use crate::server::figures::{Figures, stat};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// `STAT name value`
pub fn stats(figures: &Figures, text: &mut String) {
    process(figures, text);
    sockets(figures, text);
    memory(figures, text);
    items(figures, text);
    counted(figures, text);
    unknown::stats("", unknown::GENERAL, text);
    // The word of memcached's that is no number.
    stat(text, "slab_reassign_last_busy_status", "none");
}

fn process(figures: &Figures, text: &mut String) {
    let now = figures.clock.now();
    stat(text, "pid", std::process::id());
    stat(text, "uptime", now.s());
    stat(text, "time", now.unix_s);
    stat(text, "version", VERSION);
    stat(text, "libevent", "none");
    stat(text, "pointer_size", 64);
    // A kernel that does not tell is no reason to answer nothing.
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        stat(text, "rusage_user", seconds(usage.user_time()));
        stat(text, "rusage_system", seconds(usage.system_time()));
    }
    stat(text, "threads", figures.workers.len());
    stat(text, "io", figures.io.name());
    stat(text, "steering", if figures.steering { "kernel" } else { "none" });
}

fn seconds(time: TimeVal) -> String {
    format!("{}.{:06}", time.tv_sec(), time.tv_usec())
}

fn sockets(figures: &Figures, text: &mut String) {
    stat(text, "max_connections", figures.settings.max_connections);
    stat(text, "connection_structures", figures.of_workers(|worker| &worker.curr_connections));
    stat(text, "accepting_conns", 1);
}

fn memory(figures: &Figures, text: &mut String) {
    stat(text, "limit_maxbytes", figures.memory_bytes);
    for report in &figures.reports {
        stat(text, &format!("{}_asked_bytes", report.name), report.asked_bytes);
        stat(text, &format!("{}_granted_bytes", report.name), report.granted_bytes);
        stat(text, &format!("{}_pages", report.name), report.granted_kind);
    }
    let page_bytes = figures.pool.layout().page_bytes;
    let lines = figures.of_owners(|owner| &owner.table_slots);
    stat(text, "hash_power_level", lines.max(1).ilog2());
    stat(text, "hash_bytes", figures.pool.index_pages() * page_bytes);
    stat(text, "hash_is_expanding", (figures.pool.gathered_pages() > 0) as u8);
    stat(text, "slab_global_page_pool", figures.pool.free_pages());
    stat(text, "slabs_moved", figures.of_owners(|owner| &owner.pages_moved));
    stat(text, "slab_reassign_rescues", figures.of_owners(|owner| &owner.items_moved));
}

fn items(figures: &Figures, text: &mut String) {
    stat(text, "bytes", figures.of_owners(|owner| &owner.item_bytes));
    let pressure = figures.of_owners(|owner| &owner.evicted_by_pressure);
    let evicted = figures.of_owners(|owner| &owner.evicted_by_policy) + pressure;
    let evicted = evicted + figures.of_owners(|owner| &owner.evicted_by_growth);
    stat(text, "evictions", evicted + figures.of_owners(|owner| &owner.evicted_by_crowding));
    stat(text, "evicted_unfetched", figures.lost(|lost| &lost.evicted_unfetched));
    stat(text, "reclaimed", figures.lost(|lost| &lost.expired));
    stat(text, "expired_unfetched", figures.lost(|lost| &lost.expired_unfetched));
    stat(text, "direct_reclaims", pressure);
    stat(text, "conn_yields", figures.of_workers(|worker| &worker.yielded));
}

/// Every figure that was declared, under its own name.
fn counted(figures: &Figures, text: &mut String) {
    let all = [figures.owner_figures(), figures.worker_figures(), figures.other_figures()];
    all.concat().iter().for_each(|(name, value)| stat(text, name, value));
}
