//! What each operation means, in plain loops over `f32`: the oracle of both twins.

use half::{bf16, f16};

use crate::Format;
use crate::spec::{
    Activation, AttentionSpec, DRAW, Draw, ENTRY, Input, Layout, LinearSpec, LowRankSpec, Norm,
    RopeSpec,
};

/// The weights of one row (or any whole number of blocks) as `f32`.
///
/// # Panics
/// Where `bytes` is no whole number of blocks.
pub fn dequantize(format: Format, bytes: &[u8]) -> Vec<f32> {
    assert!(bytes.len().is_multiple_of(format.block_bytes()));
    let mut out = Vec::with_capacity(bytes.len() / format.block_bytes() * format.block());
    for block in bytes.chunks_exact(format.block_bytes()) {
        dequantize_block(format, block, &mut out);
    }
    out
}

/// The nearest blocks of a format, as llama.cpp rounds them; `None` for a format that is not made here.
///
/// # Panics
/// Where `values` are no whole number of blocks.
pub fn quantize(format: Format, values: &[f32]) -> Option<Vec<u8>> {
    let block: fn(&[f32], &mut Vec<u8>) = match format {
        Format::Q4_0 => quantize_q4_0,
        Format::Q4_1 => quantize_q4_1,
        Format::Q8_0 => quantize_q8_0,
        _ => return None,
    };
    assert!(values.len().is_multiple_of(format.block()));
    let mut bytes = Vec::with_capacity(values.len() / format.block() * format.block_bytes());
    for values in values.chunks_exact(format.block()) {
        block(values, &mut bytes);
    }
    Some(bytes)
}

/// What to multiply with instead of dividing by `d`.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Low halves of the first sixteen, high halves of the others.
fn nibbles(quant: impl Fn(usize) -> u8, bytes: &mut Vec<u8>) {
    bytes.extend((0..16).map(|i| quant(i) | quant(i + 16) << 4));
}

fn quantize_q4_0(values: &[f32], bytes: &mut Vec<u8>) {
    // The value of largest size becomes -8, whatever its sign: one step more than +7.
    let largest = |a: f32, b: &f32| if b.abs() > a.abs() { *b } else { a };
    let d = values.iter().fold(0.0, largest) / -8.0;
    bytes.extend(f16::from_f32(d).to_le_bytes());
    let quant = |i: usize| (values[i] * inverse(d) + 8.5).clamp(0.0, 15.0) as u8;
    nibbles(quant, bytes);
}

fn quantize_q4_1(values: &[f32], bytes: &mut Vec<u8>) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (most - least) / 15.0;
    bytes.extend(f16::from_f32(d).to_le_bytes());
    bytes.extend(f16::from_f32(least).to_le_bytes());
    let quant = |i: usize| ((values[i] - least) * inverse(d) + 0.5).clamp(0.0, 15.0) as u8;
    nibbles(quant, bytes);
}

