//! Clients that go away.
//!
//! The runtime then stops the request's timers and promises: nothing that waits is ever polled again,
//! and nothing of it dropped. Only what was promised to go on (`waitUntil`) does, and with it the
//! listeners of the request's signal.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use futures::channel::oneshot;
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;
use worker::Context;

/// Who asked.
#[derive(Clone)]
pub struct Client {
    /// Fires when the client has gone.
    pub signal: AbortSignal,
    /// The request goes on for as long as there is one of these.
    _stay: Rc<oneshot::Sender<()>>,
}

impl Client {
    /// The client of a request.
    pub fn new(signal: AbortSignal, context: &Context) -> Client {
        let (stay, over) = oneshot::channel();
        context.wait_until(async {
            // Nothing is ever sent.
            let _ = over.await;
        });
        Client {
            signal,
            _stay: Rc::new(stay),
        }
    }

    /// Whether it has gone.
    pub fn is_gone(&self) -> bool {
        self.signal.aborted()
    }
}

/// A value that is dropped with its holder, or when the client goes.
pub struct UntilGone<T> {
    held: Rc<RefCell<Option<(T, Client)>>>,
    signal: AbortSignal,
    drop: Closure<dyn FnMut()>,
}

impl<T: 'static> UntilGone<T> {
    /// Holds a value; `after` is done once it is dropped because the client went.
    pub fn new(value: T, client: Client, after: impl Fn() + 'static) -> UntilGone<T> {
        let signal = client.signal.clone();
        // One that has gone before does not go again.
        let held = (!client.is_gone()).then_some((value, client));
        let held = Rc::new(RefCell::new(held));
        let drop = Closure::new({
            let held = held.clone();
            // Taken first: the value's own drop may look here.
            move || {
                drop(held.take());
                after();
            }
        });
        let listener = drop.as_ref().unchecked_ref();
        // It fails for no listener that is a function.
        let _ = signal.add_event_listener_with_callback("abort", listener);
        UntilGone { held, signal, drop }
    }

    /// Polls the value; `None` where it is gone.
    pub fn poll<R>(&self, poll: impl FnOnce(&mut T) -> Poll<R>) -> Poll<Option<R>> {
        match self.held.borrow_mut().as_mut() {
            Some((value, _)) => poll(value).map(Some),
            None => Poll::Ready(None),
        }
    }
}

impl<T> Drop for UntilGone<T> {
    fn drop(&mut self) {
        let listener = self.drop.as_ref().unchecked_ref();
        let _ = (self.signal).remove_event_listener_with_callback("abort", listener);
    }
}
