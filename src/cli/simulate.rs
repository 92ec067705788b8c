//! `sherwood simulate`: a trace through the shipping policy, for one size or a curve of sizes.

pub mod curve;
pub mod replay;
mod sampled;
mod slots;

use super::{ExitResult, out};
use crate::config::size;
use crate::load::trace::Reader;
use cache::policy::{Goal, PolicyKind};
use replay::{Capacity, Setup, replay};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sherwood simulate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Trace to replay: .ctr, .oracleGeneral, .txt or .keys, each may end in .zst (formats: docs/traces.md)
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,

    /// Size of the cache in items (1000, 50k, 1M); sizes, TTLs and ops of the trace are ignored
    #[arg(long, value_name = "N", value_parser = size::items, conflicts_with = "bytes", required_unless_present = "bytes")]
    items: Option<u64>,

    /// Size of the cache in bytes (10MiB, 1GB, 123456); sizes, TTLs and ops of the trace are honoured
    #[arg(long, value_name = "N", value_parser = size::trace_bytes)]
    bytes: Option<u64>,

    /// Eviction policy: wtinylfu, s3fifo, lru, or none, which evicts by sampled LRU as a server without a policy does
    #[arg(long, value_name = "NAME", default_value = "wtinylfu")]
    policy: PolicyKind,

    /// What counts: objects (most hits) or bytes (most bytes served)
    #[arg(long, value_name = "GOAL", default_value = "objects")]
    policy_goal: Goal,

    /// Share of the hit records that are lost on their way to the policy
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,

    /// Size of an item where the trace does not know it, in bytes
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = size::item_bytes)]
    value_size: u32,

    /// Size of an item that the policy expects, as `serve --mean-item` tells it; without it the mean of the trace
    #[arg(long, value_name = "BYTES", value_parser = size::trace_bytes, conflicts_with = "items")]
    mean_item: Option<u64>,

    /// Key hash, sampling and loss follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Replay a range of sizes up to the given one, write TRACE.curve.csv and TRACE.curve.png into this directory
    #[arg(long)]
    curve: bool,

    /// Sizes of the curve
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=256))]
    curve_points: u32,

    /// Where the curve goes
    #[arg(long, value_name = "DIR", default_value = ".")]
    curve_dir: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The trace cannot be read, or the curve cannot be written.
pub fn run(args: &Args) -> ExitResult {
    if !(0.0..=100.0).contains(&args.loss) {
        return Err("--loss is a percentage, 0 to 100".into());
    }
    let records = Reader::open(&args.trace)
        .and_then(Reader::read_all)
        .map_err(|error| format!("--trace {}: {error}", args.trace.display()))?;
    if records.is_empty() {
        return Err(format!("--trace {}: no records", args.trace.display()).into());
    }
    let capacity = match (args.items, args.bytes) {
        (Some(items), _) => Capacity::Items(items),
        (None, bytes) => Capacity::Bytes(bytes.unwrap_or(1).max(1)),
    };
    let setup = Setup {
        kind: args.policy,
        goal: args.policy_goal,
        capacity,
        loss_percent: args.loss,
        value_bytes: args.value_size,
        mean_item_bytes: args.mean_item,
        seed: args.seed,
    };
    if args.curve {
        return curve::run(args, &records, &setup);
    }
    let outcome = replay(&records, &setup);
    if args.json {
        out::line(json_of(&setup, &outcome))?;
    } else {
        let (ratio, hits, requests) = (outcome.hit_ratio(), outcome.hits, outcome.requests);
        out::line(format_args!("{ratio:.4} hit ratio, {hits} hits of {requests} requests"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The object that `--json` prints.
fn json_of(setup: &Setup, outcome: &replay::ReplayResult) -> serde_json::Value {
    let policy = &outcome.policy;
    let mut object = serde_json::json!({
        "requests": outcome.requests,
        "hits": outcome.hits,
        "hit_ratio": outcome.hit_ratio(),
        "promoted": policy.promoted,
        "rejected": policy.rejected,
        "evicted": policy.evicted,
        "expired": policy.expired,
        "arm": policy.arm,
        "arm_changes": policy.arm_changes,
        "window_permille": policy.window_permille,
        "sampled_one_in": policy.sampled_one_in,
        "policy_memory_bytes": policy.memory_bytes,
    });
    match setup.capacity {
        Capacity::Items(items) => object["items"] = items.into(),
        Capacity::Bytes(bytes) => {
            object["bytes"] = bytes.into();
            object["byte_hit_ratio"] = outcome.byte_hit_ratio().into();
        }
    }
    object
}
