//! Checks that no other tool does.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The version that is installed where none is.
const DENY: &str = "0.20.2";
const BEGIN: &str = "<!-- life-cycle: made by `cargo xtask diagram` -->\n```mermaid\n";
const END: &str = "```\n<!-- end of life-cycle -->";

/// Licences, sources and bans of all dependencies. Advisories are left out: their database can't be
/// fetched by everyone who builds.
pub(crate) fn deny(yes: bool) -> Result<()> {
    let there = Command::new("cargo").args(["deny", "--version"]).output();
    if !there.is_ok_and(|o| o.status.success()) {
        if !yes {
            bail!(
                "cargo-deny is missing; install it with `cargo install cargo-deny --locked --version {DENY}`, or say --yes"
            );
        }
        super::cargo(&[
            "install",
            "cargo-deny",
            "--locked",
            "--quiet",
            "--version",
            DENY,
            "--no-default-features",
        ])?;
    }
    super::cargo(&[
        "deny",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ])
}

/// Puts the life-cycle's diagram, made from its table, into ARCHITECTURE.md.
pub(crate) fn write_diagram(root: &Path) -> Result<()> {
    let path = root.join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path)?;
    let (before, after) = around(&text)?;
    fs::write(
        &path,
        format!(
            "{before}{BEGIN}{}{END}{after}",
            backstay_core::engine::diagram()
        ),
    )?;
    Ok(())
}

fn around(text: &str) -> Result<(&str, &str)> {
    let (before, rest) = text
        .split_once(BEGIN)
        .context("ARCHITECTURE.md has no place for the life-cycle")?;
    let (_, after) = rest
        .split_once(END)
        .context("the life-cycle in ARCHITECTURE.md has no end")?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &str) -> String {
        fs::read_to_string(super::super::root().join(file)).unwrap()
    }

    #[test]
    fn the_architecture_page_shows_the_life_cycle_as_it_is() {
        let page = text("ARCHITECTURE.md");
        let (_, rest) = page.split_once(BEGIN).unwrap();
        let (shown, _) = rest.split_once(END).unwrap();
        assert_eq!(
            shown,
            backstay_core::engine::diagram(),
            "run `cargo xtask diagram`"
        );
    }

    /// Every folder of source is on the map, and the map names no folder that is gone.
    #[test]
    fn the_architecture_page_maps_every_folder() {
        let page = text("ARCHITECTURE.md");
        let mut folders = Vec::new();
        collect(&super::super::root().join("src"), &mut folders);
        let root = super::super::root();
        for folder in &folders {
            let shown = folder.strip_prefix(&root).unwrap().display().to_string();
            let shown = shown
                .replace("/src/", "/")
                .trim_end_matches("/src")
                .to_owned();
            assert!(
                page.contains(&format!("`{shown}/`")),
                "ARCHITECTURE.md does not map `{shown}/`"
            );
        }
        for named in page
            .split('`')
            .filter(|n| n.starts_with("src/") && n.ends_with('/'))
        {
            let plain = root.join(named);
            let mut parts = named.trim_end_matches('/').splitn(3, '/');
            let (src, krate, rest) = (
                parts.next().unwrap(),
                parts.next().unwrap(),
                parts.next().unwrap_or(""),
            );
            let inner = root.join(src).join(krate).join("src").join(rest);
            assert!(
                plain.is_dir() || inner.is_dir(),
                "ARCHITECTURE.md maps `{named}`, which is gone"
            );
        }
    }

    fn collect(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "tests" && name != "target" && name != "benches" {
                found.push(path.clone());
                collect(&path, found);
            }
        }
    }

    /// `core` <- `wire` <- {`agent`, `utility`}; `sim` sees only `core`; nothing sees `utility`.
    #[test]
    fn dependencies_point_one_way() {
        let allowed: [(&str, &[&str]); 6] = [
            ("core", &[]),
            ("wire", &["backstay-core"]),
            ("agent", &["backstay-core", "backstay-wire"]),
            ("sim", &["backstay-core"]),
            ("lab", &[]),
            (
                "utility",
                // The pseudo-terminal of its tests is that of the system tests.
                &[
                    "backstay-core",
                    "backstay-wire",
                    "backstay-lab",
                    "backstay-tests",
                ],
            ),
        ];
        for (krate, may) in allowed {
            let manifest = text(&format!("src/{krate}/Cargo.toml"));
            let dependencies = manifest.split_once("[dependencies]").unwrap().1;
            for line in dependencies.lines().filter(|l| l.starts_with("backstay")) {
                let name = line.split(['.', ' ', '=']).next().unwrap();
                assert!(may.contains(&name), "{krate} may not depend on {name}");
            }
        }
        let agent = text("src/agent/Cargo.toml");
        assert!(
            !agent.contains("ratatui") && !agent.contains("ssh2"),
            "the agent stays light"
        );
    }

    /// Every rule that a message can name is explained by `backstay rule`.
    #[test]
    fn every_rule_that_is_named_is_told() {
        let told = text("assets/rules.toml");
        let mut folders = vec![super::super::root().join("src")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    files.push(path);
                }
            }
        }
        let mut named = 0;
        for file in files {
            for part in fs::read_to_string(file)
                .unwrap()
                .split("RuleId::of(\"")
                .skip(1)
            {
                let id = part.split('"').next().unwrap();
                named += 1;
                assert!(told.contains(&format!("\n{id} = ")), "`{id}` is not told");
            }
        }
        assert!(named > 20, "only {named} rules are named");
    }

    /// The core is pure: nothing of the world is in reach of its source.
    #[test]
    fn the_core_touches_nothing() {
        let mut folders = vec![super::super::root().join("src/core/src")];
        collect(&folders[0].clone(), &mut folders);
        let banned = [
            "std::fs",
            "std::io",
            "std::net::",
            "std::thread",
            "std::env",
            "std::process",
            "std::os",
            "Instant",
            "SystemTime",
            "tokio",
            "getrandom",
            "RandomState",
            "HashMap",
        ];
        for folder in folders {
            for entry in fs::read_dir(folder)
                .unwrap()
                .flatten()
                .filter(|e| e.path().is_file())
            {
                let source = fs::read_to_string(entry.path()).unwrap();
                for word in banned {
                    let code = source.lines().filter(|l| !l.trim_start().starts_with("//"));
                    let hit = code.into_iter().any(|l| l.contains(word));
                    assert!(!hit, "{} uses {word}", entry.path().display());
                }
            }
        }
    }
}
