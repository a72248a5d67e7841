//! Low-rank adapters (LoRA, Hu et al. 2021) in the form PEFT writes: adapter_config.json and
//! adapter_model.safetensors.

mod merge;
mod place;
mod settings;
mod slots;

use std::collections::BTreeMap;

use tinderbox_kernels::{Factors, reference};

use crate::config::Family;
use crate::hf::{canonical, safetensors};
use crate::storage::{self, Storage};
use crate::{Config, Error};
pub(crate) use place::Product;
use place::Target;
use settings::Settings;

/// What PEFT puts before every name of the base model.
const WRAPPER: &str = "base_model.model.";
const SIDES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// An adapter that was read and fits a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    model: Config,
    /// By layer and map.
    modules: BTreeMap<(usize, Target), Module>,
}

/// One adapted map: `scale · B · A` is added to its weights.
#[derive(Clone, Debug, PartialEq)]
struct Module {
    rank: usize,
    scale: f32,
    /// `[rank, inputs]`.
    a: Vec<f32>,
    /// `B` transposed, `[rank, outputs]`.
    b: Vec<f32>,
}

impl Lora {
    /// Reads an adapter for a model: the bytes of its adapter_config.json, and its safetensors file.
    ///
    /// # Errors
    /// [`Error::Malformed`] and its like where a file is broken, [`Error::Adapter`] where it does not
    /// fit the model or is of a kind that is not supported.
    pub async fn open(config: &[u8], tensors: &dyn Storage, model: &Config) -> Result<Lora, Error> {
        let settings = Settings::parse(config)?;
        let reader = Reader::new(tensors, &settings, model)?;
        let mut found = BTreeMap::new();
        for entry in safetensors::read(tensors).await? {
            let (module, side) = reader.side(&entry.name)?;
            let place = reader.place(&entry.name, &module)?;
            let (name, sides) = found
                .entry(place)
                .or_insert_with(|| (module.clone(), [None, None]));
            if *name != module || sides[side].is_some() {
                let reason = format!("{name} adapts the same map");
                return Err(refusal(tensors.name(), &entry.name, reason));
            }
            sides[side] = Some(entry);
        }
        if found.is_empty() {
            let reason = "the file holds no adapter".to_owned();
            return Err(refusal(tensors.name(), "tensors", reason));
        }
        let mut modules = BTreeMap::new();
        for (place, (name, sides)) in found {
            let [Some(a), Some(b)] = &sides else {
                let missing = SIDES[usize::from(sides[0].is_some())];
                return Err(Error::MissingTensor {
                    file: tensors.name().to_owned(),
                    name: format!("{WRAPPER}{name}{missing}"),
                });
            };
            modules.insert(place, reader.module(place.1, &name, a, b).await?);
        }
        let fused = [
            (Target::Qkv, Target::Query..=Target::Value),
            (Target::GateUp, Target::Gate..=Target::Up),
        ];
        for (layer, target) in modules.keys() {
            let whole = fused.iter().find(|(_, parts)| parts.contains(target));
            if whole.is_some_and(|(whole, _)| modules.contains_key(&(*layer, *whole))) {
                let reason = format!("{target:?} is adapted both alone and within a fused map");
                return Err(refusal(tensors.name(), &format!("layer {layer}"), reason));
            }
        }
        Ok(Lora {
            model: model.clone(),
            modules,
        })
    }

    /// Bytes it takes on a device: its factors in single precision.
    pub fn bytes(&self) -> usize {
        let numbers = self.modules.values().map(|m| m.a.len() + m.b.len());
        numbers.sum::<usize>() * size_of::<f32>()
    }

    /// Whether it was opened for this model.
    pub(crate) fn fits(&self, model: &Config) -> bool {
        self.model == *model
    }

    /// What it adds to a product of a layer.
    pub(crate) fn factors(&self, layer: usize, product: Product) -> Option<Factors> {
        let outputs = product.outputs(&self.model);
        let mut factors = Factors::default();
        let mut ranks = 0;
        let own = (layer, Target::Query)..=(layer, Target::Down);
        for ((_, target), module) in self.modules.range(own) {
            let (of, parts) = target.place(&self.model);
            if of != product {
                continue;
            }
            factors.a.extend(&module.a);
            let width: usize = outputs[parts.clone()].iter().sum();
            let mut first = 0;
            for part in parts {
                let rows = module.b.chunks_exact(width);
                let own = rows.flat_map(|row| &row[first..first + outputs[part]]);
                let scaled = own.map(|b| b * module.scale).collect();
                factors.parts[part] = (ranks..ranks + module.rank, scaled);
                first += outputs[part];
            }
            ranks += module.rank;
        }
        (ranks > 0).then_some(factors)
    }
}

