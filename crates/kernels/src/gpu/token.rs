//! The next token of each row: the best one, or one drawn from those that the row's [`Draw`](crate::Draw) leaves.
//!
//! A workgroup takes a row. Filters keep the logits from some threshold on, and of those that equal it
//! the first few ids. The threshold is found digit by digit, over the order of the logits' bits (as a radix select does):
//! nothing is sorted, and nothing but the token leaves the device.

use burn::cubecl;
use cubecl::prelude::*;
use tinderbox_cpu::DRAW;

use super::{CubeTensor, columns, spread};

/// Invocations of a workgroup.
const UNITS: usize = 256;
/// Of a threshold, found at once: values of a digit but 0, and its bits.
const STEPS: usize = 3;
const BITS: u32 = 2;
/// More than all logits weigh: keeps all of them.
const ALL: f32 = 3.0e38;
/// Key of zero, and of infinity: also the bits of minus infinity.
const ZERO: u32 = 0x8000_0000;
const INFINITE: u32 = 0xff80_0000;

/// A logit's place among all: 0 for what is never chosen (NaN and minus infinity).
#[cube]
fn key(logit: f32) -> u32 {
    let bits = u32::reinterpret(logit);
    let size = bits & 0x7fff_ffff;
    let mut key = select(bits == size, bits | ZERO, !bits);
    if size == 0 {
        key = ZERO.runtime();
    }
    if size > 0x7f80_0000 || bits == INFINITE {
        key = 0;
    }
    key
}

/// The logit of a key that is not 0.
#[cube]
fn logit(key: u32) -> f32 {
    f32::reinterpret(select(key >= ZERO, key ^ ZERO, !key))
}

/// Adds up each of some numbers over a workgroup, in one order.
#[cube]
fn add_up(values: &mut Array<f32>, partials: &mut Shared<[f32]>, #[comptime] count: usize) {
    let unit = UNIT_POS as usize;
    #[unroll]
    for v in 0..count {
        partials[comptime!(v * UNITS) + unit] = values[v];
    }
    let mut half = comptime!(UNITS / 2).runtime();
    while half > 0 {
        sync_cube();
        if unit < half {
            #[unroll]
            for v in 0..count {
                let other = partials[comptime!(v * UNITS) + unit + half];
                partials[comptime!(v * UNITS) + unit] += other;
            }
        }
        half /= 2;
    }
    sync_cube();
    #[unroll]
    for v in 0..count {
        values[v] = partials[comptime!(v * UNITS)];
    }
    sync_cube();
}

/// A row of logits, and what they are compared with.
#[derive(CubeType, Clone, Copy)]
struct Row {
    start: usize,
    vocab: usize,
    best: f32,
    temperature: f32,
}

/// Proportional to the probability; the best logit has 1.
#[cube]
fn weight(logit: f32, row: &Row) -> f32 {
    ((logit - row.best) / row.temperature).exp()
}

/// The best logit's key and, where several are as good, the first id.
#[cube]
fn best(
    logits: &[f32],
    start: usize,
    vocab: usize,
    keys: &mut Shared<[u32]>,
    ids: &mut Shared<[u32]>,
) {
    let unit = UNIT_POS as usize;
    let mut top = 0u32;
    let mut id = 0u32;
    let mut i = unit;
    while i < vocab {
        let key = key(logits[start + i]);
        if key > top {
            top = key;
            id = i as u32;
        }
        i += UNITS;
    }
    keys[unit] = top;
    ids[unit] = id;
    let mut half = comptime!(UNITS / 2).runtime();
    while half > 0 {
        sync_cube();
        if unit < half {
            let other = keys[unit + half];
            let first = ids[unit + half];
            if other > keys[unit] || (other == keys[unit] && first < ids[unit]) {
                keys[unit] = other;
                ids[unit] = first;
            }
        }
        half /= 2;
    }
    sync_cube();
}

