use std::sync::{Arc, Mutex};

use queues_by_shuttle::{Acker, ErrorKind, acker::Receipt};
use shuttle::future::yield_now;
use tokio::spawn;

use crate::world::{World, all_end, below, lease_id, poll_once, ready, stop_under, wait};

type Receipts = Arc<Mutex<Vec<(u32, Receipt)>>>;

async fn submit(world: &World, acker: &Acker, number: u32) -> Result<Receipt, queues_by_shuttle::Error> {
    match below(3) {
        0 => acker.retry(world.lease(number)).await,
        _ => acker.ack(world.lease(number)).await,
    }
}

/// Several handles submit, and each lease gets the outcome that is true.
async fn every_lease_has_exactly_one_outcome() {
    let world = World::new(true, 0);
    let acker = world.acker();
    let handles: Vec<_> = (0..3)
        .map(|handle| {
            let (world, acker) = (world.clone(), acker.clone());
            spawn(async move {
                for number in [2 * handle, 2 * handle + 1] {
                    let receipt = submit(&world, &acker, number).await.unwrap();
                    wait().await;
                    if below(2) == 0 {
                        acker.flush().await;
                    }
                    world.judge(&lease_id(number, 0), &receipt.await);
                }
            })
        })
        .collect();
    drop(acker);
    for handle in handles {
        handle.await.unwrap();
    }
    all_end().await;
}

/// What was submitted before `close` or `flush` has its outcome after it; and what comes after `close` is refused.
async fn close_and_flush_wait_for_what_came_before() {
    let world = World::new(true, 0);
    let (acker, receipts) = (world.acker(), Receipts::default());
    for handle in 0..2 {
        let (world, acker, receipts) = (world.clone(), acker.clone(), Arc::clone(&receipts));
        spawn(async move {
            for number in 3 * handle..3 * handle + 3 {
                match submit(&world, &acker, number).await {
                    Ok(receipt) => receipts.lock().unwrap().push((number, receipt)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                }
                wait().await;
            }
        });
    }
    for is_last in [false, true] {
        wait().await;
        let before = receipts.lock().unwrap().len();
        if is_last {
            acker.close().await;
            let refused = acker.ack(world.lease(100)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        } else {
            acker.flush().await;
        }
        for (number, receipt) in receipts.lock().unwrap().drain(..before) {
            let mut receipt = receipt;
            let outcome = ready(&mut receipt).expect("the outcome is there");
            world.judge(&lease_id(number, 0), &outcome);
        }
    }
    drop(acker);
    all_end().await;
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        world.judge(&lease_id(number, 0), &ready(&mut receipt).expect("it has an outcome in the end"));
    }
}

/// All handles are dropped, and what waits is still sent.
async fn waiting_leases_are_sent_after_the_last_handle() {
    let world = World::new(false, 0);
    let mut receipts = Vec::new();
    let acker = world.acker();
    for number in 0..4 {
        receipts.push(acker.clone().ack(world.lease(number)).await.unwrap());
        if below(2) == 0 {
            yield_now().await;
        }
    }
    drop(acker);
    all_end().await;
    for (number, mut receipt) in receipts.into_iter().enumerate() {
        world.judge(&lease_id(number as u32, 0), &ready(&mut receipt).unwrap());
        assert_eq!(world.done(&lease_id(number as u32, 0)), Some(true));
    }
}

/// A submission that is dropped before it is done leaves the lease alone, wherever that is.
async fn a_cancelled_submission_leaves_the_lease() {
    let world = World::new(true, 0);
    let (acker, receipts) = (world.acker(), Receipts::default());
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let (world, acker, receipts) = (world.clone(), acker.clone(), Arc::clone(&receipts));
            spawn(async move {
                let receipt = submit(&world, &acker, number).await.unwrap();
                receipts.lock().unwrap().push((number, receipt));
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        if below(2) == 0 {
            wait().await;
        }
        task.abort();
        let is_aborted = task.await.is_err();
        let is_submitted = receipts.lock().unwrap().iter().any(|(submitted, _)| *submitted == number as u32);
        assert_ne!(is_aborted, is_submitted);
        if is_aborted {
            assert_eq!(world.done(&lease_id(number as u32, 0)), None);
            let receipt = submit(&world, &acker, number as u32).await.expect("it can be submitted again");
            receipts.lock().unwrap().push((number as u32, receipt));
        }
    }
    // One that is polled once has no claim on the lease either, unless it was done.
    if let Some(submitted) = poll_once(acker.ack(world.lease(50))).await {
        receipts.lock().unwrap().push((50, submitted.unwrap()));
    } else {
        let receipt = acker.ack(world.lease(50)).await.expect("it can be submitted again");
        receipts.lock().unwrap().push((50, receipt));
    }
    acker.close().await;
    drop(acker);
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        world.judge(&lease_id(number, 0), &ready(&mut receipt).expect("its outcome is known"));
    }
    all_end().await;
}

/// The runtime stops: every receipt reports it, nobody waits forever, and no more leases are accepted.
async fn a_runtime_that_stops_leaves_nobody_waiting() {
    let world = World::new(true, 0);
    let (acker, receipts) = (world.acker(), Receipts::default());
    // In another runtime, which does not stop.
    let handles: Vec<_> = (0..2)
        .map(|handle| {
            let (world, acker, receipts) = (world.clone(), acker.clone(), Arc::clone(&receipts));
            shuttle::future::spawn(async move {
                for number in 2 * handle..2 * handle + 2 {
                    if let Ok(receipt) = submit(&world, &acker, number).await {
                        receipts.lock().unwrap().push((number, receipt));
                    }
                }
                match below(3) {
                    0 => acker.flush().await,
                    1 => acker.close().await,
                    _ => {}
                }
            })
        })
        .collect();
    stop_under(handles).await;
    acker.flush().await;
    acker.ack(world.lease(100)).await.expect_err("nothing is taken any more");
    for (number, mut receipt) in receipts.lock().unwrap().drain(..) {
        world.judge(&lease_id(number, 0), &ready(&mut receipt).expect("there is an outcome"));
    }
}

/// Of two who submit a lease at the same time, one is refused; after the outcome, it can be submitted again.
async fn a_lease_is_submitted_once_at_a_time() {
    let world = World::new(true, 0);
    let acker = world.acker();
    let submitted = Arc::new(Mutex::new(0));
    let handles: Vec<_> = (0..2)
        .map(|_| {
            let (world, acker, submitted) = (world.clone(), acker.clone(), Arc::clone(&submitted));
            spawn(async move {
                match acker.ack(world.lease(7)).await {
                    Ok(receipt) => {
                        *submitted.lock().unwrap() += 1;
                        // The other one may have been before.
                        if let Ok(outcome) = receipt.await {
                            world.judge(&lease_id(7, 0), &Ok(outcome));
                        }
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                }
            })
        })
        .collect();
    for handle in handles {
        handle.await.unwrap();
    }
    assert!(*submitted.lock().unwrap() > 0);
    let again = acker.ack(world.lease(7)).await.expect("its outcome is known");
    let _ = again.await;
    drop(acker);
    all_end().await;
}

mod tests {
    crate::schedules! {
        every_lease_has_exactly_one_outcome: false
        close_and_flush_wait_for_what_came_before: false
        waiting_leases_are_sent_after_the_last_handle: true
        a_cancelled_submission_leaves_the_lease: false
        a_runtime_that_stops_leaves_nobody_waiting: false
        a_lease_is_submitted_once_at_a_time: false
    }
}
