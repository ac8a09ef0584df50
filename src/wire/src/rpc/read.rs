//! Reading lines as calls and replies, in a way that says what is wrong with one that is neither.

use serde::Deserialize;
use serde_json::Value;

use super::{Call, Code, Fault, NEWEST, OLDEST, Reply, Request, clean};

/// The methods of [`Request`].
pub const METHODS: &[&str] = &[
    "hello",
    "status",
    "watch",
    "facts",
    "enrol",
    "dismiss",
    "system-get",
    "system-put",
    "document-get",
    "stage",
    "commit",
    "abandon",
    "lock",
    "unlock",
    "move",
    "history",
    "audit",
    "report",
    "needs",
];

/// A line that is no call, or no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Unreadable {
    /// Of which call, where that could be read.
    pub id: Option<u64>,
    /// What is wrong: [`Code::Unsupported`] what a newer machine may mean, else [`Code::Invalid`].
    pub fault: Fault,
}

impl Unreadable {
    /// The answer to it; under id 0 if the line has none that could be read.
    pub fn reply(self) -> Reply {
        Reply::failed(self.id.unwrap_or(0), self.fault)
    }
}

#[derive(Deserialize)]
struct CallHead {
    id: u64,
    method: String,
}

#[derive(Deserialize)]
struct Method {
    method: String,
    #[serde(default)]
    params: Option<Value>,
}

/// Reads a line as a call: first the id, then the method, then the parameters, so that each failure can be
/// answered under its id and an unknown method is told apart from a wrong call. Unknown fields are ignored,
/// also those that a newer client gives to a method which has none here.
pub fn parse_call(line: &[u8]) -> Result<Call, Unreadable> {
    let head: CallHead = from_json(line, "a call")?;
    let fail = |code, message| Unreadable {
        id: Some(head.id),
        fault: Fault::new(code, message),
    };
    if !METHODS.contains(&head.method.as_str()) {
        let method = clean(&head.method);
        return Err(fail(
            Code::Unsupported,
            format!("this agent does not know the method `{method}`; a newer agent may"),
        ));
    }
    let read = serde_json::from_slice::<Method>(line)
        .map_err(|e| e.to_string())
        .and_then(|method| request(method).map_err(|e| e.to_string()));
    match read {
        Ok(request) => Ok(Call {
            id: head.id,
            request,
        }),
        Err(error) => {
            let message = format!(
                "the call `{}` can't be read: {}",
                head.method,
                clean(&error)
            );
            Err(fail(Code::Invalid, message))
        }
    }
}

/// With its parameters; a method without any is also one whose parameters are not known here.
fn request(method: Method) -> serde_json::Result<Request> {
    let tag = || serde_json::Map::from_iter([("method".to_owned(), method.method.clone().into())]);
    let alone = Request::deserialize(Value::Object(tag()));
    if let (Err(_), Some(params)) = (&alone, method.params) {
        let mut whole = tag();
        whole.insert("params".to_owned(), params);
        return Request::deserialize(Value::Object(whole));
    }
    alone
}

#[derive(Deserialize)]
struct ReplyHead {
    id: u64,
    reply: String,
}

/// Reads a line as a reply. Unknown fields are ignored; a reply of an unknown kind is
/// [`Code::Unsupported`].
pub fn parse_reply(line: &[u8]) -> Result<Reply, Unreadable> {
    let head: ReplyHead = from_json(line, "a reply")?;
    let fail = |code, message| Unreadable {
        id: Some(head.id),
        fault: Fault::new(code, message),
    };
    if !["progress", "done", "failed"].contains(&head.reply.as_str()) {
        let kind = clean(&head.reply);
        let message =
            format!("the agent's reply `{kind}` is not known; a newer utility may know it");
        return Err(fail(Code::Unsupported, message));
    }
    serde_json::from_slice(line).map_err(|error| {
        let message = format!(
            "the agent's reply can't be read: {}",
            clean(&error.to_string())
        );
        fail(Code::Invalid, message)
    })
}

/// The head, and if even that can't be read, at least the id.
fn from_json<'a, T: Deserialize<'a>>(line: &'a [u8], what: &str) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Id {
        id: u64,
    }
    serde_json::from_slice(line).map_err(|error| Unreadable {
        id: serde_json::from_slice::<Id>(line).ok().map(|it| it.id),
        fault: Fault::new(
            Code::Invalid,
            format!("the line is not {what}: {}", clean(&error.to_string())),
        ),
    })
}