/// The largest key from which on there are as many logits as `target`, or with `mass` as much weight;
/// 0 where all are less. Keys below `least` are not counted.
#[cube]
fn threshold(
    logits: &[f32],
    row: &Row,
    least: u32,
    target: f32,
    partials: &mut Shared<[f32]>,
    #[comptime] mass: bool,
) -> u32 {
    let mut found = 0u32;
    let mut shift = 32u32;
    while shift > 0 {
        shift -= BITS;
        let mut sums = Array::<f32>::new(STEPS);
        #[unroll]
        for s in 0..STEPS {
            sums[s] = 0.0;
        }
        let mut i = UNIT_POS as usize;
        while i < row.vocab {
            let logit = logits[row.start + i];
            let key = key(logit);
            let more = if comptime!(mass) {
                weight(logit, row)
            } else {
                f32::new(1.0)
            };
            #[unroll]
            for s in 0..STEPS {
                let from = found + (comptime!(s as u32 + 1) << shift);
                sums[s] += select(key >= from && key >= least, more, f32::new(0.0));
            }
            i += UNITS;
        }
        add_up(&mut sums, partials, STEPS);
        let mut digit = 0u32;
        #[unroll]
        for s in 0..STEPS {
            digit += select(sums[s] >= target, 1u32, 0u32);
        }
        found += digit << shift;
    }
    found
}

/// How many logits there are above a key, and their weight.
#[cube]
fn above(logits: &[f32], row: &Row, from: u32, partials: &mut Shared<[f32]>) -> Array<f32> {
    let mut sums = Array::<f32>::new(2usize);
    sums[0] = 0.0;
    sums[1] = 0.0;
    let mut i = UNIT_POS as usize;
    while i < row.vocab {
        let logit = logits[row.start + i];
        if key(logit) > from {
            sums[0] += 1.0;
            sums[1] += weight(logit, row);
        }
        i += UNITS;
    }
    add_up(&mut sums, partials, 2usize);
    sums
}

/// What is left of a row: keys above `least`, the first `ties` that equal it, and none that weigh less than `weight`.
#[derive(CubeType, Clone, Copy)]
struct Kept {
    least: u32,
    ties: f32,
    weight: f32,
}

/// A logit's weight where it is left, else 0. `rank` counts those that equal the threshold.
#[cube]
fn kept(logit: f32, row: &Row, keep: &Kept, rank: f32) -> f32 {
    let key = key(logit);
    let weight = weight(logit, row);
    let stays = key > keep.least || (key == keep.least && key > 0 && rank < keep.ties);
    select(stays && weight >= keep.weight, weight, f32::new(0.0))
}

#[cube(launch)]
fn best_kernel(tokens: &mut [i32], logits: &[f32], rows: usize, vocab: usize) {
    let mut keys = Shared::<[u32]>::new_slice(UNITS);
    let mut ids = Shared::<[u32]>::new_slice(UNITS);
    let row = CUBE_POS;
    if row < rows {
        best(logits, row * vocab, vocab, &mut keys, &mut ids);
        if UNIT_POS == 0 {
            let finite = keys[0] > 0 && keys[0] < INFINITE;
            tokens[row] = select(finite, ids[0] as i32, i32::new(-1));
        }
    }
}

