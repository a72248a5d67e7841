//! Sharing work between threads.

#[cfg(feature = "threads")]
mod team;
#[cfg(feature = "threads")]
pub use team::{join, share};

/// Calls `task` for `0 .. tasks`. Tasks must not depend on each other.
#[cfg(not(feature = "threads"))]
pub fn share(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    (0..tasks).for_each(task);
}

/// What `task` makes of `0 .. tasks`, in this order.
pub(crate) fn collect<T: Send>(tasks: usize, task: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    let mut made: Vec<Option<T>> = (0..tasks).map(|_| None).collect();
    let shared = Shared::new(&mut made);
    share(tasks, |number| {
        let one = task(number);
        // SAFETY: each task has its own place.
        unsafe { shared.part(number, 1)[0] = Some(one) };
    });
    made.into_iter().flatten().collect()
}

/// Runs `work`, whose pieces are shared ([`share`]).
#[cfg(not(feature = "threads"))]
pub fn join<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

/// Threads that [`share`] uses.
pub(crate) fn count() -> usize {
    #[cfg(feature = "threads")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "threads"))]
    1
}

/// A mutable slice that tasks write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    _slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable slice whose parts go to one thread each (`Shared::part`'s contract).
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Shared {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            _slice: std::marker::PhantomData,
        }
    }

    /// `len` elements from `at`.
    ///
    /// # Safety
    /// No two parts that are alive at the same time overlap.
    ///
    /// # Panics
    /// Where the part does not lie inside the slice.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside the slice, and by the contract nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}
