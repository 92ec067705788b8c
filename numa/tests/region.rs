//! Regions on the machine at hand, whatever it grants.

use numa::pool::Kernel;
use numa::{Error, Huge, PageKind, Region, RegionRequest};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

const MIB: usize = 1 << 20;

fn request(bytes: usize, huge: Huge) -> RegionRequest {
    RegionRequest { name: "test", bytes, node: None, huge, mlock: false }
}

/// A kernel whose pools and whose free memory are as the files say.
fn kernel(files: &[(&str, &str)]) -> (tempfile::TempDir, Kernel) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let kernel = Kernel::at(root.path());
    (root, kernel)
}

#[test]
fn words_are_zero_and_keep_what_is_stored() {
    let region = Region::map(&request(4 * MIB, Huge::Off)).unwrap();
    assert_eq!(region.bytes(), 4 * MIB);
    assert_eq!(region.words().len(), 4 * MIB / 8);
    let (low, high) = region.words().split_at(MIB / 8);
    low[0].store(7, Ordering::Relaxed);
    assert_eq!((low[0].load(Ordering::Relaxed), high[0].load(Ordering::Relaxed)), (7, 0));
    assert!(region.words().iter().skip(1).all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn prefault_touches_the_range_and_keeps_what_is_stored() {
    let region = Region::map(&request(40 * MIB, Huge::Off)).unwrap();
    region.words()[3 * MIB / 8].store(9, Ordering::Relaxed);
    let told = AtomicUsize::new(0);
    let progress = |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    };
    region.prefault(2 * MIB..22 * MIB, &progress).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 20 * MIB);
    assert_eq!(region.words()[3 * MIB / 8].load(Ordering::Relaxed), 9);
    let placed = region.placed();
    if placed.verified {
        assert_eq!(placed.bytes_untouched, 20 * MIB as u64);
        assert_eq!(placed.bytes_by_node.values().sum::<u64>(), 20 * MIB as u64);
    }
}

#[test]
fn prefault_in_parallel_touches_everything() {
    let cpus = numa::allowed_cpus().unwrap();
    for huge in [Huge::Off, Huge::Auto] {
        let region = Region::map(&request(66 * MIB, huge)).unwrap();
        let told = AtomicUsize::new(0);
        let progress = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
        };
        region.prefault_parallel(&cpus, &progress).unwrap();
        assert_eq!(told.load(Ordering::Relaxed), region.bytes());
        let report = region.report();
        assert!(!report.placed.verified || report.placed.bytes_untouched == 0, "{report}");
    }
}

#[test]
fn prefault_without_cpus_is_done_by_the_caller() {
    let region = Region::map(&request(4 * MIB, Huge::Off)).unwrap();
    region.prefault_parallel(&[], &|_| ()).unwrap();
    let placed = region.placed();
    assert!(!placed.verified || placed.bytes_untouched == 0, "{placed:?}");
}

#[test]
fn locked_memory_says_so_or_names_the_limit() {
    let asked = RegionRequest { name: "locked", mlock: true, ..request(64 << 10, Huge::Off) };
    match Region::map(&asked) {
        Err(error) => assert!(error.to_string().contains("ulimit -l"), "{error}"),
        Ok(region) => {
            assert!(region.report().locked);
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let of_region = smaps.split(&format!("{:x}-", region.as_ptr() as usize)).nth(1).unwrap();
            let flags = of_region.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
            assert!(flags.contains(" lo"), "{flags}");
        }
    }
}

#[test]
fn prefault_refuses_what_it_cannot_do() {
    let region = Region::map(&request(MIB, Huge::Off)).unwrap();
    assert!(matches!(region.prefault(0..MIB + 1, &|_| ()), Err(Error::Range { .. })));
    let cpus = [numa::allowed_cpus().unwrap()[0], 1023];
    assert!(
        matches!(region.prefault_parallel(&cpus, &|_| ()), Err(Error::Pin { cpus, .. }) if cpus == "1023")
    );
}

#[test]
fn no_bytes_and_too_many_are_errors() {
    for bytes in [0, usize::MAX, isize::MAX as usize] {
        let error = Region::map(&request(bytes, Huge::Off)).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
}

#[test]
fn more_than_the_machine_has_is_an_error_before_anything_is_mapped() {
    let (_root, kernel) = kernel(&[("proc/meminfo", "MemAvailable: 100 kB")]);
    let error = Region::map_on(&request(MIB, Huge::Off), &kernel).unwrap_err();
    assert_eq!(error, Error::Memory { region: "test", bytes: MIB as u64, node: None, available: 100 << 10 });
}

#[test]
fn a_node_that_does_not_exist_is_an_error() {
    let asked = RegionRequest { node: Some(777), ..request(MIB, Huge::Auto) };
    assert_eq!(Region::map(&asked).unwrap_err(), Error::NoSuchNode { node: 777 });
}

#[test]
fn auto_falls_to_small_pages_and_says_why() {
    let thp_off = ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]");
    let (_root, kernel) = kernel(&[thp_off]);
    let region = Region::map_on(&request(4 * MIB, Huge::Auto), &kernel).unwrap();
    let report = region.report();
    assert_eq!(report.granted_kind, PageKind::Small);
    let refused: Vec<_> = report.refused.iter().map(|refusal| refusal.kind).collect();
    assert_eq!(refused, [PageKind::TwoMib, PageKind::Thp]);
}

#[test]
fn an_order_that_cannot_be_met_names_the_command() {
    let (_root, kernel) = kernel(&[
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1"),
    ]);
    let error = Region::map_on(&request(4 * MIB, Huge::TwoMib), &kernel).unwrap_err().to_string();
    assert!(
        error.ends_with("run: echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        "{error}"
    );
    let error = Region::map_on(&request(4 * MIB, Huge::Thp), &kernel).unwrap_err().to_string();
    assert!(error.contains("echo madvise >"), "{error}");
}

#[test]
fn a_pool_that_lies_is_found_out_before_anybody_touches_it() {
    // The files promise a million pages of each size; the kernel does not have them.
    let (_root, kernel) = kernel(&[
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "1000000"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1000000"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
    ]);
    let asked = request(1_000_000 * 2 * MIB, Huge::Auto);
    let region = Region::map_on(&asked, &kernel);
    // 1.9 TiB: the machine may refuse even to reserve the addresses of so much ordinary memory.
    match region {
        Ok(region) => assert_eq!(region.report().refused[0].kind, PageKind::TwoMib),
        Err(error) => assert!(matches!(error, Error::Map { .. }), "{error}"),
    }
}

#[test]
fn thp_regions_start_at_a_huge_page() {
    let (_root, kernel) = kernel(&[("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")]);
    // A kernel without transparent huge pages refuses the advice.
    if let Ok(region) = Region::map_on(&request(6 * MIB, Huge::Thp), &kernel) {
        assert_eq!(region.as_ptr() as usize % (2 * MIB), 0);
        assert_eq!(region.report().granted_kind, PageKind::Thp);
    }
}
