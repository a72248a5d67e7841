//! Threads that stay awake for a step.
//!
//! A step is a few hundred pieces of work that are shared, some microseconds each. Threads that go to sleep in between
//! take longer to wake than a piece takes; these look for the next one until the step is over.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Looks for work before a thread does something else.
const LOOKS: usize = 64;

/// A task by its number.
type Task<'a> = &'a (dyn Fn(usize) + Sync);

#[derive(Default)]
struct Team {
    /// Number of the piece of work in the upper half; how many of its tasks nobody has yet in the lower.
    ticket: AtomicU64,
    /// Of this piece: a [`Task`] on the stack of who shares it.
    task: AtomicPtr<Task<'static>>,
    tasks: AtomicU32,
    done: AtomicU32,
    is_over: AtomicBool,
}

thread_local! {
    /// The team of the thread that shares its work, or null.
    static TEAM: Cell<*const Team> = const { Cell::new(std::ptr::null()) };
}

/// Runs `work` as one of the pool's threads, whose others wait for what it shares.
pub fn join<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_num_threads() == 1 || !TEAM.get().is_null() {
        return work();
    }
    let team = Team::default();
    rayon::scope(|scope| {
        scope.spawn_broadcast(|_, _| team.help());
        let _member = Member::of(&team);
        work()
    })
}

/// Calls `task` for `0 .. tasks`, on the threads there are. Tasks must not depend on each other.
///
/// # Panics
/// Where a task panics, or shares something itself on the thread that shares it.
pub fn share(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks < 2 || rayon::current_num_threads() == 1 {
        return (0..tasks).for_each(task);
    }
    join(|| {
        // SAFETY: `join` put it there for as long as this runs; a pool of one thread was seen to above.
        let team = unsafe { &*TEAM.get() };
        team.share(tasks, &task);
    });
}

/// Makes a team this thread's, and sends it home at the end, whatever that is.
struct Member<'a> {
    team: &'a Team,
    before: *const Team,
}

impl<'a> Member<'a> {
    fn of(team: &'a Team) -> Self {
        let before = TEAM.replace(team);
        Member { team, before }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        TEAM.set(self.before);
        self.team.is_over.store(true, Ordering::Release);
    }
}

impl Team {
    fn share(&self, tasks: usize, task: Task) {
        let tasks = u32::try_from(tasks).expect("so many tasks have no memory to write to");
        // Else a task of this piece would go on with the next one's.
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            done == self.tasks.load(Ordering::Relaxed),
            "a task that is shared shares nothing itself"
        );
        let piece = (self.ticket.load(Ordering::Relaxed) >> 32) + 1;
        // Nobody reads these now: no task of the last piece is left, and there are some of this one only below.
        let at = (&raw const task).cast_mut().cast();
        self.task.store(at, Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        let ticket = piece << 32 | u64::from(tasks);
        self.ticket.store(ticket, Ordering::Release);
        let _whole = Whole(self);
        while self.work() {}
    }

    /// What all but one do during a step.
    fn help(&self) {
        while !self.is_over.load(Ordering::Acquire) {
            if !self.look() {
                // Masks are computed here too, and another engine's step. Where there is nothing, somebody else
                // may need this core.
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Works where there is work; false where none came for a while.
    fn look(&self) -> bool {
        (0..LOOKS).any(|_| {
            self.work() || {
                std::hint::spin_loop();
                false
            }
        })
    }

    /// Runs the next task; false where there is none.
    fn work(&self) -> bool {
        let Some((number, task)) = self.take() else {
            return false;
        };
        let _done = Done(&self.done);
        // SAFETY: the number's task is not done, and `share` does not return before it is.
        unsafe { (*task)(number as usize) };
        true
    }

    /// The number of the next task, and what it is: valid until that number is done.
    fn take(&self) -> Option<(u32, *const Task<'static>)> {
        loop {
            let ticket = self.ticket.load(Ordering::Acquire);
            let left = ticket as u32;
            if left == 0 {
                return None;
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            let taken = self
                .ticket
                .compare_exchange(ticket, ticket - 1, success, failure);
            if taken.is_ok() {
                // This piece's, since it is not done before this task is.
                let (tasks, task) = (&self.tasks, &self.task);
                let number = tasks.load(Ordering::Relaxed) - left;
                return Some((number, task.load(Ordering::Relaxed)));
            }
        }
    }
}

/// Counts a task when it is dropped, so that nobody waits for one that panicked: the pool hands the panic on.
struct Done<'a>(&'a AtomicU32);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Waits until no thread has a task of this piece. Where one panicked here, those that nobody has are left out.
struct Whole<'a>(&'a Team);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        let team = self.0;
        while team.take().is_some() {
            drop(Done(&team.done));
        }
        let mut looks = 0;
        while team.done.load(Ordering::Acquire) < team.tasks.load(Ordering::Relaxed) {
            std::hint::spin_loop();
            looks += 1;
            if looks % LOOKS == 0 {
                std::thread::yield_now();
            }
        }
    }
}
