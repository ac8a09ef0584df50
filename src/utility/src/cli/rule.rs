//! `backstay rule`: what the ids that messages name stand for.

use std::collections::BTreeMap;

use serde_json::json;

use super::context::{Context, say, say_json};
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::output::style::Tone;

const RULES: &str = include_str!("../../../../assets/rules.toml");

/// All rules by id, and those that were asked for, in the order of the file.
fn rules(wanted: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let all: BTreeMap<String, String> = toml::from_str(RULES)
        .map_err(|e| Failure::new(Exit::Error, format!("the rules can't be read: {e}")))?;
    let mut found = Vec::new();
    for id in wanted {
        let id = id.to_ascii_uppercase();
        let text = all.get(&id).ok_or_else(|| {
            let id = backstay_wire::rpc::clean(&id);
            Failure::new(Exit::Usage, format!("there is no rule `{id}`"))
                .hint("`backstay rule` shows all of them")
        })?;
        found.push((id, text.clone()));
    }
    if wanted.is_empty() {
        found.extend(all);
        // F10 comes after F9.
        found.sort_by_key(|(id, _)| (id[..1].to_owned(), id.len(), id.clone()));
    }
    Ok(found)
}

pub(super) fn run(context: &Context, wanted: &[String]) -> Result<Exit, Failure> {
    let rules = rules(wanted)?;
    if context.json() {
        let items: Vec<_> = rules
            .iter()
            .map(|(id, text)| json!({"id": id, "text": text}))
            .collect();
        say_json(
            &json::document("RuleList", json!({ "rules": items })),
            false,
        );
    } else {
        for (id, text) in rules {
            say(&context.style.wrap(&format!("{id:<4}"), &text, Tone::Plain));
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_id_in_any_case_or_refused_by_name() {
        let found = rules(&["s1".to_owned(), "F10".to_owned()]).unwrap();
        assert!(found[0].1.contains("both may run while the network is cut"));
        assert!(found[1].1.contains("moves an hour"));
        let refused = rules(&["Z9".to_owned()]).unwrap_err();
        assert_eq!(refused.message, "there is no rule `Z9`");
        let all = rules(&[]).unwrap();
        let place = |id: &str| all.iter().position(|(i, _)| i == id);
        assert!(place("F9") < place("F10"));
    }
}
