//! Documents for tests.

use backstay_core::model::{ClusterDocument, NodeId};

/// Two regular nodes and a standby, each with one base on loopback; `number` keeps clusters of one test apart.
pub(crate) fn cluster(number: u8) -> ClusterDocument {
    let mut text = format!(
        r#"
format = 1
name = "c{number}"
id = "00000000000000c{number}"
revision = 1
epoch = 1
safety = "available"
profile = "fast"
port = 5980
next_service = 3
changed = {{ by = "test", at = 1, what = "created" }}

[[key]]
id = 1
secret = "{}"
signs = true
"#,
        "5a".repeat(32)
    );
    for (i, (name, role)) in [("n1", "regular"), ("n2", "regular"), ("sb1", "standby")]
        .iter()
        .enumerate()
    {
        use std::fmt::Write as _;
        let host = i + 1;
        let _ = write!(
            text,
            "\n[[node]]\nname = \"{name}\"\nid = \"00000000000000a{host}\"\nrole = \"{role}\"\nbases = [\"127.{number}.0.{host}/24\"]\n"
        );
        if *role == "regular" {
            let _ = write!(
                text,
                "\n[[service]]\nname = \"web{host}\"\nid = {host}\nnodes = [\"{name}\", \"sb1\"]\npriority = {host}\n[[service.alias]]\naddress = \"127.{number}.0.10{host}/24\"\n"
            );
        }
    }
    ClusterDocument::parse(&text).expect("the sample is sound")
}

/// The next revision of a document.
pub(crate) fn revised(document: &ClusterDocument) -> ClusterDocument {
    let mut next = document.clone();
    next.revision += 1;
    next.changed.what = "revised".into();
    next
}

/// The identity of the sample's node of that place: 1 is n1, 3 the standby.
pub(crate) fn node(place: u64) -> NodeId {
    NodeId(0xa0 + place)
}
