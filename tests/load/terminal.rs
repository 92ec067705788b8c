//! `sherwood top` in a terminal: it gives it back whatever ends or stops it, and tells when a server goes away.

use crate::support::client::Client;
use crate::support::program::{self, PATIENCE, Program};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// What a terminal is told to leave the other screen, and to show its cursor.
const LEFT: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";

/// A terminal with `top` in it.
struct Top {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    shown: Receiver<Vec<u8>>,
    /// What was shown since the last question.
    text: String,
}

impl Top {
    /// Starts it, and waits for its first picture.
    fn start(target: &str) -> Top {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let slave = || Stdio::from(pair.slave.try_clone().unwrap());
        let mut command = program::sherwood();
        command.args(["top", target, "--interval", "100ms"]).env("TERM", "xterm");
        let child = command.stdin(slave()).stdout(slave()).stderr(Stdio::piped()).spawn().unwrap();
        let mut screen = File::from(pair.master.try_clone().unwrap());
        let (show, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = screen.read(&mut buffer) {
                if show.send(buffer[..bytes].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = File::from(pair.master);
        let mut top = Top { child, keyboard, terminal: pair.slave, shown, text: String::new() };
        top.shows("requests");
        assert!(top.is_raw());
        top
    }

    /// Waits until this was shown.
    fn shows(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.text.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.text));
            self.text += &String::from_utf8_lossy(&more);
        }
        let end = self.text.find(text).unwrap() + text.len();
        self.text.drain(..end);
    }

    /// Whether the terminal neither shows what is typed nor waits for the end of a line.
    fn is_raw(&self) -> bool {
        let flags = tcgetattr(&self.terminal).unwrap().local_flags;
        assert_eq!(flags.contains(LocalFlags::ECHO), flags.contains(LocalFlags::ICANON));
        !flags.contains(LocalFlags::ECHO)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for its end; the terminal must be as it was.
    fn status_at_end(mut self) -> ExitStatus {
        self.shows(LEFT);
        self.shows(CURSOR);
        let status = self.child.wait().unwrap();
        assert!(!self.is_raw());
        status
    }

    /// Waits until the process has stopped.
    fn stops(&mut self) {
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        self.shows(LEFT);
        self.shows(CURSOR);
        assert!(!self.is_raw());
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_and_signals_give_the_terminal_back() {
    let server = Program::serve(&[]);
    let target = server.ready().to_string();
    for key in [&b"q"[..], b"\x03"] {
        let mut top = Top::start(&target);
        top.keyboard.write_all(key).unwrap();
        assert_eq!(top.status_at_end().code(), Some(0));
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let top = Top::start(&target);
        kill(top.pid(), signal).unwrap();
        assert_eq!(top.status_at_end().signal(), Some(signal as i32));
    }
}

#[test]
fn a_stopped_top_gives_the_terminal_back_and_takes_it_again() {
    let server = Program::serve(&[]);
    let mut top = Top::start(&server.ready().to_string());
    for by_key in [true, false] {
        match by_key {
            true => top.keyboard.write_all(b"\x1a").unwrap(),
            false => kill(top.pid(), Signal::SIGTSTP).unwrap(),
        }
        top.stops();
        kill(top.pid(), Signal::SIGCONT).unwrap();
        top.shows("\x1b[?1049h");
        top.shows("requests");
    }
    top.keyboard.write_all(b"q").unwrap();
    assert_eq!(top.status_at_end().code(), Some(0));
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_told() {
    let server = Program::serve(&[]);
    let target = server.ready().to_string();
    let mut top = Top::start(&target);
    server.terminate();
    top.shows("no answer for ");
    let mut options = program::SMALL.to_vec();
    options[2] = &target;
    let again = Program::start(&options);
    again.ready();
    top.shows("it answers again, after ");
    top.keyboard.write_all(b"q").unwrap();
    assert_eq!(top.status_at_end().code(), Some(0));
}

#[test]
fn every_kind_of_request_is_shown() {
    let server = Program::serve(&[]);
    let addr = server.ready();
    let mut client = Client::new(addr);
    for (commands, figure) in [
        (&["mg a N30 v\r\n", "mg a R30 v\r\n"][..], "gets_per_s"),
        (&["delete a\r\n"], "others_per_s"),
        (&["touch a 30\r\n"], "others_per_s"),
        (&["incr a 1\r\n"], "others_per_s"),
        (&["set a 0 0 1\r\nx\r\n"], "sets_per_s"),
    ] {
        let mut top = program::sherwood();
        top.args(["top", &addr.to_string(), "--json", "--interval", "300ms"]);
        let mut child = top.stdout(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            commands.iter().for_each(|command| drop(client.ask(command.as_bytes()).expect("an answer")));
        }
        let output = child.wait_with_output().unwrap();
        let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(view[figure].as_f64().unwrap() > 0.0, "{commands:?}: {view}");
    }
}
