//! How a weight matrix's numbers are stored.

/// Storage of a weight matrix: GGML's types by their own names.
///
/// Each row is a run of blocks; a block holds [`block`](Format::block) consecutive weights in
/// [`block_bytes`](Format::block_bytes) bytes. Layouts are those of `ggml-common.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
pub enum Format {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// `d · (q − 8)`: f16 d, 32 × 4 bits.
    Q4_0,
    /// `d · q + m`: f16 d, f16 m, 32 × 4 bits.
    Q4_1,
    /// `d · (q − 16)`: f16 d, 32 high bits, 32 × 4 bits.
    Q5_0,
    /// `d · q + m`: f16 d, f16 m, 32 high bits, 32 × 4 bits.
    Q5_1,
    /// `d · q`: f16 d, 32 × i8.
    Q8_0,
    /// `d · s · q − dmin · m`: 256 weights in 8 groups with 6-bit s and m, 4 bits each.
    Q4_K,
    /// As `Q4_K`, 5 bits each.
    Q5_K,
    /// `d · s · (q − 32)`: 256 weights in 16 groups with 8-bit s, 6 bits each.
    Q6_K,
}

impl Format {
    /// Every format, in the order of the enum.
    pub const ALL: [Format; 11] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
    ];

    /// Weights in a block.
    pub const fn block(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => 32,
            Format::Q4_K | Format::Q5_K | Format::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q8_0 => 34,
            Format::Q4_K => 144,
            Format::Q5_K => 176,
            Format::Q6_K => 210,
        }
    }

    /// Bytes of a row of `columns` weights; `None` where `columns` is no multiple of the block.
    pub const fn row_bytes(self, columns: usize) -> Option<usize> {
        if columns.is_multiple_of(self.block()) {
            (columns / self.block()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }

    /// The format with this number in a GGUF tensor table.
    pub const fn from_ggml(id: u32) -> Option<Format> {
        Some(match id {
            0 => Format::F32,
            1 => Format::F16,
            2 => Format::Q4_0,
            3 => Format::Q4_1,
            6 => Format::Q5_0,
            7 => Format::Q5_1,
            8 => Format::Q8_0,
            12 => Format::Q4_K,
            13 => Format::Q5_K,
            14 => Format::Q6_K,
            30 => Format::BF16,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
