//! The retry budget in an outage.

use cloudflare_queues::{
    Queue,
    emulator::{Emulator, Fault},
};

use support::Op;

/// How many requests this many callers send, with one call each.
async fn requests(queue: &Queue, callers: u32) -> u32 {
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { Op::Ack.call(&queue).await.unwrap_err() })
        })
        .collect();
    let mut requests = 0;
    for caller in callers {
        let error = caller.await.unwrap();
        let is_short = error.attempts() < 4;
        assert_eq!(is_short, error.to_string().contains("retry budget"), "{error}");
        requests += error.attempts();
    }
    requests
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_in_an_outage_retry_a_tenth_of_calls() {
    let emulator = Emulator::in_process();
    emulator.inject(Fault::ResetBefore.until_removed());
    let client = emulator.in_process_builder().unwrap().build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    // At once, calls earn nothing: a full budget does not grow.
    assert_eq!(requests(&queue, 1000).await, 1000 + 100);
    for _ in 0..50 {
        assert_eq!(requests(&queue, 20).await, 20 + 2);
    }
}

#[tokio::test]
async fn an_outage_that_ends_gives_a_caller_its_retries_back() {
    let server = support::Server::playing([]);
    let queue = support::stubborn_queue(&server.url, 4);
    server.play(support::refused(503, 0));
    let attempts = async || Op::Ack.call(&queue).await.unwrap_err().attempts();
    for _ in 0..50 {
        attempts().await;
    }
    assert!(attempts().await < 4);
    server.play(support::bare_success());
    for _ in 0..30 {
        Op::Ack.call(&queue).await.unwrap();
    }
    server.play(support::refused(503, 0));
    assert_eq!(attempts().await, 4);
}
