//! The highest rate at which an objective still holds: bracket by doubling, then bisect.
//!
//! ```text
//! rate ─▶ ×2 ─▶ ×2 ─▶ ×2 ✗        bracket: the last good and the first bad rate
//!                  ├──✓──┤─✗─     bisect by the geometric mean until they are within 5 %
//! ```
//! Each step is a whole open-loop run. A step that fails is tried once more: noise makes a good rate look bad, and
//! hardly ever a bad one good. At most [`STEPS_MAX`] runs; the answer is the best rate that held, and when even the
//! lowest one did not, there is none.

use super::report::Report;
use std::time::Duration;

/// Runs of one search at most.
pub const STEPS_MAX: usize = 32;
/// The search ends when the bad rate is within this factor of the good one.
pub const FACTOR_MIN: f64 = 1.05;
/// No rate below this is tried, in requests a second.
pub const RATE_MIN: f64 = 10.0;
/// No rate above this is tried, in requests a second.
pub const RATE_MAX: f64 = 1e9;
/// Share of lost requests that an objective without one of its own allows.
pub const LOST_DEFAULT: f64 = 0.001;
/// Share of the offered rate that must have been sent in time for a step to count.
pub const ACHIEVED_MIN: f64 = 0.98;

/// A figure that must stay below a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Median latency.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// Largest latency.
    Max,
    /// Mean latency.
    Mean,
    /// Share of requests lost.
    Lost,
}

const FIGURES: [(&str, Figure); 8] = [
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99", Figure::P99),
    ("p999", Figure::P999),
    ("p99.9", Figure::P999),
    ("max", Figure::Max),
    ("mean", Figure::Mean),
    ("lost", Figure::Lost),
];

/// What must hold: all of its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    text: String,
    /// Figure and bound: microseconds, or a share.
    parts: Vec<(Figure, f64)>,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        let names = "p50, p90, p99, p999, max, mean, lost";
        let mut parts = Vec::new();
        for part in text.split([',', '&']).map(str::trim).filter(|p| !p.is_empty()) {
            let (name, bound) = part
                .split_once('<')
                .ok_or_else(|| format!("`{part}` is not an objective (example: p99<100us,lost<0.1%)"))?;
            let (_, figure) = FIGURES
                .into_iter()
                .find(|(n, _)| *n == name.trim())
                .ok_or_else(|| format!("`{}`: unknown figure ({names})", name.trim()))?;
            let bound = bound.trim_start_matches('=').trim();
            parts.push(match figure {
                Figure::Lost => (figure, super::options::share(bound)?),
                _ if bound.parse::<f64>().is_ok() => {
                    return Err(format!("`{part}`: give a unit, as in 100us"));
                }
                _ => (figure, super::options::duration(bound)?.as_secs_f64() * 1e6),
            });
        }
        if parts.is_empty() {
            return Err("an empty objective (example: p99<100us)".into());
        }
        if !parts.iter().any(|p| p.0 == Figure::Lost) {
            parts.push((Figure::Lost, LOST_DEFAULT));
        }
        Ok(Objective { text: text.to_string(), parts })
    }
}

impl Objective {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why a run misses it; `None`: it holds.
    pub fn missed(&self, report: &Report) -> Option<String> {
        let summary = report.measured.latencies.all().summary();
        let offered = report.offered_per_s.unwrap_or(0.0);
        if report.measured.tally.answered() == 0 {
            let is_late = report.measured.tally.sent() == 0 && report.measured.unsent > 0;
            return Some(if is_late { "nothing was sent in time" } else { "no reply" }.into());
        }
        if report.measured.tally.errors() == report.measured.tally.answered() {
            // Refusals are quick; they are not what an objective is about.
            return Some("nothing but errors".into());
        }
        for &(figure, bound) in &self.parts {
            let value = match figure {
                Figure::P50 => summary.p50,
                Figure::P90 => summary.p90,
                Figure::P99 => summary.p99,
                Figure::P999 => summary.p999,
                Figure::Max => summary.max,
                Figure::Mean => summary.mean,
                Figure::Lost => report.loss_ratio(),
            };
            // A loss of exactly the bound is allowed, so that `lost<0` means none.
            let held = if figure == Figure::Lost { value <= bound } else { value < bound };
            if !held {
                return Some(match figure {
                    Figure::Lost => format!("lost {:.3} %", value * 100.0),
                    _ => format!("{} {value:.1} µs", name(figure)),
                });
            }
        }
        let achieved = report.measured.tally.sent() as f64 / report.measured.seconds;
        if achieved < offered * ACHIEVED_MIN {
            return Some(format!("only {achieved:.0}/s were sent: the client is the limit"));
        }
        None
    }
}

fn name(figure: Figure) -> &'static str {
    FIGURES.into_iter().find(|f| f.1 == figure).map_or("", |f| f.0)
}

/// One run of a search.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// Offered, in requests a second.
    pub rate_per_s: f64,
    /// Why it missed; `None`: it held.
    pub missed: Option<String>,
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Tried {
    /// The objective held.
    Held,
    /// Why it missed.
    Missed(String),
    /// The run was ended early, and so is the search; the run does not count.
    Interrupted,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best rate that held, in requests a second.
    pub best_per_s: Option<f64>,
    /// All runs that count, in their order.
    pub steps: Vec<Step>,
    /// It was ended early: a higher rate may hold.
    pub is_interrupted: bool,
}