fn quantize_q8_0(values: &[f32], bytes: &mut Vec<u8>) {
    let d = values.iter().fold(0.0_f32, |a, b| a.max(b.abs())) / 127.0;
    bytes.extend(f16::from_f32(d).to_le_bytes());
    let quant = |value: &f32| (value * inverse(d)).round() as i8;
    bytes.extend(values.iter().map(|value| quant(value) as u8));
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale and minimum of group `g` of a K-quant: 6 bits each, packed in 12 bytes.
fn scale_min(packed: &[u8], g: usize) -> (f32, f32) {
    let (scale, min) = if g < 4 {
        (packed[g] & 63, packed[g + 4] & 63)
    } else {
        (
            (packed[g + 4] & 15) | (packed[g - 4] >> 6 << 4),
            (packed[g + 4] >> 4) | (packed[g] >> 6 << 4),
        )
    };
    (f32::from(scale), f32::from(min))
}

fn dequantize_block(format: Format, block: &[u8], out: &mut Vec<f32>) {
    let nibble = |bytes: &[u8], i: usize| match i {
        0..16 => bytes[i] & 15,
        _ => bytes[i - 16] >> 4,
    };
    let high = |at: usize, i: usize| (block[at + i / 8] >> (i % 8) & 1) << 4;
    match format {
        Format::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
        Format::F16 => out.push(half_at(block, 0)),
        Format::BF16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
        Format::Q4_0 => {
            let d = half_at(block, 0);
            out.extend((0..32).map(|i| d * (f32::from(nibble(&block[2..], i)) - 8.0)));
        }
        Format::Q4_1 => {
            let (d, m) = (half_at(block, 0), half_at(block, 2));
            out.extend((0..32).map(|i| d * f32::from(nibble(&block[4..], i)) + m));
        }
        Format::Q5_0 => {
            let d = half_at(block, 0);
            out.extend(
                (0..32).map(|i| d * (f32::from(nibble(&block[6..], i) | high(2, i)) - 16.0)),
            );
        }
        Format::Q5_1 => {
            let (d, m) = (half_at(block, 0), half_at(block, 2));
            out.extend((0..32).map(|i| d * f32::from(nibble(&block[8..], i) | high(4, i)) + m));
        }
        Format::Q8_0 => {
            let d = half_at(block, 0);
            out.extend(block[2..].iter().map(|&q| d * f32::from(q as i8)));
        }
        Format::Q4_K | Format::Q5_K => {
            let (d, dmin) = (half_at(block, 0), half_at(block, 2));
            let quants = &block[format.block_bytes() - 128..];
            for i in 0..256 {
                // 64 weights share 32 bytes: the low nibbles are group 2n, the high ones 2n + 1.
                let (group, byte) = (i / 32, quants[i / 64 * 32 + i % 32]);
                let mut q = byte >> (group % 2 * 4) & 15;
                if format == Format::Q5_K {
                    q |= (block[16 + i % 32] >> group & 1) << 4;
                }
                let (scale, min) = scale_min(&block[4..16], group);
                out.push(d * scale * f32::from(q) - dmin * min);
            }
        }
        Format::Q6_K => {
            let d = half_at(block, 208);
            for i in 0..256 {
                // Halves of 128: 64 bytes of low nibbles and 32 bytes with 4 × 2 high bits.
                let (half, j) = (i / 128, i % 128);
                let low = block[half * 64 + j % 64] >> (j / 64 * 4) & 15;
                let top = block[128 + half * 32 + j % 32] >> (j / 32 * 2) & 3;
                let scale = f32::from(block[192 + i / 16] as i8);
                out.push(d * scale * (f32::from(low | top << 4) - 32.0));
            }
        }
    }
}

/// `act(x)`.
pub fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh()),
    }
}

/// A normalised row.
pub fn normalize(norm: Norm, x: &[f32], gains: &[f32]) -> Vec<f32> {
    let n = x.len() as f32;
    match norm {
        Norm::Rms { eps } => {
            let root = (x.iter().map(|v| v * v).sum::<f32>() / n + eps).sqrt();
            x.iter().zip(gains).map(|(v, g)| v / root * g).collect()
        }
        Norm::Layer { eps } => {
            let mean = x.iter().sum::<f32>() / n;
            let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
            let root = (var + eps).sqrt();
            let (gain, bias) = gains.split_at(x.len());
            let scaled = x.iter().zip(gain).map(|(v, g)| (v - mean) / root * g);
            scaled.zip(bias).map(|(v, b)| v + b).collect()
        }
    }
}

fn prepare(input: Input, x: &[f32], gains: &[f32]) -> Vec<f32> {
    match input {
        Input::Plain => x.to_vec(),
        Input::Norm(norm) => normalize(norm, x, gains),
        Input::Act(act) => x.iter().map(|&v| activate(act, v)).collect(),
        Input::Gated(act) => {
            let (gate, up) = x.split_at(x.len() / 2);
            gate.iter()
                .zip(up)
                .map(|(&g, u)| activate(act, g) * u)
                .collect()
        }
    }
}

/// See `Kernels::embed` of `tinderbox-kernels`; `table` in the file's own bytes.
pub fn embed(table: &[u8], ids: &[i32], layout: Layout, scale: f32) -> Vec<f32> {
    let bytes = table.len() / layout.rows;
    let row = |&id: &i32| dequantize(layout.format, &table[id as usize * bytes..][..bytes]);
    ids.iter().flat_map(row).map(|v| v * scale).collect()
}

