//! The GGUF reader: what it reads back, and what it refuses in which words.

mod common;

use std::path::Path;

use common::{llama, open, refusal, text, u32_value};
use futures::executor::block_on;
use proptest::prelude::*;
use tinderbox_kernels::Format;
use tinderbox_model::gguf::pack::{Packing, pack};
use tinderbox_model::gguf::write::{Tensor, Writer};
use tinderbox_model::gguf::{Array, Gguf, Value, parts as parts_of};
use tinderbox_model::{Checkpoint, MemoryStorage, Storage};

fn read(file: &Writer) -> Gguf {
    let storage = MemoryStorage::new("x.gguf", file.to_bytes());
    block_on(Gguf::read(&storage)).unwrap()
}

/// Overwrites a field of a tensor's row in the table, `behind` bytes after its name.
fn patch(file: &Writer, tensor: &str, behind: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = file.to_bytes();
    let name = tensor.as_bytes();
    let at = all
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len()
        + behind;
    all[at..at + bytes.len()].copy_from_slice(bytes);
    all
}

fn without(key: &str) -> Vec<u8> {
    let mut file = llama();
    file.metadata.retain(|(name, _)| name != key);
    file.to_bytes()
}

fn with(key: &str, value: Value) -> Vec<u8> {
    let mut file = llama();
    file.metadata.retain(|(name, _)| name != key);
    file.set(key, value);
    file.to_bytes()
}

#[test]
fn a_tensor_comes_back_in_its_own_bytes_and_shape() {
    let checkpoint = open(llama().to_bytes()).unwrap();
    let raw = block_on(checkpoint.read("blk.0.attn_k.weight")).unwrap();
    assert_eq!(raw.shape, [16, 32]);
    assert_eq!(raw.bytes[4..8], 0.5_f32.to_le_bytes());
    assert_eq!(checkpoint.names().count(), 11);
    let error = block_on(checkpoint.read("blk.9.attn_k.weight")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tiny.gguf: tensor blk.9.attn_k.weight is missing"
    );
}

#[test]
fn pieces_of_a_matrix_are_all_of_it() {
    let checkpoint = open(llama().to_bytes()).unwrap();
    let raw = block_on(checkpoint.read("blk.0.attn_k.weight")).unwrap();
    // Sixteen rows of 128 bytes.
    for (bytes, count) in [(0, 16), (300, 8), (500, 6), (2048, 1), (usize::MAX, 1)] {
        let pieces: Vec<_> = checkpoint.pieces("blk.0.attn_k.weight", bytes).collect();
        assert_eq!(pieces.len(), count, "{pieces:?}");
        let read = |rows| block_on(checkpoint.read_rows("blk.0.attn_k.weight", rows)).unwrap();
        let joined: Vec<u8> = pieces.into_iter().flat_map(read).collect();
        assert_eq!(joined, raw.bytes);
    }
    assert_eq!(checkpoint.pieces("blk.9.attn_k.weight", 100).count(), 0);
}

/// The parts of a file, split after `cuts` tensors each.
fn split(file: &Writer, cuts: &[usize]) -> Vec<Writer> {
    let mut tensors = file.tensors.clone().into_iter();
    let parts = cuts.iter().enumerate().map(|(index, cut)| {
        let mut part = Writer::default();
        if index == 0 {
            part.metadata = file.metadata.clone();
        }
        part.set("split.no", Value::U16(index as u16));
        part.set("split.count", Value::U16(cuts.len() as u16));
        part.tensors = tensors.by_ref().take(*cut).collect();
        part
    });
    parts.collect()
}

