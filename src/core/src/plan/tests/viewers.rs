//! U11: who may look and change nothing.

use super::*;

fn key(of: &str) -> String {
    format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", of.repeat(12))
}

fn add(name: &str, key: &str) -> Action {
    Action::AddViewer {
        name: name.to_owned(),
        key: key.to_owned(),
    }
}

#[test]
fn u11_a_viewers_key_goes_to_every_node_with_the_system_document() {
    let mut w = world();
    let plan = w.agreed(&add("bob", &key("abcd")));
    assert_eq!(plan.truth, "bob may look and change nothing");
    assert_eq!(
        plan.command,
        format!("backstay key viewer add '{}' --name bob", key("abcd"))
    );
    let system = plan.system.unwrap();
    assert_eq!(system.revision, w.system.revision + 1);
    assert_eq!(
        SystemDocument::parse(&system.to_text()).as_ref(),
        Ok(&system)
    );
    let names: Vec<&str> = system.viewers.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["ann@desk", "bob"]);
    assert_eq!(system.viewers[1].by, "adam@desk");
    let step = plan.steps.iter().find(|s| s.kind == StepKind::System);
    assert_eq!(step.unwrap().on.len(), system.nodes.len());
    // The same again; another key; and away.
    w.system = system;
    unchanged(
        &w.agreed(&add("bob", &key("abcd"))),
        "bob may look already, with this key",
    );
    let other = w.agreed(&add("bob", &key("wxyz")));
    assert_eq!(
        said(&other, ConsequenceKind::Irreversible),
        ["the former key of bob lets nobody in any more"]
    );
    let gone = Action::RemoveViewer {
        name: "bob".to_owned(),
    };
    let system = w.agreed(&gone).system.unwrap();
    assert!(system.viewers.iter().all(|v| v.name != "bob"));
    w.system = system;
    w.refused(
        &gone,
        &["U11 viewer bob: nobody of that name may look; there is: ann@desk"],
    );
}

#[test]
fn u11_neither_name_nor_key_says_more_to_sshd_than_that() {
    let w = world();
    for (name, key) in [
        ("bob\",command=\"sh", key("abcd")),
        ("bob", format!("restrict,command=\"sh\" {}", key("abcd"))),
        (
            "bob",
            format!("{}\nssh-ed25519 {}", key("abcd"), "A".repeat(40)),
        ),
        (
            "bob",
            "ssh-dss AAAAB3NzaC1kc3MAAACBAAAAAAAAAAAAAAAAAAAA".to_owned(),
        ),
        ("", key("abcd")),
        // Two names for one key: the audit could not tell them apart.
        ("bob", w.system.viewers[0].key.clone()),
    ] {
        let refused = w.plan(&add(name, &key)).unwrap_err();
        assert_eq!(refused[0].rule.to_string(), "U11", "{name} {key}");
    }
}

#[test]
fn u11_a_viewer_is_shown_no_argument_of_a_command() {
    let mut d = cluster();
    d.services[0].hooks = vec![crate::model::Hook {
        after: crate::model::HookMoment::Takeover,
        run: vec!["/usr/bin/tell".to_owned(), "hunter22".to_owned()],
    }];
    d.arbiter = "https://a:hunter22@etcd.example".to_owned();
    let (shown, out) = d.stripped();
    let text = shown.to_text();
    assert!(text.contains("/usr/bin/tell") && !text.contains("hunter22"));
    assert!(!text.contains(&d.keys[0].secret) && out.contains(&d.keys[0].secret));
    assert_eq!(
        ClusterDocument::read(&text),
        Ok(shown),
        "it can still be read"
    );
}
