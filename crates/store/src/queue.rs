//! Writing that nobody waits for: a bounded queue and one thread behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

/// Takes items without ever waiting and hands them, in batches and in order, to one thread. What does not fit is dropped
/// and counted. Dropping the queue lets the thread finish what is in it.
pub struct WriteQueue<T> {
    name: &'static str,
    sender: Option<SyncSender<Message<T>>>,
    dropped: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

enum Message<T> {
    Item(T),
    /// Answered when everything sent before it is worked off.
    Settle(SyncSender<()>),
}

/// How much a queue holds.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    /// Items that may wait; at least 1.
    pub capacity: usize,
    /// Items handed over at once, at most; at least 1.
    pub max_batch: usize,
}

impl<T: Send + 'static> WriteQueue<T> {
    /// Starts the thread `name`. `work` gets each batch; an empty one where somebody only waits for what came before, so
    /// that it may try again what failed.
    pub fn start(
        name: &'static str,
        options: QueueOptions,
        mut work: impl FnMut(Vec<T>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, messages) = sync_channel(options.capacity.max(1));
        let max_batch = options.max_batch.max(1);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work_off(&messages, max_batch, &mut work))?;
        Ok(Self { name, sender: Some(sender), dropped: AtomicU64::new(0), thread: Some(thread) })
    }

    /// Takes one item, or drops and counts it when the queue is full. Never waits.
    pub fn send(&self, item: T) {
        let Some(sender) = &self.sender else { return };
        match sender.try_send(Message::Item(item)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                // At powers of two: a flood of items must not become a flood of log lines.
                if dropped.is_power_of_two() {
                    warn!(queue = self.name, dropped, "not written, the queue is full");
                }
            }
        }
    }

    /// Items that did not fit, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything sent before is worked off; false if that took longer than `patience`. Blocks its thread: for
    /// shutdown and tests.
    pub fn settle(&self, patience: Duration) -> bool {
        let Some(sender) = &self.sender else { return true };
        let (done, wait) = sync_channel(1);
        sender.send(Message::Settle(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }
}

fn work_off<T>(messages: &Receiver<Message<T>>, max_batch: usize, work: &mut impl FnMut(Vec<T>)) {
    while let Ok(first) = messages.recv() {
        let (mut items, mut settled) = (Vec::new(), Vec::new());
        for message in std::iter::once(first).chain(messages.try_iter().take(max_batch - 1)) {
            match message {
                Message::Item(item) => items.push(item),
                Message::Settle(done) => settled.push(done),
            }
        }
        work(items);
        for done in settled {
            let _ = done.send(());
        }
    }
}

impl<T> Drop for WriteQueue<T> {
    fn drop(&mut self) {
        // Closing the queue ends the thread after it has worked off the rest.
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(queue = self.name, "the queue's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    //! 1. What was sent comes to the thread in order, in batches of at most the size asked for, and before a drop ends.
    //! 2. A full queue drops and counts; it never waits.

    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn everything_arrives_in_order_and_in_batches() {
        let (seen, batches) = channel();
        let options = QueueOptions { capacity: 1_000, max_batch: 10 };
        let queue = WriteQueue::start("test", options, move |batch: Vec<u32>| seen.send(batch).unwrap()).unwrap();
        (0..500).for_each(|n| queue.send(n));
        assert!(queue.settle(PATIENCE));
        let settled: Vec<u32> = batches.try_iter().flatten().collect();
        assert_eq!(settled, (0..500).collect::<Vec<_>>());
        (500..600).for_each(|n| queue.send(n));
        drop(queue);
        let rest: Vec<Vec<u32>> = batches.iter().collect();
        assert!(rest.iter().all(|batch| batch.len() <= 10));
        assert_eq!(rest.concat(), (500..600).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let gate = Arc::new(std::sync::Mutex::new(()));
        let held = gate.lock().unwrap();
        let (seen, batches) = channel();
        let work = {
            let gate = Arc::clone(&gate);
            move |batch: Vec<u32>| {
                drop(gate.lock());
                seen.send(batch.len()).unwrap();
            }
        };
        let queue = WriteQueue::start("test", QueueOptions { capacity: 2, max_batch: 1 }, work).unwrap();
        (0..100).for_each(|n| queue.send(n));
        drop(held);
        assert!(queue.settle(PATIENCE));
        let n_written: usize = batches.try_iter().sum();
        assert!((2..=3).contains(&n_written), "{n_written}");
        assert_eq!(n_written as u64 + queue.dropped(), 100);
    }
}