/// See `Kernels::linear` of `tinderbox-kernels`; `w` in the file's own bytes, `out` of `width` columns.
pub fn linear(
    out: &mut [f32],
    width: usize,
    x: &[f32],
    w: &[u8],
    gains: &[f32],
    bias: &[f32],
    spec: LinearSpec,
) {
    let weights = dequantize(spec.layout.format, w);
    let rows = out.len() / width;
    for (out, x) in out.chunks_mut(width).zip(x.chunks(x.len() / rows)) {
        let x = prepare(spec.input, x, gains);
        for (j, w) in weights.chunks(spec.layout.columns).enumerate() {
            let dot = x.iter().zip(w).map(|(a, b)| f64::from(a * b)).sum::<f64>() as f32;
            let value = dot + if spec.bias { bias[j] } else { 0.0 };
            let out = &mut out[spec.first + j];
            *out = if spec.accumulate { *out + value } else { value };
        }
    }
}

/// See `Kernels::rope` of `tinderbox-kernels`.
pub fn rope(
    qkv: &mut [f32],
    cache: &mut [f32],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    spec: RopeSpec,
) {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let width = spec.heads * dim + 2 * kv;
    let half = cache.len() / 2;
    for (qkv, row) in qkv.chunks_mut(width).zip(rows.chunks(3)) {
        let (position, slot) = (row[0] as f32, row[1] as usize);
        for (h, head) in qkv[..width - kv].chunks_mut(dim).enumerate() {
            if let Some(eps) = spec.qk_norm {
                let gain = &gains[if h < spec.heads { 0 } else { dim }..][..dim];
                head.copy_from_slice(&normalize(Norm::Rms { eps }, head, gain));
            }
            for (i, frequency) in frequencies[..spec.pairs].iter().enumerate() {
                let (a, b) = if spec.interleaved {
                    (2 * i, 2 * i + 1)
                } else {
                    (i, i + spec.pairs)
                };
                let (sin, cos) = (position * frequency).sin_cos();
                let (x, y) = (head[a], head[b]);
                head[a] = (x * cos - y * sin) * spec.magnitude;
                head[b] = (y * cos + x * sin) * spec.magnitude;
            }
        }
        cache[slot * kv..][..kv].copy_from_slice(&qkv[width - 2 * kv..width - kv]);
        cache[half + slot * kv..][..kv].copy_from_slice(&qkv[width - kv..]);
    }
}

/// See `Kernels::attention` of `tinderbox-kernels`; `tables` of `blocks` columns.
pub fn attention(
    qkv: &[f32],
    cache: &[f32],
    rows: &[i32],
    tables: &[i32],
    blocks: usize,
    spec: AttentionSpec,
) -> Vec<f32> {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let (keys, values) = cache.split_at(cache.len() / 2);
    let mut out = Vec::new();
    for (qkv, row) in qkv.chunks(spec.heads * dim + 2 * kv).zip(rows.chunks(3)) {
        let (position, table) = (
            row[0] as usize,
            &tables[row[2] as usize * blocks..][..blocks],
        );
        let start = spec.window.map_or(0, |w| (position + 1).saturating_sub(w));
        for h in 0..spec.heads {
            let query = &qkv[h * dim..][..dim];
            let at = |t: usize| {
                let slot = table[t / spec.block] as usize * spec.block + t % spec.block;
                slot * kv + h / (spec.heads / spec.kv_heads) * dim
            };
            let score = |t: usize| {
                let key = &keys[at(t)..][..dim];
                let s = query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * spec.scale;
                spec.softcap.map_or(s, |cap| cap * (s / cap).tanh())
            };
            let scores: Vec<f32> = (start..=position).map(score).collect();
            let max = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f32 = weights.iter().sum();
            let mut mixed = vec![0.0; dim];
            for (t, w) in (start..=position).zip(&weights) {
                for (m, v) in mixed.iter_mut().zip(&values[at(t)..][..dim]) {
                    *m += w / sum * v;
                }
            }
            out.extend(mixed);
        }
    }
    out
}

