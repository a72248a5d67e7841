//! The vector operations the CPU twin is written in, and one implementation an instruction set.

/// One instruction set, over vectors of [`LANES`](Simd::LANES) numbers.
///
/// # Safety
/// Every method needs the CPU to have the implementation's instruction set ([`crate::isa`] checks
/// it before it hands out the type), and pointers to be readable for the length named.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy + 'static {
    /// Numbers of 32 bits in a vector; divides [`crate::panel::ROWS`].
    const LANES: usize;
    /// Input rows that share one unpacked weight in a product of many rows.
    const TILE: usize;
    /// Vectors of `f32` that there are registers for.
    const REGISTERS: usize;
    /// A pair of `i16` in each lane.
    type I16: Copy;
    /// An `i32` in each lane.
    type I32: Copy;
    /// What [`dot`](Simd::dot) adds up, an `i32` in each lane once it is all together.
    type Sum: Copy;
    /// An `f32` in each lane.
    type F32: Copy;

    /// Four bytes a lane.
    unsafe fn pairs(at: *const u8) -> Self::I16;
    unsafe fn and(a: Self::I16, mask: u16) -> Self::I16;
    unsafe fn or(a: Self::I16, b: Self::I16) -> Self::I16;
    unsafe fn shl(a: Self::I16, n: u32) -> Self::I16;
    /// Zeros come in from above.
    unsafe fn shr(a: Self::I16, n: u32) -> Self::I16;
    /// The sign comes in from above.
    unsafe fn sar(a: Self::I16, n: u32) -> Self::I16;
    unsafe fn zero() -> Self::Sum;
    /// Adds to each lane the products of its four pairs with the four at `x`.
    unsafe fn dot(sum: Self::Sum, w: [Self::I16; 4], x: *const i16) -> Self::Sum;
    /// [`dot`](Simd::dot) of `V` vectors of weights with `N` rows of input.
    #[inline(always)]
    unsafe fn dots<const N: usize, const V: usize>(
        sums: &mut [[Self::Sum; N]; V],
        w: [[Self::I16; 4]; V],
        x: [*const i16; N],
    ) {
        for v in 0..V {
            for n in 0..N {
                // SAFETY: the caller's.
                sums[v][n] = unsafe { Self::dot(sums[v][n], w[v], x[n]) };
            }
        }
    }
    /// Each lane's sum.
    unsafe fn total(sum: Self::Sum) -> Self::F32;

    /// Four bytes a lane.
    unsafe fn words(at: *const u8) -> Self::I32;
    unsafe fn bits(a: Self::I32, shift: u32, mask: u32) -> Self::I32;
    unsafe fn to_f32(a: Self::I32) -> Self::F32;
    /// The nearest whole numbers.
    unsafe fn round(a: Self::F32) -> Self::I32;
    /// Writes each lane as an `i16`, in which it must lie.
    unsafe fn store_i16(at: *mut i16, a: Self::I32);
    /// `2^a`, for `a` in −126 ..= 127.
    unsafe fn exp2(a: Self::I32) -> Self::F32;

    unsafe fn splat(a: f32) -> Self::F32;
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a · b + sum`.
    unsafe fn fma(sum: Self::F32, a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn sum(a: Self::F32) -> f32;
    /// The sum of each, faster than one by one where vectors are long. A vector's is the same in each of the four places.
    #[inline(always)]
    unsafe fn sums(a: [Self::F32; 4]) -> [f32; 4] {
        let [a, b, c, d] = a;
        // SAFETY: the instruction set is the caller's.
        unsafe { [Self::sum(a), Self::sum(b), Self::sum(c), Self::sum(d)] }
    }
    /// The largest lane.
    unsafe fn largest(a: Self::F32) -> f32;
    unsafe fn load_f32(at: *const u8) -> Self::F32;
    unsafe fn load_f16(at: *const u8) -> Self::F32;
    unsafe fn load_bf16(at: *const u8) -> Self::F32;
    unsafe fn store(at: *mut f32, a: Self::F32);
    /// Fetches the line of the cache at `at`, which may be anywhere, where the processor can be told.
    #[inline(always)]
    fn prefetch(_at: *const u8) {}
    /// Fetches so many bytes.
    #[inline(always)]
    fn fetch(at: *const u8, bytes: usize) {
        const LINE: usize = 64;
        for line in (0..bytes).step_by(LINE) {
            Self::prefetch(at.wrapping_add(line));
        }
    }

    /// `e^a` to seven digits; below −87 what it is there.
    #[inline(always)]
    unsafe fn exp(a: Self::F32) -> Self::F32 {
        // SAFETY: the instruction set is the caller's.
        unsafe {
            let a = Self::max(a, Self::splat(-87.0));
            // e^a = 2^n · e^r with |r| at most ln 2 / 2, and ln 2 in two parts so that r is exact.
            let n = Self::round(Self::mul(a, Self::splat(std::f32::consts::LOG2_E)));
            let whole = Self::to_f32(n);
            let r = Self::fma(a, whole, Self::splat(-0.693_359_4));
            let r = Self::fma(r, whole, Self::splat(2.121_944_4e-4));
            // Taylor's series: the next term is below 2^-24.
            let terms = [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0];
            let mut sum = Self::splat(1.0 / terms[0]);
            for term in &terms[1..] {
                sum = Self::fma(Self::splat(1.0 / term), sum, r);
            }
            Self::mul(sum, Self::exp2(n))
        }
    }
}

/// One method of [`Simd`]: its arguments, what it gives, and the intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! op {
    ($name:ident($($arg:ident: $type:ty),*) -> $out:ty, $body:expr) => {
        #[inline(always)]
        unsafe fn $name($($arg: $type),*) -> $out {
            unsafe { $body }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use op;

/// Plain loops, for any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

/// Reads a value that may lie at any address.
///
/// # Safety
/// `at` is readable for a `T`, and any bytes are one.
#[inline(always)]
unsafe fn read<T>(at: *const u8) -> T {
    // SAFETY: the caller's.
    unsafe { at.cast::<T>().read_unaligned() }
}

// SAFETY of every block below: the caller vouches for the bytes of one vector.
impl Simd for Scalar {
    const LANES: usize = 8;
    const TILE: usize = 4;
    const REGISTERS: usize = 8;
    type I16 = [[i16; 2]; 8];
    type I32 = [i32; 8];
    type Sum = [i32; 8];
    type F32 = [f32; 8];

    #[inline(always)]
    unsafe fn pairs(at: *const u8) -> Self::I16 {
        // SAFETY: see above.
        unsafe { read(at) }
    }
    #[inline(always)]
    unsafe fn and(a: Self::I16, mask: u16) -> Self::I16 {
        a.map(|pair| pair.map(|v| v & mask as i16))
    }
    #[inline(always)]
    unsafe fn or(a: Self::I16, b: Self::I16) -> Self::I16 {
        std::array::from_fn(|i| [a[i][0] | b[i][0], a[i][1] | b[i][1]])
    }
    #[inline(always)]
    unsafe fn shl(a: Self::I16, n: u32) -> Self::I16 {
        a.map(|pair| pair.map(|v| v << n))
    }
    #[inline(always)]
    unsafe fn shr(a: Self::I16, n: u32) -> Self::I16 {
        a.map(|pair| pair.map(|v| (v as u16 >> n) as i16))
    }
    #[inline(always)]
    unsafe fn sar(a: Self::I16, n: u32) -> Self::I16 {
        a.map(|pair| pair.map(|v| v >> n))
    }
    #[inline(always)]
    unsafe fn zero() -> [i32; 8] {
        [0; 8]
    }
    #[inline(always)]
    unsafe fn dot(mut sum: [i32; 8], w: [Self::I16; 4], x: *const i16) -> [i32; 8] {
        // SAFETY: see above.
        let x: [[i16; 2]; 4] = unsafe { read(x.cast()) };
        for (w, x) in w.iter().zip(x) {
            for (sum, w) in sum.iter_mut().zip(w) {
                *sum += i32::from(w[0]) * i32::from(x[0]) + i32::from(w[1]) * i32::from(x[1]);
            }
        }
        sum
    }
    #[inline(always)]
    unsafe fn total(sum: [i32; 8]) -> [f32; 8] {
        sum.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn words(at: *const u8) -> [i32; 8] {
        // SAFETY: see above.
        unsafe { read(at) }
    }
    #[inline(always)]
    unsafe fn bits(a: [i32; 8], shift: u32, mask: u32) -> [i32; 8] {
        a.map(|v| (v as u32 >> shift & mask) as i32)
    }
    #[inline(always)]
    unsafe fn to_f32(a: [i32; 8]) -> [f32; 8] {
        a.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 8]) -> [i32; 8] {
        a.map(|v| v.round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn store_i16(at: *mut i16, a: [i32; 8]) {
        // SAFETY: the caller vouches for 8 writable numbers.
        unsafe { at.cast::<[i16; 8]>().write_unaligned(a.map(|v| v as i16)) }
    }
    #[inline(always)]
    unsafe fn exp2(a: [i32; 8]) -> [f32; 8] {
        a.map(|v| f32::from_bits(((v + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn splat(a: f32) -> [f32; 8] {
        [a; 8]
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(sum: [f32; 8], a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + sum[i])
    }
    #[inline(always)]
    unsafe fn sum(a: [f32; 8]) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(a: [f32; 8]) -> f32 {
        a.iter().copied().fold(f32::MIN, f32::max)
    }
    #[inline(always)]
    unsafe fn load_f32(at: *const u8) -> [f32; 8] {
        // SAFETY: see above.
        unsafe { read(at) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8) -> [f32; 8] {
        // SAFETY: see above.
        let bits: [u16; 8] = unsafe { read(at) };
        bits.map(|b| half::f16::from_bits(b).to_f32_const())
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u8) -> [f32; 8] {
        // SAFETY: see above.
        let bits: [u16; 8] = unsafe { read(at) };
        bits.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, a: [f32; 8]) {
        // SAFETY: the caller vouches for 8 writable floats.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(a) }
    }
}
