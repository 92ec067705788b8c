//! Traces as people have them, through `sherwood simulate` and `sherwood load`: packed in several frames, damaged, of other
//! clocks, under other names; and sizes of a cache that no trace fills.

use crate::server::{Faults, Server};
use crate::support::program;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;
use tempfile::TempDir;

/// A folder with one trace.
struct Trace {
    _folder: TempDir,
    path: PathBuf,
}

impl Trace {
    fn new(name: &[u8], bytes: &[u8]) -> Trace {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, bytes).unwrap();
        Trace { _folder: folder, path }
    }

    fn simulate(&self, line: &str) -> Output {
        run("simulate", &self.path, line)
    }

    /// What `simulate --json` tells.
    fn told(&self, line: &str) -> Value {
        let output = self.simulate(&format!("{line} --json"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    }

    fn hits(&self, line: &str) -> (u64, u64) {
        let told = self.told(line);
        (told["hits"].as_u64().unwrap(), told["requests"].as_u64().unwrap())
    }

    fn load(&self, server: &Server, line: &str) -> Output {
        let address = server.address;
        run("load", &self.path, &format!("--target {address} --json - --timeout 2s {line}"))
    }
}

fn run(tool: &str, trace: &Path, line: &str) -> Output {
    let mut words: Vec<OsString> = vec![tool.into(), "--trace".into(), trace.into()];
    words.extend(line.split_whitespace().map(OsString::from));
    program::sherwood().args(words).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn packed(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

/// Records of libCacheSim's format: time and key.
fn oracle(records: impl Iterator<Item = (u32, u64)>) -> Vec<u8> {
    let record = |(time_s, key): (u32, u64)| {
        [&time_s.to_le_bytes()[..], &key.to_le_bytes(), &100u32.to_le_bytes(), &[255; 8]].concat()
    };
    records.flat_map(record).collect()
}

#[test]
fn a_packed_trace_is_read_to_its_last_frame() {
    let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
    let frames = [packed("a\nb\n"), skippable, packed("a\nb\n"), packed("a\nc\n")].concat();
    let trace = Trace::new(b"t.txt.zst", &frames);
    assert_eq!(trace.hits("--items 10"), (3, 6));
    let server = Server::start(Faults::default());
    let output = trace.load(&server, "");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let get = &json["commands"]["get"];
    assert_eq!((&get["sent"], &get["misses"]), (&Value::from(6), &Value::from(3)), "{}", stderr(&output));
}

#[test]
fn a_damaged_trace_is_refused_with_file_and_place() {
    let whole = packed("a\nb\n");
    let mut flipped = [whole.clone(), whole.clone()].concat();
    *flipped.last_mut().unwrap() ^= 1;
    let cut = oracle((0..3).map(|i| (i, 7)));
    let mut op = vec![0; 48];
    op[24 + 20] = 9;
    let cases: [(&[u8], &[u8], &str); 7] = [
        (
            b"cut.txt.zst",
            &flipped[..whole.len() + 9],
            "zstd frame 2, from byte 17 on, is cut off: the file ends at byte 26",
        ),
        (
            b"bad.txt.zst",
            &flipped,
            "zstd frame 2, from byte 17 on, is damaged before byte 34: its checksum does not match",
        ),
        (b"t.txt.zst", b"a\nb\n", "no zstd file"),
        (b"c.oracleGeneral.bin", &cut[..70], "record 3, at byte 48 of the records, has 22 of 24 bytes"),
        (b"o.ctr", &op, "record 2, at byte 24 of the records, has op 9"),
        (b"e.txt", b"\n\r\n", "no records"),
        (b"t.csv", b"a\n", "known are .ctr, .oracleGeneral, .txt or .keys, each with or without .zst"),
    ];
    let server = Server::start(Faults::default());
    for (name, bytes, why) in cases {
        let trace = Trace::new(name, bytes);
        for output in [trace.simulate("--items 10"), trace.load(&server, "")] {
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{message}");
            let place = format!("--trace {}: ", trace.path.display());
            assert!(message.contains(&place) && message.contains(why), "{message}");
        }
    }
}

#[test]
fn recorded_times_begin_with_the_first_record_whatever_the_clock_says() {
    // As real traces have them: seconds of some clock, two in each; one goes back.
    let mut times: Vec<u32> = (0..4).map(|i| 564_726_470 + i / 2).collect();
    times[1] = 564_726_469;
    let trace = Trace::new(b"w.oracleGeneral", &oracle(times.into_iter().zip(0..)));
    let server = Server::start(Faults::default());
    let began = Instant::now();
    let output = trace.load(&server, "--trace-speed recorded");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["commands"]["get"]["sent"], 4, "{}", stderr(&output));
    let took = began.elapsed();
    assert!((1.0..60.0).contains(&took.as_secs_f64()), "four requests over a second took {took:?}");
    let timeless = Trace::new(b"w.txt", b"a\nb\n").load(&server, "--trace-speed recorded");
    assert_eq!(timeless.status.code(), Some(1));
    assert!(stderr(&timeless).contains("are of one time; use --trace-speed max"), "{}", stderr(&timeless));
}

#[test]
fn a_name_that_is_not_utf8_has_a_format_and_a_curve() {
    let records = oracle((0..100).map(|i| (i, i as u64 % 10)));
    let trace = Trace::new(b"\xff.oracleGeneral.bin", &records);
    assert_eq!(trace.hits("--items 10"), (90, 100));
    let folder = trace.path.parent().unwrap();
    let output =
        run("simulate", &trace.path, &format!("--items 10 --curve --curve-dir {}", folder.display()));
    assert!(output.status.success(), "{}", stderr(&output));
    for end in ["csv", "png"] {
        let mut file = trace.path.clone().into_os_string();
        file.push(format!(".curve.{end}"));
        assert!(Path::new(&file).exists(), "{end}");
    }
}

#[test]
fn keys_of_a_text_trace_are_the_bytes_of_its_lines() {
    assert_eq!(Trace::new(b"t.txt", b"007\n7\n+7\n").hits("--items 10"), (0, 3));
    assert_eq!(Trace::new(b"t.txt", b" a\na\na \n\ta\n").hits("--items 10"), (0, 4));
    assert_eq!(Trace::new(b"t.keys", b"a\r\na\n\n7\r\n7").hits("--items 10"), (2, 4));
}

#[test]
fn a_size_in_items_is_a_count_of_at_least_one() {
    let lines: Vec<u8> = (0..100).flat_map(|i| format!("{}\n", i % 50).into_bytes()).collect();
    let trace = Trace::new(b"t.txt", &lines);
    for (items, words) in
        [("0", "0 is less than an item"), ("1.5", "not a whole count"), ("1x", "not a unit"), ("-1", "-1")]
    {
        let output = trace.simulate(&format!("--items={items}"));
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("--items") && message.contains(words), "{message}");
    }
    for items in ["1k", "50", "100M", "1000000000000", "999999999999999999"] {
        for policy in ["wtinylfu", "s3fifo", "lru", "none"] {
            let told = trace.told(&format!("--items {items} --policy {policy}"));
            assert_eq!(told["hits"], 50, "{items} {policy}");
            let bytes = told["policy_memory_bytes"].as_u64().unwrap();
            assert!(bytes < 1 << 20, "{items} {policy}: {bytes} bytes for a trace of 100 records");
        }
    }
    assert_eq!(trace.told("--bytes 900TB")["hits"], 50);
    assert_eq!(trace.told("--bytes 1MiB --value-size 1KiB")["byte_hit_ratio"], 0.5);
}

#[test]
fn without_a_policy_the_simulated_cache_evicts() {
    let lines: Vec<u8> = (0..100).flat_map(|i| format!("{}\n", i % 5).into_bytes()).collect();
    let trace = Trace::new(b"t.txt", &lines);
    let told = trace.told("--policy none --items 3");
    assert_eq!(
        (&told["hits"], &told["evicted"]),
        (&Value::from(0), &Value::from(97)),
        "a loop of five in three"
    );
    assert_eq!(trace.hits("--policy none --items 5"), (95, 100));
    let help = program::sherwood().args(["simulate", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.split_whitespace().collect::<Vec<_>>().join(" ").contains("lru, or none, which evicts"),
        "{help}"
    );
}
