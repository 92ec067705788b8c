//! `sherwood load`: flags → [`Plan`] → fill, run or search → table, JSON, interval log, exit code.

mod args;

pub use args::Args;

use super::ExitResult;
use crate::load::plan::{Plan, Stage};
use crate::load::report::Report;
use crate::load::run::{Context, Measured, Merged, run as run_stage};
use crate::load::search::{Objective, search};
use crate::load::tally::Tally;
use crate::load::workload::Verb;
use crate::stats::histogram::IntervalLog;
use cache::base::sync::Ordering;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// A fill that nobody has answered for so long is given up, in nanoseconds.
const SILENCE_MAX_NS: u64 = 5_000_000_000;

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    let mut run = Run { plan: args.plan()?, args, fill: None, log: None, epoch_ns: 0 };
    let context = Context::new(&run.plan);
    end_on_interrupt(&context)?;
    if args.fill {
        run.fill = Some(fill(&run.plan, &context, &args.target)?);
    }
    run.open_log(&context)?;
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
    log: Option<IntervalLog<BufWriter<File>>>,
    epoch_ns: u64,
}

impl Run<'_> {
    fn once(&mut self, context: &Context) -> ExitResult {
        let measured = self.measure(context)?;
        self.end_log()?;
        let report = self.report(&measured);
        self.show(&report, report.json())?;
        self.judge(&report)
    }

    /// Searches for the highest rate; the report is that of the best step.
    fn search(&mut self, context: &Context, objective: &Objective) -> ExitResult {
        let start_per_s = self.plan.rate_per_s.unwrap_or(10_000.0);
        let mut best: Option<(f64, Measured)> = None;
        let (rate_per_s, steps) = search(start_per_s, &mut |rate| {
            self.plan.rate_per_s = Some(rate.round());
            let measured = self.measure(context)?;
            if context.stop.load(Ordering::Relaxed) {
                return Err("the search was interrupted".into());
            }
            let missed = objective.missed(&self.report(&measured));
            let summary = measured.latencies.all().summary();
            eprintln!(
                "{rate:>12.0}/s  p50 {:>8.1} µs  p99 {:>8.1} µs  {}",
                summary.p50,
                summary.p99,
                missed.as_deref().unwrap_or("holds")
            );
            if missed.is_none() && best.as_ref().is_none_or(|b| rate >= b.0) {
                best = Some((rate, measured));
            }
            Ok::<_, Box<dyn std::error::Error>>(missed)
        })?;
        self.end_log()?;
        let Some((rate, measured)) = best else {
            return Err(format!(
                "no rate down to {:.0}/s meets `{}`: {}",
                steps.last().map_or(start_per_s, |s| s.rate_per_s),
                objective.text(),
                steps.last().and_then(|s| s.missed.as_deref()).unwrap_or("nothing was run")
            )
            .into());
        };
        self.plan.rate_per_s = Some(rate.round());
        let report = self.report(&measured);
        let mut json = report.json();
        json["search"] = serde_json::json!({
            "objective": objective.text(), "best_rate_per_s": rate_per_s, "steps": steps,
        });
        self.show(&report, json)?;
        if self.args.json.is_none() {
            println!("`{}` holds up to {rate:.0} requests a second", objective.text());
        }
        self.judge(&report)
    }

    fn measure(&mut self, context: &Context) -> Result<Measured, String> {
        let shown = std::io::stderr().is_terminal();
        let (log, epoch_ns) = (&mut self.log, self.epoch_ns);
        let mut failed = None;
        let measured = run_stage(&self.plan, context, Stage::Measure, &mut |merged| {
            if let Some(log) = log {
                failed = failed.take().or(write_interval(log, merged, epoch_ns).err());
            }
            if shown {
                progress(merged);
            }
        })?;
        if shown {
            eprint!("\r\x1b[K");
        }
        match failed {
            Some(error) => Err(format!("--out: the interval log cannot be written: {error}")),
            None => Ok(measured),
        }
    }

    fn report<'a>(&'a self, measured: &'a Measured) -> Report<'a> {
        Report {
            measured,
            offered_per_s: self.plan.rate_per_s,
            recorded: self.plan.recorded,
            fill: self.fill.as_ref(),
            verify: self.plan.verify,
            trace: self.plan.trace.as_deref(),
        }
    }

    fn judge(&self, report: &Report) -> ExitResult {
        let tally = &report.measured.tally;
        if tally.sent() == 0 && report.measured.unsent > 0 {
            return Err("nothing was sent in time: the rate is far beyond what this run can do; lower --rate, or more \
                        --connections and --threads"
                .into());
        }
        if tally.answered() == 0 && tally.sent() > 0 {
            return Err(no_reply(&self.args.target, tally).into());
        }
        if tally.events.wrong > 0 {
            return Err(
                format!("{} values of {} were wrong", tally.events.wrong, tally.events.checked).into()
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn open_log(&mut self, context: &Context) -> Result<(), String> {
        let Some(path) = &self.args.out else { return Ok(()) };
        let about = format!("sherwood load {}", self.args.target.join(" "));
        let wrong = |e: std::io::Error| format!("--out {}: {e}", path.display());
        let file = File::create(path).map_err(wrong)?;
        self.epoch_ns = context.clock.now().ns;
        let log = IntervalLog::begin(BufWriter::new(file), SystemTime::now(), &about).map_err(wrong)?;
        self.log = Some(log);
        Ok(())
    }

    fn end_log(&mut self) -> std::io::Result<()> {
        self.log.take().map_or(Ok(()), |log| log.finish().map(|_| ()))
    }

    fn show(&self, report: &Report, json: serde_json::Value) -> Result<(), String> {
        match &self.args.json {
            Some(path) if path.as_os_str() == "-" => {
                println!("{json:#}");
                eprint!("{}", report.text());
            }
            Some(path) => {
                std::fs::write(path, format!("{json:#}\n"))
                    .map_err(|e| format!("--json {}: {e}", path.display()))?;
                print!("{}", report.text());
            }
            None => print!("{}", report.text()),
        }
        Ok(())
    }
}

/// The first interrupt ends the run, which then reports; the second ends the process.
fn end_on_interrupt(context: &Context) -> Result<(), String> {
    let wrong =
        |e: std::io::Error| format!("cannot watch for signals: {e}; see ulimit -u, ulimit -n and pids.max");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(wrong)?;
    let stop = context.stop.clone();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Relaxed: a wish that publishes nothing.
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(128 + signal);
            }
        }
    });
    thread.map(drop).map_err(wrong)
}

