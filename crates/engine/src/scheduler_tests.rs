//! The scheduler without any model.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Submission;
use crate::sequence::{Answer, Desk, Vocabulary};
use crate::shared::Shared;

struct NoWords;

impl Vocabulary for NoWords {
    fn bytes(&self, _: u32) -> Vec<u8> {
        Vec::new()
    }

    fn is_special(&self, _: u32) -> bool {
        false
    }

    fn end_tokens(&self) -> &[u32] {
        &[]
    }
}

const VOCAB: usize = 10;
const BLOCK: usize = 4;

/// A scheduler and the receivers that keep its sequences alive.
struct Case {
    scheduler: Scheduler,
    shared: Arc<Shared>,
    readers: Vec<Box<dyn std::any::Any>>,
}

fn case(max_sequences: usize, prefill_rows: usize, max_rows: usize, blocks: usize) -> Case {
    guessing(max_sequences, prefill_rows, max_rows, blocks, 0)
}

/// A case with that many guesses a sequence.
fn guessing(
    max_sequences: usize,
    prefill_rows: usize,
    max_rows: usize,
    blocks: usize,
    speculate: usize,
) -> Case {
    let limits = Limits {
        max_sequences,
        prefill_rows,
        logit_bytes: 3 * VOCAB * 4,
        speculate,
        ..Limits::default()
    };
    Case {
        scheduler: Scheduler::new(&limits, Blocks::new(blocks, BLOCK), max_rows, VOCAB),
        shared: Arc::new(Shared::new(
            blocks * BLOCK,
            VOCAB,
            1000,
            0,
            Arc::new(|| std::time::Duration::ZERO),
        )),
        readers: Vec::new(),
    }
}

impl Case {
    /// A prompt that begins as no other of the first ten.
    fn add(&mut self, prompt: usize, max_tokens: usize, prompt_logprobs: bool) {
        let own = self.readers.len() % VOCAB;
        let tokens = (0..prompt).map(|at| if at == 0 { own as u32 } else { 1 });
        self.ask(tokens.collect(), max_tokens, prompt_logprobs);
    }

    fn ask(&mut self, tokens: Vec<u32>, max_tokens: usize, prompt_logprobs: bool) {
        let mut submission = Submission {
            id: format!("{}", self.readers.len()),
            tokens,
            max_tokens: Some(max_tokens),
            prompt_logprobs: prompt_logprobs.then_some(1),
            ..Submission::default()
        };
        submission.sampling.temperature = 0.0;
        let (sender, reader) = async_channel::unbounded();
        self.readers.push(Box::new(reader));
        let (bounds, place) = ((self.shared.context, VOCAB), self.shared.enter().unwrap());
        let sequence = Sequence::new(submission, bounds, 0, &NoWords, place, sender).unwrap();
        self.scheduler.waiting.push_back(sequence);
    }

    /// Rows of each running sequence in the next step, guesses among them, by id; takes the step in with token 2.
    fn step(&mut self) -> Vec<(String, usize)> {
        let plan = self.scheduler.plan(false).unwrap();
        let rows: Vec<_> = (plan.parts.iter())
            .map(|part| {
                let id = self.scheduler.running[part.sequence].id.clone();
                (id, part.rows + part.draft.len())
            })
            .collect();
        self.take_in(&plan);
        rows
    }

    fn take_in(&mut self, plan: &Plan) {
        let mut desk = Desk {
            vocabulary: &NoWords,
            vocab: VOCAB,
            candidates: Vec::new(),
        };
        let mut row = [0.0; VOCAB];
        row[2] = 1.0;
        let logits = row.repeat(plan.step.outputs.len());
        let mut ended = Vec::new();
        for part in &plan.parts {
            let range = part.outputs.start * VOCAB..part.outputs.end * VOCAB;
            let answer = Answer::Logits(&logits[range]);
            if self.scheduler.advance(part, answer, &mut desk).unwrap() {
                ended.push(part.sequence);
            }
        }
        ended.sort_unstable();
        for index in ended.into_iter().rev() {
            self.scheduler.remove(index);
        }
    }
}