#[test]
fn a_split_file_is_read_from_all_of_its_parts_and_from_no_fewer() {
    let parts = split(&llama(), &[4, 0, 7]);
    let join = |order: &[usize]| {
        let storages = order.iter().map(|index| {
            let storage = MemoryStorage::new(format!("{index}.gguf"), parts[*index].to_bytes());
            Box::new(storage) as Box<dyn Storage>
        });
        block_on(Checkpoint::from_gguf(storages.collect()))
    };
    let whole = open(llama().to_bytes()).unwrap();
    let joined = join(&[2, 0, 1]).unwrap();
    for name in whole.names() {
        let (expected, found) = (block_on(whole.read(name)), block_on(joined.read(name)));
        assert_eq!(found.unwrap(), expected.unwrap());
    }
    assert_eq!(joined.bytes(), whole.bytes());
    for wrong in [&[0, 1][..], &[0], &[0, 1, 1], &[0, 1, 2, 2]] {
        let error = join(wrong).err().unwrap().to_string();
        assert!(error.contains("exactly all parts are needed"), "{error}");
    }
    assert!(join(&[]).is_err());

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("split");
    std::fs::create_dir_all(&folder).unwrap();
    let paths: Vec<_> = (1..=3)
        .map(|n| folder.join(format!("x-{n:05}-of-00003.gguf")))
        .collect();
    for (path, part) in paths.iter().zip(&parts) {
        std::fs::write(path, part.to_bytes()).unwrap();
    }
    assert_eq!(parts_of(&paths[1]), paths);
    let opened = block_on(Checkpoint::open(&paths[0])).unwrap();
    assert_eq!(opened.names().count(), whole.names().count());
    std::fs::remove_file(&paths[2]).unwrap();
    let error = block_on(Checkpoint::open(&paths[0])).err().unwrap();
    assert!(
        error.to_string().contains("x-00003-of-00003.gguf"),
        "{error}"
    );
    for whole in [
        "x.gguf",
        "x-1-of-3.gguf",
        "x-00004-of-00003.gguf",
        "x-00000-of-00000.gguf",
    ] {
        let path = folder.join(whole);
        assert_eq!(parts_of(&path), [path]);
    }
}

#[test]
fn version_2_is_read_and_others_are_refused() {
    let mut bytes = llama().to_bytes();
    bytes[4] = 2;
    assert!(open(bytes.clone()).is_ok());
    bytes[4] = 1;
    let words = "tiny.gguf: version (offset 8): version 1 is not supported (supported: 2 and 3, little endian)";
    assert_eq!(refusal(bytes), words);
}

