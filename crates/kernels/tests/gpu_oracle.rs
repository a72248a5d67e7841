//! Every operation of the GPU twin against the plain reference, over random shapes, on whatever
//! adapter the machine has (a software one will do). Where there is none the tests say SKIP.
#![cfg(feature = "gpu")]

use std::sync::OnceLock;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tinderbox_kernels::sample::{Adapters, Random, matrix};
use tinderbox_kernels::{
    Activation, AttentionSpec, Choice, Draw, Format, Input, Layout, LinearSpec, LowRank,
    LowRankSpec, Matrix, Norm, Recorder, RopeSpec, With, add_norm, attention, choose, overwrite,
    reference, rope, select, self_test, shared_from, supports_f16, turning_attention,
};

/// The adapter's device, started once; `None` with a note where there is none.
fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let found = DEVICE.get_or_init(|| match select(Choice::Gpu) {
        Ok(selected) => {
            eprintln!("adapter: {}", selected.description);
            Some(selected.device)
        }
        Err(error) => {
            eprintln!("SKIP: {error}");
            None
        }
    });
    found.clone()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn ints<const D: usize>(values: &[i32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (device, DType::I32),
    )
}

fn assert_close<const D: usize>(got: Tensor<D>, want: &[f32], tolerance: f32, what: &str) {
    let got = got.into_data().try_to_vec::<f32>().expect("f32");
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(1e-3f32, |size, v| size.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / size;
        assert!(
            error <= tolerance,
            "{what}: element {i} is {got}, the reference says {want}"
        );
    }
}

/// Input rows; fewer and more than a lane or a tile takes at once.
const ROWS: [usize; 4] = [1, 2, 7, 33];

fn inputs() -> [Input; 7] {
    [
        Input::Plain,
        Input::Norm(Norm::Rms { eps: 1e-5 }),
        Input::Norm(Norm::Layer { eps: 1e-5 }),
        Input::Act(Activation::Silu),
        Input::Act(Activation::Gelu),
        Input::Gated(Activation::Silu),
        Input::Gated(Activation::Gelu),
    ]
}

fn check_linear(
    device: &Device,
    layout: Layout,
    rows: usize,
    input: Input,
    flags: usize,
    random: &mut Random,
) {
    let (accumulate, bias, first) = (flags & 1 != 0, flags & 2 != 0, flags & 4);
    let gated = matches!(input, Input::Gated(_));
    let wide = if gated {
        2 * layout.columns
    } else {
        layout.columns
    };
    let width = first + layout.rows + 3 * first;
    let bytes = matrix(layout, random);
    let x: Vec<f32> = random
        .vector(rows * wide)
        .iter()
        .map(|v| v * 2.0 + 0.3)
        .collect();
    let gains = random.vector(2 * layout.columns);
    let added = random.vector(layout.rows);
    let mut want = random.vector(rows * width);

    let out = tensor(&want, [rows, width], device);
    let with = With {
        input,
        gains: tensor(&gains, [2, layout.columns], device),
        bias: if bias {
            tensor(&added, [layout.rows], device)
        } else {
            tensor(&[0.0], [1], device)
        },
    };
    let spec = LinearSpec {
        layout,
        input,
        first,
        accumulate,
        bias,
    };
    reference::linear(&mut want, width, &x, &bytes, &gains, &added, spec);
    let matrix = Matrix::new(layout, bytes, device).expect("a sample is whole");
    let out = matrix.linear(
        out,
        &tensor(&x, [rows, wide], device),
        &with,
        first,
        accumulate,
    );
    assert_close(out, &want, 2e-4, &format!("{rows} rows, {spec:?}"));
}

#[test]
fn linear_is_the_reference_in_every_format() {
    let Some(device) = device() else { return };
    let mut random = Random(11);
    for (i, format) in Format::ALL.into_iter().enumerate() {
        for (j, rows) in ROWS.into_iter().enumerate() {
            // Odd and prime widths where the format allows: no multiple of any tile.
            let columns = match format.block() {
                1 => [37, 96, 129, 576][j],
                32 => [32, 96, 576, 160][j],
                _ => [256, 768, 512, 256][j],
            };
            let layout = Layout {
                format,
                rows: 1 + random.below(150),
                columns,
            };
            let input = inputs()[(i + j) % 7];
            check_linear(&device, layout, rows, input, i + j, &mut random);
        }
    }
}

