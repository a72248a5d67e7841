//! Guesses save steps and change nothing else.

use futures::future::join_all;
use proptest::prelude::*;
use tinderbox_engine::{Limits, Stats, Submission};
use tinderbox_model::Want;
use tinderbox_protocol::Sampling;

use crate::common::*;

/// A model whose answers go round in circles.
fn circling(blocks: usize, max_rows: usize) -> HashModel {
    let mut model = HashModel::new(blocks, 4, max_rows);
    model.repeats = true;
    model
}

fn guessing(speculate: usize, prefill_rows: usize) -> Limits {
    Limits {
        max_sequences: 4,
        prefill_rows,
        speculate,
        ..Limits::default()
    }
}

fn answers(model: HashModel, limits: Limits, asked: &[Submission]) -> (Vec<Answer>, Stats) {
    let (answers, end) = serve(model, limits, async |handle| {
        let all = asked.iter().map(|s| answer(handle, s.clone()));
        (join_all(all).await, handle.stats())
    });
    assert_eq!(end, Ok(()));
    answers
}

#[test]
fn right_guesses_are_tokens_without_steps_of_their_own() {
    let mut asked = [submission(&[5, 6, 7], 100)];
    asked[0].sampling.seed = Some(1);
    let (plain, _) = answers(circling(64, 64), guessing(0, 32), &asked);
    let model = circling(64, 64);
    let log = model.log.clone();
    let (guessed, stats) = answers(model, guessing(8, 32), &asked);
    assert_eq!(guessed, plain);
    let log = log.lock().unwrap();
    assert_eq!(100, log.len() as u64 + stats.accepted_tokens);
    assert!(log.len() < 60, "{} steps", log.len());
    assert!(log.iter().all(|(_, want)| *want == Want::Tokens));
}

#[test]
fn wrong_guesses_leave_no_trace() {
    let sampled = |seed| {
        let mut sampled = submission(&[5, 6, 7], 100);
        sampled.sampling = Sampling {
            seed: Some(seed),
            temperature: 0.1,
            ..Sampling::default()
        };
        sampled.logprobs = Some(1);
        sampled
    };
    let asked: Vec<_> = (0..4).map(sampled).collect();
    let (guessed, stats) = answers(circling(200, 64), guessing(8, 32), &asked);
    let (plain, _) = answers(circling(200, 64), guessing(0, 32), &asked);
    assert_eq!(guessed, plain);
    let (right, all) = (stats.accepted_tokens, stats.guessed_tokens);
    assert!(0 < right && right < all, "{right} of {all}");
}

/// Sequences with every option that a choice depends on.
fn requests() -> impl Strategy<Value = Vec<Submission>> {
    let one = (0u32..6, 1usize..30, 0usize..60, 0u8..8, any::<u64>());
    let request = |(text, length, answer, kind, seed)| {
        let prompt: Vec<u32> = (0..length as u32).map(|at| 4 + (at % 7) * text).collect();
        let mut request = submission(&prompt, answer);
        let sampling = &mut request.sampling;
        sampling.seed = Some(seed);
        match kind {
            0 => {}
            1 => request.stop.ignore_eos = false,
            2 => request.logprobs = Some(2),
            3 => sampling.frequency_penalty = 0.1,
            4 => request.prompt_logprobs = Some(1),
            _ => {
                *sampling = Sampling {
                    seed: Some(seed),
                    temperature: 0.1,
                    top_p: 0.9,
                    ..Sampling::default()
                };
                request.logprobs = (kind == 5).then_some(1);
                request.stop.strings = vec!["qa".into(), "b".into()];
                request.stop.min_tokens = 20;
            }
        }
        request
    };
    prop::collection::vec(one.prop_map(request), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_are_those_without_guesses(
        requests in requests(),
        speculate in 1usize..10,
        blocks in 30usize..60,
        prefill_rows in 1usize..20,
        repeats in any::<bool>(),
    ) {
        let model = |blocks| {
            let mut model = circling(blocks, 32);
            model.repeats = repeats;
            model
        };
        let (plain, _) = answers(model(64), guessing(0, 32), &requests);
        let (guessed, stats) = answers(model(blocks), guessing(speculate, prefill_rows), &requests);
        prop_assert_eq!(guessed, plain);
        prop_assert_eq!(stats.free_blocks, blocks);
    }
}
