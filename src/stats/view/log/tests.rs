//! Logs of many writers, damaged ones, and long ones.

use super::super::{ascii, html, png, table};
use super::*;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};

fn encoded(values: &[u64], compressed: bool) -> String {
    use base64::Engine;
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    values.iter().for_each(|&v| histogram.record(v).unwrap());
    let mut bytes = Vec::new();
    if compressed {
        V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
    } else {
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn other_tools_logs_are_read() {
    for compressed in [true, false] {
        for end in ["\n", "\r\n"] {
            let log = [
                "#[Histogram log format version 1.3]".to_string(),
                "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]".into(),
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
                    .into(),
                format!("0.127,1.007,2.769,{}", encoded(&[1000, 2000], compressed)),
                format!("Tag=write,1.134,0.999,0.442,{}", encoded(&[5000], compressed)),
                format!("1.134,0.999,0.442,{}", encoded(&[3000], compressed)),
                String::new(),
            ]
            .join(end);
            let series = parse("x", log.as_bytes(), Unit::Ns).unwrap().series;
            let counts: Vec<_> =
                series.iter().map(|s| (s.name(), s.intervals.len(), s.total.len())).collect();
            assert_eq!(counts, [("x".to_string(), 2, 3), ("x write".to_string(), 1, 1)]);
            assert_eq!(series[0].quantile_us(1.0), 3.001);
            assert!((series[0].intervals[1].at_s - 1.007).abs() < 1e-6);
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_file_is_a_log_or_an_error(
        lines in proptest::collection::vec("(Tag=[a-z]{0,3},)?[0-9]\\.[0-9]{1,3},[0-9]\\.[0-9]{0,3},[0-9]\\.[0-9]{1,3},[A-Za-z0-9+/=]{0,40}|#.{0,20}|.{0,40}", 0..6),
    ) {
        // Whether it is one is not the point: it must be said without a panic.
        if let Err(why) = parse("x", lines.join("\n").as_bytes(), Unit::Ns) {
            proptest::prop_assert!(!why.is_empty());
        }
    }
}

proptest::proptest! {
    // Few cases: each draws a picture.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn a_damaged_histogram_is_an_error_or_another_histogram(
        values in proptest::collection::vec(1u64..1_000_000_000, 1..50),
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
    ) {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        let mut bytes = engine.decode(encoded(&values, false)).unwrap();
        let whole = format!("0.0,1.0,1.0,{}", engine.encode(&bytes));
        proptest::prop_assert!(parse("x", whole.as_bytes(), Unit::Ns).is_ok());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let log = format!("0.0,1.0,1.0,{}", engine.encode(bytes));
        if let Ok(Log { series, .. }) = parse("x", log.as_bytes(), Unit::Ns) {
            // Whatever it now says can be shown in every way.
            let shown: Vec<&Series> = series.iter().collect();
            proptest::prop_assert!(table::summary(&series).contains('x'));
            proptest::prop_assert!(html::page(&series).contains("\"counts\""));
            ascii::plot(&shown);
            // An empty histogram has nothing to draw.
            proptest::prop_assert!(png::draw(&shown).is_ok() || series[0].total.is_empty());
        }
    }
}

#[test]
fn what_is_no_log_says_so_by_line() {
    assert!(parse("x", &b""[..], Unit::Ns).unwrap_err().contains("no intervals"));
    assert!(parse("x", &b"#c\nhello\n"[..], Unit::Ns).unwrap_err().starts_with("line 2"));
    let cut = format!("0.0,1.0,1.0,{}", &encoded(&[1], true)[..8]);
    assert!(parse("x", cut.as_bytes(), Unit::Ns).unwrap_err().starts_with("line 1"));
}

/// How the fixtures were made: the README beside them.
fn of_others(name: &str) -> Vec<Series> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/logs/");
    read(Path::new(&format!("{path}{name}.hlog")), Unit::Ns).unwrap()
}

#[test]
fn javascript_and_python_write_logs_that_are_read() {
    let js = of_others("hdr-histogram-js");
    let python = of_others("hdrhistogram-python");
    let told: Vec<_> =
        js.iter().chain(&python).map(|s| (s.name(), s.intervals.len(), s.total.len())).collect();
    let name = |name: &str| name.to_string();
    assert_eq!(
        told,
        [
            (name("hdr-histogram-js"), 1, 100),
            (name("hdr-histogram-js w"), 1, 100),
            (name("hdrhistogram-python"), 2, 200)
        ]
    );
    for series in js.iter().chain(&python) {
        // What Python's reader says of the same values.
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| series.total.value_at_quantile(share)),
            [50_015, 99_007, 100_031]
        );
        assert!((series.total.mean() - 50_503.62).abs() < 1.0);
    }
    assert_eq!(python[0].intervals[1].at_s, 1.0);
}

