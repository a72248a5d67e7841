//! The CPU twin against the plain reference, over random shapes.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tinderbox_kernels::sample::{Adapters, Random, matrix};
use tinderbox_kernels::{
    Activation, AttentionSpec, Format, Input, Layout, LinearSpec, LowRank, LowRankSpec, Matrix,
    Norm, RopeSpec, With, add_norm, attention, reference, rope,
};

fn grid(values: &[f32], rows: usize) -> Tensor<2> {
    let shape = [rows, values.len() / rows];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

fn ints(values: &[i32], rows: usize) -> Tensor<2, Int> {
    let shape = [rows, values.len() / rows];
    Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (&Device::flex(), DType::I32),
    )
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Largest difference as a share of the largest expected value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / largest
}

#[test]
fn linear_agrees_with_the_reference_in_every_format() {
    let mut random = Random(1);
    let inputs = [
        Input::Plain,
        Input::Norm(Norm::Rms { eps: 1e-5 }),
        Input::Norm(Norm::Layer { eps: 1e-5 }),
        Input::Act(Activation::Gelu),
        Input::Gated(Activation::Silu),
    ];
    for case in 0..110 {
        let format = Format::ALL[case % Format::ALL.len()];
        let input = inputs[random.below(inputs.len())];
        let (rows, count) = (
            1 + random.below(150),
            [1, 2, 3, 7, 8, 13, 33][random.below(7)],
        );
        let columns = match format.block() {
            1 => 1 + random.below(200),
            block => block * (1 + random.below(5)),
        };
        let layout = Layout {
            format,
            rows,
            columns,
        };
        let (first, width) = (random.below(9), rows + 9);
        let bytes = matrix(layout, &mut random);
        let wide = if matches!(input, Input::Gated(_)) {
            2 * columns
        } else {
            columns
        };
        let x = random.vector(count * wide);
        let gains = random.vector(2 * columns);
        let (accumulate, bias) = (random.below(2) == 1, random.below(2) == 1 && rows > 1);
        let bias_values = random.vector(if bias { rows } else { 1 });
        let before = random.vector(count * width);

        let spec = LinearSpec {
            layout,
            input,
            first,
            accumulate,
            bias,
        };
        let mut expected = before.clone();
        reference::linear(&mut expected, width, &x, &bytes, &gains, &bias_values, spec);

        let gains = match input {
            Input::Norm(Norm::Rms { .. }) => grid(&gains[..columns], 1),
            _ => grid(&gains, 2),
        };
        let bias = Tensor::from_data(
            TensorData::new(bias_values.clone(), [bias_values.len()]),
            &Device::flex(),
        );
        let weights = Matrix::new(layout, bytes, &Device::flex()).unwrap();
        let out = weights.linear(
            grid(&before, count),
            &grid(&x, count),
            &With { input, gains, bias },
            first,
            accumulate,
        );
        let error = error(&values(out), &expected);
        assert!(
            error < 1e-4,
            "case {case}: {spec:?}, {count} rows: error {error}"
        );
    }
}

#[test]
fn embed_returns_dequantized_rows() {
    let mut random = Random(2);
    for format in Format::ALL {
        let layout = Layout {
            format,
            rows: 11,
            columns: 512,
        };
        let bytes = matrix(layout, &mut random);
        let ids = [3, 0, 10, 3];
        let expected = reference::embed(&bytes, &ids, layout, 1.5);
        let ids = ints(&ids, 1).reshape([4]);
        let found = Matrix::new(layout, bytes, &Device::flex())
            .unwrap()
            .embed(&ids, 1.5);
        assert_eq!(values(found), expected, "{format}");
    }
}

/// Sequences with shuffled blocks, and one row for each of their last tokens.
struct Cached {
    rows: Vec<i32>,
    tables: Vec<i32>,
    blocks: usize,
    slots: usize,
}

fn cached(random: &mut Random, block: usize) -> Cached {
    let (sequences, blocks) = (3, 4);
    let mut ids: Vec<i32> = (0..(sequences * blocks) as i32).collect();
    for i in (1..ids.len()).rev() {
        ids.swap(i, random.below(i + 1));
    }
    let mut rows = Vec::new();
    for sequence in 0..sequences {
        let last = random.below(block * blocks);
        for position in last.saturating_sub(random.below(4))..=last {
            let slot =
                ids[sequence * blocks + position / block] as usize * block + position % block;
            rows.extend([position as i32, slot as i32, sequence as i32]);
        }
    }
    Cached {
        rows,
        slots: ids.len() * block,
        tables: ids,
        blocks,
    }
}

