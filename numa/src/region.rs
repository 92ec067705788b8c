//! A region: memory of one size of pages, bound to a node before its first touch.
//!
//! ```text
//! for each kind of the ladder
//!     enough free in the pool?  ── no ─▶ note why, next kind
//!     map            MAP_HUGETLB reserves pages of the pool: the kernel counts again
//!     bind           mbind, strict
//!     probe          populate the first page. A node out of huge pages maps and binds all the same and answers
//!                    EFAULT only here; without the probe the first touch would be a SIGBUS
//! ```
//!
//! The region is zero-filled. Its users take `words()[a..b]`; nothing else is needed to split it. Prefault it before use:
//! a pool may run dry after all (other processes, other regions of ours), and that is an answer to `prefault` and a
//! SIGBUS to a touch. Then `Huge::Auto` puts ordinary memory in the place of each page that is missing, and an order is
//! an error.
//!
//! What it does not do: grow, move, return pages before it is dropped, or place anything but whole regions.
#![allow(unsafe_code)]

use crate::pool::{Kernel, remedy};
use crate::report::Refusal;
use crate::{Error, Huge, PageKind, bind, page};
use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::errno::Errno;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{io, slice};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRequest {
    /// Names the region in reports, errors and `/proc/PID/maps`.
    pub name: &'static str,
    /// At least this many bytes; rounded up to whole pages.
    pub bytes: usize,
    /// Node to bind to; `None` = the node of the thread that touches a page first.
    pub node: Option<usize>,
    /// Which pages.
    pub huge: Huge,
    /// Keep it out of swap, locked page by page as it is touched. Pages of a pool are never swapped: nothing to do.
    pub mlock: bool,
}

/// Memory where it was asked to be. Unmapped on drop.
#[derive(Debug)]
pub struct Region {
    pub(crate) request: RegionRequest,
    pub(crate) kind: PageKind,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) map: MmapRaw,
    /// Where the region starts in `map`: transparent huge pages want 2 MiB alignment, which mmap need not give.
    pub(crate) offset: usize,
    bytes: usize,
    /// Bytes of pages that the pool could not give, and that ordinary memory stands in for.
    stand_in_bytes: AtomicUsize,
}

impl Region {
    /// Maps and binds, and populates no more than the first page.
    ///
    /// # Errors
    /// What was ordered cannot be had; the error names the command that would grant it. With `Huge::Auto` smaller
    /// pages are tried first, and the report says what was refused and why.
    pub fn map(request: &RegionRequest) -> Result<Region, Error> {
        Region::map_on(request, &Kernel::this())
    }

    /// As [`Region::map`], with the kernel's figures read from somewhere else.
    ///
    /// # Errors
    /// As [`Region::map`].
    pub fn map_on(request: &RegionRequest, kernel: &Kernel) -> Result<Region, Error> {
        if let Some(node) = request.node.filter(|node| !kernel.has_node(*node)) {
            return Err(Error::NoSuchNode { node });
        }
        let mut refused = Vec::new();
        let ladder = request.huge.ladder(request.bytes);
        for (step, kind) in ladder.iter().enumerate() {
            match Region::map_kind(request, *kind, kernel) {
                Ok(region) => return Ok(Region { refused, ..region }),
                Err(error) if step + 1 == ladder.len() || !is_refusal(&error) => return Err(error),
                Err(error) => refused.push(Refusal::new(*kind, &error)),
            }
        }
        unreachable!("every ladder has a last rung")
    }

