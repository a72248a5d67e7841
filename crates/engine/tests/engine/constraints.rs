//! Answers that must look like something, over a model without weights.

use std::sync::Arc;

use futures::future::join_all;
use tinderbox_engine::{Guide, Guides, Limits, RunnerError, Submission};
use tinderbox_protocol::{Constraint, Error, FinishReason, Sampling};

use crate::common::*;

/// The tokens that spell `a` or `b`.
const AB: [u32; 6] = [4, 5, 30, 31, 56, 57];

fn regex(expression: &str) -> Guide {
    let guides = Guides::new(Arc::new(Words), VOCAB);
    guides.guide(&Constraint::Regex(expression.into())).unwrap()
}

fn guided(expression: &str, max_tokens: usize) -> Submission {
    let mut submission = submission(&[5, 6, 7], max_tokens);
    submission.stop.ignore_eos = false;
    submission.guide = Some(regex(expression));
    submission
}

fn sampled(seed: u64) -> Sampling {
    Sampling {
        seed: Some(seed),
        ..Sampling::default()
    }
}

/// The best of `allowed` after `tokens`.
fn best(tokens: &[u32], allowed: &[u32]) -> u32 {
    let logits = logits_after(tokens);
    let by_logit = |a: &&u32, b: &&u32| logits[**a as usize].total_cmp(&logits[**b as usize]);
    *allowed.iter().max_by(by_logit).unwrap()
}

#[test]
fn a_greedy_answer_takes_the_best_token_that_is_allowed() {
    let answer = serve_simply(async |handle| answer(handle, guided("[ab]{6}", 20)).await);
    let mut tokens = vec![5, 6, 7];
    for _ in 0..6 {
        tokens.push(best(&tokens, &AB));
    }
    assert_eq!(answer.ids(), tokens[3..]);
    assert_eq!(answer.finish().reason, FinishReason::Complete);
    assert_eq!(answer.text().len(), 6);
}

#[test]
fn an_end_token_is_allowed_exactly_where_the_answer_is_complete() {
    let answer = serve_simply(async |handle| answer(handle, guided("([ab]{3})+", 100)).await);
    let mut tokens = vec![5, 6, 7];
    while tokens.last() != Some(&EOS) && tokens.len() < 103 {
        let complete = tokens.len() > 3 && tokens.len() % 3 == 0;
        let allowed = if complete {
            &[&AB[..], &[EOS]].concat()[..]
        } else {
            &AB
        };
        tokens.push(best(&tokens, allowed));
    }
    assert_eq!(answer.ids(), tokens[3..]);
    assert_eq!(answer.finish().reason, FinishReason::EndToken(EOS));
    assert_eq!(answer.text().len(), tokens.len() - 4);
}

