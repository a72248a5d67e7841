//! `tinderbox bench`: the decoder alone, as the engine drives it, on made-up token ids.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use tinderbox_kernels::copy_bandwidth;
use tinderbox_kernels::profile::{self, Track, enter};
use tinderbox_model::{Decoder, Output, Step, Want};

use crate::pull::Local;
use crate::runtime::{Loaded, PREFILL_ROWS, load, use_threads};
use crate::settings::Settings;
use trace::Steps;

mod trace;

/// Tokens of an answer that a trace shows: they are alike.
const PROFILED: usize = 16;

/// What was measured, and on what.
#[derive(Serialize)]
struct Report {
    model: String,
    device: String,
    load_s: f64,
    weight_bytes: usize,
    cache_bytes: usize,
    /// Largest resident memory of the process, where the system tells.
    peak_bytes: Option<u64>,
    /// What the device reads and writes with nothing else to do.
    copy_bytes_per_s: f64,
    results: Vec<Figures>,
    /// Of the run that was written down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Steps>,
}

/// Medians for one prompt length and batch.
#[derive(Serialize)]
struct Figures {
    prompt_tokens: usize,
    output_tokens: usize,
    batch: usize,
    /// From the prompt's first token to the answer's first.
    first_token_s: f64,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    /// Weights read a second while decoding: each step reads all of them once.
    decode_bytes_per_s: f64,
    /// That as a share of `copy_bytes_per_s`.
    bandwidth_share: f64,
}

/// Measures and prints.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    use_threads(settings);
    let local = super::model(settings).await?;
    let report = tokio::task::spawn_blocking({
        let settings = settings.clone();
        move || futures::executor::block_on(measure(&settings, &local))
    });
    let report = report.await??;
    match settings.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(settings: &Settings, local: &Local) -> anyhow::Result<Report> {
    let start = Instant::now();
    let Loaded {
        mut decoder,
        selected,
        checkpoint,
    } = load(settings, &local.path, |_| Ok(())).await?;
    let load_s = start.elapsed().as_secs_f64();
    drop(checkpoint);

    let mut results = Vec::new();
    for &prompt in &settings.prompt_tokens {
        for &batch in &settings.batch {
            let tokens = prompt + settings.output_tokens;
            let blocks = tokens.div_ceil(decoder.block_size());
            anyhow::ensure!(
                prompt > 0
                    && batch > 0
                    && tokens <= decoder.context()
                    && blocks * batch <= decoder.blocks(),
                "{batch} sequences of {tokens} tokens do not fit: a sequence holds {}, the cache {} \
                 (see --context and --max-sequences)",
                decoder.context(),
                decoder.blocks() * decoder.block_size()
            );
            results.push(figures(&mut decoder, settings, prompt, batch).await?);
        }
    }
    let steps = match &settings.profile {
        Some(to) => profiled(&mut decoder, settings, to).await?,
        None => Vec::new(),
    };
    // Last, so that its buffer does not count as the model's memory.
    let peak_bytes = peak_memory();
    let copy_bytes_per_s = copy_bandwidth(&selected.device).await;
    let copy_bytes_per_s = copy_bytes_per_s.map_err(anyhow::Error::msg)?;
    for figures in &mut results {
        figures.bandwidth_share = figures.decode_bytes_per_s / copy_bytes_per_s;
    }
    Ok(Report {
        model: local.name.clone(),
        device: selected.description,
        load_s,
        weight_bytes: decoder.weight_bytes(),
        cache_bytes: decoder.cache_bytes(),
        peak_bytes,
        copy_bytes_per_s,
        results,
        steps,
    })
}

async fn figures(
    decoder: &mut Decoder,
    settings: &Settings,
    prompt: usize,
    batch: usize,
) -> anyhow::Result<Figures> {
    let output = settings.output_tokens;
    let (mut firsts, mut prefills, mut decodes) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..=settings.repetitions.max(1) {
        let times = round(decoder, prompt, output, output, batch).await?;
        if number > 0 {
            firsts.push(times.first);
            prefills.push((prompt * batch) as f64 / times.read);
            decodes.push((output * batch) as f64 / times.wrote);
        }
    }
    let decode_tokens_per_s = median(decodes);
    Ok(Figures {
        prompt_tokens: prompt,
        output_tokens: output,
        batch,
        first_token_s: median(firsts),
        prefill_tokens_per_s: median(prefills),
        decode_tokens_per_s,
        decode_bytes_per_s: decode_tokens_per_s / batch as f64 * decoder.weight_bytes() as f64,
        bandwidth_share: 0.0,
    })
}

/// Seconds of a [`round`].
struct Times {
    first: f64,
    read: f64,
    wrote: f64,
}

