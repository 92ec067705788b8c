//! Memory, policy and index: what is kept, and for whom room is made.