#[test]
fn linear_is_the_reference_for_every_input_and_flag() {
    let Some(device) = device() else { return };
    let mut random = Random(12);
    for (i, input) in inputs().into_iter().enumerate() {
        for flags in [i % 8, 7 - i % 8] {
            let layout = Layout {
                format: Format::Q8_0,
                rows: 65,
                columns: 96,
            };
            check_linear(
                &device,
                layout,
                ROWS[(i + flags) % 4],
                input,
                flags,
                &mut random,
            );
        }
    }
}

#[test]
fn a_vocabulary_of_rows_is_the_reference() {
    let Some(device) = device() else { return };
    let mut random = Random(13);
    let layout = Layout {
        format: Format::Q6_K,
        rows: 4099,
        columns: 256,
    };
    check_linear(
        &device,
        layout,
        1,
        Input::Norm(Norm::Rms { eps: 1e-6 }),
        0,
        &mut random,
    );
}

#[test]
fn a_row_of_a_batch_is_the_row_alone() {
    let Some(device) = device() else { return };
    let mut random = Random(14);
    let layout = Layout {
        format: Format::Q4_1,
        rows: 96,
        columns: 192,
    };
    let matrix = Matrix::new(layout, matrix(layout, &mut random), &device).expect("whole");
    let x = random.vector(8 * 192);
    let with = With {
        input: Input::Norm(Norm::Rms { eps: 1e-5 }),
        gains: Tensor::ones([1, 192], &device),
        bias: Tensor::zeros([1], &device),
    };
    let run = |x: &[f32], rows: usize| {
        let out = Tensor::zeros([rows, 96], &device);
        let out = matrix.linear(out, &tensor(x, [rows, 192], &device), &with, 0, false);
        out.into_data().try_to_vec::<f32>().expect("f32")
    };
    let together = run(&x, 8);
    for row in 0..8 {
        assert_eq!(
            run(&x[row * 192..][..192], 1),
            together[row * 96..][..96],
            "row {row}"
        );
    }
}

#[test]
fn embed_is_the_reference_in_every_format() {
    let Some(device) = device() else { return };
    let mut random = Random(15);
    for format in Format::ALL {
        let columns = if format.block() == 1 { 77 } else { 512 };
        let layout = Layout {
            format,
            rows: 31,
            columns,
        };
        let bytes = matrix(layout, &mut random);
        for count in ROWS {
            let ids: Vec<i32> = (0..count).map(|_| random.below(31) as i32).collect();
            let want = reference::embed(&bytes, &ids, layout, 1.5);
            let table = Matrix::new(layout, bytes.clone(), &device).expect("whole");
            let got = table.embed(&ints(&ids, [count], &device), 1.5);
            assert_close(got, &want, 1e-6, &format!("{layout:?}"));
        }
    }
}

/// Three sequences in one batch, their blocks shuffled over the cache.
struct Batch {
    rows: Vec<i32>,
    tables: Vec<i32>,
    blocks: usize,
    slots: usize,
}

impl Batch {
    fn new(count: usize, block: usize, random: &mut Random) -> Self {
        let (blocks, sequences) = (1 + 200 / block, 3);
        let mut tables: Vec<i32> = (0..(blocks * sequences) as i32).collect();
        for i in (1..tables.len()).rev() {
            tables.swap(i, random.below(i + 1));
        }
        let mut rows = Vec::new();
        // Each row a place of its own, or two would write one slot.
        for i in 0..count {
            let (sequence, position) = (
                i % sequences,
                (i / sequences * 13 + random.below(13)) % (blocks * block),
            );
            let slot =
                tables[sequence * blocks + position / block] as usize * block + position % block;
            rows.extend([position as i32, slot as i32, sequence as i32]);
        }
        Batch {
            rows,
            tables,
            blocks,
            slots: blocks * sequences * block,
        }
    }
}

