//! Pieces of work between threads: each task once, and what becomes of one that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use tinderbox_cpu::{join, share};

/// Runs in a pool of its own: the global one may have one thread.
fn with_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
    pool.unwrap().install(work)
}

#[test]
fn each_task_runs_once_in_every_piece_of_work() {
    for threads in [1, 2, 3] {
        with_threads(threads, || {
            join(|| {
                for tasks in (0..500).chain([100_000]) {
                    let seen: Vec<_> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                    share(tasks, |i| {
                        seen[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1));
                }
            });
        });
    }
}

#[test]
fn several_teams_share_a_pool() {
    let total = AtomicU64::new(0);
    with_threads(2, || {
        rayon::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|_| {
                    join(|| {
                        for _ in 0..200 {
                            share(10, |i| {
                                total.fetch_add(i as u64, Ordering::Relaxed);
                            });
                        }
                    });
                });
            }
        });
    });
    assert_eq!(total.into_inner(), 4 * 200 * 45);
}

#[test]
fn a_task_that_shares_is_refused_where_it_would_lose_its_own_piece() {
    // Both tasks at once, so that one of them is the sharing thread's own.
    let both = Barrier::new(2);
    with_threads(2, || {
        let sharing = thread::current().id();
        let nested = AssertUnwindSafe(|| {
            share(2, |_| {
                both.wait();
                if thread::current().id() == sharing {
                    share(2, |_| ());
                }
            });
        });
        assert!(catch_unwind(nested).is_err());
    });
}

#[test]
fn a_task_that_panics_ends_the_work_and_not_the_pool() {
    with_threads(2, || {
        for wrong in 0..20 {
            let all = AssertUnwindSafe(|| {
                share(20, |i| {
                    assert!(i != wrong, "this one is wrong");
                });
            });
            assert!(catch_unwind(all).is_err());
        }
        let sum = AtomicU32::new(0);
        share(10, |i| {
            sum.fetch_add(i as u32, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    });
}
