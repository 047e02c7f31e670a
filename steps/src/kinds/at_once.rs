//! Several questions of one step, asked at the same time.

use std::future::poll_fn;
use std::task::Poll;

use crate::host::shell::Shell;

/// Does all of them at once; the answers are in their order.
pub(super) async fn all<F: Future + Send>(sh: Shell<'_>, branches: Vec<F>) -> Vec<F::Output> {
    // A virtual clock counts one token per branch that still works; the first branch works on the step's own.
    let mut tokens: Vec<_> = branches
        .iter()
        .skip(1)
        .map(|_| sh.cx.clock.busy())
        .collect();
    let mut branches: Vec<_> = branches
        .into_iter()
        .map(|branch| (Box::pin(branch), None))
        .collect();
    poll_fn(|cx| {
        let mut waits = false;
        for (branch, done) in branches.iter_mut().filter(|(_, done)| done.is_none()) {
            match branch.as_mut().poll(cx) {
                Poll::Ready(answer) => {
                    *done = Some(answer);
                    drop(tokens.pop());
                }
                Poll::Pending => waits = true,
            }
        }
        if waits {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    branches.into_iter().filter_map(|(_, done)| done).collect()
}
