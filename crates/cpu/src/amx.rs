//! Intel AMX: tiles of sixteen rows, for quantized products with several input rows.
//!
//! A tile multiplies bytes by bytes, 64 at a time in each of 16 · 16 sums, where a vector has two (Intel's
//! Architecture Instruction Set Extensions Programming Reference, chapter 3). Weights are bytes once unpacked; an input
//! row has sixteen bits ([`Row16`]) and comes in two tiles, of upper and of lower bytes. `256 · Σ upper + Σ lower` is the
//! very number that a vector finds, and what is done with it is done in the same order: products are those of the
//! vectors bit by bit, so that an answer does not depend on how many are computed beside it.
//!
//! Unpacking is what tiles cost: sixteen weight rows are unpacked once and meet all blocks of input rows. Rows that do not
//! fill a block are left to the vectors.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;

use crate::dot::Row16;
use crate::linear::Panels;
use crate::panel::ROWS;
use crate::quant::Quant;
use crate::simd::Simd;
use crate::x86::Avx512;

/// Input rows of a block, those of a tile. Fewer are not faster than by vectors (BENCHMARKS.md).
pub(crate) const BLOCK: usize = 16;

/// A row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A number for each row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lane([f32; 16]);

/// Sums of upper and of lower bytes, for two steps: while one's are scaled and added, the next one's are found.
type Sums = [[[Line; BLOCK]; 2]; 2];

/// Whether the CPU has tiles of bytes, and the system lets this process use them.
pub(crate) fn is_available() -> bool {
    /// Of leaf 7: tiles, and products of bytes.
    const TILES: u32 = 1 << 24 | 1 << 25;
    if __cpuid_count(7, 0).edx & TILES != TILES {
        return false;
    }
    #[cfg(target_os = "linux")]
    {
        // Linux gives a process the registers, 8 KiB a thread, only when it asks (Documentation/arch/x86/xstate.rst).
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILE_DATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers, and touches none of this process's memory.
        unsafe {
            libc::syscall(
                libc::SYS_arch_prctl,
                ARCH_REQ_XCOMP_PERM,
                XFEATURE_XTILE_DATA,
            ) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// [`BLOCK`] input rows as tiles.
pub(crate) struct Block {
    /// For each group of 32 columns, each row's upper bytes and then its lower ones.
    bytes: Vec<Line>,
    /// For each group, the rows' scales and the rows' sums.
    factors: Vec<[Lane; 2]>,
}

impl Block {
    /// # Safety
    /// The CPU has [`Avx512`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(crate) unsafe fn new(rows: &[Row16; BLOCK]) -> Block {
        let groups = rows[0].scales.len();
        let mut bytes = vec![Line([0; 64]); groups * BLOCK];
        let mut factors = vec![[Lane([0.0; 16]); 2]; groups];
        // Columns 0, 2, 1 and 3 of each four, as `Unpacked` has them.
        let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
            0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15,
        ));
        for (r, row) in rows.iter().enumerate() {
            for (g, q) in row.q.as_chunks::<32>().0.iter().enumerate() {
                factors[g][0].0[r] = row.scales[g];
                factors[g][1].0[r] = row.sums[g];
                let to = bytes[g * BLOCK + r].0.as_mut_ptr();
                // SAFETY: a vector holds a group's 32 numbers, a line its 64 bytes.
                unsafe {
                    let q = _mm512_loadu_si512(q.as_ptr().cast());
                    let upper = _mm512_cvtepi16_epi8(_mm512_srai_epi16(q, 8));
                    let lower = _mm512_cvtepi16_epi8(q);
                    _mm256_storeu_si256(to.cast(), _mm256_shuffle_epi8(upper, order));
                    _mm256_storeu_si256(to.add(32).cast(), _mm256_shuffle_epi8(lower, order));
                }
            }
        }
        Block { bytes, factors }
    }
}

