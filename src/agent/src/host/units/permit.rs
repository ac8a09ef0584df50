//! A service's unit must not be started by systemd itself at boot: a node at start brings up nothing (A5).
//!
//! A drop-in makes the unit conditional on a permit file under `/run`, which the agent creates before it starts
//! the unit and removes before it stops it. So the unit may stay enabled; at boot, when `/run` is empty, systemd
//! skips it quietly. The permit of a service that runs survives a restart of the agent.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::UnitError;

/// Where drop-ins and permits lie. The folders are settable for tests.
#[derive(Debug, Clone)]
pub struct Permits {
    units: PathBuf,
    permits: PathBuf,
}

impl Default for Permits {
    fn default() -> Self {
        Permits {
            units: "/etc/systemd/system".into(),
            permits: "/run/backstay/permit".into(),
        }
    }
}

impl Permits {
    /// Uses other folders: that of unit files and that of permits.
    pub fn below(units: &Path, permits: &Path) -> Self {
        Permits {
            units: units.to_owned(),
            permits: permits.to_owned(),
        }
    }

    /// Writes `UNIT.d/50-backstay.conf`; `true` if it was not there or differed: then call
    /// [`super::Units::reload`]. Has no effect on a unit that runs; for one that is to go on being startable,
    /// [`Permits::grant`] first.
    pub fn write_drop_in(&self, unit: &str) -> Result<bool, UnitError> {
        let path = self.drop_in(unit)?;
        let text = self.text(unit);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            return Ok(false);
        }
        let write = || {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            let draft = path.with_extension("draft");
            let mut file = fs::File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            // As unit files are: systemd complains of one that others can't read.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|source| file_error(&path, source))?;
        Ok(true)
    }

    /// Removes the drop-in; `true` if it was there: then call [`super::Units::reload`].
    pub fn remove_drop_in(&self, unit: &str) -> Result<bool, UnitError> {
        let path = self.drop_in(unit)?;
        let removed = gone(fs::remove_file(&path)).map_err(|source| file_error(&path, source))?;
        if let Some(folder) = path.parent() {
            // Left if others put drop-ins there.
            let _ = fs::remove_dir(folder);
        }
        Ok(removed)
    }

    /// Lets the unit be started, until [`Permits::revoke`] or the next boot.
    pub fn grant(&self, unit: &str) -> Result<(), UnitError> {
        let path = self.permit(unit)?;
        let write = || {
            fs::create_dir_all(&self.permits)?;
            fs::write(&path, "")
        };
        write().map_err(|source| file_error(&path, source))
    }

    /// Takes the permit away. A unit that runs goes on; it is not started again, also not by its `Restart=`.
    pub fn revoke(&self, unit: &str) -> Result<(), UnitError> {
        let path = self.permit(unit)?;
        gone(fs::remove_file(&path))
            .map(drop)
            .map_err(|source| file_error(&path, source))
    }

    /// Whether the unit may be started.
    pub fn granted(&self, unit: &str) -> Result<bool, UnitError> {
        Ok(self.permit(unit)?.exists())
    }

    fn permit(&self, unit: &str) -> Result<PathBuf, UnitError> {
        valid_name(unit)?;
        Ok(self.permits.join(unit))
    }

    fn drop_in(&self, unit: &str) -> Result<PathBuf, UnitError> {
        valid_name(unit)?;
        Ok(self
            .units
            .join(format!("{unit}.d"))
            .join("50-backstay.conf"))
    }

    fn text(&self, unit: &str) -> String {
        // A backslash (as in escaped names) would be taken for an escape in the quoted or unquoted value.
        let permit = self
            .permits
            .join(unit)
            .display()
            .to_string()
            .replace('\\', "\\\\")
            .replace('%', "%%");
        format!(
            "# Written by backstay-agent: this unit runs where the cluster says, so not by itself at boot.\n\
             # To start it without the cluster, remove this file and run: systemctl daemon-reload\n\
             [Unit]\nConditionPathExists={permit}\n"
        )
    }
}

fn file_error(path: &Path, source: io::Error) -> UnitError {
    UnitError::File {
        path: path.display().to_string(),
        source,
    }
}

fn gone(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses what is not a unit name by systemd's rules (systemd.unit(5)): so it is no path and no option either.
pub fn valid_name(unit: &str) -> Result<(), UnitError> {
    const KINDS: [&str; 7] = [
        "service", "target", "socket", "timer", "mount", "path", "slice",
    ];
    let fine = unit.len() <= 255
        && !unit.starts_with(['-', '.', '@'])
        && unit.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c))
        && unit.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && KINDS.contains(&kind))
        // A template without an instance cannot be started.
        && !unit.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with('@'));
    if fine {
        Ok(())
    } else {
        Err(UnitError::Name(unit.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(tag: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("backstay-t-{}-{tag}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a5_the_drop_in_makes_the_unit_wait_for_its_permit() {
        let folder = Folder::new("permit");
        let (units, run) = (folder.0.join("etc"), folder.0.join("run"));
        let permits = Permits::below(&units, &run);
        assert!(permits.write_drop_in("web.service").unwrap());
        assert!(
            !permits.write_drop_in("web.service").unwrap(),
            "nothing changed the second time"
        );
        let text = fs::read_to_string(units.join("web.service.d/50-backstay.conf")).unwrap();
        assert!(
            text.ends_with(&format!(
                "[Unit]\nConditionPathExists={}/web.service\n",
                run.display()
            )),
            "{text}"
        );
        assert!(!permits.granted("web.service").unwrap());
        permits.grant("web.service").unwrap();
        assert!(permits.granted("web.service").unwrap());
        permits.revoke("web.service").unwrap();
        permits.revoke("web.service").unwrap();
        assert!(!permits.granted("web.service").unwrap());
        assert!(permits.remove_drop_in("web.service").unwrap());
        assert!(!permits.remove_drop_in("web.service").unwrap());
        assert!(!units.join("web.service.d").exists());
    }

    #[test]
    fn names_that_are_paths_or_options_are_refused() {
        for good in [
            "web.service",
            "db@main.service",
            "a-b_c:d.target",
            "dev-sda\\x2d1.mount",
        ] {
            assert!(valid_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "web",
            "../etc/x.service",
            "-f.service",
            "a b.service",
            "db@.service",
            ".service",
            "x.device",
            "a\n.service",
        ] {
            assert!(valid_name(bad).is_err(), "{bad:?}");
        }
    }
}
