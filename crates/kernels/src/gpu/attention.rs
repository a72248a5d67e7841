//! Grouped-query attention over the block cache, with an online softmax (Milakov & Gimelshein
//! 2018): a workgroup takes the heads that share keys, and of a prompt several rows, walks their
//! tokens in chunks and reads each key and value once for all. Where few rows would leave a GPU idle,
//! a long context is shared between workgroups (Dao et al. 2023, "Flash-Decoding") and their parts
//! are put together by a second kernel.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::cubecl;
use cubecl::prelude::*;

use super::choice::Class;
use super::input::safe_tanh;
use super::rope::{Rope, Turning, TurningLaunch, take_row};
use super::{CubeTensor, UNITS_1D, columns, empty, rows, spread};
use crate::{AttentionSpec, RopeSpec};

/// Queries of a workgroup, at most.
const QUERIES: usize = 8;
/// Their numbers, at most: half of the workgroup memory that WebGPU grants.
const QUERY_MEMORY: usize = 2048;
/// Score of a token that a row does not see.
const UNSEEN: f32 = -3.0e38;
/// Tokens of a part of a context, and parts at most. Beyond that parts grow.
const PART: usize = 256;
const PARTS: usize = 64;

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    block: usize,
    softcap: bool,
    /// Rows that a workgroup takes, side by side; of one sequence it takes them at once.
    rows: usize,
    /// Heads that a workgroup takes, all with the same keys.
    share: usize,
    /// Invocations of a workgroup.
    units: usize,
    /// Tokens of a chunk whose scores an invocation adds up.
    tokens: usize,
    /// Writes a part's sums, for [`join_kernel`].
    split: bool,
}

impl Attention {
    fn new(spec: AttentionSpec, class: Class, split: bool) -> Attention {
        let most = (QUERY_MEMORY / spec.head_dim).clamp(1, QUERIES);
        let group = spec.heads / spec.kv_heads;
        let share = (1..=most.min(group)).rfind(|n| group.is_multiple_of(*n));
        let share = share.unwrap_or(1);
        // A software GPU: workgroups are as wide as its vectors, and each load that differs between
        // lanes has to serve many products. A tab's (SwiftShader) takes a minute to compile that.
        let (units, tokens) = match class {
            Class::Software if !cfg!(target_arch = "wasm32") => (8, 4),
            _ => (UNITS_1D, 1),
        };
        Attention {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            block: spec.block,
            softcap: spec.softcap.is_some(),
            rows: if spec.alone { 1 } else { most / share },
            share,
            units,
            tokens,
            split,
        }
    }

    fn queries(self) -> usize {
        self.rows * self.share
    }

    fn chunk(self) -> usize {
        self.units * self.tokens
    }

    /// Columns of the output an invocation adds up.
    fn own(self) -> usize {
        self.head_dim.div_ceil(self.units)
    }

    fn scores(self) -> usize {
        self.queries() * self.tokens
    }

    fn mixed(self) -> usize {
        self.queries() * self.own()
    }

    /// Numbers of a part: the values, the largest score and the sum.
    fn part(self) -> usize {
        self.head_dim + 2
    }
}

/// Numbers of a launch that no kernel is compiled for.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Sizes {
    /// Rows of the step.
    count: usize,
    /// Tokens that the cache holds.
    slots: usize,
    /// Blocks of a sequence's table.
    blocks: usize,
    /// Tokens that a row sees.
    window: usize,
    scale: f32,
    cap: f32,
    /// Workgroups that share a context.
    parts: usize,
    /// Tokens of a part, whole chunks.
    span: usize,
}

/// A step's rows as they are after [`rope`](super::rope). The places that come from `rows` and `tables` are held
/// inside their buffers: the kernels are launched without the device's own checks.
#[cube(launch_unchecked)]
fn attention_kernel<C: Float>(
    out: &mut [f32],
    qkv: &[f32],
    cache: &[C],
    rows: &[i32],
    tables: &[i32],
    sizes: Sizes,
    #[comptime] spec: Attention,
    #[define(C)] _cache: ElemType,
) {
    let mut queries = Shared::<[f32]>::new_slice(comptime!(spec.queries() * spec.head_dim));
    attend(
        out,
        qkv,
        cache,
        rows,
        tables,
        &mut queries,
        sizes,
        spec,
        false,
    );
}

