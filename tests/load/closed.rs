//! Every subcommand whose reader is gone, or whose output is a full disk, ends with a status and at most a line: no panic.

use crate::server::{Faults, Server};
use crate::support::program::{self, Program};
use std::fs::File;
use std::process::{Output, Stdio};

fn ended(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    program::sherwood().args(arguments).stdout(stdout).output().unwrap()
}

/// Calls with every command line that prints.
fn each(call: &mut dyn FnMut(&[&str])) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let trace = file("a.txt", "1\n2\n1\n");
    let log = file(
        "a.hlog",
        "0.1,1.0,9.0,HISTFAAAACx4nJNpmSzMwMDAyQABTBDKT4GB0zST3YmBwf4DRISxg6/0GONUViYAfo0GTg==\n",
    );
    for words in [
        "--help",
        "--version",
        "load --help",
        "serve --print-config",
        "topo --synthetic pack:1,core:2,pu:1",
        "topo --synthetic pack:1,core:2,pu:1 --json",
    ] {
        let words: Vec<String> = words.split(' ').map(|word| word.replace(',', " ")).collect();
        call(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    call(&["hist", &log]);
    let simulate = ["simulate", "--trace", &trace, "--items", "10"];
    let curve = ["--curve", "--curve-points", "2", "--curve-dir", folder.path().to_str().unwrap()];
    call(&simulate);
    call(&[&simulate[..], &["--json"]].concat());
    call(&[&simulate[..], &curve].concat());
    call(&[&simulate[..], &curve, &["--json"]].concat());
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let load = ["load", "--target", &target, "--keys", "10", "--warmup", "0s", "--duration", "50ms"];
    call(&load);
    call(&[&load[..], &["--json", "-"]].concat());
    let server = Program::serve(&[]);
    let target = server.ready().to_string();
    call(&["top", &target, "--interval", "100ms", "--once"]);
    call(&["top", &target, "--interval", "100ms", "--json"]);
}

#[test]
fn a_reader_who_is_gone_is_no_error() {
    each(&mut |arguments| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = ended(arguments, writer);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("sherwood: "), "{arguments:?}: {said}");
    });
}

#[test]
fn a_full_disk_is_one_line_and_exit_code_1() {
    each(&mut |arguments| {
        let output = ended(arguments, File::options().write(true).open("/dev/full").unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("sherwood: standard output: No space left"), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    });
}
