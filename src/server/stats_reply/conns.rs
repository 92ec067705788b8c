//! `stats conns`: a UDP socket for each worker, and the connections.

use crate::limits::ROSTER_PLACES;
use crate::net::stream::roster::Listed;
use crate::server::figures::{Figures, stat};

/// `STAT NUMBER:name value`
pub fn stats(figures: &Figures, text: &mut String) {
    let workers = figures.workers.len();
    if figures.settings.transport.udp {
        (0..workers).for_each(|worker| socket(figures, worker, text));
    }
    let now_s = figures.clock.now().s();
    for (worker, roster) in figures.rosters.iter().enumerate() {
        for listed in roster.list() {
            let number = workers + worker * ROSTER_PLACES + listed.place;
            connection(figures, number, &listed, now_s, text);
        }
    }
}

fn socket(figures: &Figures, worker: usize, text: &mut String) {
    let family = if figures.listen.is_ipv4() { "udp" } else { "udp6" };
    stat(text, &format!("{worker}:UDP"), "UDP");
    stat(text, &format!("{worker}:addr"), format_args!("{family}:{}", figures.listen));
    stat(text, &format!("{worker}:state"), "conn_read");
    // Which command was the last is not kept by socket.
    stat(text, &format!("{worker}:secs_since_last_cmd"), 0);
}

fn connection(figures: &Figures, number: usize, listed: &Listed, now_s: u64, text: &mut String) {
    match &listed.peer {
        Some(peer) => {
            let family = if peer.is_ipv4() { "tcp" } else { "tcp6" };
            stat(text, &format!("{number}:addr"), format_args!("{family}:{peer}"));
            stat(text, &format!("{number}:listen_addr"), format_args!("{family}:{}", figures.listen));
        }
        None => {
            let path =
                figures.settings.unix.as_ref().map_or(String::new(), |(path, _)| path.display().to_string());
            stat(text, &format!("{number}:addr"), format_args!("unix:{path}"));
        }
    }
    stat(text, &format!("{number}:state"), "conn_read");
    stat(text, &format!("{number}:secs_since_last_cmd"), now_s.saturating_sub(listed.active_s));
}