#[test]
fn rope_and_attention_are_the_reference() {
    let Some(device) = device() else { return };
    let mut random = Random(16);
    // head_dim, heads, key and value heads, block, rows.
    let shapes = [
        (16, 4, 2, 16, 1),
        (64, 9, 3, 32, 33),
        (80, 2, 2, 16, 7),
        (128, 4, 1, 8, 2),
        (256, 2, 1, 16, 7),
    ];
    for (i, (head_dim, heads, kv_heads, block, count)) in shapes.into_iter().enumerate() {
        let batch = Batch::new(count, block, &mut random);
        let (width, kv) = ((heads + 2 * kv_heads) * head_dim, kv_heads * head_dim);
        let spec = RopeSpec {
            heads,
            kv_heads,
            head_dim,
            pairs: [head_dim / 2, head_dim / 2, head_dim / 4, 0, head_dim / 2][i],
            interleaved: i % 2 == 0,
            magnitude: 1.0 + i as f32 * 0.1,
            qk_norm: (i % 2 == 1).then_some(1e-6),
        };
        let mut qkv = random.vector(count * width);
        let mut cache = random.vector(2 * batch.slots * kv);
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|i| 1e4f32.powf(-2.0 * i as f32 / head_dim as f32))
            .collect();
        let gains = random.vector(2 * head_dim);
        let table = ints(&batch.rows, [count, 3], &device);
        let (gpu_qkv, gpu_cache) = rope(
            tensor(&qkv, [count, width], &device),
            tensor(&cache, [2, batch.slots, kv], &device),
            &table,
            &tensor(&frequencies, [head_dim / 2], &device),
            &tensor(&gains, [2, head_dim], &device),
            spec,
        );
        reference::rope(
            &mut qkv,
            &mut cache,
            &batch.rows,
            &frequencies,
            &gains,
            spec,
        );
        assert_close(gpu_qkv.clone(), &qkv, 1e-5, &format!("queries, {spec:?}"));
        assert_close(gpu_cache.clone(), &cache, 1e-5, &format!("cache, {spec:?}"));

        for (window, softcap) in [
            (None, None),
            (Some(50), None),
            (Some(1), Some(3.0)),
            (None, Some(0.5)),
        ] {
            for alone in [false, true] {
                let spec = AttentionSpec {
                    heads,
                    kv_heads,
                    head_dim,
                    block,
                    scale: 0.3,
                    softcap,
                    window,
                    alone,
                    longest: batch.blocks * block,
                };
                let Batch { rows, tables, .. } = &batch;
                let want = reference::attention(&qkv, &cache, rows, tables, batch.blocks, spec);
                let tables = ints(tables, [3, batch.blocks], &device);
                let got = attention(&gpu_qkv, &gpu_cache, &table, &tables, spec);
                assert_close(got, &want, 1e-4, &format!("{spec:?}"));
            }
        }
    }
}

/// On both twins, keys and values included; in software to the bit.
#[test]
fn rows_that_are_turned_and_attend_at_once_do_as_in_two_steps() {
    let mut devices = vec![Device::flex()];
    devices.extend(device());
    let mut random = Random(25);
    // head_dim, heads, key and value heads, pairs, rows.
    let shapes = [
        (64, 9, 3, 32, 1),
        (80, 12, 1, 20, 3),
        (256, 4, 1, 128, 2),
        (40, 2, 2, 0, 3),
    ];
    for (i, (head_dim, heads, kv_heads, pairs, count)) in shapes.into_iter().enumerate() {
        let batch = Batch::new(count, 16, &mut random);
        let (width, kv) = ((heads + 2 * kv_heads) * head_dim, kv_heads * head_dim);
        let rope_spec = RopeSpec {
            heads,
            kv_heads,
            head_dim,
            pairs,
            interleaved: i == 1,
            magnitude: 1.2,
            qk_norm: (i % 2 == 1).then_some(1e-6),
        };
        let spec = AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            block: 16,
            scale: 0.3,
            softcap: None,
            window: None,
            alone: true,
            longest: batch.blocks * 16,
        };
        let qkv = random.vector(count * width);
        let cache = random.vector(2 * batch.slots * kv);
        let frequencies = random.vector(head_dim / 2);
        let gains = random.vector(2 * head_dim);
        for device in &devices {
            let qkv = || tensor(&qkv, [count, width], device);
            let cache = || tensor(&cache, [2, batch.slots, kv], device);
            let rows = ints(&batch.rows, [count, 3], device);
            let tables = ints(&batch.tables, [3, batch.blocks], device);
            let frequencies = tensor(&frequencies, [head_dim / 2], device);
            let gains = tensor(&gains, [2, head_dim], device);
            let (turned, kept) = rope(qkv(), cache(), &rows, &frequencies, &gains, rope_spec);
            let mixed = attention(&turned, &kept, &rows, &tables, spec);
            let (_, kept_at_once, mixed_at_once) = turning_attention(
                qkv(),
                cache(),
                &rows,
                &tables,
                (&frequencies, &gains),
                rope_spec,
                spec,
            );
            let values = |tensor: Tensor<2>| tensor.into_data().try_to_vec::<f32>().expect("f32");
            let flat = |cache: Tensor<3>| values(cache.reshape([2 * batch.slots, kv]));
            let (want, got) = (flat(kept), flat(kept_at_once));
            let tolerance = if shared_from(device).is_none() {
                0.0
            } else {
                1e-5
            };
            let off = |a: &[f32], b: &[f32]| {
                let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                off.fold(0.0, f32::max)
            };
            assert!(off(&got, &want) <= tolerance, "cache, {rope_spec:?}");
            let (want, got) = (values(mixed), values(mixed_at_once));
            assert!(off(&got, &want) <= tolerance, "{rope_spec:?}");
        }
    }
}

