//! Rotary positions, the cache, and grouped-query attention over it.

mod tile;

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use tile::{TOKENS, Tile, Total};

use crate::dot::{F16, F32, Float};
use crate::isa::{Isa, Job};
use crate::reference::normalize;
use crate::simd::Simd;
use crate::threads::{self, Shared};
use crate::{AttentionSpec, Norm, RopeSpec};

/// Most rows of a sequence that are computed together.
const ROWS: usize = 32;
/// Tokens that are summed up by themselves, so that threads can share the context of a single row: some tiles.
const CHUNK: usize = 4 * TOKENS;

/// A number of the cache.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Writes numbers down.
    fn fill(to: &mut [Self], from: &[f32]);
}

/// How it is read.
pub(crate) trait Read: Cell {
    /// The same as a weight format.
    type Format: Float + Send + Sync;
}

impl Read for f32 {
    type Format = F32;
}

impl Read for f16 {
    type Format = F16;
}

impl Cell for f32 {
    fn fill(to: &mut [f32], from: &[f32]) {
        to.copy_from_slice(from);
    }
}

impl Cell for f16 {
    fn fill(to: &mut [f16], from: &[f32]) {
        to.convert_from_f32_slice(from);
    }
}

/// Normalises and rotates the queries and keys of `qkv` in place, and writes its keys and values to their slots of the cache:
/// `rope` of `tinderbox-kernels`, which has the shapes.
pub fn rope<C: Cell>(
    qkv: &mut [f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    spec: RopeSpec,
) {
    turn(qkv, rows, frequencies, gains, spec);
    let kv = spec.kv_heads * spec.head_dim;
    let width = spec.heads * spec.head_dim + 2 * kv;
    let half = cache.len() / 2;
    let (keys, values) = cache.split_at_mut(half);
    for (qkv, row) in qkv.chunks(width).zip(rows.chunks(3)) {
        let slot = row[1] as usize * kv;
        let (key, value) = qkv[width - 2 * kv..].split_at(kv);
        C::fill(&mut keys[slot..][..kv], key);
        C::fill(&mut values[slot..][..kv], value);
    }
}

fn turn(qkv: &mut [f32], rows: &[i32], frequencies: &[f32], gains: &[f32], spec: RopeSpec) {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let width = spec.heads * dim + 2 * kv;
    let shared = Shared::new(qkv);
    threads::share(rows.len() / 3, |r| {
        // SAFETY: each task has its own row.
        let qkv = unsafe { shared.part(r * width, width) };
        let position = rows[3 * r] as f32;
        let turns: Vec<_> = (frequencies[..spec.pairs].iter())
            .map(|frequency| {
                let (sin, cos) = (position * frequency).sin_cos();
                (sin * spec.magnitude, cos * spec.magnitude)
            })
            .collect();
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
    });
}

/// Causal grouped-query attention over the cache, `f32` or `f16`: `attention` of `tinderbox-kernels`, which has the shapes.
pub struct Attention<'a, C> {
    /// What [`rope`] left.
    pub qkv: &'a [f32],
    /// Keys, then values.
    pub cache: &'a [C],
    /// Position, slot and sequence of each row.
    pub rows: &'a [i32],
    /// Blocks of each sequence.
    pub tables: &'a [i32],
    /// Columns of `tables`.
    pub blocks: usize,
    /// The rest.
    pub spec: AttentionSpec,
}

// Compiled here for either kind of cache, not where it is called from.
impl Attention<'_, f32> {
    /// `[rows, heads · head_dim]`.
    pub fn run(&self) -> Vec<f32> {
        self.run_on(Isa::best())
    }

    /// [`Attention::run`] on this instruction set, or on the next whose vectors divide a head.
    pub fn run_on(&self, isa: Isa) -> Vec<f32> {
        attend(self, isa)
    }
}

impl Attention<'_, f16> {
    /// `[rows, heads · head_dim]`.
    pub fn run(&self) -> Vec<f32> {
        self.run_on(Isa::best())
    }

    /// [`Attention::run`] on this instruction set, or on the next whose vectors divide a head.
    pub fn run_on(&self, isa: Isa) -> Vec<f32> {
        attend(self, isa)
    }
}

