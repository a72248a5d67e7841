//! What the public oracle test cannot reach: the products of real GPUs, run on any adapter, and
//! the limits that hold for every kernel.

use std::cell::Cell;

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Cube, CubeDevice, WgpuBackend, WgpuDevice, WgpuDeviceKind};
use burn::cubecl::future::block_on;
use burn::tensor::{DType, Tensor, TensorData};

use super::attention;
use super::choice::{Class, Way};
use super::linear::run;
use super::linear_gemv::Operands;
use super::{CubeTensor, MAX_BINDINGS};
use crate::matrix::{pad_blocks, padded_block};
use crate::sample::{Random, matrix};
use crate::{
    Activation, Arena, AttentionSpec, Choice, Format, Input, Layout, LinearSpec, Norm, Recorder,
    RopeSpec, With, adapters, overwrite, reference, select, self_test,
};

thread_local! {
    /// The way whose kernel does nothing in this test, as one does whose shader did not compile.
    static BROKEN: Cell<Option<Way>> = const { Cell::new(None) };
}

pub fn is_broken(way: Way) -> bool {
    BROKEN.get() == Some(way)
}

fn upload(values: &[f32], shape: [usize; 2], device: &CubeDevice) -> CubeTensor {
    Cube::float_from_data(TensorData::new(values.to_vec(), shape), device)
}

fn check(
    way: Way,
    layout: Layout,
    rows: usize,
    input: Input,
    random: &mut Random,
    device: &CubeDevice,
) {
    let wide = if matches!(input, Input::Gated(_)) {
        2 * layout.columns
    } else {
        layout.columns
    };
    let bytes = matrix(layout, random);
    let (x, gains) = (
        random.vector(rows * wide),
        random.vector(2 * layout.columns),
    );
    let bias = random.vector(layout.rows);
    let mut want = random.vector(rows * (layout.rows + 2));
    let out = upload(&want, [rows, layout.rows + 2], device);
    let spec = LinearSpec {
        layout,
        input,
        first: 1,
        accumulate: true,
        bias: true,
    };
    reference::linear(&mut want, layout.rows + 2, &x, &bytes, &gains, &bias, spec);

    let w = pad_blocks(layout.format, bytes);
    let operands = Operands {
        out: &out,
        x: &upload(&x, [rows, wide], device),
        w: &Cube::int_from_data(w, device),
        gains: &upload(&gains, [2, layout.columns], device),
        bias: &upload(&bias, [1, layout.rows], device),
    };
    run(&operands, spec, way);
    let got = block_on(Cube::float_into_data(out))
        .expect("the device answers")
        .try_to_vec::<f32>()
        .expect("f32");
    let size = want.iter().fold(1e-3f32, |size, v| size.max(v.abs()));
    // Halves have 11 bits.
    let near = if matches!(way, Way::Cooperative(_)) {
        2e-3 * size
    } else {
        2e-4 * size
    };
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!(
            (got - want).abs() <= near,
            "{way:?} {spec:?}: element {i} is {got}, not {want}"
        );
    }
}

/// The machine's adapter, real or in software.
fn vulkan() -> Option<(crate::Kind, CubeDevice)> {
    let found = adapters().into_iter().find(|a| a.backend == "vulkan");
    let Some(adapter) = found else {
        eprintln!("SKIP: no Vulkan adapter");
        return None;
    };
    let kind = match adapter.kind {
        crate::Kind::Cpu => WgpuDeviceKind::Cpu,
        _ => WgpuDeviceKind::DefaultDevice,
    };
    let device = CubeDevice::Wgpu(WgpuDevice::new(kind).on(WgpuBackend::Vulkan));
    Some((adapter.kind, device))
}

/// Sequences of tokens in a shuffled cache, of which rows attend to theirs.
struct Context {
    qkv: Vec<f32>,
    cache: Vec<f32>,
    tables: Vec<i32>,
    spec: AttentionSpec,
}

const BLOCK: usize = 16;
const BLOCKS: usize = 44;

impl Context {
    fn new(count: usize, heads: [usize; 2], head_dim: usize, random: &mut Random) -> Context {
        let [heads, kv_heads] = heads;
        let slots = 2 * BLOCKS * BLOCK;
        Context {
            qkv: random.vector(count * (heads + 2 * kv_heads) * head_dim),
            cache: random.vector(2 * slots * kv_heads * head_dim),
            tables: (0..2 * BLOCKS as i32).map(|b| b * 51 % 88).collect(),
            spec: AttentionSpec {
                heads,
                kv_heads,
                head_dim,
                block: BLOCK,
                scale: 0.3,
                softcap: None,
                window: None,
                alone: false,
                longest: 700,
            },
        }
    }

