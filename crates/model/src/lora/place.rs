//! Where an adapter's factors belong: a layer, and one of its linear maps.

use std::ops::Range;

use tinderbox_kernels::PARTS;

use crate::Config;

/// A product of the decoder, with all that lies side by side in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Queries, keys and values.
    Qkv,
    /// Heads back to the residual stream.
    Out,
    /// Gate and up, or up alone.
    Up,
    /// Back to the residual stream.
    Down,
}

impl Product {
    /// Outputs of its parts.
    pub fn outputs(self, config: &Config) -> [usize; PARTS] {
        let kv = config.kv_heads * config.head_dim;
        match self {
            Product::Qkv => [config.heads * config.head_dim, kv, kv],
            Product::Up if config.gated => [config.ffn, config.ffn, 0],
            Product::Up => [config.ffn, 0, 0],
            Product::Out | Product::Down => [config.width, 0, 0],
        }
    }

    /// Its inputs.
    pub fn columns(self, config: &Config) -> usize {
        match self {
            Product::Qkv | Product::Up => config.width,
            Product::Out => config.heads * config.head_dim,
            Product::Down => config.ffn,
        }
    }
}

/// A linear map as checkpoints name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Query,
    Key,
    Value,
    /// Queries, keys and values in one (GPT-2, Phi-3).
    Qkv,
    Output,
    Gate,
    Up,
    /// Gate and up in one (Phi-3).
    GateUp,
    Down,
}

impl Target {
    /// The map of a layer by its canonical name.
    pub fn of(part: &str) -> Option<Target> {
        Some(match part {
            "attn_q" => Target::Query,
            "attn_k" => Target::Key,
            "attn_v" => Target::Value,
            "attn_qkv" => Target::Qkv,
            "attn_output" => Target::Output,
            "ffn_gate" => Target::Gate,
            "ffn_up" => Target::Up,
            "ffn_down" => Target::Down,
            _ => return None,
        })
    }

    /// The product it belongs to, and which of its parts it is.
    pub fn place(self, config: &Config) -> (Product, Range<usize>) {
        match self {
            Target::Query => (Product::Qkv, 0..1),
            Target::Key => (Product::Qkv, 1..2),
            Target::Value => (Product::Qkv, 2..3),
            Target::Qkv => (Product::Qkv, 0..3),
            Target::Output => (Product::Out, 0..1),
            Target::Gate => (Product::Up, 0..1),
            Target::Up if config.gated => (Product::Up, 1..2),
            Target::Up => (Product::Up, 0..1),
            Target::GateUp => (Product::Up, 0..2),
            Target::Down => (Product::Down, 0..1),
        }
    }
}
