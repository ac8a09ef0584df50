//! Asking many hosts at once, each with its own deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Most hosts that are asked at the same time.
pub const AT_ONCE: usize = 32;

/// Runs `work` on every item, at most [`AT_ONCE`] at a time, and hands each result to `take` with the
/// item's index as it comes. An item whose work has not ended `limit` after it began yields `None`, once;
/// its thread is left to itself and whatever it brings later is dropped, so nothing waits for it.
pub fn fanout<I, T>(
    items: Vec<I>,
    limit: Duration,
    work: impl Fn(I) -> T + Send + Sync + 'static,
    mut take: impl FnMut(usize, Option<T>),
) where
    I: Send + 'static,
    T: Send + 'static,
{
    let work = Arc::new(work);
    let (said, heard) = mpsc::channel();
    let mut waiting = items.into_iter().enumerate();
    let mut running = BTreeMap::new();
    loop {
        while running.len() < AT_ONCE {
            let Some((index, item)) = waiting.next() else {
                break;
            };
            let (work, said) = (Arc::clone(&work), said.clone());
            let started = thread::Builder::new()
                .name(format!("host-{index}"))
                .spawn(move || {
                    // The receiver is gone when nobody waits any more.
                    let _ = said.send((index, work(item)));
                });
            match started {
                Ok(_) => {
                    running.insert(index, Instant::now() + limit);
                }
                // No thread to be had: nothing is known of this host.
                Err(_) => take(index, None),
            }
        }
        let Some(first) = running.values().min().copied() else {
            return;
        };
        match heard.recv_timeout(first.saturating_duration_since(Instant::now())) {
            Ok((index, result)) => {
                if running.remove(&index).is_some() {
                    take(index, Some(result));
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let now = Instant::now();
                let late: Vec<usize> = running
                    .iter()
                    .filter(|(_, until)| **until <= now)
                    .map(|(index, _)| *index)
                    .collect();
                for index in late {
                    running.remove(&index);
                    take(index, None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    #[test]
    fn a_hanging_one_is_given_up_while_the_others_complete() {
        // The hanging work ends only when the test says so: no luck with times.
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let held = Arc::clone(&gate);
        let mut order = Vec::new();
        fanout(
            vec![0_usize, 1, 2, 3],
            Duration::from_millis(300),
            move |n| {
                if n == 1 {
                    let mut open = held.0.lock().unwrap();
                    while !*open {
                        open = held.1.wait(open).unwrap();
                    }
                }
                n * 10
            },
            |index, result| order.push((index, result)),
        );
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert_eq!(order.last(), Some(&(1, None)));
        order.sort_unstable();
        assert_eq!(
            order,
            [(0, Some(0)), (1, None), (2, Some(20)), (3, Some(30))]
        );
    }

    #[test]
    fn not_more_than_the_bound_run_at_once() {
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (n, m) = (Arc::clone(&now), Arc::clone(&most));
        let mut done = 0;
        fanout(
            (0..100).collect(),
            Duration::from_secs(30),
            move |_: i32| {
                m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
                n.fetch_sub(1, Ordering::SeqCst);
            },
            |_, result| {
                assert!(result.is_some());
                done += 1;
            },
        );
        assert_eq!(done, 100);
        assert!((2..=AT_ONCE).contains(&most.load(Ordering::SeqCst)));
    }
}
