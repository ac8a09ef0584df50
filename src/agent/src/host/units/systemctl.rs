//! systemd by spawning `systemctl`: while there is no bus.

use std::time::Duration;

use super::{Active, UnitEntry, UnitError, UnitState};
use crate::host::command::{self, End, Finished};

const ANSWER: Duration = Duration::from_secs(10);

async fn systemctl(arguments: &[&str], limit: Duration) -> Result<Finished, UnitError> {
    let argv: Vec<String> = ["systemctl", "--no-pager", "--no-ask-password"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    let env = [("LC_ALL".to_owned(), "C".to_owned())];
    command::run(&argv, &env, limit)
        .await
        .map_err(|error| UnitError::Unreachable(error.to_string()))
}

/// The command's output if it ended well, else systemd's words.
fn good(what: &'static str, unit: &str, finished: Finished) -> Result<String, UnitError> {
    match finished.end {
        End::Code(0) => Ok(finished.stdout),
        End::TimedOut { .. } => Err(UnitError::Slow {
            what,
            unit: unit.to_owned(),
            limit: finished.took,
        }),
        End::Code(_) | End::Signal(_) => {
            let message = finished
                .stderr
                .lines()
                .next()
                .unwrap_or("no message")
                .to_owned();
            if message.contains("Failed to connect")
                || message.contains("not been booted with systemd")
            {
                return Err(UnitError::Unreachable(message));
            }
            Err(UnitError::Refused {
                what,
                unit: unit.to_owned(),
                message,
            })
        }
    }
}

pub(super) async fn state(unit: &str) -> Result<UnitState, UnitError> {
    let properties = "LoadState,ActiveState,SubState,Result,ConditionResult,ConditionTimestampMonotonic,TimeoutStopUSec";
    let shown = systemctl(&["show", "--property", properties, "--", unit], ANSWER).await?;
    Ok(parse_show(&good("read", unit, shown)?))
}

pub(super) async fn list() -> Result<Vec<UnitEntry>, UnitError> {
    let plain = ["--plain", "--no-legend", "--full", "--type=service"];
    let files = systemctl(&[&["list-unit-files"], &plain[..]].concat(), ANSWER).await?;
    let units = systemctl(&[&["list-units", "--all"], &plain[..]].concat(), ANSWER).await?;
    Ok(parse_list(
        &good("list", "units", files)?,
        &good("list", "units", units)?,
    ))
}

pub(super) async fn start(unit: &str, limit: Duration) -> Result<Option<String>, UnitError> {
    let finished = systemctl(&["start", "--", unit], limit).await?;
    match finished.end {
        End::TimedOut { .. } => good("start", unit, finished).map(|_| None),
        // A failure shows in the state, which the caller reads again.
        End::Code(0) | End::Signal(_) => Ok(None),
        End::Code(_) => Ok(Some("failed".to_owned())),
    }
}

pub(super) async fn stop(unit: &str, limit: Duration) -> Result<(), UnitError> {
    let finished = systemctl(&["stop", "--", unit], limit).await?;
    good("stop", unit, finished).map(drop)
}

pub(super) async fn kill(unit: &str, signal: i32) -> Result<(), UnitError> {
    let signal = format!("--signal={signal}");
    good(
        "kill",
        unit,
        systemctl(&["kill", &signal, "--", unit], ANSWER).await?,
    )
    .map(drop)
}

pub(super) async fn reload() -> Result<(), UnitError> {
    good(
        "reload",
        "all units",
        systemctl(&["daemon-reload"], ANSWER).await?,
    )
    .map(drop)
}

pub(super) async fn system_state() -> Result<String, UnitError> {
    // It ends with an error for everything but `running`, and says the state all the same.
    let finished = systemctl(&["is-system-running"], ANSWER).await?;
    let state = finished.stdout.trim().to_owned();
    if state.is_empty() {
        good("read", "the system state", finished)
    } else {
        Ok(state)
    }
}

pub(super) async fn pending_job(unit: &str) -> Result<Option<String>, UnitError> {
    let listed = systemctl(&["list-jobs", "--no-legend", "--full"], ANSWER).await?;
    Ok(parse_job(&good("list", "jobs", listed)?, unit))
}

fn parse_show(text: &str) -> UnitState {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(found, _)| *found == key)
            .map_or("", |(_, v)| v)
    };
    let judged = !matches!(value("ConditionTimestampMonotonic"), "" | "0");
    UnitState {
        exists: !matches!(value("LoadState"), "not-found" | ""),
        active: Active::parse(value("ActiveState")),
        sub: value("SubState").to_owned(),
        result: value("Result").to_owned(),
        condition: judged.then(|| value("ConditionResult") == "yes"),
        timeout_stop: span(value("TimeoutStopUSec")),
    }
}

/// systemd's spelling of a time span, such as `1min 30s` or `500ms`; `infinity` and anything unknown: none.
fn span(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    text.split_whitespace()
        .try_fold(Duration::ZERO, |sum, word| {
            let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let amount: f64 = word[..digits].parse().ok()?;
            let unit = match &word[digits..] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "min" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                _ => return None,
            };
            sum.checked_add(Duration::try_from_secs_f64(amount * unit).ok()?)
        })
}

fn parse_list(files: &str, units: &str) -> Vec<UnitEntry> {
    let active = |name: &str| {
        let line = units
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(2))
            .unwrap_or("inactive")
            .to_owned()
    };
    files
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, state) = (words.next()?, words.next()?);
            Some(UnitEntry {
                name: name.to_owned(),
                active: active(name),
                enabled: state.starts_with("enabled"),
            })
        })
        .collect()
}

/// The type of a unit's job in `list-jobs` (columns: id, unit, type, state).
fn parse_job(text: &str, unit: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == unit).then(|| words.next().map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let text = "Result=success\nLoadState=loaded\nActiveState=active\nSubState=running\n\
            TimeoutStopUSec=1min 30s\nConditionResult=yes\nConditionTimestampMonotonic=7\n";
        let state = parse_show(text);
        assert!(state.exists && state.condition == Some(true) && state.active == Active::Active);
        assert_eq!(state.timeout_stop, Some(Duration::from_secs(90)));
        let gone =
            parse_show("LoadState=not-found\nActiveState=inactive\nTimeoutStopUSec=infinity\n");
        assert!(!gone.exists && gone.condition.is_none() && gone.timeout_stop.is_none());
        assert_eq!(span("1.500s"), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn lists_of_systemctl_are_read() {
        let files = "cron.service enabled enabled\nweb.service disabled enabled\n";
        let units =
            "cron.service loaded active running Regular background program processing daemon\n";
        let list = parse_list(files, units);
        assert_eq!(list.len(), 2);
        assert!(list[0].enabled && list[0].active == "active");
        assert!(!list[1].enabled && list[1].active == "inactive");
        let jobs = "1234 backstay-agent.service restart running\n1235 web.service start waiting\n";
        assert_eq!(
            parse_job(jobs, "backstay-agent.service").as_deref(),
            Some("restart")
        );
        assert_eq!(parse_job(jobs, "agent.service"), None);
        assert_eq!(parse_job("No jobs running.\n", "web.service"), None);
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic(text in ".{0,300}", number in "[0-9.]{0,30}", unit in "[a-z]{0,4}") {
            let _ = (parse_show(&text), parse_list(&text, &text), parse_job(&text, "a.service"), span(&text));
            let whole = number + &unit;
            prop_assert!(span(&whole).is_none_or(|span| span <= Duration::MAX));
        }
    }
}