#[test]
fn rope_writes_queries_in_place_and_keys_and_values_to_their_slots() {
    let mut random = Random(3);
    for case in 0..24 {
        let (kv_heads, head_dim) = (1 + random.below(3), [16, 64, 80][random.below(3)]);
        let spec = RopeSpec {
            heads: kv_heads * (1 + random.below(3)),
            kv_heads,
            head_dim,
            pairs: [0, head_dim / 4, head_dim / 2][random.below(3)],
            interleaved: random.below(2) == 1,
            magnitude: 1.0 + random.below(2) as f32 * 0.2,
            qk_norm: (random.below(2) == 1).then_some(1e-6),
        };
        let Cached { rows, slots, .. } = cached(&mut random, 8);
        let count = rows.len() / 3;
        let qkv = random.vector(count * (spec.heads + 2 * kv_heads) * head_dim);
        let cache = random.vector(2 * slots * kv_heads * head_dim);
        let frequencies = random.vector(head_dim / 2);
        let gains = random.vector(2 * head_dim);

        let (mut expected, mut expected_cache) = (qkv.clone(), cache.clone());
        let frequency = &frequencies[..spec.pairs.max(1)];
        reference::rope(
            &mut expected,
            &mut expected_cache,
            &rows,
            frequency,
            &gains,
            spec,
        );
        let shape = [2, slots, kv_heads * head_dim];
        let (found, found_cache) = rope(
            grid(&qkv, count),
            grid(&cache, 1).reshape(shape),
            &ints(&rows, count),
            &grid(frequency, 1).reshape([frequency.len()]),
            &grid(&gains, 2),
            spec,
        );
        let q = spec.heads * head_dim;
        let queries = |all: &[f32]| -> Vec<f32> {
            let width = all.len() / count;
            all.chunks(width)
                .flat_map(|row| row[..q].to_vec())
                .collect()
        };
        assert!(
            error(&queries(&values(found)), &queries(&expected)) < 1e-5,
            "case {case}: {spec:?}"
        );
        assert!(
            error(&values(found_cache), &expected_cache) < 1e-5,
            "case {case}: {spec:?}"
        );
    }
}

#[test]
fn attention_agrees_with_the_reference_over_block_tables() {
    let mut random = Random(4);
    for case in 0..24 {
        let (kv_heads, head_dim) = (1 + random.below(3), [16, 64, 80, 128, 256][random.below(5)]);
        let spec = AttentionSpec {
            heads: kv_heads * (1 + random.below(4)),
            kv_heads,
            head_dim,
            block: 8,
            scale: 0.3,
            softcap: (random.below(3) == 0).then_some(2.0),
            window: (random.below(3) == 0).then_some(5),
            alone: false,
            longest: 0,
        };
        let Cached {
            rows,
            slots,
            tables,
            blocks,
        } = cached(&mut random, 8);
        let count = rows.len() / 3;
        let qkv = random.vector(count * (spec.heads + 2 * kv_heads) * head_dim);
        let cache = random.vector(2 * slots * kv_heads * head_dim);
        let expected = reference::attention(&qkv, &cache, &rows, &tables, blocks, spec);

        let shape = [2, slots, kv_heads * head_dim];
        for (dtype, bound) in [(DType::F32, 1e-5), (DType::F16, 2e-3)] {
            let cache = grid(&cache, 1).reshape(shape).cast(dtype);
            let (rows, tables) = (ints(&rows, count), ints(&tables, 3));
            let found = values(attention(&grid(&qkv, count), &cache, &rows, &tables, spec));
            let error = error(&found, &expected);
            assert!(
                error < bound,
                "case {case}: {spec:?}, {dtype:?}: error {error}"
            );
        }
    }
}

#[test]
fn add_norm_adds_the_normalised_row() {
    let mut random = Random(5);
    let (x, y, gains) = (
        random.vector(3 * 40),
        random.vector(3 * 40),
        random.vector(40),
    );
    let norm = Norm::Rms { eps: 1e-6 };
    let mut expected = x.clone();
    reference::add_norm(&mut expected, &y, 40, &gains, norm);
    let found = add_norm(grid(&x, 3), &grid(&y, 3), &grid(&gains, 1), norm);
    assert!(error(&values(found), &expected) < 1e-6);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let mut random = Random(6);
    for format in Format::ALL {
        let layout = Layout {
            format,
            rows: 70,
            columns: 512,
        };
        let bytes = matrix(layout, &mut random);
        let weights = Matrix::new(layout, bytes, &Device::flex()).unwrap();
        let x = random.vector(13 * 512);
        let with = With {
            input: Input::Plain,
            gains: grid(&[0.0], 1),
            bias: Tensor::zeros([1], &Device::flex()),
        };
        let run = |x: &[f32], count: usize| {
            let out = Tensor::zeros([count, 70], &Device::flex());
            values(weights.linear(out, &grid(x, count), &with, 0, false))
        };
        let together = run(&x, 13);
        for (row, expected) in x.chunks(512).zip(together.chunks(70)) {
            assert_eq!(run(row, 1), expected, "{format}");
        }
    }
}