#[test]
fn positions_beyond_a_hundred_thousand_rotate_right() {
    let Some(device) = device() else { return };
    let spec = RopeSpec {
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        pairs: 1,
        interleaved: false,
        magnitude: 1.0,
        qk_norm: None,
    };
    for position in [0, 1, 1000, 8191, 65_537, 131_071] {
        let (mut qkv, mut cache) = (vec![0.6, 0.8, 1.0, 0.0, 0.0, 1.0], vec![0.0; 4]);
        let rows = [position, 0, 0];
        let (gpu, _) = rope(
            tensor(&qkv, [1, 6], &device),
            tensor(&cache, [2, 1, 2], &device),
            &ints(&rows, [1, 3], &device),
            &tensor(&[1.0], [1], &device),
            &tensor(&[1.0; 4], [2, 2], &device),
            spec,
        );
        reference::rope(&mut qkv, &mut cache, &rows, &[1.0], &[1.0; 4], spec);
        assert_close(gpu, &qkv, 1e-5, &format!("position {position}"));
    }
}

#[test]
fn an_f16_cache_is_the_reference_where_the_device_has_f16() {
    let Some(device) = device() else { return };
    if !supports_f16(&device) {
        eprintln!("SKIP: the adapter has no f16");
        return;
    }
    let mut random = Random(17);
    let spec = RopeSpec {
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        pairs: 16,
        interleaved: false,
        magnitude: 1.0,
        qk_norm: None,
    };
    let (mut qkv, mut cache) = (random.vector(128), vec![0.0; 2 * 16 * 32]);
    let (rows, frequencies) = ([3, 3, 0], random.vector(16));
    let half = tensor(&cache, [2, 16, 32], &device).cast(DType::F16);
    let table = ints(&rows, [1, 3], &device);
    let gains = Tensor::ones([2, 32], &device);
    let (gpu, half) = rope(
        tensor(&qkv, [1, 128], &device),
        half,
        &table,
        &tensor(&frequencies, [16], &device),
        &gains,
        spec,
    );
    reference::rope(&mut qkv, &mut cache, &rows, &frequencies, &[1.0; 64], spec);
    let spec = AttentionSpec {
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        block: 16,
        scale: 1.0,
        softcap: None,
        window: None,
        alone: true,
        longest: 4,
    };
    let want = reference::attention(&qkv, &cache, &rows, &[0], 1, spec);
    assert_close(
        attention(&gpu, &half, &table, &ints(&[0], [1, 1], &device), spec),
        &want,
        2e-3,
        "f16",
    );
}

