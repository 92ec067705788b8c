//! A cache in one process: two threads that own a shard each, one that reads both, and the policy beside them.
//!
//! ```text
//! cargo run -p sherwood-cache --example two_owners
//! ```

use cache::base::clock::Clock;
use cache::policy::{Limits, run_once};
use cache::shard::{Mode, Owner, Store};
use cache::{Built, Cache, Participant, Read};
use std::sync::mpsc;
use std::thread;

/// Which shard a key belongs to: anything that all threads agree on.
fn shard_of(number: u64) -> usize {
    (number % 2) as usize
}

/// An owner stores the numbers of its shard, and ends when nobody needs it any more.
fn own(
    mut owner: Owner,
    participant: Participant,
    clock: &Clock,
    stored: &mpsc::Sender<()>,
    done: &mpsc::Receiver<()>,
) {
    let mut pin = participant.pin();
    let numbers = (0..1_000u64).filter(|&number| shard_of(number) == owner.index());
    for number in numbers.collect::<Vec<_>>() {
        let (key, value) = (format!("key:{number}"), format!("value of {number}"));
        let store = Store::new(Mode::Set, key.as_bytes(), value.as_bytes());
        owner.store(&mut pin, &store, clock.now()).expect("64 MiB have room for a thousand values");
        pin.quiescent();
        owner.tick(&mut pin, clock.now(), |_| ());
    }
    drop(pin);
    stored.send(()).expect("the reader waits for this");
    done.recv().expect("the reader says when it is done");
}

fn main() {
    let clock = Clock::system();
    let Built { cache, owners, participants, mut round, .. } = Cache::builder().shards(2).readers(1).build();
    let mut reader = cache.reader().expect("one was asked for");
    thread::scope(|scope| {
        let (stored, all_stored) = mpsc::channel();
        let mut dones = Vec::new();
        for (parts, participant) in owners.into_iter().zip(participants) {
            let (done, is_done) = mpsc::channel();
            let (stored, clock) = (stored.clone(), &clock);
            scope.spawn(move || own(Owner::new(parts), participant, clock, &stored, &is_done));
            dones.push(done);
        }
        all_stored.iter().take(2).for_each(drop);
        run_once(&mut round, clock.now().ms(), &Limits::default());
        let guard = reader.enter();
        let found = (0..1_000u64).filter(|&number| {
            let key = format!("key:{number}");
            matches!(guard.get(shard_of(number), key.as_bytes(), clock.now()), Read::Hit(item)
                if item.value().whole() == Some(format!("value of {number}").as_bytes()))
        });
        println!("{} of 1000 values read back", found.count());
        drop(guard);
        dones.iter().for_each(|done| done.send(()).expect("owners wait for this"));
    });
}
