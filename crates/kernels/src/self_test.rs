//! One small vector through each kernel on the real device: trust no driver.

use burn::tensor::{Device, Int, Tensor, TensorData};
use tinderbox_cpu::DRAW;

use crate::device::{
    draws, fall_back, give_up_drawing, give_up_recording, give_up_turning, shared_from,
};
use crate::sample::{Adapters as Sample, Random, matrix};
use crate::{
    Activation, AttentionSpec, Draw, Format, Input, Layout, LinearSpec, LowRank, LowRankSpec,
    Matrix, Norm, Recorder, RopeSpec, With, add_norm, attention, choose, overwrite, reference,
    rope, turning_attention,
};

/// What one kernel gave.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// As in `linear, 1 row`.
    pub kernel: &'static str,
    /// Storage of the weights, where it has some.
    pub format: Option<Format>,
    /// Within the tolerance.
    pub passed: bool,
    /// Largest deviation from the reference, as a share of its largest value; infinite where it is no number (`null` in JSON).
    pub error: f32,
    /// The element that is most wrong, or what the device said; empty where it passed.
    pub detail: String,
    /// What took the place of a wrong kernel; its own test follows.
    pub fallback: Option<String>,
}

impl SelfTest {
    /// Wrong, and nothing took its place.
    pub fn is_fatal(&self) -> bool {
        !self.passed && self.fallback.is_none()
    }
}

/// Largest deviation that is no fault, as a share of the reference's largest value.
const TOLERANCE: f32 = 2e-4;
const EPS: f32 = 1e-5;
const DIM: usize = 64;
const NORM: Norm = Norm::Rms { eps: EPS };

struct Bench<'a> {
    device: &'a Device,
    random: Random,
    results: Vec<SelfTest>,
}

/// Runs every kernel once, `linear` in each of the formats, and compares with [`reference`]. Where a
/// kernel for products is wrong it is taken out on this device, and the next one is tried.
pub async fn self_test(device: &Device, formats: &[Format]) -> Vec<SelfTest> {
    let mut bench = Bench {
        device,
        random: Random(1),
        results: Vec::new(),
    };
    for &format in formats {
        bench
            .linear("linear, 1 row", format, 1, Input::Norm(NORM))
            .await;
        bench
            .linear(
                "linear, 33 rows",
                format,
                33,
                Input::Gated(Activation::Silu),
            )
            .await;
    }
    bench.embed().await;
    bench.rope_and_attention().await;
    bench.add_norm().await;
    bench.low_rank().await;
    bench.choose().await;
    bench.recording().await;
    bench.results
}