/// Searches from `start_per_s` on. `try_rate` runs a rate, in requests a second, and says what came of it.
///
/// # Errors
/// Those of `try_rate`.
pub fn search<E>(start_per_s: f64, try_rate: &mut dyn FnMut(f64) -> Result<Tried, E>) -> Result<Found, E> {
    let mut search = Search { try_rate, steps: Vec::new(), is_interrupted: false };
    let (mut good, mut bad) = (None, None);
    let mut rate = start_per_s.clamp(RATE_MIN, RATE_MAX);
    while (good.is_none() || bad.is_none()) && (RATE_MIN..=RATE_MAX).contains(&rate) && !search.is_over() {
        if search.holds(rate)? {
            good = Some(rate);
        } else {
            bad = Some(rate);
        }
        let next = (if bad.is_none() { rate * 2.0 } else { rate / 2.0 }).clamp(RATE_MIN, RATE_MAX);
        if next == rate {
            break;
        }
        rate = next;
    }
    while let (Some(low), Some(high)) = (good, bad)
        && high / low > FACTOR_MIN
        && !search.is_over()
    {
        let middle = (low * high).sqrt();
        if search.holds(middle)? { good = Some(middle) } else { bad = Some(middle) }
    }
    let Search { steps, is_interrupted, .. } = search;
    Ok(Found { best_per_s: good, steps, is_interrupted })
}

/// A search under way.
struct Search<'a, E> {
    try_rate: &'a mut dyn FnMut(f64) -> Result<Tried, E>,
    steps: Vec<Step>,
    is_interrupted: bool,
}

impl<E> Search<'_, E> {
    /// Whether the objective holds at this rate; a miss is tried once more.
    fn holds(&mut self, rate_per_s: f64) -> Result<bool, E> {
        for _ in 0..2 {
            if self.is_over() {
                return Ok(false);
            }
            let missed = match (self.try_rate)(rate_per_s)? {
                Tried::Held => None,
                Tried::Missed(why) => Some(why),
                Tried::Interrupted => {
                    self.is_interrupted = true;
                    return Ok(false);
                }
            };
            let held = missed.is_none();
            self.steps.push(Step { rate_per_s, missed });
            if held {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_over(&self) -> bool {
        self.is_interrupted || self.steps.len() >= STEPS_MAX
    }
}

/// Length of a step when `--duration` does not say.
pub const STEP_DURATION: Duration = Duration::from_secs(2);
/// Warm-up of a step when `--warmup` does not say.
pub const STEP_WARMUP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn missed_if(is_missed: bool) -> Tried {
        if is_missed { Tried::Missed("too fast".into()) } else { Tried::Held }
    }

    fn find(start: f64, limit: f64) -> (Option<f64>, usize) {
        let found = search::<()>(start, &mut |rate| Ok(missed_if(rate > limit))).unwrap();
        (found.best_per_s, found.steps.len())
    }

    #[test]
    fn the_limit_is_found_from_either_side() {
        for (start, limit) in
            [(10_000.0, 1e6), (10_000.0, 123.0), (1e6, 999_999.0), (10.0, 5e8), (50.0, 10.0)]
        {
            let (best, steps) = find(start, limit);
            let best = best.unwrap();
            assert!(best <= limit && (best * FACTOR_MIN >= limit || steps == STEPS_MAX), "{limit}: {best}");
            assert!(steps <= STEPS_MAX);
        }
    }

    #[test]
    fn an_objective_that_nothing_meets_has_no_rate() {
        let (best, steps) = find(10_000.0, 0.0);
        assert!(best.is_none() && steps <= STEPS_MAX);
    }

    #[test]
    fn one_bad_step_is_forgiven() {
        let mut tries = 0;
        let found = search::<()>(1000.0, &mut |rate| {
            tries += 1;
            Ok(missed_if(rate > 5000.0 || tries == 2))
        });
        assert!(found.unwrap().best_per_s.unwrap() > 4700.0);
    }

    #[test]
    fn an_interrupted_search_keeps_what_held() {
        for (held, best) in [(0, None), (1, Some(1000.0)), (3, Some(4000.0))] {
            let mut tries = 0;
            let found = search::<()>(1000.0, &mut |_| {
                tries += 1;
                Ok(if tries > held { Tried::Interrupted } else { Tried::Held })
            });
            let found = found.unwrap();
            assert_eq!((found.best_per_s, found.steps.len(), found.is_interrupted), (best, held, true));
        }
    }

    #[test]
    fn objectives_parse() {
        let objective: Objective = "p99<100us".parse().unwrap();
        assert_eq!(objective.parts, [(Figure::P99, 100.0), (Figure::Lost, LOST_DEFAULT)]);
        let objective: Objective = "p99.9 < 1ms && lost<1%".parse().unwrap();
        assert_eq!(objective.parts, [(Figure::P999, 1000.0), (Figure::Lost, 0.01)]);
        for text in ["", "p99", "p98<1ms", "p99<100", "p99>1ms", "lost<2"] {
            assert!(text.parse::<Objective>().is_err(), "{text}");
        }
    }
}
