//! `tinderbox pack`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;
use sha2::{Digest, Sha256};
use tinderbox_kernels::Format;
use tinderbox_model::FileStorage;
use tinderbox_model::gguf::pack::{Packing, pack};

use crate::settings::Settings;

/// Arguments of `pack`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for the parts and their manifest; made where it is not there
    #[arg(long)]
    out: PathBuf,
    /// Most MiB of a part; Cloudflare takes 25
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=4096))]
    part_mib: u32,
    /// What the embedding becomes: smaller, less exact
    #[arg(long, value_enum)]
    embedding: Option<Embedding>,
}

/// Formats an embedding can be given.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Embedding {
    Q4_0,
    Q4_1,
    Q8_0,
}

impl From<Embedding> for Format {
    fn from(embedding: Embedding) -> Format {
        match embedding {
            Embedding::Q4_0 => Format::Q4_0,
            Embedding::Q4_1 => Format::Q4_1,
            Embedding::Q8_0 => Format::Q8_0,
        }
    }
}

/// Cuts a GGUF file into parts that the edge can hold.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let local = super::model(settings).await?;
    anyhow::ensure!(
        local.path.is_file(),
        "{}: only GGUF files are packed",
        local.path.display()
    );
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let source = FileStorage::open(&local.path)?;
    let packing = Packing {
        part_bytes: (args.part_mib as usize) << 20,
        embedding: args.embedding.map(Format::from),
    };
    let mut files = Vec::new();
    let error = futures::executor::block_on(pack(&source, packing, |index, count, part| {
        let name = format!("model-{:05}-of-{count:05}.gguf", index + 1);
        let bytes = part.to_bytes();
        std::fs::write(args.out.join(&name), &bytes)?;
        println!("{name}  {:.1} MB", bytes.len() as f64 / 1e6);
        let sum = Sha256::digest(&bytes);
        let sha256: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        files.push(json!({ "name": name, "bytes": bytes.len(), "sha256": sha256 }));
        Ok(())
    }))?;
    if let Some(error) = error {
        println!(
            "The embedding's numbers are off by {:.1} % (root mean square). What that costs in quality is measured by \
             scripts/eval.sh; for SmolLM2-135M it is in BENCHMARKS.md.",
            100.0 * error
        );
    }
    let manifest = json!({ "model": local.name, "files": files });
    let path = args.out.join("manifest.json");
    std::fs::write(&path, format!("{manifest:#}\n")).with_context(|| path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
