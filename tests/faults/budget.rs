//! What an outage is met by.

use std::sync::Arc;

use crate::support::{self, Op};

/// How many requests a thousand callers make of one call each.
async fn requests_of_a_thousand(queue: &cloudflare_queues::Queue) -> u32 {
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { Op::Ack.call(&queue).await.unwrap_err() })
        })
        .collect();
    let mut requests = 0;
    for caller in callers {
        let error = caller.await.unwrap();
        let is_short = error.attempts() < 4;
        assert_eq!(is_short, error.to_string().contains("retries that all calls of the client share"), "{error}");
        requests += error.attempts();
    }
    requests
}

#[tokio::test]
async fn a_thousand_callers_meet_an_outage_with_at_most_a_fifth_more_requests() {
    let queue = support::stubborn_queue(&support::nowhere(), 4);
    let first = requests_of_a_thousand(&queue).await;
    let second = requests_of_a_thousand(&queue).await;
    println!("{first} requests for the first thousand calls, {second} for the second");
    // What the callers have saved is used up by the first thousand.
    assert!((1100..=1200).contains(&first), "{first}");
    assert!((1000..=1101).contains(&second), "{second}");
}

#[tokio::test]
async fn an_outage_that_ends_gives_a_caller_its_retries_back() {
    let server = support::Server::playing([]);
    let queue = Arc::new(support::stubborn_queue(&server.url, 4));
    server.play(support::refused(503, 0));
    let attempts = async || Op::Ack.call(&queue).await.unwrap_err().attempts();
    while attempts().await > 1 {}
    server.play(support::bare_success());
    for _ in 0..30 {
        Op::Ack.call(&queue).await.unwrap();
    }
    server.play(support::refused(503, 0));
    assert_eq!(attempts().await, 4);
}