#[test]
fn add_norm_is_the_reference() {
    let Some(device) = device() else { return };
    let mut random = Random(18);
    for (norm, rows, width) in [
        (Norm::Rms { eps: 1e-5 }, 1, 576),
        (Norm::Rms { eps: 1e-6 }, 33, 77),
        (Norm::Layer { eps: 1e-5 }, 7, 200),
    ] {
        let (mut x, y, gains) = (
            random.vector(rows * width),
            random.vector(rows * width),
            random.vector(2 * width),
        );
        let left = tensor(&x, [rows, width], &device);
        let right = tensor(&y, [rows, width], &device);
        let got = add_norm(left, &right, &tensor(&gains, [2, width], &device), norm);
        reference::add_norm(&mut x, &y, width, &gains, norm);
        assert_close(got, &x, 1e-5, &format!("{norm:?}"));
    }
}

#[test]
fn a_recording_reads_what_is_there_when_it_runs() {
    let nothing = Recorder::prepare(&Device::flex());
    assert!(nothing.is_none(), "the CPU records nothing");
    let Some(device) = device() else { return };
    let mut random = Random(20);
    let layout = Layout {
        format: Format::Q8_0,
        rows: 9,
        columns: 64,
    };
    let bytes = matrix(layout, &mut random);
    let table = Matrix::new(layout, bytes.clone(), &device).expect("a sample is whole");
    let ids = ints(&[3, 1], [2], &device);
    let work = || table.embed(&ids, 2.0).mul_scalar(0.5);
    let prepare = || Recorder::prepare(&device).expect("a GPU records");
    // One that is not used leaves nothing behind.
    drop(prepare());
    let recorder = prepare();
    let want = reference::embed(&bytes, &[3, 1], layout, 1.0);
    assert_close(work(), &want, 1e-6, "before");
    let (recording, out) = recorder.record(work).expect("the device records");
    for numbers in [[3, 1], [8, 0], [5, 5]] {
        // What others compute in between takes no memory of the recording's.
        let beside = table.embed(&ids, 1.0);
        overwrite(&ids, &numbers);
        // SAFETY: `table` and `ids` are there, and this thread's alone.
        unsafe { recording.run() }.expect("the device runs it");
        let want = reference::embed(&bytes, &numbers, layout, 1.0);
        assert_close(out.clone(), &want, 1e-6, &format!("{numbers:?}"));
        drop(beside);
    }
    std::thread::scope(|scope| {
        // SAFETY: as above; it refuses.
        let other = scope.spawn(|| unsafe { recording.run() });
        assert!(other.join().expect("it does not panic").is_err());
    });
}

#[test]
fn low_rank_products_are_the_reference() {
    let Some(device) = device() else { return };
    let mut random = Random(19);
    // Slots 1 and 3 are empty; slot 2 has one part.
    let slots = [(0, [3, 8, 2]), (2, [17, 0, 0]), (4, [1, 0, 33])];
    for (i, input) in inputs().into_iter().enumerate() {
        let (columns, count) = ([37, 64, 129, 200][i % 4], ROWS[(i + 1) % 4]);
        let outputs = [[70, 33, 9], [5, 64, 64]][i % 2];
        let width = outputs.iter().sum::<usize>() + i;
        let sample = Adapters::new(columns, outputs, &slots, &mut random);
        let wide = columns
            * if matches!(input, Input::Gated(_)) {
                2
            } else {
                1
            };
        let (x, gains) = (random.vector(count * wide), random.vector(2 * columns));
        let mut want = random.vector(count * width);
        let rows: Vec<i32> = (0..count as i32)
            .filter(|row| row % 5 != 3)
            .flat_map(|row| [row, row % 5])
            .collect();
        let spec = LowRankSpec {
            input,
            columns,
            outputs,
            ranks: 34,
        };
        let out = tensor(&want, [count, width], &device);
        let Adapters { values, table, .. } = &sample;
        reference::low_rank(&mut want, width, &x, values, table, &rows, &gains, spec);

        let mut adapters = LowRank::new(columns, outputs, &device);
        for (slot, factors) in &sample.slots {
            adapters.put(*slot, factors.clone());
        }
        let with = With {
            input,
            gains: tensor(&gains, [2, columns], &device),
            bias: tensor(&[0.0], [1], &device),
        };
        let rows = ints(&rows, [rows.len() / 2, 2], &device);
        let out = adapters.add(out, &tensor(&x, [count, wide], &device), &with, &rows);
        assert_close(out, &want, 2e-4, &format!("{count} rows, {spec:?}"));
    }
}

