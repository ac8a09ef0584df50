//! Backstay's nouns and decisions: pure, no input or output, no clock.
