//! What crosses between Backstay's machines: the beat and the agent protocol.
