//! The gate by spawning `nft`: the fallback where native netlink does not work. Ten milliseconds and more for
//! every command, so it suits the slower profiles only.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::boot::{self, element, run_script};
use super::{
    Gate, GateError, GateState, OwnWriters, PLANES, Plane, PlaneState, SLOTS, SlotState, TABLE,
    Verdict, checked, closed, combine, in_both_planes, planes_of,
};

/// The gate by spawning `nft`.
#[derive(Debug, Default)]
pub struct NftGate {
    writers: OwnWriters,
    /// The listing without set contents right after installation.
    installed: Option<String>,
}

/// A script in the making; the steps are those of the native gate.
#[derive(Default)]
struct Script(String);

impl Script {
    fn line(
        &mut self,
        verb: &str,
        plane: &Plane,
        set: &str,
        addrs: &[IpAddr],
        timeout_ms: Option<u64>,
    ) {
        let timeout = timeout_ms
            .map(|ms| format!(" timeout {ms}ms"))
            .unwrap_or_default();
        let elements: Vec<_> = addrs
            .iter()
            .filter(|addr| addr.is_ipv6() == plane.v6)
            .map(|&addr| format!("{}{timeout}", element(addr, plane.as_number)))
            .collect();
        if !elements.is_empty() {
            let family = plane.family_name;
            let _ = writeln!(
                self.0,
                "{verb} element {family} {TABLE} {set} {{ {} }}",
                elements.join(", ")
            );
        }
    }

    fn add(&mut self, plane: &Plane, set: &str, addrs: &[IpAddr], timeout_ms: Option<u64>) {
        self.line("add", plane, set, addrs, timeout_ms);
    }

    /// Deleting an absent element refuses the script, so each is added first.
    fn clear(&mut self, plane: &Plane, set: &str, addrs: &[IpAddr], timeout_ms: Option<u64>) {
        self.add(plane, set, addrs, timeout_ms);
        self.line("delete", plane, set, addrs, None);
    }

    fn arm(&mut self, plane: &Plane, addrs: &[IpAddr], slot: usize, hold_ms: u64) {
        self.clear(plane, plane.live[slot], addrs, None);
        self.clear(plane, plane.armed[slot], addrs, Some(hold_ms));
        self.add(plane, plane.armed[slot], addrs, Some(hold_ms));
    }
}

impl NftGate {
    /// Nothing is opened: each command spawns its own `nft`.
    pub fn new() -> Self {
        NftGate::default()
    }

    fn run(&self, what: &'static str, script: &Script) -> Result<(), GateError> {
        if script.0.is_empty() {
            return Ok(());
        }
        run_script(what, &["-f", "-"], &script.0, &self.writers).map(drop)
    }

    /// Lists one of our tables; `None` if it does not exist.
    fn list(&self, family: &str, terse: bool) -> Result<Option<String>, GateError> {
        let what = "list the gate's tables";
        let present = run_script(what, &["list", "tables"], "", &self.writers)?;
        if !present
            .lines()
            .any(|line| line == format!("table {family} {TABLE}"))
        {
            return Ok(None);
        }
        let mut arguments = vec!["list", "table", family, TABLE];
        if terse {
            arguments.insert(0, "-t");
        }
        run_script(what, &arguments, "", &self.writers).map(Some)
    }

    fn planes(&self, addr: IpAddr) -> Result<Vec<PlaneState>, GateError> {
        let mut found = Vec::new();
        let mut listed: Option<(&str, String)> = None;
        for plane in planes_of(addr) {
            if listed
                .as_ref()
                .is_none_or(|(family, _)| *family != plane.family_name)
            {
                listed = Some((
                    plane.family_name,
                    self.list(plane.family_name, false)?.unwrap_or_default(),
                ));
            }
            let text = listed.as_ref().map_or("", |(_, text)| text.as_str());
            found.push(plane_state(text, plane, addr)?);
        }
        Ok(found)
    }
}

