//! Several real hosts on one machine, for demonstration and tests.
