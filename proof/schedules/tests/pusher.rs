use std::sync::{Arc, Mutex};

use queues_by_shuttle::{
    ErrorKind, PushMessage, Pusher,
    pusher::{PushError, PusherOptions, Receipt},
};
use tokio::{spawn, time::Duration};

use crate::world::{World, all_end, below, poll_once, ready, stop_under, wait};

type Receipts = Arc<Mutex<Vec<(u32, Receipt)>>>;

/// One that is full soon, or holds a message or two.
fn pusher(world: &World) -> Pusher {
    let linger = [Duration::ZERO, Duration::from_millis(50), Duration::MAX][below(3) as usize];
    let give_up_after = if below(2) == 0 { Duration::ZERO } else { Duration::from_secs(120) };
    let options = PusherOptions::new().linger(linger).give_up_after(give_up_after);
    Pusher::with_options(world.queue(), options.max_bytes([0, 1100, 1 << 20][below(3) as usize])).unwrap()
}

fn message(number: u32) -> PushMessage {
    PushMessage::text(number.to_string())
}

/// An outcome is the truth. The service checks that nothing is pushed twice.
fn judge(world: &World, number: u32, outcome: &Result<(), PushError>) {
    let is_pushed = world.is_pushed(&number.to_string());
    match outcome {
        Ok(()) => assert!(is_pushed, "{number} is not pushed"),
        Err(failed) if failed.error.may_have_arrived() => assert_eq!(failed.message, None),
        Err(failed) => {
            assert!(!is_pushed, "{number} is pushed, and the error denies it: {failed}");
            assert_eq!(failed.message, Some(message(number)));
        }
    }
}

/// Several handles push, and each message gets the outcome that is true.
async fn every_message_has_exactly_one_outcome() {
    let world = World::new(true, 0);
    let pusher = pusher(&world);
    let handles: Vec<_> = (0..3)
        .map(|handle| {
            let (world, pusher) = (world.clone(), pusher.clone());
            spawn(async move {
                for number in [2 * handle, 2 * handle + 1] {
                    let receipt = pusher.push(message(number)).await.unwrap();
                    wait().await;
                    // Without it, a message may linger for ever.
                    pusher.flush().await;
                    judge(&world, number, &receipt.await);
                }
            })
        })
        .collect();
    drop(pusher);
    for handle in handles {
        handle.await.unwrap();
    }
    all_end().await;
}

/// What was submitted before `close` or `flush` has its outcome after it; and what comes after `close` is refused.
async fn close_and_flush_wait_for_what_came_before() {
    let world = World::new(true, 0);
    let (pusher, receipts) = (pusher(&world), Receipts::default());
    for handle in 0..2 {
        let (world, pusher, receipts) = (world.clone(), pusher.clone(), Arc::clone(&receipts));
        spawn(async move {
            for number in 3 * handle..3 * handle + 3 {
                match pusher.push(message(number)).await {
                    Ok(receipt) => receipts.lock().unwrap().push((number, receipt)),
                    refused => judge(&world, number, &refused.map(drop)),
                }
                wait().await;
            }
        });
    }
    for is_last in [false, true] {
        wait().await;
        let before = receipts.lock().unwrap().len();
        if is_last {
            pusher.close().await;
            let refused = pusher.push(message(100)).await.unwrap_err();
            assert_eq!(refused.error.kind(), ErrorKind::InvalidInput);
        } else {
            pusher.flush().await;
        }
        for (number, mut receipt) in receipts.lock().unwrap().drain(..before) {
            judge(&world, number, &ready(&mut receipt).expect("the outcome is there"));
        }
    }
    drop(pusher);
    all_end().await;
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        judge(&world, number, &ready(&mut receipt).expect("it has an outcome in the end"));
    }
}

/// All handles are dropped, and what waits is still sent.
async fn waiting_messages_are_sent_after_the_last_handle() {
    let world = World::new(false, 0);
    let (pusher, receipts) = (pusher(&world), Receipts::default());
    for number in 0..4 {
        let (pusher, receipts) = (pusher.clone(), Arc::clone(&receipts));
        spawn(async move {
            let receipt = pusher.push(message(number)).await.unwrap();
            receipts.lock().unwrap().push((number, receipt));
        });
    }
    drop(pusher);
    all_end().await;
    let receipts = std::mem::take(&mut *receipts.lock().unwrap());
    assert_eq!(receipts.len(), 4);
    for (number, mut receipt) in receipts {
        assert!(ready(&mut receipt).unwrap().is_ok() && world.is_pushed(&number.to_string()));
    }
}

