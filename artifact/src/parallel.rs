//! The same work on many items, on as many threads as there are cores.

use core::num::NonZero;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use strongroom_wire::{Code, Refusal, Result};

/// Does `work` on every item and gives the results in the order of the items; or the refusal of the first item, in that
/// order, that was refused. After a refusal no further item is begun.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let next = AtomicUsize::new(0);
    let refused = AtomicBool::new(false);
    let run = || {
        let mut done = Vec::new();
        while !refused.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            refused.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((index, result));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| died())).collect::<Result<Vec<_>>>()?;
        Ok(joined.into_iter().flatten().collect::<Vec<_>>())
    })?;
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Does the same work on `threads` threads, this one included; the refusal of the first of them that was refused.
pub(crate) fn all(threads: NonZero<usize>, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.get()).map(|_| scope.spawn(&work)).collect();
        let own = work();
        let joined = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(died())));
        // All are waited for, whatever one of them says.
        joined.fold(own, Result::and)
    })
}

fn died() -> Refusal {
    Refusal::new(Code::Internal, "a worker thread died")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(map(&items, |n| Ok(n * 2)).unwrap(), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(map(&[0_u32; 0], |n| Ok(*n)).unwrap().is_empty());
    }

    #[test]
    fn one_refusal_refuses_the_whole() {
        let refused = map(&[1, 2, 3], |n| if *n == 2 { Err(Refusal::new(Code::Io, "two")) } else { Ok(()) });
        assert_eq!(refused.unwrap_err().code, Code::Io);
    }
}
