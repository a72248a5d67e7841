//! Rotary frequencies and their scaling, by the formulas of their papers.

use std::f32::consts::TAU;

use super::Rope;

/// How a model's context was extended past the one it was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// As trained.
    None,
    /// Positions divided by a factor (Chen et al. 2023).
    Linear { factor: f32 },
    /// Low frequencies divided, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        factor: f32,
        /// Turns within the original context below which a frequency is divided.
        low: f32,
        /// Turns above which it is kept.
        high: f32,
        original: f32,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        factor: f32,
        original: f32,
        beta_fast: f32,
        beta_slow: f32,
        /// Round the ramp's ends to whole dimensions.
        truncate: bool,
        /// Factor on sine and cosine; `0.1 · ln(factor) + 1` where `None`.
        magnitude: Option<f32>,
    },
    /// Each frequency divided by its own factor (LongRoPE, Ding et al. 2024; also the
    /// `rope_freqs.weight` of GGUF files).
    Factors { factors: Vec<f32>, magnitude: f32 },
}

impl Rope {
    /// Frequencies `base^(−2i / dims)` for `i < dims / 2`, scaled.
    ///
    /// # Errors
    /// Where there are not as many factors as frequencies, in words.
    pub(crate) fn new(
        interleaved: bool,
        base: f32,
        dims: usize,
        scaling: &Scaling,
    ) -> Result<Rope, String> {
        // In f64, because late positions multiply the error of a frequency.
        let plain =
            (0..dims / 2).map(|i| f64::from(base).powf(-2.0 * i as f64 / dims as f64) as f32);
        let plain: Vec<f32> = plain.collect();
        let (frequencies, magnitude) = match scaling {
            Scaling::None => (plain, 1.0),
            Scaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let scale = |f: &f32| {
                    let turns = original * f / TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    f * keep + f / factor * (1.0 - keep)
                };
                (plain.iter().map(scale).collect(), 1.0)
            }
            Scaling::Yarn {
                factor,
                original,
                beta_fast,
                beta_slow,
                truncate,
                magnitude,
            } => {
                // The dimension whose frequency makes this many turns in the original context.
                let dimension =
                    |turns: f32| dims as f32 * (original / (turns * TAU)).ln() / (2.0 * base.ln());
                let (mut low, mut high) = (dimension(*beta_fast), dimension(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(dims as f32 - 1.0));
                let width = (high - low).max(0.001);
                let scale = |(i, f): (usize, &f32)| {
                    let divide = ((i as f32 - low) / width).clamp(0.0, 1.0);
                    f * (1.0 - divide) + f / factor * divide
                };
                let magnitude = magnitude.unwrap_or_else(|| yarn_magnitude(*factor));
                (plain.iter().enumerate().map(scale).collect(), magnitude)
            }
            Scaling::Factors { factors, magnitude } => {
                if factors.len() != plain.len() {
                    let (found, expected) = (factors.len(), plain.len());
                    return Err(format!("{found} rotary factors for {expected} frequencies"));
                }
                (
                    plain
                        .iter()
                        .zip(factors)
                        .map(|(f, factor)| f / factor)
                        .collect(),
                    *magnitude,
                )
            }
        };
        Ok(Rope {
            interleaved,
            frequencies,
            magnitude,
        })
    }
}

/// YaRN's factor on sine and cosine, section 3.4 of the paper.
pub(crate) fn yarn_magnitude(factor: f32) -> f32 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * factor.ln() + 1.0
    }
}

/// LongRoPE's factor on sine and cosine for a context extended from `original` to `context`.
pub(crate) fn long_magnitude(context: usize, original: usize) -> f32 {
    let factor = context as f32 / original as f32;
    if factor <= 1.0 {
        1.0
    } else {
        (1.0 + factor.ln() / (original as f32).ln()).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: &Scaling) -> Vec<f32> {
        Rope::new(false, 10000.0, 64, scaling).unwrap().frequencies
    }

    #[test]
    fn unscaled_frequencies_fall_from_one_by_the_base() {
        let plain = frequencies(&Scaling::None);
        assert_eq!((plain.len(), plain[0]), (32, 1.0));
        assert!((plain[16] - 0.01).abs() < 1e-9);
    }

    #[test]
    fn llama3_keeps_fast_frequencies_and_divides_slow_ones() {
        let scaling = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 8192.0,
        };
        let (plain, scaled) = (frequencies(&Scaling::None), frequencies(&scaling));
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        for (scaled, plain) in scaled.iter().zip(plain) {
            assert!(*scaled <= plain && *scaled >= plain / 8.0);
        }
    }

    #[test]
    fn yarn_keeps_fast_frequencies_divides_slow_ones_and_raises_the_magnitude() {
        let scaling = Scaling::Yarn {
            factor: 4.0,
            original: 2048.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            magnitude: None,
        };
        let rope = Rope::new(false, 10000.0, 64, &scaling).unwrap();
        let plain = frequencies(&Scaling::None);
        assert_eq!(rope.frequencies[0], plain[0]);
        assert_eq!(rope.frequencies[31], plain[31] / 4.0);
        assert!((rope.magnitude - 1.138_629_4).abs() < 1e-6);
    }

    #[test]
    fn a_wrong_number_of_factors_is_refused() {
        let scaling = Scaling::Factors {
            factors: vec![1.0; 31],
            magnitude: 1.0,
        };
        let reason = Rope::new(false, 10000.0, 64, &scaling).unwrap_err();
        assert_eq!(reason, "31 rotary factors for 32 frequencies");
    }
}
