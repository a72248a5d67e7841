//! How the next token is chosen.
//!
//! In this order: the mask of a constraint, repetition penalty, presence and frequency penalties, logit bias, temperature,
//! `top_k`, `typical_p`, `top_p`, `min_p`, one draw. Each filter sees the probabilities of what the
//! one before left, made to sum to one again. Temperature 0 or `top_k` 1 takes the best token after
//! penalties and bias, the lowest id among equals, and draws nothing.

use std::cmp::Ordering;
use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tinderbox_model::Draw;
use tinderbox_protocol::Sampling;

use crate::constraint::Mask;
use crate::logprobs::argmax;

/// The choices of one sequence. It has its own random stream, so that the same seed gives the same
/// text whatever else is in the batch.
pub(crate) struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// Tokens chosen so far.
    chosen: usize,
    /// Times each token of prompt and answer was generated; kept only where a penalty reads it.
    seen: HashMap<u32, u32>,
}

/// A token that may still be chosen. A buffer of them is lent to [`Sampler::choose`], because a
/// vocabulary of them is too much to allocate for each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    id: u32,
    logit: f32,
    /// Proportional to the probability; the best token has 1.
    weight: f32,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    pub fn new(sampling: Sampling, seed: u64, prompt: &[u32]) -> Sampler {
        let mut seen = HashMap::new();
        if sampling.repetition_penalty != 1.0 {
            seen.extend(prompt.iter().map(|id| (*id, 0)));
        }
        Sampler {
            sampling,
            rng: ChaCha8Rng::seed_from_u64(seed),
            chosen: 0,
            seen,
        }
    }

    /// Whether the best raw logit is always the choice, so that any device can make it.
    fn is_argmax(&self) -> bool {
        self.is_greedy() && self.is_plain()
    }

    /// Whether nothing changes the logits.
    fn is_plain(&self) -> bool {
        !self.has_penalties() && self.sampling.logit_bias.is_empty()
    }

    /// How a device makes the choice after the next `ahead` ones; `drawn` where it does more than take the best. `None` where
    /// only a host can.
    pub fn draw(&self, drawn: bool, ahead: usize) -> Option<Draw> {
        let s = &self.sampling;
        if !(self.is_argmax() || drawn && self.is_plain() && s.typical_p >= 1.0) {
            return None;
        }
        // No rounding makes it 1.
        let unit = (self.unit(ahead) as f32).min(1.0 - f32::EPSILON / 2.0);
        Some(Draw {
            temperature: s.temperature,
            // More than any vocabulary: all.
            top_k: u32::try_from(s.top_k).unwrap_or(0),
            top_p: s.top_p,
            min_p: s.min_p,
            unit,
        })
    }

    /// Notes that `id` was generated.
    pub fn record(&mut self, id: u32) {
        self.chosen += 1;
        if self.has_penalties() {
            *self.seen.entry(id).or_default() += 1;
        }
    }

    /// Chooses among the tokens of `mask` from a row of logits; `None` where the best is no finite
    /// number.
    pub fn choose(
        &self,
        logits: &[f32],
        mask: Option<&Mask>,
        candidates: &mut Vec<Candidate>,
    ) -> Option<u32> {
        if self.is_argmax() && mask.is_none() {
            return argmax(logits).filter(|best| logits[*best as usize].is_finite());
        }
        candidates.clear();
        let candidate = |id, logit| Candidate {
            id,
            logit,
            weight: 0.0,
        };
        match mask {
            None => candidates.extend((0..).zip(logits).map(|(id, l)| candidate(id, *l))),
            Some(mask) => mask.iter_set_entries(|id| {
                candidates.extend(logits.get(id).map(|l| candidate(id as u32, *l)));
            }),
        }
        self.penalize(candidates);
        candidates.retain(|c| c.logit > f32::NEG_INFINITY); // drops NaN too
        let best = *candidates.iter().min_by(|a, b| by_logit(a, b))?;
        if !best.logit.is_finite() {
            return None;
        }
        if self.is_greedy() {
            return Some(best.id);
        }
        self.filter(candidates, best.logit);
        self.one_of(candidates)
    }

    fn is_greedy(&self) -> bool {
        self.sampling.temperature == 0.0 || self.sampling.top_k == 1
    }

    fn has_penalties(&self) -> bool {
        let s = &self.sampling;
        s.repetition_penalty != 1.0 || s.presence_penalty != 0.0 || s.frequency_penalty != 0.0
    }

    /// Penalties and bias. The candidates are in the order of their ids here.
    fn penalize(&self, candidates: &mut [Candidate]) {
        let s = &self.sampling;
        for (id, count) in &self.seen {
            let Some(candidate) = find(candidates, *id) else {
                continue;
            };
            let logit = &mut candidate.logit;
            *logit = if *logit > 0.0 {
                *logit / s.repetition_penalty
            } else {
                *logit * s.repetition_penalty
            };
            if *count > 0 {
                *logit -= s.presence_penalty + s.frequency_penalty * *count as f32;
            }
        }
        for (id, bias) in &s.logit_bias {
            if let Some(candidate) = find(candidates, *id) {
                candidate.logit += bias;
            }
        }
    }

    /// Temperature and filters. Leaves at least one candidate, all with their weights; `best` is
    /// the largest logit.
    fn filter(&self, candidates: &mut Vec<Candidate>, best: f32) {
        let s = &self.sampling;
        if s.top_k > 0 && s.top_k < candidates.len() {
            candidates.select_nth_unstable_by(s.top_k - 1, by_logit);
            candidates.truncate(s.top_k);
        }
        for c in candidates.iter_mut() {
            c.weight = ((c.logit - best) / s.temperature).exp();
        }
        if s.typical_p < 1.0 {
            let total = total(candidates);
            let surprise = |c: &Candidate| -(f64::from(c.weight) / total).ln();
            // A weight of 0 has no part in the entropy, though its surprise is infinite.
            let entropy: f64 = (candidates.iter().filter(|c| c.weight > 0.0))
                .map(|c| f64::from(c.weight) / total * surprise(c))
                .sum();
            let distance = |c: &Candidate| (surprise(c) - entropy).abs();
            let order = |a: &Candidate, b: &Candidate| {
                distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id))
            };
            keep_mass(candidates, s.typical_p, order);
        }
        if s.top_p < 1.0 {
            keep_mass(candidates, s.top_p, by_logit);
        }
        if s.min_p > 0.0 {
            let heaviest = candidates.iter().map(|c| c.weight).fold(0.0, f32::max);
            candidates.retain(|c| c.weight >= s.min_p * heaviest);
        }
        // Partial sorts depend on every logit; the order of ids does not. So a last-bit difference between two runs moves the draw
        // by a last bit too. Whether a filter dropped anything is no matter: it has sorted.
        candidates.sort_unstable_by_key(|c| c.id);
    }

    /// The random number of the choice after the next `ahead` ones: each token has its own, whoever chooses it, and when.
    fn unit(&self, ahead: usize) -> f64 {
        let mut rng = self.rng.clone();
        rng.set_word_pos(2 * (self.chosen + ahead) as u128);
        // 53 random bits: every double of the form n / 2⁵³ in 0 .. 1.
        (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn one_of(&self, candidates: &[Candidate]) -> Option<u32> {
        let mut left = self.unit(0) * total(candidates);
        let mut last = None;
        for c in candidates.iter().filter(|c| c.weight > 0.0) {
            left -= f64::from(c.weight);
            last = Some(c.id);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// A token's candidate among those in the order of their ids.
fn find(candidates: &mut [Candidate], id: u32) -> Option<&mut Candidate> {
    let index = candidates.binary_search_by_key(&id, |c| c.id).ok()?;
    candidates.get_mut(index)
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// Best first, the lowest id among equals.
fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    // Adding zero makes -0 and 0 equal under the total order.
    (b.logit + 0.0)
        .total_cmp(&(a.logit + 0.0))
        .then(a.id.cmp(&b.id))
}

/// Keeps the shortest run in `order` whose weights reach the share `mass`, at least one candidate.
/// Sorts only as far as it looks: the kept set is small and the vocabulary is not.
fn keep_mass(
    candidates: &mut Vec<Candidate>,
    mass: f32,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
) {
    let target = total(candidates) * f64::from(mass);
    let (mut sorted, mut width, mut sum) = (0, 64, 0.0);
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        if width < rest.len() {
            rest.select_nth_unstable_by(width, &order);
        }
        let end = width.min(rest.len());
        rest[..end].sort_unstable_by(&order);
        for index in sorted..sorted + end {
            sum += f64::from(candidates[index].weight);
            if sum >= target {
                candidates.truncate(index + 1);
                return;
            }
        }
        sorted += end;
        width *= 4;
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