/// Rows of sequences of their own, before [`rope`](super::rope): each workgroup turns what it reads.
#[cube(launch_unchecked)]
fn turning_kernel<C: Float>(
    out: &mut [f32],
    qkv: &[f32],
    cache: &mut [C],
    rows: &[i32],
    tables: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    sizes: Sizes,
    turning: Turning,
    #[comptime] spec: Attention,
    #[comptime] turns: Rope,
    #[define(C)] _cache: ElemType,
) {
    let mut queries = Shared::<[f32]>::new_slice(comptime!(spec.queries() * spec.head_dim));
    let groups = comptime!(spec.heads / spec.share);
    let head = CUBE_POS / sizes.parts % groups * comptime!(spec.share);
    let row = CUBE_POS / sizes.parts / groups;
    if row < sizes.count {
        let kv_head = head / comptime!(spec.heads / spec.kv_heads);
        take_row(
            &mut queries,
            qkv,
            cache,
            rows,
            frequencies,
            gains,
            row,
            head,
            kv_head,
            sizes.slots,
            sizes.scale,
            turning,
            comptime!(spec.share),
            comptime!(spec.units),
            turns,
        );
    }
    sync_storage();
    attend(
        out,
        qkv,
        &*cache,
        rows,
        tables,
        &mut queries,
        sizes,
        spec,
        true,
    );
}

