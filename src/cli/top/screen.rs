//! A view as a screen of text: a pure function from a [`View`] to a buffer of cells.
//!
//! ```text
//! title     ── server, since when, how old
//! totals    ── requests, network, memory, what went, what should not happen
//! times   │ workers
//! hottest keys, as many as there is room for
//! ```
//! What matters most stands at the top and at the left, so that a small terminal cuts off what matters least.

use super::view::{Hot, Rate, Times, View, WorkerView};
use crate::stats::view::figure::latency;
use numa::report::Bytes;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Lines above the times.
const TOTALS: u16 = 6;
/// Columns of the times; the workers get what is beside them.
const TIMES_WIDTH: u16 = 50;
/// The narrowest column of workers.
const WORKERS_WIDTH_MIN: u16 = 29;
/// Workers shown at most.
const WORKERS_MAX: usize = 12;
/// Cells of a bar.
const BAR: usize = 8;
/// A worker that is busier has little left.
const BUSY: f64 = 0.9;

const NAME: Style = Style::new().fg(Color::Cyan);
const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Lines that the whole view takes.
pub fn height(view: &View) -> u16 {
    let keys = if view.hot.is_empty() { 0 } else { view.hot.len().min(20) as u16 + 1 };
    TOTALS + middle_height(view) + keys
}

/// Draws a view; what has no room is left out.
pub fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let [title, totals, middle, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(TOTALS - 1),
        Constraint::Length(middle_height(view)),
        Constraint::Fill(1),
    ])
    .areas(area);
    put(buffer, title, 0, &heading(view, title.width));
    for (row, line) in (0..).zip([requests(view), network(view), memory(view), gone(view), troubles(view)]) {
        put(buffer, totals, row, &line);
    }
    let has_room = area.width >= TIMES_WIDTH + WORKERS_WIDTH_MIN;
    let left = if has_room { TIMES_WIDTH } else { area.width };
    let [times, workers] =
        Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas::<2>(middle);
    draw_times(&view.times, times, buffer);
    if has_room {
        draw_workers(&view.workers, workers, buffer);
    }
    draw_keys(&view.hot, keys, buffer);
}

/// The lines of a buffer, without the spaces at their ends.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| (area.left()..area.right()).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (area.top()..area.bottom()).map(|y| line(y).trim_end().to_owned()).collect()
}

fn middle_height(view: &View) -> u16 {
    view.times.len().max(view.workers.len().min(WORKERS_MAX)) as u16 + 1
}

fn put(buffer: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    if row < area.height {
        buffer.set_line(area.x, area.y + row, line, area.width);
    }
}

fn heading(view: &View, width: u16) -> Line<'static> {
    // Ours stands behind the version of memcached that it is compatible with.
    let left = match view.version.split_once("-sherwood.") {
        Some((_, version)) => format!("sherwood {version}"),
        None => format!("{} {}", if view.io.is_empty() { "memcached" } else { "sherwood" }, view.version),
    };
    let middle = format!("  {}  {}  up {}", view.target, view.io, age(view.uptime_s));
    let mut spans = vec![Span::styled(left, HEAD), Span::raw(middle)];
    let right = format!("over {:.1} s", view.seconds);
    let taken: usize = spans.iter().map(Span::width).sum();
    let room = (width as usize).saturating_sub(taken + right.chars().count()).max(2);
    spans.extend([Span::raw(" ".repeat(room)), Span::raw(right)]);
    Line::from(spans)
}

fn requests(view: &View) -> Line<'static> {
    let hits = view.hit_ratio.map_or("–".into(), |ratio| format!("{:.2} %", ratio * 100.0));
    let mut figures = vec![
        ("", per_s(view.requests_per_s())),
        ("get", per_s(view.gets_per_s)),
        ("set", per_s(view.sets_per_s)),
    ];
    if view.others_per_s > 0.0 {
        figures.push(("other", per_s(view.others_per_s)));
    }
    figures.push(("hits", hits));
    total("requests", figures)
}

fn network(view: &View) -> Line<'static> {
    // Bytes are those of connections, too.
    let way = |bytes| format!("{}/s", bytes_short(bytes));
    let mut figures = vec![
        ("in", way(view.bytes_in_per_s)),
        ("out", way(view.bytes_out_per_s)),
        ("datagrams", per_s(view.datagrams_in_per_s + view.datagrams_out_per_s)),
    ];
    if view.connections > 0 {
        figures.push(("connections", view.connections.to_string()));
    }
    total("network", figures)
}

