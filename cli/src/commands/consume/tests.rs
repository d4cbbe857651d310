//! What takes minutes, on tokio's paused clock, against an emulator in the same process.

use std::sync::atomic::{AtomicU32, Ordering};

use cloudflare_queues::{
    PushMessage,
    emulator::{EmulatedQueue, Emulator, Fault, Operation},
};
use tokio::time::timeout;

use super::*;

fn consume(program: &[&str]) -> Consume {
    Consume {
        queue: String::new(),
        program: program.iter().map(OsString::from).collect(),
        concurrency: 1,
        on_failure: OnFailure::Retry,
        dead_letters: None,
        retry_delay: Some(Duration::from_secs(3600)),
        timeout: Duration::from_secs(600),
        limit: None,
        until_empty: true,
        expose_lease: false,
        pass_credentials: false,
    }
}

fn emulator() -> Emulator {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Emulator::builder().real_time().queue(EmulatedQueue::new()).in_process()
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_program_that_runs_for_long_is_extended() {
    let (emulator, extended) = (emulator(), Arc::new(AtomicU32::new(0)));
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("work")).await.unwrap();
    let count = Arc::clone(&extended);
    emulator.on_request(move |request| {
        let is_extension = request.operation == Some(Operation::ExtendMessages) && request.status == Some(200);
        count.fetch_add(is_extension.into(), Ordering::Relaxed);
    });
    let consume = consume(&["sleep", "1000"]);
    let (consumer, work) =
        (consume.consumer(queue.clone()), consume.work(&queue, Vec::new(), Deliveries::default()).unwrap());
    let handler = move |message| Arc::clone(&work).handle(message);
    let report = consumer.run_until(sleep(Duration::from_secs(900)), handler).await.unwrap();
    assert_eq!((report.stats.retried, report.stats.failed, report.stats.lost_leases), (1, 1, 0));
    // A lease is of a minute, and the program took ten.
    let extended = extended.load(Ordering::Relaxed);
    assert!((9..=30).contains(&extended), "{extended}");
    let messages = emulator.messages(queue.id());
    assert_eq!(messages.iter().map(|message| message.attempts).collect::<Vec<_>>(), [1]);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_failed_pulls_end_a_bounded_run() {
    let emulator = emulator();
    let queue = emulator.queue().unwrap();
    emulator.inject(Fault::ServerError(503).on(Operation::PullMessages).until_removed());
    for is_bounded in [true, false] {
        let consumer = consume(&["true"]).consumer(queue.clone());
        let (stats, started) = (consumer.clone(), Instant::now());
        let progress = Progress::hidden();
        let run = consumer.run_until(std::future::pending::<()>(), async |_| {});
        let failing = failing(&stats, &queue, is_bounded, &progress);
        let ended = tokio::select! {
            _ = run => panic!("the consumer ended by itself"),
            ended = timeout(Duration::from_secs(3600), failing) => ended.ok(),
        };
        assert_eq!(ended.map(|failure| failure.exit()), is_bounded.then_some(Exit::Service));
        assert!(!is_bounded || (600..700).contains(&started.elapsed().as_secs()));
    }
}
