//! The percentile plot as a PNG picture.

use super::canvas::{Align, COLORS, Canvas, GRID, INK};
use super::curve::points;
use super::figure::{latency, log_axis, tick};
use super::log::Series;

/// Width of the picture, in pixels: sharp on a page that shows it at half size.
pub const WIDTH: u32 = 1600;
/// Height of the plot, in pixels; the legend adds a line a series.
pub const PLOT_HEIGHT: u32 = 800;
/// Series in one picture at most.
pub const SERIES_MAX: usize = 12;

const LEFT: f32 = 130.0;
const RIGHT: f32 = 1560.0;
const TOP: f32 = 70.0;
const BOTTOM: f32 = 720.0;
const LINE: u32 = 34;

/// Draws up to [`SERIES_MAX`] series; the bytes of a PNG file.
///
/// # Errors
/// No series to draw, or the encoder's.
pub fn draw(all: &[&Series]) -> Result<Vec<u8>, String> {
    let shown = &all[..all.len().min(SERIES_MAX)];
    let lines: Vec<Vec<(f64, f64)>> = shown.iter().map(|s| points(s)).collect();
    let values = || lines.iter().flatten();
    let decades = values().map(|p| p.0).fold(0.0, f64::max);
    let (low, high) = values().fold((f64::MAX, 0.0f64), |(l, h), p| (l.min(p.1), h.max(p.1)));
    if decades == 0.0 {
        return Err("no events to draw".into());
    }
    let height = PLOT_HEIGHT + LINE * shown.len() as u32 + 20;
    let mut canvas = Canvas::new(WIDTH, height)?;
    let (floor, ceiling, ticks) = log_axis(low, high);
    let x = |decade: f64| LEFT + (decade / decades) as f32 * (RIGHT - LEFT);
    let y = |us: f64| BOTTOM - ((us / floor).ln() / (ceiling / floor).ln()) as f32 * (BOTTOM - TOP);
    canvas.text(LEFT - 100.0, 22.0, "latency by percentile", INK, Align::Left);
    for &us in &ticks {
        canvas.line(&[(LEFT, y(us)), (RIGHT, y(us))], GRID, 1.5);
        canvas.text(LEFT - 14.0, y(us) - 12.0, &tick(us), INK, Align::Right);
    }
    for decade in 0..=decades as usize {
        let at = x(decade as f64);
        canvas.line(&[(at, TOP), (at, BOTTOM)], GRID, 1.5);
        canvas.text(at, BOTTOM + 14.0, &percentile(decade), INK, Align::Center);
    }
    canvas.line(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)], INK, 2.0);
    for (at, (series, line)) in shown.iter().zip(&lines).enumerate().rev() {
        let color = COLORS[at % COLORS.len()];
        let line: Vec<(f32, f32)> = line.iter().map(|p| (x(p.0), y(p.1))).collect();
        canvas.line(&line, color, if at < COLORS.len() { 4.0 } else { 2.0 });
        let top = BOTTOM + 64.0 + (at as u32 * LINE) as f32;
        canvas.line(&[(LEFT, top + 12.0), (LEFT + 50.0, top + 12.0)], color, 6.0);
        canvas.text(LEFT + 70.0, top, &legend(series), INK, Align::Left);
    }
    canvas.encode()
}

fn legend(series: &Series) -> String {
    format!(
        "{}   p50 {}   p99 {}   p99.9 {}   max {}",
        series.name(),
        latency(series.quantile_us(0.5)),
        latency(series.quantile_us(0.99)),
        latency(series.quantile_us(0.999)),
        latency(series.max_us())
    )
}

fn percentile(decade: usize) -> String {
    match decade {
        0 => "min".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::Unit;
    use super::*;
    use hdrhistogram::Histogram;
    use tiny_skia::{Pixmap, PremultipliedColorU8};

    fn series(name: &str, scale: u64, count: u64) -> Series {
        let mut total = Histogram::<u64>::new(3).unwrap();
        (1..=count).for_each(|v| total.record(v * scale).unwrap());
        Series { file: name.into(), tag: "get".into(), intervals: Vec::new(), total, unit: Unit::Ns }
    }

    #[test]
    fn each_series_has_its_colour_in_the_picture() {
        let all = [series("one", 10, 10_000), series("a very long name ".repeat(9).as_str(), 1000, 100)];
        let png = draw(&all.iter().collect::<Vec<_>>()).unwrap();
        let picture = Pixmap::decode_png(&png).unwrap();
        assert_eq!(picture.width(), WIDTH);
        for [r, g, b] in &COLORS[..2] {
            let drawn = |p: &&PremultipliedColorU8| (p.red(), p.green(), p.blue()) == (*r, *g, *b);
            assert!(picture.pixels().iter().filter(drawn).count() > 150);
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_one_event_is_not() {
        assert!(draw(&[]).is_err());
        assert!(draw(&[&series("one", 5, 1)]).is_ok());
    }
}