/// Some panels of weight rows times all blocks of input rows.
///
/// # Safety
/// [`is_available`], the CPU has [`Avx512`], and `blocks` were made of rows of as many columns as the weights have.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) unsafe fn products<Q: Quant>(panels: &Panels, columns: usize, blocks: &[Block]) {
    thread_local! {
        /// Kept, since memory takes longer to find than a task to do.
        static UNPACKED: Cell<Unpacked> = Cell::default();
    }
    let mut unpacked = UNPACKED.take();
    let mut sums = [[[Line([0; 64]); BLOCK]; 2]; 2];
    // SAFETY: the caller's, for all of it; a panel is of the format that `Linear` names.
    unsafe {
        unpacked.fill::<Q>(panels, columns);
        let _tiles = Tiles::of::<Q>();
        for (b, block) in blocks.iter().enumerate() {
            for (p, (row, w)) in panels.iter().enumerate() {
                let ahead = w.as_ptr().wrapping_add(panels.ahead);
                // Once is enough: blocks after the first find it there.
                let bytes = if b == 0 { w.len() } else { 0 };
                let panel = unpacked.panel::<Q>(p);
                let found = panel.times::<Q>(block, ahead, bytes, &mut sums);
                let mut products = [[0.0; ROWS]; BLOCK];
                for (products, found) in products.iter_mut().zip(found) {
                    _mm512_storeu_ps(products.as_mut_ptr(), found);
                }
                panels.write::<Avx512>(row, b * BLOCK, &products);
            }
        }
    }
    UNPACKED.set(unpacked);
}

/// The thread's tiles in use: 0 and 1 are sums of upper and lower bytes, 2 and 3 input rows of both, 4 weights.
struct Tiles;

impl Tiles {
    /// # Safety
    /// [`is_available`].
    unsafe fn of<Q: Quant>() -> Tiles {
        /// What `ldtilecfg` reads.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start: u8,
            zeros: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let columns = 32 / Q::SCALES as u16;
        let mut config = Config {
            palette: 1,
            start: 0,
            zeros: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        config.row_bytes[..5].copy_from_slice(&[64, 64, columns, columns, 64]);
        config.rows[..5].copy_from_slice(&[16, 16, 16, 16, columns as u8 / 4]);
        // SAFETY: a configuration of the first palette whose tiles have at most 16 rows of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &config, options(readonly, nostack, preserves_flags))
        };
        Tiles
    }
}

impl Drop for Tiles {
    /// Else the system would keep eight KiB for the thread whenever it does something else.
    fn drop(&mut self) {
        // SAFETY: the thread had tiles, which nobody uses any more.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Some panels of weights as tiles.
#[derive(Default)]
struct Unpacked {
    /// Groups of 32 columns of a panel.
    groups: usize,
    /// Eight lines a group, each with four columns of all rows: 0, 2, 1 and 3.
    bytes: Vec<Line>,
    /// Of each group, for every row.
    scales: Vec<Lane>,
    mins: Vec<Lane>,
}

impl Unpacked {
    /// # Safety
    /// The panels are of rows of `columns` in the format `Q`, and the CPU has [`Avx512`].
    #[inline(always)]
    unsafe fn fill<Q: Quant>(&mut self, panels: &Panels, columns: usize) {
        self.groups = columns / 32;
        let groups = self.groups * panels.iter().count();
        self.bytes.resize(8 * groups, Line([0; 64]));
        self.scales.resize(Q::SCALES * groups, Lane([0.0; 16]));
        self.mins
            .resize(if Q::MIN { groups } else { 0 }, Lane([0.0; 16]));
        let per_block = Q::FORMAT.block() / 32;
        for (p, (_, w)) in panels.iter().enumerate() {
            for at in 0..self.groups {
                let (block, g) = (
                    at / per_block * ROWS * Q::FORMAT.block_bytes(),
                    at % per_block,
                );
                let at = p * self.groups + at;
                // SAFETY: the block lies inside the panel; lines and lanes are a vector each.
                unsafe {
                    let block = w.as_ptr().add(block);
                    for k in 0..4 {
                        let [a, b, c, d] = Q::quants::<Avx512>(block, g, k, 0);
                        let lines = &mut self.bytes[8 * at + 2 * k..][..2];
                        for (line, low, high) in [(0, a, b), (1, c, d)] {
                            let bytes = Avx512::or(Avx512::and(low, 0xff), Avx512::shl(high, 8));
                            _mm512_store_si512(lines[line].0.as_mut_ptr().cast(), bytes);
                        }
                    }
                    for part in 0..Q::SCALES {
                        let scale = Q::scale::<Avx512>(block, g, part, 0);
                        Avx512::store(self.scales[Q::SCALES * at + part].0.as_mut_ptr(), scale);
                    }
                    if Q::MIN {
                        let min = Q::min::<Avx512>(block, g, 0);
                        Avx512::store(self.mins[at].0.as_mut_ptr(), min);
                    }
                }
            }
        }
    }

    fn panel<Q: Quant>(&self, number: usize) -> Panel<'_> {
        let first = number * self.groups;
        Panel {
            bytes: &self.bytes[8 * first..][..8 * self.groups],
            scales: &self.scales[Q::SCALES * first..][..Q::SCALES * self.groups],
            mins: if Q::MIN {
                &self.mins[first..][..self.groups]
            } else {
                &[]
            },
        }
    }
}

/// One of them.
struct Panel<'a> {
    bytes: &'a [Line],
    scales: &'a [Lane],
    mins: &'a [Lane],
}

