//! How answers begin, grow and end.

use tinderbox_engine::{Limits, Submission};
use tinderbox_protocol::{Error, FinishReason, Stop};

use crate::common::*;

/// A prompt and its greedy continuation of 30 tokens, as ids and as text.
fn example() -> (Vec<u32>, Vec<u32>, String) {
    let prompt = vec![10, 20, 30];
    let ids = continuation(&prompt, 30);
    let answer = serve_simply(async |handle| answer(handle, submission(&[10, 20, 30], 30)).await);
    assert_eq!(answer.ids(), ids);
    (prompt, ids, answer.text())
}

fn with_stop(stop: Stop) -> Answer {
    let mut submission = submission(&[10, 20, 30], 30);
    submission.stop = Stop {
        ignore_eos: true,
        ..stop
    };
    serve_simply(async |handle| answer(handle, submission).await)
}

#[test]
fn the_time_in_the_queue_ends_with_the_first_step() {
    let limits = Limits {
        max_sequences: 1,
        ..Limits::default()
    };
    let ((first, second), _) = serve(HashModel::new(64, 4, 64), limits, async |handle| {
        let first = answer(handle, submission(&[1, 2], 20));
        let second = answer(handle, submission(&[3, 4], 1));
        futures::join!(first, second)
    });
    // The clock goes on by itself at each reading, twice a step; the first one's 20 come before.
    assert!(first.queued < 10 * TICK, "{:?}", first.queued);
    assert!(second.queued > 40 * TICK, "{:?}", second.queued);
}

#[test]
fn an_answer_ends_at_its_limit_and_at_the_end_of_the_context() {
    serve_simply(async |handle| {
        let limited = answer(handle, submission(&[1, 2], 7)).await;
        assert_eq!(limited.started.as_ref().unwrap().prompt_tokens, 2);
        assert_eq!(limited.finish().reason, FinishReason::Length);
        assert_eq!(
            (limited.tokens.len(), limited.finish().completion_tokens),
            (7, 7)
        );

        let open = Submission {
            max_tokens: None,
            ..submission(&[1, 2], 0)
        };
        assert_eq!(answer(handle, open).await.tokens.len(), CONTEXT - 2);

        let long = vec![4; CONTEXT - 1];
        assert_eq!(answer(handle, submission(&long, 1)).await.tokens.len(), 1);
        let overflow = handle.submit(submission(&long, 2)).err();
        let context = Error::ContextOverflow {
            context: CONTEXT,
            prompt: CONTEXT - 1,
            completion: 2,
        };
        assert_eq!(overflow, Some(context));
    });
}

#[test]
fn an_end_token_is_an_event_without_text() {
    // Push the end token to the top at every step: it comes first.
    let mut ends = submission(&[1, 2, 3], 10);
    ends.stop.ignore_eos = false;
    ends.sampling.logit_bias = [(EOS, 100.0)].into();
    ends.logprobs = Some(1);
    let mut later = ends.clone();
    later.stop.min_tokens = 4;
    later.stop.show_special_tokens = true;
    serve_simply(async |handle| {
        let answer_now = answer(handle, ends).await;
        assert_eq!(
            (answer_now.ids(), answer_now.text()),
            (vec![EOS], String::new())
        );
        assert!(answer_now.tokens[0].logprob.is_some());
        assert_eq!(answer_now.finish().reason, FinishReason::EndToken(EOS));
        assert_eq!(answer_now.finish().completion_tokens, 1);

        let answer_later = answer(handle, later).await;
        assert_eq!(answer_later.text(), "</s>".repeat(5));
        assert_eq!(answer_later.finish().reason, FinishReason::EndToken(EOS));
    });
}

#[test]
fn a_stop_string_across_tokens_ends_the_answer_and_is_not_shown() {
    let (_, _, text) = example();
    let stop: String = text.chars().skip(11).take(3).collect();
    let before: String = text.chars().take(11).collect();
    assert!(!before.contains(&stop));
    let strings = vec!["not there".into(), stop.clone()];

    let hidden = with_stop(Stop {
        strings: strings.clone(),
        ..Stop::default()
    });
    assert_eq!(hidden.text(), before);
    assert_eq!(
        hidden.finish().reason,
        FinishReason::StopString(stop.clone())
    );
    let shown = with_stop(Stop {
        strings,
        include_in_text: true,
        ..Stop::default()
    });
    assert_eq!(shown.text(), format!("{before}{stop}"));
}

#[test]
fn ten_thousand_stop_strings_are_one_more_request() {
    let (_, _, text) = example();
    let stop: String = text.chars().skip(20).take(4).collect();
    let mut strings: Vec<String> = (0..10_000).map(|i| format!("stop {i}")).collect();
    strings.push(stop.clone());
    let answer = with_stop(Stop {
        strings,
        ..Stop::default()
    });
    assert_eq!(
        answer.finish().reason,
        FinishReason::StopString(stop.clone())
    );
    assert_eq!(answer.text(), text.split(&stop).next().unwrap());
}

#[test]
fn a_stop_token_ends_the_answer() {
    let (_, ids, _) = example();
    let stop = ids[12];
    let first = ids.iter().position(|id| *id == stop).unwrap();
    let answer = with_stop(Stop {
        tokens: vec![stop],
        ..Stop::default()
    });
    assert_eq!(answer.ids(), ids[..=first]);
    assert_eq!(answer.finish().reason, FinishReason::EndToken(stop));
}

#[test]
fn min_tokens_puts_a_stop_string_off() {
    let (_, _, text) = example();
    let early = text.chars().next().unwrap().to_string();
    let answer = with_stop(Stop {
        strings: vec![early],
        min_tokens: 30,
        ..Stop::default()
    });
    assert_eq!(answer.text(), text);
    assert_eq!(answer.finish().reason, FinishReason::Length);
}

#[test]
fn no_event_holds_half_a_character() {
    let mut halves = submission(&[1], 6);
    halves.sampling.temperature = 1.0;
    halves.sampling.logit_bias = [(2, 100.0), (3, 100.0)].into();
    serve_simply(async |handle| {
        for seed in 0..20 {
            halves.sampling.seed = Some(seed);
            let answer = answer(handle, halves.clone()).await;
            let bytes: Vec<u8> = answer
                .ids()
                .iter()
                .map(|id| if *id == 2 { 0xC3 } else { 0xA9 })
                .collect();
            assert_eq!(answer.text(), String::from_utf8_lossy(&bytes));
        }
    });
}

#[test]
fn a_long_prompt_is_cut_only_on_request() {
    let long: Vec<u32> = (0..200).map(|t| t % 60).collect();
    let cut = Submission {
        truncate_prompt: true,
        ..submission(&long, 10)
    };
    serve_simply(async |handle| {
        assert!(matches!(
            handle.submit(submission(&long, 10)).err(),
            Some(Error::ContextOverflow {
                prompt: 200,
                completion: 10,
                ..
            })
        ));
        let answer = answer(handle, cut).await;
        assert!(answer.started.as_ref().unwrap().truncated);
        assert_eq!(
            answer.ids(),
            continuation(&long[200 - (CONTEXT - 10)..], 10)
        );
    });
}
