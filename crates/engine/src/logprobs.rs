//! What the model itself thought: log-probabilities of raw logits.

/// The log-softmax of one row of logits. Sums are kept in f64, answers are f32.
pub(crate) struct LogSoftmax<'a> {
    logits: &'a [f32],
    best: u32,
    max: f32,
    log_sum: f64,
    best_logprob: f32,
}

impl<'a> LogSoftmax<'a> {
    /// `None` for a row that is no distribution: a NaN, +∞, or nothing above -∞.
    pub fn new(logits: &'a [f32]) -> Option<Self> {
        let best = argmax(logits)?;
        let max = logits[best as usize];
        let sum: f64 = logits.iter().map(|l| f64::from((l - max).exp())).sum();
        let log_sum = sum.ln();
        let row = LogSoftmax {
            logits,
            best,
            max,
            log_sum,
            best_logprob: -log_sum as f32,
        };
        (max.is_finite() && log_sum.is_finite()).then_some(row)
    }

    /// Natural logarithm of a token's probability.
    ///
    /// Scorers call a token greedy when its value equals the best one's. So every token but the
    /// argmax stays strictly below it, where rounding (or a tie of logits) would make them equal.
    pub fn of(&self, id: u32) -> f32 {
        let logit = self.logits[id as usize];
        let logprob = (f64::from(logit - self.max) - self.log_sum) as f32;
        if id != self.best && logprob >= self.best_logprob {
            self.best_logprob.next_down()
        } else {
            logprob
        }
    }

    /// The `k` best tokens, best first; ties go to the lowest id.
    pub fn top(&self, k: usize) -> Vec<(u32, f32)> {
        let k = k.min(self.logits.len());
        let mut top: Vec<u32> = Vec::with_capacity(k + 1);
        let logit = |id: &u32| self.logits[*id as usize];
        for (id, value) in (0u32..).zip(self.logits) {
            if top.len() == k && top.last().is_none_or(|worst| *value <= logit(worst)) {
                continue;
            }
            let place = top.partition_point(|better| logit(better) >= *value);
            top.insert(place, id);
            top.truncate(k);
        }
        top.into_iter().map(|id| (id, self.of(id))).collect()
    }
}

/// The token with the largest logit, the lowest id among equals; `None` where all are NaN or -∞.
pub(crate) fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best = (None, f32::NEG_INFINITY);
    for (id, logit) in (0u32..).zip(logits) {
        if *logit > best.1 {
            best = (Some(id), *logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_the_top_is_the_sorted_row(
            logits in prop::collection::vec(-30f32..30.0, 1..300),
            k in 0usize..25,
        ) {
            let row = LogSoftmax::new(&logits).unwrap();
            let ids = 0..logits.len() as u32;
            let sum: f64 = ids.clone().map(|id| f64::from(row.of(id)).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);

            let mut sorted: Vec<u32> = ids.collect();
            sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
            sorted.truncate(k);
            let top = row.top(k);
            prop_assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), sorted);
            for (id, logprob) in top {
                prop_assert_eq!(logprob.to_bits(), row.of(id).to_bits());
            }
        }

        #[test]
        fn only_the_argmax_has_the_best_value(
            mut logits in prop::collection::vec(-3f32..3.0, 2..50),
            copies in 0usize..4,
        ) {
            let best = argmax(&logits).unwrap() as usize;
            let value = logits[best];
            logits.extend(vec![value; copies]);
            logits.push(value.next_down());
            let row = LogSoftmax::new(&logits).unwrap();
            for id in (0..logits.len()).filter(|id| *id != best) {
                prop_assert!(row.of(id as u32) < row.of(best as u32));
            }
        }
    }

    #[test]
    fn the_values_are_those_of_a_known_softmax() {
        // softmax of [0, ln 3, ln 6] is [0.1, 0.3, 0.6].
        let logits = [0.0, 3f32.ln(), 6f32.ln()];
        let row = LogSoftmax::new(&logits).unwrap();
        for (id, p) in [(0, 0.1f32), (1, 0.3), (2, 0.6)] {
            assert!((row.of(id) - p.ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_row_that_is_no_distribution_is_refused() {
        let inf = f32::INFINITY;
        for row in [
            vec![],
            vec![f32::NAN; 3],
            vec![0.0, f32::NAN],
            vec![-inf; 2],
            vec![0.0, inf],
        ] {
            assert!(LogSoftmax::new(&row).is_none(), "{row:?}");
        }
        let row = [-inf, 1.0, -inf];
        let row = LogSoftmax::new(&row).unwrap();
        assert_eq!((row.of(1), row.of(0)), (0.0, -inf));
    }
}
