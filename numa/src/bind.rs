//! Binds memory to a node before it is touched, and asks the kernel where pages are.
//!
//! libc's mbind instead of hwloc's: hwloc answers Ok without doing anything on a foreign topology, and refuses what
//! it cannot do portably. Binding is strict (`MPOL_BIND`): a page of another node is an error, not a slow surprise.
//!
//! What it does not do: migrate pages. Memory is bound before its first touch, so there is nothing to move.
#![allow(unsafe_code)]

use nix::errno::Errno;
use std::ffi::{c_int, c_ulong, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// Nodes that a mask can name (Linux allows 1024).
pub const NODES_MAX: usize = 1024;
/// A transparent huge page.
const HUGE_BYTES: usize = 2 << 20;
const MASK_WORDS: usize = NODES_MAX / c_ulong::BITS as usize;

/// Addresses of one question to the kernel; bounds its work per call.
pub const LOCATE_BATCH_MAX: usize = 512;

/// Binds `bytes` at `start` to `node`: every page that is touched from now on comes from there. mbind(2).
///
/// # Errors
/// EINVAL for a node that does not exist, EPERM or ENOSYS where mbind is not to be had (some containers).
pub fn bind(start: *mut u8, bytes: usize, node: usize) -> Result<(), Errno> {
    let mask = mask_of(node).ok_or(Errno::EINVAL)?;
    // SAFETY: mbind sets a policy on address ranges; it neither reads nor writes the memory, and answers EFAULT for a
    // range that is not mapped. The mask is NODES_MAX bits long, as said (maxnode counts one more: mbind(2), Bugs).
    let status = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start,
            bytes,
            libc::MPOL_BIND,
            mask.as_ptr(),
            NODES_MAX + 1,
            0 as c_int,
        )
    };
    Errno::result(status).map(drop)
}

/// Asks for transparent huge pages behind memory that has not been touched yet. Where the kernel gives none, ordinary pages
/// serve as well, so nothing is told but whether it was asked. Memory without a whole huge page in it is left alone.
/// madvise(2).
pub fn prefer_huge_pages<T>(memory: &mut [MaybeUninit<T>]) -> bool {
    let start = memory.as_mut_ptr().cast::<u8>();
    let (from, to) = (start.addr().next_multiple_of(HUGE_BYTES), start.addr() + size_of_val(memory));
    let bytes = (to / HUGE_BYTES * HUGE_BYTES).saturating_sub(from);
    if bytes == 0 {
        return false;
    }
    // SAFETY: MADV_HUGEPAGE changes what kind of pages back a range, never what they hold. The range is aligned and lies
    // within `memory`, which the caller holds alone.
    let status =
        unsafe { libc::madvise(start.wrapping_add(from - start.addr()).cast(), bytes, libc::MADV_HUGEPAGE) };
    status == 0
}

/// The node of the page at each address, or why there is none (ENOENT: not touched yet). move_pages(2) with no nodes
/// to move to only tells.
///
/// # Errors
/// EPERM or ENOSYS where move_pages is not to be had.
pub fn locate(addresses: &[*mut u8], nodes: &mut [Result<usize, Errno>]) -> Result<(), Errno> {
    assert_eq!(addresses.len(), nodes.len());
    for (addresses, nodes) in addresses.chunks(LOCATE_BATCH_MAX).zip(nodes.chunks_mut(LOCATE_BATCH_MAX)) {
        let mut status: [c_int; LOCATE_BATCH_MAX] = [0; LOCATE_BATCH_MAX];
        // SAFETY: both arrays hold `addresses.len()` ≤ LOCATE_BATCH_MAX elements and outlive the call; the addresses
        // are looked up, not followed: one that is not mapped gets EFAULT in its status.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0 as c_int,
                addresses.len(),
                addresses.as_ptr(),
                ptr::null::<c_void>(),
                status.as_mut_ptr(),
                0 as c_int,
            )
        };
        Errno::result(result)?;
        for (node, status) in nodes.iter_mut().zip(status) {
            *node = usize::try_from(status).map_err(|_| Errno::from_raw(-status));
        }
    }
    Ok(())
}

fn mask_of(node: usize) -> Option<[c_ulong; MASK_WORDS]> {
    let mut mask = [0; MASK_WORDS];
    let bits = c_ulong::BITS as usize;
    *mask.get_mut(node / bits)? |= 1 << (node % bits);
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_asked_for_where_one_fits_and_change_nothing_else() {
        let mut small: Vec<u8> = Vec::with_capacity(HUGE_BYTES / 2);
        assert!(!prefer_huge_pages(small.spare_capacity_mut()));
        let mut large: Vec<u32> = Vec::with_capacity(HUGE_BYTES);
        // A kernel without them says no; the memory is as good.
        let asked = prefer_huge_pages(large.spare_capacity_mut());
        println!("asked: {asked}");
        large.resize(HUGE_BYTES, 7);
        assert!(large.iter().all(|&word| word == 7));
    }

    #[test]
    fn a_mask_names_one_node() {
        assert_eq!(mask_of(0).unwrap()[0], 1);
        assert_eq!(mask_of(65).unwrap()[..2], [0, 2]);
        assert_eq!(mask_of(NODES_MAX), None);
    }

    #[test]
    fn a_node_that_cannot_exist_is_refused() {
        assert_eq!(bind(ptr::null_mut(), 4096, NODES_MAX), Err(Errno::EINVAL));
    }

    #[test]
    fn an_address_that_is_not_mapped_has_no_node() {
        let mut nodes = [Ok(0)];
        // A sandbox without move_pages may refuse the question as a whole.
        if locate(&[ptr::null_mut()], &mut nodes).is_ok() {
            assert!(nodes[0].is_err());
        }
    }
}
