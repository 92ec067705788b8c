//! How long it takes to have memory: maps a region, prefaults it on the CPUs that are allowed, and reports.
//!
//! `cargo run --profile bench -p sherwood-numa --example prefault -- MIB [auto|1g|2m|thp|off] [NODE]`

use numa::{Huge, Region, RegionRequest};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mib: usize = arguments.first().map_or(Ok(256), |text| text.parse())?;
    let huge: Huge = arguments.get(1).map_or(Ok(Huge::Auto), |text| text.parse())?;
    let node = arguments.get(2).map(|text| text.parse()).transpose()?;
    let cpus = numa::allowed_cpus()?;
    for threads in 1..=cpus.len() {
        let request = RegionRequest { name: "example", bytes: mib << 20, node, huge, mlock: false };
        let region = Region::map(&request)?;
        let start = Instant::now();
        region.prefault_parallel(&cpus[..threads], &|_| ())?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{threads} threads: {:.2} s/GiB", seconds / region.bytes() as f64 * (1u64 << 30) as f64);
        println!("  {}", region.report());
        for refusal in region.report().refused {
            println!("  not granted: {}", refusal.reason);
        }
    }
    Ok(())
}
