//! `sherwood load`: flags → [`Plan`] → fill, run or search → table, JSON, interval log, exit code.

mod args;
mod log;
mod search;
mod signals;
pub(super) mod target;

pub use args::Args;

use super::{ExitResult, out};
use crate::load::plan::{Plan, Stage};
use crate::load::report::Report;
use crate::load::run::{Context, Measured, Merged, run as run_stage};
use crate::load::tally::Tally;
use crate::load::transport::Kind;
use crate::load::workload::Verb;
use cache::base::sync::Ordering;
use log::OutLog;
use std::io::IsTerminal;
use std::process::ExitCode;

/// A fill that nobody has answered for so long is given up, in nanoseconds.
const SILENCE_MAX_NS: u64 = 5_000_000_000;

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    let mut run = Run { plan: args.plan()?, args, fill: None, log: None };
    let context = Context::new(&run.plan);
    signals::end_early(&context.stop)?;
    // What cannot be written is told before the run, not after it.
    run.check_json()?;
    if let Some(path) = &args.out {
        run.log = Some(OutLog::open(path, &args.target, context.clock.now().ns)?);
    }
    if args.fill {
        run.fill = Some(fill(&run.plan, &context, &args.target)?);
    }
    match &args.search {
        Some(objective) => run.search(&context, objective),
        None => run.once(&context),
    }
}

/// A run under way.
struct Run<'a> {
    args: &'a Args,
    plan: Plan,
    fill: Option<Measured>,
    log: Option<OutLog>,
}

impl Run<'_> {
    fn once(&mut self, context: &Context) -> ExitResult {
        let measured = self.measure(context)?;
        let log = self.end_log();
        let report = self.report(&measured);
        self.show(&report, report.json(), "")?;
        self.judge(&report)?;
        Ok(log.map(|()| ExitCode::SUCCESS)?)
    }

    fn measure(&mut self, context: &Context) -> Result<Measured, String> {
        let shown = std::io::stderr().is_terminal();
        let log = &mut self.log;
        let measured = run_stage(&self.plan, context, Stage::Measure, &mut |merged| {
            if let Some(log) = log {
                log.write(merged);
            }
            if shown {
                progress(merged);
            }
        })?;
        if shown {
            out::show("\r\x1b[K");
        }
        Ok(measured)
    }

    fn report<'a>(&'a self, measured: &'a Measured) -> Report<'a> {
        Report {
            measured,
            transport: self.plan.transport,
            offered_per_s: self.plan.rate_per_s,
            recorded: self.plan.recorded,
            fill: self.fill.as_ref(),
            verify: self.plan.verify,
            trace: self.plan.trace.as_deref(),
        }
    }

    /// What makes a run a failure, whatever it measured.
    fn judge(&self, report: &Report) -> Result<(), String> {
        let tally = &report.measured.tally;
        if tally.sent() == 0 && report.measured.unsent > 0 {
            return Err("nothing was sent in time: the rate is far beyond what this run can do; lower --rate, or more \
                        --connections and --threads"
                .into());
        }
        if tally.answered() == 0 && tally.sent() > 0 {
            return Err(no_reply(&self.plan, &self.args.target, tally));
        }
        if let Some(why) = only_errors(&self.args.target, tally) {
            return Err(why);
        }
        match tally.events.wrong {
            0 => Ok(()),
            wrong => Err(format!("{wrong} values of {} were wrong", tally.events.checked)),
        }
    }

    fn end_log(&mut self) -> Result<(), String> {
        self.log.take().map_or(Ok(()), OutLog::end)
    }

    /// Table and JSON object; neither is lost because the other cannot be written.
    fn show(&self, report: &Report, json: serde_json::Value, note: &str) -> Result<(), String> {
        let text = report.text() + note;
        let written = self.write_json(&json);
        if self.prints_json() {
            out::show(text);
            return written;
        }
        out::print(text).and(written)
    }

    fn prints_json(&self) -> bool {
        self.args.json.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Whether the file of `--json` can be written; it stays as it is. A pipe is left alone: its reader would see an end.
    fn check_json(&self) -> Result<(), String> {
        let Some(path) = self.args.json.as_ref().filter(|_| !self.prints_json()) else { return Ok(()) };
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Ok(());
        }
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        opened.map(drop).map_err(|e| format!("--json {}: {e}", path.display()))
    }

    /// Writes the object where `--json` says, if it says.
    fn write_json(&self, json: &serde_json::Value) -> Result<(), String> {
        match &self.args.json {
            None => Ok(()),
            Some(_) if self.prints_json() => out::line(format_args!("{json:#}")),
            Some(path) => std::fs::write(path, format!("{json:#}\n"))
                .map_err(|e| format!("--json {}: {e}", path.display())),
        }
    }
}