/// `taken`: the row's queries are in place.
#[cube]
fn attend<C: Float>(
    out: &mut [f32],
    qkv: &[f32],
    cache: &[C],
    rows: &[i32],
    tables: &[i32],
    queries: &mut Shared<[f32]>,
    sizes: Sizes,
    #[comptime] spec: Attention,
    #[comptime] taken: bool,
) {
    let (dim, units) = comptime!((spec.head_dim, spec.units));
    let width = comptime!(spec.share * spec.head_dim);
    let groups = comptime!(spec.heads / spec.share);
    let part = CUBE_POS % sizes.parts;
    let head = CUBE_POS / sizes.parts % groups * comptime!(spec.share);
    let tile = CUBE_POS / sizes.parts / groups;
    let kv_head = head / comptime!(spec.heads / spec.kv_heads);
    let unit = UNIT_POS as usize;

    let mut places = Shared::<[u32]>::new_slice(comptime!(spec.chunk()));
    // An invocation's largest score of a query; of all so far, and what the sums shrink by for it.
    let mut peaks = Shared::<[f32]>::new_slice(comptime!(spec.queries() * spec.units));
    let mut tops = Shared::<[f32]>::new_slice(comptime!(spec.queries()));
    let mut fades = Shared::<[f32]>::new_slice(comptime!(spec.queries()));
    let mut shares = Shared::<[f32]>::new_slice(comptime!(spec.queries() * spec.chunk()));

    let mut row = tile * comptime!(spec.rows);
    let end = min(row + comptime!(spec.rows), sizes.count);
    while row < end {
        // The rows from here on that are of one sequence.
        let sequence = rows[row * 3 + 2];
        let mut run = 1usize;
        #[unroll]
        for r in 1..comptime!(spec.rows) {
            let next = min(row + r, end - 1);
            if run == r && row + r < end && rows[next * 3 + 2] == sequence {
                run = r + 1;
            }
        }
        // The first and the last token of each; a row there is not is the last one again.
        let mut firsts = Array::<usize>::new(comptime!(spec.rows));
        let mut lasts = Array::<usize>::new(comptime!(spec.rows));
        let last = rows[row * 3] as usize;
        let mut from = last + 1 - min(sizes.window, last + 1);
        let mut to = last + 1;
        #[unroll]
        for r in 0..comptime!(spec.rows) {
            let last = rows[(row + min(r, run - 1)) * 3] as usize;
            lasts[r] = last;
            firsts[r] = last + 1 - min(sizes.window, last + 1);
            from = min(from, firsts[r]);
            to = max(to, last + 1);
        }
        from = max(from, part * sizes.span);
        to = min(to, (part + 1) * sizes.span);

        if comptime!(!taken) {
            let mut i = unit;
            while i < comptime!(spec.queries() * spec.head_dim) {
                let at = (row + min(i / width, run - 1))
                    * comptime!((spec.heads + 2 * spec.kv_heads) * spec.head_dim);
                queries[i] = qkv[at + head * dim + i % width] * sizes.scale;
                i += units;
            }
        }
        if unit < comptime!(spec.queries()) {
            tops[unit] = UNSEEN;
        }
        let mut sums = Array::<f32>::new(comptime!(spec.queries()));
        #[unroll]
        for q in 0..comptime!(spec.queries()) {
            sums[q] = 0.0;
        }
        let mut mixed = Array::<f32>::new(comptime!(spec.mixed()));
        #[unroll]
        for m in 0..comptime!(spec.mixed()) {
            mixed[m] = 0.0;
        }
        sync_cube();

        // Chunks begin at the same tokens whatever rows are here, so that sums have one order.
        let table = sequence as usize * sizes.blocks;
        let mut chunk = from / comptime!(spec.chunk()) * comptime!(spec.chunk());
        while chunk < to {
            // Some tokens an invocation: their scores.
            let mut keys = Array::<usize>::new(comptime!(spec.tokens));
            #[unroll]
            for t in 0..comptime!(spec.tokens) {
                let place = comptime!(t * spec.units) + unit;
                let token = min(chunk + place, to - 1);
                let entry = min(table + token / comptime!(spec.block), tables.len() - 1);
                let block = tables[entry] as usize;
                let slot = min(
                    block * comptime!(spec.block) + token % comptime!(spec.block),
                    sizes.slots - 1,
                );
                keys[t] = (slot * comptime!(spec.kv_heads) + kv_head) * dim;
                places[place] = keys[t] as u32;
            }
            let mut scores = Array::<f32>::new(comptime!(spec.scores()));
            #[unroll]
            for s in 0..comptime!(spec.scores()) {
                scores[s] = 0.0;
            }
            let mut key = Array::<f32>::new(comptime!(spec.tokens));
            for d in 0..dim {
                #[unroll]
                for t in 0..comptime!(spec.tokens) {
                    key[t] = f32::cast_from(cache[keys[t] + d]);
                }
                #[unroll]
                for q in 0..comptime!(spec.queries()) {
                    let query = queries[comptime!(q * spec.head_dim) + d];
                    #[unroll]
                    for t in 0..comptime!(spec.tokens) {
                        scores[comptime!(q * spec.tokens + t)] += query * key[t];
                    }
                }
            }
            #[unroll]
            for q in 0..comptime!(spec.queries()) {
                let mut peak = f32::new(UNSEEN);
                #[unroll]
                for t in 0..comptime!(spec.tokens) {
                    let mut score = scores[comptime!(q * spec.tokens + t)];
                    if comptime!(spec.softcap) {
                        score = safe_tanh(score / sizes.cap) * sizes.cap;
                    }
                    let token = chunk + comptime!(t * spec.units) + unit;
                    let row = comptime!(q / spec.share);
                    if token < firsts[row] || token > lasts[row] {
                        score = f32::new(UNSEEN);
                    }
                    scores[comptime!(q * spec.tokens + t)] = score;
                    peak = max(peak, score);
                }
                peaks[comptime!(q * spec.units) + unit] = peak;
            }
            sync_cube();
            // A query an invocation: its largest score.
            if unit < comptime!(spec.queries()) {
                let before = tops[unit];
                let mut top = before;
                for u in 0..units {
                    top = max(top, peaks[unit * units + u]);
                }
                tops[unit] = top;
                fades[unit] = (before - top).exp();
            }
            sync_cube();
            #[unroll]
            for q in 0..comptime!(spec.queries()) {
                let top = tops[q];
                #[unroll]
                for t in 0..comptime!(spec.tokens) {
                    let score = scores[comptime!(q * spec.tokens + t)];
                    // Before a row's first token the largest score is none, too.
                    let share = select(score > UNSEEN, (score - top).exp(), f32::new(0.0));
                    shares[comptime!(q * spec.chunk() + t * spec.units) + unit] = share;
                }
                let fade = fades[q];
                sums[q] *= fade;
                #[unroll]
                for o in 0..comptime!(spec.own()) {
                    mixed[comptime!(q * spec.own() + o)] *= fade;
                }
            }
            sync_cube();
            // Some columns an invocation: the values.
            let mut value = Array::<f32>::new(comptime!(spec.own()));
            for t in 0..min(to - chunk, comptime!(spec.chunk())) {
                let place =
                    sizes.slots * comptime!(spec.kv_heads * spec.head_dim) + places[t] as usize;
                #[unroll]
                for o in 0..comptime!(spec.own()) {
                    let column = min(unit + comptime!(o * spec.units), dim - 1);
                    value[o] = f32::cast_from(cache[place + column]);
                }
                #[unroll]
                for q in 0..comptime!(spec.queries()) {
                    let share = shares[comptime!(q * spec.chunk()) + t];
                    sums[q] += share;
                    #[unroll]
                    for o in 0..comptime!(spec.own()) {
                        mixed[comptime!(q * spec.own() + o)] += share * value[o];
                    }
                }
            }
            sync_cube();
            chunk += comptime!(spec.chunk());
        }

        #[unroll]
        for q in 0..comptime!(spec.queries()) {
            if comptime!(q / spec.share) < run {
                let at = (row + comptime!(q / spec.share)) * comptime!(spec.heads)
                    + head
                    + comptime!(q % spec.share);
                let first = if comptime!(spec.split) {
                    (at * sizes.parts + part) * comptime!(spec.part())
                } else {
                    at * dim
                };
                // Parts are divided by the sum of all when they are joined.
                let whole = if comptime!(spec.split) {
                    f32::new(1.0)
                } else {
                    sums[q]
                };
                #[unroll]
                for o in 0..comptime!(spec.own()) {
                    let column = unit + comptime!(o * spec.units);
                    if column < dim {
                        out[first + column] = mixed[comptime!(q * spec.own() + o)] / whole;
                    }
                }
                // The first invocation's, and nobody's where the context is whole.
                let numbers = comptime!(if spec.split { 1usize } else { 0 });
                if unit < numbers {
                    out[first + dim] = tops[q];
                    out[first + dim + 1] = sums[q];
                }
            }
        }
        row += run;
    }
}

