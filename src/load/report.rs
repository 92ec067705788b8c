//! What a run came to: the JSON object, and the table for people.

use super::replay::Trace;
use super::run::Measured;
use super::transport::Kind;
use super::workload::Verb;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Busy share from which the client is taken for the limit, 0..=1.
pub const BUSY_SHARE_LIMIT: f64 = 0.9;

/// How many times as much a client should be able to ask as it did, before its figures are called the server's.
pub const HEADROOM_MIN: f64 = 1.5;

const _: () = assert!(1.0 / BUSY_SHARE_LIMIT < HEADROOM_MIN, "a client that is the limit has no headroom");

/// 99th percentile of the client's own delay from which an open loop is taken for late, in microseconds.
pub const SEND_LAG_US_LIMIT: f64 = 1000.0;

/// A run's result with what is needed to judge it.
pub struct Report<'a> {
    /// The measurement.
    pub measured: &'a Measured,
    /// How requests travelled.
    pub transport: Kind,
    /// Requests a second that were asked for, of an open loop.
    pub offered_per_s: Option<f64>,
    /// A trace was replayed at its own times: an open loop, too.
    pub recorded: bool,
    /// The fill before it.
    pub fill: Option<&'a Measured>,
    /// Values were checked.
    pub verify: bool,
    /// The trace that was replayed.
    pub trace: Option<&'a Trace>,
}

