use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use queues_by_shuttle::{
    Consumer, Message, Verdict,
    consumer::{Report, Unsettled},
};
use tokio::{runtime, spawn, time::Duration};

use crate::world::{World, all_end, below, lease_of, wait};

const MESSAGES: u32 = 4;

/// What handlers decided by each lease: `Some(true)` for an acknowledgement.
type Decided = Arc<Mutex<HashMap<String, Option<bool>>>>;

fn consumer(world: &World) -> Consumer {
    let unsettled = if below(2) == 0 { Unsettled::Retry } else { Unsettled::Leave };
    world.consumer().unsettled(unsettled)
}

async fn run(world: World, decided: Decided) -> Report {
    let handler = move |message: Message| {
        let decided = Arc::clone(&decided);
        async move {
            wait().await;
            let (verdict, decision) = match below(6) {
                0 => (Ok(Verdict::Leave), None),
                1 => (Ok(Verdict::Retry), Some(false)),
                2 => (Err("again"), Some(false)),
                _ => (Ok(Verdict::Ack), Some(true)),
            };
            decided.lock().unwrap().insert(lease_of(&message), decision);
            verdict
        }
    };
    let stop = async {
        for _ in 0..below(30) {
            wait().await;
        }
    };
    consumer(&world).run_until(stop, handler).await.unwrap()
}

/// Every message that was pulled is in the report once, and what it calls confirmed was confirmed.
async fn a_report_accounts_for_every_message() {
    let world = World::new(true, MESSAGES);
    let decided = Decided::default();
    let report = run(world.clone(), Arc::clone(&decided)).await;
    let stats = report.stats;
    let known = stats.acknowledged + stats.retried + stats.left + stats.expired + stats.dead_lettered;
    assert_eq!(stats.pulled, known + stats.accepted + stats.unconfirmed, "{stats:?}");
    assert_eq!(stats.unconfirmed, report.unconfirmed.len() as u64);
    let [acknowledged, retried] = world.confirmed();
    assert!(stats.acknowledged <= acknowledged && stats.retried <= retried, "{stats:?}");
    for (lease, decision) in decided.lock().unwrap().iter() {
        if decision.is_none() {
            assert_eq!(world.done(lease), None, "what is left is left");
        }
    }
    all_end().await;
}

/// Where nothing goes wrong, all that handlers decide is done when a run has ended.
async fn verdicts_are_carried_out_before_a_run_ends() {
    let world = World::new(false, MESSAGES);
    let decided = Decided::default();
    let report = run(world.clone(), Arc::clone(&decided)).await;
    assert_eq!(report.stats.unconfirmed, 0, "{:?}", report.stats);
    for (lease, decision) in decided.lock().unwrap().iter() {
        assert_eq!(world.done(lease), *decision, "{lease}");
    }
    all_end().await;
}

/// A run that is dropped leaves no task behind, and what handlers decided is still sent.
async fn a_run_that_is_dropped_sends_what_was_decided() {
    let world = World::new(false, MESSAGES);
    let decided = Decided::default();
    let task = spawn({
        let (world, decided) = (world.clone(), Arc::clone(&decided));
        async move { drop(run(world, decided).await) }
    });
    for _ in 0..below(20) {
        wait().await;
    }
    // What handlers decide while they are dropped may be lost with them.
    let decided = decided.lock().unwrap().clone();
    task.abort();
    let _ = task.await;
    all_end().await;
    for (lease, decision) in decided {
        assert_eq!(world.done(&lease), decision, "{lease}");
    }
}

/// Decisions on the deliveries of a stream are carried out even if their futures are dropped. Deliveries that are
/// dropped unsettled are handed back or left.
async fn a_decision_on_a_delivery_is_carried_out() {
    let world = World::new(false, MESSAGES);
    let unsettled = if below(2) == 0 { Unsettled::Retry } else { Unsettled::Leave };
    let mut deliveries = world.consumer().unsettled(unsettled).stream().unwrap();
    let acker = deliveries.acker().clone();
    let mut decided = Vec::new();
    let enough = below(MESSAGES + 1) as usize;
    while decided.len() < enough {
        for delivery in deliveries.next_batch(2, Duration::from_millis(100)).await.unwrap().unwrap() {
            let lease = lease_of(delivery.message());
            let decision = match below(5) {
                0 => {
                    delivery.leave();
                    None
                }
                1 => {
                    drop(delivery);
                    (unsettled == Unsettled::Retry).then_some(false)
                }
                2 => {
                    drop(delivery.ack());
                    Some(true)
                }
                3 => {
                    spawn(delivery.retry());
                    Some(false)
                }
                _ => {
                    drop(delivery.ack().await.unwrap());
                    Some(true)
                }
            };
            decided.push((lease, decision));
        }
    }
    drop((deliveries, acker));
    all_end().await;
    for (lease, decision) in decided {
        assert_eq!(world.done(&lease), decision, "{lease}");
    }
}

/// The runtime stops under a run and under a stream: nothing panics, and nobody waits for ever.
async fn a_runtime_that_stops_takes_the_consumer_with_it() {
    let world = World::new(true, MESSAGES);
    let _run = spawn({
        let (world, decided) = (world.clone(), Decided::default());
        async move { drop(run(world, decided).await) }
    });
    let _stream = spawn({
        let world = world.clone();
        async move {
            let mut deliveries = world.consumer().stream().unwrap();
            while let Some(Ok(batch)) = deliveries.next_batch(1, Duration::ZERO).await {
                for delivery in batch {
                    let _ = delivery.ack().await;
                }
            }
        }
    });
    for _ in 0..below(20) {
        wait().await;
    }
    runtime::stop();
    all_end().await;
}

mod tests {
    crate::schedules! {
        a_report_accounts_for_every_message: false
        verdicts_are_carried_out_before_a_run_ends: true
        a_run_that_is_dropped_sends_what_was_decided: true
        a_decision_on_a_delivery_is_carried_out: true
        a_runtime_that_stops_takes_the_consumer_with_it: false
    }
}
