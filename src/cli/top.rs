//! `sherwood top`: what a running server does, live in a terminal, or once for scripts.
//!
//! ```text
//! ask (`stats`) ─▶ Snapshot ─┐
//! ask, an interval later ─▶ Snapshot ┴▶ View: rates and quantiles of the time between ─▶ screen · text · JSON
//! ```
//! Everything shown is of the last interval, but for gauges (memory, items) and the hot keys, which age on the server.
//! Any memcached that answers `stats`, over UDP, TCP or a UNIX socket, is shown as far as it tells.

mod ask;
mod figures;
mod screen;
mod terminal;
mod view;

use super::load::target;
use super::{ExitResult, out};
use crate::load::options;
use crate::load::transport::Kind;
use ask::Asker;
use figures::Snapshot;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use terminal::Screen;
use view::View;

/// Arguments of `sherwood top`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server; it answers loopback and its --admin networks
    #[arg(default_value = "127.0.0.1:11211", value_name = "ADDR:PORT|unix:PATH")]
    target: String,
    /// How to ask [default: udp, and tcp where nobody answers on that; a unix:PATH: unix]
    #[arg(long, value_enum)]
    transport: Option<Kind>,
    /// Time between two looks
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = options::duration)]
    interval: Duration,
    /// Print one interval as text, and exit
    #[arg(long)]
    once: bool,
    /// Print one interval as a JSON object, and exit
    #[arg(long)]
    json: bool,
}

/// Columns of the text of `--once`.
const TEXT_WIDTH: u16 = 100;
/// Lines of it at most.
const TEXT_HEIGHT_MAX: u16 = 60;
/// The shortest interval: what is asked for costs the server tenths of a millisecond.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    if args.interval < INTERVAL_MIN {
        return Err(format!("--interval {:?} is too short: at least {INTERVAL_MIN:?}", args.interval).into());
    }
    let peer = target::peer("the server", &args.target)?;
    if args.transport.is_some() {
        target::transport(args.transport, std::slice::from_ref(&peer))?;
    }
    let mut asker = Asker::connect(peer, args.transport)?;
    let first = Snapshot::take(&mut asker)?;
    if args.once || args.json {
        std::thread::sleep(args.interval);
        let view = View::between(&first, &Snapshot::take(&mut asker)?);
        out::print(if args.json { serde_json::to_string_pretty(&view)? + "\n" } else { text(&view) })?;
        return Ok(ExitCode::SUCCESS);
    }
    if !std::io::stdout().is_terminal() {
        return Err("the output is no terminal: use --once or --json".into());
    }
    watch(&mut Screen::take()?, &mut asker, first, args.interval)
}

/// Shows interval after interval until a key ends it.
fn watch(screen: &mut Screen, asker: &mut Asker, first: Snapshot, interval: Duration) -> ExitResult {
    let mut before = first;
    let mut view = View::between(&before, &before);
    let mut next = Instant::now() + interval;
    loop {
        screen.draw(|frame| screen::draw(&view, frame.area(), frame.buffer_mut()))?;
        while event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if ends(&key) => return Ok(ExitCode::SUCCESS),
                Event::Key(key) if stops(&key) => screen.suspend(),
                // A new size, or the process goes on after a stop.
                Event::Resize(..) => {
                    screen.forget()?;
                    screen.draw(|frame| screen::draw(&view, frame.area(), frame.buffer_mut()))?;
                }
                _ => {}
            }
        }
        next = Instant::now() + interval;
        let taken = Snapshot::take(asker);
        view = match &taken {
            Ok(now) => View::after(&before, now, view.silent_s),
            // The last view stays, and says that it is old.
            Err(trouble) => view.without_answer(before.at.elapsed(), trouble),
        };
        before = taken.unwrap_or(before);
    }
}

fn ends(key: &KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
            || key.code == KeyCode::Char('c') && with_control)
}

fn stops(key: &KeyEvent) -> bool {
    key.kind == KeyEventKind::Press
        && key.code == KeyCode::Char('z')
        && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// The screen as text, as high as it needs to be.
fn text(view: &View) -> String {
    let area = Rect::new(0, 0, TEXT_WIDTH, screen::height(view).min(TEXT_HEIGHT_MAX));
    let mut buffer = Buffer::empty(area);
    screen::draw(view, area, &mut buffer);
    screen::lines(&buffer).iter().map(|line| format!("{line}\n")).collect()
}
