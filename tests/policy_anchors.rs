//! Hit ratios that the shipping policy must not fall below, on small public traces next to the project.
//!
//! The traces are no part of the project; where they are absent the test says so.

use cache::policy::{Goal, PolicyKind};
use sherwood::cli::simulate::replay::{Capacity, Setup, replay};
use sherwood::load::trace::Reader;
use std::path::Path;

/// Trace, items, floor in percent: about half a point below what was measured with three seeds.
const FLOORS: [(&str, u64, f64); 12] = [
    ("multi1", 130, 44.5),
    ("multi1", 1303, 73.5),
    ("multi2", 57, 22.0),
    ("multi2", 284, 40.0),
    ("multi2", 1137, 56.0),
    ("cpp", 61, 63.5),
    ("cpp", 245, 82.0),
    ("gli", 506, 31.0),
    ("gli", 1264, 51.0),
    ("web12", 138, 42.0),
    ("web12", 688, 64.0),
    ("web12", 2751, 76.5),
];

#[test]
fn hit_ratios_stay_above_their_floors() {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces"));
    for (name, items, floor) in FLOORS {
        let path = dir.join(format!("{name}.ctr.zst"));
        if !path.exists() {
            println!("SKIPPED {name}: no traces in ../shared/traces");
            continue;
        }
        let records = Reader::open(&path).and_then(Reader::read_all).expect("a trace that can be read");
        let setup = Setup {
            kind: PolicyKind::Wtinylfu,
            goal: Goal::Objects,
            capacity: Capacity::Items(items),
            loss_percent: 0.0,
            value_bytes: 100,
            mean_item_bytes: None,
            seed: 1,
        };
        let percent = replay(&records, &setup).hit_ratio() * 100.0;
        println!("{name} {items}: {percent:.2} % (floor {floor})");
        assert!(percent >= floor, "{name} at {items} items: {percent:.2} % is below {floor} %");
    }
}
