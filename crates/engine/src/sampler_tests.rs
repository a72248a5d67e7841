//! The sampler against a naive reference with full sorts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tinderbox_kernels::reference;

use super::*;

/// Probabilities after all filters, by plain full sorts, as the module doc says it.
fn naive(logits: &[f32], s: &Sampling) -> BTreeMap<u32, f64> {
    let mut left: Vec<(u32, f64)> = (0..)
        .zip(logits)
        .map(|(id, l)| (id, f64::from(*l / s.temperature)))
        .collect();
    let softmax = |left: &[(u32, f64)]| -> Vec<f64> {
        let max = left.iter().map(|l| l.1).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = left.iter().map(|l| (l.1 - max).exp()).sum();
        left.iter().map(|l| (l.1 - max).exp() / sum).collect()
    };
    let shortest = |left: &mut Vec<(u32, f64)>, mass: f64| {
        let p = softmax(left);
        let mut sum = 0.0;
        let kept = p
            .iter()
            .position(|p| {
                sum += p;
                sum >= mass
            })
            .map_or(p.len(), |i| i + 1);
        left.truncate(kept);
    };
    left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if s.top_k > 0 {
        left.truncate(s.top_k);
    }
    if s.typical_p < 1.0 {
        let p = softmax(&left);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        let mut far: Vec<_> = left
            .iter()
            .zip(&p)
            .map(|(l, p)| ((-p.ln() - entropy).abs(), *l))
            .collect();
        far.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.0.cmp(&b.1.0)));
        left = far.into_iter().map(|f| f.1).collect();
        shortest(&mut left, f64::from(s.typical_p));
    }
    if s.top_p < 1.0 {
        left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        shortest(&mut left, f64::from(s.top_p));
    }
    let p = softmax(&left);
    let best = p.iter().copied().fold(0.0, f64::max);
    left = left
        .into_iter()
        .zip(p)
        .filter(|(_, p)| *p >= f64::from(s.min_p) * best)
        .map(|(l, _)| l)
        .collect();
    let p = softmax(&left);
    left.iter().zip(p).map(|(l, p)| (l.0, p)).collect()
}

fn filtered(logits: &[f32], sampling: &Sampling) -> BTreeMap<u32, f64> {
    let mut candidates: Vec<Candidate> = (0..)
        .zip(logits)
        .map(|(id, l)| Candidate {
            id,
            logit: *l,
            weight: 0.0,
        })
        .collect();
    let best = logits.iter().copied().fold(f32::MIN, f32::max);
    Sampler::new(sampling.clone(), 0, &[]).filter(&mut candidates, best);
    let sum = total(&candidates);
    candidates
        .iter()
        .map(|c| (c.id, f64::from(c.weight) / sum))
        .collect()
}

/// Chooses, and goes on.
fn choose(sampler: &mut Sampler, logits: &[f32]) -> u32 {
    let id = sampler.choose(logits, None, &mut Vec::new()).unwrap();
    sampler.record(id);
    id
}

/// What a device draws, by the kernels' reference.
fn on_device(logits: &[f32], draw: Draw) -> u32 {
    let mut token = [0];
    reference::choose(&mut token, logits, logits.len(), Some(&draw.words()));
    token[0] as u32
}

/// `draw`, then those a millionth from it: where it all but touches a threshold or the edge between two tokens, the last bit of
/// a weight decides, and a device has its own `exp`.
fn all_but(draw: &Draw) -> impl Iterator<Item = Draw> {
    const NEAR: [f32; 3] = [0.0, -1e-6, 1e-6];
    NEAR.into_iter().flat_map(move |p| {
        NEAR.into_iter().flat_map(move |min| {
            NEAR.into_iter().map(move |unit| Draw {
                top_p: draw.top_p * (1.0 + p),
                min_p: draw.min_p * (1.0 + min),
                unit: (draw.unit + unit).clamp(0.0, 1.0 - f32::EPSILON / 2.0),
                ..*draw
            })
        })
    })
}