#[test]
fn every_way_of_choosing_stays_within_the_constraint() {
    let odd = Sampling {
        temperature: 1.7,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.01,
        typical_p: 0.95,
        repetition_penalty: 1.5,
        presence_penalty: 1.0,
        frequency_penalty: 0.5,
        logit_bias: [(9, 100.0), (EOS, 100.0), (AB[0], -50.0)].into(),
        ..Sampling::default()
    };
    let texts = serve_simply(async |handle| {
        let answers = (0..40).map(|seed| {
            let mut submission = guided("a[ab]{2}c|b[a-f]{9}", 20);
            submission.sampling = match seed % 2 {
                0 => sampled(seed),
                _ => Sampling {
                    seed: Some(seed),
                    ..odd.clone()
                },
            };
            answer(handle, submission)
        });
        join_all(answers).await
    });
    let mut kinds = [0, 0];
    for answer in &texts {
        let text = answer.text();
        let (first, rest) = text.split_at(1);
        match first {
            "a" => {
                assert!(rest.len() == 3 && rest.ends_with('c'), "{text}");
                assert!(
                    rest[..2].bytes().all(|byte| b"ab".contains(&byte)),
                    "{text}"
                );
                kinds[0] += 1;
            }
            _ => {
                assert_eq!((first, rest.len()), ("b", 9), "{text}");
                assert!(
                    rest.bytes().all(|byte| (b'a'..=b'f').contains(&byte)),
                    "{text}"
                );
                kinds[1] += 1;
            }
        }
        assert_eq!(answer.finish().reason, FinishReason::Complete);
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn a_batch_of_constrained_and_free_answers_gives_what_each_gives_alone() {
    let submissions: Vec<Submission> = (0..12)
        .map(|i| {
            let mut submission = match i % 3 {
                0 => submission(&[i + 4, 9], 30),
                1 => guided("[a-m]{30}", 30),
                _ => guided("([ab]c)+", 30),
            };
            submission.tokens.push(10 + i);
            submission.sampling.seed = Some(u64::from(i));
            submission.sampling.temperature = (i % 2) as f32;
            submission
        })
        .collect();
    let together = serve_simply(async |handle| {
        join_all(submissions.iter().map(|s| answer(handle, s.clone()))).await
    });
    for (submission, together) in submissions.iter().zip(&together) {
        let alone = serve_simply(async |handle| answer(handle, submission.clone()).await);
        assert_eq!(alone.ids(), together.ids());
        assert_eq!(alone.finish().reason, together.finish().reason);
    }
}

#[test]
fn samples_of_one_guide_do_not_disturb_each_other() {
    let guide = regex("[a-z]{20}");
    let answers = serve_simply(async |handle| {
        let answers = (0..8).map(|seed| {
            let mut submission = submission(&[5, 6, 7], 30);
            submission.guide = Some(guide.clone());
            submission.sampling = sampled(seed);
            answer(handle, submission)
        });
        join_all(answers).await
    });
    for answer in &answers {
        assert_eq!(answer.text().len(), 20);
        assert_eq!(answer.finish().reason, FinishReason::Complete);
    }
    assert_ne!(answers[0].ids(), answers[1].ids());
}

#[test]
fn an_answer_cut_by_max_tokens_is_a_beginning_and_says_so() {
    let answer = serve_simply(async |handle| answer(handle, guided("[ab]{6}", 4)).await);
    assert_eq!(answer.finish().reason, FinishReason::Length);
    assert_eq!(answer.text().len(), 4);
    let whole = serve_simply(async |handle| self::answer(handle, guided("[ab]{4}", 4)).await);
    assert_eq!(whole.finish().reason, FinishReason::Complete);
}

#[test]
fn end_tokens_that_do_not_count_come_only_where_nothing_else_can() {
    let mut unending = guided("[ab]+", 30);
    unending.stop.ignore_eos = true;
    let mut patient = guided("[ab]+", 30);
    patient.stop.min_tokens = 12;
    patient.sampling.logit_bias = [(EOS, 100.0)].into();
    let mut short = guided("[ab]{2}", 30);
    short.stop.min_tokens = 12;
    let answers = serve_simply(async |handle| {
        join_all([unending, patient, short].map(|s| answer(handle, s))).await
    });
    assert_eq!(answers[0].finish().reason, FinishReason::Length);
    assert_eq!(answers[0].text().len(), 30);
    assert_eq!(answers[1].finish().reason, FinishReason::EndToken(EOS));
    assert_eq!(answers[1].text().len(), 12);
    assert_eq!(answers[2].finish().reason, FinishReason::Complete);
    assert_eq!(answers[2].text().len(), 2);
}

#[test]
fn stop_strings_end_a_constrained_answer_too() {
    let mut stopped = guided("[ab]{30}", 40);
    stopped.stop.strings = vec!["b".into()];
    let answer = serve_simply(async |handle| answer(handle, stopped).await);
    assert_eq!(answer.finish().reason, FinishReason::StopString("b".into()));
    assert!(answer.text().bytes().all(|byte| byte == b'a'));
}

#[test]
fn marks_are_never_text() {
    let answer = serve_simply(async |handle| answer(handle, guided("(?s:.){12}", 40)).await);
    assert_eq!(answer.text().chars().count(), 12);
    assert!(answer.tokens.iter().all(|token| !token.special));
}

#[test]
fn logprobs_are_the_models_own() {
    let mut scored = guided("[ab]{6}", 20);
    scored.logprobs = Some(3);
    let answer = serve_simply(async |handle| answer(handle, scored).await);
    let mut tokens = vec![5, 6, 7];
    for token in &answer.tokens {
        let logits = logits_after(&tokens);
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let expected = f64::from(logits[token.id as usize]) - sum.ln();
        let logprob = token.logprob.as_ref().unwrap();
        assert!((f64::from(logprob.logprob.unwrap()) - expected).abs() < 1e-4);
        assert_eq!(logprob.top[0].id, argmax(&logits));
        tokens.push(token.id);
    }
    assert_eq!(tokens.len(), 9);
}

#[test]
fn a_constraint_is_followed_over_preemption_and_the_loss_of_the_device() {
    let submissions = [guided("([ab]c){15}", 30), guided("[a-m]{30}", 30)];
    let run = |blocks, faults: &[usize]| {
        let mut model = HashModel::new(blocks, 4, 64);
        model.recovers = true;
        let lost = |step: &usize| (*step, RunnerError::Lost("gone".into()));
        model.faults = faults.iter().map(lost).collect();
        let work = async |handle: &tinderbox_engine::Handle| {
            let all = submissions.iter().map(|s| answer(handle, s.clone()));
            (join_all(all).await, handle.stats())
        };
        serve(model, Limits::default(), work).0
    };
    let (calm, _) = run(64, &[]);
    let (moved, stats) = run(64, &[4, 11]);
    assert_eq!((&moved, stats.recoveries), (&calm, 2));
    let (crowded, stats) = run(12, &[]);
    assert!(stats.preempted > 0);
    assert_eq!(crowded, calm);
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let guides = Guides::new(Arc::new(Words), VOCAB);
    for constraint in [
        (Constraint::Regex("(?=a)b".into()), "", "look-ahead"),
        (Constraint::Regex("[a".into()), "", "unclosed"),
        (
            Constraint::Lark("start: a\na: nothing".into()),
            "line 2, column 4",
            "nothing",
        ),
        (Constraint::Lark("beginning: \"a\"".into()), "", "start"),
        (Constraint::JsonSchema(serde_json::json!(3)), "", "object"),
        (
            Constraint::JsonSchema(serde_json::json!(false)),
            "",
            "false",
        ),
    ] {
        let (constraint, at, word) = constraint;
        let error = guides.guide(&constraint).unwrap_err();
        let Error::Constraint { place, reason } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(place, at, "{error}");
        assert!(reason.contains(word) && !reason.contains('\n'), "{error}");
    }
}
