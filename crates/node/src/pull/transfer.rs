//! Bytes into a file that gets its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use super::PullError;

/// Told how a transfer goes.
pub trait Progress: Send + Sync {
    /// A file of `total` bytes begins, `done` of them are there from an earlier try; 0 where only
    /// the program that fetches it knows how many, and shows it.
    fn begin(&self, file: &str, done: u64, total: u64);
    /// Some more are there.
    fn advance(&self, bytes: u64);
    /// The file is complete, or the try has failed.
    fn end(&self);
}

/// Shows nothing.
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

/// Where the bytes of one version of a file gather. Another version has another name, so that
/// bytes of two versions never mix.
pub(super) fn part(target: &Path, version: &str) -> PathBuf {
    let version: String = version
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    target.with_added_extension(format!("{version}.part"))
}

/// Appends a stream to `part`.
pub(super) async fn append<B, E>(
    part: &Path,
    from: &str,
    mut stream: impl Stream<Item = Result<B, E>> + Unpin,
    progress: &dyn Progress,
) -> Result<(), PullError>
where
    B: AsRef<[u8]>,
    E: std::fmt::Display,
{
    let file = OpenOptions::new().create(true).append(true).open(part);
    let mut file = file.map_err(|e| PullError::disk(part, e))?;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|e| PullError::Fetch {
            from: from.into(),
            reason: format!("{e}; run it again to resume"),
        })?;
        file.write_all(bytes.as_ref())
            .map_err(|e| PullError::disk(part, e))?;
        progress.advance(bytes.as_ref().len() as u64);
    }
    file.sync_all().map_err(|e| PullError::disk(part, e))
}

/// Checks the hash, if one is pinned, and gives the file its name. A wrong file is deleted.
pub(super) fn finish(
    part: &Path,
    target: &Path,
    from: &str,
    sha256: Option<&str>,
) -> Result<(), PullError> {
    if let Some(expected) = sha256 {
        let found = hash(part).map_err(|e| PullError::disk(part, e))?;
        if found != expected {
            fs::remove_file(part).map_err(|e| PullError::disk(part, e))?;
            return Err(PullError::Hash {
                file: target.display().to_string(),
                source_name: from.into(),
                found,
                expected: expected.into(),
            });
        }
    }
    fs::rename(part, target).map_err(|e| PullError::disk(target, e))
}

/// Copies a file of this machine.
pub(super) fn copy(from: &Path, target: &Path, sha256: &str) -> Result<(), PullError> {
    let part = part(target, "copy");
    fs::copy(from, &part).map_err(|e| PullError::disk(from, e))?;
    finish(&part, target, &from.display().to_string(), Some(sha256))
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
