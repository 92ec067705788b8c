//! `scripts/measure`: its own unit tests (the verdict fails on a worse row and passes on noise), its list, and one small
//! experiment with old and new being the same program. Nothing here judges a speed: one round is too few for a verdict.
//! `scripts/clients`: its own unit tests, and that `serve` takes what memcached's options are translated to.

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SHERWOOD: &str = env!("CARGO_BIN_EXE_sherwood");

/// Whether there is a Python that runs the tool; says so where there is none.
fn has_python() -> bool {
    let asked =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status();
    let has = asked.is_ok_and(|status| status.success());
    if !has {
        println!("SKIPPED: scripts/measure needs python3, 3.9 or newer");
    }
    has
}

/// Runs the command; its output, after an exit status of 0.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

fn measure(arguments: &[&str]) -> String {
    run(Command::new(format!("{ROOT}/scripts/measure")).args(arguments))
}

#[test]
fn its_own_tests_pass() {
    if has_python() {
        let folder = format!("{ROOT}/scripts");
        let arguments = ["-m", "unittest", "discover", "-s", "measuring/tests", "-t", "."];
        run(Command::new("python3").current_dir(folder).args(arguments));
    }
}

#[test]
fn tests_of_the_script_for_clients_pass() {
    if has_python() {
        let folder = format!("{ROOT}/scripts");
        let arguments = ["-m", "unittest", "discover", "-s", "public_clients/tests", "-t", "."];
        run(Command::new("python3").current_dir(folder).args(arguments));
    }
}

/// The stand-in for memcached's binary starts `serve` with options that it takes.
#[test]
fn memcacheds_options_become_options_of_serve() {
    if !has_python() {
        return;
    }
    let translate = "import sys; from public_clients.memcached_options import translate; \
                     print(*translate(sys.argv[1:]), sep='\\n')";
    for (line, want) in [
        ("-s s -a 770 -m 64 -A -u root -o relaxed_privileges", "unix_mode = \"770\""),
        ("-p 7 -U 7 -l 127.0.0.1 -M -c 100 -I 2m -t 1 -vv", "transport = \"udp,tcp\""),
        ("-l 0.0.0.0 -p 7 -U 0 -o idle_timeout=3,no_modern", "idle_timeout = 3"),
    ] {
        let mut python = Command::new("python3");
        python.current_dir(format!("{ROOT}/scripts")).args(["-c", translate]).args(line.split(' '));
        let serve = run(&mut python);
        let printed = run(Command::new(SHERWOOD).args(serve.lines()).arg("--print-config"));
        assert!(printed.contains(want), "{line}: {printed}");
    }
}

#[test]
fn every_experiment_is_listed_and_named_by_the_documentation() {
    if !has_python() {
        return;
    }
    let testing = fs::read_to_string(format!("{ROOT}/docs/testing.md")).unwrap();
    let listed = measure(&["--list"]);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"loopback") && names.contains(&"tick"), "{listed}");
    for name in names {
        let row = format!("`scripts/measure {name}");
        assert!(testing.contains(&row), "docs/testing.md has no row for {name}");
    }
}

#[test]
fn old_and_new_are_measured_in_one_run_and_written_as_json() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let case = "get, 1 key, trains";
    let small = ["--rounds", "1", "--seconds", "0.3", "--keys", "1k", "--memory", "16MiB", "--only", case];
    let programs = ["--new", SHERWOOD, "--old", SHERWOOD, "--json", json.to_str().unwrap()];
    let text = measure(&[&["watch-cost"], &small[..], &programs[..]].concat());
    assert!(text.contains("not judged"), "{text}");

    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["experiment"], "watch-cost");
    assert_eq!(report["parameters"]["memory"], "16MiB");
    assert_eq!(report["binaries"]["old"], report["binaries"]["new"]);
    assert_eq!(report["is_failed"], false);
    for figure in ["kernel", "cores", "model", "memory_bytes"] {
        assert!(!report["machine"][figure].is_null(), "machine has no {figure}");
    }
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["binary"].as_str().unwrap()).collect::<Vec<_>>(), ["new", "old"]);
    for row in rows {
        assert_eq!(row["case"], case);
        let rounds = row["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 1);
        assert!(rounds.iter().all(|figures| figures["with_ns"].as_f64().unwrap() > 0.0));
        assert!(row["medians"]["with_ns"].as_f64().unwrap() > 0.0);
    }
    let comparisons = report["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 1);
    let comparison = &comparisons[0];
    assert_eq!((&comparison["figure"], &comparison["better"]), (&"with_ns".into(), &"lower".into()));
    assert_eq!(comparison["verdict"], "not judged");
    assert_eq!(comparison["ratios"].as_array().unwrap().len(), 1);
    for ratio in ["ratio_of_medians", "median_of_ratios"] {
        assert!(comparison[ratio].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn streams_are_measured_and_what_is_not_there_is_skipped() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let small = ["--rounds", "1", "--seconds", "0.1", "--keys", "1k", "--memory", "64MiB"];
    let programs = ["--new", SHERWOOD, "--memcached", "/nowhere/memcached", "--json", json.to_str().unwrap()];
    measure(&[&["streams"], &small[..], &programs[..]].concat());
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let skipped = report["skipped"].as_array().unwrap();
    let is_skipped =
        |subject: &str| skipped.iter().any(|skip| skip["what"].as_str().unwrap().starts_with(subject));
    assert!(is_skipped("other memcached"), "{report}");
    for subject in ["echo", "sherwood", "memcached"] {
        let of: Vec<&Value> = rows.iter().filter(|row| row["subject"] == subject).collect();
        assert_eq!(of.is_empty(), is_skipped(subject), "{subject}: {report}");
        assert!(of.is_empty() || of.len() == 8, "a row a shape of {subject}: {report}");
        for row in of {
            let medians = &row["medians"];
            assert!(medians["keys_per_s"].as_f64().unwrap() > 0.0, "{row}");
            assert!(medians["p50_us"].as_f64() <= medians["p99_us"].as_f64(), "{row}");
        }
    }
    let beside: Vec<&Value> =
        rows.iter().filter(|row| row["case"].as_str().unwrap().starts_with("UDP")).collect();
    assert_eq!(beside.is_empty(), is_skipped("UDP beside TCP"), "{report}");
}
