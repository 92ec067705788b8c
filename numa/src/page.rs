//! The sizes of pages, and the ladder that a region walks down until one can be had.
//!
//! ```text
//! 1 GiB ──▶ 2 MiB ──▶ THP ──▶ 4 KiB
//! pool      pool      advice   always
//! ```
//!
//! A region has one kind of page from end to end. `Huge::Auto` tries the kinds from the left and takes the first that is
//! granted; a kind whose rounding would waste more than an eighth of the region is passed over. Any other choice is
//! an order: it is granted or it is an error that names the command which would grant it.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What the operator asks for with `--huge`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Huge {
    /// The largest pages that are granted and fit the region.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 1 GiB pages from the kernel's pool, or an error.
    #[serde(rename = "1g")]
    OneGib,
    /// 2 MiB pages from the kernel's pool, or an error.
    #[serde(rename = "2m")]
    TwoMib,
    /// Transparent huge pages, or an error where the kernel has them switched off.
    #[serde(rename = "thp")]
    Thp,
    /// Pages of the base size only.
    #[serde(rename = "off")]
    Off,
}

/// What backs a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum PageKind {
    /// Pages of the base size: 4 KiB on x86-64.
    #[serde(rename = "4k")]
    Small,
    /// Base pages that the kernel is asked to join into 2 MiB ones; how many it joined is in the report.
    #[serde(rename = "thp")]
    Thp,
    /// hugetlb pages of 2 MiB.
    #[serde(rename = "2m")]
    TwoMib,
    /// hugetlb pages of 1 GiB.
    #[serde(rename = "1g")]
    OneGib,
}

/// A region may waste one part in this many of its bytes for larger pages, when nobody ordered them.
pub const AUTO_WASTE_PARTS: usize = 8;

impl Huge {
    /// The words of the command line, in the order of the variants.
    pub const NAMES: [&str; 5] = ["auto", "1g", "2m", "thp", "off"];

    /// The kinds to try for a region of `bytes`, best first.
    pub fn ladder(self, bytes: usize) -> Vec<PageKind> {
        match self {
            Huge::Auto => {
                let mut kinds = vec![PageKind::OneGib, PageKind::TwoMib, PageKind::Thp];
                kinds.retain(|kind| kind.suits(bytes));
                kinds.push(PageKind::Small);
                kinds
            }
            Huge::OneGib => vec![PageKind::OneGib],
            Huge::TwoMib => vec![PageKind::TwoMib],
            Huge::Thp => vec![PageKind::Thp],
            Huge::Off => vec![PageKind::Small],
        }
    }
}

impl PageKind {
    /// Bytes of one page; of a joined one for `Thp`.
    pub fn bytes(self) -> usize {
        match self {
            PageKind::Small => base_page_bytes(),
            PageKind::Thp | PageKind::TwoMib => 2 << 20,
            PageKind::OneGib => 1 << 30,
        }
    }

    /// Whether the pages come from a pool that the operator fills, and never from ordinary memory.
    pub fn is_pooled(self) -> bool {
        matches!(self, PageKind::TwoMib | PageKind::OneGib)
    }

    /// `bytes` rounded up to whole pages; `None` when that overflows.
    pub fn round_up(self, bytes: usize) -> Option<usize> {
        bytes.checked_next_multiple_of(self.bytes())
    }

    fn suits(self, bytes: usize) -> bool {
        self.round_up(bytes).is_some_and(|granted| granted - bytes <= bytes / AUTO_WASTE_PARTS)
    }
}

/// Bytes of the machine's smallest page.
pub fn base_page_bytes() -> usize {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    bytes.ok().flatten().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096)
}

impl FromStr for Huge {
    type Err = String;

    fn from_str(text: &str) -> Result<Huge, String> {
        match text {
            "auto" => Ok(Huge::Auto),
            "1g" => Ok(Huge::OneGib),
            "2m" => Ok(Huge::TwoMib),
            "thp" => Ok(Huge::Thp),
            "off" => Ok(Huge::Off),
            other => Err(format!("unknown kind of pages {other:?}; use one of {}", Huge::NAMES.join(", "))),
        }
    }
}

impl fmt::Display for Huge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Huge::Auto => "auto",
            Huge::OneGib => "1g",
            Huge::TwoMib => "2m",
            Huge::Thp => "thp",
            Huge::Off => "off",
        })
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            PageKind::Small => "4 KiB",
            PageKind::Thp => "THP",
            PageKind::TwoMib => "2 MiB",
            PageKind::OneGib => "1 GiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageKind::{OneGib, Small, Thp, TwoMib};
    use proptest::prelude::*;

    #[test]
    fn the_ladder_passes_over_pages_that_waste_an_eighth() {
        let mib = 1 << 20;
        let cases: &[(usize, &[PageKind])] = &[
            (1, &[Small]),
            (mib, &[Small]),
            (2 * mib, &[TwoMib, Thp, Small]),
            (2 * mib + 1, &[Small]),
            (3 * mib, &[Small]),
            (17 * mib, &[TwoMib, Thp, Small]),
            (900 * mib, &[TwoMib, Thp, Small]),
            (1000 * mib, &[OneGib, TwoMib, Thp, Small]),
            (1024 * mib, &[OneGib, TwoMib, Thp, Small]),
            (1025 * mib, &[TwoMib, Thp, Small]),
        ];
        for (bytes, ladder) in cases {
            assert_eq!(&Huge::Auto.ladder(*bytes), ladder, "{bytes} bytes");
        }
    }

    #[test]
    fn an_order_has_one_rung() {
        for huge in [Huge::OneGib, Huge::TwoMib, Huge::Thp, Huge::Off] {
            assert_eq!(huge.ladder(1).len(), 1);
        }
    }

    #[test]
    fn words_of_the_command_line_round_trip() {
        for name in Huge::NAMES {
            assert_eq!(name.parse::<Huge>().unwrap().to_string(), name);
        }
        assert!("2M".parse::<Huge>().unwrap_err().contains("auto, 1g, 2m, thp, off"));
    }

    proptest! {
        #[test]
        fn auto_ends_with_small_pages_and_wastes_little(bytes in 1usize..1 << 42) {
            let ladder = Huge::Auto.ladder(bytes);
            prop_assert_eq!(ladder.last(), Some(&Small));
            prop_assert!(ladder.is_sorted_by(|a, b| a > b));
            for kind in ladder.into_iter().filter(|kind| *kind != Small) {
                let granted = kind.round_up(bytes).unwrap();
                prop_assert!(granted >= bytes && granted - bytes <= bytes / AUTO_WASTE_PARTS);
            }
        }
    }
}
