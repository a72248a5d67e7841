//! What one request computed serves the next, and changes nothing but the work.

use futures::executor::LocalPool;
use futures::future::join_all;
use futures::task::LocalSpawnExt;
use proptest::prelude::*;
use tinderbox_engine::{Limits, RunnerError, Submission};
use tinderbox_protocol::Sampling;

use crate::common::*;

/// A model of many blocks of 16 tokens and a long context.
fn roomy() -> HashModel {
    let mut model = HashModel::new(200, 16, 1000);
    model.context = 1000;
    model
}

/// `count` tokens of a text of that number.
fn text(number: u32, count: usize) -> Vec<u32> {
    (0..count as u32)
        .map(|at| 4 + (at * at + number * (at + 7)) % 60)
        .collect()
}

/// Prompt rows that the steps from `since` on computed for answers of one token.
fn rows(log: &Log, since: usize) -> usize {
    let log = log.lock().unwrap();
    log[since..].iter().map(|(step, _)| step.tokens.len()).sum()
}

#[test]
fn the_second_request_of_a_500_token_prefix_computes_only_the_rest() {
    let model = roomy();
    let log = model.log.clone();
    let (_, end) = serve(model, Limits::default(), async |handle| {
        let ask = |number| [text(0, 500), text(number, 20)].concat();
        let first = answer(handle, submission(&ask(1), 1)).await;
        assert_eq!((first.cached, rows(&log, 0)), (0, 520));
        assert_eq!(first.ids(), continuation(&ask(1), 1));

        let steps = log.lock().unwrap().len();
        let second = answer(handle, submission(&ask(2), 1)).await;
        // 31 whole blocks of 16.
        assert_eq!((second.cached, rows(&log, steps)), (496, 24));
        assert_eq!(second.ids(), continuation(&ask(2), 1));

        let steps = log.lock().unwrap().len();
        let whole = answer(handle, submission(&text(0, 496), 1)).await;
        let computed = (whole.cached, rows(&log, steps));
        assert_eq!(computed, (480, 16), "the last token is always computed");
        let stats = handle.stats();
        assert_eq!(stats.prompt_tokens, 520 + 520 + 496);
        assert_eq!(stats.cached_tokens, 496 + 480);
        assert_eq!(stats.free_blocks, 200);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn the_next_turn_of_a_talk_finds_the_answer_of_the_last() {
    let (_, end) = serve(roomy(), Limits::default(), async |handle| {
        let first = answer(handle, submission(&text(0, 100), 60)).await;
        let next = [text(0, 100), first.ids(), text(1, 30)].concat();
        let second = answer(handle, submission(&next, 5)).await;
        // The last token of an answer was never computed.
        assert_eq!(second.cached, 159 / 16 * 16);
        assert_eq!(second.ids(), continuation(&next, 5));
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn samples_of_one_prompt_compute_it_once() {
    let model = roomy();
    let log = model.log.clone();
    let (_, end) = serve(model, Limits::default(), async |handle| {
        let prompt = text(0, 100);
        let sample = |seed| {
            let mut sample = submission(&prompt, 1);
            sample.sampling = Sampling {
                seed: Some(seed),
                ..Sampling::default()
            };
            answer(handle, sample)
        };
        let answers = join_all((0..4).map(sample)).await;
        let cached: Vec<_> = answers.iter().map(|answer| answer.cached).collect();
        assert_eq!(cached, [0, 96, 96, 96]);
        assert_eq!(rows(&log, 0), 100 + 3 * 4);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn a_scored_prompt_has_all_its_scores_whatever_is_in_the_cache() {
    let mut scored = submission(&text(0, 100), 4);
    scored.prompt_logprobs = Some(2);
    scored.sampling.seed = Some(1);
    let alone = serve(roomy(), Limits::default(), async |handle| {
        answer(handle, scored.clone()).await
    });
    let after = serve(roomy(), Limits::default(), async |handle| {
        answer(handle, submission(&text(0, 100), 4)).await;
        let scored = answer(handle, scored.clone()).await;
        assert_eq!(scored.cached, 0);
        scored
    });
    assert_eq!(after.0, alone.0);
    assert_eq!(after.0.started.unwrap().prompt.len(), 100);
}

#[test]
fn what_one_adapter_computed_is_not_anothers() {
    let (_, end) = serve(roomy(), Limits::default(), async |handle| {
        let cached = async |adapter| {
            let with = Submission {
                adapter,
                ..submission(&text(0, 100), 1)
            };
            answer(handle, with).await.cached
        };
        assert_eq!(cached(None).await, 0);
        assert_eq!(cached(Some(0)).await, 0);
        assert_eq!(cached(Some(1)).await, 0);
        assert_eq!(cached(Some(0)).await, 96);
        assert_eq!(cached(None).await, 96);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn what_was_cached_on_a_lost_device_is_forgotten() {
    let mut model = roomy();
    model.faults = vec![(2, RunnerError::Lost("unplugged".into()))];
    model.recovers = true;
    let (_, end) = serve(model, Limits::default(), async |handle| {
        let prompt = text(0, 100);
        for cached in [0, 0, 96] {
            let answer = answer(handle, submission(&prompt, 1)).await;
            assert_eq!(answer.ids(), continuation(&prompt, 1));
            assert_eq!(answer.cached, cached);
        }
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn a_cut_prompt_finds_what_is_left_of_it_at_its_place() {
    let mut model = HashModel::new(200, 4, 1000);
    model.context = 100;
    let (_, end) = serve(model, Limits::default(), async |handle| {
        let cut = |prompt: &[u32]| Submission {
            truncate_prompt: true,
            ..submission(prompt, 10)
        };
        let (long, left) = (text(0, 150), text(0, 150).split_off(60));
        assert_eq!(answer(handle, cut(&left)).await.cached, 0);
        let again = answer(handle, cut(&long)).await;
        assert_eq!(again.cached, 88);
        assert_eq!(again.ids(), continuation(&left, 10));
        let longer = [text(0, 150), vec![5]].concat();
        let moved = answer(handle, cut(&longer)).await;
        assert_eq!(
            (moved.cached, moved.ids()),
            (0, continuation(&longer[61..], 10))
        );
    });
    assert_eq!(end, Ok(()));
}

/// Sequences of texts with common beginnings, greedy and sampled, scored and not.
fn requests() -> impl Strategy<Value = Vec<Submission>> {
    let one = (
        0u32..3,
        0u32..3,
        0usize..60,
        0usize..20,
        0u8..4,
        any::<bool>(),
    );
    let request = |(first, second, length, answer, kind, scored)| {
        let (head, mut tail) = (text(first, 24), text(second, 60));
        tail.truncate(length);
        let mut request = submission(&[head, tail].concat(), answer);
        request.sampling.seed = Some(1);
        if kind == 0 {
            request.sampling = Sampling {
                seed: Some(9),
                top_p: 0.9,
                ..Sampling::default()
            };
            request.logprobs = Some(1);
        }
        request.prompt_logprobs = (kind == 1 && scored).then_some(1);
        request
    };
    prop::collection::vec(one.prop_map(request), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_are_those_of_an_engine_without_a_cache(
        requests in requests(),
        leaves in prop::collection::vec((any::<bool>(), 0usize..30), 12),
        blocks in 30usize..60,
        prefill_rows in 1usize..40,
        lost in 1usize..60,
    ) {
        // Alone in a new engine nobody finds anything.
        let alone: Vec<Answer> = (requests.iter())
            .map(|s| serve_simply(async |handle| answer(handle, s.clone()).await))
            .collect();
        let mut model = HashModel::new(blocks, 4, 64);
        model.faults = vec![(lost, RunnerError::Lost("unplugged".into()))];
        model.recovers = true;
        let limits = Limits { max_sequences: 4, prefill_rows, ..Limits::default() };
        let (engine, handle) = engine(model, limits);
        let mut pool = LocalPool::new();
        let end = pool.spawner().spawn_local_with_handle(engine.run()).unwrap();
        let (mut streams, mut expected) = (Vec::new(), Vec::new());
        for ((request, (stays, turns)), alone) in requests.iter().zip(leaves).zip(alone) {
            let stream = handle.submit(request.clone()).unwrap();
            (0..turns).for_each(|_| { pool.try_run_one(); });
            if stays {
                streams.push(stream);
                expected.push(alone);
            }
        }
        let answers = pool.run_until(join_all(streams.into_iter().map(collect)));
        prop_assert_eq!(answers, expected);
        handle.stop();
        prop_assert_eq!(pool.run_until(end), Ok(()));
        prop_assert_eq!(handle.stats().free_blocks, blocks);
    }
}
