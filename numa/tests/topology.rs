//! Machines read through hwloc.

use numa::{PageKind, Topology};

#[test]
fn a_synthetic_machine_has_what_its_description_says() {
    let machine = Topology::from_synthetic("pack:2 numa:1 core:8 pu:2").unwrap();
    assert!(!machine.is_this_system);
    assert_eq!(
        (machine.packages(), machine.nodes.len(), machine.cores(), machine.cpus.len()),
        (2, 2, 16, 32)
    );
    assert_eq!(machine.cpus_of(1).count(), 16);
    assert_eq!(machine.cpu(0).unwrap().core, machine.cpu(1).unwrap().core);
    assert_eq!((machine.distance(0, 0), machine.distance(0, 1)), (10, 20));
}

#[test]
fn a_recorded_machine_has_distances_and_pools() {
    let machine = Topology::from_xml(include_str!("fixtures/two-node.xml")).unwrap();
    assert!(!machine.is_this_system);
    assert_eq!((machine.packages(), machine.nodes.len(), machine.cpus.len()), (2, 2, 4));
    assert_eq!((machine.distance(0, 0), machine.distance(0, 1), machine.distance(1, 0)), (10, 21, 21));
    assert_eq!(machine.pages_free(PageKind::TwoMib, Some(1)), 64);
    assert_eq!(machine.pages_free(PageKind::TwoMib, None), 128);
    assert_eq!(machine.pages_free(PageKind::OneGib, None), 0);
    assert_eq!(machine.cpus_of(1).map(|cpu| cpu.index).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn memory_without_cpus_owns_none() {
    let machine = Topology::from_synthetic("pack:2 [numa] [numa] core:2 pu:1").unwrap();
    assert_eq!(machine.nodes.len(), 4);
    let with_cpus = machine.nodes.iter().filter(|node| machine.cpus_of(node.index).count() > 0);
    assert_eq!(with_cpus.count(), 2);
}

#[test]
fn this_machine_has_a_cpu_for_this_thread() {
    let machine = Topology::this_system().unwrap();
    assert!(machine.is_this_system);
    for cpu in numa::allowed_cpus().unwrap() {
        let node = machine.cpu(cpu).unwrap().node;
        assert!(machine.node(node).is_some());
    }
}

#[test]
fn nonsense_is_one_line() {
    let errors = [
        Topology::from_synthetic("pack:none"),
        Topology::from_synthetic(""),
        Topology::from_synthetic("a\0b"),
        Topology::from_xml("<not-a-topology/>"),
        Topology::from_xml_file("does/not/exist.xml".as_ref()),
    ];
    for error in errors.map(|result| result.unwrap_err().to_string()) {
        assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    }
}
