//! How often a queue delivers a message, and what is left in it.

use std::time::Duration;

use cloudflare_queues::{
    Error, Queue,
    manage::{ConsumerDescription, ConsumerKind},
};
use tokio::time::sleep;

use crate::exit::{Exit, Failure};

/// How often the metrics are read until they agree with what was done, and the wait in between: they may lag behind.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The pull consumer of a queue. Without one, pulls are refused.
pub(crate) async fn pull_consumer(queue: &Queue) -> Result<ConsumerDescription, Failure> {
    pulling(queue.consumers().await?)
}

/// The pull consumer among these.
pub(crate) fn pulling(consumers: Vec<ConsumerDescription>) -> Result<ConsumerDescription, Failure> {
    let kinds: Vec<_> = consumers.iter().map(|consumer| consumer.kind().as_str().to_owned()).collect();
    let others = if kinds.is_empty() { String::new() } else { format!(", but one of the kind {}", kinds.join(", ")) };
    let pulling = consumers.into_iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull);
    pulling.ok_or_else(|| {
        let what = format!("nothing was done: the queue has no pull consumer{others}");
        Failure::new(Exit::Refused, what).with_note("`cf-queues doctor QUEUE`, with the queue's name, says what to do")
    })
}

/// The dead-letter queue of a consumer, by name.
pub(crate) fn dead_letters(consumer: &ConsumerDescription) -> Option<&str> {
    consumer.dead_letter_queue().filter(|name| !name.is_empty())
}

/// What happens to a message that is not delivered again.
pub(crate) fn end_of_last_delivery(consumer: &ConsumerDescription) -> String {
    dead_letters(consumer).map_or_else(|| "is deleted".to_owned(), |name| format!("goes to the queue {name}"))
}

/// How many messages are in the queue: read again if there are more than expected. `None` if the service does not say.
pub(crate) async fn count(queue: &Queue, expected: u64) -> Result<Option<u64>, Error> {
    let mut looks = 1;
    loop {
        let count = queue.metrics().await?.backlog_count;
        if looks >= LOOKS || count.is_none_or(|count| count <= expected) {
            return Ok(count);
        }
        looks += 1;
        sleep(BETWEEN_LOOKS).await;
    }
}
