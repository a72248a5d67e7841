//! Which instruction set runs, decided once.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use crate::simd::Scalar;
use crate::simd::Simd;

/// Work that is written once over [`Simd`] and runs on the best instruction set there is.
pub(crate) trait Job {
    /// What comes out.
    type Output;
    /// Implementations are `#[inline(always)]`, closures included, so that all of it is compiled
    /// with the instruction set's features.
    ///
    /// # Safety
    /// The CPU has `S`'s instruction set.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set that this CPU has: there is no other way to one than [`Isa::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

/// Instruction sets the twin is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// Left out where simd128 is always there: a module's size is the time it takes to load.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512, and tiles for quantized products of several rows.
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
}

impl Isa {
    /// Every instruction set this CPU has, best first.
    #[allow(
        clippy::vec_init_then_push,
        reason = "what is pushed depends on the target"
    )]
    pub fn available() -> Vec<Isa> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            sets.extend((avx512 && crate::amx::is_available()).then_some(Set::Amx));
            sets.extend(avx512.then_some(Set::Avx512));
            sets.extend(avx2.then_some(Set::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Set::Neon);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        sets.push(Set::Simd128);
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        sets.push(Set::Scalar);
        sets.into_iter().map(Isa).collect()
    }

    /// The best one.
    pub(crate) fn best() -> Isa {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Isa::available()[0])
    }

    /// Whether it multiplies by tiles ([`crate::amx`]).
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_tiles(self) -> bool {
        self.0 == Set::Amx
    }

    /// This one, or the next whose vectors divide rows of `width`.
    ///
    /// # Panics
    /// Where `width` is no multiple of 8.
    pub(crate) fn of_width(self, width: usize) -> Isa {
        assert!(width.is_multiple_of(8), "width {width} is no multiple of 8");
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Amx if !width.is_multiple_of(16) => Isa(Set::Avx2),
            _ => self,
        }
    }

    /// Runs `job` on this instruction set, which must be one of [`Isa::available`].
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        // SAFETY: an `Isa` other than `Scalar` only comes from `available`, which checked the CPU,
        // or from `of_width`, whose AVX2 every one of these CPUs has.
        unsafe {
            match self.0 {
                #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
                Set::Scalar => job.run::<Scalar>(),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => avx2(job),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 | Set::Amx => avx512(job),
                #[cfg(target_arch = "aarch64")]
                Set::Neon => job.run::<crate::neon::Neon>(),
                #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                Set::Simd128 => job.run::<crate::wasm::Simd128>(),
            }
        }
    }

    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Set::Amx => "AMX",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "NEON",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128 => "simd128",
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<J: Job>(job: J) -> J::Output {
    // SAFETY: the features are enabled here and the caller checked the CPU.
    unsafe { job.run::<crate::x86::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn avx512<J: Job>(job: J) -> J::Output {
    // SAFETY: the features are enabled here and the caller checked the CPU.
    unsafe { job.run::<crate::x86::Avx512>() }
}
