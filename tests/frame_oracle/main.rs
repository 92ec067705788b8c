//! A differential oracle for batch frames: frames that were changed on their way are read by an independent reading of
//! docs/protocol.md (`reading`), which says what each of them should get; their operations are executed as meta commands on
//! a second server (`reference`); results, and all items afterwards, are compared.
//!
//! `SHERWOOD_ORACLE_SEEDS` says how many seeds are tried (20 by default, with 1,200 frames each); a failure names its seed,
//! and `SHERWOOD_ORACLE_FIRST` repeats it.

mod draw;
mod reading;
mod reference;
#[path = "../support/mod.rs"]
mod support;

use cache::base::random::Random;
use draw::Draw;
use reading::{BAD, Got, Verdict};
use reference::{Answer, Reference, answers, in_order, is_spelled, text};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::stepped::Stepped;

/// Frames of a seed.
const FRAMES: u64 = 1_200;
/// The id of requests that are no frames.
const TEXT_ID: u16 = u16::MAX;

#[test]
fn mutated_frames_get_what_the_document_says() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let first: u64 = number("SHERWOOD_ORACLE_FIRST", 1);
    let mut total = Tally::default();
    for seed in first..first + number("SHERWOOD_ORACLE_SEEDS", 20) {
        let workers = 1 + seed as usize % 2;
        match std::panic::catch_unwind(|| Field::new(seed, workers).run()) {
            Ok(tally) => total.add(&tally),
            Err(_) => panic!("seed {seed}: SHERWOOD_ORACLE_FIRST={seed} SHERWOOD_ORACLE_SEEDS=1 repeats it"),
        }
    }
    println!("{total:?}");
    // An oracle that is asked nothing says nothing.
    let Tally { frames, silent, text, bad, ref results } = total;
    assert!(silent > frames / 50 && text > frames / 1_000 && bad > frames / 10, "{total:?}");
    let done: u64 = results.values().sum();
    assert!(done > frames * 2, "{total:?}");
    for status in [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x87, 0x8a] {
        assert!(results.get(&status).is_some_and(|&count| count > 10), "{status:x}: {results:?}");
    }
}

#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    silent: u64,
    text: u64,
    bad: u64,
    /// Results by status.
    results: BTreeMap<u8, u64>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        let Tally { frames, silent, text, bad, results } = self;
        let sums = [(frames, other.frames), (silent, other.silent), (text, other.text), (bad, other.bad)];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        other.results.iter().for_each(|(&status, &count)| *results.entry(status).or_default() += count);
    }
}

/// The server under test, and the one that it is compared with.
struct Field {
    draw: Draw,
    subject: Subject,
    reference: Reference,
    tally: Tally,
}

/// The server under test.
struct Subject {
    stepped: Stepped,
    /// Who ticks next.
    random: Random,
}

/// Shows a frame where judging it fails.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let head = self.0[..self.0.len().min(300)].iter();
            println!(
                "{} bytes: {}",
                self.0.len(),
                head.map(|byte| format!("{byte:02x}")).collect::<String>()
            );
        }
    }
}

/// A datagram that is under way.
struct Sent {
    id: u16,
    bytes: Vec<u8>,
    verdict: Verdict,
    /// The datagrams of its reply so far.
    reply: Vec<Vec<u8>>,
}

impl Sent {
    fn is_answered(&self) -> bool {
        let total = self.reply.first().map(|datagram| u16::from_be_bytes([datagram[4], datagram[5]]));
        total.is_some_and(|total| self.reply.len() >= total as usize)
    }
}

impl Subject {
    /// Sends datagrams to a worker and lets workers tick, whoever it is, until all are answered that are.
    fn exchange(&mut self, worker: usize, sent: &mut [Sent]) {
        sent.iter().for_each(|sent| self.stepped.send(worker, &sent.bytes));
        for _ in 0..100_000 {
            self.stepped.tick(self.random.below(self.stepped.workers() as u64) as usize);
            while let Some(datagram) = self.stepped.receive(worker) {
                let id = u16::from_be_bytes([datagram[0], datagram[1]]);
                let asked = sent.iter_mut().find(|sent| sent.id == id);
                asked.expect("an answer to nothing").reply.push(datagram);
            }
            if sent.iter().all(|sent| sent.verdict == Verdict::Silence || sent.is_answered()) {
                break;
            }
        }
        for sent in sent {
            let _shown = Shown(&sent.bytes);
            assert!(sent.verdict == Verdict::Silence || sent.is_answered(), "no answer to {}", sent.id);
            in_order(&mut sent.reply);
        }
    }

