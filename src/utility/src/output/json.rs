//! JSON of a stable form: every document carries `apiVersion` and `kind`.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::ops::gather::Seen;

/// The version of the form. Fields are added, not renamed.
pub const API_VERSION: &str = "backstay/v1";

/// A document: the fields of `body` beside `apiVersion` and `kind`.
pub fn document(kind: &str, body: impl Serialize) -> Value {
    let mut whole = Map::new();
    whole.insert("apiVersion".to_owned(), json!(API_VERSION));
    whole.insert("kind".to_owned(), json!(kind));
    match serde_json::to_value(body) {
        Ok(Value::Object(fields)) => whole.extend(fields),
        Ok(other) => {
            whole.insert("items".to_owned(), other);
        }
        Err(e) => {
            whole.insert("error".to_owned(), json!(e.to_string()));
        }
    }
    Value::Object(whole)
}

/// Status. A cluster of which nobody answers is there with its nodes `unknown` (U7).
pub fn status(seen: &Seen, only: Option<&str>) -> Value {
    let wanted = |name: &str| only.is_none_or(|o| o == name);
    let mut clusters: Vec<Value> = seen
        .views
        .iter()
        .filter(|v| wanted(v.name.as_str()))
        .map(|v| json!(v))
        .collect();
    for (cluster, why) in &seen.unseen {
        if !wanted(cluster.name.as_str()) {
            continue;
        }
        let nodes: Vec<Value> = cluster
            .members
            .iter()
            .map(|name| {
                let role = seen
                    .system
                    .as_ref()
                    .and_then(|s| s.node(name))
                    .map(|n| n.role);
                json!({"name": name, "role": role, "state": "unknown", "age_ms": null})
            })
            .collect();
        clusters.push(json!({
            "name": cluster.name, "revision": null, "safety": null, "preloaded": false,
            "nodes": nodes, "services": [], "alarms": [], "error": why.message,
        }));
    }
    let nodes = seen.system.as_ref().map(|s| &s.nodes);
    let free: Vec<Value> = nodes
        .into_iter()
        .flatten()
        .map(|n| json!({"name": n.name, "role": n.role, "contact": n.contact}))
        .collect();
    document("Status", json!({"clusters": clusters, "nodes": free}))
}

/// How something failed.
pub fn failure(failure: &Failure) -> Value {
    document(
        "Error",
        json!({
            "exit": failure.exit as u8,
            "reason": failure.exit,
            "message": failure.message,
            "hint": failure.hint,
            "problems": failure.problems,
            "changed": failure.changed,
        }),
    )
}
