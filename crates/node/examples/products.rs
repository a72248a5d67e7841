//! A product beside those that burn's stack has, for one row of input (a token) and for 64 (a prompt): ours on `Q4_1` and
//! `Q8_0`, cubek's `quant_gemv`, which is for tokens, on as many bits, and burn's own on as many bits and on floats.
//! `products [DEVICE]`, a GPU.

use std::time::Instant;

use burn::backend::DispatchDevice;
use burn::cubecl;
use burn::tensor::{Distribution, Tensor};
use cubecl::bytes::Bytes;
use cubecl::client::Client;
use cubecl::future::block_on;
use cubecl::prelude::*;
use cubecl::quant::scheme::{QuantScheme, QuantValue, ScaleDtype};
use cubecl::std::tensor::TensorHandle;
use cubek_matmul::routine::BlueprintStrategy;
use cubek_matmul::tiled::quant_gemv::{
    QuantGemvBindings, QuantGemvElems, QuantGemvProblem, launch_ref,
};
use tinderbox_kernels::sample::{Random, matrix};
use tinderbox_kernels::{Choice, Format, Input, Layout, Matrix, With, select};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rows and columns of SmolLM2-135M's largest products, and of a model ten times as large.
const SHAPES: [[usize; 2]; 3] = [[3072, 576], [576, 1536], [8192, 2048]];
/// Values with one scale.
const BLOCK: usize = 32;

fn main() -> Result<()> {
    let choice: Choice = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("gpu")
        .parse()?;
    let selected = select(choice)?;
    let DispatchDevice::Cube(cube) = selected.device.as_dispatch() else {
        return Err("the rivals are a GPU's".into());
    };
    let (client, device) = (cube.client(), &selected.device);
    println!("{}; microseconds a product", selected.description);
    let mut random = Random(1);
    for [rows, columns] in SHAPES {
        for inputs in [1, 64] {
            let x = Tensor::<2>::random([inputs, columns], Distribution::Default, device);
            let w = Tensor::<2>::random([rows, columns], Distribution::Default, device);
            let mut line = format!("[{rows}, {columns}] x {inputs}:");
            for (format, field) in [
                (Format::Q4_1, QuantValue::Q4S),
                (Format::Q8_0, QuantValue::Q8S),
            ] {
                let layout = Layout {
                    format,
                    rows,
                    columns,
                };
                let ours = Matrix::new(layout, matrix(layout, &mut random), device)?;
                let unit = Tensor::ones([1, 1], device);
                let with = With {
                    input: Input::Plain,
                    gains: unit,
                    bias: Tensor::zeros([1], device),
                };
                let out = Tensor::<2>::zeros([inputs, rows], device);
                let time = time(&client, || {
                    ours.linear(out.clone(), &x, &with, 0, false);
                    Ok(())
                })?;
                line += &format!(" ours {format} {time:.0},");
                let scheme = QuantScheme::default().with_value(field);
                let scheme = scheme.per_block([1, BLOCK as u8], ScaleDtype::F32);
                line += &format!(
                    " burn {field:?} {:.0},",
                    burn(&client, &x, &w.clone().quantize_dynamic(&scheme))?
                );
                if inputs > 1 {
                    continue;
                }
                let problem = QuantGemvProblem {
                    d_out: rows,
                    d_in: columns,
                    rows: inputs,
                    field,
                    block: BLOCK,
                    scales: ScaleDtype::F32,
                };
                line += &match cubek(&client, &problem) {
                    Ok(time) => format!(" cubek {field:?} {time:.0},"),
                    Err(error) => format!(" cubek {field:?}: {error},"),
                };
            }
            println!("{line} burn F32 {:.0}", burn(&client, &x, &w)?);
        }
    }
    Ok(())
}

/// burn's product with the weights as it has them.
fn burn(client: &Client, x: &Tensor<2>, w: &Tensor<2>) -> Result<f64> {
    time(client, || {
        x.clone().matmul(w.clone().transpose());
        Ok(())
    })
}

/// cubek's product of packed weights; what it says where it has none of this shape.
fn cubek(client: &Client, problem: &QuantGemvProblem) -> Result<f64> {
    fn handle<E: Numeric + bytemuck::Pod>(
        client: &Client,
        values: Vec<E>,
        shape: [usize; 2],
    ) -> TensorHandle {
        let handle = client.create(Bytes::from_elems(values));
        TensorHandle::new_contiguous(shape.to_vec(), handle, E::elem_type_native())
    }
    let QuantGemvProblem {
        d_out,
        d_in,
        rows,
        block,
        ..
    } = *problem;
    let words = d_out * d_in / problem.factor();
    let x = handle(client, vec![1.0f32; rows * d_in], [rows, d_in]);
    let weights = TensorHandle::new_contiguous(
        vec![d_out, d_in],
        client.create(Bytes::from_elems(vec![0x1234_5678u32; words])),
        u32::elem_type_native(),
    );
    let scales = handle(
        client,
        vec![1.0f32; d_out * d_in / block],
        [d_out, d_in / block],
    );
    let out = handle(client, vec![0.0f32; d_out * rows], [d_out, rows]);
    let float = f32::elem_type_native();
    let elems = QuantGemvElems {
        served: float,
        x: float,
        tensor_scale: float,
        out: float,
    };
    time(client, || {
        let bindings = QuantGemvBindings {
            x: x.clone().binding(),
            weights: weights.clone().binding(),
            scales: vec![scales.clone().binding()],
            out: out.clone().binding(),
        };
        launch_ref(
            client,
            bindings,
            problem,
            &BlueprintStrategy::default(),
            elems,
        )
        .map_err(|error| format!("{error}").into())
    })
}

/// Microseconds that `work` takes on the device, on average over half a second, once it is compiled.
fn time(client: &Client, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let sync = || block_on(client.sync()).map_err(|error| format!("{error:?}"));
    let mut runs = 1;
    work()?;
    sync()?;
    loop {
        let start = Instant::now();
        for _ in 0..runs {
            work()?;
        }
        sync()?;
        let seconds = start.elapsed().as_secs_f64();
        if seconds > 0.5 {
            return Ok(seconds * 1e6 / f64::from(runs));
        }
        runs *= 2;
    }
}
