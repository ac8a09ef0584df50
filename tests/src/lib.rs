//! System tests on the lab live in this crate's `tests` folder; here is what they share.
