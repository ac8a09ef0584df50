//! Putting the agent on a machine that has none, over SSH, in steps that can be repeated: what is there and
//! right is left alone, so an interrupted installation is simply begun again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_core::model::{Problem, RuleId};
use backstay_wire::rpc::clean;
use sha2::{Digest, Sha256};

use super::AGENT_PATH;
use super::ssh::Session;
use crate::failure::{Changed, Exit, Failure};

/// What is put on a machine besides the agent: path and text.
pub(super) const FILES: [(&str, &str); 2] = [
    (
        "/etc/systemd/system/backstay-agent.service",
        include_str!("../../../../assets/backstay-agent.service"),
    ),
    (
        "/etc/systemd/system/backstay-gate.service",
        include_str!("../../../../assets/backstay-gate.service"),
    ),
];
/// The agent for whoever logs in; what an admin has put there stays.
const LINK: &str = "/usr/local/bin/backstay-agent";
/// The units that are enabled; the second is started.
const GATE_UNIT: &str = "backstay-gate.service";
pub(super) const AGENT_UNIT: &str = "backstay-agent.service";

/// Least room on the machine for the agent, KiB.
const LEAST_KIB: u64 = 256 * 1024;
/// One small step at the far end.
pub(super) const STEP: Duration = Duration::from_secs(30);
/// The upload of the agent.
const UPLOAD: Duration = Duration::from_mins(10);

/// Finds out what a machine is; prints one `name=value` a line and changes nothing.
const LOOK: &str = r"
echo uid=$(id -u)
echo host=$(uname -n)
echo arch=$(uname -m)
[ -d /run/systemd/system ] && echo systemd=$(systemctl --version 2>/dev/null | awk 'NR==1{print $2}')
command -v nft >/dev/null 2>&1 && echo nft=yes || { [ -x /usr/sbin/nft ] && echo nft=yes; }
echo free_kib=$(df -Pk /usr 2>/dev/null | awk 'NR==2{print $4}')
[ -f AGENT ] && echo agent=$(sha256sum AGENT | cut -d' ' -f1)
[ -f AGENT.former ] && echo former=$(sha256sum AGENT.former | cut -d' ' -f1)
RUNNING=$(systemctl show -P MainPID backstay-agent.service 2>/dev/null)
[ ${RUNNING:-0} != 0 ] && echo running=$(sha256sum /proc/$RUNNING/exe | cut -d' ' -f1)
echo files=$(cat FILES 2>/dev/null | sha256sum | cut -d' ' -f1)
echo active=$(systemctl is-active backstay-agent.service 2>/dev/null)
echo end=yes
";

/// What a machine was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The user's number; 0 is root.
    pub uid: Option<u32>,
    /// What it calls itself.
    pub hostname: String,
    /// `x86_64`.
    pub arch: String,
    /// systemd's version, if it runs the machine.
    pub systemd: Option<String>,
    /// nftables is there.
    pub nft: bool,
    /// Room under `/usr`, KiB.
    pub free_kib: Option<u64>,
    /// SHA-256 of the agent that is there.
    pub agent: Option<String>,
    /// SHA-256 of the agent that was kept when that one was put there.
    pub former: Option<String>,
    /// SHA-256 of the agent that runs: it may be a former one.
    pub running: Option<String>,
    /// SHA-256 over all that is put there besides the agent.
    pub files: Option<String>,
    /// The agent runs.
    pub active: bool,
}

