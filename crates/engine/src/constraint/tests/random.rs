//! Answers drawn at random: boon finds every finished one valid.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::schemas::{made, validates};
use super::{draw, guides, schema};

#[test]
fn every_finished_answer_to_two_hundred_schemas_is_valid() {
    let guides = guides();
    let mut finished = 0;
    for seed in 0..200 {
        let made = made(seed);
        let guide = guides.guide(&schema(made.clone()));
        let guide = guide.unwrap_or_else(|error| panic!("{made}: {error}"));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..5 {
            let Some(text) = draw(&guide, &mut random, 300) else {
                continue;
            };
            let answer = serde_json::from_str(&text);
            let answer = answer.unwrap_or_else(|error| panic!("{made}: {text}: {error}"));
            assert!(validates(&made, &answer), "{made}: {text}");
            finished += 1;
        }
    }
    assert!(finished > 800, "only {finished} came to an end");
}