#[cube(launch)]
fn draw_kernel(tokens: &mut [i32], logits: &[f32], draws: &[i32], rows: usize, vocab: usize) {
    let mut keys = Shared::<[u32]>::new_slice(UNITS);
    let mut ids = Shared::<[u32]>::new_slice(UNITS);
    let mut partials = Shared::<[f32]>::new_slice(comptime!(STEPS * UNITS));
    let at = CUBE_POS;
    if at < rows {
        let unit = UNIT_POS as usize;
        let start = at * vocab;
        best(logits, start, vocab, &mut keys, &mut ids);
        let finite = keys[0] > 0 && keys[0] < INFINITE;
        let temperature = f32::reinterpret(draws[at * DRAW]);
        let top_k = draws[at * DRAW + 1] as u32;
        let top_p = f32::reinterpret(draws[at * DRAW + 2]);
        let min_p = f32::reinterpret(draws[at * DRAW + 3]);
        let part = f32::reinterpret(draws[at * DRAW + 4]);
        let greedy = temperature == 0.0 || top_k == 1;
        let row = Row {
            start: start,
            vocab: vocab,
            best: logit(keys[0]),
            temperature: select(greedy, f32::new(1.0), temperature),
        };

        // Every row goes through every filter, whether it has it or not: a workgroup may not wait for some of its
        // invocations only, and WGSL wants to see that from the code.
        let count = select(top_k == 0, f32::new(ALL), f32::cast_from(top_k));
        let by_rank = threshold(logits, &row, 0, count, &mut partials, false);
        let better = above(logits, &row, by_rank, &mut partials);
        let ranked = select(by_rank == 0, f32::new(0.0), count - better[0]);
        let total =
            better[1] + ranked * select(by_rank == 0, f32::new(0.0), weight(logit(by_rank), &row));

        let target = select(top_p < 1.0, top_p * total, f32::new(ALL));
        let by_mass = threshold(logits, &row, by_rank, target, &mut partials, true);
        let heavier = above(logits, &row, by_mass, &mut partials);
        let enough = max(
            ((target - heavier[1]) / weight(logit(by_mass), &row)).ceil(),
            f32::new(1.0),
        );
        let mut ties = ranked;
        if by_mass > by_rank {
            ties = enough;
        } else if by_mass > 0 {
            ties = min(ranked, enough);
        }
        let keep = Kept {
            least: max(by_rank, by_mass),
            ties: ties,
            weight: min_p,
        };

        // One draw, in the order of the ids: an invocation has those of a range.
        let range = vocab.div_ceil(UNITS);
        let from = min(unit * range, vocab);
        let to = min(from + range, vocab);
        let mut equal = 0.0f32;
        for i in from..to {
            equal += select(
                key(logits[start + i]) == keep.least,
                f32::new(1.0),
                f32::new(0.0),
            );
        }
        partials[unit] = equal;
        sync_cube();
        let mut before = 0.0f32;
        for u in 0..unit {
            before += partials[u];
        }
        sync_cube();
        let mut mine = 0.0f32;
        let mut rank = before;
        for i in from..to {
            let logit = logits[start + i];
            mine += kept(logit, &row, &keep, rank);
            rank += select(key(logit) == keep.least, f32::new(1.0), f32::new(0.0));
        }
        partials[unit] = mine;
        sync_cube();
        let mut lower = 0.0f32;
        let mut all = 0.0f32;
        for u in 0..UNITS {
            if u == unit {
                lower = all;
            }
            all += partials[u];
        }
        // Less than all, however it is rounded: somebody has it.
        let drawn = min(part * all, all * 0.999_999_94);
        let draws_here = drawn >= lower && drawn < lower + mine;
        if finite && !greedy && draws_here {
            let mut left = drawn - lower;
            let mut rank = before;
            let mut chosen = 0usize;
            let mut i = from;
            while i < to {
                let logit = logits[start + i];
                let weight = kept(logit, &row, &keep, rank);
                rank += select(key(logit) == keep.least, f32::new(1.0), f32::new(0.0));
                if weight > 0.0 && left >= 0.0 {
                    chosen = i;
                    left -= weight;
                }
                i += 1;
            }
            tokens[at] = chosen as i32;
        }
        if unit == 0 && (greedy || !finite) {
            tokens[at] = select(finite, ids[0] as i32, i32::new(-1));
        }
    }
}

/// Without `draws` every row gets its best.
pub fn choose(tokens: &CubeTensor, logits: &CubeTensor, draws: Option<&CubeTensor>) {
    let client = &logits.client;
    let (rows, vocab) = columns(logits);
    let (grid, units) = (spread(rows), CubeDim::new_1d(UNITS as u32));
    let (tokens, logits) = (
        tokens.clone().into_buffer_arg(),
        logits.clone().into_buffer_arg(),
    );
    match draws {
        None => best_kernel::launch(client, grid, units, tokens, logits, rows, vocab),
        Some(draws) => {
            let draws = draws.clone().into_buffer_arg();
            draw_kernel::launch(client, grid, units, tokens, logits, draws, rows, vocab);
        }
    }
}