    /// Bytes granted: what was asked, rounded up to whole pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The region as words. Zero until somebody stores; splits like any slice.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `map` owns `offset + bytes` readable and writable bytes for as long as `self` lives, zero-filled by
        // the kernel (a valid AtomicU64), aligned to a page. Only atomic words are lent, so sharing them is fine; who
        // writes through `as_ptr` answers for not racing with them.
        unsafe { slice::from_raw_parts(self.as_ptr().cast(), self.bytes / size_of::<AtomicU64>()) }
    }

    /// First byte of the region. Valid for [`Region::bytes`] bytes while the region lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(self.offset)
    }

    fn map_kind(request: &RegionRequest, kind: PageKind, kernel: &Kernel) -> Result<Region, Error> {
        let bytes = check_size(request, kind)?;
        check_free(request, kind, bytes, kernel)?;
        let (map, offset) = map_pages(request, kind, bytes)?;
        let stand_in_bytes = AtomicUsize::new(0);
        let refused = Vec::new();
        let region = Region { request: request.clone(), kind, refused, map, offset, bytes, stand_in_bytes };
        region.settle(0..bytes, kind)?;
        if kind.is_pooled() {
            region.populate_pages(0..kind.bytes())?; // the probe
        }
        Ok(region)
    }

    /// Puts ordinary memory in the place of the page at `start`, which the pool could not give.
    ///
    /// For a page that nobody has touched: a store to it that comes between the refusal and this call is lost.
    pub(crate) fn stand_in(&self, start: usize, kernel: &Kernel) -> Result<(), Error> {
        let bytes = self.kind.bytes();
        assert!(self.kind.is_pooled() && start.is_multiple_of(bytes) && start + bytes <= self.bytes);
        check_free(&self.request, PageKind::Small, bytes, kernel)?;
        let place = self.as_ptr().wrapping_add(start);
        // SAFETY: the range is a whole page of our own mapping (asserted), which stays readable, writable, zero-filled
        // memory at the same address: what `words` and `as_ptr` promise holds before and after. `map` unmaps it by
        // address, whatever kind of page is there.
        let placed = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                place.cast(),
                bytes,
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if placed == libc::MAP_FAILED {
            let (region, errno) = (self.request.name, Errno::last());
            return Err(Error::Map { region, call: "mmap(MAP_FIXED)", bytes, errno });
        }
        let kind = if kernel.thp_enabled() { PageKind::Thp } else { PageKind::Small };
        self.settle(start..start + bytes, kind)?;
        // Relaxed: a figure for the report.
        self.stand_in_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes in ordinary memory though the region is of huge pages.
    pub(crate) fn stand_in_bytes(&self) -> usize {
        self.stand_in_bytes.load(Ordering::Relaxed)
    }

    /// What a fresh mapping needs before its first touch: a name, a node, the right pages, a lock.
    fn settle(&self, range: Range<usize>, kind: PageKind) -> Result<(), Error> {
        let (region, bytes) = (self.request.name, range.len());
        let start = self.as_ptr().wrapping_add(range.start);
        self.name_mapping(start, bytes);
        if let Some(node) = self.request.node {
            bind::bind(start, bytes, node).map_err(|errno| Error::Bind { region, node, errno })?;
        }
        match kind {
            PageKind::Thp => self.advise(Advice::HugePage, "madvise(MADV_HUGEPAGE)", range)?,
            // A kernel built without transparent huge pages answers EINVAL: then there is nothing to switch off.
            PageKind::Small => {
                self.advise(Advice::NoHugePage, "madvise(MADV_NOHUGEPAGE)", range).or(Ok(()))?
            }
            PageKind::TwoMib | PageKind::OneGib => return Ok(()), // never swapped: no lock
        }
        if self.request.mlock { self.lock(start, bytes) } else { Ok(()) }
    }

    fn advise(&self, advice: Advice, call: &'static str, range: Range<usize>) -> Result<(), Error> {
        let (region, bytes) = (self.request.name, range.len());
        let advised = self.map.advise_range(advice, self.offset + range.start, bytes);
        advised.map_err(|error| Error::Map { region, call, bytes, errno: errno_of(&error) })
    }

    /// Pages are locked when they are touched, so that locking does not populate them on one thread.
    fn lock(&self, start: *mut u8, bytes: usize) -> Result<(), Error> {
        // SAFETY: mlock2 changes no memory, and answers ENOMEM for a range that is not mapped.
        let status = unsafe { libc::mlock2(start.cast(), bytes, libc::MLOCK_ONFAULT) };
        let region = self.request.name;
        Errno::result(status).map(drop).map_err(|errno| Error::Lock { region, bytes, errno })
    }

    /// `[anon:sherwood table]` in /proc/PID/maps. A convenience: kernels without CONFIG_ANON_VMA_NAME refuse, and
    /// pages of a pool already have a name there.
    fn name_mapping(&self, start: *mut u8, bytes: usize) {
        let name = CString::new(format!("sherwood {}", self.request.name));
        if let (Ok(name), Some(start), Some(bytes)) =
            (name, NonNull::new(start.cast()), NonZeroUsize::new(bytes))
        {
            let _unnamed_is_fine = nix::sys::prctl::set_vma_anon_name(start, bytes, Some(&name));
        }
    }
}

