//! Writes GGUF files (version 3, little endian): test fixtures, and models packed for serving.

use std::io::{self, Write};

use tinderbox_kernels::Format;

use super::value::{Array, Value};

/// Alignment of the tensors; the format's default.
const ALIGNMENT: usize = super::ALIGNMENT as usize;

/// A GGUF file to be written.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// Metadata in the order it is written.
    pub metadata: Vec<(String, Value)>,
    /// Tensors in the order they are written.
    pub tensors: Vec<Tensor>,
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Canonical name, as in `blk.0.attn_q.weight`.
    pub name: String,
    /// How the numbers are stored.
    pub format: Format,
    /// Row-major shape, outermost first; the last is a whole number of blocks.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Adds a metadata entry.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        self.metadata.push((key.into(), value));
    }

    /// Adds a tensor of `f32`.
    pub fn f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let (name, shape) = (name.into(), shape.to_vec());
        self.tensors.push(Tensor {
            name,
            format: Format::F32,
            shape,
            bytes,
        });
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut header = b"GGUF".to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut header, key);
            self::value(&mut header, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            string(&mut header, &tensor.name);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                header.extend((*size as u64).to_le_bytes());
            }
            header.extend(number(tensor.format).to_le_bytes());
            header.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&header)?;
        for tensor in &self.tensors {
            out.write_all(&tensor.bytes)?;
            let len = tensor.bytes.len();
            out.write_all(&[0; ALIGNMENT][..len.next_multiple_of(ALIGNMENT) - len])?;
        }
        Ok(())
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("a Vec takes every write");
        bytes
    }
}

/// The format's number in a tensor table.
fn number(format: Format) -> u32 {
    (0..64)
        .find(|id| Format::from_ggml(*id) == Some(format))
        .expect("every format has a number")
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(n) => put(0, &n.to_le_bytes()),
        Value::I8(n) => put(1, &n.to_le_bytes()),
        Value::U16(n) => put(2, &n.to_le_bytes()),
        Value::I16(n) => put(3, &n.to_le_bytes()),
        Value::U32(n) => put(4, &n.to_le_bytes()),
        Value::I32(n) => put(5, &n.to_le_bytes()),
        Value::F32(x) => put(6, &x.to_le_bytes()),
        Value::Bool(flag) => put(7, &[u8::from(*flag)]),
        Value::String(text) => {
            put(8, &[]);
            string(out, text);
        }
        Value::Array(elements) => {
            put(9, &[]);
            array(out, elements);
        }
        Value::U64(n) => put(10, &n.to_le_bytes()),
        Value::I64(n) => put(11, &n.to_le_bytes()),
        Value::F64(x) => put(12, &x.to_le_bytes()),
    }
}

fn array(out: &mut Vec<u8>, array: &Array) {
    fn put<T: Copy, const N: usize>(
        out: &mut Vec<u8>,
        kind: u32,
        elements: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        out.extend(kind.to_le_bytes());
        out.extend((elements.len() as u64).to_le_bytes());
        out.extend(elements.iter().flat_map(|element| bytes(*element)));
    }
    match array {
        Array::U8(n) => put(out, 0, n, u8::to_le_bytes),
        Array::I8(n) => put(out, 1, n, i8::to_le_bytes),
        Array::U16(n) => put(out, 2, n, u16::to_le_bytes),
        Array::I16(n) => put(out, 3, n, i16::to_le_bytes),
        Array::U32(n) => put(out, 4, n, u32::to_le_bytes),
        Array::I32(n) => put(out, 5, n, i32::to_le_bytes),
        Array::F32(x) => put(out, 6, x, f32::to_le_bytes),
        Array::Bool(flags) => put(out, 7, flags, |flag| [u8::from(flag)]),
        Array::String(strings) => {
            out.extend(8_u32.to_le_bytes());
            out.extend((strings.len() as u64).to_le_bytes());
            strings.iter().for_each(|text| string(out, text));
        }
        Array::Array(arrays) => {
            out.extend(9_u32.to_le_bytes());
            out.extend((arrays.len() as u64).to_le_bytes());
            arrays
                .iter()
                .for_each(|elements| self::array(out, elements));
        }
        Array::U64(n) => put(out, 10, n, u64::to_le_bytes),
        Array::I64(n) => put(out, 11, n, i64::to_le_bytes),
        Array::F64(x) => put(out, 12, x, f64::to_le_bytes),
    }
}
