use super::*;
use crate::model::{ClusterDocument, SystemDocument};

fn full() -> String {
    crate::model::fixture::everything().to_text()
}

fn problems(text: &str) -> Vec<String> {
    match ClusterDocument::parse(text) {
        Err(DocumentError::Rules(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// Every key of the types is in the list (else this document would be refused), and the types know every
/// key of the list (else `deny_unknown_fields` would refuse it).
#[test]
fn t1_the_list_of_keys_and_the_types_agree() {
    let text = full();
    let read = ClusterDocument::read(&text).unwrap();
    assert_eq!(read.to_text(), text);
    let mut seen = Vec::new();
    let table: toml::Table = text.parse().unwrap();
    used("", &toml::Value::Table(table), &mut seen);
    let mut listed = Vec::new();
    all("", &CLUSTER, &mut listed);
    for key in listed {
        assert!(seen.contains(&key), "{key} is in no type");
    }
    let system = crate::model::fixture::system();
    assert_eq!(SystemDocument::parse(&system.to_text()).unwrap(), system);
}

fn used(place: &str, value: &toml::Value, seen: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let at = format!("{place}.{key}");
                used(&at, value, seen);
                seen.push(at);
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|v| used(place, v, seen)),
        _ => {}
    }
}

fn all(place: &str, keys: &[Key], listed: &mut Vec<String>) {
    for key in keys {
        let at = format!("{place}.{}", key.name);
        if let Kind::Table(inner) | Kind::Tables(inner) = key.kind {
            all(&at, inner, listed);
        }
        listed.push(at);
    }
}

#[test]
fn t1_t2_t3_everything_wrong_is_told_at_once_with_its_line() {
    let text = "format = 1\nname = \"C1\"\nid = \"12\"\nrevision = -1\nepoch = 1\nsafty = \"x\"\nsafety = \"maybe\"\nnext_service = 1\n\
        [changed]\nby = \"a\"\nat = 1\n[[node]]\nname = \"n1\"\nid = \"0000000000000001\"\nrole = \"regular\"\nbases = [\"192.0.2.1\", 7]\nipv4 = true\n\
        [[key]]\nid = 300\nsecret = 5\n";
    let said = problems(text);
    let wanted = [
        "T1 line 6, safty: this key is not known; write `safety`, or take it out",
        "T1 line 17, node n1, ipv4: this key is not known; take it out; known here: name, id, incarnation, role, bases, capacity, labels, maintenance",
        "T3 line 2, name: the value is `C1`; give it a name of 1 to 32 lowercase letters, digits and `-`, in quotes, that begins with a letter or digit",
        "T3 line 3, id: the value is `12`; give it an identity: 16 hexadecimal digits in quotes",
        "T3 line 4, revision: the value is -1; give it a whole number from 1 to 9223372036854775807",
        "T2 line 9, changed, what: this key is missing; give it text in quotes",
        "T3 line 7, safety: the value is `maybe`; give it \"available\" or \"exclusive\"",
        "T3 line 19, key 1, id: the value is 300; give it a whole number from 0 to 255",
        "T3 line 20, key 1, secret: the value is not text; give it 64 hexadecimal digits in quotes",
        "T3 line 16, node n1, bases: the value is `192.0.2.1`; give it an address with its prefix length in quotes, like \"192.0.2.1/24\"",
        "T3 line 16, node n1, bases: the value is 7; give it an address with its prefix length in quotes, like \"192.0.2.1/24\"",
    ];
    assert_eq!(said, wanted);
}

#[test]
fn t1_unknown_keys_and_contradictions_are_told_together() {
    let mut document = crate::model::fixture::cluster();
    document.services[0].aliases[0].address = "198.51.100.7/24".parse().unwrap();
    let text = format!("colour = \"red\"\n{}", document.to_text());
    let said = problems(&text);
    assert!(said[0].starts_with("T1 line 1, colour"), "{said:?}");
    assert!(
        said.iter().any(|s| s.starts_with("C5 service web1")),
        "{said:?}"
    );
}

#[test]
fn a_text_that_is_no_toml_is_refused_with_its_line_and_nothing_of_it_runs_a_terminal() {
    let said = ClusterDocument::parse("format = 1\nname = \u{1b}[2J\nid 7\n")
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("the document can't be read: line 2: "),
        "{said}"
    );
    assert!(!said.contains('\u{1b}') && !said.contains('\n'), "{said}");
    let long = "#".repeat(MAX_DOCUMENT + 1);
    assert_eq!(
        ClusterDocument::parse(&long),
        Err(DocumentError::TooLong(MAX_DOCUMENT + 1))
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = full();
    for cut in 0..text.len() {
        if text.is_char_boundary(cut) {
            let _ = ClusterDocument::parse(&text[..cut]);
        }
    }
    // Each value replaced by one of another kind.
    for (n, line) in text.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        for value in [
            "[]",
            "{}",
            "99999999999999999999999",
            "1.5",
            "''",
            "1979-05-27",
        ] {
            let changed: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(m, l)| {
                    if m == n {
                        format!("{key} = {value}")
                    } else {
                        l.to_owned()
                    }
                })
                .collect();
            let _ = ClusterDocument::parse(&changed.join("\n"));
        }
    }
}

/// The annotated example is sound, and explains every key that is not refused for now.
#[test]
fn the_example_of_the_topology_is_sound_and_complete() {
    let text = include_str!("../../../../../config/n-plus-one.toml");
    ClusterDocument::parse(text).unwrap();
    let mut seen = Vec::new();
    used("", &toml::Value::Table(text.parse().unwrap()), &mut seen);
    let mut listed = Vec::new();
    all("", &CLUSTER, &mut listed);
    let later =
        |key: &str| key == ".deleted" || key == ".arbiter" || key.starts_with(".service.data");
    for key in listed.iter().filter(|key| !later(key)) {
        assert!(seen.contains(key), "{key} is not explained");
    }
}

/// The example of a pair is sound once what Backstay keeps is filled in.
#[test]
fn the_example_of_a_pair_is_sound() {
    let text = include_str!("../../../../../config/pair.toml");
    let written = Written::read(text).unwrap();
    let document = written.complete(&Filling {
        present: None,
        system: &crate::model::fixture::system(),
        id: ClusterId(7),
        key: &"ab".repeat(32),
    });
    let mut document = document.unwrap();
    // The plan counts on.
    document.next_service = crate::model::ServiceId(2);
    assert_eq!(document.problems(), []);
    assert_eq!(document.members.len(), 2);
}
