//! The CPU twin against the plain reference, over random shapes.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tinderbox_kernels::sample::{Random, matrix};
use tinderbox_kernels::{
    Activation, AttentionSpec, Format, Input, Layout, LinearSpec, Matrix, Norm, RopeSpec, With,
    add_norm, attention, reference, rope,
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
