//! Jobs of apalis from a queue: `cargo run -p apps --bin apalis`.
//!
//! Copy `CloudflareQueue` and `Settle`. A lease is extended while its job runs; layers of apalis, such as retries and
//! timeouts, work within it. A job that fails is delivered again after the queue's retry delay.

use std::{
    future::{Future, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    error::BoxDynError,
    task::{ExecutionContext, Task, builder::TaskBuilder, task_id::TaskId},
    worker::{
        builder::WorkerBuilder,
        context::WorkerContext,
        ext::ack::{Acknowledge, AcknowledgeLayer},
    },
};
use cloudflare_queues::{
    Consumer, Error, PushMessage,
    consumer::{Decoded, Deliveries, Delivery},
    emulator::Emulator,
};
use futures_core::Stream;
use tower::limit::ConcurrencyLimitLayer;

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Held<T> = Arc<Mutex<Option<Delivery<T>>>>;

struct CloudflareQueue<T> {
    deliveries: Deliveries<T>,
    closing: Option<Pending<()>>,
}

impl<T: 'static> CloudflareQueue<T> {
    fn new(consumer: &Consumer<Decoded<T>>) -> Result<Self, Error> {
        Ok(Self { deliveries: consumer.stream()?, closing: None })
    }
}

impl<T: Clone + Send + Sync + 'static> Backend for CloudflareQueue<T> {
    type Task = Task<T>;
    type Error = Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, context: &mut Context<'_>, worker: &WorkerContext) -> Poll<Option<Result<Task<T>, Error>>> {
        let next = ready!(Pin::new(&mut self.deliveries).poll_next(context));
        if next.is_none() {
            // A worker does not end with its tasks. This fails only if it is ending.
            let _ = worker.stop();
        }
        Poll::Ready(next).map_ok(|delivery| {
            let message = delivery.message();
            let task = TaskBuilder::new(delivery.body().clone()).task_id(TaskId::from_string(message.id.as_str()));
            let attempts = message.attempts.unwrap_or(1) as usize;
            let held: Held<T> = Arc::new(Mutex::new(Some(delivery)));
            task.attempt(attempts).data(held).build()
        })
    }

    /// Waits until every acknowledgement is confirmed.
    fn poll_close(&mut self, context: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        let closing = self.closing.get_or_insert_with(|| {
            let acker = self.deliveries.acker().clone();
            Box::pin(async move { acker.close().await })
        });
        closing.as_mut().poll(context).map(Ok)
    }
}

impl<T: Send + Sync + 'static> BackendConfig for CloudflareQueue<T> {
    type Args = T;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = AcknowledgeLayer<Settle<T>>;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        AcknowledgeLayer::new(Settle(PhantomData))
    }
}

/// Acknowledges a job that succeeded, and retries one that failed. A job that panicked or was dropped takes its
/// delivery with it, which retries it as well.
#[derive(Clone)]
struct Settle<T>(PhantomData<T>);

impl<T: Send + Sync + 'static, R> Acknowledge<R> for Settle<T> {
    type Error = Error;
    type Future = Pending<Result<(), Error>>;

    fn ack(&mut self, result: &Result<R, BoxDynError>, context: &ExecutionContext) -> Self::Future {
        let held = context.data().get::<Held<T>>();
        let Some(delivery) = held.and_then(|held| held.lock().ok()?.take()) else { return Box::pin(ready(Ok(()))) };
        let is_done = result.is_ok();
        Box::pin(async move {
            // The receipt is not awaited: acknowledgements are grouped in the background.
            let _receipt = if is_done { delivery.ack().await? } else { delivery.retry().await? };
            Ok(())
        })
    }
}

async fn work(number: u32) -> Result<(), BoxDynError> {
    if number == 7 { Err("7 fails".into()) } else { Ok(()) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let numbers = (1..=10_u32).map(|number| PushMessage::json(&number)).collect::<Result<Vec<_>, _>>()?;
    queue.push_all(&numbers).await?;

    // Without `until_empty`, it waits for further messages: `run_until(tokio::signal::ctrl_c())` ends it.
    let consumer = Consumer::new(queue).json::<u32>().until_empty(Duration::from_millis(500));
    let worker = WorkerBuilder::new("example").backend(CloudflareQueue::new(&consumer)?);
    // Without a limit, a worker takes all that it gets.
    worker.layer(ConcurrencyLimitLayer::new(5)).build(work).run().await?;

    let stats = consumer.stats();
    println!("acknowledged {}, retried {}", stats.acknowledged, stats.retried);
    Ok(())
}
