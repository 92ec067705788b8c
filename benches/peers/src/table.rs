//! Anchors in, table and CSV out.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// A cell of the anchors file.
#[derive(Clone, Debug)]
pub struct Anchor {
    pub trace: String,
    pub size: u64,
    /// Best of all 24 policies, in percent.
    pub best_peer: f64,
    /// Best library, in percent.
    pub best_library: f64,
}

impl Anchor {
    /// Reads `trace,size,belady,best_peer,best_peer_hr,best_library,best_library_hr,…`.
    pub fn read(path: &Path) -> io::Result<Vec<Anchor>> {
        let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not an anchor: {line}"));
        std::fs::read_to_string(path)?
            .lines()
            .skip(1)
            .map(|line| Anchor::parse(line).ok_or_else(|| bad(line)))
            .collect()
    }

    fn parse(line: &str) -> Option<Anchor> {
        let fields: Vec<&str> = line.split(',').collect();
        Some(Anchor {
            trace: (*fields.first()?).to_owned(),
            size: fields.get(1)?.parse().ok()?,
            best_peer: fields.get(4)?.parse().ok()?,
            best_library: fields.get(6)?.parse().ok()?,
        })
    }
}

/// What was measured in a cell, in percent; the first figure is ours. `None` where there was not enough time.
pub struct Row {
    pub anchor: Anchor,
    pub figures: Vec<(&'static str, Option<f64>)>,
}

impl Row {
    fn gaps(&self) -> (f64, f64) {
        let ours = self.figures[0].1.expect("ours is always measured");
        (ours - self.anchor.best_library, ours - self.anchor.best_peer)
    }

    pub fn print(&self) {
        let (library, peer) = self.gaps();
        print!("{:>10} {:>7}  library {library:+6.2}  peer {peer:+6.2} ", self.anchor.trace, self.anchor.size);
        for (name, percent) in &self.figures {
            match percent {
                Some(percent) => print!(" | {name} {percent:.2}"),
                None => print!(" | {name} -"),
            }
        }
        println!();
    }
}

/// All cells.
#[derive(Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    pub fn print_summary(&self) {
        let gaps: Vec<(f64, f64)> = self.rows.iter().map(Row::gaps).collect();
        let cells = gaps.len().max(1) as f64;
        let mean = |gap: fn(&(f64, f64)) -> f64| gaps.iter().map(gap).sum::<f64>() / cells;
        let worst = gaps.iter().map(|gap| gap.0).fold(f64::INFINITY, f64::min);
        let near = gaps.iter().filter(|gap| gap.0 >= -0.5).count() as f64 / cells * 100.0;
        println!("against the best library: mean {:+.2}, worst cell {worst:+.2}, {near:.0} % of cells within 0.5 or better", mean(|gap| gap.0));
        println!("against the best of 24 peers: mean {:+.2}", mean(|gap| gap.1));
        let loss: f64 = self.rows.iter().filter_map(|row| Some(row.figures[1].1? - row.figures[0].1?)).sum::<f64>() / cells;
        println!("half of the hit records lost: mean {loss:+.2}");
    }

    pub fn write_csv(&self, path: &Path) -> io::Result<()> {
        let mut csv = String::from("trace,size,best_library,best_peer,gap_library,gap_peer");
        for (name, _) in self.rows.first().map(|row| &row.figures).into_iter().flatten() {
            write!(csv, ",{name}").expect("a String takes all");
        }
        csv.push('\n');
        for row in &self.rows {
            let (library, peer) = row.gaps();
            let Anchor { trace, size, best_peer, best_library } = &row.anchor;
            write!(csv, "{trace},{size},{best_library},{best_peer},{library:.2},{peer:.2}").expect("a String takes all");
            for (_, percent) in &row.figures {
                let percent = percent.map(|percent| format!("{percent:.2}")).unwrap_or_default();
                write!(csv, ",{percent}").expect("a String takes all");
            }
            csv.push('\n');
        }
        std::fs::write(path, csv)
    }
}