/// The version that a session speaks: the newest that both know.
pub fn negotiate(oldest: u32, newest: u32) -> Result<u32, Fault> {
    if oldest > newest {
        let message = format!(
            "the client says that it speaks versions {oldest} to {newest}; the oldest must come first"
        );
        return Err(Fault::new(Code::Invalid, message));
    }
    let version = newest.min(NEWEST);
    if version >= oldest.max(OLDEST) {
        return Ok(version);
    }
    let behind = if newest < OLDEST { "utility" } else { "agent" };
    Err(Fault::new(
        Code::Unsupported,
        format!(
            "the client speaks versions {oldest} to {newest}, this agent {OLDEST} to {NEWEST}; upgrade the {behind}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> (Option<u64>, Code, String) {
        let unreadable = parse_call(line.as_bytes()).unwrap_err();
        (
            unreadable.id,
            unreadable.fault.code,
            unreadable.fault.message,
        )
    }

    #[test]
    fn an_unknown_method_is_told_apart_from_a_wrong_call() {
        let (id, code, said) =
            failure(r#"{"id":7,"method":"te\u001b[2Jleport","params":{"to":1}}"#);
        assert_eq!((id, code), (Some(7), Code::Unsupported));
        assert!(said.contains("`teleport`"), "{said}");
        let (id, code, said) =
            failure(r#"{"id":7,"method":"watch","params":{"every_ms":"often"}}"#);
        assert_eq!((id, code), (Some(7), Code::Invalid));
        assert!(said.contains("`watch`") && said.contains("often"), "{said}");
        for wrong in [
            r#"{"id":7}"#,
            r#"{"id":7,"method":5}"#,
            r#"{"id":7,"method":"watch"}"#,
            r#"{"id":7,"method":"watch","params":null}"#,
            r#"{"id":7,"method":"watch","params":[]}"#,
            r#"{"id":7,"method":"enrol","params":{"name":"N 1","id":"00000000000000a1"}}"#,
        ] {
            let (id, code, _) = failure(wrong);
            assert_eq!((id, code), (Some(7), Code::Invalid), "{wrong}");
        }
        for wrong in [
            "",
            "hello",
            "[]",
            "7",
            r#"{"id":-1,"method":"status"}"#,
            r#"{"id":7"#,
        ] {
            let (id, code, _) = failure(wrong);
            assert_eq!((id, code), (None, Code::Invalid), "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            failure(&format!(r#"{{"id":7,"method":"status","params":{deep}"#)).0,
            None
        );
    }

    #[test]
    fn fields_of_newer_clients_are_ignored() {
        let call = |text: &str| parse_call(text.as_bytes()).map(|call| call.request);
        for line in [
            r#"{"id":7,"method":"status"}"#,
            r#"{"id":7,"method":"status","params":null}"#,
            r#"{"id":7,"method":"status","params":{"new":true},"urgent":1}"#,
        ] {
            assert_eq!(call(line), Ok(Request::Status), "{line}");
        }
        let line = r#"{"trace":"x","params":{"new":[1],"every_ms":5},"method":"watch","id":7}"#;
        assert_eq!(call(line), Ok(Request::Watch { every_ms: 5 }));
    }

    #[test]
    fn an_unreadable_call_can_be_answered() {
        let unreadable = parse_call(b"noise").unwrap_err();
        assert_eq!(unreadable.reply().id(), 0);
    }

    #[test]
    fn replies_of_newer_agents_are_ignored_or_told() {
        let reply = parse_reply(br#"{"reply":"done","id":3,"value":{"changed":true},"cost":9}"#);
        assert_eq!(
            reply,
            Ok(Reply::done(3, &super::super::Done { changed: true }))
        );
        let unknown = parse_reply(br#"{"reply":"question","id":3}"#).unwrap_err();
        assert_eq!(
            (unknown.id, unknown.fault.code),
            (Some(3), Code::Unsupported)
        );
        let wrong = parse_reply(br#"{"reply":"failed","id":3}"#).unwrap_err();
        assert_eq!((wrong.id, wrong.fault.code), (Some(3), Code::Invalid));
        let newer = br#"{"reply":"failed","id":3,"error":{"code":"tired","message":"no"}}"#;
        let Ok(Reply::Failed { error, .. }) = parse_reply(newer) else {
            panic!("a fault of a newer kind is a fault");
        };
        assert_eq!(error, Fault::new(Code::Other, "no"));
    }

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        assert_eq!(negotiate(OLDEST, NEWEST), Ok(NEWEST));
        assert_eq!(negotiate(0, u32::MAX), Ok(NEWEST));
        let newer = negotiate(NEWEST + 1, NEWEST + 5).unwrap_err();
        assert_eq!(newer.code, Code::Unsupported);
        assert!(newer.message.ends_with("upgrade the agent"), "{newer}");
        let older = negotiate(0, OLDEST - 1).unwrap_err();
        assert_eq!(older.code, Code::Unsupported);
        assert!(older.message.ends_with("upgrade the utility"), "{older}");
        assert_eq!(negotiate(3, 2).unwrap_err().code, Code::Invalid);
    }
}