impl Gate for NftGate {
    fn install(&mut self) -> Result<(), GateError> {
        boot::install(boot::Tables::Plain, &self.writers)?;
        self.installed = self.skeleton()?;
        Ok(())
    }

    fn guard(&mut self, addrs: &[IpAddr]) -> Result<(), GateError> {
        checked(addrs, 0, None)?;
        let mut script = Script::default();
        for plane in &PLANES {
            let _ = writeln!(
                script.0,
                "flush set {} {TABLE} {}",
                plane.family_name, plane.guarded
            );
            script.add(plane, plane.guarded, addrs, None);
        }
        self.run("guard addresses", &script)
    }

    fn arm(&mut self, addrs: &[IpAddr], slot: usize, hold: Duration) -> Result<(), GateError> {
        let hold_ms = checked(addrs, slot, Some(hold))?;
        let mut script = Script::default();
        for plane in &PLANES {
            script.arm(plane, addrs, slot, hold_ms);
        }
        self.run("arm a slot", &script)
    }

    fn live(&mut self, addrs: &[IpAddr], slot: usize) -> Result<(), GateError> {
        checked(addrs, slot, None)?;
        let mut script = Script::default();
        for plane in &PLANES {
            script.add(plane, plane.live[slot], addrs, None);
        }
        self.run("make a slot live", &script)
    }

    fn close(&mut self, addrs: &[IpAddr]) -> Result<(), GateError> {
        checked(addrs, 0, None)?;
        let mut script = Script::default();
        for plane in &PLANES {
            for set in plane.live {
                script.clear(plane, set, addrs, None);
            }
            for set in plane.armed {
                script.clear(plane, set, addrs, Some(1_000));
            }
        }
        self.run("close addresses", &script)?;
        addrs
            .iter()
            .try_for_each(|&addr| closed(addr, &self.planes(addr)?))
    }

    fn state(&mut self, addr: IpAddr) -> Result<GateState, GateError> {
        let planes = self.planes(addr)?;
        let [first, second] = planes[..] else {
            return Err(GateError::Answer("read an address back"));
        };
        Ok(combine(first, second))
    }

    fn guarded(&mut self) -> Result<Vec<IpAddr>, GateError> {
        let mut found = Vec::new();
        for family in ["inet", "arp"] {
            let text = self.list(family, false)?.unwrap_or_default();
            for plane in PLANES.iter().filter(|p| p.family_name == family) {
                let named = elements(&text, plane.guarded)?;
                found.extend(named.into_iter().map(|(addr, _)| addr));
            }
        }
        Ok(in_both_planes(found))
    }

    fn verify(&mut self) -> Result<Verdict, GateError> {
        let Some(now) = self.skeleton()? else {
            return Ok(Verdict::Missing);
        };
        let Some(then) = &self.installed else {
            return Ok(Verdict::Changed("not installed by this process yet".into()));
        };
        let differs = now
            .lines()
            .zip(then.lines())
            .find(|(now, then)| now != then);
        Ok(match differs {
            None if now.len() == then.len() => Verdict::Intact,
            None => Verdict::Changed("the rules are not those that were installed".into()),
            Some((now, _)) => {
                Verdict::Changed(format!("this was not installed by us: {}", now.trim()))
            }
        })
    }

    fn remove(&mut self) -> Result<(), GateError> {
        self.installed = None;
        let mut script = Script::default();
        for family in ["inet", "arp"] {
            let _ = writeln!(
                script.0,
                "add table {family} {TABLE}\ndelete table {family} {TABLE}"
            );
        }
        self.run("remove the gate", &script)
    }

    fn writers(&self) -> OwnWriters {
        self.writers.clone()
    }
}

impl NftGate {
    /// The listing of both tables without set contents; `None` if one is missing.
    fn skeleton(&self) -> Result<Option<String>, GateError> {
        let inet = self.list("inet", true)?;
        let arp = self.list("arp", true)?;
        Ok(inet.zip(arp).map(|(inet, arp)| inet + &arp))
    }
}

