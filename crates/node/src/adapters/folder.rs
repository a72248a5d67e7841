//! Adapters on this machine's disk.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tinderbox_engine::{ADAPTER_FILES, AdapterFiles};
use tinderbox_protocol::Error;

use super::{absent, failed, too_large};
use crate::catalog::stays_inside;

/// The adapter in a folder below `root`.
pub(super) fn read(root: &Path, id: &str, most: u64) -> Result<AdapterFiles, Error> {
    match stays_inside(id) {
        true => files(id, &root.join(id), most),
        false => Err(absent(id)),
    }
}

/// The files of an adapter's folder.
pub(super) fn files(id: &str, folder: &Path, most: u64) -> Result<AdapterFiles, Error> {
    let (mut files, mut left) = (AdapterFiles::new(), most);
    for name in ADAPTER_FILES {
        let path = folder.join(name);
        let bytes = fs::metadata(&path).and_then(|file| {
            if file.len() > left {
                return Ok(None);
            }
            fs::read(&path).map(Some)
        });
        match bytes {
            Ok(Some(bytes)) => {
                left = left.saturating_sub(bytes.len() as u64);
                files.insert(name, bytes);
            }
            Ok(None) => return Err(too_large(id, most)),
            Err(error) if absence(error.kind()) => {}
            Err(error) => return Err(failed(id, format!("{name}: {error}"))),
        }
    }
    match files.is_empty() {
        true => Err(absent(id)),
        false => Ok(files),
    }
}

/// There is no such file, or no folder it could be in.
fn absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The adapters below a folder: `NAME`, and `OWNER/NAME` as on the hub.
pub(super) fn names(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for name in folders(root) {
        let folder = root.join(&name);
        if folder.join(ADAPTER_FILES[0]).is_file() {
            names.push(name);
            continue;
        }
        let inner = folders(&folder).into_iter();
        let inner = inner.filter(|inner| folder.join(inner).join(ADAPTER_FILES[0]).is_file());
        names.extend(inner.map(|inner| format!("{name}/{inner}")));
    }
    names.sort();
    names
}

/// The folders in a folder; none where it cannot be read.
fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