fn memory(view: &View) -> Line<'static> {
    let share = view.used_bytes as f64 / view.limit_bytes.max(1) as f64;
    let bytes = format!("{} of {}", Bytes(view.used_bytes), Bytes(view.limit_bytes));
    let mut figures = vec![("", bar(share)), ("", bytes), ("items", short(view.items as f64))];
    if view.distinct_keys > 0 {
        figures.push(("keys seen", short(view.distinct_keys as f64)));
    }
    total("memory", figures)
}

fn gone(view: &View) -> Line<'static> {
    total("evicted", view.gone.iter().map(|Rate { name, per_s: rate }| (*name, per_s(*rate))))
}

fn troubles(view: &View) -> Line<'static> {
    if let Some(trouble) = &view.trouble {
        return Line::styled(format!("OLD        {trouble}"), ALARM);
    }
    if let Some(silent_s) = view.back_after_s {
        return Line::styled(format!("BACK       it answers again, after {silent_s} s"), HEAD);
    }
    let mut line =
        total("trouble", view.troubles.iter().map(|Rate { name, per_s: rate }| (*name, per_s(*rate))));
    match view.troubles.is_empty() {
        true => line.spans.push(Span::raw("none")),
        false => line.spans.iter_mut().skip(1).for_each(|span| span.style = ALARM),
    }
    line
}

fn total<'n>(name: &str, figures: impl IntoIterator<Item = (&'n str, String)>) -> Line<'static> {
    let mut spans = vec![Span::styled(format!("{name:<11}"), HEAD)];
    for (name, figure) in figures {
        if !name.is_empty() {
            spans.push(Span::styled(format!("{name} "), NAME));
        }
        spans.push(Span::raw(format!("{figure}   ")));
    }
    Line::from(spans)
}

fn draw_times(times: &[Times], area: Rect, buffer: &mut Buffer) {
    let head = format!("{:<14}{:>8}{:>9}{:>9}{:>9}", "time", "p50", "p99", "p99.9", "max");
    put(buffer, area, 0, &Line::styled(head, HEAD));
    for (row, times) in (1..).zip(times) {
        let figure = |value: u64| match times.is_time {
            true => latency(value as f64 / 1e3),
            false => value.to_string(),
        };
        let figures = [times.p50, times.p99, times.p999, times.max].map(figure);
        let [p50, p99, p999, max] = &figures;
        let line = Line::from(vec![
            Span::styled(format!("{:<14}", times.name.replace('_', " ")), NAME),
            Span::raw(format!("{p50:>8}{p99:>9}{p999:>9}{max:>9}")),
        ]);
        put(buffer, area, row, &line);
    }
}

fn draw_workers(workers: &[WorkerView], area: Rect, buffer: &mut Buffer) {
    if workers.is_empty() {
        return;
    }
    put(buffer, area, 0, &Line::styled(format!("{:<11}{:>6}{:>11}", "worker", "busy", "gets"), HEAD));
    let hidden = workers.len().saturating_sub(WORKERS_MAX);
    for (i, worker) in workers.iter().take(WORKERS_MAX).enumerate() {
        let row = i as u16 + 1;
        if hidden > 0 && i + 1 == WORKERS_MAX {
            put(buffer, area, row, &Line::raw(format!("{} more", hidden + 1)));
            break;
        }
        let busy = worker.busy.map_or("?".into(), |busy| format!("{:.0} %", busy * 100.0));
        let style = if worker.busy.is_some_and(|busy| busy > BUSY) { ALARM } else { Style::new() };
        let line = Line::from(vec![
            Span::styled(format!("{i:>2} "), NAME),
            Span::raw(bar(worker.busy.unwrap_or(0.0))),
            Span::styled(format!("{busy:>6}"), style),
            Span::raw(format!("{:>11}", per_s(worker.gets_per_s))),
        ]);
        put(buffer, area, row, &line);
    }
}

fn draw_keys(hot: &[Hot], area: Rect, buffer: &mut Buffer) {
    if hot.is_empty() {
        return;
    }
    put(buffer, area, 0, &Line::styled("hottest keys   share of reads", HEAD));
    for (row, Hot { name, share }) in (1..).zip(hot) {
        let line = Line::from(vec![
            Span::styled(format!("{row:>6} "), NAME),
            Span::raw(format!("{:>7.3} %  {name}", share * 100.0)),
        ]);
        put(buffer, area, row, &line);
    }
}

/// A bar of [`BAR`] cells.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(BAR - full)
}