/// See `Kernels::add_norm` of `tinderbox-kernels`.
pub fn add_norm(x: &mut [f32], y: &[f32], width: usize, gains: &[f32], norm: Norm) {
    for (x, y) in x.chunks_mut(width).zip(y.chunks(width)) {
        for (x, n) in x.iter_mut().zip(normalize(norm, y, gains)) {
            *x += n;
        }
    }
}

/// See `Kernels::low_rank` of `tinderbox-kernels`; `out` of `width` columns.
#[allow(clippy::too_many_arguments, reason = "the operation's own")]
pub fn low_rank(
    out: &mut [f32],
    width: usize,
    x: &[f32],
    factors: &[f32],
    table: &[i32],
    rows: &[i32],
    gains: &[f32],
    spec: LowRankSpec,
) {
    let wide = x.len() / (out.len() / width);
    for row in rows.chunks(2) {
        let (row, entry) = (row[0] as usize, &table[row[1] as usize * ENTRY..][..ENTRY]);
        let x = prepare(spec.input, &x[row * wide..][..wide], gains);
        let a = &factors[entry[0] as usize..][..entry[1] as usize * spec.columns];
        let dot = |a: &[f32]| x.iter().zip(a).map(|(x, a)| f64::from(x * a)).sum::<f64>() as f32;
        let products: Vec<f32> = a.chunks(spec.columns).map(dot).collect();
        let mut first = row * width;
        for (part, outputs) in entry[2..].chunks(3).zip(spec.outputs) {
            let b = &factors[part[2] as usize..];
            for (i, product) in products[part[0] as usize..part[1] as usize]
                .iter()
                .enumerate()
            {
                for j in 0..outputs {
                    out[first + j] += product * b[i * outputs + j];
                }
            }
            first += outputs;
        }
    }
}

/// See `Kernels::choose` of `tinderbox-kernels`; `logits` of `vocab` columns.
pub fn choose(tokens: &mut [i32], logits: &[f32], vocab: usize, draws: Option<&[i32]>) {
    for (row, (token, logits)) in tokens.iter_mut().zip(logits.chunks(vocab)).enumerate() {
        let (mut best, mut top) = (-1, f32::NEG_INFINITY);
        for (id, logit) in (0..).zip(logits) {
            if *logit > top {
                (best, top) = (id, *logit);
            }
        }
        let draw = draws.map(|draws| Draw::of(&draws[row * DRAW..][..DRAW]));
        *token = match draw {
            _ if !top.is_finite() => -1,
            Some(draw) if !draw.is_best() => drawn(logits, top, draw),
            _ => best,
        };
    }
}

fn drawn(logits: &[f32], best: f32, draw: Draw) -> i32 {
    let weight = |logit: f32| f64::from((logit - best) / draw.temperature).exp();
    // Best first, the first id among equals: the sort keeps their order.
    let mut left: Vec<(i32, f32)> = (0..).zip(logits.iter().copied()).collect();
    left.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
    left.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("no NaN is left"));
    if draw.top_k > 0 {
        left.truncate(draw.top_k as usize);
    }
    let total: f64 = left.iter().map(|(_, logit)| weight(*logit)).sum();
    if draw.top_p < 1.0 {
        let (target, mut sum) = (total * f64::from(draw.top_p), 0.0);
        let enough = left.iter().position(|(_, logit)| {
            sum += weight(*logit);
            sum >= target
        });
        left.truncate(enough.map_or(left.len(), |last| last + 1));
    }
    left.retain(|(_, logit)| weight(*logit) >= f64::from(draw.min_p));
    left.sort_by_key(|(id, _)| *id);
    let total: f64 = left.iter().map(|(_, logit)| weight(*logit)).sum();
    let mut rest = total * f64::from(draw.unit);
    let mut last = -1;
    for (id, logit) in left.into_iter().filter(|(_, logit)| weight(*logit) > 0.0) {
        last = id;
        rest -= weight(logit);
        if rest < 0.0 {
            break;
        }
    }
    last
}