#[test]
fn the_self_test_passes_on_both_twins() {
    let mut devices = vec![Device::flex()];
    devices.extend(device());
    for device in devices {
        let results = burn::cubecl::future::block_on(self_test(&device, &Format::ALL));
        assert!(results.len() > 15);
        for result in results {
            assert!(result.passed, "{result:?}");
        }
    }
}

/// Logits as models have them, with some that are equal, and some that are none.
fn logits(vocab: usize, random: &mut Random) -> Vec<f32> {
    let spread = [0.0, 0.5, 8.0][random.below(3)];
    let coarse = random.below(2) == 0;
    let logit = |_| {
        let logit = spread * (random.unit() + random.unit() + random.unit());
        match random.below(40) {
            0 => f32::NEG_INFINITY,
            1 => f32::NAN,
            2 => -0.0,
            _ if coarse => (4.0 * logit).round() / 4.0,
            _ => logit,
        }
    };
    (0..vocab).map(logit).collect()
}

#[test]
fn a_token_is_chosen_as_the_reference_does() {
    let mut devices = vec![Device::flex()];
    devices.extend(device());
    for device in devices {
        let (same, all) = choices(&device);
        assert!(same * 20 > all * 19, "{same} of {all} are the reference's");
    }
}

/// Draws that are the reference's, and all of them; those that are another are near enough.
fn choices(device: &Device) -> (usize, usize) {
    let mut random = Random(11);
    let (mut all, mut same) = (0, 0);
    for vocab in [1, 7, 256, 300, 5000, 49_152] {
        for rows in [1, 5, 8] {
            let logits: Vec<f32> = (0..rows)
                .flat_map(|_| self::logits(vocab, &mut random))
                .collect();
            let on_device = tensor(&logits, [rows, vocab], device);
            let choose = |draws: Option<&[i32]>| {
                let draws = draws.map(|draws| ints(draws, [rows, 5], device));
                let tokens = ints(&vec![7; rows], [rows], device);
                let tokens = choose(tokens, &on_device, draws.as_ref());
                tokens.into_data().try_to_vec::<i32>().expect("i32")
            };
            let reference = |draws: Option<&[i32]>| {
                let mut tokens = vec![7; rows];
                reference::choose(&mut tokens, &logits, vocab, draws);
                tokens
            };
            assert_eq!(choose(None), reference(None), "{rows} rows of {vocab}");

            let draws: Vec<Draw> = (0..rows).map(|_| draw(&mut random)).collect();
            let words = |off: f32| -> Vec<i32> {
                let moved = draws.iter().map(|draw| Draw {
                    unit: draw.unit + off * 1e-5,
                    top_p: draw.top_p + off * 1e-5,
                    ..*draw
                });
                moved.flat_map(|draw| draw.words()).collect()
            };
            let got = choose(Some(&words(0.0)));
            let want = reference(Some(&words(0.0)));
            // Sums of 32 bits: a draw that falls between two tokens may take the one or the other.
            let near = [-1.0, 1.0].map(|off| reference(Some(&words(off))));
            for (row, got) in got.iter().enumerate() {
                all += 1;
                same += usize::from(want[row] == *got);
                assert!(
                    want[row] == *got || near.iter().any(|near| near[row] == *got),
                    "{got} in place of {}, row {row} of {vocab}: {:?}",
                    want[row],
                    draws[row]
                );
            }
        }
    }
    (same, all)
}

fn draw(random: &mut Random) -> Draw {
    let half = |random: &mut Random| random.below(2) == 0;
    let unit = |random: &mut Random| 0.5 + 0.5 * random.unit();
    Draw {
        temperature: [0.0, 0.3, 1.0, 1.0, 1.7][random.below(5)],
        top_k: if half(random) {
            0
        } else {
            [1, 2, 40, 400][random.below(4)]
        },
        top_p: if half(random) { 1.0 } else { unit(random) },
        min_p: if half(random) {
            0.0
        } else {
            0.2 * unit(random)
        },
        unit: unit(random).min(0.999_999),
    }
}
