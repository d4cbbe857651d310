//! Flushing, closing, dropping, and a runtime that stops.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};

use super::*;
use crate::ErrorKind;

fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_all_earlier_leases() {
    let fixture = Fixture::with(152).await.takes(2 * SECOND);
    let acker = fixture.acker();
    acker.flush().await;
    let mut receipts = Vec::new();
    for message in &fixture.messages[..150] {
        receipts.push(acker.ack(message).await.unwrap());
    }
    acker.flush().await;
    for mut receipt in receipts {
        assert!(receipt.0.try_recv().is_ok());
    }
    acker.ack(&fixture.messages[150]).await.unwrap();
    let mut close = pin!(acker.close());
    assert!(timeout(SECOND, close.as_mut()).await.is_err());
    // From then on, also while it waits.
    let refused =
        [acker.ack(&fixture.messages[151]).await, acker.settle(Settlement::ack("late"), Box::new(|_| ()), false).await];
    close.await;
    assert_eq!(fixture.requests(), [100, 50, 1]);
    assert!(refused.into_iter().all(|refused| refused.unwrap_err().kind() == ErrorKind::InvalidInput));
    let (refusal, seen) = tokio::sync::oneshot::channel();
    acker.submit_detached(
        Settlement::retry("late"),
        Some(Box::new(|outcome| drop(refusal.send(outcome.clone())))),
        false,
    );
    assert_eq!(seen.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_later_leases() {
    let fixture = Fixture::with(2).await.takes(10 * SECOND);
    let acker = fixture.acker();
    acker.ack(&fixture.messages[0]).await.unwrap();
    let start = Instant::now();
    let mut flush = pin!(acker.flush());
    assert!(timeout(5 * SECOND, flush.as_mut()).await.is_err());
    let later = acker.ack(&fixture.messages[1]).await.unwrap();
    flush.await;
    assert_eq!(start.elapsed(), 10 * SECOND);
    later.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_hurry_later_leases() {
    let fixture = Fixture::with(2).await.takes(10 * SECOND);
    let acker = fixture.acker_with(AckerOptions::new().linger(20 * SECOND));
    acker.ack(&fixture.messages[0]).await.unwrap();
    let mut flush = pin!(acker.flush());
    assert!(timeout(5 * SECOND, flush.as_mut()).await.is_err());
    let start = Instant::now();
    let later = acker.ack(&fixture.messages[1]).await.unwrap();
    flush.await;
    later.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30, "it lingered");
}

#[tokio::test(start_paused = true)]
async fn flushes_that_were_given_up_are_not_kept_and_still_hurry() {
    let fixture = Fixture::with(1).await.takes(10 * SECOND);
    let acker = fixture.acker_with(AckerOptions::new().linger(20 * SECOND));
    let (receipt, start) = (acker.ack(&fixture.messages[0]).await.unwrap(), Instant::now());
    for _ in 0..10 {
        assert!(timeout(SECOND / 10, acker.flush()).await.is_err());
    }
    assert!(acker.0.ledger.flushes() <= 1);
    receipt.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// Submits 100 leases detached and flushes or closes at once: all have to be sent by then.
async fn drop_and_stop(closes: bool) {
    let fixture = Fixture::with(100).await;
    let acker = fixture.acker();
    for message in &fixture.messages {
        acker.submit_detached(Settlement::retry_in(message, Duration::ZERO), None, false);
    }
    if closes {
        acker.close().await
    } else {
        acker.flush().await
    }
    assert_eq!((fixture.requests(), fixture.leased()), (vec![100], 0));
}

#[test]
fn flush_and_close_include_dropped_deliveries() {
    for closes in [false, true] {
        paused().block_on(drop_and_stop(closes));
        let threads = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        (0..20).for_each(|_| threads.block_on(drop_and_stop(closes)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_until_all_late_messages_are_handed_back() {
    let fixture = Fixture::with(3).await.takes(10 * SECOND);
    let acker = fixture.acker();
    acker.ack(&fixture.messages[0]).await.unwrap();
    // They end while the first lease is in flight.
    let mut pulls = JoinSet::new();
    pulls.spawn(async { panic!("a pull") });
    for (message, wait) in fixture.messages[1..].iter().cloned().zip([SECOND, 2 * SECOND]) {
        pulls.spawn(async move {
            sleep(wait).await;
            message
        });
    }
    acker.hand_back(pulls, |acker, message: Message| {
        acker.submit_detached(Settlement::retry_in(message, Duration::ZERO), None, true);
    });
    acker.flush().await;
    assert_eq!((fixture.left(), fixture.leased()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_dropped_while_acks_hang_are_bounded() {
    let log = Log::new();
    crate::test_log::keep_on();
    let _logging = tracing::subscriber::set_default(log.clone());
    let fixture = Fixture::with(0).await.takes(Duration::from_secs(25));
    fixture.responds(|_| Some(counted(0, Value::Null)));
    let acker = fixture.acker_with(AckerOptions::new().max_in_flight(2));
    // The first ones are in flight, and hang.
    for number in 0..200 {
        acker.submit_detached(Settlement::retry(unknown(number)), None, false);
    }
    sleep(SECOND).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    (200..50_000).for_each(|number| acker.submit_detached(Settlement::retry(unknown(number)), None, false));
    assert_eq!(acker.0.ledger.claimed_leases().len(), 10_200);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    assert_eq!(log.lines("left to expire").len(), 16, "{:?}", log.lines("left to expire").last());
    // They do not keep out what is handed back late, or a caller that waits.
    acker.submit_detached(Settlement::retry(unknown(50_000)), None, true);
    assert_eq!(acker.0.ledger.claimed_leases().len(), 10_201);
    assert!(timeout(SECOND, acker.ack(unknown(60_000))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_sends_waiting_leases() {
    let fixture = Fixture::with(1).await;
    let start = Instant::now();
    let acker = fixture.acker_with(AckerOptions::new().linger(Duration::MAX));
    let receipt = acker.ack(&fixture.messages[0]).await.unwrap();
    drop(acker);
    assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    assert!(start.elapsed() < SECOND);
}

#[test]
fn a_stopped_runtime_reports_what_may_have_arrived() {
    let runtime = paused();
    let (fixture, acker, sent, waiting) = runtime.block_on(async {
        let fixture = Fixture::with(150).await.takes(10 * SECOND);
        let acker = fixture.acker_with(AckerOptions::new().linger(60 * SECOND));
        let mut receipts = Vec::new();
        for message in &fixture.messages {
            receipts.push(acker.ack(message).await.unwrap());
        }
        while fixture.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let waiting = receipts.split_off(100);
        (fixture, acker, receipts, waiting)
    });
    drop(runtime);
    let other = Builder::new_current_thread().build().unwrap();
    for (receipts, may_have_arrived) in [(sent, true), (waiting, false)] {
        for receipt in receipts {
            let error = other.block_on(receipt).unwrap_err();
            assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::Transport, may_have_arrived));
        }
    }
    assert_eq!(other.block_on(acker.ack(&fixture.messages[0])).unwrap_err().kind(), ErrorKind::Transport);
    other.block_on(acker.close());
}

#[test]
fn an_observer_learns_that_its_request_was_dropped_with_the_runtime() {
    let runtime = paused();
    let (tell, told) = std::sync::mpsc::channel();
    let _fixture = runtime.block_on(async {
        let fixture = Fixture::with(1).await.takes(10 * SECOND);
        let observe = move |outcome: &Result<_, Error>| tell.send(outcome.clone().unwrap_err()).unwrap();
        fixture.acker().settle(Settlement::ack(&fixture.messages[0]), Box::new(observe), false).await.unwrap();
        while fixture.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        fixture
    });
    assert!(told.try_recv().is_err());
    drop(runtime);
    assert!(told.try_recv().unwrap().may_have_arrived());
    assert!(told.try_recv().is_err(), "once");
}

#[test]
fn a_settlement_after_its_runtime_stopped_has_an_outcome() {
    let runtime = paused();
    let (fixture, acker) = runtime.block_on(async {
        let fixture = Fixture::with(1).await;
        let acker = fixture.acker();
        (fixture, acker)
    });
    drop(runtime);
    let (tell, told) = std::sync::mpsc::channel();
    let settled = acker.settle(
        Settlement::ack(&fixture.messages[0]),
        Box::new(move |outcome| tell.send(outcome.is_err()).unwrap()),
        false,
    );
    let other = Builder::new_current_thread().build().unwrap();
    assert_eq!(other.block_on(settled).unwrap_err().kind(), ErrorKind::Transport);
    assert_eq!(told.try_recv(), Ok(true));
}

#[test]
fn a_missing_runtime_or_timer_is_an_error() {
    let fixture = paused().block_on(Fixture::with(0));
    assert_eq!(Acker::new(fixture.queue.clone()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let without_timers = Builder::new_current_thread().build().unwrap();
    let made = without_timers.block_on(async { Acker::new(fixture.queue.clone()) });
    assert_eq!(made.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// An acker whose buffer is full for ten seconds, and how many leases it took.
async fn full(fixture: &Fixture) -> (Acker, usize) {
    let acker = fixture.acker_with(AckerOptions::new().max_in_flight(1).buffer(10));
    let mut taken = 0;
    while timeout(SECOND, acker.ack(&fixture.messages[taken])).await.is_ok() {
        taken += 1;
    }
    (acker, taken)
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_callers_wait() {
    let fixture = Fixture::with(30).await.takes(10 * SECOND);
    let (acker, taken) = full(&fixture).await;
    // One request is in flight, and the buffer is full.
    assert_eq!(taken, 20);
    sleep(20 * SECOND).await;
    acker.ack(&fixture.messages[taken]).await.unwrap();
    acker.close().await;
    assert_eq!((fixture.left(), fixture.leased()), (9, 9));
}

#[tokio::test(start_paused = true)]
async fn giving_up_on_a_settlement_for_good_still_sends_it() {
    let fixture = Fixture::with(30).await.takes(10 * SECOND);
    let (acker, taken) = full(&fixture).await;
    let confirmed = Arc::new(AtomicUsize::new(0));
    let settle = |message: usize| {
        let confirmed = Arc::clone(&confirmed);
        let observe = move |outcome: &Result<_, _>| {
            confirmed.fetch_add(usize::from(matches!(outcome, Ok(Confirmation::Confirmed))), Ordering::Relaxed);
        };
        acker.settle(Settlement::ack(&fixture.messages[message]), Box::new(observe), false)
    };
    assert!(timeout(Duration::from_millis(5), settle(taken)).await.is_err());
    // One that was never polled, and one that is waited for.
    drop(settle(taken + 1));
    let receipt = settle(taken + 2).await.unwrap();
    acker.close().await;
    assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    assert_eq!((fixture.left(), fixture.leased()), (7, 7), "nothing is back in the queue");
    assert_eq!(confirmed.load(Ordering::Relaxed), 3, "observers also see outcomes that nobody waits for");
}

#[test]
fn an_acker_and_its_futures_can_go_between_threads() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Send + Sync>() {}
    sync::<Acker>();
    sync::<Receipt>();
    let _check = |acker: &Acker| {
        fn future(acker: &Acker) -> impl Future {
            acker.ack("lease")
        }
        send(&acker.close());
        drop(future(acker));
    };
}
