//! `tinderbox list`

use std::process::ExitCode;

use serde_json::json;

use crate::catalog;
use crate::pull::cached;
use crate::settings::Settings;

/// Arguments of `list`.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the catalog and what of it is here.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let cache = super::cache(settings)?;
    let mut rows = Vec::new();
    for entry in catalog::entries() {
        let path = cached(&entry, &cache);
        let here = path.exists();
        if !args.json {
            let mark = if here { "cached" } else { "" };
            let size = entry.bytes as f64 / 1e6;
            println!(
                "{:<24} {size:>8.1} MB  {:<12} {mark:<7} {}",
                entry.name, entry.licence, entry.description
            );
        }
        rows.push(json!({
            "name": entry.name, "description": entry.description, "licence": entry.licence,
            "bytes": entry.bytes, "sha256": entry.sha256, "cached": here, "path": path,
        }));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(ExitCode::SUCCESS)
}
