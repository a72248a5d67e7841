//! Steps that a GPU has recorded: the same numbers as when each operation is handed over.
#![cfg(feature = "gpu")]

use tinderbox_kernels::{Choice, select, shared_from};

use super::*;

/// Tokens of each sequence before its answer begins; the first passes 256 then, where steps take another shape.
const PROMPTS: [usize; 3] = [250, 3, 40];
const STEPS: usize = 12;
const BLOCKS: usize = 36;

struct Answering {
    decoder: Decoder,
    /// All tokens of each sequence, and of one that is only read.
    tokens: Vec<Vec<u32>>,
}

impl Answering {
    fn new(checkpoint: &Checkpoint, device: &Device) -> Answering {
        let options = LoadOptions {
            context: BLOCK * BLOCKS,
            block_size: BLOCK,
            blocks: 4 * BLOCKS,
            kv: KvType::F32,
        };
        let decoder = block_on(Decoder::load(checkpoint, device, options)).unwrap();
        let vocab = decoder.config().vocab;
        let token = |s: usize, i: usize| ((7 * i + 31 * s + i * i * (s + 3)) % vocab) as u32;
        let all = |s| (0..PROMPTS[s % 3] + STEPS).map(|i| token(s, i)).collect();
        Answering {
            decoder,
            tokens: (0..4).map(all).collect(),
        }
    }

    /// Rows of a sequence each, and their logits.
    fn step(&mut self, rows: &[(usize, usize)]) -> Vec<Vec<f32>> {
        let mut sequences: Vec<usize> = rows.iter().map(|row| row.0).collect();
        sequences.dedup();
        let table = |s: &usize| (0..BLOCKS).map(|b| (4 * b + s) as u32).collect();
        let at = |s: usize| sequences.iter().position(|other| *other == s);
        let step = Step {
            tokens: rows.iter().map(|(s, i)| self.tokens[*s][*i]).collect(),
            positions: rows.iter().map(|row| row.1 as u32).collect(),
            sequences: rows.iter().map(|row| at(row.0).unwrap() as u32).collect(),
            tables: sequences.iter().map(table).collect(),
            outputs: (0..rows.len() as u32).collect(),
            adapters: Vec::new(),
        };
        let output = block_on(self.decoder.forward(&step, Want::Logits)).unwrap();
        let best = block_on(self.decoder.forward(&step, Want::Argmax)).unwrap();
        let Output::Logits(logits) = output else {
            panic!("asked for logits, got {output:?}");
        };
        let vocab = self.decoder.config().vocab;
        let logits: Vec<Vec<f32>> = logits.chunks(vocab).map(<[f32]>::to_vec).collect();
        assert_eq!(
            best,
            Output::Tokens(logits.iter().map(|row| argmax(row)).collect())
        );
        logits
    }

    fn read(&mut self, sequence: usize, tokens: std::ops::Range<usize>) -> Vec<Vec<f32>> {
        let rows: Vec<_> = tokens.map(|i| (sequence, i)).collect();
        self.step(&rows)
    }
}

/// Three sequences answer together and alone, while another one's prompt is read.
fn check_answers(golden: &Golden, device: &Device) {
    let checkpoint = golden.folder().unwrap().unwrap();
    let mut whole = Answering::new(&checkpoint, device);
    let expected: Vec<_> = (0..3)
        .map(|s| whole.read(s, 0..PROMPTS[s] + STEPS))
        .collect();
    let mut answering = Answering::new(&checkpoint, device);
    for (s, prompt) in PROMPTS.into_iter().enumerate() {
        answering.read(s, 0..prompt);
    }
    for step in 0..STEPS {
        let together = if step % 4 == 3 { 1 } else { 3 };
        let rows: Vec<_> = (0..3).map(|s| (s, PROMPTS[s] + step)).collect();
        let found: Vec<_> = rows
            .chunks(together)
            .flat_map(|rows| answering.step(rows))
            .collect();
        for ((found, expected), (s, at)) in found.iter().zip(&expected).zip(rows) {
            let off = found.iter().zip(&expected[at]).map(|(a, b)| (a - b).abs());
            let off = off.fold(0.0, f32::max);
            assert!(
                off < FLOAT,
                "{}, sequence {s}, token {at}: off by {off}",
                golden.name
            );
        }
        answering.read(3, 5 * step..5 * step + 9);
    }
    // One row and three, logits and tokens, and where it matters contexts of up to 256 tokens and of more.
    let lengths = if shared_from(device).is_some() { 2 } else { 1 };
    assert_eq!(answering.decoder.recordings(), 4 * lengths);
}

fn longer(name: &str) -> Golden {
    let mut golden = named(name);
    golden.config["max_position_embeddings"] = (BLOCK * BLOCKS).into();
    golden
}

#[test]
fn recorded_steps_are_the_steps() {
    let Ok(selected) = select(Choice::Gpu) else {
        return eprintln!("SKIP: no GPU, and none in software");
    };
    // Plain, and with windows and soft caps.
    for name in ["llama", "gemma2"] {
        check_answers(&longer(name), &selected.device);
    }
}

#[test]
fn two_threads_record_on_one_device() {
    let Ok(selected) = select(Choice::Gpu) else {
        return eprintln!("SKIP: no GPU, and none in software");
    };
    std::thread::scope(|scope| {
        for name in ["qwen3", "llama"] {
            let device = &selected.device;
            scope.spawn(move || check_answers(&longer(name), device));
        }
    });
}