/// Each line says its largest value beside the histogram, so a log is its own check.
#[test]
fn every_version_of_javas_logs_is_read() {
    for (name, largest_us, times_s) in [
        ("jHiccup-V0", [3031.0, 442.0, 459.0], [0.0, 1.005, 2.005]),
        ("jHiccup-V1", [2802.0, 475.0, 475.0], [0.0, 1.005, 2.003]),
        ("jHiccup-V2", [2769.0, 442.0, 426.0], [0.0, 1.007, 2.006]),
    ] {
        let series = of_others(name);
        assert_eq!(series[0].intervals.len(), 3, "{name}");
        for (at, interval) in series[0].intervals.iter().enumerate() {
            let us = interval.events.max() as f64 / 1e3;
            // Two digits, in steps of 16 µs at least; the line has three decimals.
            assert!((-0.6..17.0).contains(&(us - largest_us[at])), "{name} {at}: {us}");
            assert!((interval.at_s - times_s[at]).abs() < 1e-6, "{name} {at}: {}", interval.at_s);
            assert!(interval.events.len() > 600, "{name}: a second of hiccups");
        }
    }
}

/// 900 events of 30 µs, 99 of 1 ms and one of 9 ms, in steps of 16,384 ns.
const COARSE: &str =
    "0.100,1.000,9.0,HISTFAAAACx4nJNpmSzMwMDAyQABTBDKT4GB0zST3YmBwf4DRISxg6/0GONUViYAfo0GTg==";

#[test]
fn a_coarse_log_shows_nothing_below_what_was_recorded() {
    let series = &parse("x", COARSE.as_bytes(), Unit::Ns).unwrap().series[0];
    assert_eq!((series.total.len(), series.quantile_us(0.5)), (1000, 32.767));
    assert!(series.quantile_us(0.99) >= 1000.0 && series.quantile_us(1.0) >= 9000.0);
    // As HistogramLogProcessor says.
    assert!((series.total.mean() - 130_900.0).abs() < 200.0, "{}", series.total.mean());
    // Beside intervals of a finer unit, and twice.
    let finer = format!("{COARSE}\n1,1,1,{}\n{COARSE}", encoded(&[1], true));
    let series = &parse("x", finer.as_bytes(), Unit::Ns).unwrap().series[0];
    assert_eq!((series.total.len(), series.total.low()), (2001, 1));
    assert!((32.767..32.8).contains(&series.quantile_us(0.5)), "{}", series.quantile_us(0.5));
}

#[test]
fn zeros_of_a_coarse_log_are_no_less_than_its_unit() {
    use base64::Engine;
    let mut histogram = Histogram::<u64>::new_with_bounds(20_000, 1 << 40, 2).unwrap();
    histogram.record_n(0, 5).unwrap();
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
    let log = format!("0,1,0,{}", base64::engine::general_purpose::STANDARD.encode(bytes));
    let series = &parse("x", log.as_bytes(), Unit::Ns).unwrap().series[0];
    assert_eq!((series.quantile_us(0.5), series.quantile_us(1.0), series.max_us()), (16.383, 16.383, 16.383));
}

#[test]
fn a_log_that_is_cut_shows_the_rest_and_says_where() {
    let line = format!("1.0,1.0,1.0,{}", encoded(&[1000, 2000], true));
    for cut in 1..line.len() {
        let text = format!("#[StartTime: 5]\n{line}\n{}", &line[..cut]);
        let log = parse("x", text.as_bytes(), Unit::Ns).unwrap();
        // An end without a line end, and a missing `=`, are whole.
        let whole = log.series[0].total.len() == 4;
        assert_eq!(log.warnings.is_empty(), whole, "{cut}");
        if !whole {
            assert!(log.warnings[0].starts_with("1 line of 3 is left out: line 3: "), "{:?}", log.warnings);
            assert!(log.warnings[0].contains("cut"), "{:?}", log.warnings);
        }
    }
    let odd = format!("{line}\n\0\x1b[2J\n{line}\nTag=x,1,1,1,HISTF\n{line}\n");
    let log = parse("x", odd.as_bytes(), Unit::Ns).unwrap();
    assert_eq!((log.series.len(), log.series[0].total.len()), (1, 6));
    assert!(
        log.warnings[0].starts_with("2 lines of 5 are left out; the first is line 2: "),
        "{:?}",
        log.warnings
    );
}