/// Reads a prompt for each sequence, then writes `steps` of the `output` tokens there is room for.
async fn round(
    decoder: &mut Decoder,
    prompt: usize,
    output: usize,
    steps: usize,
    batch: usize,
) -> anyhow::Result<Times> {
    let start = Instant::now();
    let mut next = Vec::new();
    let mut first = 0.0;
    for sequence in 0..batch {
        next.push(prefill(decoder, sequence, prompt, output).await?);
        if sequence == 0 {
            first = start.elapsed().as_secs_f64();
        }
    }
    let read = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut begun = false;
    for position in prompt..prompt + steps {
        let step = |position| decode(decoder, &next, position, prompt + output);
        let (this, after) = (step(position), step(position + 1));
        if !begun {
            decoder.begin(&this, Want::Tokens)?;
        }
        // As the engine does it: a GPU gets the next step before this one's tokens are read.
        begun = position + 1 < prompt + steps && decoder.follow(&after)?;
        if let Output::Tokens(tokens) = decoder.answer().await? {
            next = tokens.into_iter().map(Option::unwrap_or_default).collect();
        }
    }
    let wrote = start.elapsed().as_secs_f64();
    Ok(Times { first, read, wrote })
}

/// Runs each prompt length and batch once more, and writes down where the time went.
async fn profiled(
    decoder: &mut Decoder,
    settings: &Settings,
    to: &Path,
) -> anyhow::Result<Vec<Steps>> {
    profile::start();
    let (output, steps) = (settings.output_tokens, settings.output_tokens.min(PROFILED));
    for &prompt in &settings.prompt_tokens {
        for &batch in &settings.batch {
            let name = format!("prompt of {prompt}, then {steps} tokens, batch {batch}");
            let _round = enter(Track::Host, || name);
            round(decoder, prompt, output, steps, batch).await?;
        }
    }
    let spans = profile::finish().await;
    let trace = serde_json::to_string(&trace::of(&spans))?;
    std::fs::write(to, trace).with_context(|| format!("cannot write {}", to.display()))?;
    eprintln!(
        "{} holds the trace: open it at ui.perfetto.dev",
        to.display()
    );
    Ok(trace::steps(&spans))
}

/// The blocks of a sequence when each gets as many.
fn table(decoder: &Decoder, sequence: usize, tokens: usize) -> Vec<u32> {
    let blocks = tokens.div_ceil(decoder.block_size());
    (sequence * blocks..(sequence + 1) * blocks)
        .map(|block| block as u32)
        .collect()
}

/// Reads one prompt and answers with the token after it.
async fn prefill(
    decoder: &mut Decoder,
    sequence: usize,
    prompt: usize,
    output: usize,
) -> anyhow::Result<u32> {
    let mut last = 0;
    for start in (0..prompt).step_by(PREFILL_ROWS) {
        let end = (start + PREFILL_ROWS).min(prompt);
        let vocab = decoder.config().vocab;
        let step = Step {
            tokens: (start..end)
                .map(|i| ((i * 7919 + 13) % vocab) as u32)
                .collect(),
            positions: (start as u32..end as u32).collect(),
            sequences: vec![0; end - start],
            tables: vec![table(decoder, sequence, prompt + output)],
            outputs: if end == prompt {
                vec![(end - start - 1) as u32]
            } else {
                Vec::new()
            },
            ..Step::default()
        };
        if let Output::Tokens(tokens) = decoder.forward(&step, Want::Tokens).await? {
            last = tokens.first().copied().flatten().unwrap_or(0);
        }
    }
    Ok(last)
}

/// One step of all sequences.
fn decode(decoder: &Decoder, tokens: &[u32], position: usize, length: usize) -> Step {
    let count = tokens.len();
    Step {
        tokens: tokens.to_vec(),
        positions: vec![position as u32; count],
        sequences: (0..count as u32).collect(),
        tables: (0..count)
            .map(|sequence| table(decoder, sequence, length))
            .collect(),
        outputs: (0..count as u32).collect(),
        ..Step::default()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Largest resident memory so far (`VmHWM`), on Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn print(report: &Report) {
    let mib = |bytes: usize| bytes >> 20;
    println!("model   {}", report.model);
    println!("device  {}", report.device);
    println!(
        "memory  {} MiB of weights, {} MiB of KV cache set aside, peak {}",
        mib(report.weight_bytes),
        mib(report.cache_bytes),
        report
            .peak_bytes
            .map_or("unknown".into(), |b| format!("{} MiB", b >> 20)),
    );
    println!(
        "load    {:.2} s; the device copies {:.1} GB/s",
        report.load_s,
        report.copy_bytes_per_s / 1e9
    );
    println!(
        "prompt  output  batch  first token  prefill tok/s  decode tok/s  weights GB/s  of copy"
    );
    for f in &report.results {
        println!(
            "{:>6}  {:>6}  {:>5}  {:>9.3} s  {:>13.1}  {:>12.1}  {:>12.2}  {:>6.1}%",
            f.prompt_tokens,
            f.output_tokens,
            f.batch,
            f.first_token_s,
            f.prefill_tokens_per_s,
            f.decode_tokens_per_s,
            f.decode_bytes_per_s / 1e9,
            f.bandwidth_share * 100.0,
        );
    }
    for steps in &report.steps {
        let each = |what, time: Option<f64>| {
            time.map_or(String::new(), |time| format!(", {what} {time:.1} us each"))
        };
        let (run, launch) = (each("run", steps.run_us), each("launch", steps.launch_us));
        println!(
            "{}: {:.0} operations{run}{launch}",
            steps.name, steps.operations
        );
    }
}
