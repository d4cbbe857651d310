//! On a clock that stands still until nothing else can be done, with a service that is a function.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{self, Instant as Clock, sleep};

use super::*;
use crate::{
    ack::{AckOutcome, AckRequest, Entry, Warnings},
    redact::Redactor,
};

type Answer = dyn Fn(&AckRequest) -> Result<AckOutcome, Error> + Send + Sync;

#[derive(Clone)]
struct Service {
    answer: Arc<Answer>,
    takes: Duration,
    requests: Arc<Mutex<Vec<Vec<Entry>>>>,
}

impl Service {
    fn new(answer: impl Fn(&AckRequest) -> Result<AckOutcome, Error> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), takes: Duration::ZERO, requests: Arc::default() }
    }

    /// How many leases each request held.
    fn requests(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(Vec::len).collect()
    }
}

impl worker::Sink for Service {
    async fn ack(&self, request: AckRequest) -> Result<AckOutcome, Error> {
        self.requests.lock().unwrap().push(request.entries.clone());
        sleep(self.takes).await;
        (self.answer)(&request)
    }
}

fn counted(request: &AckRequest, acks: u64, warnings: serde_json::Value) -> Result<AckOutcome, Error> {
    let retries = request.entries.iter().filter(|entry| entry.decision != Decision::Ack).count() as u64;
    let mut outcome = AckOutcome::new();
    let warnings = Warnings::from(warnings).into_list(&request.entries, || Redactor::new(std::iter::empty()));
    outcome.add(&request.entries, Some(acks), Some(retries), warnings);
    Ok(outcome)
}

fn confirm(request: &AckRequest) -> Result<AckOutcome, Error> {
    let acks = request.entries.iter().filter(|entry| entry.decision == Decision::Ack).count() as u64;
    counted(request, acks, serde_json::Value::Null)
}

fn acker(service: &Service) -> Acker {
    Acker::over(service.clone(), AckerOptions::default()).unwrap()
}