fn no_reply(targets: &[String], tally: &Tally) -> String {
    let what = match tally.events.unreachable {
        0 => "is a server listening there on UDP?",
        _ => "its machine says that nobody listens on that UDP port;",
    };
    format!("no reply at all from {}: {what} memcached needs -U PORT", targets.join(", "))
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
            eprint!("\r\x1b[Kfill: {answered} of {} keys", plan.keys.keys());
        }
    })?;
    if shown {
        eprint!("\r\x1b[K");
    }
    if filled.tally.answered() == 0 && filled.tally.sent() > 0 {
        return Err(no_reply(targets, &filled.tally));
    }
    let counts = filled.tally.of(Verb::Set);
    eprintln!(
        "fill: {} keys in {:.2} s, {} lost and sent again, {} errors, {} missing",
        plan.keys.keys() - filled.unfilled,
        filled.seconds,
        counts.lost,
        counts.errors,
        filled.unfilled
    );
    Ok(filled)
}

fn progress(merged: &Merged) {
    let all = merged.latencies.all().summary();
    let seconds = (merged.end_ns - merged.start_ns).max(1) as f64 / 1e9;
    let (answered, lost) = (merged.latencies.all().count() as f64, merged.latencies.lost.count() as f64);
    eprint!(
        "\r\x1b[K{:>11.0}/s  p50 {:.1} µs  p99 {:.1} µs  lost {:.3} %",
        answered / seconds,
        all.p50,
        all.p99,
        100.0 * lost / (answered + lost).max(1.0)
    );
}

fn write_interval<W: Write>(log: &mut IntervalLog<W>, merged: &Merged, epoch_ns: u64) -> std::io::Result<()> {
    let at = Duration::from_nanos(merged.start_ns.saturating_sub(epoch_ns));
    let length = Duration::from_nanos(merged.end_ns - merged.start_ns);
    for command in Verb::ALL {
        log.write(command.name(), at, length, merged.latencies.of(command))?;
    }
    log.write("lost", at, length, &merged.latencies.lost)
}