impl Found {
    fn read(text: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut whole = false;
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else {
                continue; // a login script's noise
            };
            let value = value.trim();
            match name {
                "uid" => found.uid = value.parse().ok(),
                "host" => value.clone_into(&mut found.hostname),
                "arch" => value.clone_into(&mut found.arch),
                "systemd" => found.systemd = Some(value.to_owned()),
                "nft" => found.nft = true,
                "free_kib" => found.free_kib = value.parse().ok(),
                "agent" => found.agent = Some(value.to_owned()),
                "former" => found.former = Some(value.to_owned()),
                // It may have ended before it was looked at.
                "running" => found.running = Some(value.to_owned()).filter(|v| !v.is_empty()),
                "files" => found.files = Some(value.to_owned()),
                "active" => found.active = value == "active",
                "end" => whole = true,
                _ => {}
            }
        }
        whole.then_some(found)
    }

    /// An upgrade was broken off between putting an agent in its place and running it: what it kept is what runs. Or
    /// nothing does, and that agent is the one (by its hash) that is to be put there again.
    pub(super) fn broken_off(&self, again: &str) -> bool {
        // What systemd starts again and again does not run.
        let due = match self.running.as_ref().filter(|_| self.active) {
            Some(running) => self.former.as_ref() == Some(running),
            None => self.former.is_some() && self.agent.as_deref() == Some(again),
        };
        due && self.former != self.agent
    }

    /// The checks before an installation by their names, each with what is wrong and how to mend it.
    pub fn checks(&self, arch: &str) -> [(&'static str, Option<(String, &'static str)>); 5] {
        let unless = |good: bool, what: String, mend| (!good).then_some((what, mend));
        let free = self.free_kib.unwrap_or(0);
        [
            (
                "root",
                unless(
                    self.uid == Some(0),
                    "the SSH user is not root".to_owned(),
                    "add it as root@HOST: the agent is installed as root",
                ),
            ),
            (
                "systemd",
                unless(
                    self.systemd.is_some(),
                    "systemd does not run it".to_owned(),
                    "a machine booted by systemd",
                ),
            ),
            (
                "nft",
                unless(
                    self.nft,
                    "nftables is missing".to_owned(),
                    "install the package `nftables`",
                ),
            ),
            (
                "architecture",
                unless(
                    self.arch == arch,
                    format!("it is {}, the agent here is for {arch}", clean(&self.arch)),
                    "name an agent for it with BACKSTAY_AGENT",
                ),
            ),
            (
                "disk",
                unless(
                    free >= LEAST_KIB,
                    format!("{} MiB are free under /usr", free / 1024),
                    "256 MiB free",
                ),
            ),
        ]
    }

    /// Everything that forbids an installation, at once.
    pub fn problems(&self, host: &str, arch: &str) -> Vec<Problem> {
        let wrong = self.checks(arch).into_iter();
        let wrong = wrong.filter_map(|(check, wrong)| Some((check, wrong?)));
        wrong
            .map(|(check, (what, mend))| Problem {
                rule: RuleId::of("C9"),
                place: format!("{host}, check {check}"),
                what,
                mend: mend.to_owned(),
            })
            .collect()
    }
}

/// The agent to be installed.
#[derive(Clone)]
pub struct AgentBinary {
    /// Where it came from.
    pub path: PathBuf,
    bytes: Vec<u8>,
    hash: String,
    arch: &'static str,
}

impl AgentBinary {
    /// Reads the agent.
    ///
    /// # Errors
    /// It is not there or is no program for a known architecture.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|e| {
            Failure::new(
                Exit::Error,
                format!(
                    "the agent to install can't be read: {}: {e}",
                    path.display()
                ),
            )
            .hint("it belongs beside the program `backstay`; or name it with BACKSTAY_AGENT=FILE")
        })?;
        // ELF: magic, then e_machine as two bytes at 18.
        let arch = match (bytes.get(..4), bytes.get(18..20)) {
            (Some(b"\x7fELF"), Some([0x3e, 0])) => "x86_64",
            (Some(b"\x7fELF"), Some([0xb7, 0])) => "aarch64",
            _ => {
                return Err(Failure::new(
                    Exit::Error,
                    format!("{} is no program for x86_64 or aarch64", path.display()),
                ));
            }
        };
        let hash = hex::encode(Sha256::digest(&bytes));
        Ok(Self {
            path: path.to_owned(),
            bytes,
            hash,
            arch,
        })
    }
}

impl AgentBinary {
    /// What machine it is for.
    pub fn arch(&self) -> &'static str {
        self.arch
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// That machine runs it, and not only tries to, with the units that belong to it.
    pub fn runs_on(&self, machine: &Found) -> bool {
        let all = FILES
            .iter()
            .fold(Sha256::new(), |sum, (_, text)| sum.chain_update(text));
        let files = hex::encode(all.finalize());
        machine.active
            && machine.agent.as_ref() == Some(&self.hash)
            && machine.running.as_ref() == Some(&self.hash)
            && machine.files == Some(files)
    }
}

/// The hash of what is to stand in that file, if something else stands there, or nothing.
pub(super) fn differs(
    session: &Session,
    path: &str,
    text: &str,
) -> Result<Option<String>, Failure> {
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    let there = session.run(&format!("sha256sum {path}"), &[], STEP)?;
    Ok((!there.text().starts_with(&hash)).then_some(hash))
}

pub(super) fn step(
    session: &Session,
    what: &str,
    command: &str,
    input: &[u8],
    limit: Duration,
) -> Result<String, Failure> {
    let out = session.run(command, input, limit)?;
    if out.status == 0 {
        Ok(out.text())
    } else {
        Err(Failure::new(
            Exit::Error,
            format!("{what} failed: {}", out.complaint()),
        ))
    }
}

/// Finds out what a machine is. Changes nothing.
///
/// # Errors
/// The session broke, or there is no usual shell.
pub fn look(session: &Session) -> Result<Found, Failure> {
    let files = FILES.map(|(path, _)| path).join(" ");
    let script = LOOK.replace("AGENT", AGENT_PATH).replace("FILES", &files);
    // Through `sh`, whatever the login shell is.
    let said = step(
        session,
        "looking at the machine",
        "sh -s",
        script.as_bytes(),
        STEP,
    )?;
    Found::read(&said).ok_or_else(|| {
        Failure::new(
            Exit::Error,
            "the machine did not answer what it is; does `ssh HOST sh` work?",
        )
    })
}

