//! Running one kind of job on several threads with a bounded queue.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Result;
use crate::repository::locked;

/// Runs `work` on every item in `threads` threads; results reach `sink` on the calling thread, in any order.
///
/// At most `threads` results wait at a time. The first error stops the taking of new items and is returned.
pub(crate) fn for_each_parallel<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
    mut sink: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let threads = threads.min(items.len()).max(1);
    let items = Mutex::new(items.into_iter());
    let next = || locked(&items).next();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (results, finished) = crossbeam_channel::bounded::<Result<R>>(threads);
        for _ in 0..threads {
            let (next, results, work, stop) = (&next, results.clone(), &work, &stop);
            scope.spawn(move || {
                while let Some(item) = next() {
                    if stop.load(Ordering::SeqCst) || results.send(work(item)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let mut outcome = Ok(());
        for result in &finished {
            if outcome.is_ok() {
                outcome = result.and_then(&mut sink);
                if outcome.is_err() {
                    stop.store(true, Ordering::SeqCst);
                }
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::for_each_parallel;
    use crate::Error;

    #[test]
    fn all_results_arrive_and_an_error_stops() {
        let mut sum = 0;
        for_each_parallel(
            4,
            (1..=100).collect(),
            |n: u32| Ok(n * 2),
            |n| {
                sum += n;
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(sum, 10_100);
        let result = for_each_parallel(
            2,
            (1..=1000).collect(),
            |n: u32| if n == 3 { Err(Error::Cancelled) } else { Ok(n) },
            |_| Ok(()),
        );
        assert!(matches!(result, Err(Error::Cancelled)));
    }
}
