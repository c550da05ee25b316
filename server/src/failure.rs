//! What happens when a part of the server ends in a panic.
//!
//! A connection, a request of the API or a page that does so ends alone. Without the parts that serve all of them the
//! server would look alive and not be: then it ends, and whoever watches over the process can start it again.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use crate::state::Shared;

/// A task that the server cannot do without: with its panic the server ends.
pub(crate) fn vital(
    shared: Arc<Shared>,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let mut task = Box::pin(task);
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))).unwrap_or_else(|_| {
            shared.fail(what);
            Poll::Ready(())
        })
    })
}

/// Has the log tell of every panic of this process, with its place. For the program alone: a library must not decide this
/// for those that it is part of.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or_default();
    tracing::error!("Panic in thread {} at {place}: {text}", thread.name().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::state::Phase;

    #[tokio::test]
    async fn a_vital_task_that_panics_ends_the_server() {
        let shared = Arc::new(Shared::new(Options::default(), Arc::new(jetkv_jetstream::SystemClock)));
        vital(Arc::clone(&shared), "A task", async {}).await;
        assert!(!shared.has_failed());
        vital(Arc::clone(&shared), "A task", async { panic!("on purpose") }).await;
        assert!(shared.has_failed());
        assert_eq!(*shared.phase().borrow(), Phase::Stopped);
    }
}