impl Bench<'_> {
    fn tensor<const D: usize>(&self, values: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), self.device)
    }

    fn ints<const D: usize>(&self, values: &[i32], shape: [usize; D]) -> Tensor<D, Int> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (self.device, burn::tensor::DType::I32))
    }

    /// Compares with what the reference says.
    async fn judge<const D: usize>(
        &mut self,
        kernel: &'static str,
        format: Option<Format>,
        got: Tensor<D>,
        want: &[f32],
    ) {
        let (error, detail) = match got
            .into_data_async()
            .await
            .map(|data| data.try_to_vec::<f32>())
        {
            Ok(Ok(got)) => worst(&got, want),
            Ok(Err(error)) => (f32::INFINITY, format!("{error:?}")),
            Err(error) => (f32::INFINITY, error.to_string()),
        };
        self.note(kernel, format, error, detail);
    }

    fn note(&mut self, kernel: &'static str, format: Option<Format>, error: f32, detail: String) {
        let passed = error <= TOLERANCE;
        let detail = if passed { String::new() } else { detail };
        self.results.push(SelfTest {
            kernel,
            format,
            passed,
            error,
            detail,
            fallback: None,
        });
    }

    /// Where the last test failed, `fallback` takes the place of what it tested.
    fn fall_back_to(&mut self, fallback: &str, give_up: impl FnOnce(&Device)) {
        if let Some(wrong) = self.results.last_mut().filter(|test| !test.passed) {
            give_up(self.device);
            wrong.fallback = Some(fallback.into());
        }
    }

    async fn linear(&mut self, kernel: &'static str, format: Format, rows: usize, input: Input) {
        loop {
            self.product(kernel, format, rows, input).await;
            let last = self.results.last_mut().filter(|test| !test.passed);
            let Some(wrong) = last else { return };
            wrong.fallback = fall_back(self.device, rows);
            if wrong.fallback.is_none() {
                return;
            }
        }
    }

    async fn product(&mut self, kernel: &'static str, format: Format, rows: usize, input: Input) {
        let layout = Layout {
            format,
            rows: 40,
            columns: 512,
        };
        let wide = if matches!(input, Input::Gated(_)) {
            2 * layout.columns
        } else {
            layout.columns
        };
        let bytes = matrix(layout, &mut self.random);
        let x = self.random.vector(rows * wide);
        let gains = self.random.vector(layout.columns);
        let bias = self.random.vector(layout.rows);
        let mut want = self.random.vector(rows * layout.rows);
        let out = self.tensor(&want, [rows, layout.rows]);
        let spec = LinearSpec {
            layout,
            input,
            first: 0,
            accumulate: true,
            bias: true,
        };
        reference::linear(&mut want, layout.rows, &x, &bytes, &gains, &bias, spec);

        let matrix = Matrix::new(layout, bytes, self.device).expect("a sample is whole");
        let with = With {
            input,
            gains: self.tensor(&gains, [1, layout.columns]),
            bias: self.tensor(&bias, [layout.rows]),
        };
        let out = matrix.linear(out, &self.tensor(&x, [rows, wide]), &with, 0, true);
        self.judge(kernel, Some(format), out, &want).await;
    }

    async fn embed(&mut self) {
        let layout = Layout {
            format: Format::Q4_K,
            rows: 9,
            columns: 256,
        };
        let bytes = matrix(layout, &mut self.random);
        let ids = [8, 0, 3];
        let want = reference::embed(&bytes, &ids, layout, 2.0);
        let matrix = Matrix::new(layout, bytes, self.device).expect("a sample is whole");
        let out = matrix.embed(&self.ints(&ids, [3]), 2.0);
        self.judge("embed", None, out, &want).await;
    }

    /// Two sequences of 20 tokens in blocks of 16, then one query each.
    async fn rope_and_attention(&mut self) {
        let (heads, kv_heads, block) = (4, 2, 16);
        let spec = RopeSpec {
            heads,
            kv_heads,
            head_dim: DIM,
            pairs: DIM / 2,
            interleaved: false,
            magnitude: 1.0,
            qk_norm: Some(EPS),
        };
        let (width, kv) = ((heads + 2 * kv_heads) * DIM, kv_heads * DIM);
        let mut qkv = self.random.vector(2 * width);
        let mut cache = self.random.vector(2 * 64 * kv);
        let rows = [19, 3, 0, 17, 33, 1];
        let tables = [1, 0, 3, 2];
        let frequencies: Vec<f32> = (0..DIM / 2)
            .map(|i| 1e4f32.powf(-2.0 * i as f32 / DIM as f32))
            .collect();
        let gains = self.random.vector(2 * DIM);
        let device_rows = self.ints(&rows, [2, 3]);
        let turns = (
            &self.tensor(&frequencies, [DIM / 2]),
            &self.tensor(&gains, [2, DIM]),
        );
        // Once for each kernel below: they are written in place.
        let fresh = [(); 3].map(|()| {
            let qkv = self.tensor(&qkv, [2, width]);
            (qkv, self.tensor(&cache, [2, 64, kv]))
        });
        let [(device_qkv, device_cache), at_once @ ..] = fresh;
        let (device_qkv, device_cache) = rope(
            device_qkv,
            device_cache,
            &device_rows,
            turns.0,
            turns.1,
            spec,
        );
        reference::rope(&mut qkv, &mut cache, &rows, &frequencies, &gains, spec);
        self.judge("rope, queries", None, device_qkv.clone(), &qkv)
            .await;
        self.judge("rope, cache", None, device_cache.clone(), &cache)
            .await;

        let device_tables = self.ints(&tables, [2, 2]);
        // Of a prompt rows are computed at once; a longer context than there is has parts, the last of them empty.
        let prompt = [18, 2, 0, 19, 3, 0];
        let shared =
            shared_from(self.device).map(|from| ("attention, parts", rows, true, 2 * from));
        let cases = [
            ("attention", rows, true, 20),
            ("attention, prompt", prompt, false, 20),
        ];
        let attention_spec = |alone, longest| AttentionSpec {
            heads,
            kv_heads,
            head_dim: DIM,
            block,
            scale: 0.125,
            softcap: None,
            window: None,
            alone,
            longest,
        };
        for (kernel, rows, alone, longest) in cases.into_iter().chain(shared) {
            let spec = attention_spec(alone, longest);
            let want = reference::attention(&qkv, &cache, &rows, &tables, 2, spec);
            let rows = self.ints(&rows, [2, 3]);
            let out = attention(&device_qkv, &device_cache, &rows, &device_tables, spec);
            self.judge(kernel, None, out, &want).await;
        }

        let shared = shared_from(self.device).map(|from| ("rope and attention, parts", 2 * from));
        let cases = [("rope and attention", 20)].into_iter().chain(shared);
        for ((kernel, longest), (qkv_at_once, cache_at_once)) in cases.zip(at_once) {
            let attending = attention_spec(true, longest);
            let want = reference::attention(&qkv, &cache, &rows, &tables, 2, attending);
            let (_, written, out) = turning_attention(
                qkv_at_once,
                cache_at_once,
                &device_rows,
                &device_tables,
                turns,
                spec,
                attending,
            );
            self.judge(kernel, None, out, &want).await;
            self.fall_back_to("rope, then attention", give_up_turning);
            self.judge("rope and attention, cache", None, written, &cache)
                .await;
            self.fall_back_to("rope, then attention", give_up_turning);
        }
    }

    async fn add_norm(&mut self) {
        let (mut x, y) = (self.random.vector(2 * DIM), self.random.vector(2 * DIM));
        let gains = self.random.vector(DIM);
        let (left, right) = (self.tensor(&x, [2, DIM]), self.tensor(&y, [2, DIM]));
        let out = add_norm(left, &right, &self.tensor(&gains, [1, DIM]), NORM);
        reference::add_norm(&mut x, &y, DIM, &gains, NORM);
        self.judge("add_norm", None, out, &x).await;
    }

    /// The best of two rows, and where the device is to draw, a token that is left by all filters.
    async fn choose(&mut self) {
        const VOCAB: usize = 1000;
        let logits: Vec<f32> = self.random.vector(2 * VOCAB);
        let logits: Vec<f32> = logits.iter().map(|logit| 8.0 * logit).collect();
        let on_device = self.tensor(&logits, [2, VOCAB]);
        let draw = |temperature, unit| Draw {
            temperature,
            top_k: 200,
            top_p: 0.95,
            min_p: 0.01,
            unit,
        };
        let some = [draw(0.7, 0.4), draw(1.5, 0.8)];
        let words: Vec<i32> = some.iter().flat_map(Draw::words).collect();
        let drawn = draws(self.device).then_some(("draw", Some(words)));
        for (kernel, words) in [("best token", None)].into_iter().chain(drawn) {
            let mut want = [0; 2];
            reference::choose(&mut want, &logits, VOCAB, words.as_deref());
            let want = want.map(|token| token as f32);
            let draws = words.as_ref().map(|words| self.ints(words, [2, DRAW]));
            let tokens = choose(self.ints(&[0, 0], [2]), &on_device, draws.as_ref());
            self.judge(kernel, None, tokens.float(), &want).await;
            if words.is_some() {
                self.fall_back_to("the host's sampler", give_up_drawing);
            }
        }
    }

    /// Three rows of a table, of which one is another when they are looked up again. A device that does not do it is told
    /// each step anew.
    async fn recording(&mut self) {
        let layout = Layout {
            format: Format::F32,
            rows: 9,
            columns: DIM,
        };
        let bytes = matrix(layout, &mut self.random);
        let want = reference::embed(&bytes, &[8, 5, 3], layout, 2.0);
        let matrix = Matrix::new(layout, bytes, self.device).expect("a sample is whole");
        let ids = self.ints(&[8, 0, 3], [3]);
        let Some(recorder) = Recorder::prepare(self.device) else {
            return;
        };
        drop(matrix.embed(&ids, 2.0));
        let recorded = recorder.record(|| matrix.embed(&ids, 2.0));
        let recorded = recorded.and_then(|(recording, out)| {
            overwrite(&ids, &[8, 5, 3]);
            // SAFETY: `matrix` and `ids` are there, and this thread's alone.
            unsafe { recording.run() }.map(|()| (recording, out))
        });
        match recorded {
            Ok((_recording, out)) => self.judge("recording", None, out, &want).await,
            Err(detail) => self.note("recording", None, f32::INFINITY, detail),
        }
        self.fall_back_to("operations one by one", give_up_recording);
    }

    /// Two rows of three have adapters, one of them for two parts of three.
    async fn low_rank(&mut self) {
        let outputs = [40, 24, 8];
        let mut adapters = LowRank::new(DIM, outputs, self.device);
        let sample = Sample::new(
            DIM,
            outputs,
            &[(1, [5, 0, 3]), (4, [9, 2, 1])],
            &mut self.random,
        );
        for (slot, factors) in &sample.slots {
            adapters.put(*slot, factors.clone());
        }
        let (x, gains) = (self.random.vector(3 * DIM), self.random.vector(DIM));
        let mut want = self.random.vector(3 * 72);
        let out = self.tensor(&want, [3, 72]);
        let rows = [0, 4, 2, 1];
        let spec = LowRankSpec {
            input: Input::Norm(NORM),
            columns: DIM,
            outputs,
            ranks: 12,
        };
        let Sample { values, table, .. } = &sample;
        reference::low_rank(&mut want, 72, &x, values, table, &rows, &gains, spec);
        let with = With {
            input: spec.input,
            gains: self.tensor(&gains, [1, DIM]),
            bias: self.tensor(&[0.0], [1]),
        };
        let (x, rows) = (self.tensor(&x, [3, DIM]), self.ints(&rows, [2, 2]));
        let out = adapters.add(out, &x, &with, &rows);
        self.judge("low_rank", None, out, &want).await;
    }
}

/// The largest deviation as a share of the largest value, and where it is.
fn worst(got: &[f32], want: &[f32]) -> (f32, String) {
    if got.len() != want.len() {
        return (
            f32::INFINITY,
            format!("{} elements in place of {}", got.len(), want.len()),
        );
    }
    let size = want
        .iter()
        .fold(f32::MIN_POSITIVE, |size, v| size.max(v.abs()));
    let mut worst = (0.0, String::new());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = match (got - want).abs() / size {
            error if error.is_nan() => f32::INFINITY,
            error => error,
        };
        if error > worst.0 {
            worst = (error, format!("element {i}: {got} in place of {want}"));
        }
    }
    worst
}