/// A push that is dropped before it is done sends nothing, wherever that is, and holds no room.
async fn a_cancelled_push_sends_nothing() {
    let world = World::new(true, 0);
    let (pusher, receipts) = (pusher(&world), Receipts::default());
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let (pusher, receipts) = (pusher.clone(), Arc::clone(&receipts));
            spawn(async move {
                let receipt = pusher.push(message(number)).await.unwrap();
                receipts.lock().unwrap().push((number, receipt));
            })
        })
        .collect();
    for task in tasks {
        if below(2) == 0 {
            wait().await;
        }
        task.abort();
        let _ = task.await;
    }
    if let Some(submitted) = poll_once(pusher.push(message(50))).await {
        receipts.lock().unwrap().push((50, submitted.unwrap()));
    }
    let last = pusher.push(message(51)).await.expect("there is room again");
    receipts.lock().unwrap().push((51, last));
    pusher.close().await;
    drop(pusher);
    let mut submitted = Vec::new();
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        judge(&world, number, &ready(&mut receipt).expect("its outcome is known"));
        submitted.push(number);
    }
    assert!((0..51).all(|number| submitted.contains(&number) || !world.is_pushed(&number.to_string())));
    all_end().await;
}

/// An iterator's messages are all accounted for, each where it is.
async fn an_iterator_is_accounted_for() {
    let world = World::new(true, 0);
    let pusher = pusher(&world);
    let other = spawn({
        let (world, pusher) = (world.clone(), pusher.clone());
        async move {
            match pusher.push(message(100)).await.unwrap() {
                receipt if below(2) == 0 => drop(receipt),
                receipt => {
                    pusher.flush().await;
                    judge(&world, 100, &receipt.await);
                }
            }
        }
    });
    let mut left = (0..5).map(message);
    match pusher.push_all(&mut left).await {
        Ok(pushed) => assert!(pushed == 5 && (0..5).all(|number: u32| world.is_pushed(&number.to_string()))),
        Err(failed) => {
            let taken = 5 - left.count();
            assert_eq!(failed.pushed + failed.may_have_arrived.len() + failed.not_sent.len(), taken);
            let is_unsent = |number: &u32| failed.not_sent.contains(&message(*number));
            assert!((0..5).filter(is_unsent).all(|number| !world.is_pushed(&number.to_string())));
            let is_known = |number: &u32| !is_unsent(number) && !failed.may_have_arrived.contains(&message(*number));
            let known = (0..taken as u32).filter(is_known);
            assert!(known.clone().all(|number| world.is_pushed(&number.to_string())));
            assert_eq!(known.count(), failed.pushed);
        }
    }
    other.await.unwrap();
    drop(pusher);
    all_end().await;
}

/// The runtime stops: every receipt reports it, nobody waits forever, and no more messages are accepted.
async fn a_runtime_that_stops_leaves_nobody_waiting() {
    let world = World::new(true, 0);
    let (pusher, receipts) = (pusher(&world), Receipts::default());
    // In another runtime, which does not stop.
    let handles: Vec<_> = (0..2)
        .map(|handle| {
            let (world, pusher, receipts) = (world.clone(), pusher.clone(), Arc::clone(&receipts));
            shuttle::future::spawn(async move {
                for number in 2 * handle..2 * handle + 2 {
                    match pusher.push(message(number)).await {
                        Ok(receipt) => receipts.lock().unwrap().push((number, receipt)),
                        refused => judge(&world, number, &refused.map(drop)),
                    }
                }
                match below(3) {
                    0 => pusher.flush().await,
                    1 => pusher.close().await,
                    _ => {}
                }
            })
        })
        .collect();
    stop_under(handles).await;
    pusher.flush().await;
    pusher.push(message(100)).await.expect_err("nothing is taken any more");
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        judge(&world, number, &ready(&mut receipt).expect("there is an outcome"));
    }
}

mod tests {
    crate::schedules! {
        every_message_has_exactly_one_outcome: false
        close_and_flush_wait_for_what_came_before: false
        waiting_messages_are_sent_after_the_last_handle: true
        a_cancelled_push_sends_nothing: false
        an_iterator_is_accounted_for: false
        a_runtime_that_stops_leaves_nobody_waiting: false
    }
}
