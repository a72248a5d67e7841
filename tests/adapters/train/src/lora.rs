//! A low-rank adapter (Hu et al. 2021): what is learned, how, and the folder it is kept in.

use std::path::Path;

use anyhow::Result;
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::llama::{Llama, linear};

const RANK: usize = 8;
const ALPHA: usize = 16;
/// What the four adapted matrices of a layer are called in Hugging Face's llama.
const MODULES: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/// Adam (Kingma & Ba 2015) with the paper's constants.
const BETA: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

/// One product for each of the four attention matrices of each layer.
pub struct Adapter {
    pub layers: Vec<[Product; 4]>,
}

/// `x · Aᵀ · Bᵀ · alpha / rank`, added to what a frozen matrix gives.
pub struct Product {
    /// `[rank, in]`
    a: Parameter,
    /// `[out, rank]`
    b: Parameter,
}

/// A learned matrix, and Adam's two moments of its gradient.
#[derive(Clone)]
struct Parameter {
    value: Tensor<2>,
    mean: Tensor<2>,
    square: Tensor<2>,
}

impl Adapter {
    /// Random A and zero B: a new adapter changes nothing.
    pub fn new(model: &Llama, device: &Device) -> Adapter {
        let product = |weight: &Tensor<2>| {
            let [outputs, inputs] = weight.dims();
            let bound = 1.0 / (inputs as f64).sqrt();
            let uniform = Distribution::Uniform(-bound, bound);
            Product {
                a: Parameter::new(Tensor::random([RANK, inputs], uniform, device)),
                b: Parameter::new(Tensor::zeros([outputs, RANK], device)),
            }
        };
        let layers = model.layers.iter();
        Adapter {
            layers: layers
                .map(|layer| layer.attention.each_ref().map(product))
                .collect(),
        }
    }

    /// What it is now, no longer learning: a pass with it keeps nothing for a gradient.
    pub fn frozen(&self) -> Adapter {
        let product = |Product { a, b }: &Product| Product {
            a: a.frozen(),
            b: b.frozen(),
        };
        let layers = self.layers.iter();
        Adapter {
            layers: layers.map(|layer| layer.each_ref().map(product)).collect(),
        }
    }

    /// Moves every matrix against its gradient; `step` counts from one.
    pub fn learn(&mut self, gradients: &Gradients, rate: f32, step: i32) {
        for product in self.layers.iter_mut().flatten() {
            product.a.learn(gradients, rate, step);
            product.b.learn(gradients, rate, step);
        }
    }

    /// Writes the folder as PEFT has it, numbers in half precision.
    pub fn save(&self, folder: &Path, base: &str) -> Result<()> {
        let mut tensors = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (module, Product { a, b }) in MODULES.iter().zip(layer) {
                for (half, matrix) in [("A", a), ("B", b)] {
                    let place = format!("layers.{index}.self_attn.{module}.lora_{half}.weight");
                    let shape = matrix.value.dims().to_vec();
                    tensors.push((
                        format!("base_model.model.model.{place}"),
                        shape,
                        matrix.bytes()?,
                    ));
                }
            }
        }
        let views = tensors.iter().map(|(name, shape, bytes)| {
            Ok((name, TensorView::new(Dtype::F16, shape.clone(), bytes)?))
        });
        let views: Result<Vec<_>> = views.collect();
        let format = [("format".to_owned(), "pt".to_owned())];
        let file = folder.join("adapter_model.safetensors");
        safetensors::serialize_to_file(views?, Some(format.into()), &file)?;

        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.0,
            "target_modules": MODULES,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
        });
        let text = serde_json::to_string_pretty(&config)? + "\n";
        Ok(std::fs::write(folder.join("adapter_config.json"), text)?)
    }
}

impl Product {
    /// What is added for the rows of `x`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        linear(linear(x, &self.a.value), &self.b.value) * (ALPHA as f32 / RANK as f32)
    }
}

impl Parameter {
    fn new(value: Tensor<2>) -> Parameter {
        Parameter {
            mean: value.zeros_like(),
            square: value.zeros_like(),
            value: value.autodiff().require_grad(),
        }
    }

    fn frozen(&self) -> Parameter {
        Parameter {
            value: self.value.clone().inner(),
            ..self.clone()
        }
    }

    fn learn(&mut self, gradients: &Gradients, rate: f32, step: i32) {
        let gradient = self.value.grad(gradients);
        let gradient = gradient.expect("every matrix takes part in the loss");
        let blend =
            |old: &Tensor<2>, new: Tensor<2>, beta: f32| old.clone() * beta + new * (1.0 - beta);
        self.mean = blend(&self.mean, gradient.clone(), BETA[0]);
        self.square = blend(&self.square, gradient.square(), BETA[1]);
        // Both moments begin at zero; this takes that out of them.
        let [mean, square] = BETA.map(|beta| 1.0 - beta.powi(step));
        let size = (self.square.clone() / square).sqrt() + EPSILON;
        let moved = self.value.clone().inner() - self.mean.clone() / mean / size * rate;
        self.value = moved.autodiff().require_grad();
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let values = self.value.to_data().try_into_vec::<f32>()?;
        let halves = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
        Ok(halves.collect())
    }
}
