//! Steering by the kernel: a batch frame reaches the worker that owns its first key.
//!
//! # Idea
//! The sockets of a `SO_REUSEPORT` group are numbered as they joined it. A classic BPF program attached to the group
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)) sees each datagram and returns the number of the socket that gets it. Ours
//! computes the owner from the steer in the frame, exactly as `protocol::steer::owner` does.
//!
//! ```text
//! shorter than 12 bytes, or bytes 4..8 are not 0000 5301 ─▶ no number: the kernel hashes the addresses, as without us
//! h = bytes 8..12                                        ─▶ (h × workers) >> 32
//! ```
//! The machine of classic BPF has 32 bits, so the product is put together from two halves: with h = a·2¹⁶ + b,
//! (h·n) >> 32 = (a·n + ((b·n) >> 16)) >> 16, and a·n stays below 2³² as long as n does below 2¹⁶.
//!
//! # Why plain traffic is hashed
//! The alternative, the worker on the core that received the datagram (`SKF_AD_CPU`), leaves all workers but one idle on
//! a machine whose network card has one queue, and on loopback follows the clients' cores. The hash spreads flows over
//! all workers on every machine, and a client's datagrams stay with one worker.
//!
//! A train that was sent, or put together by GRO, as one is steered by its first datagram.
//!
//! # Cost
//! A dozen instructions a train. Without it a frame's writes are forwarded in (n − 1) of n cases.

use crate::limits::WORKERS_MAX;
use nix::sys::socket::{SetSockOpt, sockopt};
use std::os::fd::AsFd;

/// Lets the kernel steer batch frames among the `workers` sockets of the group that `socket` belongs to. All of them
/// have joined it, in the order of the workers.
///
/// # Errors
/// The kernel does not know the option (before Linux 4.5) or may not: traffic is hashed then, as without it.
pub fn attach(socket: &impl AsFd, workers: usize) -> nix::Result<()> {
    let mut program = program(workers as u32);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    sockopt::AttachReusePortCbpf.set(socket, &program)
}

/// The program for this many workers.
fn program(workers: u32) -> [libc::sock_filter; 18] {
    use libc::{
        BPF_ADD, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_MEM,
        BPF_MISC, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
    };
    // BPF_A (return the accumulator) is 0x10 in linux/bpf_common.h.
    const BPF_A: u32 = 0x10;
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let test = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    [
        step(BPF_LD | BPF_W | BPF_LEN, 0),
        // A load beyond the end would return 0, which is a worker.
        test(BPF_JMP | BPF_JGE | BPF_K, FRAME_BYTES_MIN, 15),
        step(BPF_LD | BPF_W | libc::BPF_ABS, TOTAL_AND_MARK_AT),
        test(BPF_JMP | BPF_JEQ | BPF_K, TOTAL_AND_MARK, 13),
        step(BPF_LD | BPF_W | libc::BPF_ABS, STEER_AT),
        step(BPF_MISC | BPF_TAX, 0),
        // The lower half.
        step(BPF_ALU | BPF_AND | BPF_K, 0xffff),
        step(BPF_ALU | BPF_MUL | BPF_K, workers),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ST, 0),
        // The upper half.
        step(BPF_MISC | BPF_TXA, 0),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ALU | BPF_MUL | BPF_K, workers),
        step(BPF_LDX | BPF_MEM, 0),
        step(BPF_ALU | BPF_ADD | BPF_X, 0),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_RET | BPF_A, 0),
        // Not below the number of sockets: the kernel takes its hash.
        step(BPF_RET | BPF_K, u32::MAX),
    ]
}

/// Where a frame says that it is one, and which worker it wants: docs/protocol.md, "Batch frames". The port knows no
/// more of the protocol than these.
const TOTAL_AND_MARK_AT: u32 = 4;
const TOTAL_AND_MARK: u32 = 0x0000_5301;
const STEER_AT: u32 = 8;
const FRAME_BYTES_MIN: u32 = 12;

const _: () = assert!(WORKERS_MAX < 1 << 16, "the product of the upper half fits 32 bits");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::batch::FrameWriter;
    use protocol::steer::{owner, steer};

    /// What the kernel would make of a datagram.
    fn run(program: &[libc::sock_filter], datagram: &[u8]) -> u32 {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
        let mut at = 0;
        loop {
            let libc::sock_filter { code, jf, k, .. } = program[at];
            at += 1;
            let word =
                |at: usize| datagram.get(at..at + 4).map(|w| u32::from_be_bytes(w.try_into().unwrap()));
            match code {
                0x80 => a = datagram.len() as u32,
                0x35 if a < k => at += jf as usize,
                0x15 if a != k => at += jf as usize,
                0x35 | 0x15 => {}
                0x20 => match word(k as usize) {
                    Some(word) => a = word,
                    None => return 0,
                },
                0x07 => x = a,
                0x87 => a = x,
                0x54 => a &= k,
                0x24 => a = a.wrapping_mul(k),
                0x74 => a >>= k,
                0x02 => memory[k as usize] = a,
                0x61 => x = memory[k as usize],
                0x0c => a = a.wrapping_add(x),
                0x16 => return a,
                0x06 => return k,
                other => panic!("an instruction that no machine of ours has: {other:#x}"),
            }
        }
    }

    proptest! {
        #[test]
        fn the_program_says_what_owner_says(key in prop::collection::vec(any::<u8>(), 1..251), workers in 1usize..65) {
            let mut frame = Vec::new();
            let mut writer = FrameWriter::begin(9, &mut frame);
            writer.get(&key, &mut frame);
            writer.finish(&mut frame);
            prop_assert_eq!(run(&program(workers as u32), &frame) as usize, owner(steer(&key), workers));
        }

        #[test]
        fn every_steer_has_a_worker(upper: u32, workers in 1usize..65) {
            let frame = [&[0, 1, 0, 0, 0, 0, 0x53, 1][..], &upper.to_be_bytes(), &[0; 12]].concat();
            let want = owner((upper as u64) << 32 | 0xffff_ffff, workers);
            prop_assert_eq!(run(&program(workers as u32), &frame) as usize, want);
            prop_assert!(want < workers);
        }

        #[test]
        fn what_is_no_frame_is_left_to_the_kernel(datagram in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assume!(datagram.len() < 12 || datagram[4..8] != [0, 0, 0x53, 1]);
            prop_assert_eq!(run(&program(4), &datagram), u32::MAX);
        }
    }

    #[test]
    fn the_edges_of_the_hash_are_exact() {
        for workers in 1..=64u64 {
            for edge in 1..workers {
                let first = ((edge << 32).div_ceil(workers)) as u32;
                for upper in [first - 1, first] {
                    let frame = [&[0, 1, 0, 0, 0, 0, 0x53, 1][..], &upper.to_be_bytes()].concat();
                    let want = owner((upper as u64) << 32, workers as usize);
                    assert_eq!(run(&program(workers as u32), &frame) as usize, want);
                }
            }
        }
    }

    #[test]
    fn frames_and_this_file_agree() {
        assert_eq!(TOTAL_AND_MARK, protocol::batch::MARK as u32);
    }
}