/// What a table's listing says about an address in one plane.
fn plane_state(text: &str, plane: &Plane, addr: IpAddr) -> Result<PlaneState, GateError> {
    let find = |set: &str| -> Result<Option<Option<u64>>, GateError> {
        Ok(elements(text, set)?
            .into_iter()
            .find(|(found, _)| *found == addr)
            .map(|(_, expires)| expires))
    };
    let mut state = PlaneState {
        guarded: find(plane.guarded)?.is_some(),
        ..PlaneState::default()
    };
    for slot in 0..SLOTS {
        state.slots[slot] = SlotState {
            armed_expires: find(plane.armed[slot])?
                .map(|ms| Duration::from_millis(ms.unwrap_or(u64::MAX))),
            live: find(plane.live[slot])?.is_some(),
        };
    }
    Ok(state)
}

/// The elements of a set in a listing, with the milliseconds left of timed ones. A set that is not there is empty.
fn elements(text: &str, set: &str) -> Result<Vec<(IpAddr, Option<u64>)>, GateError> {
    let broken = || GateError::Answer("list the gate's sets");
    let head = format!("\tset {set} {{");
    let Some((_, rest)) = text.split_once(&head) else {
        return Ok(Vec::new());
    };
    let (body, _) = rest.split_once("\n\t}").ok_or_else(broken)?;
    let Some((_, list)) = body.split_once("elements = {") else {
        return Ok(Vec::new());
    };
    let (list, _) = list.split_once('}').ok_or_else(broken)?;
    list.split(',')
        .map(|item| {
            let mut words = item.split_whitespace();
            let addr = words.next().and_then(address).ok_or_else(broken)?;
            let expires = words
                .skip_while(|word| *word != "expires")
                .nth(1)
                .map(milliseconds);
            match expires {
                None => Ok((addr, None)),
                Some(ms) => Ok((addr, Some(ms.ok_or_else(broken)?))),
            }
        })
        .collect()
}

/// An element's key: an address, or for neighbour discovery one hexadecimal number.
fn address(word: &str) -> Option<IpAddr> {
    match word.strip_prefix("0x") {
        Some(number) => u128::from_str_radix(number, 16)
            .ok()
            .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        None => word.parse().ok(),
    }
}

/// nft's spelling of a time, such as `1m1s496ms`.
fn milliseconds(word: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let value: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(value.checked_mul(factor)?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTING: &str = "table inet backstay {\n\tset guarded4 {\n\t\ttype ipv4_addr\n\t}\n\n\tset armed4s0 {\n\t\ttype ipv4_addr\n\t\tflags timeout\n\
        \t\telements = { 192.0.2.1 timeout 1m1s500ms expires 1m1s496ms, 192.0.2.2 timeout 1h expires 59m59s996ms,\n\t\t\t     192.0.2.3 timeout 200ms expires 196ms }\n\t}\n\
        \tset guardednd {\n\t\ttypeof @th,64,128\n\t\telements = { 0x20010db8000000000000000000000001 }\n\t}\n}\n";

    #[test]
    fn a_listing_of_nft_is_read_with_its_milliseconds() {
        let found = elements(LISTING, "armed4s0").unwrap();
        let expected = [
            ("192.0.2.1", 61_496),
            ("192.0.2.2", 3_599_996),
            ("192.0.2.3", 196),
        ]
        .map(|(addr, ms)| (addr.parse().unwrap(), Some(ms)));
        assert_eq!(found, expected);
        assert_eq!(elements(LISTING, "guarded4").unwrap(), []);
        assert_eq!(
            elements(LISTING, "guardednd").unwrap(),
            [("2001:db8::1".parse().unwrap(), None)]
        );
    }

    proptest! {
        #[test]
        fn any_listing_is_read_without_panic(text in "\tset live4s0 \\{[^|]{0,200}", word in ".{0,20}") {
            let _ = elements(&text, "live4s0");
            let wrong = word + "x";
            prop_assert!(milliseconds(&wrong).is_none());
        }
    }
}