fn rows(list: &[(&str, usize)]) -> Vec<(String, usize)> {
    list.iter()
        .map(|(id, rows)| (id.to_string(), *rows))
        .collect()
}

#[test]
fn answers_go_on_while_a_long_prompt_is_read_in_chunks() {
    let mut case = case(4, 6, 64, 64);
    case.add(3, 20, false);
    assert_eq!(case.step(), rows(&[("0", 3)]));
    case.add(14, 20, false);
    case.add(2, 20, false);
    assert_eq!(case.step(), rows(&[("0", 1), ("1", 6)]));
    assert_eq!(case.step(), rows(&[("0", 1), ("1", 6)]));
    assert_eq!(case.step(), rows(&[("0", 1), ("1", 2), ("2", 2)]));
    assert_eq!(case.step(), rows(&[("0", 1), ("1", 1), ("2", 1)]));
}

#[test]
fn a_step_never_has_more_rows_than_the_runner_takes() {
    let mut case = case(100, 100, 5, 64);
    for _ in 0..8 {
        case.add(9, 5, false);
    }
    while !case.scheduler.is_idle() {
        let plan = case.scheduler.plan(false).unwrap();
        assert!((1..=5).contains(&plan.step.tokens.len()));
        case.take_in(&plan);
    }
}

#[test]
fn scored_prompts_bring_back_a_bounded_number_of_rows() {
    let mut case = case(4, 100, 100, 64);
    case.add(10, 1, true);
    case.add(10, 1, true);
    // Three rows of logits fit the bound; the row that chooses comes on top.
    for (id, rows_now, outputs) in [
        ("0", 3, 3),
        ("0", 3, 3),
        ("0", 4, 4),
        ("1", 3, 3),
        ("1", 3, 3),
        ("1", 4, 4),
    ] {
        let plan = case.scheduler.plan(false).unwrap();
        assert_eq!(plan.step.outputs.len(), outputs);
        let [part] = &plan.parts[..] else {
            panic!("{:?}", plan.parts)
        };
        assert_eq!(
            (case.scheduler.running[part.sequence].id.as_str(), part.rows),
            (id, rows_now)
        );
        case.take_in(&plan);
    }
    assert!(case.scheduler.is_idle());
}

#[test]
fn logits_are_asked_only_where_somebody_reads_them() {
    let mut case = case(4, 100, 100, 64);
    case.add(5, 3, false);
    assert_eq!(case.scheduler.plan(false).unwrap().want, Want::Tokens);
    case.add(5, 3, true);
    assert_eq!(case.scheduler.plan(false).unwrap().want, Want::Logits);
}

#[test]
fn the_youngest_gives_its_blocks_back_and_comes_first_again() {
    // 4 blocks of 4 tokens: two prompts of 4 with one spare block each, then both grow.
    let mut case = case(4, 100, 100, 4);
    case.add(4, 12, false);
    case.add(4, 12, false);
    case.add(1, 1, false);
    assert_eq!(case.step(), rows(&[("0", 4), ("1", 4)]));
    for _ in 0..4 {
        assert_eq!(case.step(), rows(&[("0", 1), ("1", 1)]));
    }
    assert_eq!(case.step(), rows(&[("0", 1)]));
    assert_eq!(case.scheduler.preempted, 1);
    let waiting: Vec<_> = case
        .scheduler
        .waiting
        .iter()
        .map(|s| s.id.as_str())
        .collect();
    assert_eq!(waiting, ["1", "2"]);
    for _ in 0..6 {
        assert_eq!(case.step(), rows(&[("0", 1)]));
    }
    assert_eq!(
        case.step(),
        rows(&[("1", 9)]),
        "prompt and answer are computed again, for the oldest took all blocks"
    );
}

