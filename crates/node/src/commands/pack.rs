//! `tinderbox pack`

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};
use tinderbox_kernels::Format;
use tinderbox_model::FileStorage;
use tinderbox_model::gguf::pack::{Packing, pack};

use crate::settings::{Embedding, Settings};

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
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let out = settings.out.as_ref();
    let out = out.context("name a folder for the parts with --out")?;
    let local = super::model(settings).await?;
    anyhow::ensure!(
        local.path.is_file(),
        "{}: only GGUF files are packed",
        local.path.display()
    );
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let source = FileStorage::open(&local.path)?;
    let packing = Packing {
        part_bytes: (settings.part_mib as usize) << 20,
        embedding: settings.embedding.map(Format::from),
    };
    let mut files = Vec::new();
    let error = futures::executor::block_on(pack(&source, packing, |index, count, part| {
        let name = format!("model-{:05}-of-{count:05}.gguf", index + 1);
        let bytes = part.to_bytes();
        std::fs::write(out.join(&name), &bytes)?;
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
    let path = out.join("manifest.json");
    std::fs::write(&path, format!("{manifest:#}\n")).with_context(|| path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
