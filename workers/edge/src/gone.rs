//! Clients that go away.
//!
//! The runtime then stops the request's timers and promises: nothing that waits is ever polled again,
//! and nothing of it dropped. Only the signal's listener still runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

/// A value that is dropped with its holder, or when the client goes.
pub struct UntilGone<T> {
    value: Rc<RefCell<Option<T>>>,
    signal: Option<AbortSignal>,
    drop: Closure<dyn FnMut()>,
}

impl<T: 'static> UntilGone<T> {
    /// Holds a value.
    pub fn new(value: T, signal: Option<AbortSignal>) -> UntilGone<T> {
        let value = Rc::new(RefCell::new(Some(value)));
        let drop = Closure::new({
            let value = value.clone();
            // Outside of the borrow: the value's own drop may look here.
            move || drop(value.take())
        });
        if let Some(signal) = &signal {
            let listener = drop.as_ref().unchecked_ref();
            // It fails for no listener that is a function.
            let _ = signal.add_event_listener_with_callback("abort", listener);
        }
        UntilGone {
            value,
            signal,
            drop,
        }
    }

    /// Polls the value; `None` where it is gone.
    pub fn poll<R>(&self, poll: impl FnOnce(&mut T) -> Poll<R>) -> Poll<Option<R>> {
        match self.value.borrow_mut().as_mut() {
            Some(value) => poll(value).map(Some),
            None => Poll::Ready(None),
        }
    }
}

impl<T> Drop for UntilGone<T> {
    fn drop(&mut self) {
        if let Some(signal) = &self.signal {
            let listener = self.drop.as_ref().unchecked_ref();
            let _ = signal.remove_event_listener_with_callback("abort", listener);
        }
    }
}
