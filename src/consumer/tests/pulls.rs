//! How many pulls are in flight and how long they pause, depending on what they return.

use std::future::poll_fn;

use tokio::time::timeout;

use super::{
    super::{
        heartbeat::Heartbeat,
        pulls::{Pulled, Pulls},
    },
    *,
};
use crate::{PullOptions, flow::rate::Rate};

/// Pulls of a queue whose responses are scripted.
struct Pulling {
    world: World,
    pulls: Pulls,
    counter: recorder::Counter,
}

/// As many messages as there may be, of so many bytes each.
fn messages(count: usize, bytes: usize) -> http::Response<String> {
    let message = |number| {
        serde_json::json!({
            "id": format!("message-{number}"), "lease_id": format!("lease-{number}"), "attempts": 1,
            "body": "x".repeat(bytes), "metadata": { "CF-Content-Type": "text" },
        })
    };
    success(serde_json::json!({ "messages": (0..count).map(message).collect::<Vec<_>>() }))
}

fn full(_: &Seen) -> Option<http::Response<String>> {
    Some(messages(100, 1))
}

fn pulls(world: &World, consumer: &Consumer, counter: &recorder::Counter) -> Pulls {
    let heartbeat = Heartbeat::new(world.queue.clone(), &consumer.settings, counter.clone());
    Pulls::new(world.queue.clone(), &consumer.settings, heartbeat)
}

impl Pulling {
    /// Each pull takes a second.
    async fn new(set: impl FnOnce(Consumer) -> Consumer) -> Self {
        let world = World::with(0).await;
        world.takes(SECOND);
        world.responds(full);
        let consumer = set(world.consumer());
        let counter = recorder::Counter::new(&consumer.total, MINUTE);
        let mut pulls = pulls(&world, &consumer, &counter);
        pulls.is_trusted = true;
        Self { world, pulls, counter }
    }

    /// The first pull has returned, so that three may be in flight.
    async fn begun(set: impl FnOnce(Consumer) -> Consumer) -> Self {
        let mut pulling = Self::new(set).await;
        pulling.start();
        pulling.finish(1).await;
        pulling
    }

    /// The end of a pull, or `None` at the end of a pause.
    async fn next(&mut self) -> Option<Pulled> {
        poll_fn(|context| self.pulls.poll(context, &self.counter)).await
    }

    /// How long a pause lasts from now on.
    async fn pause(&mut self) -> Duration {
        let start = Instant::now();
        assert!(self.next().await.is_none());
        start.elapsed()
    }

    /// Waits for so many pulls without starting others.
    async fn finish(&mut self, pulls: usize) {
        for _ in 0..pulls {
            while self.next().await.is_none() {}
        }
    }

    /// Starts what may be started now, if any number of messages is wanted.
    fn start(&mut self) -> usize {
        self.pulls.start(usize::MAX, usize::MAX);
        self.pulls.in_flight()
    }

