//! The maintenance utility: one plan behind menu, set-up and flags.
