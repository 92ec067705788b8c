//! The miss-ratio curve: the same trace at many sizes, in parallel, as CSV and PNG.
//!
//! The sizes grow by a constant factor up to the one asked for. Each is a full replay, not an estimate.

use super::replay::{Capacity, Setup, replay};
use super::{Args, ExitResult};
use crate::cli::out;
use crate::load::trace::Record;
use crate::stats::view::canvas::{Align, COLORS, Canvas, GRID, INK};
use cache::base::sync::{AtomicU32, Ordering};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;

/// The smallest size is the largest divided by this.
const SPAN: f64 = 256.0;
/// Width of the picture, in pixels: sharp on a page that shows it at half size.
const WIDTH: u32 = 1600;
const HEIGHT: u32 = 960;
const LEFT: f32 = 130.0;
const RIGHT: f32 = 1550.0;
const TOP: f32 = 80.0;
const BOTTOM: f32 = 840.0;

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
pub fn run(args: &Args, records: &[Record], setup: &Setup) -> ExitResult {
    let points = compute(records, setup, args.curve_points);
    let name = args.trace.file_name().unwrap_or("trace".as_ref());
    let file = |end: &str| {
        let mut file = name.to_owned();
        file.push(end);
        args.curve_dir.join(file)
    };
    let (csv, png) = (file(".curve.csv"), file(".curve.png"));
    std::fs::write(&csv, to_csv(&points)).map_err(|error| format!("{}: {error}", csv.display()))?;
    let picture = draw(&name.to_string_lossy(), &points, setup.capacity)?;
    std::fs::write(&png, picture).map_err(|error| format!("{}: {error}", png.display()))?;
    if args.json {
        let list: Vec<_> = points
            .iter()
            .map(|point| serde_json::json!({ "size": point.size, "hit_ratio": 1.0 - point.miss_ratio }))
            .collect();
        let (csv, png) = (csv.to_string_lossy(), png.to_string_lossy());
        out::line(serde_json::json!({ "curve": list, "csv": csv, "png": png }))?;
    } else {
        for point in &points {
            out::line(format_args!("{:>14}  {:.4} miss ratio", point.size, point.miss_ratio))?;
        }
        out::line(format_args!("{}\n{}", csv.display(), png.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn compute(records: &[Record], setup: &Setup, count: u32) -> Vec<Point> {
    let sizes = sizes(setup.capacity, count);
    let next = AtomicU32::new(0);
    let points = Mutex::new(vec![None; sizes.len()]);
    let progress = Progress::new(sizes.len());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(sizes.len());
    let work = || {
        loop {
            // Relaxed: only the number matters. From the largest on, because it takes longest.
            let taken = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(at) = sizes.len().checked_sub(taken + 1) else { break };
            let point = point(records, setup, sizes[at]);
            let mut points = points.lock().expect("no thread panics while it holds the points");
            points[at] = Some(point);
            progress.show(points.iter().flatten().count());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread is to be had, those that there are do it all, and this one is.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
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

/// Miss ratio from bottom to top over the logarithm of the size from left to right; a grid line every tenth and doubling.
fn draw(title: &str, points: &[Point], capacity: Capacity) -> Result<Vec<u8>, String> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT)?;
    let log = |size: u64| (size.max(1) as f32).log2();
    let (from, to) = (log(points[0].size), log(points[points.len() - 1].size));
    let to = if to > from { to } else { from + 1.0 };
    let x = |log: f32| LEFT + (log - from) / (to - from) * (RIGHT - LEFT);
    let y = |ratio: f64| BOTTOM - ratio as f32 * (BOTTOM - TOP);
    canvas.text(30.0, 22.0, &format!("miss ratio by size: {title}"), INK, Align::Left);
    for tenth in 0..=10 {
        let at = y(tenth as f64 / 10.0);
        canvas.line(&[(LEFT, at), (RIGHT, at)], GRID, 1.5);
        canvas.text(LEFT - 14.0, at - 12.0, &format!("{} %", tenth * 10), INK, Align::Right);
    }
    for doubling in from.ceil() as i32..=to.floor() as i32 {
        let at = x(doubling as f32);
        canvas.line(&[(at, TOP), (at, BOTTOM)], GRID, 1.5);
        canvas.text(at, BOTTOM + 14.0, &size_name(1 << doubling, capacity), INK, Align::Center);
    }
    canvas.line(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)], INK, 2.0);
    let lines = match capacity {
        Capacity::Items(_) => vec![("misses", points.iter().map(|p| p.miss_ratio).collect::<Vec<_>>())],
        Capacity::Bytes(_) => vec![
            ("misses", points.iter().map(|p| p.miss_ratio).collect()),
            ("bytes missed", points.iter().map(|p| p.byte_miss_ratio).collect()),
        ],
    };
    for (at, ((name, ratios), color)) in lines.iter().zip(COLORS).enumerate() {
        let line: Vec<(f32, f32)> =
            points.iter().zip(ratios).map(|(point, &ratio)| (x(log(point.size)), y(ratio))).collect();
        canvas.line(&line, color, 4.0);
        line.iter().for_each(|&(x, y)| canvas.disc(x, y, 7.0, color));
        let left = LEFT + 300.0 * at as f32;
        canvas.line(&[(left, BOTTOM + 76.0), (left + 50.0, BOTTOM + 76.0)], color, 6.0);
        canvas.text(left + 70.0, BOTTOM + 64.0, name, INK, Align::Left);
    }
    canvas.encode()
}

/// A power of two, short enough to stand beside others.
fn size_name(size: u64, capacity: Capacity) -> String {
    let (step, units) = match capacity {
        Capacity::Items(_) => (1_000.0, ["", "k", "M", "G"]),
        Capacity::Bytes(_) => (1_024.0, ["B", "Ki", "Mi", "Gi"]),
    };
    let (mut value, mut unit) = (size as f64, 0);
    while value >= step && unit + 1 < units.len() {
        (value, unit) = (value / step, unit + 1);
    }
    let digits = if value < 10.0 && value.fract() > 0.05 { 1 } else { 0 };
    format!("{value:.digits$}{}", units[unit])
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
            let end = if done == self.total { "\n" } else { "" };
            out::show(format_args!("\r[{bar:<40}] {done}/{}{end}", self.total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::trace::Op;
    use cache::policy::{Goal, PolicyKind};

    #[test]
    fn sizes_end_at_the_one_asked_for() {
        let sizes = sizes(Capacity::Items(1000), 16);
        assert_eq!(sizes.last(), Some(&1000));
        assert!(sizes.is_sorted());
        assert!(sizes[0] <= 4);
        assert_eq!(super::sizes(Capacity::Bytes(1), 16), [1]);
    }

    #[test]
    fn the_curve_and_its_letters_are_in_the_picture() {
        let point = |i: u32| {
            let miss_ratio = 0.9 / (i + 1) as f64;
            Point { size: 1_000 << i, miss_ratio, byte_miss_ratio: 1.0 - miss_ratio }
        };
        let points: Vec<Point> = (0..8).map(point).collect();
        for (capacity, lines) in [(Capacity::Items(128_000), 1), (Capacity::Bytes(128_000), 2)] {
            let png = draw("a trace", &points, capacity).unwrap();
            let picture = tiny_skia::Pixmap::decode_png(&png).unwrap();
            let drawn = |color: [u8; 3]| {
                let of = |p: &&tiny_skia::PremultipliedColorU8| [p.red(), p.green(), p.blue()] == color;
                picture.pixels().iter().filter(of).count()
            };
            assert!(drawn(INK) > 3_000, "letters");
            assert_eq!(COLORS.iter().filter(|&&color| drawn(color) > 1_000).count(), lines);
        }
        assert!(draw("one size", &points[..1], Capacity::Items(1_000)).is_ok());
    }

    #[test]
    fn a_curve_by_bytes_knows_how_large_the_misses_are() {
        // Of 100 keys asked for in turn at random every tenth is twenty times as large; a cache of objects keeps the small.
        let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let records: Vec<Record> = (0..20_000)
            .map(|i| key(i) % 100)
            .map(|key| Record {
                key,
                t_ms: 0,
                size: if key % 10 == 0 { 3200 } else { 160 },
                ttl_s: 0,
                op: Op::Get,
            })
            .collect();
        let whole = 10 * 3200 + 90 * 160;
        let setup = Setup {
            kind: PolicyKind::Wtinylfu,
            goal: Goal::Objects,
            capacity: Capacity::Bytes(whole),
            loss_percent: 0.0,
            value_bytes: 1,
            mean_item_bytes: None,
            seed: 1,
        };
        let points = compute(&records, &setup, 9);
        assert_eq!(points.last().map(|point| point.size), Some(whole));
        let [.., half, all] = points.as_slice() else { panic!("nine sizes") };
        assert_eq!((all.miss_ratio * 20_000.0).round(), 100.0, "what fits is missed once");
        assert!(half.miss_ratio < 0.2 && half.byte_miss_ratio > 2.0 * half.miss_ratio, "{half:?}");
        assert!(points.is_sorted_by(|a, b| a.miss_ratio + 0.02 > b.miss_ratio), "{points:?}");
        assert!(to_csv(&points).lines().last().is_some_and(|line| line.starts_with("46400,0.005000,0.00")));
    }

    #[test]
    fn sizes_are_short() {
        let items = [1, 512, 4_096, 65_536, 1 << 20].map(|size| size_name(size, Capacity::Items(1)));
        assert_eq!(items, ["1", "512", "4.1k", "66k", "1M"]);
        let bytes = [512, 65_536, 1 << 30].map(|size| size_name(size, Capacity::Bytes(1)));
        assert_eq!(bytes, ["512B", "64Ki", "1Gi"]);
    }

    #[test]
    fn csv_has_a_line_a_point() {
        let point = Point { size: 7, miss_ratio: 0.25, byte_miss_ratio: 0.5 };
        assert_eq!(to_csv(&[point]), "size,miss_ratio,byte_miss_ratio\n7,0.250000,0.500000\n");
    }
}
