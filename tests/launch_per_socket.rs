//! `scripts/launch-per-socket` with a fake server, a shell script that says what it is told to say.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

/// Two nodes. A server notes its arguments, and its end by SIGTERM; `$BEHAVIOUR` is run by node 1 when it is ready.
const FAKE: &str = r#"#!/bin/sh
if [ "$1" = topo ]; then echo '{"node_indexes":[0,1],"topology":{}}'; exit; fi
echo "$*" >> "$NOTES"
sleep 1000 & waiting=$!
trap 'kill $waiting; echo "stopped $3" >> "$NOTES"; exit 0' TERM
echo "something else first"
if [ "$3" = 1 ]; then eval "$BEHAVIOUR"; fi
echo "sherwood ready on $5"
wait $waiting
"#;

struct Launch {
    folder: tempfile::TempDir,
    child: Child,
}

impl Launch {
    fn new(behaviour: &str, arguments: &[&str]) -> Launch {
        let folder = tempfile::tempdir().unwrap();
        let fake = folder.path().join("sherwood");
        fs::write(&fake, FAKE).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/launch-per-socket"))
            .args(arguments)
            .env("SHERWOOD_BIN", &fake)
            .env("NOTES", folder.path().join("notes"))
            .env("BEHAVIOUR", behaviour)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Launch { folder, child }
    }

    /// Lines of its stdout: the targets, printed once all servers are ready.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let out = BufReader::new(self.child.stdout.as_mut().unwrap());
        out.lines().take(count).map(Result::unwrap).collect()
    }

    fn terminate(&mut self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Its exit status, its stderr, and what the servers noted, sorted.
    fn end(&mut self) -> (i32, String, Vec<String>) {
        let mut errors = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap().code().unwrap();
        let notes = fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default();
        let mut notes: Vec<_> = notes.lines().map(str::to_owned).collect();
        notes.sort();
        (status, errors, notes)
    }
}

#[test]
fn each_node_gets_a_server_and_a_signal_stops_them_all() {
    let mut launch = Launch::new(":", &["--port", "4000", "--", "--memory", "8 GiB"]);
    assert_eq!(launch.lines(2), ["127.0.0.1:4000", "127.0.0.1:4001"]);
    launch.terminate();
    let (status, errors, notes) = launch.end();
    assert_eq!(status, 0, "{errors}");
    assert_eq!(
        notes,
        [
            "serve --node 0 --listen 127.0.0.1:4000 --memory 8 GiB",
            "serve --node 1 --listen 127.0.0.1:4001 --memory 8 GiB",
            "stopped 0",
            "stopped 1",
        ]
    );
    assert!(errors.contains("node 1: sherwood ready on 127.0.0.1:4001"), "{errors}");
}

#[test]
fn a_server_that_dies_takes_the_others_with_it() {
    let mut launch = Launch::new("echo sherwood ready; kill $waiting; exit 3", &[]);
    let (status, errors, notes) = launch.end();
    assert_eq!(status, 1, "{errors}");
    assert!(notes.contains(&"stopped 0".to_owned()), "{notes:?}");
}

#[test]
fn a_server_that_fails_to_start_takes_the_others_with_it() {
    let mut launch = Launch::new("kill $waiting; echo no memory >&2; exit 1", &[]);
    let (status, errors, notes) = launch.end();
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("no memory") && errors.contains("node 1 ended before it was ready"), "{errors}");
    assert!(notes.contains(&"stopped 0".to_owned()), "{notes:?}");
}

#[test]
fn a_server_that_is_never_ready_is_given_up() {
    let mut launch = Launch::new("wait $waiting", &["--ready-s", "1"]);
    let (status, errors, notes) = launch.end();
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("node 1 was not ready within 1 s"), "{errors}");
    assert!(notes.contains(&"stopped 0".to_owned()), "{notes:?}");
}

#[test]
fn the_file_of_targets_is_there_while_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets");
    let fifo = folder.path().join("all-ready");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Node 1 ends, when it is told to by somebody who has seen the file.
    let behaviour = format!("echo sherwood ready; read line < {}; kill $waiting; exit 3", fifo.display());
    let mut launch = Launch::new(&behaviour, &["--port", "4000", "--targets", file.to_str().unwrap()]);
    let seen = loop {
        match fs::read_to_string(&file) {
            Ok(text) => break text,
            Err(_) => assert!(launch.child.try_wait().unwrap().is_none(), "it ended"),
        }
        std::thread::yield_now();
    };
    assert_eq!(seen, "127.0.0.1:4000\n127.0.0.1:4001\n");
    fs::write(&fifo, "\n").unwrap();
    assert_eq!(launch.end().0, 1);
    assert!(!file.exists());
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [&["--memory", "8GiB"][..], &["--port"], &["--port", "x"], &["--port", "65535"]] {
        let (status, errors, _) = Launch::new(":", arguments).end();
        assert_eq!(status, 2, "{arguments:?}: {errors}");
    }
}
