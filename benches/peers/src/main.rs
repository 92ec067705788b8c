//! Hit ratios of libraries and of Sherwood's policy on the traces and sizes of an anchors file.
//!
//! `sherwood-peers TRACES_DIR ANCHORS_CSV OUT_CSV [NAME,...]`: every record is a read, a miss inserts, weight 1.
//! The gap of a cell is ours minus the best library of the anchors file, and minus its best peer of all.
//! `CELL_SECONDS` bounds the time of one library in one cell (60); what it did not finish is `-` in the table, empty in the CSV.

mod libraries;
mod table;

use libraries::{LIBRARIES, hits_within};
use sherwood::cli::simulate::replay::{Capacity, Setup, replay};
use sherwood::load::trace::{Reader, Record};
use cache::policy::{Goal, PolicyKind};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use table::{Anchor, Row, Table};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [traces, anchors, out, rest @ ..] = args.as_slice() else {
        return Err("usage: sherwood-peers TRACES_DIR ANCHORS_CSV OUT_CSV [TRACE,...]".into());
    };
    let only: Vec<&str> = rest.first().map(|names| names.split(',').collect()).unwrap_or_default();
    let limit = Duration::from_secs(std::env::var("CELL_SECONDS").map_or(Ok(60), |s| s.parse())?);
    let anchors = Anchor::read(Path::new(anchors))?;
    let mut table = Table::default();
    let mut loaded: Option<(String, Arc<Vec<Record>>)> = None;
    for anchor in anchors.iter().filter(|a| only.is_empty() || only.contains(&a.trace.as_str())) {
        if loaded.as_ref().is_none_or(|(name, _)| *name != anchor.trace) {
            let path = Path::new(traces).join(format!("{}.ctr.zst", anchor.trace));
            loaded = Some((anchor.trace.clone(), Arc::new(Reader::open(&path)?.read_all()?)));
        }
        let records = &loaded.as_ref().expect("just loaded").1;
        let row = measure(anchor, records, limit);
        row.print();
        table.rows.push(row);
        // Written after every cell: a run that is interrupted leaves what it has.
        table.write_csv(Path::new(out))?;
    }
    table.print_summary();
    Ok(())
}

fn measure(anchor: &Anchor, records: &Arc<Vec<Record>>, limit: Duration) -> Row {
    let ours = |kind, loss_percent| {
        let capacity = Capacity::Items(anchor.size);
        let setup = Setup { kind, goal: Goal::Objects, capacity, loss_percent, value_bytes: 100, mean_item_bytes: None, seed: 1 };
        Some(replay(records, &setup).hit_ratio() * 100.0)
    };
    let mut figures = vec![
        ("sherwood", ours(PolicyKind::Wtinylfu, 0.0)),
        ("sherwood-loss50", ours(PolicyKind::Wtinylfu, 50.0)),
        ("sherwood-s3fifo", ours(PolicyKind::S3fifo, 0.0)),
        ("sherwood-lru", ours(PolicyKind::Lru, 0.0)),
    ];
    for name in LIBRARIES {
        let hits = hits_within(limit, name, anchor.size as usize, records);
        figures.push((name, hits.map(|hits| hits as f64 / records.len() as f64 * 100.0)));
    }
    Row { anchor: anchor.clone(), figures }
}
