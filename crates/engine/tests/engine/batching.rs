//! Many sequences at once give what each gives alone.

use std::sync::atomic::Ordering;

use futures::future::join_all;
use tinderbox_engine::{Limits, Submission};
use tinderbox_model::Want;
use tinderbox_protocol::Sampling;

use crate::common::*;

/// Eight prompts of different lengths, four greedy and four sampled.
fn eight() -> Vec<Submission> {
    (0..8usize)
        .map(|i| {
            let prompt: Vec<u32> = (0..3 + 5 * i as u32)
                .map(|t| (t * 7 + i as u32) % 64)
                .collect();
            let mut submission = submission(&prompt, 20 + i);
            let temperature = if i % 2 == 1 { 0.7 } else { 0.0 };
            submission.sampling = Sampling {
                seed: Some(i as u64),
                top_p: 0.9,
                temperature,
                ..Sampling::default()
            };
            submission
        })
        .collect()
}

fn alone(submissions: &[Submission]) -> Vec<Answer> {
    let one = |s: &Submission| serve_simply(async |handle| answer(handle, s.clone()).await);
    submissions.iter().map(one).collect()
}

#[test]
fn one_sequence_is_what_the_plain_loop_gives() {
    let prompt = [5, 6, 7, 8, 9];
    let answer = serve_simply(async |handle| answer(handle, submission(&prompt, 40)).await);
    assert_eq!(answer.ids(), continuation(&prompt, 40));
}

#[test]
fn eight_together_are_eight_alone_with_chunked_prompts_and_too_few_blocks() {
    let submissions = eight();
    let expected = alone(&submissions);
    for (blocks, prefill_rows, max_rows, ahead) in [
        (256, 512, 512, false),
        (256, 512, 512, true),
        (256, 5, 16, true),
        (32, 5, 16, false),
        (32, 5, 16, true),
        (30, 3, 9, true),
    ] {
        let limits = Limits {
            prefill_rows,
            ..Limits::default()
        };
        let mut model = HashModel::new(blocks, 4, max_rows);
        model.ahead = ahead;
        let followed = model.followed.clone();
        let ((together, stats), end) = serve(model, limits, async |handle| {
            let all = submissions.iter().map(|s| answer(handle, s.clone()));
            (join_all(all).await, handle.stats())
        });
        assert_eq!(end, Ok(()));
        for (together, alone) in together.iter().zip(&expected) {
            assert_eq!(
                together, alone,
                "{blocks} blocks, {prefill_rows} prompt rows"
            );
        }
        assert_eq!(
            stats.preempted > 0,
            blocks < 64,
            "{} with {blocks} blocks",
            stats.preempted
        );
        assert_eq!(stats.generated_tokens, (20..28).sum::<u64>());
        assert_eq!(followed.load(Ordering::Relaxed) > 0, ahead);
    }
}

#[test]
fn steps_that_follow_leave_as_the_answers_do() {
    let model = HashModel::new(256, 4, 64);
    let (log, followed) = (model.log.clone(), model.followed.clone());
    let (answers, end) = serve(model, Limits::default(), async |handle| {
        let long = answer(handle, submission(&[5, 6, 7], 60));
        let late = async {
            while followed.load(Ordering::Relaxed) < 5 {
                one_step().await;
            }
            let (before, asked) = (followed.load(Ordering::Relaxed), submission(&[8, 9], 4));
            let stream = handle.submit(asked).unwrap();
            // Whoever comes is in the step after the one that is on its way.
            while log.lock().unwrap().last().unwrap().0.tables.len() < 2 {
                one_step().await;
            }
            assert!(followed.load(Ordering::Relaxed) <= before + 1);
            collect(stream).await
        };
        futures::join!(long, late)
    });
    assert_eq!(end, Ok(()));
    assert_eq!(answers.0.ids(), continuation(&[5, 6, 7], 60));
    assert_eq!(answers.1.ids(), continuation(&[8, 9], 4));
    // One step for the prompts and each token: an answer that ends at its limit takes none with it.
    assert!(log.lock().unwrap().len() <= 61);
}

#[test]
fn a_greedy_batch_brings_tokens_back_and_no_logits() {
    let model = HashModel::new(64, 4, 64);
    let log = model.log.clone();
    let (_, end) = serve(model, Limits::default(), async |handle| {
        let two = [submission(&[1, 2, 3], 5), submission(&[4, 5], 5)];
        join_all(two.map(|s| answer(handle, s))).await
    });
    assert_eq!(end, Ok(()));
    assert!(
        log.lock()
            .unwrap()
            .iter()
            .all(|(_, want)| *want == Want::Tokens)
    );
}

#[test]
fn a_seed_gives_the_same_text_and_no_seed_a_fresh_one_that_can_be_used_again() {
    let sampled = |seed| {
        let mut submission = submission(&[9, 8, 7], 30);
        submission.sampling = Sampling {
            seed,
            ..Sampling::default()
        };
        submission
    };
    serve_simply(async |handle| {
        let [a, b, c, d] = [Some(5), Some(5), None, None].map(|seed| answer(handle, sampled(seed)));
        let (a, b, c, d) = futures::join!(a, b, c, d);
        assert_eq!(a, b);
        assert_eq!(a.finish().seed, 5);
        assert_ne!(c.ids(), d.ids());
        let again = answer(handle, sampled(Some(c.finish().seed))).await;
        assert_eq!(again, c);
    });
}

#[test]
fn penalties_count_what_was_generated_even_before_a_preemption() {
    // Each begins in its own way, so that they share no block.
    let prompts = [3, 4, 5, 6].map(|first| [first, 1, 4, 1, 5]);
    let penalized = |prompt: &[u32]| {
        let mut penalized = submission(prompt, 60);
        penalized.sampling.presence_penalty = 0.5;
        penalized.sampling.frequency_penalty = 1.5;
        penalized.sampling.repetition_penalty = 1.2;
        penalized
    };
    let expected = |prompt: &[u32]| {
        let mut tokens = prompt.to_vec();
        while tokens.len() < 65 {
            let mut logits = logits_after(&tokens);
            for (id, logit) in (0..).zip(&mut logits) {
                let count = tokens[5..].iter().filter(|token| **token == id).count();
                if tokens.contains(&id) {
                    *logit = if *logit > 0.0 {
                        *logit / 1.2
                    } else {
                        *logit * 1.2
                    };
                }
                if count > 0 {
                    *logit -= 0.5 + 1.5 * count as f32;
                }
            }
            tokens.push(argmax(&logits));
        }
        tokens.split_off(5)
    };
    let model = HashModel::new(32, 4, 64);
    let (answers, _) = serve(model, Limits::default(), async |handle| {
        let all = prompts.iter().map(|p| answer(handle, penalized(p)));
        let answers = join_all(all).await;
        assert!(handle.stats().preempted > 0);
        answers
    });
    for (prompt, answer) in prompts.iter().zip(answers) {
        assert_eq!(answer.ids(), expected(prompt));
        let plain = continuation(prompt, 60);
        assert_ne!(answer.ids(), plain, "the penalties change something");
    }
}
