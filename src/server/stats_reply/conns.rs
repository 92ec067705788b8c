//! `stats conns`: a UDP socket for each worker. Clients have no connections.

use crate::server::figures::{Figures, stat};

/// `STAT WORKER:name value`
pub fn stats(figures: &Figures, text: &mut String) {
    let family = if figures.listen.is_ipv4() { "udp" } else { "udp6" };
    for worker in 0..figures.workers.len() {
        stat(text, &format!("{worker}:UDP"), "UDP");
        stat(text, &format!("{worker}:addr"), format_args!("{family}:{}", figures.listen));
        stat(text, &format!("{worker}:state"), "conn_read");
        // Which command was the last is not kept by socket.
        stat(text, &format!("{worker}:secs_since_last_cmd"), 0);
    }
}
