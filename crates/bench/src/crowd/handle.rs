//! A handle to the crowd's thread.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::Waker;

use super::{Crowd, Task};

/// A handle to a crowd. Dropping it ends the crowd's thread.
pub(crate) struct Handle {
    tasks: Option<mpsc::Sender<Task>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(super) fn new(
        tasks: mpsc::Sender<Task>,
        waker: Arc<Waker>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self {
            tasks: Some(tasks),
            waker,
            thread: Some(thread),
        }
    }

    /// Runs `task` inside the loop and returns what it returns. `None` once the loop has ended.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Crowd, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        let task: Task = Box::new(move |crowd, now| {
            let _ = reply.send(task(crowd, now));
        });
        self.tasks.as_ref()?.send(task).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }

    /// Ends the loop, and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.tasks = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
