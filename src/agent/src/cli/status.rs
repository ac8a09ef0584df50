//! `backstay-agent status`: what this node knows, on a node without the utility (U12).

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use backstay_core::engine::{AlarmView, ClusterView, NodeView, ServiceView};
use backstay_core::model::NodeName;
use backstay_wire::rpc::{
    Call, Hello, LineReader, NEWEST, OLDEST, Reply, Request, Status, parse_reply, write,
};
use serde::de::DeserializeOwned;

use crate::store::Folders;

/// How long the agent may take for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks the local agent and prints.
pub(super) fn run(folders: &Folders, json: bool) -> Result<()> {
    let path = folders.socket();
    let mut socket = UnixStream::connect(&path).with_context(|| {
        format!(
            "the agent does not answer at {}: is it running (systemctl status backstay-agent)?",
            path.display()
        )
    })?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut lines = LineReader::new(socket.try_clone()?);
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let greeting = Request::Hello {
        oldest: OLDEST,
        newest: NEWEST,
        client: format!("backstay-agent {}", backstay_core::VERSION),
        user,
    };
    let hello: Hello = ask(&mut socket, &mut lines, 1, greeting)?;
    let status: Status = ask(&mut socket, &mut lines, 2, Request::Status)?;
    if json {
        println!("{}", as_json(&status)?);
    } else {
        print!("{}", as_text(&hello, &status));
    }
    Ok(())
}

fn ask<T: DeserializeOwned>(
    socket: &mut UnixStream,
    lines: &mut LineReader<UnixStream>,
    id: u64,
    request: Request,
) -> Result<T> {
    write(socket, &Call { id, request })?;
    let line = lines.next_line().context("the agent does not answer")?;
    match parse_reply(&line.context("the agent ended the session")?)? {
        Reply::Done { value, .. } => Ok(serde_json::from_value(value)?),
        Reply::Failed { error, .. } => bail!("{error}"),
        Reply::Progress { .. } => bail!("the agent's answer can't be understood"),
    }
}

fn as_json(status: &Status) -> Result<String> {
    let mut value = serde_json::to_value(status)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), "backstay/v1".into());
        object.insert("kind".into(), "Status".into());
    }
    Ok(serde_json::to_string_pretty(&value)?)
}

fn as_text(hello: &Hello, status: &Status) -> String {
    let mut text = String::new();
    match &hello.node {
        Some(node) => _ = writeln!(text, "node {node}, agent {}", hello.agent),
        None => text.push_str("this machine is not a node of a system yet\n"),
    }
    if !hello.writable {
        text.push_str("the state folder can't be written: changes are refused\n");
    }
    if status.clusters.is_empty() {
        text.push_str("in no cluster\n");
    }
    for cluster in &status.clusters {
        cluster_text(cluster, &mut text);
    }
    text
}

fn cluster_text(cluster: &ClusterView, text: &mut String) {
    let safety = format!("{:?}", cluster.safety).to_lowercase();
    let _ = writeln!(
        text,
        "\ncluster {}, revision {}, {safety}, as {} sees it",
        cluster.name, cluster.revision, cluster.seen_by
    );
    let _ = writeln!(text, "  {:<14} {:<9} {:<8} heard", "NODE", "ROLE", "STATE");
    for node in &cluster.nodes {
        let _ = writeln!(text, "  {}", node_text(node));
    }
    let _ = writeln!(
        text,
        "  {:<14} {:<10} {:<14} why",
        "SERVICE", "STATE", "RUNS ON"
    );
    for service in &cluster.services {
        let _ = writeln!(text, "  {}", service_text(service));
    }
    for alarm in cluster.alarms.iter().filter(|alarm| alarm.active) {
        let _ = writeln!(text, "  {}", alarm_text(alarm));
    }
    let _ = writeln!(text, "{}", cluster.advice);
}

fn node_text(node: &NodeView) -> String {
    let role = format!("{:?}", node.role).to_lowercase();
    let state = format!("{:?}", node.state).to_lowercase();
    let heard = match node.age_ms {
        Some(ms) => format!("{}.{} s ago", ms / 1000, ms % 1000 / 100),
        None => "never".into(),
    };
    let mut line = format!("{:<14} {role:<9} {state:<8} {heard}", node.name);
    for note in &node.notes {
        let _ = write!(line, "; {note}");
    }
    line
}

fn service_text(service: &ServiceView) -> String {
    let state = format!("{:?}", service.state).to_lowercase();
    let on: Vec<&str> = service.running_on.iter().map(NodeName::as_str).collect();
    let on = if on.is_empty() {
        "-".to_owned()
    } else {
        on.join(" ")
    };
    let mut line = format!(
        "{:<14} {state:<10} {on:<14} {}",
        service.name, service.reason
    );
    if let Some(lock) = &service.lock {
        let _ = write!(line, "; locked to {} by {}", lock.node, lock.by);
    }
    line
}

fn alarm_text(alarm: &AlarmView) -> String {
    let severity = format!("{:?}", alarm.severity).to_lowercase();
    format!(
        "{severity}: {} ({}); {}",
        alarm.cause, alarm.rule, alarm.action
    )
}
