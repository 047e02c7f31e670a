//! Several looks at once, in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use wiab_engine::ports::{BoxFuture, Busy, Clock};

/// Answers of all, in their order. Every one but the last to end holds a token of the clock of its own: virtual time then
/// passes for them side by side.
pub(super) async fn join<'a, T: Send>(
    clock: &Arc<dyn Clock>,
    looks: Vec<BoxFuture<'a, T>>,
) -> Vec<T> {
    let mut tokens: Vec<Busy> = looks.iter().skip(1).map(|_| clock.busy()).collect();
    let mut open: Vec<(usize, BoxFuture<'a, T>)> = looks.into_iter().enumerate().collect();
    let mut done: Vec<(usize, T)> = Vec::new();
    poll_fn(|context| {
        let mut at = 0;
        while let Some((index, look)) = open.get_mut(at) {
            let index = *index;
            match Pin::as_mut(look).poll(context) {
                Poll::Ready(answer) => {
                    done.push((index, answer));
                    drop(open.remove(at));
                    tokens.pop();
                }
                Poll::Pending => at += 1,
            }
        }
        if open.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::super::super::host::sim::SimClock;
    use super::*;

    #[tokio::test]
    async fn time_passes_once_for_all_of_them() {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(0, 0, None));
        let busy = clock.busy();
        let look = |ms: u64| -> BoxFuture<'_, u64> {
            let clock = clock.clone();
            Box::pin(async move {
                clock.sleep(ms).await;
                clock.sleep(ms).await;
                ms
            })
        };
        let answers = join(&clock, vec![look(300), look(100), look(500)]).await;
        assert_eq!(answers, [300, 100, 500]);
        assert_eq!(clock.mono_ms(), 1_000);
        let none: Vec<u8> = join(&clock, Vec::new()).await;
        assert!(none.is_empty());
        drop(busy);
    }
}
