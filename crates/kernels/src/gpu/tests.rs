//! What the public oracle test cannot reach: the products of real GPUs, run on any adapter, and
//! the limits that hold for every kernel.

use std::cell::Cell;

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Cube, CubeDevice, WgpuBackend, WgpuDevice, WgpuDeviceKind};
use burn::cubecl::future::block_on;
use burn::tensor::TensorData;

use super::choice::Way;
use super::linear::run;
use super::linear_gemv::Operands;
use super::{CubeTensor, MAX_BINDINGS};
use crate::matrix::pad_blocks;
use crate::sample::{Random, matrix};
use crate::{
    Activation, Choice, Format, Input, Layout, LinearSpec, Norm, adapters, reference, select,
    self_test,
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
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!(
            (got - want).abs() <= 2e-4 * size,
            "{way:?} {spec:?}: element {i} is {got}, not {want}"
        );
    }
}

#[test]
fn every_way_to_a_product_is_the_reference_in_every_format() {
    // Planes need a real GPU: CubeCL reports none on a software one.
    let Some(adapter) = adapters()
        .into_iter()
        .find(|adapter| adapter.backend == "vulkan")
    else {
        eprintln!("SKIP: no Vulkan adapter");
        return;
    };
    let kind = match adapter.kind {
        crate::Kind::Cpu => WgpuDeviceKind::Cpu,
        _ => WgpuDeviceKind::DefaultDevice,
    };
    let device = CubeDevice::Wgpu(WgpuDevice::new(kind).on(WgpuBackend::Vulkan));
    let mut ways = vec![Way::Single, Way::Shared, Way::Tiles];
    if adapter.kind == crate::Kind::Discrete {
        ways.push(Way::Plane(32));
    }
    let mut random = Random(21);
    for way in ways {
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
            check(
                way,
                layout,
                [1, 7, 2, 33][i % 4],
                inputs[i % 4],
                &mut random,
                &device,
            );
        }
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
        include_str!("linear_gemm.rs"),
        include_str!("linear_gemv.rs"),
        include_str!("low_rank.rs"),
        include_str!("norm.rs"),
        include_str!("rope.rs"),
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