    fn ask(&mut self, worker: usize, commands: &[u8], count: usize) -> Vec<Answer> {
        let bytes = text(TEXT_ID, commands);
        let mut sent = [Sent { id: TEXT_ID, bytes, verdict: Verdict::Text, reply: Vec::new() }];
        self.exchange(worker, &mut sent);
        answers(&reading::body(&sent[0].reply, 0), count)
    }
}

impl Field {
    fn new(seed: u64, workers: usize) -> Field {
        let subject =
            Subject { stepped: Stepped::of(workers, Default::default()), random: Random::part(seed, 1) };
        Field { draw: Draw::new(seed), subject, reference: Reference::new(), tally: Tally::default() }
    }

    fn run(mut self) -> Tally {
        while self.tally.frames < FRAMES {
            // Several at once, from one client to one worker: each is done behind the one before.
            let worker = self.below(self.subject.stepped.workers());
            let mut burst = self.draw_burst();
            self.subject.exchange(worker, &mut burst);
            let mut named: BTreeSet<_> = self.draw.keys.iter().cloned().collect();
            for sent in burst {
                self.judge(sent, &mut named);
            }
            if self.below(50) == 0 {
                named.extend(self.reference.keys());
            }
            self.compare_states(worker, named);
            let by = Duration::from_millis([0, 1, 5, 40, 1_000, 30_000][self.below(6)]);
            self.subject.stepped.advance(by);
            self.reference.advance(by);
        }
        let all = self.reference.keys().into_iter().collect();
        self.compare_states(0, all);
        self.tally
    }

    fn below(&mut self, bound: usize) -> usize {
        self.draw.random.below(bound as u64) as usize
    }

    fn draw_burst(&mut self) -> Vec<Sent> {
        for key in self.draw.keys.clone() {
            self.draw.cas.extend(self.reference.cas(&key).map(|cas| (key, cas)));
        }
        let mut burst: Vec<Sent> = Vec::new();
        for next in 0..1 + self.below(6) as u16 {
            let mut bytes = self.draw.mutated();
            let id_of = |bytes: &[u8]| bytes.first_chunk().map_or(TEXT_ID, |&id| u16::from_be_bytes(id));
            // A changed id is as good as any, but for those that are taken.
            let id = id_of(&bytes);
            if bytes.len() >= 2 && (id == TEXT_ID || burst.iter().any(|sent| sent.id == id)) {
                bytes[..2].copy_from_slice(&(1_000 + next).to_be_bytes());
            }
            burst.push(Sent { id: id_of(&bytes), verdict: reading::read(&bytes), bytes, reply: Vec::new() });
        }
        burst
    }

    /// Compares a reply with what the frame should get, and notes the keys that it names.
    fn judge(&mut self, sent: Sent, named: &mut BTreeSet<Vec<u8>>) {
        self.tally.frames += 1;
        let Sent { bytes, verdict, reply, .. } = sent;
        let _shown = Shown(&bytes);
        match verdict {
            Verdict::Silence => {
                assert!(reply.is_empty(), "an answer to what gets none");
                self.tally.silent += 1;
            }
            Verdict::Text => {
                let lines = String::from_utf8(reading::body(&reply, 0)).expect("text");
                let is_error = |line: &str| line.starts_with("ERROR") || line.starts_with("CLIENT_ERROR ");
                assert!(lines.lines().all(is_error) && lines.ends_with("\r\n"), "{lines}");
                self.tally.text += 1;
            }
            Verdict::Bad => {
                let bad = Got { status: BAD, client_flags: 0, cas: 0, value: Vec::new() };
                assert_eq!(reading::results(&reply, reading::takes_padding(&bytes)), [bad]);
                self.tally.bad += 1;
            }
            Verdict::Operations(operations) => {
                let results = reading::results(&reply, reading::takes_padding(&bytes));
                results.iter().for_each(|got| *self.tally.results.entry(got.status).or_default() += 1);
                named.extend(operations.iter().map(|operation| operation.key.clone()));
                self.reference.judge(operations, results);
            }
        }
    }

    /// All of these keys that text can name have the same values, flags, times and numbers on both servers.
    fn compare_states(&mut self, worker: usize, keys: BTreeSet<Vec<u8>>) {
        let keys: Vec<_> = keys.into_iter().filter(|key| is_spelled(key)).collect();
        let Field { subject, reference, .. } = self;
        reference.compare_states(&keys, |commands, count| subject.ask(worker, commands, count));
    }
}
