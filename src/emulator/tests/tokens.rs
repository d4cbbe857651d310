use super::*;

/// The status of an empty ack with these headers.
async fn status(emulator: &Emulator, headers: &[(&'static str, &str)]) -> u16 {
    let path = format!("/accounts/{}/queues/{}/messages/ack", emulator.account_id(), emulator.queue_id());
    let mut request = request(emulator, &path, "{}".into());
    request.headers_mut().clear();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    raw(emulator, request).await.0.as_u16()
}

#[tokio::test]
async fn every_given_scheme_of_credentials_must_be_valid() {
    let emulator = Emulator::in_process();
    let (email, key) = emulator.email_and_key();
    let token = ("authorization", "Bearer emulator-token");
    let (email, key) = (("x-auth-email", email), ("x-auth-key", key));
    let (bad_token, bad_key) = (("authorization", "Bearer another"), ("x-auth-key", "another"));
    let cases = [
        (vec![token], 200),
        (vec![email, key], 200),
        // As the official client for TypeScript sends them if all three variables are set.
        (vec![token, email, key], 200),
        (vec![bad_token, email, key], 401),
        (vec![token, email, bad_key], 401),
        (vec![token, email], 200),
        (vec![email], 401),
        (vec![key], 401),
        (vec![], 401),
        (vec![("authorization", "emulator-token"), email, key], 400),
    ];
    for (headers, expected) in cases {
        assert_eq!(status(&emulator, &headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn another_token_replaces_the_one_before() {
    let emulator = Emulator::builder().api_token("first").in_process();
    assert_eq!(emulator.api_token(), "first");
    let (first, second) = (("authorization", "Bearer first"), ("authorization", "Bearer second"));
    assert_eq!((status(&emulator, &[first]).await, status(&emulator, &[second]).await), (200, 401));
    emulator.set_api_token("second");
    assert_eq!((status(&emulator, &[first]).await, status(&emulator, &[second]).await), (401, 200));
    let _ = emulator.queue().unwrap().pull(crate::PullOptions::new()).await.unwrap();
}
