//! Builds, checks and tests Backstay.

fn main() {}
