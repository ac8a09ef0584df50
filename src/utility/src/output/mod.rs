//! What the admin sees: text of at most 80 columns and JSON of a stable form.

pub mod audit;
pub mod history;
pub mod json;
pub mod lists;
pub mod plan;
pub mod status;
pub mod style;
