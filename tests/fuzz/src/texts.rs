//! Documents as texts: from an admin's editor, or from another node.

use backstay_core::model::{ClusterDocument, SystemDocument};

use super::assert_printable;

/// Cluster documents.
pub(crate) fn cluster(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    let document = match ClusterDocument::parse(text) {
        Ok(document) => document,
        Err(error) => return assert_printable(&error.to_string()),
    };
    let again = ClusterDocument::parse(&document.to_text());
    assert_eq!(
        again.as_ref().ok(),
        Some(&document),
        "what was read can be written"
    );
}

/// System documents.
pub(crate) fn system(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    let document = match SystemDocument::parse(text) {
        Ok(document) => document,
        Err(error) => return assert_printable(&error),
    };
    let again = SystemDocument::parse(&document.to_text());
    assert_eq!(
        again.as_ref(),
        Ok(&document),
        "what was read can be written"
    );
}
