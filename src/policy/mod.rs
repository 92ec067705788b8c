//! Admission, eviction and expiry, on one background thread.
