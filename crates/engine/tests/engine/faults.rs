//! Readers that leave, steps that fail, houses that are full.

use std::time::Duration;

use futures::executor::{LocalPool, block_on};
use futures::future::join_all;
use futures::task::LocalSpawnExt;
use futures::{FutureExt, StreamExt, future};
use proptest::prelude::*;
use tinderbox_engine::{Handle, Limits, RunnerError, Submission};
use tinderbox_protocol::{Error, Event, EventStream, FinishReason};

use crate::common::*;

/// Reads up to the `count`-th token.
async fn read(stream: &mut EventStream, count: usize) {
    let mut seen = 0;
    while seen < count {
        seen += usize::from(matches!(stream.next().await, Some(Ok(Event::Token(_)))));
    }
}

#[test]
fn a_dropped_stream_frees_its_blocks_within_one_step() {
    let model = HashModel::new(64, 4, 64);
    let log = model.log.clone();
    let (_, end) = serve(model, Limits::default(), async |handle: &Handle| {
        let mut stream = handle.submit(submission(&[1; 30], 80)).unwrap();
        read(&mut stream, 3).await;
        assert!(handle.stats().free_blocks < 64);
        let steps = log.lock().unwrap().len();
        drop(stream);
        for _ in 0..20 {
            one_step().await;
        }
        assert_eq!(handle.stats().free_blocks, 64);
        assert_eq!((handle.stats().running, handle.stats().waiting), (0, 0));
        assert!(log.lock().unwrap().len() <= steps + 1);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn what_runs_is_cut_short_and_what_comes_after_is_not() {
    serve_simply(async |handle| {
        let mut begun = handle.submit(submission(&[1; 30], 80)).unwrap();
        read(&mut begun, 3).await;
        handle.cut_short();
        let answer = collect(begun).await;
        let finish = answer.finish();
        assert_eq!(finish.reason, FinishReason::Length);
        assert!((3..80).contains(&finish.completion_tokens));
        let whole = collect(handle.submit(submission(&[1; 30], 80)).unwrap()).await;
        assert_eq!(whole.finish().completion_tokens, 80);
    });
    // One row a step: the prompt is still being read.
    let model = HashModel::new(64, 4, 1);
    let (_, end) = serve(model, Limits::default(), async |handle: &Handle| {
        let mut reading = handle.submit(submission(&[1; 30], 80)).unwrap();
        for _ in 0..5 {
            one_step().await;
        }
        handle.cut_short();
        let event = reading.next().await.unwrap();
        assert!(matches!(event, Err(Error::Unavailable { .. })), "{event:?}");
        assert!(reading.next().await.is_none());
        assert_eq!(answer(handle, submission(&[1], 2)).await.ids().len(), 2);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn a_reader_who_never_reads_holds_nobody_up_and_loses_nothing() {
    serve_simply(async |handle| {
        let lazy = handle.submit(submission(&[1, 2, 3], 100)).unwrap();
        let prompt = [4, 5, 6];
        for _ in 0..5 {
            assert_eq!(
                answer(handle, submission(&prompt, 50)).await.ids(),
                continuation(&prompt, 50)
            );
        }
        assert_eq!(collect(lazy).await.ids(), continuation(&[1, 2, 3], 100));
    });
}

#[test]
fn a_full_house_refuses_with_a_time_from_the_measured_rate() {
    let limits = Limits {
        max_sequences: 2,
        max_queue: 3,
        ..Limits::default()
    };
    let (_, end) = serve(
        HashModel::new(64, 4, 64),
        limits,
        async |handle: &Handle| {
            let all = |max_tokens| (0..5).map(move |_| submission(&[1, 2], max_tokens));
            let mut inside: Vec<_> = all(100).map(|s| handle.submit(s).unwrap()).collect();
            let Some(Error::Overloaded {
                queued: 5,
                retry_after,
            }) = handle.submit(submission(&[3], 1)).err()
            else {
                panic!("accepted")
            };
            assert_eq!(retry_after, Duration::from_secs(1), "nothing measured yet");

            // Each step takes a tenth of a second here: two sequences of 100 tokens end every 10 s.
            let last = inside.split_off(4);
            join_all(inside.into_iter().map(collect)).await;
            let refill: Vec<_> = all(100)
                .take(4)
                .map(|s| handle.submit(s).unwrap())
                .collect();
            let Some(Error::Overloaded { retry_after, .. }) =
                handle.submit(submission(&[3], 1)).err()
            else {
                panic!("accepted")
            };
            assert!((4..=8).contains(&retry_after.as_secs()), "{retry_after:?}");
            join_all(last.into_iter().chain(refill).map(collect)).await;
            assert!(
                handle.submit(submission(&[3], 1)).is_ok(),
                "places are given back"
            );
        },
    );
    assert_eq!(end, Ok(()));
}

#[test]
fn a_failed_step_ends_its_sequences_and_the_engine_goes_on() {
    let mut model = HashModel::new(64, 4, 64);
    model.faults = vec![(4, RunnerError::Step("out of paper".into()))];
    let (_, end) = serve(model, Limits::default(), async |handle: &Handle| {
        let both = [submission(&[1, 2], 20), submission(&[3], 20)].map(|s| answer(handle, s));
        for failed in join_all(both).await {
            assert_eq!(failed.tokens.len(), 3);
            let error = failed.error.unwrap();
            assert!(error.to_string().contains("out of paper"), "{error}");
        }
        let prompt = [1, 2, 3];
        assert_eq!(
            answer(handle, submission(&prompt, 20)).await.ids(),
            continuation(&prompt, 20)
        );
        assert_eq!(handle.stats().free_blocks, 64);
        assert_eq!(handle.failure(), None);
    });
    assert_eq!(end, Ok(()));
}

#[test]
fn a_lost_device_tells_everybody_and_refuses_the_next() {
    let mut model = HashModel::new(64, 4, 64);
    let lost = RunnerError::Lost("unplugged".into());
    model.faults = vec![(3, lost.clone())];
    let limits = Limits {
        max_sequences: 1,
        ..Limits::default()
    };
    let (_, end) = serve(model, limits, async |handle: &Handle| {
        let two = [submission(&[1, 2], 20), submission(&[3], 20)].map(|s| answer(handle, s));
        for failed in join_all(two).await {
            assert!(failed.error.unwrap().to_string().contains("unplugged"));
        }
        let refused = handle.submit(submission(&[1], 1)).err().unwrap();
        assert!(
            matches!(&refused, Error::Unavailable { reason, .. } if reason.contains("unplugged"))
        );
        assert!(handle.failure().unwrap().contains("unplugged"));
    });
    assert_eq!(end, Err(lost));
}

#[test]
fn answers_go_on_over_the_loss_of_a_device_twice_and_no_more() {
    let lost = |step| (step, RunnerError::Lost("unplugged".into()));
    let run = |faults| {
        let mut model = HashModel::new(64, 4, 64);
        (model.faults, model.recovers) = (faults, true);
        serve(model, Limits::default(), async |handle: &Handle| {
            let two = [submission(&[1, 2], 20), submission(&[3], 20)].map(|s| answer(handle, s));
            (join_all(two).await, handle.stats().recoveries)
        })
    };
    let ((answers, recoveries), end) = run(vec![lost(3), lost(4)]);
    assert_eq!(answers[0].ids(), continuation(&[1, 2], 20));
    assert_eq!(answers[1].ids(), continuation(&[3], 20));
    assert_eq!((recoveries, end), (2, Ok(())));

    let ((answers, _), end) = run(vec![lost(3), lost(9), lost(12)]);
    for failed in answers {
        assert!(failed.error.unwrap().to_string().contains("unplugged"));
    }
    assert_eq!(end, Err(lost(0).1));
}

#[test]
fn stopping_answers_what_was_taken_in_and_refuses_the_rest() {
    let (engine, handle) = engine(HashModel::new(64, 4, 64), Limits::default());
    let inside =
        [submission(&[1, 2], 20), submission(&[3], 20)].map(|s| collect(handle.submit(s).unwrap()));
    handle.stop();
    assert!(matches!(
        handle.submit(submission(&[1], 1)).err(),
        Some(Error::Unavailable { .. })
    ));
    let (answers, end) = block_on(future::join(join_all(inside), engine.run()));
    assert!(answers.iter().all(|answer| answer.tokens.len() == 20));
    assert_eq!(end, Ok(()));
    assert_eq!(handle.failure(), None);
}

#[test]
fn aborting_ends_what_runs_at_the_next_step() {
    let (engine, handle) = engine(HashModel::new(64, 4, 64), Limits::default());
    let mut stream = handle.submit(submission(&[1, 2], 100)).unwrap();
    let work = async {
        read(&mut stream, 2).await;
        handle.abort();
        collect_rest(stream).await
    };
    let (error, end) = block_on(future::join(work, engine.run()));
    assert!(
        matches!(error, Some(Error::Unavailable { .. })),
        "{error:?}"
    );
    assert_eq!(end, Ok(()));
}

async fn collect_rest(stream: EventStream) -> Option<Error> {
    stream
        .filter_map(async |event| event.err())
        .collect::<Vec<_>>()
        .await
        .pop()
}

#[test]
fn an_engine_that_is_dropped_ends_its_streams() {
    let (engine, handle) = engine(HashModel::new(64, 4, 64), Limits::default());
    let mut running = handle.submit(submission(&[1, 2], 100)).unwrap();
    let mut run = Box::pin(engine.run());
    while running.next().now_or_never().is_none() {
        assert!((&mut run).now_or_never().is_none());
    }
    let unseen = handle.submit(submission(&[1, 2], 100)).unwrap();
    drop(run);
    for stream in [running, unseen] {
        let error = block_on(collect_rest(stream));
        assert!(matches!(error, Some(Error::Internal(_))), "{error:?}");
    }
    assert!(matches!(
        handle.submit(submission(&[1], 1)).err(),
        Some(Error::Unavailable { .. })
    ));
    assert!(handle.failure().is_some());
    assert_eq!(handle.stats().waiting, 0, "places are given back");
}

#[test]
fn a_refused_submission_takes_no_place() {
    serve_simply(async |handle| {
        for _ in 0..2000 {
            assert!(handle.submit(Submission::default()).is_err());
        }
        assert!(handle.submit(submission(&[1], 1)).is_ok());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_comings_and_goings_leak_no_block(
        moves in prop::collection::vec((0usize..6, 1usize..40, 0usize..30), 1..40),
        blocks in 30usize..50,
    ) {
        let limits =
            Limits { max_sequences: 3, max_queue: 4, prefill_rows: 9, ..Limits::default() };
        let (engine, handle) = engine(HashModel::new(blocks, 4, 16), limits);
        let mut pool = LocalPool::new();
        let end = pool.spawner().spawn_local_with_handle(engine.run()).unwrap();
        let mut streams = std::collections::VecDeque::new();
        for (what, prompt, max_tokens) in moves {
            match what {
                0 => drop(streams.pop_front()),
                1 => drop(streams.pop_back()),
                2 => (0..max_tokens).for_each(|_| { pool.try_run_one(); }),
                _ => streams.extend(handle.submit(submission(&vec![5; prompt], max_tokens)).ok()),
            }
        }
        let finish = streams.len() / 2;
        streams.truncate(finish);
        let answers = pool.run_until(join_all(streams.into_iter().map(collect)));
        prop_assert!(answers.iter().all(|answer| answer.error.is_none()));
        for _ in 0..3 {
            pool.run_until(one_step());
        }
        let stats = handle.stats();
        prop_assert_eq!((stats.running, stats.waiting, stats.free_blocks), (0, 0, blocks));
        handle.stop();
        prop_assert_eq!(pool.run_until(end), Ok(()));
    }
}
