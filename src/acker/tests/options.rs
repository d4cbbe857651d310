//! Options at their ends.

use super::*;

/// How many leases each request holds, and how many requests are in flight at most, for 250 leases.
async fn acknowledges_everything(options: AckerOptions) -> (Vec<usize>, usize) {
    let fixture = Fixture::under(250, 3600 * SECOND, |client| client).await.takes(SECOND);
    let (acker, start) = (fixture.acker_with(options), Instant::now());
    let mut receipts = Vec::new();
    for message in &fixture.messages {
        receipts.push(acker.ack(message).await.unwrap());
    }
    acker.close().await;
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    }
    assert_eq!(fixture.left(), 0);
    assert!(start.elapsed() <= 251 * SECOND, "{:?}", start.elapsed());
    (fixture.requests(), fixture.most_in_flight())
}

#[tokio::test(start_paused = true)]
async fn every_option_takes_zero_and_the_largest_value() {
    let options = AckerOptions::new;
    let (largest, in_flight) =
        acknowledges_everything(options().linger(Duration::MAX).buffer(usize::MAX).max_in_flight(usize::MAX)).await;
    assert_eq!((largest, in_flight), (vec![100, 100, 50], 3));
    let (zero, in_flight) = acknowledges_everything(options().max_in_flight(0)).await;
    assert_eq!((zero, in_flight), (vec![100, 100, 50], 1));
    acknowledges_everything(options().linger(Duration::ZERO)).await;
    acknowledges_everything(options().buffer(0).linger(Duration::MAX)).await;
    acknowledges_everything(options().linger(Duration::ZERO).buffer(0).max_in_flight(0)).await;
}

#[tokio::test(start_paused = true)]
async fn an_endless_linger_waits_for_a_full_request() {
    let fixture = Fixture::under(100, 12 * 3600 * SECOND, |client| client).await;
    let acker = fixture.acker_with(AckerOptions::new().linger(Duration::MAX));
    for message in &fixture.messages[..99] {
        acker.ack(message).await.unwrap();
    }
    sleep(3600 * SECOND).await;
    assert_eq!(fixture.requests(), [0; 0]);
    acker.ack(&fixture.messages[99]).await.unwrap().await.unwrap();
    assert_eq!(fixture.requests(), [100]);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_sent_at_once() {
    let fixture = Fixture::with(2).await;
    let (acker, start) = (fixture.acker_with(AckerOptions::new().buffer(2).linger(20 * SECOND)), Instant::now());
    for message in &fixture.messages {
        acker.ack(message).await.unwrap();
        sleep(SECOND).await;
    }
    assert_eq!((fixture.requests(), start.elapsed()), (vec![2], 2 * SECOND));
}
