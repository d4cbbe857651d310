use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use loom::thread;
use tokio::sync::oneshot;

use super::{
    budget::Budget,
    error::Error,
    ledger::{Ledger, Pending, Work},
    message::{
        confirmation::Confirmation,
        settlement::{Lease, Settlement},
    },
    receipt::stopped,
};

type Reply = oneshot::Receiver<Result<Confirmation, Error>>;

const NEVER: Duration = Duration::from_secs(3600);

fn add(ledger: &Ledger, lease: u8, linger: Duration) -> Result<Reply, Error> {
    // A permit, as the acker takes one first.
    let permit = ledger.room.try_acquire().map_err(|_| Error("full or stopped".to_owned()))?;
    let (reply, receipt) = oneshot::channel();
    ledger.add(Pending::new(Settlement { lease: Lease(lease) }, linger, None, Some(reply)), false)?;
    permit.forget();
    Ok(receipt)
}

/// Sends what is due, as the worker does. Returns whether anything was.
fn send(ledger: &Ledger) -> bool {
    let mut has_sent = false;
    while let Work::Send(_, group) = ledger.take(true) {
        has_sent = true;
        ledger.release(group.iter());
        group.into_iter().for_each(|pending| pending.reply(Ok(Confirmation)));
    }
    ledger.tell_flushed(None);
    has_sent
}

/// Whether the worker is told that there may be something to do.
fn is_told(ledger: &Ledger) -> bool {
    pin!(ledger.changed.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_lease_submitted_twice_is_refused_once() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::new(8));
        let other = Arc::clone(&ledger);
        let other = thread::spawn(move || add(&other, 1, NEVER));
        let mine = add(&ledger, 1, NEVER);
        let theirs = other.join().unwrap();
        assert_eq!(usize::from(mine.is_ok()) + usize::from(theirs.is_ok()), 1);
        assert_eq!(ledger.room.available_permits(), 7, "the one that is refused gives its permit back");
    });
}

#[test]
fn the_worker_is_told_of_all_that_is_due() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::new(8));
        let submit = |lease, linger| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || drop(add(&ledger, lease, linger)))
        };
        let others = [submit(1, NEVER), submit(2, Duration::ZERO)];
        // As the worker: what is not due, it waits for.
        let is_told_now = !send(&ledger) && is_told(&ledger);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(is_told_now || !ledger.is_due() || is_told(&ledger), "a lease waits for ever");
    });
}

#[test]
fn a_flush_ends_only_after_what_came_before_it() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::new(8));
        let flusher = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let mut receipt = add(&ledger, 1, NEVER).unwrap();
                let mut flushed = ledger.flush();
                (flushed.try_recv().is_ok()).then(|| receipt.try_recv().unwrap().unwrap());
                (receipt, flushed)
            })
        };
        let other = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || drop(add(&ledger, 2, NEVER)))
        };
        send(&ledger);
        let (mut receipt, mut flushed) = flusher.join().unwrap();
        other.join().unwrap();
        send(&ledger);
        assert_eq!(receipt.try_recv().unwrap(), Ok(Confirmation));
        flushed.try_recv().expect("the flush ends");
    });
}

#[test]
fn a_worker_that_is_gone_leaves_no_lease_without_an_outcome() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::new(8));
        let submitter = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || (add(&ledger, 1, Duration::ZERO), ledger.flush()))
        };
        send(&ledger);
        ledger.stop();
        let (receipt, mut flushed) = submitter.join().unwrap();
        if let Ok(mut receipt) = receipt {
            let outcome = receipt.try_recv().expect("there is an outcome");
            assert!(outcome == Ok(Confirmation) || outcome == Err(stopped()));
        }
        assert_ne!(
            flushed.try_recv(),
            Err(oneshot::error::TryRecvError::Empty),
            "nobody waits for a worker that is gone"
        );
    });
}

#[test]
fn a_permit_is_free_for_each_lease_that_does_not_wait() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::new(2));
        let others = [1, 2].map(|lease| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let _ = add(&ledger, lease, Duration::ZERO);
                let detached = Pending::new(Settlement { lease: Lease(lease + 10) }, Duration::ZERO, None, None);
                ledger.add(detached, false).unwrap();
            })
        });
        send(&ledger);
        others.into_iter().for_each(|other| other.join().unwrap());
        send(&ledger);
        assert_eq!(ledger.room.available_permits(), 2);
    });
}

#[test]
fn no_more_retries_are_withdrawn_than_there_are() {
    loom::model(|| {
        let budget = Arc::new(Budget::new(1));
        let others = [(), ()].map(|()| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                budget.deposit();
                budget.withdraw()
            })
        });
        let mine = budget.withdraw();
        let withdrawn = others.into_iter().map(|other| other.join().unwrap());
        assert_eq!(withdrawn.chain([mine]).filter(|is_withdrawn| *is_withdrawn).count(), 1);
    });
}
