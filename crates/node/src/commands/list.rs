//! `tinderbox list`

use std::process::ExitCode;

use serde_json::json;

use crate::catalog::Catalog;
use crate::pull::{cached, is_cached};
use crate::settings::Settings;

/// Prints the catalog and what of it is here.
pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let cache = super::cache(settings)?;
    let mut rows = Vec::new();
    let catalog = Catalog::read(settings.catalog.as_deref())?;
    for entry in catalog.entries() {
        let (path, here) = (cached(entry, &cache), is_cached(entry, &cache));
        if !settings.json {
            let mark = if here { "cached" } else { "" };
            let size = entry.bytes() as f64 / 1e6;
            println!(
                "{:<24} {size:>8.1} MB  {:<12} {mark:<7} {}",
                entry.name, entry.licence, entry.description
            );
        }
        let files = entry
            .files
            .iter()
            .map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 }));
        rows.push(json!({
            "name": entry.name, "description": entry.description, "licence": entry.licence,
            "bytes": entry.bytes(), "files": files.collect::<Vec<_>>(), "cached": here, "path": path,
        }));
    }
    if settings.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(ExitCode::SUCCESS)
}