    fn reference(&self, rows: &[[i32; 3]]) -> Vec<f32> {
        let rows = rows.as_flattened();
        reference::attention(
            &self.qkv,
            &self.cache,
            rows,
            &self.tables,
            BLOCKS,
            self.spec,
        )
    }

    /// Of the rows from `first` on, which `turns` tells how to turn.
    fn found(
        &self,
        rows: &[[i32; 3]],
        first: usize,
        turns: Option<RopeSpec>,
        class: Class,
        parts: usize,
        device: &CubeDevice,
    ) -> Vec<f32> {
        let AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.spec;
        let width = (heads + 2 * kv_heads) * head_dim;
        let qkv = &self.qkv[first * width..][..rows.len() * width];
        let columns = kv_heads * head_dim;
        let ints = |values: &[i32], width: usize| {
            let shape = [values.len() / width, width];
            Cube::int_from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let cache = Cube::float_from_data(
            TensorData::new(self.cache.clone(), [2, 2 * BLOCKS * BLOCK, columns]),
            device,
        );
        let frequencies = upload(&frequencies(head_dim), [1, head_dim / 2], device);
        let gains = upload(&vec![0.7; 2 * head_dim], [2, head_dim], device);
        let turns = turns.map(|spec| attention::Turns {
            frequencies: &frequencies,
            gains: &gains,
            spec,
        });
        let out = attention::run(
            &upload(qkv, [rows.len(), width], device),
            &cache,
            ints(rows.as_flattened(), 3),
            ints(&self.tables, BLOCKS),
            self.spec,
            turns,
            class,
            parts,
        );
        let data = block_on(Cube::float_into_data(out)).expect("the device answers");
        data.try_to_vec::<f32>().expect("f32")
    }
}

fn frequencies(head_dim: usize) -> Vec<f32> {
    let pairs = head_dim / 2;
    (0..pairs)
        .map(|pair| 1e4f32.powf(-(pair as f32) / pairs as f32))
        .collect()
}

/// Two answers and chunks of their prompts in one step, at both ends of a part and of a chunk.
fn places() -> Vec<[i32; 3]> {
    let long = (0..13).map(|r| [r + 250, 0, 0]);
    let short = (0..7).map(|r| [r + 28, 0, 1]);
    [[699, 0, 0], [0, 0, 1]]
        .into_iter()
        .chain(long)
        .chain(short)
        .collect()
}

#[test]
fn attention_is_the_reference_on_every_class_of_device_and_in_parts() {
    let Some((_, device)) = vulkan() else { return };
    let mut random = Random(22);
    let rows = places();
    for (heads, head_dim, softcap, window) in [
        ([9, 3], 64, None, None),
        ([4, 1], 256, Some(2.0), Some(300)),
        ([11, 1], 80, None, Some(40)),
        ([2, 2], 33, None, None),
    ] {
        for (class, alone, parts) in [
            (Class::Software, false, 1),
            (Class::Software, true, 3),
            (Class::Workgroups, false, 1),
            (Class::Workgroups, true, 1),
            (Class::Planes(32), true, 2),
            (Class::Planes(32), true, 11),
        ] {
            let mut context = Context::new(rows.len(), heads, head_dim, &mut random);
            context.spec = AttentionSpec {
                softcap,
                window,
                alone,
                ..context.spec
            };
            let want = context.reference(&rows);
            let found = context.found(&rows, 0, None, class, parts, &device);
            for (i, (found, want)) in found.iter().zip(&want).enumerate() {
                let spec = context.spec;
                assert!(
                    (found - want).abs() <= 1e-4,
                    "{class:?}, {parts} parts, {spec:?}: element {i} is {found}, not {want}"
                );
            }
        }
    }
}

#[test]
fn attention_turns_what_it_reads_on_every_class_of_device_and_in_parts() {
    let Some((_, device)) = vulkan() else { return };
    let mut random = Random(24);
    for (heads, head_dim, pairs, qk_norm) in [
        ([9, 3], 64, 32, None),
        ([4, 1], 256, 128, Some(1e-6)),
        ([11, 1], 80, 20, Some(1e-6)),
        ([2, 2], 33, 0, None),
    ] {
        for (class, parts) in [
            (Class::Software, 1),
            (Class::Workgroups, 1),
            (Class::Planes(32), 2),
            (Class::Planes(32), 11),
        ] {
            let mut context = Context::new(2, heads, head_dim, &mut random);
            context.spec.alone = true;
            let slot = |sequence: usize, position: usize| {
                let block = context.tables[sequence * BLOCKS + position / BLOCK] as usize;
                (block * BLOCK + position % BLOCK) as i32
            };
            let rows = [[699, slot(0, 699), 0], [28, slot(1, 28), 1]];
            let turns = RopeSpec {
                heads: heads[0],
                kv_heads: heads[1],
                head_dim,
                pairs,
                interleaved: pairs % 20 == 0,
                magnitude: 1.1,
                qk_norm,
            };
            let found = context.found(&rows, 0, Some(turns), class, parts, &device);
            let gains = vec![0.7; 2 * head_dim];
            let (qkv, cache) = (&mut context.qkv, &mut context.cache);
            let frequencies = frequencies(head_dim);
            reference::rope(qkv, cache, rows.as_flattened(), &frequencies, &gains, turns);
            let want = context.reference(&rows);
            for (i, (found, want)) in found.iter().zip(&want).enumerate() {
                assert!(
                    (found - want).abs() <= 1e-4,
                    "{class:?}, {parts} parts, {turns:?}: element {i} is {found}, not {want}"
                );
            }
        }
    }
}

#[test]
fn on_a_gpu_in_software_attention_does_not_depend_on_the_rows_beside_it() {
    let Some((_, device)) = vulkan() else { return };
    let rows = places();
    for window in [None, Some(5), Some(70)] {
        let mut context = Context::new(rows.len(), [6, 2], 64, &mut Random(23));
        context.spec.window = window;
        let together = context.found(&rows, 0, None, Class::Software, 1, &device);
        context.spec.alone = true;
        let each = (rows.iter().enumerate()).flat_map(|(first, row)| {
            context.found(&[*row], first, None, Class::Software, 1, &device)
        });
        assert_eq!(together, each.collect::<Vec<_>>(), "{window:?}");
    }
}

/// The way's products in every format, with and without whole spans, of one row and of many.
fn check_every_format(way: Way, device: &CubeDevice) {
    let mut random = Random(21);
    for (i, format) in Format::ALL.into_iter().enumerate() {
        let inputs = [
            Input::Norm(Norm::Rms { eps: 1e-5 }),
            Input::Gated(Activation::Silu),
            Input::Norm(Norm::Layer { eps: 1e-5 }),
            Input::Act(Activation::Gelu),
        ];
        let columns = if format.block() == 1 { 101 } else { 512 };
        let layout = Layout {
            format,
            rows: 70,
            columns,
        };
        let rows = [1, 7, 2, 33][i % 4];
        check(way, layout, rows, inputs[i % 4], &mut random, device);
    }
}

#[test]
fn every_way_to_a_product_is_the_reference_in_every_format() {
    // Planes need a real GPU: CubeCL reports none on a software one.
    let Some((kind, device)) = vulkan() else {
        return;
    };
    let mut ways = vec![Way::Single, Way::Shared, Way::Tiles];
    if kind == crate::Kind::Discrete {
        ways.push(Way::Plane(32));
    }
    for way in ways {
        check_every_format(way, &device);
    }
}

#[cfg(feature = "vulkan")]
#[test]
fn cooperative_matrices_are_the_reference_in_every_format() {
    use super::linear_cooperative::Fragment;

    let Some((_, device)) = vulkan() else { return };
    match Fragment::of(device.client().properties()) {
        Some(fragment) => {
            let way = Way::Cooperative(fragment);
            check_every_format(way, &device);
            // More rows than a tile has.
            let layout = Layout {
                format: Format::Q4_1,
                rows: 70,
                columns: 512,
            };
            check(way, layout, 130, Input::Plain, &mut Random(25), &device);
        }
        None => eprintln!("SKIP: this adapter has no cooperative matrices of halves"),
    }
}

#[test]
fn a_matrix_larger_than_a_buffer_lies_in_several() {
    let Ok(selected) = select(Choice::Gpu) else {
        eprintln!("SKIP: no Vulkan adapter");
        return;
    };
    let device = &selected.device;
    let mut random = Random(26);
    for (format, columns) in [
        (Format::Q8_0, 96),
        (Format::Q6_K, 256),
        (Format::Q4_1, 64),
        (Format::F16, 77),
        (Format::F32, 5),
    ] {
        let layout = Layout {
            format,
            rows: 70,
            columns,
        };
        let bytes = matrix(layout, &mut random);
        let mut arena = Arena::new(device, bytes.len());
        arena.largest = padded_block(format) * (columns / format.block()) * 25;
        let split = arena.matrix(layout, bytes.clone()).unwrap();
        assert_eq!(split.parts.len(), 3, "{layout:?}");
        assert!(
            split
                .parts
                .iter()
                .all(|part| part.dims()[0] * 4 <= arena.largest)
        );
        let close = |found: Tensor<2>, want: &[f32]| {
            let found = found.into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(found.len(), want.len());
            for (i, (found, want)) in found.iter().zip(want).enumerate() {
                assert!(
                    (found - want).abs() <= 1e-3,
                    "{layout:?}: element {i} is {found}, not {want}"
                );
            }
        };

        let numbers = [0, 23, 24, 69, 47, 48];
        let ids = Tensor::from_data(TensorData::new(numbers.to_vec(), [6]), (device, DType::I32));
        let recorder = Recorder::prepare(device).expect("a GPU records");
        let (recording, out) = recorder
            .record(|| split.embed(&ids, 2.0))
            .expect("it records");
        close(
            split.embed(&ids, 2.0),
            &reference::embed(&bytes, &numbers, layout, 2.0),
        );
        let numbers = [48, 47, 69, 24, 23, 0];
        overwrite(&ids, &numbers);
        // SAFETY: `split` and `ids` are there, and this thread's alone.
        unsafe { recording.run() }.expect("the device runs it");
        close(out, &reference::embed(&bytes, &numbers, layout, 2.0));

        let tensor = |values: &[f32], shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let (x, bias) = (random.vector(3 * columns), random.vector(70));
        let mut want = random.vector(3 * 72);
        let with = With {
            input: Input::Plain,
            gains: tensor(&[0.0], [1, 1]),
            bias: Tensor::from_data(TensorData::new(bias.clone(), [70]), device),
        };
        let out = split.linear(
            tensor(&want, [3, 72]),
            &tensor(&x, [3, columns]),
            &with,
            1,
            true,
        );
        let spec = LinearSpec {
            layout,
            input: Input::Plain,
            first: 1,
            accumulate: true,
            bias: true,
        };
        reference::linear(&mut want, 72, &x, &bytes, &[], &bias, spec);
        close(out, &want);
    }
}

#[test]
fn a_wrong_kernel_is_named_and_another_takes_its_place() {
    let Ok(selected) = select(Choice::Gpu) else {
        eprintln!("SKIP: no Vulkan adapter");
        return;
    };
    let first = |tests: &[crate::SelfTest]| tests[0].clone();
    let sound = block_on(self_test(&selected.device, &[Format::Q4_1]));
    assert!(
        sound
            .iter()
            .all(|test| test.passed && test.fallback.is_none())
    );
    assert!(sound.iter().any(|test| test.kernel == "draw"));

    let cube = match selected.device.as_dispatch() {
        burn::backend::DispatchDevice::Cube(cube) => cube.clone(),
        other => panic!("{other:?} is no GPU"),
    };
    let way = Way::of(&cube, cube.client().properties(), 1);
    BROKEN.set(Some(way));
    let tests = block_on(self_test(&selected.device, &[Format::Q4_1]));
    BROKEN.set(None);

    let wrong = first(&tests);
    assert!(!wrong.passed && !wrong.is_fatal(), "{wrong:?}");
    let next = Way::of(&cube, cube.client().properties(), 1);
    assert_eq!(wrong.fallback, Some(next.to_string()));
    assert_ne!(next, way);
    assert!(tests[1].passed && tests[1].kernel == wrong.kernel);
    assert!(tests.iter().all(|test| !test.is_fatal()));
    let (trusted, _) = block_on(selected.tested(Choice::Auto, &[Format::Q4_1])).unwrap();
    assert!(!trusted.is_cpu());
}

#[test]
fn no_kernel_binds_more_buffers_than_webgpu_grants() {
    let sources = [
        include_str!("attention.rs"),
        include_str!("embed.rs"),
        include_str!("input.rs"),
        include_str!("linear_cooperative.rs"),
        include_str!("linear_gemm.rs"),
        include_str!("linear_gemv.rs"),
        include_str!("low_rank.rs"),
        include_str!("norm.rs"),
        include_str!("rope.rs"),
        include_str!("token.rs"),
    ];
    for source in sources {
        let kernels: Vec<&str> = source.split("#[cube(launch").skip(1).collect();
        assert!(!kernels.is_empty());
        for kernel in kernels {
            let signature = kernel.split("{").next().unwrap_or_default();
            let bindings =
                signature.matches(": &[").count() + signature.matches(": &mut [").count();
            assert!(
                (1..=MAX_BINDINGS).contains(&bindings),
                "{bindings} bindings: {signature}"
            );
        }
    }
}
