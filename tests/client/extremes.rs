//! Every setting at both ends: zero and the largest value of its type.

use std::time::Duration;

use cloudflare_queues::{
    Acker, Client, Consumer, Credentials, Error, ErrorKind, Lease, PullOptions, PushMessage, Queue, RetryPolicy,
    Verdict,
    acker::AckerOptions,
    consumer::RetryDelay,
    emulator::{self, Behavior, Emulator, Fault},
    manage::QueueSettings,
};

const SECOND: Duration = Duration::from_secs(1);

/// Zero, and the largest value of each type.
#[derive(Clone, Copy, Debug)]
struct End {
    time: Duration,
    small: u32,
    size: usize,
    share: f64,
}

const ENDS: [End; 2] = [
    End { time: Duration::ZERO, small: 0, size: 0, share: 0.0 },
    End { time: Duration::MAX, small: u32::MAX, size: usize::MAX, share: f64::INFINITY },
];

fn policy(end: End) -> RetryPolicy {
    RetryPolicy::new().max_attempts(end.small).initial_backoff(end.time).budget(end.small)
}

/// An emulator, and a queue of it, with every setting of theirs at an end.
fn world(end: End) -> (Emulator, Queue) {
    let settings =
        emulator::EmulatedQueue::new().max_retries(end.small).retry_delay(end.time).visibility_timeout(end.time);
    let behavior = Behavior::new().max_lease(end.time).consumer_start(Duration::ZERO).purge_time(end.time);
    let emulator = Emulator::builder().queue(settings).behavior(behavior).real_time().in_process();
    // With no time at all, or no room for a response, there is nothing but errors: see below.
    let builder = emulator.in_process_builder().unwrap().retry(policy(end));
    let builder = if end.size == 0 {
        builder.connect_timeout(end.time)
    } else {
        let builder = builder.connect_timeout(end.time).request_timeout(end.time).call_timeout(end.time);
        builder.max_response_bytes(end.size)
    };
    let queue = builder.build().unwrap().queues(emulator.account_id()).unwrap().queue(emulator.queue_id());
    (emulator, queue.unwrap())
}

fn consumer(queue: Queue, end: End) -> Consumer {
    let acker = AckerOptions::new().linger(end.time).max_in_flight(end.size).buffer(end.size);
    Consumer::new(queue)
        .concurrency(end.size)
        .max_idle(end.time)
        .retry_delay(RetryDelay::fixed(end.time))
        .shutdown_timeout(end.time)
        .flush_timeout(end.time)
        .max_retries(end.small)
        .max_bytes(end.size)
        .max_lease(end.time)
        .failure_threshold(end.share)
        .max_attempts(end.small)
        .handler_batch_size(end.size)
        .handler_linger(end.time)
        .acker(acker)
}

async fn push(queue: &Queue, messages: usize) {
    for _ in 0..messages {
        let _ = queue.push(&PushMessage::text("x")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_setting_takes_zero_and_its_largest_value() {
    for end in ENDS {
        let (emulator, queue) = world(end);
        push(&queue, 3).await;
        let consumer = consumer(queue.clone(), end);
        let all = |consumer: Consumer, count| async move {
            while consumer.stats().acknowledged < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let handled = consumer.run_until(all(consumer.clone(), 3), |_| async {});
        assert!(tokio::time::timeout(100 * SECOND, handled).await.unwrap().unwrap().error.is_none(), "{end:?}");
        push(&queue, 3).await;
        // A batch that is never full, and may wait for ever, does not keep the run from stopping.
        let stopped = consumer.run_batches_until(tokio::time::sleep(SECOND), |_| async { Verdict::Ack });
        let stats = tokio::time::timeout(100 * SECOND, stopped).await.unwrap().unwrap().stats;
        let known = [stats.acknowledged, stats.retried, stats.left, stats.expired, stats.unconfirmed];
        assert_eq!(stats.pulled, known.iter().sum::<u64>(), "{end:?}: {stats:?}");
        assert!(stats.pulled >= 3 && emulator.messages(emulator.queue_id()).len() <= 3, "{end:?}: {stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_its_deliveries_take_zero_and_the_largest_values() {
    for end in ENDS {
        let (emulator, queue) = world(end);
        push(&queue, 3).await;
        let mut deliveries = consumer(queue, end).stream().unwrap();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            taken.extend(deliveries.next_batch(1, end.time).await.unwrap().unwrap());
        }
        let refused = taken.pop().unwrap().retry_in(Duration::MAX).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        drop(taken.pop().unwrap().ack().await.unwrap());
        // However many are asked for, for however long: whoever waits can give up.
        let _ = tokio::time::timeout(SECOND, deliveries.next_batch(end.size, end.time)).await;
        deliveries.acker().close().await;
        // One was acknowledged, and one may have used up its retries, of which there are none at one end.
        let left = emulator.messages(emulator.queue_id()).len();
        assert!(left == 2 || left == 1 && end.small == 0, "{end:?}: {left}");
    }
}

#[tokio::test(start_paused = true)]
async fn values_out_of_bounds_are_refused_without_a_panic() {
    for end in ENDS {
        let emulator = Emulator::in_process();
        let queue = emulator.queue().unwrap();
        let refused = [
            queue.pull(PullOptions::new().batch_size(end.small)).await.map(drop),
            queue.pull(PullOptions::new().visibility_timeout(end.time)).await.map(drop),
            queue.extend(["lease"], end.time).await.map(drop).map_err(Error::from),
            queue.peek(end.small).await.map(drop),
            Consumer::new(queue.clone()).batch_size(end.small).stream().map(drop),
            Consumer::new(queue.clone()).visibility_timeout(end.time).stream().map(drop),
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput, "{end:?}");
        }
        let pushed = queue.push(&PushMessage::text("x").delay(end.time)).await;
        assert_eq!(pushed.is_err(), end.time > SECOND);
        let changed = queue.update(QueueSettings::new().delivery_delay(end.time)).await;
        assert_eq!(changed.is_err(), end.time > SECOND);
        let _ = queue.update(QueueSettings::new().message_retention(end.time)).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn zero_time_and_space_are_errors_and_any_deadline_works() {
    let emulator = Emulator::in_process();
    emulator.inject(Fault::Delay(Duration::ZERO));
    let builder = || emulator.in_process_builder().unwrap().retry(RetryPolicy::none());
    let open = |builder: cloudflare_queues::ClientBuilder| {
        builder.build().unwrap().queues(emulator.account_id()).unwrap().queue(emulator.queue_id()).unwrap()
    };
    let slow = || emulator.inject(Fault::Slow { before: SECOND, after: Duration::ZERO, fault: None });
    for builder in [builder().request_timeout(Duration::ZERO), builder().call_timeout(Duration::ZERO)] {
        slow();
        let error = open(builder).pull(PullOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    let error = open(builder().max_response_bytes(0)).push(&PushMessage::text("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "{error}");

    for requests in [0, usize::MAX] {
        assert_eq!(builder().max_in_flight(requests).build().unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    let acker = Acker::with_options(open(builder()), AckerOptions::new().linger(Duration::MAX)).unwrap();
    let now = tokio::time::Instant::now().into_std();
    let lease = Lease::new("far away", now + Duration::from_secs(1 << 33));
    acker.ack(lease).await.unwrap();
    acker.close().await;

    let builder = Client::builder(Credentials::api_token("token").unwrap()).connect_timeout(Duration::MAX);
    assert!(builder.build().is_ok());
}
