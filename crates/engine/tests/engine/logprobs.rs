//! Reported log-probabilities are those of the model, whatever the sampler does.

use futures::future::join_all;
use tinderbox_engine::{Limits, Submission};
use tinderbox_protocol::{Sampling, TokenLogprob};

use crate::common::*;

/// Log-probability of each token after `tokens`, in f64.
fn direct(tokens: &[u32]) -> Vec<f64> {
    let logits = logits_after(tokens);
    let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    logits.iter().map(|l| f64::from(*l) - sum.ln()).collect()
}

fn check(entry: &TokenLogprob, before: &[u32], id: u32, count: usize) {
    let expected = direct(before);
    assert_eq!(entry.id, id);
    let logprob = entry.logprob.unwrap();
    assert!((f64::from(logprob) - expected[id as usize]).abs() < 1e-5);
    assert_eq!(entry.top.len(), count);
    let best = argmax(&logits_after(before));
    if count > 0 {
        assert_eq!(entry.top[0].id, best);
        assert_eq!(
            entry.top[0].logprob == logprob,
            best == id,
            "only the argmax is greedy"
        );
    }
    assert!(entry.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
    for top in &entry.top {
        assert!((f64::from(top.logprob) - expected[top.id as usize]).abs() < 1e-5);
        if top.id == id {
            assert_eq!(top.logprob.to_bits(), logprob.to_bits());
        }
    }
}

#[test]
fn prompt_logprobs_are_those_of_a_direct_computation_in_any_batch() {
    let prompts: Vec<Vec<u32>> = (1..9u32)
        .map(|n| (0..n * n).map(|t| (t * t + n) % 64).collect())
        .collect();
    for (blocks, prefill_rows, logit_rows) in [(256, 512, 100), (32, 7, 3)] {
        let limits = Limits {
            prefill_rows,
            logit_bytes: logit_rows * VOCAB * 4,
            ..Limits::default()
        };
        let (answers, end) = serve(HashModel::new(blocks, 4, 64), limits, async |handle| {
            join_all(prompts.iter().map(|prompt| {
                let scored = Submission {
                    prompt_logprobs: Some(1),
                    ..submission(prompt, 1)
                };
                answer(handle, scored)
            }))
            .await
        });
        assert_eq!(end, Ok(()));
        for (prompt, answer) in prompts.iter().zip(answers) {
            let entries = &answer.started.unwrap().prompt;
            assert_eq!(entries.len(), prompt.len());
            assert_eq!((entries[0].id, entries[0].logprob), (prompt[0], None));
            assert!(entries[0].top.is_empty());
            for at in 1..prompt.len() {
                check(&entries[at], &prompt[..at], prompt[at], 1);
            }
            assert_eq!(answer.tokens.len(), 1);
        }
    }
}

#[test]
fn an_added_bos_conditions_the_prompt_and_has_no_entry() {
    let tokens = [1, 40, 41, 42];
    let scored = Submission {
        added_bos: true,
        prompt_logprobs: Some(2),
        ..submission(&tokens, 0)
    };
    let answer = serve_simply(async |handle| answer(handle, scored).await);
    let entries = &answer.started.as_ref().unwrap().prompt;
    assert_eq!(entries.len(), 3);
    for (index, entry) in entries.iter().enumerate() {
        check(entry, &tokens[..=index], tokens[index + 1], 2);
    }
}

#[test]
fn no_tokens_to_generate_only_scores_the_prompt() {
    for prompt in [vec![7], vec![7, 8, 9, 10], vec![7; CONTEXT]] {
        let scored = Submission {
            prompt_logprobs: Some(0),
            ..submission(&prompt, 0)
        };
        let answer = serve_simply(async |handle| answer(handle, scored).await);
        assert_eq!(answer.started.as_ref().unwrap().prompt.len(), prompt.len());
        assert_eq!(
            (answer.tokens.len(), answer.finish().completion_tokens),
            (0, 0)
        );
    }
}

#[test]
fn generated_logprobs_know_nothing_of_temperature_penalties_and_bias() {
    let mut odd = submission(&[3, 4, 5], 25);
    odd.logprobs = Some(20);
    odd.sampling = Sampling {
        temperature: 2.0,
        top_k: 30,
        presence_penalty: 1.5,
        repetition_penalty: 1.3,
        logit_bias: [(9, 3.0)].into(),
        seed: Some(1),
        ..Sampling::default()
    };
    let answer = serve_simply(async |handle| answer(handle, odd).await);
    let mut tokens = vec![3, 4, 5];
    for token in &answer.tokens {
        check(token.logprob.as_ref().unwrap(), &tokens, token.id, 20);
        tokens.push(token.id);
    }
    assert_eq!(tokens.len(), 28);
}