impl Report<'_> {
    /// Share of the gets that hit, 0..=1; lost ones are in neither part.
    pub fn hit_ratio(&self) -> f64 {
        let get = self.measured.tally.of(Verb::Get);
        get.hits as f64 / (get.hits + get.misses).max(1) as f64
    }

    /// Why the client and not the server set the rate or the latency, if it did.
    pub fn client_limit(&self) -> Option<String> {
        let busy = self.measured.busy_share;
        let lag_us = self.measured.latencies.send_lag.summary().p99;
        match self.offered_per_s {
            Some(_) if self.measured.tally.events.ids_exhausted > 0 => Some(
                "so many requests waited for replies that the request ids ran out: more --connections, or a shorter \
                 --timeout"
                    .into(),
            ),
            // An open loop that keeps its schedule is no limit, however busy.
            Some(_) if lag_us > SEND_LAG_US_LIMIT => Some(format!(
                "requests left late (p99 {lag_us:.0} µs, busiest thread {:.0} % busy): more --threads, or --cpus of its own",
                busy * 100.0
            )),
            None if self.recorded => None,
            None if busy >= BUSY_SHARE_LIMIT => Some(format!(
                "its busiest thread had no rest ({:.0} % busy): more --threads, or --cpus of its own",
                busy * 100.0
            )),
            _ => None,
        }
    }

    /// How many times as much the client could have asked, in a closed loop: what its busiest thread was idle, filled with
    /// the same work. At least that much: larger trains cost less a request.
    pub fn headroom(&self) -> Option<f64> {
        let is_closed = self.offered_per_s.is_none() && !self.recorded;
        is_closed.then(|| headroom(self.measured.busy_share))
    }

    /// The JSON object. `commands` holds those that were sent.
    pub fn json(&self) -> Value {
        let Measured { tally, latencies, seconds, .. } = self.measured;
        let mut commands = Map::new();
        for command in Verb::ALL {
            let counts = tally.of(command);
            if counts.sent == 0 {
                continue;
            }
            let answered = counts.hits + counts.misses + counts.errors;
            commands.insert(
                command.name().into(),
                json!({
                    "sent": counts.sent, "hits": counts.hits, "misses": counts.misses, "lost": counts.lost,
                    "errors": counts.errors, "rate_per_s": answered as f64 / seconds,
                    "latency_us": latencies.of(command).summary(),
                }),
            );
        }
        let mut object = json!({
            "commands": commands,
            "verify": {
                "enabled": self.verify, "checked": tally.events.checked, "wrong": tally.events.wrong,
                "stale": tally.events.stale,
            },
            "transport": self.transport.name(),
            "seconds": seconds,
            "rate_per_s": self.rate_per_s(),
            "offered_per_s": self.offered_per_s,
            "loss_ratio": self.loss_ratio(),
            "hit_ratio": self.hit_ratio(),
            "first_error": tally.first_error.text(),
            "events": tally.events,
            "client": {
                "busy_share": self.measured.busy_share, "cpu_share": self.measured.cpu_share,
                "limited": self.client_limit().is_some(), "headroom": self.headroom(),
                "send_lag_us": latencies.send_lag.summary(),
                "stalls": self.measured.stalls, "unsent": self.measured.unsent, "trains_split": self.measured.trains_split,
            },
        });
        if let Some(fill) = self.fill {
            let counts = fill.tally.of(Verb::Set);
            object["fill"] = json!({
                "sent": counts.sent, "stored": counts.hits, "lost": counts.lost, "errors": counts.errors,
                "unfilled": fill.unfilled, "seconds": fill.seconds,
                "latency_us": fill.latencies.of(Verb::Set).summary(),
            });
        }
        if let Some(trace) = self.trace {
            object["trace"] = json!({
                "records": trace.steps.len(), "keys": trace.names.len(), "sizes_unknown": trace.sizes_unknown,
                "followed": tally.events.followed,
            });
        }
        object
    }

    /// Keys answered a second.
    pub fn rate_per_s(&self) -> f64 {
        self.measured.tally.answered() as f64 / self.measured.seconds
    }

    /// Share of what was sent that was lost, 0..=1.
    pub fn loss_ratio(&self) -> f64 {
        let tally = &self.measured.tally;
        tally.lost() as f64 / tally.sent().max(1) as f64
    }

    /// The table for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out).expect("a string takes everything");
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let Measured { tally, latencies, seconds, .. } = self.measured;
        writeln!(
            out,
            "{:<7} {:>12} {:>12} {:>11} {:>9} {:>8} {:>11}  {:>9} {:>9} {:>9} {:>9} {:>9}",
            "command",
            "sent",
            "hits",
            "misses",
            "lost",
            "errors",
            "per second",
            "p50 µs",
            "p90",
            "p99",
            "p99.9",
            "max"
        )?;
        for command in Verb::ALL {
            let counts = tally.of(command);
            if counts.sent == 0 {
                continue;
            }
            let l = latencies.of(command).summary();
            let rate = (counts.hits + counts.misses + counts.errors) as f64 / seconds;
            writeln!(
                out,
                "{:<7} {:>12} {:>12} {:>11} {:>9} {:>8} {:>11.0}  {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                command.name(),
                counts.sent,
                counts.hits,
                counts.misses,
                counts.lost,
                counts.errors,
                rate,
                l.p50,
                l.p90,
                l.p99,
                l.p999,
                l.max
            )?;
        }
        self.write_notes(out)
    }

    fn write_notes(&self, out: &mut String) -> std::fmt::Result {
        self.write_trace(out)?;
        self.write_rates(out)?;
        self.write_errors(out)?;
        self.write_events(out)?;
        self.write_values(out)?;
        self.write_limit(out)
    }

    fn write_trace(&self, out: &mut String) -> std::fmt::Result {
        if let Some(trace) = self.trace {
            write!(out, "trace: {} records of {} keys", trace.steps.len(), trace.names.len())?;
            match trace.sizes_unknown {
                0 => writeln!(out)?,
                unknown => writeln!(out, "; {unknown} sizes unknown, taken from --value-size")?,
            }
        }
        if self.trace.is_some() || self.measured.tally.of(Verb::Get).misses > 0 {
            writeln!(out, "hit ratio {:.4}", self.hit_ratio())?;
        }
        Ok(())
    }

    fn write_rates(&self, out: &mut String) -> std::fmt::Result {
        let (rate, lost) = (self.rate_per_s(), self.loss_ratio() * 100.0);
        match self.offered_per_s {
            _ if self.recorded => writeln!(
                out,
                "open loop at the trace's own times: answered {rate:.0}/s, lost {lost:.3} %; latency from those times"
            ),
            Some(offered) => writeln!(
                out,
                "open loop: offered {offered:.0}/s, answered {rate:.0}/s, lost {lost:.3} %{}; latency from the intended \
                 send time",
                self.never_sent()
            ),
            None => writeln!(
                out,
                "closed loop: answered {rate:.0}/s, lost {lost:.3} %; a server that stalls stalls this client too, so \
                 pauses hide from these percentiles: use --rate to see them"
            ),
        }
    }

    /// What an open loop was behind with at its end, if anything.
    fn never_sent(&self) -> String {
        let (sent, unsent) = (self.measured.tally.sent(), self.measured.unsent);
        match unsent {
            0 => String::new(),
            _ => format!(", never sent {:.3} %", unsent as f64 / (sent + unsent) as f64 * 100.0),
        }
    }

    fn write_errors(&self, out: &mut String) -> std::fmt::Result {
        let tally = &self.measured.tally;
        match tally.first_error.text() {
            Some(first) if tally.errors() > 0 => {
                writeln!(
                    out,
                    "errors: {} of {} answers; the first: {first}",
                    tally.errors(),
                    tally.answered()
                )
            }
            _ => Ok(()),
        }
    }

    /// What happened to replies and sends, where it happened at all.
    fn write_events(&self, out: &mut String) -> std::fmt::Result {
        let events = &self.measured.tally.events;
        let counted = [
            ("late", events.late),
            ("duplicate", events.duplicate),
            ("reordered", events.reordered),
            ("unknown", events.unknown),
            ("mismatched", events.mismatched),
            ("garbage", events.garbage),
            ("unreachable", events.unreachable),
            ("send blocked", events.send_blocked),
            ("send failed", events.send_failed),
            ("due and never sent", self.measured.unsent),
            ("ids exhausted", events.ids_exhausted),
            ("window full", events.window_full),
            ("disconnects", events.disconnects),
            ("reconnects", events.reconnects),
            ("given up", events.given_up),
            ("reassembly full", events.reassembly_full),
            ("trains split", self.measured.trains_split),
        ];
        let counted: Vec<String> =
            counted.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        match counted.is_empty() {
            true => Ok(()),
            false => writeln!(out, "replies and sends: {}", counted.join(", ")),
        }
    }

    fn write_values(&self, out: &mut String) -> std::fmt::Result {
        let events = &self.measured.tally.events;
        if events.clamped > 0 {
            writeln!(out, "{} values did not fit a request and were cut to what does", events.clamped)?;
        }
        if events.raised > 0 {
            writeln!(
                out,
                "{} values were made longer, to 24 bytes, so that they can be checked",
                events.raised
            )?;
        }
        if self.verify {
            writeln!(
                out,
                "verify: {} checked, {} wrong, {} stale",
                events.checked, events.wrong, events.stale
            )?;
        }
        Ok(())
    }

    fn write_limit(&self, out: &mut String) -> std::fmt::Result {
        match (self.client_limit(), self.headroom()) {
            (Some(why), _) => writeln!(out, "THE CLIENT WAS THE LIMIT: {why}"),
            (None, Some(headroom)) if headroom < HEADROOM_MIN => writeln!(
                out,
                "the client could have asked {headroom:.1} times as much, less than {HEADROOM_MIN}: this may be its limit \
                 and not the server's; more --threads, or --cpus of its own"
            ),
            _ => Ok(()),
        }
    }
}

fn headroom(busy_share: f64) -> f64 {
    const HEADROOM_MAX: f64 = 100.0;
    (1.0 / busy_share.max(1.0 / HEADROOM_MAX)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_what_idle_time_would_hold() {
        for (busy, want) in [(0.0, 100.0), (0.25, 4.0), (0.8, 1.25), (1.0, 1.0), (1.1, 1.0)] {
            assert_eq!(headroom(busy), want);
        }
    }
}
