//! The retry budget in an outage.

use cloudflare_queues::Queue;

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

#[tokio::test]
async fn a_thousand_callers_send_at_most_a_fifth_more_in_an_outage() {
    let queue = support::stubborn_queue(&support::nowhere(), 4);
    let at_once = requests(&queue, 1000).await;
    let mut in_waves = 0;
    for _ in 0..50 {
        in_waves += requests(&queue, 20).await;
    }
    println!("{at_once} requests for a thousand calls at once, {in_waves} for a thousand more in waves");
    assert!((1100..=1200).contains(&at_once), "{at_once}");
    assert!((1100..=1200).contains(&in_waves), "{in_waves}");
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
