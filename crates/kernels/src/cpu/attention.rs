//! Rotary positions, the cache, and grouped-query attention over it.

use half::f16;

use super::dot::{F16, F32, Float, Floats, Weights};
use super::isa::{Isa, Job};
use super::simd::Simd;
use super::threads::{self, Shared};
use crate::reference::normalize;
use crate::{AttentionSpec, Norm, RopeSpec};

/// A number of the cache.
pub(crate) trait Cell: Copy + Send + Sync + 'static {
    /// The same as a weight format.
    type Format: Float + Send + Sync;
    fn from_f32(x: f32) -> Self;
}

impl Cell for f32 {
    type Format = F32;
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Cell for f16 {
    type Format = F16;
    fn from_f32(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

/// See [`crate::Kernels::rope`].
pub(crate) fn rope<C: Cell>(
    qkv: &mut [f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    spec: RopeSpec,
) {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let width = spec.heads * dim + 2 * kv;
    let (keys, values) = {
        let half = cache.len() / 2;
        cache.split_at_mut(half)
    };
    let mut turns = Vec::with_capacity(spec.pairs);
    for (qkv, row) in qkv.chunks_mut(width).zip(rows.chunks(3)) {
        let (position, slot) = (row[0] as f32, row[1] as usize);
        turns.clear();
        turns.extend(frequencies[..spec.pairs].iter().map(|frequency| {
            let (sin, cos) = (position * frequency).sin_cos();
            (sin * spec.magnitude, cos * spec.magnitude)
        }));
        for (h, head) in qkv[..width - kv].chunks_mut(dim).enumerate() {
            if let Some(eps) = spec.qk_norm {
                let gain = &gains[if h < spec.heads { 0 } else { dim }..][..dim];
                head.copy_from_slice(&normalize(Norm::Rms { eps }, head, gain));
            }
            for (i, &(sin, cos)) in turns.iter().enumerate() {
                let (a, b) = if spec.interleaved {
                    (2 * i, 2 * i + 1)
                } else {
                    (i, i + spec.pairs)
                };
                let (x, y) = (head[a], head[b]);
                head[a] = x * cos - y * sin;
                head[b] = y * cos + x * sin;
            }
        }
        let fill = |to: &mut [C], from: &[f32]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to = C::from_f32(*from);
            }
        };
        fill(
            &mut keys[slot * kv..][..kv],
            &qkv[width - 2 * kv..width - kv],
        );
        fill(&mut values[slot * kv..][..kv], &qkv[width - kv..]);
    }
}

/// Arguments of attention, as plain slices; see [`crate::Kernels::attention`].
pub(crate) struct Attention<'a, C> {
    pub qkv: &'a [f32],
    pub cache: &'a [C],
    pub rows: &'a [i32],
    pub tables: &'a [i32],
    /// Columns of `tables`.
    pub blocks: usize,
    pub spec: AttentionSpec,
}

impl<C: Cell> Attention<'_, C> {
    /// `[rows, heads · head_dim]`.
    ///
    /// # Panics
    /// Where `head_dim` is no multiple of 8.
    pub(crate) fn run(&self, isa: Isa) -> Vec<f32> {
        let spec = self.spec;
        assert!(
            spec.head_dim.is_multiple_of(8),
            "head_dim {} is no multiple of 8",
            spec.head_dim
        );
        let group = spec.heads / spec.kv_heads * spec.head_dim;
        let mut out = vec![0.0; self.rows.len() / 3 * spec.kv_heads * group];
        let tasks = out.len() / group;
        let shared = Shared::new(&mut out);
        threads::share(tasks, |task| {
            // SAFETY: each task has its own heads of its own row.
            let out = unsafe { shared.part(task * group, group) };
            isa.run(Heads {
                attention: self,
                row: task / spec.kv_heads,
                kv_head: task % spec.kv_heads,
                out,
            });
        });
        out
    }
}

/// The query heads of one row that share a key and value head.
struct Heads<'a, C> {
    attention: &'a Attention<'a, C>,
    row: usize,
    kv_head: usize,
    out: &'a mut [f32],
}

impl<C: Cell> Job for Heads<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention {
            qkv,
            cache,
            rows,
            tables,
            blocks,
            spec,
        } = *self.attention;
        let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
        let [position, _, sequence] = rows[self.row * 3..][..3] else {
            unreachable!()
        };
        let position = position as usize;
        let table = &tables[sequence as usize * blocks..][..blocks];
        let (keys, values) = cache.split_at(cache.len() / 2);
        let start = spec.window.map_or(0, |w| (position + 1).saturating_sub(w));

        let slot = |t: usize| table[t / spec.block] as usize * spec.block + t % spec.block;
        let at = |t: usize| slot(t) * kv + self.kv_head * dim;
        let heads = spec.heads / spec.kv_heads;
        let first = self.row * (spec.heads * dim + 2 * kv) + self.kv_head * heads * dim;
        let mut scores = vec![0f32; position + 1 - start];
        for (h, out) in self.out.chunks_exact_mut(dim).enumerate() {
            let query = qkv[first + h * dim..][..dim].to_vec();
            for (t, score) in (start..=position).zip(&mut scores) {
                let key = keys[at(t)..][..dim].as_ptr().cast();
                // SAFETY: `key` is `dim` cells, `query` as many floats and whole eights.
                let [dot] =
                    unsafe { <Floats<C::Format> as Weights>::dot::<S, 1>(key, dim, [&query]) };
                let scaled = dot * spec.scale;
                *score = spec
                    .softcap
                    .map_or(scaled, |cap| cap * (scaled / cap).tanh());
            }
            let max = scores.iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0;
            for score in &mut scores {
                *score = (*score - max).exp();
                sum += *score;
            }
            let inverse = 1.0 / sum;
            for (t, score) in (start..=position).zip(&scores) {
                let value = values[at(t)..][..dim].as_ptr().cast::<u8>();
                // SAFETY: `value` is `dim` cells, `out` as many floats, both whole eights.
                unsafe {
                    let weight = S::splat(score * inverse);
                    for d in (0..dim).step_by(8) {
                        let out = out.as_mut_ptr().add(d);
                        let v = <C::Format as Float>::load::<S>(value.add(d * size_of::<C>()));
                        S::store(out, S::fma(S::load_f32(out.cast()), weight, v));
                    }
                }
            }
        }
    }
}