/// Uploads the agent and its units, enables and starts them. `report` gets one line for each step.
///
/// # Errors
/// Refused with every problem at once before anything is changed; else what failed and what had been
/// changed by then.
pub fn install(
    session: &Session,
    host: &str,
    found: &Found,
    agent: &AgentBinary,
    report: &mut dyn FnMut(&str),
) -> Result<bool, Failure> {
    let problems = found.problems(host, agent.arch);
    if !problems.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            format!("{host} can't become a node; nothing was changed"),
        )
        .problems(problems));
    }
    let mut done: Vec<String> = Vec::new();
    let result = put_all(session, found, agent, &mut done, report);
    result.map(|()| !done.is_empty()).map_err(|failure| {
        if done.is_empty() {
            return failure;
        }
        let message = format!(
            "{} (done on {host} so far: {})",
            failure.message,
            done.join(", ")
        );
        Failure { message, ..failure }
            .hint("the same command again goes on from there")
            .changed(Changed::Yes)
    })
}

fn put_all(
    session: &Session,
    found: &Found,
    agent: &AgentBinary,
    done: &mut Vec<String>,
    report: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let mut restart = !found.active;
    if found.agent.as_deref() == Some(agent.hash.as_str()) {
        report("the agent is there already");
    } else {
        report(&format!(
            "uploading the agent ({} KiB)",
            agent.bytes.len() / 1024
        ));
        put(session, AGENT_PATH, "0755", &agent.bytes, &agent.hash)?;
        done.push("agent uploaded".to_owned());
        restart = true;
    }
    let mut reload = false;
    for (path, text) in FILES {
        let Some(hash) = differs(session, path, text)? else {
            continue;
        };
        report(&format!("writing {path}"));
        put(session, path, "0644", text.as_bytes(), &hash)?;
        done.push(format!("{path} written"));
        reload = true;
        restart = true;
    }
    if reload {
        step(
            session,
            "systemctl daemon-reload",
            "systemctl daemon-reload",
            &[],
            STEP,
        )?;
    }
    report("enabling and starting the agent");
    // U12: `backstay-agent status` is found by whoever logs in.
    let enable = format!(
        "systemctl enable {GATE_UNIT} {AGENT_UNIT} && mkdir -p /usr/local/bin && \
         {{ [ -e {LINK} ] || ln -sfn {AGENT_PATH} {LINK}; }}"
    );
    step(session, "enabling the agent", &enable, &[], STEP)?;
    let verb = if restart { "restart" } else { "start" };
    let start = format!("systemctl {verb} {AGENT_UNIT}");
    step(
        session,
        "starting the agent",
        &start,
        &[],
        Duration::from_mins(2),
    )
    .map_err(|f| f.hint("`journalctl -u backstay-agent` there says why"))?;
    if restart {
        done.push("agent started".to_owned());
    }
    Ok(())
}

/// Writes a file whole or not at all: beside it, checked, flushed to disk, renamed. Paths and mode are our
/// own constants, so nothing needs quoting.
pub(super) fn put(
    session: &Session,
    path: &str,
    mode: &str,
    bytes: &[u8],
    hash: &str,
) -> Result<(), Failure> {
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let command = format!(
        "umask 022; mkdir -p {folder} && cat > {path}.new && \
         echo '{hash}  {path}.new' | sha256sum -c --status && \
         chmod {mode} {path}.new && sync {path}.new && mv {path}.new {path} && sync {folder} || \
         {{ rm -f {path}.new; echo 'it could not be written whole' >&2; exit 1; }}"
    );
    step(session, &format!("writing {path}"), &command, bytes, UPLOAD).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_with_noise_and_refused_with_everything_at_once() {
        let text = "Welcome!\nuid=1000\narch=riscv64\nfree_kib=100\nactive=inactive\nend=yes\n";
        let found = Found::read(text).unwrap();
        let problems = found.problems("h", "x86_64");
        let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "h, check root",
                "h, check systemd",
                "h, check nft",
                "h, check architecture",
                "h, check disk"
            ]
        );
        let good = "uid=0\narch=x86_64\nsystemd=252\nnft=yes\nfree_kib=9999999\nend=yes";
        assert!(
            Found::read(good)
                .unwrap()
                .problems("h", "x86_64")
                .is_empty()
        );
        // Cut off half-way: nothing is concluded from it.
        assert_eq!(Found::read("uid=0\narch=x86_64\n"), None);
    }

    #[test]
    fn only_a_program_is_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        assert!(AgentBinary::load(&path).is_err());
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(AgentBinary::load(&path).is_err());
    }
}