/// The adapter does not fit, or is of a kind that is not supported.
fn refusal(file: &str, place: &str, reason: String) -> Error {
    Error::Adapter {
        file: file.to_owned(),
        place: place.chars().take(200).collect(),
        reason,
    }
}

/// Reads the tensors of one adapter.
struct Reader<'a> {
    file: &'a dyn Storage,
    settings: &'a Settings,
    model: &'a Config,
    family: &'static Family,
    /// The model's queries and keys have the rows of each head in another order than the adapter's.
    permuted: bool,
}

impl<'a> Reader<'a> {
    fn new(
        file: &'a dyn Storage,
        settings: &'a Settings,
        model: &'a Config,
    ) -> Result<Self, Error> {
        let architecture = &model.architecture;
        let family = Family::from_gguf(architecture).map_err(|reason| Error::Unsupported {
            architecture: architecture.clone(),
            reason,
        })?;
        let interleaved = model.ropes.first().map(|rope| rope.interleaved);
        Ok(Reader {
            file,
            settings,
            model,
            family,
            permuted: interleaved.is_some_and(|it| it != family.interleaved.1),
        })
    }

    fn refuse<T>(&self, tensor: &str, reason: impl Into<String>) -> Result<T, Error> {
        Err(refusal(self.file.name(), tensor, reason.into()))
    }

    /// The module's name in the base model, and which factor the tensor is.
    fn side(&self, tensor: &str) -> Result<(String, usize), Error> {
        let inner = tensor.strip_prefix(WRAPPER).unwrap_or(tensor);
        let side = SIDES.iter().position(|side| inner.ends_with(side));
        match side {
            Some(side) => {
                let module = &inner[..inner.len() - SIDES[side].len()];
                Ok((module.to_owned(), side))
            }
            None => self.refuse(
                tensor,
                "only lora_A.weight and lora_B.weight of linear layers are supported",
            ),
        }
    }

    fn place(&self, tensor: &str, module: &str) -> Result<(usize, Target), Error> {
        let name = canonical(self.family, &format!("{module}.weight"));
        let name = name
            .as_deref()
            .and_then(|name| name.strip_suffix(".weight"));
        if let Some("token_embd" | "position_embd" | "output") = name {
            return self.refuse(tensor, "adapters of embedding and head are not supported");
        }
        let part = name.and_then(|name| name.strip_prefix("blk.")?.split_once('.'));
        let place = part.and_then(|(layer, part)| {
            let target = match module.ends_with(".gate_up_proj") {
                true => Target::GateUp,
                false => Target::of(part)?,
            };
            Some((layer.parse::<usize>().ok()?, target))
        });
        let gate = |target| matches!(target, Target::Gate | Target::GateUp);
        let Some((layer, target)) = place.filter(|(_, target)| self.model.gated || !gate(*target))
        else {
            return self.refuse(tensor, format!("{module} is no linear map of the model"));
        };
        let layers = self.model.layers.len();
        if layer >= layers {
            return self.refuse(
                tensor,
                format!("layer {layer} of a model with {layers} layers"),
            );
        }
        if !self.settings.targets(module) {
            let reason = format!("{}'s target_modules do not name {module}", settings::FILE);
            return self.refuse(tensor, reason);
        }
        Ok((layer, target))
    }

    async fn module(
        &self,
        target: Target,
        name: &str,
        a: &safetensors::Entry,
        b: &safetensors::Entry,
    ) -> Result<Module, Error> {
        let (product, parts) = target.place(self.model);
        let rank = self.settings.rank(name);
        let inputs = product.columns(self.model);
        let outputs = product.outputs(self.model)[parts].iter().sum::<usize>();
        let a = self.values(a, [rank, inputs]).await?;
        let b = self.values(b, [outputs, rank]).await?;
        let dim = match target {
            Target::Query | Target::Key if self.permuted => self.model.head_dim,
            _ => 1,
        };
        // Row 2i of a head is its row i in the adapter, row 2i + 1 its row i + dim / 2.
        let origin = |row: usize| match dim {
            1 => row,
            _ => row / dim * dim + row % dim / 2 + row % 2 * (dim / 2),
        };
        let at = |i: usize| b[origin(i % outputs) * rank + i / outputs];
        Ok(Module {
            rank,
            scale: self.settings.scale(name),
            a,
            b: (0..rank * outputs).map(at).collect(),
        })
    }

    async fn values(
        &self,
        entry: &safetensors::Entry,
        shape: [usize; 2],
    ) -> Result<Vec<f32>, Error> {
        if entry.shape != shape {
            let reason = format!("shape {:?}, expected {shape:?}", entry.shape);
            return self.refuse(&entry.name, reason);
        }
        let format = safetensors::format(self.file, entry)?;
        let bytes = storage::read(self.file, entry.offset, entry.len).await?;
        Ok(reference::dequantize(format, &bytes))
    }
}