fn per_s(rate: f64) -> String {
    if rate == 0.0 { "0".into() } else { format!("{}/s", short(rate)) }
}

/// As [`short`], with the unit: `83.9 B`, `24.0 kB`.
fn bytes_short(bytes: f64) -> String {
    let text = short(bytes);
    if text.contains(' ') { format!("{text}B") } else { format!("{text} B") }
}

/// Three digits and a letter: `0.50`, `12.3`, `999`, `1.23 k`, `45.6 M`.
fn short(number: f64) -> String {
    let (value, unit) = match number {
        n if n < 999.5 => (n, ""),
        n if n < 999.5e3 => (n / 1e3, " k"),
        n if n < 999.5e6 => (n / 1e6, " M"),
        n => (n / 1e9, " G"),
    };
    let digits = match value {
        _ if unit.is_empty() && value.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// How long, in the two units that matter.
fn age(s: u64) -> String {
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::looks;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(view, frame.area(), frame.buffer_mut())).unwrap();
        lines(terminal.backend().buffer())
    }

    fn view() -> View {
        let (before, now) = looks();
        View::between(&before, &now)
    }

    #[test]
    fn the_usual_terminal_shows_everything() {
        let want = "\
sherwood 0.1.0  127.0.0.1:11211  uring  up 1 h 2 min                  over 2.0 s
requests   1.10 M/s   get 1.00 M/s   set 100 k/s   hits 90.00 %
network    in 12.0 MB/s   out 0 B/s   datagrams 60.0 k/s
memory     ████░░░░   512 MiB of 1 GiB   items 1.23 M   keys seen 77
evicted    policy 1.00 k/s   pressure 0   crowding 0   growth 0   expired 20/s
trouble    receive_drops 30/s
time               p50      p99    p99.9      max worker       busy       gets
get             131 ns   260 ns   260 ns   260 ns  0 ██████░░  75 %   1.00 M/s
set             520 ns   520 ns   520 ns   520 ns  1 ░░░░░░░░   0 %          0
hottest keys   share of reads
     1  25.000 %  9f3a01bc=user:123
     2   2.500 %  0000beef";
        let got = shown(&view(), 80, 24);
        assert_eq!(got.join("\n").trim_end(), want, "{}", got.join("\n"));
    }

    #[test]
    fn connections_are_told_where_there_are_any() {
        let lines = shown(&View { connections: 12, ..view() }, 80, 24);
        assert_eq!(
            lines[2].trim_end(),
            "network    in 12.0 MB/s   out 0 B/s   datagrams 60.0 k/s   connections 12"
        );
    }

    #[test]
    fn a_large_terminal_has_room_to_spare_and_a_small_one_keeps_the_totals() {
        let large = shown(&view(), 120, 40);
        assert!(large[6].contains("worker") && large[6].ends_with("gets"), "{}", large.join("\n"));
        let small = shown(&view(), 40, 10);
        assert_eq!(small.len(), 10);
        assert!(small[1].starts_with("requests   1.10 M/s   get 1.00 M/s"), "{}", small.join("\n"));
        assert!(small[7].starts_with("get") && !small[6].contains("worker"), "{}", small.join("\n"));
        for (width, height) in [(1, 1), (3, 50), (200, 2)] {
            shown(&view(), width, height);
        }
    }

    #[test]
    fn many_workers_are_cut_and_counted() {
        let mut view = view();
        view.workers = vec![view.workers[0].clone(); 64];
        let screen = shown(&view, 80, 24);
        assert!(screen.iter().any(|line| line.ends_with("53 more")), "{}", screen.join("\n"));
    }

    #[test]
    fn an_old_view_says_so() {
        let trouble = Some("nobody listens".into());
        let screen = shown(&View { trouble, ..view() }, 40, 10);
        assert_eq!(screen[5], "OLD        nobody listens");
        let screen = shown(&View { back_after_s: Some(7), ..view() }, 60, 10);
        assert_eq!(screen[5], "BACK       it answers again, after 7 s");
        let screen = shown(&View { others_per_s: 5e4, ..view() }, 80, 10);
        assert_eq!(
            screen[1],
            "requests   1.15 M/s   get 1.00 M/s   set 100 k/s   other 50.0 k/s   hits 90.00 %"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        for (number, want) in
            [(0.5, "0.50"), (20.0, "20"), (999.4, "999"), (1_234.0, "1.23 k"), (45.6e6, "45.6 M")]
        {
            assert_eq!(short(number), want);
        }
        assert_eq!([59, 61, 3_725, 90_000].map(age), ["59 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]);
    }
}
