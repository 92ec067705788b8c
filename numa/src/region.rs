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
//! The region is zero-filled. Its users take `words()[a..b]`; nothing else is needed to split it.
//!
//! What it does not do: grow, move, return pages before it is dropped, or place anything but whole regions.
#![allow(unsafe_code)]

use crate::pool::{Kernel, grant_command};
use crate::report::Refusal;
use crate::{Error, Huge, PageKind, bind, page};
use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::errno::Errno;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
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
        let region = Region { request: request.clone(), kind, refused: Vec::new(), map, offset, bytes };
        region.name_mapping();
        if let Some(node) = request.node {
            let name = request.name;
            bind::bind(region.as_ptr(), bytes, node).map_err(|errno| Error::Bind {
                region: name,
                node,
                errno,
            })?;
        }
        region.advise_pages()?;
        if request.mlock && !kind.is_pooled() {
            region.lock()?;
        }
        if kind.is_pooled() {
            region.populate(0..kind.bytes())?; // the probe
        }
        Ok(region)
    }

    fn advise_pages(&self) -> Result<(), Error> {
        match self.kind {
            PageKind::Thp => self.advise(Advice::HugePage, "madvise(MADV_HUGEPAGE)"),
            // A kernel built without transparent huge pages answers EINVAL: then there is nothing to switch off.
            PageKind::Small => self.advise(Advice::NoHugePage, "madvise(MADV_NOHUGEPAGE)").or(Ok(())),
            PageKind::TwoMib | PageKind::OneGib => Ok(()),
        }
    }

    fn advise(&self, advice: Advice, call: &'static str) -> Result<(), Error> {
        let (region, bytes) = (self.request.name, self.bytes);
        self.map.advise_range(advice, self.offset, bytes).map_err(|error| Error::Map {
            region,
            call,
            bytes,
            errno: errno_of(&error),
        })
    }

    /// Pages are locked when they are touched, so that locking does not populate them on one thread.
    fn lock(&self) -> Result<(), Error> {
        // SAFETY: mlock2 changes no memory; the range is our own mapping.
        let status = unsafe { libc::mlock2(self.as_ptr().cast(), self.bytes, libc::MLOCK_ONFAULT) };
        let (region, bytes) = (self.request.name, self.bytes);
        Errno::result(status).map(drop).map_err(|errno| Error::Lock { region, bytes, errno })
    }

    /// `[anon:sherwood table]` in /proc/PID/maps. A convenience: kernels without CONFIG_ANON_VMA_NAME refuse, and
    /// pages of a pool already have a name there.
    fn name_mapping(&self) {
        let name = CString::new(format!("sherwood {}", self.request.name));
        let start = NonNull::new(self.as_ptr().cast());
        if let (Ok(name), Some(start), Some(bytes)) = (name, start, NonZeroUsize::new(self.bytes)) {
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
            let remedy = grant_command(kind, node, pool, needed - free);
            return Err(Error::HugePages { region, kind, node, needed, free, remedy });
        }
        return Ok(());
    }
    if kind == PageKind::Thp && !kernel.thp_enabled() {
        return Err(Error::ThpDisabled { region, remedy: grant_command(kind, node, None, 0) });
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
    let map: MmapRaw = options
        .map_anon()
        .map_err(|error| Error::Map { region: request.name, call: "mmap", bytes, errno: errno_of(&error) })?
        .into();
    let alignment = if slack > 0 { kind.bytes() } else { page::base_page_bytes() };
    let offset = map.as_mut_ptr().align_offset(alignment);
    assert!(offset <= slack, "the mapping has room for its alignment");
    Ok((map, offset))
}

pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
