//! Several adapters as one, as PEFT's `add_weighted_adapter` does it: each factor for itself, both with the
//! root of the weight, so that a weight says how much of an adapter there is. (LoRAX puts the whole weight
//! on both: there a weight counts squared.)

use std::collections::BTreeSet;

use tinderbox_kernels::sample::Random;
use tinderbox_protocol::{MajoritySign, Merge, MergeStrategy};

use super::place::Target;
use super::{Lora, Module, refusal};
use crate::Error;

const FILE: &str = "merged adapters";

impl Lora {
    /// Several adapters of one model as one, with the weights and the strategy of `merge`. DARE drops by
    /// fixed seeds: the same adapters give the same result. One adapter alone is weighted only.
    ///
    /// # Errors
    /// [`Error::Adapter`]: as many finite weights as adapters are needed, a density above 0 and up to 1, and
    /// adapters of the same model with the same ranks.
    pub fn merge(adapters: &[&Lora], merge: &Merge) -> Result<Lora, Error> {
        let Some(first) = adapters.first() else {
            return Err(refusal(FILE, "adapters", "there are none".to_owned()));
        };
        if adapters.iter().any(|adapter| !adapter.fits(&first.model)) {
            let reason = "they were made for different models".to_owned();
            return Err(refusal(FILE, "adapters", reason));
        }
        let weights = match merge.weights.is_empty() {
            true => vec![1.0; adapters.len()],
            false => merge.weights.clone(),
        };
        if weights.len() != adapters.len() || weights.iter().any(|weight| !weight.is_finite()) {
            let reason = format!(
                "{weights:?} for {} adapters, expected one finite number each",
                adapters.len()
            );
            return Err(refusal(FILE, "weights", reason));
        }
        let density = merge.density.unwrap_or(1.0);
        if !(density > 0.0 && density <= 1.0) {
            let reason = format!("{density}, expected more than 0 and at most 1");
            return Err(refusal(FILE, "density", reason));
        }
        let strategy = match adapters.len() {
            1 => MergeStrategy::Linear,
            _ => merge.strategy,
        };
        let how = How {
            strategy,
            density,
            sign: merge.majority_sign,
        };

        let places: BTreeSet<_> = adapters.iter().flat_map(|a| a.modules.keys()).collect();
        let module = |place: &(usize, Target)| {
            let own = adapters.iter().zip(&weights).enumerate();
            let own = own.filter_map(|(index, (adapter, weight))| {
                let module = adapter.modules.get(place)?;
                Some(Part {
                    index,
                    weight: *weight,
                    module,
                })
            });
            let module = how.module(*place, &own.collect::<Vec<_>>());
            module.map(|module| (*place, module))
        };
        Ok(Lora {
            model: first.model.clone(),
            modules: places
                .into_iter()
                .map(module)
                .collect::<Result<_, Error>>()?,
        })
    }
}

/// One adapter's share of a module.
struct Part<'a> {
    index: usize,
    weight: f32,
    module: &'a Module,
}

/// How factors become one.
struct How {
    strategy: MergeStrategy,
    density: f32,
    sign: MajoritySign,
}

impl How {
    fn module(&self, place: (usize, Target), parts: &[Part]) -> Result<Module, Error> {
        let Module { rank, scale, .. } = *parts[0].module;
        if let Some(other) = parts.iter().find(|part| part.module.rank != rank) {
            let place = format!("layer {}, {:?}", place.0, place.1);
            let reason = format!(
                "ranks {rank} and {}, merging needs the same",
                other.module.rank
            );
            return Err(refusal(FILE, &place, reason));
        }
        // Scales relative to the first, which the result keeps: alone it stays as it is to the bit.
        let root = |part: &Part| (part.weight * part.module.scale / scale).abs().sqrt();
        let signed = |part: &Part| root(part).copysign(part.weight);
        let a: Vec<_> = parts
            .iter()
            .map(|part| (signed(part), self.pruned(&part.module.a, place, part, 0)))
            .collect();
        let b: Vec<_> = parts
            .iter()
            .map(|part| (root(part), self.pruned(&part.module.b, place, part, 1)))
            .collect();
        Ok(Module {
            rank,
            scale,
            a: self.sum(&a),
            b: self.sum(&b),
        })
    }

    /// The factor with what the strategy leaves of it.
    fn pruned(&self, values: &[f32], place: (usize, Target), part: &Part, side: u64) -> Vec<f32> {
        match self.strategy {
            _ if self.density >= 1.0 => values.to_vec(),
            MergeStrategy::Linear => values.to_vec(),
            MergeStrategy::Ties => self.largest(values),
            MergeStrategy::DareLinear | MergeStrategy::DareTies => {
                let numbers = [place.0 as u64, place.1 as u64, part.index as u64, side];
                let seed = numbers.iter().fold(0, |seed, n| Random(seed ^ n).bits());
                let mut random = Random(seed);
                let kept = |value: &f32| match random.unit() < 2.0 * self.density - 1.0 {
                    true => value / self.density,
                    false => 0.0,
                };
                values.iter().map(kept).collect()
            }
        }
    }

    /// The values of largest size, as many as the density says; of equal ones the first.
    fn largest(&self, values: &[f32]) -> Vec<f32> {
        let count = (self.density * values.len() as f32) as usize;
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|i, j| values[*j].abs().total_cmp(&values[*i].abs()));
        let mut kept = vec![0.0; values.len()];
        for i in order.into_iter().take(count) {
            kept[i] = values[i];
        }
        kept
    }

    /// The weighted sum, or the weighted mean of the values that have the elected sign.
    fn sum(&self, parts: &[(f32, Vec<f32>)]) -> Vec<f32> {
        let elects = matches!(self.strategy, MergeStrategy::Ties | MergeStrategy::DareTies);
        let merged = |i: usize| {
            let values = parts.iter().map(|(weight, values)| (weight, values[i]));
            if !elects {
                return values.map(|(weight, value)| weight * value).sum::<f32>();
            }
            let vote = |value: f32| match (self.sign, value) {
                (MajoritySign::Total, value) => value,
                (MajoritySign::Frequency, 0.0) => 0.0,
                (MajoritySign::Frequency, value) => value.signum(),
            };
            let positive = values.clone().map(|(_, value)| vote(value)).sum::<f32>() >= 0.0;
            let agreeing =
                values.filter(|(_, value)| if positive { *value > 0.0 } else { *value < 0.0 });
            let (sum, count) = agreeing.fold((0.0, 0usize), |(sum, count), (weight, value)| {
                (sum + weight * value, count + 1)
            });
            sum / count.max(1) as f32
        };
        (0..parts[0].1.len()).map(merged).collect()
    }
}
