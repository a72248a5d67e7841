//! The decoder against `transformers`: one golden file a family, in both forms a checkpoint can have.

mod adapters;
#[path = "../common/mod.rs"]
mod common;
mod fixture;
mod pirate;
mod replay;
mod smollm2;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fixture::Golden;
use futures::executor::block_on;
use tinderbox_kernels::{Format, reference};
use tinderbox_model::{Checkpoint, Decoder, Error, KvType, LoadOptions, Output, Step, Want};

/// Two correct passes in single precision differ by about 1e-5.
const FLOAT: f32 = 1e-3;
/// Quantized products may round activations, to 16 bits today.
const QUANTIZED: f32 = 0.01;
/// KV blocks of the one sequence, out of order on purpose.
const TABLE: [u32; 5] = [6, 1, 4, 0, 7];
const BLOCK: usize = 8;

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn goldens() -> Vec<Golden> {
    let files = std::fs::read_dir(golden_folder().join("architectures")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let golden = serde_json::from_slice(&std::fs::read(path).unwrap());
        golden.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn named(name: &str) -> Golden {
    let found = goldens().into_iter().find(|golden| golden.name == name);
    found.unwrap_or_else(|| panic!("no golden {name}"))
}

type Form = fn(&Golden) -> Option<Result<Checkpoint, Error>>;

/// Checks every golden that has the form, and names all that fail.
fn check_all(form: Form, least: usize, device: &Device) {
    let mut checked = 0;
    let mut failures = Vec::new();
    for golden in goldens() {
        let Some(checkpoint) = form(&golden) else {
            continue;
        };
        checked += 1;
        let tolerance = if golden.is_quantized() {
            QUANTIZED
        } else {
            FLOAT
        };
        let loaded = checkpoint
            .map_err(|e| e.to_string())
            .and_then(|checkpoint| load(&checkpoint, device));
        if let Err(reason) = loaded.and_then(|decoder| check(&golden, decoder, tolerance)) {
            failures.push(format!("{}: {reason}", golden.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked >= least, "only {checked} goldens were checked");
}

/// Prompt in two chunks, then the golden continuation token by token, each step's logits compared.
fn check(golden: &Golden, mut decoder: Decoder, tolerance: f32) -> Result<(), String> {
    let (head, tail) = golden.prompt.split_at(17);
    let mut rows = logits(&mut decoder, head, 0)?;
    rows.extend(logits(&mut decoder, tail, head.len())?);
    for (position, (row, top)) in rows.iter().zip(&golden.top).enumerate() {
        for &(token, expected) in top {
            close(
                row[token],
                expected,
                tolerance,
                &format!("prompt position {position}, token {token}"),
            )?;
        }
    }
    let mut row = rows.pop().expect("a prompt is not empty");
    for (token, (found, expected)) in row.iter().zip(&golden.logits).enumerate() {
        close(
            *found,
            *expected,
            tolerance,
            &format!("last position, token {token}"),
        )?;
    }
    for (step, (&token, &logprob)) in golden.continuation.iter().zip(&golden.logprobs).enumerate() {
        let place = format!("step {step}, token {token}");
        close(log_softmax(&row, token), logprob, tolerance, &place)?;
        // A smaller lead than twice the tolerance may turn round.
        if golden.least_lead > 2.0 * tolerance && argmax(&row) != token {
            return Err(format!("{place}: the best is {}", argmax(&row)));
        }
        row = logits(&mut decoder, &[token], golden.prompt.len() + step)?.remove(0);
    }
    Ok(())
}

fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Decoder, String> {
    let options = LoadOptions {
        context: BLOCK * TABLE.len(),
        block_size: BLOCK,
        blocks: 8,
        kv: KvType::F32,
    };
    block_on(Decoder::load(checkpoint, device, options)).map_err(|error| error.to_string())
}

/// The logits of every row.
fn logits(decoder: &mut Decoder, tokens: &[u32], start: usize) -> Result<Vec<Vec<f32>>, String> {
    logits_with(decoder, None, tokens, start)
}

/// The same with the adapter of a slot.
fn logits_with(
    decoder: &mut Decoder,
    adapter: Option<u32>,
    tokens: &[u32],
    start: usize,
) -> Result<Vec<Vec<f32>>, String> {
    let rows = tokens.len() as u32;
    let step = Step {
        tokens: tokens.to_vec(),
        positions: (start as u32..).take(tokens.len()).collect(),
        sequences: vec![0; tokens.len()],
        tables: vec![TABLE.to_vec()],
        outputs: (0..rows).collect(),
        adapters: vec![adapter],
        draws: Vec::new(),
    };
    match block_on(decoder.forward(&step, Want::Logits)) {
        Ok(Output::Logits(all)) => Ok(all
            .chunks(all.len() / tokens.len())
            .map(<[f32]>::to_vec)
            .collect()),
        Ok(other) => Err(format!("asked for logits, got {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn close(found: f32, expected: f32, tolerance: f32, place: &str) -> Result<(), String> {
    // A NaN is not close.
    if (found - expected).abs() < tolerance {
        return Ok(());
    }
    Err(format!("{place}: {found}, expected {expected}"))
}

/// A tie goes to the lowest id.
fn argmax(row: &[f32]) -> u32 {
    (0..row.len())
        .rev()
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .expect("a vocabulary") as u32
}

fn log_softmax(row: &[f32], token: u32) -> f32 {
    let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
    (f64::from(row[token as usize]) - sum.ln()) as f32
}

#[test]
fn every_hugging_face_folder_computes_what_transformers_does() {
    check_all(Golden::folder, 18, &Device::flex());
    check_all(Golden::sharded, 18, &Device::flex());
}

#[test]
fn every_gguf_file_computes_what_transformers_does() {
    check_all(Golden::gguf, 15, &Device::flex());
}

#[test]
fn a_file_on_disk_computes_the_same_with_neighbours_side_by_side_and_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let (mut joined, mut apart) = (0, 0);
    for golden in goldens() {
        let Some(mut file) = golden.file() else {
            continue;
        };
        let answers = |checkpoint: &Checkpoint| {
            let mut decoder = load(checkpoint, &Device::flex()).unwrap();
            // What is mapped stays when nobody can open it any more.
            let _ = std::fs::remove_file(&path);
            logits(&mut decoder, &golden.prompt, 0).unwrap()
        };
        let expected = answers(&golden.gguf().unwrap().unwrap());
        for _ in 0..2 {
            std::fs::write(&path, file.to_bytes()).unwrap();
            let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
            let [gate, up] = ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"];
            joined += usize::from(checkpoint.map([gate, up]).is_some());
            apart += usize::from(checkpoint.map([up, gate]).is_some());
            assert_eq!(answers(&checkpoint), expected, "{}", golden.name);
            file.tensors.reverse();
        }
    }
    if cfg!(target_os = "linux") {
        assert!(joined >= 10 && apart >= 10, "{joined} and {apart} files");
    }
}

#[test]
fn a_folder_in_half_precision_computes_what_its_numbers_in_single_precision_do() {
    let mut checked = 0;
    for golden in goldens() {
        for format in [Format::F16, Format::BF16] {
            let Some(pair) = golden.halves(format) else {
                continue;
            };
            checked += 1;
            let [half, single] = pair.map(|checkpoint| {
                let mut decoder = load(&checkpoint.unwrap(), &Device::flex()).unwrap();
                logits(&mut decoder, &golden.prompt, 0).unwrap().concat()
            });
            for (found, expected) in half.into_iter().zip(single) {
                let place = format!("{} in {format}", golden.name);
                close(found, expected, FLOAT, &place).unwrap();
            }
        }
    }
    assert!(checked >= 36, "only {checked} folders were checked");
}

#[test]
#[cfg(feature = "gpu")]
fn a_gpu_computes_the_same_from_both_forms() {
    match tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        Ok(selected) => {
            check_all(Golden::folder, 18, &selected.device);
            check_all(Golden::gguf, 15, &selected.device);
        }
        Err(error) => eprintln!("SKIP: {error}"),
    }
}

#[derive(serde::Deserialize)]
struct Formats {
    formats: Vec<Stored>,
}

#[derive(serde::Deserialize)]
struct Stored {
    format: String,
    /// Hexadecimal.
    bytes: String,
    values: Vec<f32>,
}

#[test]
fn blocks_made_here_are_the_bytes_python_makes_and_read_as_the_same_numbers() {
    let file = std::fs::read(golden_folder().join("formats.json")).unwrap();
    let Formats { formats } = serde_json::from_slice(&file).unwrap();
    assert_eq!(formats.len(), 11);
    for golden in formats {
        let format = fixture::named(&golden.format);
        let bytes = weights::stored(0, &golden.format, format, &[golden.values.len()]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.bytes, "{format}");
        for (found, expected) in reference::dequantize(format, &bytes)
            .iter()
            .zip(golden.values)
        {
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "{format}: {found}, expected {expected}"
            );
        }
    }
}
