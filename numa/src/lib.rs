//! Where memory and threads live. Knows no cache; alone links hwloc and maps memory.
