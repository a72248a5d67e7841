//! Every instruction set of this machine against the reference; what a user's machine takes may be any.

use half::f16;

use tinderbox_cpu::sample::{Adapters, Random, matrix};
use tinderbox_cpu::{
    Activation, Attention, AttentionSpec, Format, Input, Isa, Layout, Linear, LinearSpec, LowRank,
    LowRankSpec, Norm, pack, reference,
};

/// Largest difference as a share of the largest expected value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / largest
}

#[test]
fn products_agree_on_every_instruction_set() {
    let mut random = Random(11);
    for format in Format::ALL {
        // Few rows of input take several panels of weights at once, where there are many.
        for (input, count, rows) in [
            (Input::Norm(Norm::Rms { eps: 1e-5 }), 1, 1509),
            (Input::Act(Activation::Gelu), 47, 37),
            (Input::Gated(Activation::Silu), 6, 1509),
        ] {
            let columns = if format.block() == 1 { 75 } else { 512 };
            let layout = Layout {
                format,
                rows,
                columns,
            };
            let wide = columns
                * if matches!(input, Input::Gated(_)) {
                    2
                } else {
                    1
                };
            let mut bytes = matrix(layout, &mut random);
            let (x, gains) = (random.vector(count * wide), random.vector(columns));
            let spec = LinearSpec {
                layout,
                input,
                first: 0,
                accumulate: false,
                bias: false,
            };
            let mut expected = vec![0.0; count * layout.rows];
            reference::linear(&mut expected, layout.rows, &x, &bytes, &gains, &[0.0], spec);
            pack(layout, &mut bytes);
            let linear = Linear {
                x: &x,
                w: &bytes,
                gains: &gains,
                bias: &[0.0],
                spec,
            };
            for isa in Isa::available() {
                let mut found = vec![0.0; expected.len()];
                linear.run_on(isa, &mut found, layout.rows);
                let error = error(&found, &expected);
                assert!(error < 1e-4, "{isa:?}, {format}, {input:?}: error {error}");
            }
        }
    }
}

#[test]
fn a_product_does_not_depend_on_what_is_computed_beside_it() {
    let mut random = Random(14);
    for format in Format::ALL {
        let (columns, count) = (512, 35);
        let layout = Layout {
            format,
            rows: 805,
            columns,
        };
        let mut bytes = matrix(layout, &mut random);
        pack(layout, &mut bytes);
        let (x, gains) = (random.vector(count * columns), random.vector(columns));
        let spec = LinearSpec {
            layout,
            input: Input::Norm(Norm::Rms { eps: 1e-5 }),
            first: 0,
            accumulate: false,
            bias: false,
        };
        for isa in Isa::available() {
            let products = |x: &[f32]| {
                let linear = Linear {
                    x,
                    w: &bytes,
                    gains: &gains,
                    bias: &[0.0],
                    spec,
                };
                let mut found = vec![0.0; x.len() / columns * layout.rows];
                linear.run_on(isa, &mut found, layout.rows);
                found
            };
            let alone: Vec<_> = x.chunks_exact(columns).flat_map(products).collect();
            assert_eq!(products(&x), alone, "{isa:?}, {format}");
        }
    }
}

#[test]
fn attention_agrees_on_every_instruction_set() {
    let mut random = Random(12);
    // Groups of one to seven heads, widths with and without whole registers.
    for (heads, kv_heads, head_dim) in [(1, 1, 8), (6, 2, 64), (7, 1, 80), (10, 2, 128)] {
        // More tokens than a chunk has, in several tiles.
        let (tokens, block, kv) = (350, 4, kv_heads * head_dim);
        let blocks = 88;
        let rows = [349, 349, 0, 3, 3, 0];
        let tables: Vec<i32> = (0..blocks as i32).rev().collect();
        assert!(tokens <= blocks * block);
        let qkv = random.vector(2 * (heads * head_dim + 2 * kv));
        let cache: Vec<f16> = (random.vector(2 * blocks * block * kv).into_iter())
            .map(f16::from_f32)
            .collect();
        let plain: Vec<f32> = cache.iter().map(|v| v.to_f32()).collect();
        let spec = AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            block,
            scale: 0.3,
            softcap: None,
            window: None,
            alone: true,
            longest: tokens,
        };
        let expected = reference::attention(&qkv, &plain, &rows, &tables, blocks, spec);
        let attention = Attention {
            qkv: &qkv,
            cache: &cache,
            rows: &rows,
            tables: &tables,
            blocks,
            spec,
        };
        for isa in Isa::available() {
            let found = attention.run_on(isa);
            let error = error(&found, &expected);
            assert!(error < 1e-4, "{isa:?}, {spec:?}: error {error}");
        }
    }
}