proptest! {
    #[test]
    fn filters_keep_the_sets_of_the_naive_reference(
        logits in prop::collection::vec(-8f32..8.0, 1..400),
        temperature in 0.2f32..3.0,
        top_k in prop_oneof![Just(0usize), 2usize..100],
        top_p in prop_oneof![Just(1f32), 0f32..1.0],
        min_p in prop_oneof![Just(0f32), 0f32..1.0],
        typical_p in prop_oneof![Just(1f32), 0.01f32..1.0],
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, typical_p, ..Sampling::default() };
        let (ours, naive) = (filtered(&logits, &sampling), naive(&logits, &sampling));
        prop_assert!((ours.values().sum::<f64>() - 1.0).abs() < 1e-9);
        // f32 weights may put a token on the other side of a threshold it all but touches, and
        // with two filters in a row that moves the second by as little.
        let (a, b): (BTreeSet<_>, BTreeSet<_>) = (ours.keys().collect(), naive.keys().collect());
        prop_assert!(a.symmetric_difference(&b).count() <= 1, "{:?} {:?}", ours, naive);
        if a == b {
            for (id, p) in &ours {
                prop_assert!((p - naive[id]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_choice_is_always_a_token_the_filters_keep(
        logits in prop::collection::vec(-8f32..8.0, 2..200),
        top_p in 0f32..1.0,
        seed: u64,
    ) {
        let sampling = Sampling { top_p, ..Sampling::default() };
        let kept = filtered(&logits, &sampling);
        let mut sampler = Sampler::new(sampling, seed, &[]);
        for _ in 0..20 {
            prop_assert!(kept.contains_key(&choose(&mut sampler, &logits)));
        }
    }

    /// Token by token, though the device is told of all before the first is known.
    #[test]
    fn a_device_draws_what_the_sampler_chooses(
        logits in prop::collection::vec(-8f32..8.0, 2..200),
        temperature in prop_oneof![Just(0f32), 0.2f32..3.0],
        top_k in prop_oneof![Just(0usize), 1usize..100],
        top_p in prop_oneof![Just(1f32), 0f32..1.0],
        min_p in prop_oneof![Just(0f32), 0f32..1.0],
        seed: u64,
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, seed, &[]);
        let draws: Vec<_> = (0..5).map(|ahead| sampler.draw(true, ahead).unwrap()).collect();
        for draw in draws {
            let ours = choose(&mut sampler, &logits);
            prop_assert!(all_but(&draw).any(|draw| on_device(&logits, draw) == ours), "{ours} {draw:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_choices_again(
        logits in prop::collection::vec(-2f32..2.0, 50..100),
        seed: u64,
    ) {
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling::default(), seed, &[]);
            (0..40).map(|_| choose(&mut sampler, &logits)).collect::<Vec<_>>()
        };
        prop_assert_eq!(draw(seed), draw(seed));
        prop_assert_ne!(draw(seed), draw(seed ^ 1));
    }
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    let logits: Vec<f32> = (0..20).map(|i| (i % 7) as f32 * 0.5).collect();
    let sampling = Sampling {
        temperature: 0.8,
        top_k: 12,
        ..Sampling::default()
    };
    let expected = filtered(&logits, &sampling);
    let mut sampler = Sampler::new(sampling, 42, &[]);
    let draws = 50_000;
    let mut counts = BTreeMap::<u32, f64>::new();
    for _ in 0..draws {
        *counts.entry(choose(&mut sampler, &logits)).or_default() += 1.0;
    }
    let chi_square: f64 = (expected.iter())
        .map(|(id, p)| (id, p * f64::from(draws)))
        .map(|(id, mean)| (counts.get(id).copied().unwrap_or(0.0) - mean).powi(2) / mean)
        .sum();
    // 11 degrees of freedom: above 31.3 once in a thousand seeds.
    assert!(chi_square < 31.3, "{chi_square}");
}

#[test]
fn greedy_takes_the_lowest_of_equal_ids() {
    let logits = [0.5, 2.0, -1.0, 2.0];
    for sampling in [
        Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        Sampling {
            top_k: 1,
            ..Sampling::default()
        },
        Sampling {
            temperature: 0.0,
            logit_bias: [(2, 0.1)].into(),
            ..Sampling::default()
        },
    ] {
        assert_eq!(choose(&mut Sampler::new(sampling, 1, &[]), &logits), 1);
    }
}

#[test]
fn a_draw_goes_by_the_order_of_ids_though_a_filter_that_drops_nothing_has_sorted() {
    let logits = [0.0, 1.0];
    let drawn = |top_p| {
        let sampling = Sampling {
            top_p,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(sampling, 5, &[]);
        (0..50)
            .map(|_| choose(&mut sampler, &logits))
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(0.999), drawn(1.0));
}

#[test]
fn penalties_follow_their_formulas() {
    let sampling = Sampling {
        temperature: 0.0,
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: [(3, 1.5)].into(),
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(sampling, 0, &[0, 1]);
    sampler.record(1);
    sampler.record(1);
    sampler.record(2);
    let mut row: Vec<Candidate> = ([4.0, 4.0, -4.0, 4.0].into_iter().zip(0..))
        .map(|(logit, id)| Candidate {
            id,
            logit,
            weight: 0.0,
        })
        .collect();
    sampler.penalize(&mut row);
    let logits: Vec<f32> = row.iter().map(|c| c.logit).collect();
    assert_eq!(logits, [2.0, 2.0 - 0.5 - 0.5, -8.0 - 0.5 - 0.25, 5.5]);
}

#[test]
fn bias_bans_and_forces() {
    let logits = [5.0, 4.0, 3.0];
    let mut banned = Sampler::new(
        Sampling {
            logit_bias: [(0, -100.0), (1, -100.0)].into(),
            ..Sampling::default()
        },
        3,
        &[],
    );
    let mut forced = Sampler::new(
        Sampling {
            logit_bias: [(2, 100.0)].into(),
            ..Sampling::default()
        },
        3,
        &[],
    );
    for _ in 0..100 {
        assert_eq!(choose(&mut banned, &logits), 2);
        assert_eq!(choose(&mut forced, &logits), 2);
    }
}

#[test]
fn a_tiny_temperature_is_greedy_and_a_broken_row_is_no_choice() {
    let cold = Sampling {
        temperature: f32::MIN_POSITIVE,
        ..Sampling::default()
    };
    assert_eq!(
        choose(&mut Sampler::new(cold, 9, &[]), &[1.0, 1.5, 1.25]),
        1
    );
    for row in [
        vec![],
        vec![f32::NAN, f32::NEG_INFINITY],
        vec![f32::INFINITY, 0.0],
    ] {
        let sampler = Sampler::new(Sampling::default(), 9, &[]);
        assert_eq!(sampler.choose(&row, None, &mut Vec::new()), None, "{row:?}");
        let greedy = Sampler::new(
            Sampling {
                top_k: 1,
                ..Sampling::default()
            },
            9,
            &[],
        );
        assert_eq!(greedy.choose(&row, None, &mut Vec::new()), None, "{row:?}");
    }
}

#[test]
fn a_device_is_asked_for_nothing_it_cannot_do() {
    let drawn = |sampling| Sampler::new(sampling, 1, &[]).draw(true, 0).is_some();
    let default = Sampling::default;
    assert!(drawn(default()));
    for sampling in [
        Sampling {
            typical_p: 0.5,
            ..default()
        },
        Sampling {
            presence_penalty: 0.5,
            ..default()
        },
        Sampling {
            frequency_penalty: 0.5,
            ..default()
        },
        Sampling {
            repetition_penalty: 1.5,
            ..default()
        },
        Sampling {
            logit_bias: [(3, 1.0)].into_iter().collect(),
            ..default()
        },
    ] {
        assert!(!drawn(sampling.clone()), "{sampling:?}");
    }
    // Without draws only the best token is left.
    let best = |sampling| Sampler::new(sampling, 1, &[]).draw(false, 0);
    assert_eq!(best(default()), None);
    let greedy = Sampling {
        top_k: 1,
        ..default()
    };
    assert!(best(greedy).is_some_and(|draw| draw.is_best()));
}