/// Whether smaller pages may be tried after this: the pages were refused, not the request.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::HugePages { .. } | Error::ThpDisabled { .. } | Error::Populate { .. } | Error::Map { .. }
    )
}

fn check_size(request: &RegionRequest, kind: PageKind) -> Result<usize, Error> {
    let too_large_or_none = Error::Size { region: request.name, bytes: request.bytes };
    let granted =
        kind.round_up(request.bytes).filter(|bytes| *bytes > 0 && *bytes <= isize::MAX as usize / 2);
    granted.ok_or(too_large_or_none)
}

fn check_free(request: &RegionRequest, kind: PageKind, bytes: usize, kernel: &Kernel) -> Result<(), Error> {
    let (region, node) = (request.name, request.node);
    if kind.is_pooled() {
        let pool = kernel.pool(kind, node);
        let needed = (bytes / kind.bytes()) as u64;
        let free = pool.map_or(0, |pool| pool.pages_free);
        if free < needed {
            let remedy = remedy(kind, node, pool, needed - free);
            return Err(Error::HugePages { region, kind, node, needed, free, remedy });
        }
        return Ok(());
    }
    if kind == PageKind::Thp && !kernel.thp_enabled() {
        return Err(Error::ThpDisabled { region, remedy: remedy(kind, node, None, 0) });
    }
    match kernel.bytes_available(node) {
        Some(available) if available < bytes as u64 => {
            Err(Error::Memory { region, bytes: bytes as u64, node, available })
        }
        _ => Ok(()),
    }
}

/// Maps, and says where in the mapping the region starts.
fn map_pages(request: &RegionRequest, kind: PageKind, bytes: usize) -> Result<(MmapRaw, usize), Error> {
    let slack = if kind == PageKind::Thp { kind.bytes() } else { 0 };
    let mut options = MmapOptions::new();
    options.len(bytes + slack);
    if kind.is_pooled() {
        options.huge(Some(kind.bytes().trailing_zeros() as u8));
    }
    let map: MmapRaw = options.map_anon().map_err(|error| unmapped(request, kind, bytes, &error))?.into();
    let alignment = if slack > 0 { kind.bytes() } else { page::base_page_bytes() };
    let offset = map.as_mut_ptr().align_offset(alignment);
    assert!(offset <= slack, "the mapping has room for its alignment");
    Ok((map, offset))
}

/// Why mmap failed. ENOMEM for pages of a pool: others have been promised what was free when we counted.
fn unmapped(request: &RegionRequest, kind: PageKind, bytes: usize, error: &io::Error) -> Error {
    let (region, node, errno) = (request.name, request.node, errno_of(error));
    if !kind.is_pooled() {
        return Error::Map { region, call: "mmap", bytes, errno };
    }
    let pool = Kernel::this().pool(kind, node);
    let needed = (bytes / kind.bytes()) as u64;
    let free = pool.map_or(0, |pool| pool.pages_free);
    let remedy = remedy(kind, node, pool, needed.saturating_sub(free).max(1));
    Error::HugePages { region, kind, node, needed, free, remedy }
}

pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