#[test]
fn input_without_an_end_is_left() {
    let nothing = BufReader::new(std::io::repeat(0));
    assert!(parse("x", nothing, Unit::Ns).unwrap_err().contains("line 1: it has more than"));
    let words = b"yes\n".repeat(LOG_BAD_LINES_MAX as usize + 1);
    assert!(parse("x", &words[..], Unit::Ns).unwrap_err().starts_with("line 1: not a line"));
    // One line that is too long, among others, is skipped like any other.
    let line = format!("1.0,1.0,1.0,{}\n", encoded(&[1000], true));
    let long = "x".repeat(LOG_LINE_BYTES_MAX + 7);
    let log = parse("x", format!("{line}{long}\n{line}").as_bytes(), Unit::Ns).unwrap();
    assert_eq!((log.series[0].total.len(), log.warnings.len()), (2, 1));
}

#[test]
fn a_long_log_keeps_its_events_and_its_time_in_bounded_memory() {
    let payload = encoded(&[1000, 2_000_000], true);
    let lines: Vec<String> = (0..3 * LOG_INTERVALS_MAX).map(|at| format!("{at},1.0,1.0,{payload}")).collect();
    let series = &parse("x", lines.join("\n").as_bytes(), Unit::Ns).unwrap().series[0];
    assert!(series.intervals.len() <= LOG_INTERVALS_MAX && series.intervals.len() >= LOG_INTERVALS_MAX / 2);
    let together: u64 = series.intervals.iter().map(|i| i.events.len()).sum();
    assert_eq!((together, series.total.len()), (6 * LOG_INTERVALS_MAX as u64, 6 * LOG_INTERVALS_MAX as u64));
    let end_s = series.intervals.last().map(|i| i.at_s + i.length_s);
    assert_eq!(end_s, Some(3.0 * LOG_INTERVALS_MAX as f64));
    let lengths: f64 = series.intervals.iter().map(|i| i.length_s).sum();
    assert_eq!(lengths, 3.0 * LOG_INTERVALS_MAX as f64);
}

#[test]
fn tags_are_bounded_and_move_no_cursor() {
    let payload = encoded(&[1000], true);
    let tagged = |tag: &dyn std::fmt::Display| format!("Tag={tag},0,1,1,{payload}\n");
    let many: String = (0..LOG_TAGS_MAX + 3).map(|tag| tagged(&tag)).collect();
    let log = parse("x", many.as_bytes(), Unit::Ns).unwrap();
    assert_eq!(log.series.len(), LOG_TAGS_MAX);
    assert!(log.warnings[0].starts_with("3 lines of "), "{:?}", log.warnings);
    let log = parse("x", tagged(&"\x1b[2J").as_bytes(), Unit::Ns).unwrap();
    assert_eq!(log.series[0].name(), "x \\u{1b}[2J");
}

/// A process that was started again goes on with the log of the one before.
#[test]
fn times_of_several_processes_follow_each_other() {
    let payload = encoded(&[1000], true);
    let run = |start: u64| {
        format!("#[StartTime: {start}.000 (seconds)]\n0.000,1,1,{payload}\n1.000,1,1,{payload}\n")
    };
    let at = |text: String| {
        let log = parse("x", text.as_bytes(), Unit::Ns).unwrap();
        log.series[0].intervals.iter().map(|i| i.at_s).collect::<Vec<_>>()
    };
    assert_eq!(at(run(1_700_000_000) + &run(1_700_000_060)), [0.0, 1.0, 60.0, 61.0]);
    let absolute =
        format!("#[StartTime: 1700000000.5]\n1700000001.0,1,1,{payload}\n1700000002.5,1,1,{payload}");
    assert_eq!(at(absolute), [0.0, 1.5]);
    let based =
        format!("#[BaseTime: 1700000000]\n#[StartTime: 1700000000]\n3.0,1,1,{payload}\n4.0,1,1,{payload}");
    assert_eq!(at(based), [0.0, 1.0]);
}
