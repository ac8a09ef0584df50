//! Every maintenance action as data.