fn lease(number: usize) -> LeaseId {
    LeaseId::from(format!("lease-{number}"))
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_acks_at_once_make_a_hundred_requests() {
    let service = Service { takes: Duration::from_secs(2), ..Service::new(confirm) };
    let acker = acker(&service);
    let tasks: Vec<_> = (0..10_000)
        .map(|number| {
            let acker = acker.clone();
            tokio::spawn(async move { acker.ack(lease(number)).await.unwrap().await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Confirmation::Confirmed);
    }
    assert_eq!(service.requests(), [100; 100]);
}

#[tokio::test(start_paused = true)]
async fn a_lone_lease_lingers_and_one_that_is_about_to_end_does_not() {
    let service = Service::new(confirm);
    let acker = acker(&service);
    let start = Clock::now();
    acker.ack(lease(1)).await.unwrap().await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 50);
    let ending = Lease::new(lease(2), (Clock::now() + Duration::from_secs(3)).into());
    let start = Clock::now();
    acker.ack(ending).await.unwrap().await.unwrap();
    assert!(start.elapsed().as_millis() <= 1, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_bad_lease_does_not_block_the_others() {
    let bad = lease(37);
    let poison = bad.clone();
    let service = Service::new(move |request| match request.lease_ids().any(|lease_id| *lease_id == poison) {
        true => Err(Error::new(ErrorKind::Rejected, "no").with_answer(400, None, None)),
        false => confirm(request),
    });
    let acker = acker(&service);
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(acker.ack(lease(number)).await.unwrap());
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        match receipt.await {
            Ok(confirmation) => assert!(number != 37 && confirmation == Confirmation::Confirmed),
            Err(error) => assert_eq!((number, error.kind()), (37, ErrorKind::Rejected)),
        }
    }
    assert!(service.requests().len() <= 15, "halves, not one by one: {:?}", service.requests());
}

#[tokio::test(start_paused = true)]
async fn a_slow_ack_never_outlives_its_lease() {
    let fail = |_: &AckRequest| Err(Error::new(ErrorKind::ServiceFailure, "no").with_answer(503, None, None));
    let service = Service::new(fail);
    let acker = acker(&service);
    let start = Clock::now();
    let short = acker.ack(Lease::new(lease(1), (start + Duration::from_secs(5)).into())).await.unwrap();
    let long = acker.ack(Lease::new(lease(2), (start + Duration::from_secs(9)).into())).await.unwrap();
    let unknown = acker.ack(lease(3)).await.unwrap();
    assert_eq!(unknown.await.unwrap_err().status(), Some(503));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(short.await.unwrap_err().status(), Some(503));
    assert!((4..5).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(long.await.unwrap_err().status(), Some(503));
    assert!((8..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_fails_at_first_is_confirmed_within_its_lease() {
    let calls = AtomicUsize::new(0);
    let service = Service::new(move |request| match calls.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err(Error::new(ErrorKind::Transport, "no").with_source(std::fmt::Error, true)),
        _ => confirm(request),
    });
    let acker = acker(&service);
    let lease = Lease::new(lease(1), (Clock::now() + Duration::from_secs(60)).into());
    assert_eq!(acker.ack(lease).await.unwrap().await.unwrap(), Confirmation::Confirmed);
    assert_eq!(service.requests(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_did_not_confirm_is_not_called_confirmed() {
    // The service counts one of three acks; it warns of the second, and leaves open which of the others it took.
    let service = Service::new(|request| counted(request, 1, serde_json::json!({ "lease-1": "expired" })));
    let acker = acker(&service);
    let mut receipts = Vec::new();
    for number in 0..3 {
        receipts.push(acker.ack(lease(number)).await.unwrap());
    }
    let retried = acker.retry_after(lease(3), Duration::from_secs(1)).await.unwrap();
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.push(receipt.await.unwrap());
    }
    let unclear = Confirmation::Warned("the service counted 1 of 3, and did not say which".to_owned());
    assert_eq!(outcomes, [unclear.clone(), Confirmation::Warned("expired".to_owned()), unclear]);
    assert_eq!(retried.await.unwrap(), Confirmation::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn the_first_word_on_a_lease_wins() {
    let service = Service::new(confirm);
    let acker = acker(&service);
    let first = acker.ack(lease(1)).await.unwrap();
    let second = acker.retry(lease(1)).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::InvalidInput);
    assert_eq!(first.await.unwrap(), Confirmation::Confirmed);
    assert!(acker.retry(lease(1)).await.is_ok(), "its outcome is known: a new word is another matter");
    for refused in [acker.ack(LeaseId::from("")).await, acker.retry_after(lease(2), Duration::MAX).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_all_that_came_before_and_closing_takes_no_more() {
    let service = Service { takes: Duration::from_secs(2), ..Service::new(confirm) };
    let acker = acker(&service);
    acker.flush().await;
    let mut receipts = Vec::new();
    for number in 0..150 {
        receipts.push(acker.ack(lease(number)).await.unwrap());
    }
    acker.flush().await;
    for mut receipt in receipts {
        assert!(receipt.0.try_recv().is_ok());
    }
    acker.ack(lease(500)).await.unwrap();
    acker.close().await;
    assert_eq!(service.requests(), [100, 50, 1]);
    assert_eq!(acker.ack(lease(501)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_still_sends_what_waits() {
    let service = Service::new(confirm);
    let receipt = acker(&service).ack(lease(1)).await.unwrap();
    assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
}

#[test]
fn a_runtime_that_stops_first_is_not_passed_over_in_silence() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = Service::new(confirm);
    let (acker, receipt) = runtime.block_on(async {
        let acker = acker(&service);
        let receipt = acker.ack(lease(1)).await.unwrap();
        (acker, receipt)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(other.block_on(receipt).unwrap_err().kind(), ErrorKind::Transport);
    assert_eq!(other.block_on(acker.ack(lease(2))).unwrap_err().kind(), ErrorKind::Transport);
    other.block_on(acker.close());
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_callers_wait_and_one_that_gives_up_leaves_its_lease_free() {
    let service = Service { takes: Duration::from_secs(10), ..Service::new(confirm) };
    let options = AckerOptions { max_in_flight: 1, buffer: 10, ..AckerOptions::default() };
    let acker = Acker::over(service.clone(), options).unwrap();
    let mut taken = 0;
    // One request is under way, the next one is gathered, and the buffer is full.
    while time::timeout(Duration::from_secs(1), acker.ack(lease(taken))).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 210);
    time::sleep(Duration::from_secs(20)).await;
    assert!(acker.ack(lease(taken)).await.is_ok());
}