/// `Attention::run_on`.
fn attend<C: Read>(attention: &Attention<C>, isa: Isa) -> Vec<f32> {
    let spec = attention.spec;
    let isa = isa.of_width(spec.head_dim);
    let mut out = vec![0.0; attention.rows.len() / 3 * spec.heads * spec.head_dim];
    let shared = Shared::new(&mut out);
    // Up to so many neighbours of one sequence, with their first one's number.
    let mut blocks = Vec::new();
    let mut first = 0;
    for rows in (attention.rows.as_chunks::<3>().0).chunk_by(|a, b| a[2] == b[2]) {
        for rows in rows.chunks(ROWS) {
            blocks.push((first, rows));
            first += rows.len();
        }
    }
    let mut pieces = Vec::new();
    let mut tasks = Vec::new();
    for &(first, rows) in &blocks {
        // Tasks for each thread. A token's heads lie side by side in memory, so a single row's stay together as far as that goes.
        let wanted = threads::count().div_ceil(blocks.len());
        let split = rows.len() == 1 && wanted > spec.kv_heads;
        let shares = match rows.len() {
            1 if split => wanted.div_ceil(chunks(&attended(rows, spec)).count()),
            1 => wanted,
            _ => spec.kv_heads,
        };
        let shares = shares.min(spec.kv_heads);
        for share in 0..shares {
            let piece = Heads {
                attention,
                first,
                rows,
                kv_heads: share * spec.kv_heads / shares..(share + 1) * spec.kv_heads / shares,
            };
            let before = tasks.len();
            let tokens = attended(rows, spec);
            match split {
                true => tasks.extend(chunks(&tokens).map(|chunk| (pieces.len(), chunk))),
                false => tasks.push((pieces.len(), tokens)),
            }
            pieces.push((piece, before..tasks.len()));
        }
    }
    let parts = threads::collect(tasks.len(), |task| {
        let (piece, tokens) = tasks[task].clone();
        isa.run(Part {
            heads: &pieces[piece].0,
            tokens,
        })
    });
    threads::share(pieces.len(), |piece| {
        let (heads, tasks) = &pieces[piece];
        heads.write(&parts[tasks.clone()], shared);
    });
    out
}

/// Positions that any of some rows of a sequence attends to.
fn attended(rows: &[[i32; 3]], spec: AttentionSpec) -> Range<usize> {
    let end = |row: &[i32; 3]| row[0] as usize + 1;
    let start = |row| spec.window.map_or(0, |w| end(row).saturating_sub(w));
    let first = rows.iter().map(start).min();
    first.unwrap_or(0)..rows.iter().map(end).max().unwrap_or(0)
}

/// Positions in pieces that begin at multiples of [`CHUNK`], whatever the first is.
fn chunks(tokens: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (start, end) = (tokens.start, tokens.end);
    (start / CHUNK..end.div_ceil(CHUNK))
        .map(move |i| start.max(i * CHUNK)..end.min((i + 1) * CHUNK))
}

/// The query heads of some rows of one sequence that share some key and value heads.
struct Heads<'a, C> {
    attention: &'a Attention<'a, C>,
    /// Number of the first row.
    first: usize,
    /// Position, slot and sequence of each.
    rows: &'a [[i32; 3]],
    kv_heads: Range<usize>,
}

impl<C: Read> Heads<'_, C> {
    /// Where in the cache the keys of each token begin; its values lie half the cache further on.
    fn places(&self, tokens: Range<usize>) -> Vec<*const C> {
        let Attention {
            cache,
            tables,
            blocks,
            spec,
            ..
        } = *self.attention;
        let kv = spec.kv_heads * spec.head_dim;
        let table = &tables[self.rows[0][2] as usize * blocks..][..blocks];
        let mut places = Vec::with_capacity(tokens.len());
        let mut t = tokens.start;
        while t < tokens.end {
            let (block, first) = (table[t / spec.block] as usize, t % spec.block);
            let last = spec.block.min(first + tokens.end - t);
            let cells = (block * spec.block + first) * kv..(block * spec.block + last) * kv;
            assert!(
                cells.end <= cache.len() / 2,
                "attention: block {block} is none"
            );
            places.extend(cells.step_by(kv).map(|at| cache.as_ptr().wrapping_add(at)));
            t += last - first;
        }
        places
    }

    /// The queries that share key and value head `kv_head` in row `r`, and where in `sums` they belong.
    fn of<'s>(
        &self,
        r: usize,
        kv_head: usize,
        sums: &'s mut Sums,
    ) -> (&[f32], &'s mut [f32], &'s mut [Total]) {
        let Attention { qkv, spec, .. } = *self.attention;
        let (dim, share) = (spec.head_dim, spec.heads / spec.kv_heads);
        let width = (spec.heads + 2 * spec.kv_heads) * dim;
        let query = (self.first + r) * width + kv_head * share * dim;
        let own = (r * self.kv_heads.len() + kv_head - self.kv_heads.start) * share;
        (
            &qkv[query..][..share * dim],
            &mut sums.values[own * dim..][..share * dim],
            &mut sums.totals[own..][..share],
        )
    }

    /// Puts the parts of these heads together, and writes them to the result.
    fn write(&self, parts: &[Sums], out: Shared<f32>) {
        let spec = self.attention.spec;
        let (dim, share) = (spec.head_dim, spec.heads / spec.kv_heads);
        let mut sums = parts[0].clone();
        for part in &parts[1..] {
            sums.join(part);
        }
        let heads = self.kv_heads.len() * share;
        let rows = sums.totals.chunks_exact(heads);
        for (r, (totals, values)) in rows.zip(sums.values.chunks_exact(heads * dim)).enumerate() {
            let head = (self.first + r) * spec.heads + self.kv_heads.start * share;
            // SAFETY: nobody else writes these heads of these rows.
            let out = unsafe { out.part(head * dim, heads * dim) };
            let heads = out.chunks_exact_mut(dim).zip(values.chunks_exact(dim));
            for ((out, values), total) in heads.zip(totals) {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = value / total.sum;
                }
            }
        }
    }
}

