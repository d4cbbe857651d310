//! The contract of a queue: tested on the emulator, and also on Cloudflare if `CLOUDFLARE_TEST_QUEUE_ID` names a queue.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod emulator;
mod manage;
mod peek;
mod recorded;
mod scenarios;
mod subscriptions;
mod under;

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use cloudflare_queues::{AckRequest, Batch, Client, Message, PullOptions, PushMessage, Queue, emulator::Emulator};

use self::under::Answers;

/// A queue to test, and a way to let time pass.
struct Service {
    queue: Queue,
    emulator: Option<Emulator>,
    answers: Answers,
}

impl Service {
    fn of(emulator: Emulator, answers: Answers) -> Self {
        Self { queue: emulator.queue().unwrap(), emulator: Some(emulator), answers }
    }

    /// The variable is for tests alone: that of [`Queue::from_env`] may name a queue in use.
    async fn on_cloudflare() -> Option<Self> {
        let id = env::var("CLOUDFLARE_TEST_QUEUE_ID").ok().filter(|id| !id.is_empty())?;
        let account = env::var("CLOUDFLARE_ACCOUNT_ID").expect("CLOUDFLARE_ACCOUNT_ID has to name the account");
        // The test runner captures only what is written with macros.
        let notice = format!("on queue {id} of account {account}, as CLOUDFLARE_TEST_QUEUE_ID says\n");
        io::stderr().write_all(notice.as_bytes()).unwrap();
        let queue = Client::from_env().unwrap().queues(account).unwrap().queue(id).unwrap();
        // Messages that are not ours must not be acknowledged.
        let batch = queue.pull(PullOptions::new().batch_size(1)).await.unwrap();
        if let Some(message) = batch.messages.first() {
            let request = AckRequest::new().retry(&message.lease_id);
            let _ = queue.ack(request).await;
            panic!("the queue holds messages: name an empty one, for the tests alone");
        }
        Some(Self { queue, emulator: None, answers: Answers::UNKNOWN })
    }

    async fn pass(&self, time: Duration) {
        match &self.emulator {
            Some(emulator) => emulator.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }

    async fn push(&self, count: usize) {
        let messages: Vec<_> = (0..count).map(|number| PushMessage::text(number.to_string())).collect();
        for messages in messages.chunks(100) {
            self.queue.push_batch(messages).await.unwrap();
        }
    }

    /// Pulls until `count` messages have arrived. A real queue may take its time.
    async fn pull(&self, count: usize, visibility_timeout: Duration) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut empty = 0;
        while messages.len() < count && empty < 30 {
            let batch_size = (count - messages.len()).min(100) as u32;
            let options = PullOptions::new().batch_size(batch_size).visibility_timeout(visibility_timeout);
            match pull(&self.queue, options).await {
                batch if batch.is_empty() => {
                    empty += 1;
                    self.pass(Duration::from_secs(1)).await;
                }
                batch => messages.extend(batch),
            }
        }
        assert_eq!(messages.len(), count);
        messages
    }

    async fn pull_nothing(&self) {
        let batch = pull(&self.queue, PullOptions::new().batch_size(100)).await;
        assert!(batch.is_empty(), "{batch:?}");
    }

    /// Acknowledges and retries what can be, and returns how many of each.
    async fn settle(&self, request: AckRequest) -> (u64, u64) {
        let outcome = self.queue.ack(request).await.unwrap();
        self.answers.assert_done(&outcome);
        (outcome.acks.requested, outcome.retries.requested)
    }
}

/// What a queue gives now, which is nothing when it has given as much as it may in a second.
async fn pull(queue: &Queue, options: PullOptions) -> Batch {
    match queue.pull(options).await {
        Err(error) if error.has_code(10250) => Batch::default(),
        result => result.unwrap(),
    }
}

fn acks(messages: &[Message]) -> AckRequest {
    AckRequest::ack_all(messages)
}

macro_rules! scenarios {
    ($($scenario:ident),* $(,)?) => {
        mod on_the_emulator {
            $(
                #[test]
                fn $scenario() {
                    crate::under::over_http_and_under_every_switch(async |under| {
                        crate::scenarios::$scenario(&under.service().await).await;
                    });
                }
            )*
        }

        /// Sequentially, since they share one queue. Without a queue, there is nothing to test.
        #[tokio::test]
        async fn cloudflare_keeps_the_contract() {
            let Some(service) = Service::on_cloudflare().await else { return };
            $(
                println!("{}", stringify!($scenario));
                scenarios::$scenario(&service).await;
            )*
        }
    };
}

scenarios! {
    a_pushed_message_comes_as_it_was_pushed,
    a_leased_message_is_hidden_until_its_visibility_timeout,
    an_acknowledged_message_never_comes_again,
    a_retried_message_comes_again_after_its_delay,
    a_delayed_message_comes_after_its_delay,
    an_ack_after_the_lease_ran_out_is_accepted,
    consumers_at_the_same_time_never_share_a_message,
    hundreds_of_leases_are_all_settled,
    a_used_lease_is_never_reported_complete,
    a_purged_message_never_comes,
}