    /// Starts pulls whenever they may be, for so long, and returns when they were sent.
    async fn run(&mut self, time: Duration) -> Vec<Duration> {
        let (start, before) = (Instant::now(), self.world.seen("pull").len());
        let _ = timeout(time, async {
            loop {
                self.start();
                self.next().await;
            }
        })
        .await;
        self.world.seen("pull").iter().skip(before).map(|seen| seen.at - start).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_until_half_a_batch_is_wanted() {
    for (room, target, expected) in
        [(0, 0, 0), (49, 100, 0), (50, 100, 50), (3, 8, 0), (4, 8, 4), (4, 4, 4), (500, 500, 100)]
    {
        let mut pulling = Pulling::new(|consumer| consumer).await;
        pulling.pulls.start(room, target);
        assert_eq!(pulling.pulls.asked, expected, "{room} of {target}");
        assert_eq!(pulling.pulls.in_flight(), usize::from(expected > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_together_ask_for_no_more_than_is_wanted() {
    let mut pulling = Pulling::begun(|consumer| consumer).await;
    pulling.pulls.start(250, 250);
    assert_eq!((pulling.pulls.in_flight(), pulling.pulls.asked), (3, 250));
    pulling.finish(3).await;
    assert_eq!((pulling.pulls.in_flight(), pulling.pulls.asked), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn at_most_four_pulls_are_in_flight_before_a_settlement() {
    let mut pulling = Pulling::new(|consumer| consumer).await;
    pulling.pulls = pulls(&pulling.world, &pulling.world.consumer(), &pulling.counter);
    for expected in [1, 3, 4] {
        assert_eq!(pulling.start(), expected);
        pulling.finish(expected).await;
    }
    pulling.pulls.is_trusted = true;
    assert!(pulling.start() > 4);
}

#[tokio::test(start_paused = true)]
async fn each_step_halves_batches_and_doubles_pauses() {
    for (steps, asked, pause) in [(1, 50, 200), (2, 25, 400), (3, 12, 800), (7, 1, 2000), (100, 1, 2000)] {
        let mut pulling = Pulling::begun(|consumer| consumer.max_idle(2 * SECOND)).await;
        pulling.pulls.slowdown = steps;
        assert_eq!(pulling.start(), 1, "one at a time");
        assert_eq!(pulling.pulls.asked, asked);
        pulling.finish(1).await;
        let ended = Instant::now();
        assert_eq!(pulling.start(), 0);
        assert!(pulling.next().await.is_none());
        assert_eq!(ended.elapsed().as_millis(), pause, "{steps}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_is_an_average_without_attempts_that_failed() {
    let mut pulling = Pulling::new(|consumer| consumer).await;
    pulling.world.takes_by(|seen| if seen.nth == 0 { SECOND } else { 200 * MILLI });
    // The third pull is retried.
    pulling.world.responds(|seen| if seen.nth == 2 { Some(refusal(429, 10250)) } else { full(seen) });
    for expected in [1000, 800, 650, 537] {
        pulling.pulls.start(100, 100);
        pulling.finish(1).await;
        assert_eq!(pulling.pulls.round_trip().as_millis(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn message_sizes_rise_at_once_and_fall_slowly() {
    let mut pulling = Pulling::new(|consumer| consumer).await;
    let sizes = [1000, 200, 200, 4000];
    pulling.world.responds(move |seen| Some(messages(3, sizes[seen.nth])));
    for expected in [1600, 1500, 1413, 4600] {
        pulling.pulls.start(3, 3);
        pulling.finish(1).await;
        assert_eq!(pulling.pulls.message_bytes, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_in_flight_grow_only_while_they_return_half() {
    // The number in flight before the last pull returned was three.
    for (returned, expected) in [(100, 5), (50, 5), (49, 2), (1, 2)] {
        let mut pulling = Pulling::begun(|consumer| consumer).await;
        pulling.world.responds(move |_| Some(messages(returned, 1)));
        assert_eq!(pulling.start(), 3);
        pulling.finish(1).await;
        assert_eq!(pulling.start(), expected, "{returned}");
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_that_hold_nothing_back_do_not_become_more() {
    let mut pulling = Pulling::begun(|consumer| consumer).await;
    pulling.pulls.start(200, 200);
    assert_eq!(pulling.pulls.in_flight(), 2, "of three");
    pulling.finish(2).await;
    assert_eq!(pulling.start(), 3);
}

#[tokio::test(start_paused = true)]
async fn idle_pauses_are_a_sixteenth_of_the_time_without_messages() {
    let mut pulling = Pulling::begun(|consumer| consumer.max_idle(SECOND)).await;
    pulling.world.responds(|_| Some(messages(0, 0)));
    pulling.world.takes(Duration::ZERO);
    let message = Instant::now();
    for (since, pause) in [(0, 100), (1600, 100), (3200, 200), (4800, 300), (16_000, 1000), (100_000, 1000)] {
        sleep(MILLI * since - message.elapsed()).await;
        let pulls = pulling.start();
        pulling.finish(pulls).await;
        assert_eq!(pulling.pause().await.as_millis(), pause, "{since}");
    }
    // The next message makes them short again.
    let next = pulling.world.seen("pull").len();
    pulling.world.responds(move |seen| if seen.nth == next { full(seen) } else { Some(messages(0, 0)) });
    for _ in 0..2 {
        let pulls = pulling.start();
        pulling.finish(pulls).await;
    }
    assert_eq!(pulling.pause().await.as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn failed_pulls_that_were_in_flight_together_lengthen_the_pause_once() {
    let mut pulling = Pulling::begun(|consumer| consumer).await;
    // Three that fail, 50 ms apart.
    pulling.world.responds(|_| Some(refusal(400, 0)));
    pulling.world.takes_by(|seen| SECOND + 50 * MILLI * seen.nth as u32);
    assert_eq!(pulling.start(), 3);
    pulling.finish(1).await;
    let first = Instant::now();
    pulling.finish(2).await;
    assert!(pulling.next().await.is_none());
    assert_eq!(first.elapsed().as_millis(), 200, "100 ms after the last of them");
    // One after the other, each pause is twice as long.
    for pause in [200, 400, 800] {
        pulling.pulls.start(1, 1);
        pulling.finish(1).await;
        assert_eq!(pulling.pause().await.as_millis(), pause);
    }
    // The next message makes them short again.
    let next = pulling.world.seen("pull").len();
    pulling.world.responds(move |seen| if seen.nth == next { full(seen) } else { Some(refusal(400, 0)) });
    for _ in 0..2 {
        pulling.pulls.start(1, 1);
        pulling.finish(1).await;
    }
    assert_eq!(pulling.pause().await.as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn failed_pulls_without_a_round_trip_lengthen_the_pause_once() {
    let mut pulling = Pulling::begun(|consumer| consumer).await;
    pulling.world.responds(|_| Some(refusal(400, 0)));
    pulling.world.takes(Duration::ZERO);
    for (pulls, pause) in [(3, 100), (1, 200), (1, 400)] {
        pulling.pulls.start(pulls * 100, pulls * 100);
        assert_eq!(pulling.pulls.in_flight(), pulls);
        pulling.finish(pulls).await;
        assert_eq!(pulling.pause().await.as_millis(), pause);
    }
}

/// A refusal with a wait that is too long for a retry within the pull.
fn limited(retry_after: &str) -> http::Response<String> {
    with_retry_after(refusal(429, 10250), retry_after)
}

#[tokio::test(start_paused = true)]
async fn messages_end_idle_pauses_but_not_a_retry_after() {
    let long = 100 * SECOND;
    // The pause that the service asks for, the shortest one after an empty pull, and what is left 50 ms later.
    let cases = [(None, 100 * MILLI, None), (Some("61"), 100 * MILLI, Some(60_950)), (Some("61"), long, Some(100_000))];
    for (asked, min_idle, left) in cases {
        let mut pulling = Pulling::begun(|consumer| consumer.min_idle(min_idle).max_idle(long)).await;
        pulling.world.takes_by(|seen| SECOND + 50 * MILLI * seen.nth as u32);
        pulling.world.responds(move |seen| match (seen.nth, asked) {
            (1, Some(asked)) => Some(limited(asked)),
            (1 | 2, _) => Some(messages(0, 0)),
            _ => full(seen),
        });
        assert_eq!(pulling.start(), 3);
        pulling.finish(2).await;
        let empty = Instant::now();
        pulling.finish(1).await;
        assert_eq!(pulling.start() == 0, left.is_some());
        if let Some(left) = left {
            assert!(pulling.next().await.is_none());
            assert_eq!(empty.elapsed().as_millis(), left);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_pulls_for_at_most_five_minutes() {
    for (asked, pause) in [("61", 61), ("300", 300), ("301", 300), ("86400", 300), ("18446744073709551615", 300)] {
        let mut pulling = Pulling::new(|consumer| consumer).await;
        pulling.world.responds(move |_| Some(limited(asked)));
        pulling.start();
        pulling.finish(1).await;
        assert_eq!(pulling.pause().await.as_secs(), pause);
    }
}

#[tokio::test(start_paused = true)]
async fn other_failures_do_not_count_as_refused_pulls() {
    let mut pulling = Pulling::new(|consumer| consumer).await;
    pulling.world.responds(|seen| if seen.nth == 0 { Some(unsent()) } else { full(seen) });
    pulling.world.takes_by(|seen| if seen.nth == 0 { 10 * SECOND } else { SECOND });
    for expected in [1, 1, 3] {
        assert_eq!(pulling.start(), expected, "at once");
        for left in (0..expected).rev() {
            pulling.finish(1).await;
            assert_eq!(pulling.pulls.in_flight(), left);
        }
        assert_eq!(pulling.pulls.round_trip(), SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn only_refusals_for_their_rate_spread_later_pulls() {
    for (code, is_spread) in [(10250, true), (10252, false)] {
        let mut pulling = Pulling::new(|consumer| consumer).await;
        for expected in [1, 3] {
            assert_eq!(pulling.start(), expected);
            pulling.finish(expected).await;
        }
        pulling.world.responds(move |seen| if seen.nth == 4 { Some(refusal(429, code)) } else { full(seen) });
        assert_eq!(pulling.start(), 9);
        pulling.finish(9).await;
        let at = pulling.run(500 * MILLI).await;
        let apart = at.windows(2).take(5).all(|at| at[1] > at[0]);
        assert_eq!(apart, is_spread, "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_was_rate_limited_at_first_counts_as_refused() {
    let mut pulling = Pulling::new(|consumer| consumer).await;
    for expected in [1, 3] {
        assert_eq!(pulling.start(), expected);
        pulling.finish(expected).await;
    }
    pulling.world.responds(|seen| if seen.nth == 4 { Some(refusal(429, 10250)) } else { full(seen) });
    assert_eq!(pulling.start(), 9);
    pulling.finish(9).await;
    let at = pulling.run(500 * MILLI).await;
    // Four fifths of 50 a second.
    let apart = |at: &[Duration]| (24 * MILLI..=25 * MILLI).contains(&(at[1] - at[0]));
    assert!(at.len() == 21 && at[1..].windows(2).all(apart), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_of_pulls_that_waited_for_a_permit_also_lower_the_rate() {
    let world = World::with(0).await;
    world.takes(SECOND);
    world.responds(|_| Some(refusal(429, 10250)));
    let rate = Arc::new(Rate::new("pulls", 10.0, 1.0));
    let queue = world.queue_with(|client| client.max_in_flight(1).retry(RetryPolicy::none()));
    let queue = queue.with_rate(Arc::clone(&rate));
    let pull = || queue.pull(PullOptions::new());
    // The second one is sent at the moment at which the first one is refused.
    let (first, second, third) = tokio::join!(pull(), pull(), pull());
    assert!(first.is_err() && second.is_err() && third.is_err());
    rate.request(1);
    // After one refusal, it would be an eighth of a second.
    assert!(rate.wait().unwrap() - Instant::now() > SECOND / 2);
}
