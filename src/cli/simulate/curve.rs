//! The miss-ratio curve: the same trace at many sizes, in parallel, as CSV and PNG.
//!
//! The sizes grow by a constant factor up to the one asked for. Each is a full replay, not an estimate.

use super::replay::{Capacity, Setup, replay};
use super::{Args, Outcome};
use crate::load::trace::Record;
use crate::sync::{AtomicU32, Ordering};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

/// The smallest size is the largest divided by this.
const SPAN: f64 = 256.0;
const PNG_WIDTH: u32 = 960;
const PNG_HEIGHT: u32 = 600;
const MARGIN: u32 = 40;

/// One point.
#[derive(Clone, Copy, Debug)]
struct Point {
    size: u64,
    miss_ratio: f64,
    byte_miss_ratio: f64,
}

/// Computes and writes the curve.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &Args, records: &[Record], setup: &Setup) -> Outcome {
    let points = compute(records, setup, args.curve_points);
    let stem = args.trace.file_name().and_then(|name| name.to_str()).unwrap_or("trace");
    let csv = args.curve_dir.join(format!("{stem}.curve.csv"));
    let png = args.curve_dir.join(format!("{stem}.curve.png"));
    std::fs::write(&csv, to_csv(&points)).map_err(|error| format!("{}: {error}", csv.display()))?;
    draw(&points, &png).map_err(|error| format!("{}: {error}", png.display()))?;
    if args.json {
        let list: Vec<_> = points
            .iter()
            .map(|point| serde_json::json!({ "size": point.size, "hit_ratio": 1.0 - point.miss_ratio }))
            .collect();
        println!("{}", serde_json::json!({ "curve": list, "csv": csv, "png": png }));
    } else {
        for point in &points {
            println!("{:>14}  {:.4} miss ratio", point.size, point.miss_ratio);
        }
        println!("{}\n{}", csv.display(), png.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn compute(records: &[Record], setup: &Setup, count: u32) -> Vec<Point> {
    let sizes = sizes(setup.capacity, count);
    let next = AtomicU32::new(0);
    let points = Mutex::new(vec![None; sizes.len()]);
    let progress = Progress::new(sizes.len());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(sizes.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Relaxed: only the number matters. From the largest on, because it takes longest.
                    let taken = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(at) = sizes.len().checked_sub(taken + 1) else { break };
                    let point = point(records, setup, sizes[at]);
                    let mut points = points.lock().expect("no thread panics while it holds the points");
                    points[at] = Some(point);
                    progress.show(points.iter().flatten().count());
                }
            });
        }
    });
    points.into_inner().expect("all threads have ended").into_iter().flatten().collect()
}

fn point(records: &[Record], setup: &Setup, size: u64) -> Point {
    let capacity = match setup.capacity {
        Capacity::Items(_) => Capacity::Items(size),
        Capacity::Bytes(_) => Capacity::Bytes(size),
    };
    let outcome = replay(records, &Setup { capacity, ..*setup });
    Point { size, miss_ratio: 1.0 - outcome.hit_ratio(), byte_miss_ratio: 1.0 - outcome.byte_hit_ratio() }
}

fn sizes(capacity: Capacity, count: u32) -> Vec<u64> {
    let (Capacity::Items(largest) | Capacity::Bytes(largest)) = capacity;
    let step = SPAN.powf(1.0 / (count - 1) as f64);
    let mut sizes: Vec<u64> =
        (0..count).rev().map(|i| (largest as f64 / step.powi(i as i32)).round().max(1.0) as u64).collect();
    sizes.dedup();
    sizes
}

fn to_csv(points: &[Point]) -> String {
    let mut csv = String::from("size,miss_ratio,byte_miss_ratio\n");
    for point in points {
        let Point { size, miss_ratio, byte_miss_ratio } = point;
        writeln!(csv, "{size},{miss_ratio:.6},{byte_miss_ratio:.6}").expect("a String takes all");
    }
    csv
}

/// Miss ratio 0..1 from bottom to top over log(size) from left to right; a grid line every tenth and doubling.
/// No letters: they would need a font on the machine. The figures are in the CSV.
fn draw(points: &[Point], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    use plotters::prelude::*;
    let root = BitMapBackend::new(path, (PNG_WIDTH, PNG_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let log = |size: u64| (size.max(1) as f64).log2();
    let (from, to) = (log(points[0].size), log(points[points.len() - 1].size));
    let to = if to > from { to } else { from + 1.0 };
    let chart = ChartBuilder::on(&root).margin(MARGIN).build_cartesian_2d(from..to, 0.0..1.0)?;
    let area = chart.plotting_area();
    for tenth in 0..=10 {
        let y = tenth as f64 / 10.0;
        area.draw(&PathElement::new([(from, y), (to, y)], BLACK.mix(0.15)))?;
    }
    for doubling in from.ceil() as i32..=to.floor() as i32 {
        let x = doubling as f64;
        area.draw(&PathElement::new([(x, 0.0), (x, 1.0)], BLACK.mix(0.15)))?;
    }
    area.draw(&PathElement::new(
        points.iter().map(|point| (log(point.size), point.miss_ratio)).collect::<Vec<_>>(),
        BLUE.stroke_width(2),
    ))?;
    for point in points {
        area.draw(&Circle::new((log(point.size), point.miss_ratio), 4, BLUE.filled()))?;
    }
    root.present()?;
    Ok(())
}

/// A bar on standard error, where that is a terminal.
struct Progress {
    total: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize) -> Progress {
        Progress { total, shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize) {
        if self.shown {
            let bar = "#".repeat(done * 40 / self.total);
            eprint!("\r[{bar:<40}] {done}/{}{}", self.total, if done == self.total { "\n" } else { "" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_end_at_the_one_asked_for() {
        let sizes = sizes(Capacity::Items(1000), 16);
        assert_eq!(sizes.last(), Some(&1000));
        assert!(sizes.is_sorted());
        assert!(sizes[0] <= 4);
        assert_eq!(super::sizes(Capacity::Bytes(1), 16), [1]);
    }

    #[test]
    fn csv_has_a_line_a_point() {
        let point = Point { size: 7, miss_ratio: 0.25, byte_miss_ratio: 0.5 };
        assert_eq!(to_csv(&[point]), "size,miss_ratio,byte_miss_ratio\n7,0.250000,0.500000\n");
    }
}