#[test]
fn attention_depends_neither_on_the_rows_beside_it_nor_on_threads() {
    let mut random = Random(15);
    let (heads, kv_heads, head_dim, block, blocks) = (6, 2, 64, 4, 140);
    let (count, kv) = (57, kv_heads * head_dim);
    let cache: Vec<f16> = (random.vector(2 * 2 * blocks * block * kv).into_iter())
        .map(f16::from_f32)
        .collect();
    let tables: Vec<i32> = (0..2 * blocks as i32).rev().collect();
    // Two sequences, one of more rows than are computed together, the second from a later position on.
    let places = |r: i32| if r < 40 { [r, 0, 0] } else { [r + 500, 0, 1] };
    let rows: Vec<[i32; 3]> = (0..count).map(places).collect();
    let width = heads * head_dim + 2 * kv;
    let qkv = random.vector(count as usize * width);
    let several = rayon::ThreadPoolBuilder::new().num_threads(5).build();
    let several = several.expect("threads");
    for window in [None, Some(5), Some(300)] {
        let spec = AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            block,
            scale: 0.3,
            softcap: None,
            window,
            alone: false,
            longest: 557,
        };
        for isa in Isa::available() {
            let mixed = |(qkv, rows): (&[f32], &[[i32; 3]])| {
                let attention = Attention {
                    qkv,
                    cache: &cache,
                    rows: rows.as_flattened(),
                    tables: &tables,
                    blocks,
                    spec,
                };
                attention.run_on(isa)
            };
            let each = qkv.chunks_exact(width).zip(rows.chunks(1));
            let alone: Vec<_> = each.clone().flat_map(mixed).collect();
            assert_eq!(mixed((&qkv, &rows)), alone, "{isa:?}, {window:?}");
            let shared: Vec<_> = several.install(|| each.flat_map(mixed).collect());
            assert_eq!(shared, alone, "{isa:?}, {window:?}, five threads");
        }
    }
}

#[test]
fn low_rank_products_agree_on_every_instruction_set() {
    let mut random = Random(13);
    for (input, columns) in [
        (Input::Norm(Norm::Rms { eps: 1e-5 }), 75),
        (Input::Gated(Activation::Silu), 96),
    ] {
        let outputs = [37, 16, 5];
        let slots = [(0, [4, 1, 3]), (1, [0, 9, 2])];
        let sample = Adapters::new(columns, outputs, &slots, &mut random);
        let wide = columns
            * if matches!(input, Input::Gated(_)) {
                2
            } else {
                1
            };
        let (x, gains) = (random.vector(7 * wide), random.vector(columns));
        let rows = [0, 1, 1, 0, 2, 0, 4, 0, 5, 0, 6, 0];
        let spec = LowRankSpec {
            input,
            columns,
            outputs,
            ranks: 11,
        };
        let before = random.vector(7 * 58);
        let mut expected = before.clone();
        let (values, table) = (&sample.values, &sample.table);
        reference::low_rank(&mut expected, 58, &x, values, table, &rows, &gains, spec);
        let low_rank = LowRank {
            x: &x,
            factors: values,
            table,
            rows: &rows,
            gains: &gains,
            spec,
        };
        for isa in Isa::available() {
            let mut found = before.clone();
            low_rank.run_on(isa, &mut found, 58);
            let error = error(&found, &expected);
            assert!(error < 1e-4, "{isa:?}, {input:?}: error {error}");
        }
    }
}
