//! A future that runs in turns of the worker's event loop.
//!
//! The engine's loop yields after each step by waking itself. Promise jobs would give that turn
//! straight back to it, and requests, aborts and timers would starve; a message to oneself is a
//! task of the event loop, behind those that wait.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::future::LocalBoxFuture;
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use web_sys::{MessageChannel, MessagePort};

/// A running future; dropping it drops the future.
pub struct Turns {
    future: Rc<RefCell<Option<LocalBoxFuture<'static, ()>>>>,
    port: MessagePort,
    _turn: Closure<dyn FnMut()>,
}

/// Asks for a turn, once until it comes.
struct Bell {
    port: SendWrapper<MessagePort>,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            // A closed port drops the message; the future is gone then, too.
            let _ = self.port.post_message(&JsValue::NULL);
        }
    }
}

impl Turns {
    /// Starts a future.
    ///
    /// # Errors
    /// Where there are no message channels.
    pub fn start(future: impl Future<Output = ()> + 'static) -> Result<Turns, JsValue> {
        let channel = MessageChannel::new()?;
        let future: LocalBoxFuture<'static, ()> = Box::pin(future);
        let future = Rc::new(RefCell::new(Some(future)));
        let bell = Arc::new(Bell {
            port: SendWrapper::new(channel.port2()),
            rung: AtomicBool::new(false),
        });
        let turn = Closure::new({
            let (future, bell) = (future.clone(), bell.clone());
            let waker = Waker::from(bell.clone());
            move || {
                bell.rung.store(false, Ordering::Relaxed);
                let mut place = future.borrow_mut();
                let Some(running) = place.as_mut() else {
                    return;
                };
                if Pin::new(running)
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    *place = None;
                }
            }
        });
        let port = channel.port1();
        port.set_onmessage(Some(turn.as_ref().unchecked_ref()));
        bell.wake();
        Ok(Turns {
            future,
            port,
            _turn: turn,
        })
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.port.close();
        *self.future.borrow_mut() = None;
    }
}