impl Panel<'_> {
    /// The products of the panel's rows with those of the block, a vector for each of these. Meanwhile some `bytes` of
    /// weights come from memory, which has nothing else to do; `ahead` may be anywhere.
    ///
    /// # Safety
    /// The thread has [`Tiles`] for `Q`, `block` has as many columns, and the CPU has [`Avx512`].
    #[inline(always)]
    unsafe fn times<Q: Quant>(
        &self,
        block: &Block,
        ahead: *const u8,
        bytes: usize,
        sums: &mut Sums,
    ) -> [__m512; BLOCK] {
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [_mm512_setzero_ps(); BLOCK];
            let steps = self.scales.len();
            let share = bytes / steps;
            self.multiply::<Q>(block, 0, &mut sums[0]);
            for step in 0..steps {
                if step + 1 < steps {
                    self.multiply::<Q>(block, step + 1, &mut sums[(step + 1) % 2]);
                }
                Avx512::fetch(ahead.wrapping_add(step * share), share);
                let [upper, lower] = &sums[step % 2];
                let [scales, row_sums] = &block.factors[step / Q::SCALES];
                let scale = Avx512::load_f32(self.scales[step].0.as_ptr().cast());
                for r in 0..BLOCK {
                    let upper = _mm512_load_si512(upper[r].0.as_ptr().cast());
                    let lower = _mm512_load_si512(lower[r].0.as_ptr().cast());
                    let whole = _mm512_add_epi32(_mm512_slli_epi32(upper, 8), lower);
                    let with = Avx512::mul(scale, Avx512::splat(scales.0[r]));
                    acc[r] = Avx512::fma(acc[r], Avx512::to_f32(whole), with);
                }
                if Q::MIN {
                    let min = Avx512::load_f32(self.mins[step].0.as_ptr().cast());
                    for (acc, sum) in acc.iter_mut().zip(row_sums.0) {
                        *acc = Avx512::fma(*acc, min, Avx512::splat(sum));
                    }
                }
            }
            acc
        }
    }

    /// Sums of upper and of lower bytes over the columns of one scale.
    ///
    /// # Safety
    /// As [`Self::times`].
    #[inline(always)]
    unsafe fn multiply<Q: Quant>(&self, block: &Block, step: usize, sums: &mut [[Line; BLOCK]; 2]) {
        let (group, part) = (step / Q::SCALES, step % Q::SCALES);
        let x = &block.bytes[group * BLOCK..][..BLOCK];
        let w = &self.bytes[8 * group..][..8];
        // SAFETY: tiles read inside of `x` and `w`, whose lines are 64 bytes apart, and write at most all of `sums`.
        unsafe {
            asm!(
                "tileloadd tmm4, [{w} + {line}]",
                "tileloadd tmm2, [{x} + {line}]",
                "tileloadd tmm3, [{x} + {line} + 32]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tdpbssd tmm0, tmm2, tmm4",
                "tdpbusd tmm1, tmm3, tmm4",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                w = in(reg) w.as_ptr().cast::<u8>().add(512 / Q::SCALES * part),
                x = in(reg) x.as_ptr().cast::<u8>().add(32 / Q::SCALES * part),
                sums = in(reg) sums.as_mut_ptr(),
                line = in(reg) size_of::<Line>(),
                options(nostack, preserves_flags),
            );
        }
    }
}
