//! `backstay apply -f FILE`.

use std::io::Read as _;
use std::path::Path;

use backstay_core::model::{ClusterId, DocumentError, Filling, MAX_DOCUMENT, Problem, Written};
use backstay_core::plan::Action;

use super::act::{carry_out, plan_for};
use super::context::Context;
use crate::failure::{Exit, Failure};
use crate::ops::{Picture, enrol};

/// Brings a cluster to what a file says.
pub(super) fn run(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let text = read(file)?;
    let written = Written::read(&text).map_err(|e| refused(file, e))?;
    let mut picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let action = action(&written, &picture).map_err(|e| refused(file, e))?;
    let problems = problems(&written, &action, &picture);
    if !problems.is_empty() {
        return Err(refused(file, DocumentError::Rules(problems)));
    }
    carry_out(context, &action, &mut picture).map(|_| Exit::Done)
}

/// Everything that the rules refuse, with the lines; unknown keys first.
fn problems(written: &Written, action: &Action, picture: &Picture) -> Vec<Problem> {
    let mut problems = written.unknown().to_vec();
    if let Err(failure) = plan_for(action, picture) {
        problems.extend(failure.problems.into_iter().map(|p| written.located(p)));
    }
    problems
}

fn action(written: &Written, picture: &Picture) -> Result<Action, DocumentError> {
    let present = picture
        .clusters
        .iter()
        .find(|c| !c.deleted && c.name == *written.name());
    let random = |e: Failure| DocumentError::Text(e.message);
    let document = written.complete(&Filling {
        present,
        system: &picture.system(),
        id: ClusterId(enrol::random().map_err(random)?),
        key: &enrol::random_key().map_err(random)?,
    })?;
    Ok(Action::Apply {
        document: Box::new(document),
    })
}

fn refused(file: &Path, error: DocumentError) -> Failure {
    let name = backstay_wire::rpc::clean(&file.display().to_string());
    match error {
        DocumentError::Rules(problems) => Failure::new(
            Exit::Refused,
            format!("{name} is refused; nothing was changed"),
        )
        .problems(problems),
        other => Failure::new(
            Exit::Refused,
            format!("{name}: {other}; nothing was changed"),
        ),
    }
}

/// A file, or standard input; not more than a document may have.
fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |e: std::io::Error| {
        Failure::new(
            Exit::Usage,
            format!("{} can't be read: {e}", file.display()),
        )
    };
    let most = MAX_DOCUMENT as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(file).map_err(unreadable)?;
        file.take(most).read_to_string(&mut text)
    }
    .map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_to_t3_a_refused_file_names_every_line() {
        let text = "format = 1\nname = \"c1\"\nsafety = \"maybe\"\nport = 0\n";
        let failure = refused(Path::new("c1.toml"), Written::read(text).unwrap_err());
        let places: Vec<&str> = failure.problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["line 3, safety", "line 4, port"]);
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("nothing was changed"));
    }

    #[test]
    fn c8_a_new_cluster_of_unknown_nodes_says_what_is_missing_with_lines() {
        let text = "format = 1\nname = \"c1\"\nsafety = \"available\"\n\
            [[node]]\nname = \"n1\"\nrole = \"regular\"\nbases = [\"192.0.2.11/24\"]\n\
            [[node]]\nname = \"sb1\"\nrole = \"standby\"\nbases = [\"192.0.2.21/24\"]\n\
            [[service]]\nname = \"web1\"\nnodes = [\"n1\", \"sb1\"]\ncolour = 1\n\
            [[service.alias]]\naddress = \"192.0.2.101/24\"\n";
        let written = Written::read(text).unwrap();
        let picture = Picture::default();
        let action = action(&written, &picture).unwrap();
        let said: Vec<String> = problems(&written, &action, &picture)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            said[0].starts_with("T1 line 15, service web1, colour"),
            "{said:?}"
        );
        for wanted in [
            "C8 line 4, node n1: it is not in the system; add it with `backstay node add HOST --name n1` first",
            "C8 line 8, node sb1: it is not in the system; add it with `backstay node add HOST --name sb1` first",
        ] {
            assert!(said.contains(&wanted.to_owned()), "{said:?}");
        }
    }
}