/// Puts the parts of a context together: a workgroup a head of a row, columns side by side.
#[cube(launch_unchecked)]
fn join_kernel(out: &mut [f32], parts: &[f32], heads: usize, count: usize, #[comptime] dim: usize) {
    let head = CUBE_POS;
    if head < heads {
        let width = comptime!(dim + 2);
        let first = head * count * width;
        let mut top = f32::new(UNSEEN);
        for part in 0..count {
            top = max(top, parts[first + part * width + dim]);
        }
        let mut sum = 0.0f32;
        for part in 0..count {
            let at = first + part * width + dim;
            sum += parts[at + 1] * (parts[at] - top).exp();
        }
        let mut column = UNIT_POS as usize;
        while column < dim {
            let mut mixed = 0.0f32;
            for part in 0..count {
                let at = first + part * width;
                mixed += parts[at + column] * (parts[at + dim] - top).exp();
            }
            out[head * dim + column] = mixed / sum;
            column += comptime!(UNITS_1D);
        }
    }
}

/// Few workgroups with much to do each: sharing the tokens of longer contexts keeps more of a GPU
/// busy. One in software has few threads, and there a row's sums keep their order.
pub fn shared_from(class: Class) -> Option<usize> {
    (class != Class::Software).then_some(PART)
}

pub fn attention(
    qkv: &CubeTensor,
    cache: &CubeTensor,
    table: CubeTensor,
    tables: CubeTensor,
    spec: AttentionSpec,
) -> CubeTensor {
    let (class, parts) = plan(qkv, spec);
    run(qkv, cache, table, tables, spec, None, class, parts)
}

/// [`rope`](super::rope::rope) and [`attention`] at once, of rows that are of a sequence each.
pub fn turning_attention(
    qkv: &CubeTensor,
    cache: &CubeTensor,
    table: CubeTensor,
    tables: CubeTensor,
    turns: Turns,
    spec: AttentionSpec,
) -> CubeTensor {
    let (class, parts) = plan(qkv, spec);
    run(qkv, cache, table, tables, spec, Some(turns), class, parts)
}

/// How queries and keys are turned.
#[derive(Clone, Copy)]
pub struct Turns<'a> {
    pub frequencies: &'a CubeTensor,
    pub gains: &'a CubeTensor,
    pub spec: RopeSpec,
}

/// The class of the device, and parts of a context.
fn plan(qkv: &CubeTensor, spec: AttentionSpec) -> (Class, usize) {
    let class = Class::of(qkv.client.properties());
    let shared = spec.alone && shared_from(class).is_some_and(|from| spec.longest > from);
    let parts = match shared {
        true => spec.longest.div_ceil(PART).min(PARTS),
        false => 1,
    };
    (class, parts)
}