#[test]
fn a_sequence_put_back_finds_what_is_left_of_it() {
    let mut case = case(4, 100, 100, 5);
    case.add(8, 4, false);
    case.add(8, 4, false);
    assert_eq!(case.step(), rows(&[("0", 8), ("1", 8)]));
    assert_eq!(case.step(), rows(&[("0", 1)]), "one block for two answers");
    assert_eq!(case.scheduler.preempted, 1);
    case.step();
    case.step();
    assert_eq!(case.step(), rows(&[("1", 1)]), "its prompt is still there");
}

#[test]
fn of_equal_prompts_the_first_is_computed_and_the_others_find_it() {
    let mut case = case(4, 16, 100, 64);
    for _ in 0..3 {
        case.ask(vec![1; 30], 2, false);
    }
    assert_eq!(case.step(), rows(&[("0", 16)]), "the others wait");
    // Its last block is not full and nobody's to share.
    assert_eq!(case.step(), rows(&[("0", 14)]));
    assert_eq!(case.step(), rows(&[("0", 1), ("1", 2), ("2", 2)]));
    assert_eq!(case.step(), rows(&[("1", 1), ("2", 1)]));
    assert!(case.scheduler.is_idle());
}

#[test]
fn a_scored_prompt_is_computed_whole_and_what_it_leaves_is_found() {
    let mut case = case(4, 100, 100, 64);
    case.ask(vec![1; 12], 1, false);
    case.step();
    case.ask(vec![1; 12], 1, true);
    for chunk in [3, 3, 3, 3] {
        assert_eq!(case.step(), rows(&[("1", chunk)]));
    }
    case.ask(vec![1; 13], 1, false);
    assert_eq!(case.step(), rows(&[("2", 1)]));
}

#[test]
fn guesses_take_rows_nobody_needs_and_no_block() {
    // Two rows are neither for prompts nor for the answer.
    let mut case = guessing(4, 5, 8, 64, 4);
    // Token 2 is all that ever comes.
    case.ask(vec![2; 4], 20, false);
    assert_eq!(case.step(), rows(&[("0", 4)]));
    assert_eq!(case.step(), rows(&[("0", 2)]), "one guess to begin with");
    assert_eq!(case.step(), rows(&[("0", 2)]), "one is left in its block");
    assert_eq!(case.step(), rows(&[("0", 3)]), "more after right ones");
    case.ask(vec![1; 20], 2, false);
    assert_eq!(
        case.step(),
        rows(&[("0", 1), ("1", 5)]),
        "its block is full"
    );
    assert_eq!(case.step(), rows(&[("0", 3), ("1", 5)]));
}

proptest! {
    #[test]
    fn every_mix_ends_with_every_block_free(
        sequences in prop::collection::vec((1usize..20, 0usize..12, 0u32..3, any::<bool>()), 1..12),
        max_sequences in 1usize..6,
        prefill_rows in 1usize..9,
        max_rows in 1usize..12,
        blocks in 8usize..14,
    ) {
        let mut case = case(max_sequences, prefill_rows, max_rows, blocks);
        for (prompt, max_tokens, text, scored) in sequences {
            // Texts that share their first block, or all.
            let tokens = (0..prompt).map(|at| if at < BLOCK { 1 } else { text });
            case.ask(tokens.collect(), max_tokens, scored);
        }
        for _ in 0..20_000 {
            let Some(plan) = case.scheduler.plan(false) else { break };
            let step = &plan.step;
            prop_assert!(!step.tokens.is_empty() && step.tokens.len() <= max_rows);
            let mut holders = BTreeMap::<u32, usize>::new();
            for id in case.scheduler.running.iter().flat_map(|s| &s.table) {
                *holders.entry(*id).or_default() += 1;
            }
            prop_assert_eq!(holders.len() + case.scheduler.blocks.free(), blocks);
            for (position, sequence) in step.positions.iter().zip(&step.sequences) {
                let table = &step.tables[*sequence as usize];
                let place = table.get(*position as usize / BLOCK);
                prop_assert_eq!(place.map(|id| holders[id]), Some(1), "its own block");
            }
            case.take_in(&plan);
        }
        prop_assert!(case.scheduler.is_idle());
        prop_assert_eq!(case.scheduler.blocks.free(), blocks);
    }
}
