//! Steps that a GPU has recorded: the same numbers as when each operation is handed over.
#![cfg(feature = "gpu")]

use tinderbox_kernels::{Choice, on_cpu, reference, select, shared_from};
use tinderbox_model::Draw;

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
            ..Step::default()
        };
        let output = block_on(self.decoder.forward(&step, Want::Logits)).unwrap();
        let best = block_on(self.decoder.forward(&step, Want::Tokens)).unwrap();
        let Output::Logits(logits) = output else {
            panic!("asked for logits, got {output:?}");
        };
        let vocab = self.decoder.config().vocab;
        let logits: Vec<Vec<f32>> = logits.chunks(vocab).map(<[f32]>::to_vec).collect();
        assert_eq!(
            best,
            Output::Tokens(logits.iter().map(|row| Some(argmax(row))).collect())
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

/// The tokens that three sequences choose, each step begun when the one before is known, or handed over before that where
/// the device takes it. How often it did.
fn chosen(
    checkpoint: &Checkpoint,
    device: &Device,
    ahead: bool,
    draw: impl Fn(usize) -> Option<Draw>,
) -> (Vec<Vec<Option<u32>>>, usize) {
    let mut answering = Answering::new(checkpoint, device);
    for (s, prompt) in PROMPTS.into_iter().enumerate() {
        answering.read(s, 0..prompt);
    }
    let decoder = &mut answering.decoder;
    let step = |at: usize, tokens: &[Option<u32>]| Step {
        tokens: tokens.iter().map(|token| token.unwrap()).collect(),
        positions: PROMPTS.map(|prompt| (prompt + at) as u32).to_vec(),
        sequences: vec![0, 1, 2],
        // A block more now and then.
        tables: (0..3)
            .map(|s| {
                (0..=(PROMPTS[s] + at) / BLOCK)
                    .map(|b| (4 * b + s) as u32)
                    .collect()
            })
            .collect(),
        outputs: vec![0, 1, 2],
        draws: (0..3).filter_map(|s| draw(3 * at + s)).collect(),
        ..Step::default()
    };
    let mut all = vec![vec![Some(1), Some(2), Some(3)]];
    let (mut begun, mut followed) = (false, 0);
    for at in 0..STEPS {
        if !begun {
            decoder.begin(&step(at, &all[at]), Want::Tokens).unwrap();
        }
        // What it has for tokens is nothing to go by.
        begun = ahead && at + 1 < STEPS && decoder.follow(&step(at + 1, &[Some(0); 3])).unwrap();
        followed += usize::from(begun);
        let Ok(Output::Tokens(tokens)) = block_on(decoder.answer()) else {
            panic!("it was asked for tokens");
        };
        all.push(tokens);
    }
    assert!(matches!(block_on(decoder.answer()), Err(Error::Step(_))));
    (all, followed)
}

#[test]
fn a_step_that_follows_goes_on_from_what_was_chosen() {
    let mut devices = vec![Device::flex()];
    match select(Choice::Gpu) {
        Ok(selected) => devices.push(selected.device),
        Err(_) => eprintln!("SKIP: no GPU, and none in software"),
    }
    let drawn = |number: usize| {
        Some(Draw {
            temperature: if number.is_multiple_of(4) { 0.0 } else { 1.3 },
            top_k: 50,
            top_p: 0.95,
            min_p: 0.01,
            unit: (number * 29 % 100) as f32 / 100.0,
        })
    };
    for name in ["llama", "gemma2"] {
        let checkpoint = longer(name).folder().unwrap().unwrap();
        for device in &devices {
            let (best, none) = chosen(&checkpoint, device, false, |_| None);
            let (ahead, some) = chosen(&checkpoint, device, true, |_| None);
            assert_eq!((best, none), (ahead, 0), "{name}");
            // The first step of a shape is recorded, those after it follow; a CPU records nothing.
            let lengths = if shared_from(device).is_some() { 2 } else { 1 };
            let most = if on_cpu(device) {
                0
            } else {
                STEPS - 1 - lengths
            };
            assert_eq!(some, most, "{name}");
            let (one, _) = chosen(&checkpoint, device, false, drawn);
            let (other, some) = chosen(&checkpoint, device, true, drawn);
            assert_eq!((one, some), (other, most), "{name}");
        }
    }
}

#[test]
fn a_prompts_token_is_drawn_from_its_logits() {
    let mut devices = vec![Device::flex()];
    devices.extend(select(Choice::Gpu).ok().map(|selected| selected.device));
    let checkpoint = longer("llama").folder().unwrap().unwrap();
    for device in &devices {
        let mut decoder = Answering::new(&checkpoint, device).decoder;
        let draw = |unit| Draw {
            temperature: 1.5,
            top_k: 0,
            top_p: 0.98,
            min_p: 0.0,
            unit,
        };
        // Two sequences, in another order than theirs.
        let mut step = Step {
            tokens: (3..12).collect(),
            positions: vec![0, 1, 2, 3, 4, 0, 1, 2, 3],
            sequences: vec![0, 0, 0, 0, 0, 1, 1, 1, 1],
            tables: vec![vec![0], vec![1]],
            outputs: vec![8, 4],
            ..Step::default()
        };
        let Ok(Output::Logits(logits)) = block_on(decoder.forward(&step, Want::Logits)) else {
            panic!("it was asked for logits");
        };
        step.draws = vec![draw(0.3), draw(0.8)];
        let words: Vec<i32> = step.draws.iter().flat_map(Draw::words).collect();
        let (mut drawn, vocab) = ([0; 2], decoder.config().vocab);
        reference::choose(&mut drawn, &logits, vocab, Some(&words));
        let want = drawn.map(|token| Some(token as u32)).to_vec();
        let got = block_on(decoder.forward(&step, Want::Tokens)).unwrap();
        assert_eq!(got, Output::Tokens(want));
        // As many draws as outputs, or none.
        step.draws.pop();
        let error = block_on(decoder.forward(&step, Want::Tokens)).unwrap_err();
        assert!(matches!(error, Error::Step(_)), "{error}");
    }
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