/// Three adapters: of all parts, of one, of two; slots 1, 3 and 4 are empty.
fn slots(outputs: [usize; 3], random: &mut Random) -> [(u32, [usize; 3]); 3] {
    let mut ranks = |parts: [bool; 3]| -> [usize; 3] {
        std::array::from_fn(|part| match parts[part] && outputs[part] > 0 {
            true => 1 + random.below(20),
            false => 0,
        })
    };
    [
        (0, ranks([true; 3])),
        (2, ranks([true, false, false])),
        (5, ranks([true, false, true])),
    ]
}

#[test]
fn low_rank_products_agree_with_the_reference_and_leave_other_rows_alone() {
    let mut random = Random(7);
    let inputs = [
        Input::Plain,
        Input::Norm(Norm::Rms { eps: 1e-5 }),
        Input::Norm(Norm::Layer { eps: 1e-5 }),
        Input::Act(Activation::Gelu),
        Input::Gated(Activation::Silu),
    ];
    for case in 0..60 {
        let input = inputs[case % inputs.len()];
        let columns = 1 + random.below(150);
        let mut outputs = [1 + random.below(90), random.below(40), random.below(40)];
        if case % 2 == 0 {
            outputs[1..].fill(0);
        }
        let slots = slots(outputs, &mut random);
        let sample = Adapters::new(columns, outputs, &slots, &mut random);
        let (count, width) = (
            [1, 3, 40][random.below(3)],
            outputs.iter().sum::<usize>() + 3,
        );
        let rows: Vec<i32> = (0..count)
            .filter_map(|row| Some([row, *[0, 2, 5].get(random.below(4))?]))
            .flatten()
            .collect();
        if rows.is_empty() {
            continue;
        }
        let wide = columns
            * if matches!(input, Input::Gated(_)) {
                2
            } else {
                1
            };
        let (x, gains) = (
            random.vector(count as usize * wide),
            random.vector(2 * columns),
        );
        let before = random.vector(count as usize * width);
        let spec = LowRankSpec {
            input,
            columns,
            outputs,
            ranks: 1,
        };
        let mut expected = before.clone();
        let Adapters {
            values: all, table, ..
        } = &sample;
        reference::low_rank(&mut expected, width, &x, all, table, &rows, &gains, spec);

        let mut adapters = LowRank::new(columns, outputs, &Device::flex());
        // One that goes again, so that others move.
        adapters.put(1, sample.slots[1].1.clone());
        for (slot, factors) in &sample.slots {
            adapters.put(*slot, factors.clone());
            adapters.clear(1);
        }
        let with = With {
            input,
            gains: grid(&gains, 2),
            bias: Tensor::zeros([1], &Device::flex()),
        };
        let run = |x: &[f32], before: &[f32], rows: &[i32]| {
            let count = before.len() / width;
            let (out, x) = (grid(before, count), grid(x, count));
            values(adapters.add(out, &x, &with, &ints(rows, rows.len() / 2)))
        };
        let found = run(&x, &before, &rows);
        let error = error(&found, &expected);
        assert!(error < 1e-4, "case {case}: {spec:?}: error {error}");
        for row in 0..count as usize {
            let (before, found) = (
                &before[row * width..][..width],
                &found[row * width..][..width],
            );
            match rows.chunks(2).find(|pair| pair[0] == row as i32) {
                Some(pair) => {
                    let alone = run(&x[row * wide..][..wide], before, &[0, pair[1]]);
                    assert_eq!(alone, found, "case {case}: row {row} alone");
                }
                None => assert_eq!(before, found, "case {case}: row {row} has no adapter"),
            }
        }
    }
}

#[test]
fn an_emptied_slot_adds_nothing_and_gives_its_memory_back() {
    let mut random = Random(8);
    let sample = Adapters::new(16, [8, 0, 0], &[(3, [4, 0, 0])], &mut random);
    let mut adapters = LowRank::new(16, [8, 0, 0], &Device::flex());
    let factors = || sample.slots[0].1.clone();
    adapters.put(3, factors());
    assert_eq!(adapters.bytes(), 4 * (4 * 16 + 4 * 8));
    adapters.put(3, factors());
    assert_eq!(
        adapters.bytes(),
        4 * (4 * 16 + 4 * 8),
        "in place of the first"
    );
    adapters.put(0, factors());
    adapters.clear(3);
    let with = With {
        input: Input::Plain,
        gains: grid(&[0.0], 1),
        bias: Tensor::zeros([1], &Device::flex()),
    };
    let (x, zeros) = (random.vector(2 * 16), vec![0.0; 2 * 8]);
    let rows = ints(&[0, 3, 1, 0], 2);
    let found = values(adapters.add(grid(&zeros, 2), &grid(&x, 2), &with, &rows));
    assert_eq!(found[..8], zeros[..8]);
    assert_ne!(found[8..], zeros[8..]);
    adapters.clear(0);
    assert_eq!(adapters.bytes(), 0);
}
