use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::{
    AckRequest, ErrorKind, PullOptions, PushMessage,
    emulator::{Fault, Operation},
};

#[tokio::test(start_paused = true)]
async fn a_queue_takes_one_call_and_no_socket() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 0);
    emulator.advance(Duration::from_secs(1));
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    assert_eq!(emulator.base_url(), "https://emulator.invalid/client/v4", "it is nowhere");
}

#[tokio::test]
async fn a_queue_outlives_the_handle_of_an_emulator_in_process() {
    let queue = Emulator::in_process().queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_sees_the_bodies_that_were_pushed() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    let pushed = [PushMessage::text("a \"text\""), PushMessage::json(&json!({ "b": [1.5, null] })).unwrap()];
    queue.push_batch(&pushed).await.unwrap();
    let messages = emulator.messages(emulator.queue_id());
    assert_eq!(messages.iter().map(|message| &message.body).collect::<Vec<_>>(), [pushed[0].body(), pushed[1].body()]);
    assert_eq!(messages[1].body.json::<Value>().unwrap()["b"], json!([1.5, null]));
}

#[tokio::test(start_paused = true)]
async fn a_fault_applies_to_the_chosen_operations_until_removed() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    emulator.inject(Fault::Forbidden.on(Operation::AckMessages).on(Operation::ExtendMessages).until_removed());
    for _ in 0..3 {
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        let failed = queue.ack(AckRequest::ack_all(&batch)).await.unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::Unauthorized);
        assert_eq!(send(&emulator, "/extend", "{}").await.0, StatusCode::FORBIDDEN);
        emulator.advance(Duration::from_secs(30));
    }
    emulator.remove_faults();
    let batch = queue.pull(PullOptions::new()).await.unwrap();
    assert!(queue.ack(AckRequest::ack_all(&batch)).await.unwrap().is_complete());
}

#[tokio::test]
async fn faults_apply_in_order() {
    let emulator = Emulator::in_process();
    emulator.inject(Fault::NotSuccess.on(Operation::PeekMessages));
    emulator.inject(Fault::Forbidden);
    emulator.inject(Fault::ServerError(502).until_removed());
    let statuses = async |operations: &[&str]| {
        let mut statuses = Vec::new();
        for operation in operations {
            let path =
                format!("/accounts/{}/queues/{}/messages{operation}", emulator.account_id(), emulator.queue_id());
            let request = request(&emulator, &path, "{}".into());
            let Reply::Respond(response) = respond(&emulator.running.service, request).await else { panic!() };
            statuses.push(response.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses(&["/pull", "/peek", "/pull", "/none"]).await, [403, 200, 502, 502]);
    emulator.remove_faults();
    assert_eq!(statuses(&["/pull", "/none"]).await, [200, 404]);
}

#[tokio::test(start_paused = true)]
async fn the_clock_follows_tokios_in_process_and_stands_still_over_http() {
    let hour = Duration::from_secs(3600);
    let run = async |emulator: &Emulator| {
        let clock = &emulator.running.service.clock;
        let before = clock.now();
        tokio::time::advance(hour).await;
        Duration::from_nanos(clock.now() - before)
    };
    assert_eq!(run(&Emulator::in_process()).await, hour);
    assert_eq!(run(&Emulator::builder().in_process()).await, hour);
    assert_eq!(run(&Emulator::builder().frozen().in_process()).await, Duration::ZERO);
    assert_eq!(run(&Emulator::start().await.unwrap()).await, Duration::ZERO);
    assert_eq!(run(&Emulator::builder().start().await.unwrap()).await, Duration::ZERO);
    assert_eq!(run(&Emulator::builder().real_time().start().await.unwrap()).await, hour);
}