#[test]
fn a_file_of_another_kind_is_named_by_its_first_bytes() {
    let found = refusal(b"GGML\x03\0\0\0".to_vec());
    assert_eq!(
        found,
        "tiny.gguf: magic (offset 4): `GGML`, a GGUF file begins with `GGUF`"
    );
    assert!(refusal(Vec::new()).contains("the file ends"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = llama().to_bytes();
    for len in (0..bytes.len()).step_by(97) {
        let words = refusal(bytes[..len].to_vec());
        assert!(
            words.contains("the file ends")
                || words.contains("cut short")
                || words.contains("holds at most"),
            "{words}"
        );
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_read() {
    for at in [8, 16] {
        let mut bytes = llama().to_bytes();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(
            refusal(bytes)
                .contains("count 18446744073709551615, but the rest of the file holds at most")
        );
    }
}

#[test]
fn an_unknown_tensor_type_is_named_with_the_supported_ones() {
    let bytes = patch(
        &llama(),
        "blk.0.attn_q.weight",
        4 + 16,
        &11_u32.to_le_bytes(),
    );
    let words = "tiny.gguf: blk.0.attn_q.weight: type Q3_K is not supported (supported: F32, F16, BF16, \
                 Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K)";
    assert_eq!(refusal(bytes), words);
    let bytes = patch(
        &llama(),
        "blk.0.attn_q.weight",
        4 + 16,
        &999_u32.to_le_bytes(),
    );
    assert!(refusal(bytes).contains("type number 999 is not supported"));
}

#[test]
fn impossible_shapes_are_refused() {
    let huge = [u64::MAX / 2; 2].map(u64::to_le_bytes).concat();
    let words = refusal(patch(&llama(), "blk.0.attn_q.weight", 4, &huge));
    assert!(
        words.contains("blk.0.attn_q.weight") && words.contains("too many elements"),
        "{words}"
    );
    let words = refusal(patch(
        &llama(),
        "blk.0.attn_q.weight",
        0,
        &5_u32.to_le_bytes(),
    ));
    assert!(words.contains("5 dimensions, expected 1 to 4"), "{words}");
    let zero = 0_u64.to_le_bytes();
    assert!(refusal(patch(&llama(), "blk.0.attn_q.weight", 4, &zero)).contains("a dimension is 0"));
    // Rows of 20 as Q8_0, whose blocks have 32.
    let odd = [
        20_u64.to_le_bytes().to_vec(),
        32_u64.to_le_bytes().to_vec(),
        8_u32.to_le_bytes().to_vec(),
    ];
    let words = refusal(patch(&llama(), "blk.0.attn_q.weight", 4, &odd.concat()));
    assert!(
        words.contains("rows of 20 are no multiple of Q8_0's block of 32"),
        "{words}"
    );
}

#[test]
fn a_key_or_tensor_that_is_there_twice_is_refused() {
    let mut file = llama();
    file.set("llama.block_count", u32_value(2));
    assert!(refusal(file.to_bytes()).contains("llama.block_count"));
    let mut file = llama();
    file.tensors.push(file.tensors[0].clone());
    let words = refusal(file.to_bytes());
    assert!(
        words.contains("token_embd.weight") && words.contains("the tensor is there twice"),
        "{words}"
    );
}

#[test]
fn a_missing_or_wrongly_typed_key_is_named() {
    assert_eq!(
        refusal(without("llama.block_count")),
        "tiny.gguf: llama.block_count is missing"
    );
    assert_eq!(
        refusal(with("llama.embedding_length", text("32"))),
        "tiny.gguf: llama.embedding_length is a string, expected a whole number up to 2147483648"
    );
    assert_eq!(
        refusal(with("llama.rope.freq_base", Value::F32(f32::NAN))),
        "tiny.gguf: llama.rope.freq_base is F32(NaN), expected a finite number"
    );
}

#[test]
fn an_unsupported_architecture_or_variant_is_named() {
    let words = refusal(with("general.architecture", text("mamba")));
    assert!(
        words.starts_with(
            "architecture `mamba` is not supported: supported in GGUF files: llama, qwen2"
        ),
        "{words}"
    );
    let words = refusal(with("llama.expert_count", u32_value(8)));
    assert!(words.contains("mixtures of experts"), "{words}");
    let words = refusal(with("llama.block_count", u32_value(1 << 30)));
    assert!(
        words.contains("layers is 1073741824, expected 1 to 4096"),
        "{words}"
    );
    let words = refusal(with("llama.attention.head_count", u32_value(0)));
    assert!(words.contains("heads is 0"), "{words}");
    let mut file = llama();
    file.set("llama.rope.scaling.type", text("yarn"));
    file.set("llama.rope.scaling.yarn_ext_factor", Value::F32(0.5));
    let words = refusal(file.to_bytes());
    assert!(words.contains("rope.scaling.yarn_ext_factor"), "{words}");
}

#[test]
fn deeply_nested_arrays_are_refused() {
    let mut array = Array::U8(vec![1]);
    for _ in 0..3 {
        array = Array::Array(vec![array]);
    }
    assert!(open(with("extra", Value::Array(array.clone()))).is_ok());
    let words = refusal(with("extra", Value::Array(Array::Array(vec![array]))));
    assert!(words.contains("arrays nested deeper than 4"), "{words}");
}

#[test]
fn an_alignment_of_the_file_is_kept_and_a_wrong_one_refused() {
    let words = refusal(with("general.alignment", u32_value(48)));
    assert!(words.contains("48 is no power of two"), "{words}");
    assert!(open(with("general.alignment", u32_value(16))).is_ok());
}

#[test]
fn rope_factors_in_a_tensor_divide_the_frequencies() {
    let mut file = llama();
    file.f32(
        "rope_freqs.weight",
        &[8],
        &[1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 8.0],
    );
    let scaled = open(file.to_bytes()).unwrap().config.ropes[0].clone();
    let plain = open(llama().to_bytes()).unwrap().config.ropes[0].clone();
    assert!(plain.interleaved && scaled.interleaved);
    assert_eq!(scaled.frequencies[0], plain.frequencies[0]);
    assert_eq!(scaled.frequencies[7], plain.frequencies[7] / 8.0);
}

fn array() -> impl Strategy<Value = Array> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Array::U8),
        prop::collection::vec(any::<i16>(), 0..20).prop_map(Array::I16),
        prop::collection::vec(any::<u32>(), 0..20).prop_map(Array::U32),
        prop::collection::vec(any::<bool>(), 0..20).prop_map(Array::Bool),
        prop::collection::vec(any::<i64>(), 0..20).prop_map(Array::I64),
        prop::collection::vec(-1e9_f32..1e9, 0..20).prop_map(Array::F32),
        prop::collection::vec(".{0,12}", 0..20)
            .prop_map(|texts| Array::String(texts.iter().collect())),
    ];
    leaf.prop_recursive(3, 40, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Array::Array)
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        (-1e30_f32..1e30).prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".{0,40}".prop_map(Value::String),
        array().prop_map(Value::Array),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e300_f64..1e300).prop_map(Value::F64),
    ]
}

