//! `--search`: runs at many rates; the report is that of the best one that held.

use super::{ExitResult, Run, out};
use crate::load::run::{Context, Measured};
use crate::load::search::{Found, Objective, Tried, search};
use cache::base::sync::Ordering;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Where a search begins unless `--rate` says it, in requests a second.
const START_PER_S: f64 = 10_000.0;

/// A measurement and the rate that was offered in it.
type Step = (f64, Measured);

impl Run<'_> {
    /// Searches for the highest rate at which the objective holds. An interrupt ends it with the best rate until then.
    pub(super) fn search(&mut self, context: &Context, objective: &Objective) -> ExitResult {
        let start_per_s = self.plan.rate_per_s.unwrap_or(START_PER_S);
        let (mut best, mut last): (Option<Step>, Option<Step>) = (None, None);
        let found = search(start_per_s, &mut |rate| {
            let (measured, tried) = self.try_rate(context, objective, rate)?;
            let is_best = tried == Tried::Held && best.as_ref().is_none_or(|best| rate >= best.0);
            *if is_best { &mut best } else { &mut last } = Some((rate, measured));
            Ok::<_, String>(tried)
        })?;
        let log = self.end_log();
        match best {
            Some(best) => self.show_best(objective, &found, best)?,
            None => return self.show_none(objective, &found, last),
        }
        Ok(log.map(|()| ExitCode::SUCCESS)?)
    }

    /// Runs one step and tells a person of it.
    fn try_rate(
        &mut self,
        context: &Context,
        objective: &Objective,
        rate: f64,
    ) -> Result<(Measured, Tried), String> {
        self.plan.rate_per_s = Some(rate.round());
        let measured = self.measure(context)?;
        // Relaxed: a wish that publishes nothing.
        if context.stop.load(Ordering::Relaxed) {
            return Ok((measured, Tried::Interrupted));
        }
        let missed = objective.missed(&self.report(&measured));
        let summary = measured.latencies.all().summary();
        out::say(format_args!(
            "{rate:>12.0}/s  p50 {:>8.1} µs  p99 {:>8.1} µs  {}",
            summary.p50,
            summary.p99,
            missed.as_deref().unwrap_or("holds")
        ));
        Ok((measured, missed.map_or(Tried::Held, Tried::Missed)))
    }

    fn show_best(
        &mut self,
        objective: &Objective,
        found: &Found,
        (rate, measured): Step,
    ) -> Result<(), String> {
        self.plan.rate_per_s = Some(rate.round());
        let report = self.report(&measured);
        let mut json = report.json();
        json["search"] = object(objective, found);
        let until =
            if found.is_interrupted { "; the search was interrupted, a higher rate may hold" } else { "" };
        let note = format!("`{}` holds up to {rate:.0} requests a second{until}\n", objective.text());
        self.show(&report, json, &note)?;
        self.judge(&report)
    }

    /// No rate held: the object tells of the last step.
    fn show_none(&mut self, objective: &Objective, found: &Found, last: Option<Step>) -> ExitResult {
        let mut json = json!({});
        let mut last_error = String::new();
        if let Some((rate, measured)) = &last {
            self.plan.rate_per_s = Some(rate.round());
            json = self.report(measured).json();
            if let Some(error) = measured.tally.first_error.text() {
                last_error = format!("; the first error: {error}");
            }
        }
        json["search"] = object(objective, found);
        self.write_json(&json)?;
        let text = objective.text();
        if found.is_interrupted {
            return Err(
                format!("the search was interrupted before `{text}` held at any rate{last_error}").into()
            );
        }
        let lowest = found.steps.last();
        Err(format!(
            "no rate down to {:.0}/s meets `{text}`: {}{last_error}",
            lowest.map_or(0.0, |step| step.rate_per_s),
            lowest.and_then(|step| step.missed.as_deref()).unwrap_or("nothing was run")
        )
        .into())
    }
}

fn object(objective: &Objective, found: &Found) -> Value {
    json!({
        "objective": objective.text(), "best_rate_per_s": found.best_per_s, "steps": found.steps,
        "interrupted": found.is_interrupted,
    })
}