/// What heads of some rows have of some tokens.
#[derive(Clone)]
struct Sums {
    /// A head's values times their weights, for each of `totals`.
    values: Vec<f32>,
    totals: Vec<Total>,
}

impl Sums {
    fn new(heads: usize, dim: usize) -> Sums {
        Sums {
            values: vec![0.0; heads * dim],
            totals: vec![Total::default(); heads],
        }
    }

    /// Adds those of the tokens that come next.
    #[inline(always)]
    fn join(&mut self, next: &Sums) {
        let dim = self.values.len() / self.totals.len();
        let values = self
            .values
            .chunks_exact_mut(dim)
            .zip(next.values.chunks_exact(dim));
        for ((total, next), (values, more)) in self.totals.iter_mut().zip(&next.totals).zip(values)
        {
            let max = total.max.max(next.max);
            let (own, other) = ((total.max - max).exp(), (next.max - max).exp());
            *total = Total {
                max,
                sum: total.sum * own + next.sum * other,
            };
            for (value, more) in values.iter_mut().zip(more) {
                *value = *value * own + *more * other;
            }
        }
    }
}

/// [`Heads`] over some tokens.
struct Part<'a, C> {
    heads: &'a Heads<'a, C>,
    tokens: Range<usize>,
}

impl<C: Read> Job for Part<'_, C> {
    type Output = Sums;

    /// Softmax over tiles of tokens, whose sums are of weights `e^(score − largest so far)` and shrink where a tile has a larger
    /// score (Milakov and Gimelshein 2018, arXiv:1805.02867). Tiles and chunks begin at multiples of their lengths, so that a
    /// row's sums depend neither on the rows beside it nor on the number of threads.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Sums {
        let Part { heads, tokens } = self;
        let (rows, cache) = (heads.rows, heads.attention.cache);
        let spec = heads.attention.spec;
        let dim = spec.head_dim;
        let count = rows.len() * heads.kv_heads.len() * (spec.heads / spec.kv_heads);
        let places = heads.places(tokens.clone());
        // Several rows share a conversion.
        let room = match rows.len() {
            1 => 0,
            _ => places.len().min(TOKENS) * dim,
        };
        let mut floats = vec![0.0; 2 * room];

        let mut all = Sums::new(count, dim);
        for chunk in chunks(&tokens) {
            let mut sums = Sums::new(count, dim);
            let mut at = chunk.start;
            while at < chunk.end {
                let tile = at..chunk.end.min(at / TOKENS * TOKENS + TOKENS);
                let places = &places[at - tokens.start..];
                at = tile.end;
                for kv_head in heads.kv_heads.clone() {
                    let cells = Tile {
                        places,
                        tokens: tile.len(),
                        key: kv_head * dim,
                        value: cache.len() / 2 + kv_head * dim,
                    };
                    // SAFETY: `Heads::places` found the tokens, and there is room for a tile; the instruction set is the
                    // caller's.
                    unsafe {
                        if rows.len() == 1 {
                            let (queries, values, totals) = heads.of(0, kv_head, &mut sums);
                            cells.add::<S>(queries, values, totals, spec);
                            continue;
                        }
                        let converted = cells.convert::<S>(&mut floats, dim);
                        for (r, row) in rows.chunks(1).enumerate() {
                            let span = attended(row, spec);
                            let part = tile.start.max(span.start)..tile.end.min(span.end);
                            if part.is_empty() {
                                continue;
                            }
                            let own = Tile {
                                places: &converted[part.start - tile.start..part.end - tile.start],
                                tokens: part.len(),
                                key: 0,
                                value: room,
                            };
                            let (queries, values, totals) = heads.of(r, kv_head, &mut sums);
                            own.add::<S>(queries, values, totals, spec);
                        }
                    }
                }
            }
            all.join(&sums);
        }
        all
    }
}