/// Attention as on such a device, with the context in so many parts.
pub fn run(
    qkv: &CubeTensor,
    cache: &CubeTensor,
    table: CubeTensor,
    tables: CubeTensor,
    spec: AttentionSpec,
    turns: Option<Turns>,
    class: Class,
    parts: usize,
) -> CubeTensor {
    let count = rows(qkv);
    let (all, kv) = (
        spec.heads + 2 * spec.kv_heads,
        spec.kv_heads * spec.head_dim,
    );
    let fits = columns(qkv).1 == all * spec.head_dim
        && cache.meta.shape().num_elements() == 2 * cache.meta.shape()[1] * kv
        && table.meta.shape().num_elements() >= 3 * count
        && tables.meta.shape().num_elements() > 0
        && cache.meta.shape()[1] > 0;
    let turnable = turns.is_none_or(|turns| {
        let gains = turns.gains.meta.shape().num_elements();
        spec.alone
            && turns.frequencies.meta.shape().num_elements() >= turns.spec.pairs
            && (turns.spec.qk_norm.is_none() || gains >= 2 * spec.head_dim)
            && 2 * turns.spec.pairs <= spec.head_dim
            && (turns.spec.heads, turns.spec.kv_heads, turns.spec.head_dim)
                == (spec.heads, spec.kv_heads, spec.head_dim)
    });
    assert!(
        fits && turnable,
        "attention: {qkv:?}, {cache:?}, {table:?}, {tables:?} for {spec:?}"
    );
    let plan = Attention::new(spec, class, parts > 1);
    let span = match parts {
        1 => u32::MAX as usize / 2,
        _ => spec.longest.div_ceil(parts).next_multiple_of(plan.chunk()),
    };
    let heads = count * spec.heads;
    let out = empty(qkv, [count, spec.heads * spec.head_dim]);
    let sums = match plan.split {
        true => empty(qkv, [heads, parts * plan.part()]),
        false => out.clone(),
    };
    let client = &qkv.client;
    let grid = spread(count.div_ceil(plan.rows) * (spec.heads / plan.share) * parts);
    let units = CubeDim::new_1d(plan.units as u32);
    let sizes = SizesLaunch::new(
        count,
        cache.meta.shape()[1],
        columns(&tables).1,
        spec.window.unwrap_or(u32::MAX as usize),
        spec.scale,
        spec.softcap.unwrap_or(1.0),
        parts,
        span,
    );
    let precision = dtype_to_storage_type(cache.dtype);
    let (to, from) = (
        sums.clone().into_buffer_arg(),
        qkv.clone().into_buffer_arg(),
    );
    let (cache, table) = (cache.clone().into_buffer_arg(), table.into_buffer_arg());
    let tables = tables.into_buffer_arg();
    // SAFETY: `row < count` bounds the addresses in `qkv`, `rows`, `out` and the parts; the entry of
    // `tables` is clamped to its last and the slots to the cache's last, so that each of a slot's columns is
    // inside the keys, and `slots` rows further inside the values; there is a frequency for each pair, and a gain for
    // each column where there are some. Sizes were just checked. Workgroup memory is indexed below the sizes it is made with.
    unsafe {
        match turns {
            None => attention_kernel::launch_unchecked(
                client, grid, units, to, from, cache, table, tables, sizes, plan, precision,
            ),
            Some(turns) => turning_kernel::launch_unchecked(
                client,
                grid,
                units,
                to,
                from,
                cache,
                table,
                tables,
                turns.frequencies.clone().into_buffer_arg(),
                turns.gains.clone().into_buffer_arg(),
                sizes,
                TurningLaunch::new(turns.spec.magnitude, turns.spec.qk_norm.unwrap_or(0.0)),
                plan,
                Rope::new(turns.spec),
                precision,
            ),
        }
    };
    if plan.split {
        // SAFETY: `head < heads` bounds the addresses in both buffers, whose sizes are above.
        unsafe {
            join_kernel::launch_unchecked(
                &qkv.client,
                spread(heads),
                CubeDim::new_1d(UNITS_1D as u32),
                out.clone().into_buffer_arg(),
                sums.into_buffer_arg(),
                heads,
                parts,
                spec.head_dim,
            )
        };
    }
    out
}
