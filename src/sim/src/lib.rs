//! Whole clusters on a virtual clock with faults.