/// The line for a server that refuses everything; `None` if it did something.
fn only_errors(targets: &[String], tally: &Tally) -> Option<String> {
    let errors = tally.errors();
    (errors > 0 && errors == tally.answered()).then(|| {
        let first = tally.first_error.text().unwrap_or_default();
        format!(
            "nothing but errors from {}: {errors} of {errors} answers; the first: {first}",
            targets.join(", ")
        )
    })
}

/// What to do about a server that may not have UDP.
const UDP_REMEDY: &str =
    "if the server has TCP only, add --transport tcp (memcached needs -U PORT to have UDP)";

fn no_reply(plan: &Plan, targets: &[String], tally: &Tally) -> String {
    let what = match (plan.transport, tally.events.unreachable, tally.events.disconnects) {
        (Kind::Udp, 0, _) => format!("is a server listening there on UDP? {UDP_REMEDY}"),
        (Kind::Udp, _, _) => format!("its machine says that nobody listens on that UDP port; {UDP_REMEDY}"),
        (_, _, 0) => "it takes connections and does not answer; is it a memcached?".into(),
        (_, _, times) => {
            let first = tally.first_error.text().map(|error| format!(" after saying {error}"));
            format!("it closed the connection {times} times{}; is it a memcached?", first.unwrap_or_default())
        }
    };
    format!("no reply at all from {}: {what}", targets.join(", "))
}

/// Fills the cache; gives up on servers that answer nothing at all for [`SILENCE_MAX_NS`].
fn fill(plan: &Plan, context: &Context, targets: &[String]) -> Result<Measured, String> {
    let shown = std::io::stderr().is_terminal();
    let begin_ns = context.clock.now().ns;
    let filled = run_stage(plan, context, Stage::Fill, &mut |merged| {
        let answered = merged.tally.answered();
        if answered == 0 && merged.end_ns.saturating_sub(begin_ns) > SILENCE_MAX_NS {
            // Relaxed: a wish that publishes nothing.
            context.stop.store(true, Ordering::Relaxed);
        }
        if shown {
            out::show(format_args!("\r\x1b[Kfill: {answered} of {} keys", plan.keys.keys()));
        }
    })?;
    if shown {
        out::show("\r\x1b[K");
    }
    if filled.tally.answered() == 0 && filled.tally.sent() > 0 {
        return Err(no_reply(plan, targets, &filled.tally));
    }
    if let Some(why) = only_errors(targets, &filled.tally) {
        return Err(format!("--fill: {why}"));
    }
    let counts = filled.tally.of(Verb::Set);
    let first_error = filled.tally.first_error.text().map(|first| format!("; the first error: {first}"));
    out::say(format_args!(
        "fill: {} keys in {:.2} s, {} lost and sent again, {} errors, {} missing{}",
        plan.keys.keys() - filled.unfilled,
        filled.seconds,
        counts.lost,
        counts.errors,
        filled.unfilled,
        first_error.unwrap_or_default()
    ));
    // Relaxed: a wish that publishes nothing.
    if context.stop.load(Ordering::Relaxed) {
        return Err("interrupted during the fill: nothing was measured".into());
    }
    Ok(filled)
}

fn progress(merged: &Merged) {
    let all = merged.latencies.all().summary();
    let seconds = (merged.end_ns - merged.start_ns).max(1) as f64 / 1e9;
    let (answered, lost) = (merged.latencies.all().count() as f64, merged.latencies.lost.count() as f64);
    out::show(format_args!(
        "\r\x1b[K{:>11.0}/s  p50 {:.1} µs  p99 {:.1} µs  lost {:.3} %",
        answered / seconds,
        all.p50,
        all.p99,
        100.0 * lost / (answered + lost).max(1.0)
    ));
}