proptest! {
    #[test]
    fn what_the_writer_writes_the_reader_reads(
        values in prop::collection::btree_map("[a-z.]{1,12}", value(), 0..12),
        sizes in prop::collection::vec((0_usize..11, 1_usize..4, 1_usize..4), 0..6),
    ) {
        let mut file = Writer::default();
        for (key, value) in &values {
            file.set(key.clone(), value.clone());
        }
        for (index, (format, rows, blocks)) in sizes.into_iter().enumerate() {
            let format = tinderbox_kernels::Format::ALL[format];
            let shape = vec![rows, blocks * format.block()];
            let bytes = vec![index as u8; rows * blocks * format.block_bytes()];
            file.tensors.push(Tensor { name: format!("t{index}"), format, shape, bytes });
        }
        let read = read(&file);
        for (key, value) in &values {
            prop_assert_eq!(read.metadata.get(key), Some(value));
        }
        let all = file.to_bytes();
        prop_assert_eq!(read.tensors.len(), file.tensors.len());
        for tensor in &file.tensors {
            let entry = &read.tensors[&tensor.name];
            prop_assert_eq!((entry.info.format, &entry.info.shape), (tensor.format, &tensor.shape));
            let at = entry.offset as usize;
            prop_assert_eq!(&all[at..at + entry.len], &tensor.bytes[..]);
        }
    }
}

#[test]
fn a_packed_file_is_the_same_model_in_small_parts() {
    let source = MemoryStorage::new("tiny.gguf", llama().to_bytes());
    let whole = open(llama().to_bytes()).unwrap();
    let largest = llama()
        .tensors
        .iter()
        .map(|tensor| tensor.bytes.len())
        .max();
    let pack_into = |part_bytes, embedding| {
        let mut parts = Vec::new();
        let packing = Packing {
            part_bytes,
            embedding,
        };
        let packed = block_on(pack(&source, packing, |index, _, part| {
            assert_eq!(index, parts.len());
            parts.push(part.to_bytes());
            Ok(())
        }));
        packed.map(|error| (parts, error))
    };
    let part_bytes = largest.unwrap() + 8 * 1024;
    let (parts, error) = pack_into(part_bytes, None).unwrap();
    assert_eq!(error, None);
    assert!(parts.len() > 1);
    assert!(parts.iter().all(|part| part.len() <= part_bytes));
    let storages = parts.into_iter().enumerate().map(|(index, bytes)| {
        Box::new(MemoryStorage::new(format!("{index}.gguf"), bytes)) as Box<dyn Storage>
    });
    let joined = block_on(Checkpoint::from_gguf(storages.collect())).unwrap();
    assert_eq!(joined.names().count(), whole.names().count());
    for name in whole.names() {
        let (expected, found) = (block_on(whole.read(name)), block_on(joined.read(name)));
        assert_eq!(found.unwrap(), expected.unwrap());
    }

    let error = pack_into(part_bytes, Some(Format::Q4_1)).unwrap().1;
    assert!(
        error.is_some_and(|error| (1e-5..0.1).contains(&error)),
        "{error:?}"
    );

    let error = pack_into(4096, None).unwrap_err().to_string();
    assert!(error.contains("make the parts larger"), "{error}");
    let error = pack_into(part_bytes, Some(Format::Q6_K)).unwrap_err();
    assert!(error.to_string().contains("Q6_K"), "{error}");
}
