//! The terminal while `top` has it, and how it is given back: at the end, on a panic, and on every signal that ends or stops the
//! process.
//!
//! ```text
//! q, Esc, Ctrl-C              keys: the loop ends, and gives it back
//! SIGTERM SIGINT SIGHUP       the thread that reads signals gives it back, and lets the signal do what it does by default
//! SIGTSTP, Ctrl-Z             it is given back, the process stops; SIGCONT takes it again, and the loop draws anew
//! panic                       it is given back before the panic is told
//! ```

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{DefaultTerminal, Frame, Terminal};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, stdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a signal waits for a picture that is being drawn: a terminal that was stopped (Ctrl-S) takes none.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks whether it is done.
const PAUSE: Duration = Duration::from_millis(5);

/// A terminal that shows the screen; dropped, it is as it was.
pub struct Screen {
    terminal: DefaultTerminal,
    drawing: Arc<Mutex<()>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The system's: the terminal, or the thread that reads signals.
    pub fn take() -> io::Result<Screen> {
        let drawing = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&drawing);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT])?;
        let watch = move || signals.forever().for_each(|signal| on_signal(signal, &theirs));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            hook(info);
        }));
        show()?;
        let screen = Screen { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, drawing };
        std::thread::Builder::new().name("signals".into()).spawn(watch)?;
        Ok(screen)
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let _drawing = lock(&self.drawing);
        self.terminal.draw(picture).map(|_| ())
    }

    /// Forgets what the terminal shows, so that the next picture is drawn as a whole.
    ///
    /// # Errors
    /// The terminal's.
    pub fn forget(&mut self) -> io::Result<()> {
        let _drawing = lock(&self.drawing);
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Ctrl-Z: returns when the process goes on.
    pub fn suspend(&self) {
        suspend(lock(&self.drawing));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn lock(drawing: &Mutex<()>) -> MutexGuard<'_, ()> {
    drawing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, unless a picture is stuck.
fn lock_or_give_up(drawing: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match drawing.try_lock() {
            Ok(held) => return Some(held),
            Err(TryLockError::Poisoned(held)) => return Some(held.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

fn on_signal(signal: i32, drawing: &Mutex<()>) {
    let held = lock_or_give_up(drawing);
    match (signal, held) {
        (SIGTSTP, Some(held)) => suspend(held),
        (SIGTSTP, None) => {}
        // Whoever stopped the process, as SIGSTOP does, may have changed the terminal meanwhile.
        (SIGCONT, Some(_held)) => {
            give_back();
            take_again();
        }
        (SIGCONT, None) => {}
        (ending, held) => {
            match held {
                Some(_) => give_back(),
                // Writing would wait for the picture that is stuck.
                None => drop(disable_raw_mode()),
            }
            // It does not return: by default these end the process.
            let _ = emulate_default_handler(ending);
        }
    }
}

/// Gives the terminal back and stops the process, until SIGCONT.
fn suspend(_drawing: MutexGuard<'_, ()>) {
    give_back();
    let _ = emulate_default_handler(SIGTSTP);
    take_again();
}

/// Takes the terminal, and has the loop draw: to it a new size is the same event.
fn take_again() {
    // A terminal that is gone is told by the next picture.
    let _ = show();
    let _ = kill(getpid(), Signal::SIGWINCH);
}

fn show() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// The terminal as it was. What fails fails because it is gone.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::{LocalFlags, tcgetattr};
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    /// Says that this process is the child of the test below.
    const CHILD: &str = "SHERWOOD_TEST_PANIC_IN_A_TERMINAL";
    const NAME: &str = "cli::top::terminal::tests::a_panic_gives_the_terminal_back";

    /// The test runs itself in a terminal, where it panics and drops nothing.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(CHILD).is_some() {
            std::mem::forget(Screen::take().unwrap());
            panic!("on purpose");
        }
        let pair = openpty(None, None).unwrap();
        let slave = || Stdio::from(pair.slave.try_clone().unwrap());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").env("TERM", "xterm");
        let mut child = command.stdin(slave()).stdout(slave()).stderr(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        assert!(tcgetattr(&pair.slave).unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
        // Without a writer what it shows has an end.
        drop((command, pair.slave));
        let (mut master, mut shown, mut buffer) = (File::from(pair.master), String::new(), [0; 4096]);
        while let Ok(read @ 1..) = master.read(&mut buffer) {
            shown += &String::from_utf8_lossy(&buffer[..read]);
        }
        let (taken, given) = (shown.find("\x1b[?1049h").unwrap(), shown.find("\x1b[?1049l").unwrap());
        assert!(taken < given && shown[given..].contains("\x1b[?25h"), "{shown:?}");
    }
}
