use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, timeout},
};

use super::*;

/// What the emulator sends on a connection after receiving only this.
async fn exchange(sent: &[u8]) -> String {
    let emulator = Emulator::start().await.unwrap();
    let address = emulator.base_url().replace("http://", "").replace("/client/v4", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut received = Vec::new();
    let read = timeout(Duration::from_secs(3600), stream.read_to_end(&mut received)).await;
    read.expect("the emulator waits for ever").unwrap();
    String::from_utf8(received).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    for sent in ["", "POST /client/v4 HTTP/1.1\r\nhost: x\r\n"] {
        let started = Instant::now();
        assert_eq!(exchange(sent.as_bytes()).await, "");
        assert!(started.elapsed() >= Duration::from_secs(100), "an idle connection of a client's pool");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let head =
        "POST /client/v4 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer emulator-token\r\ncontent-length: 9\r\n\r\n{";
    let received = exchange(head.as_bytes()).await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["errors"][0]["code"], 10026);
}

#[tokio::test]
async fn a_client_that_sends_too_much_gets_to_see_the_response() {
    let mut sent = b"POST /client/v4 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer emulator-token\r\n".to_vec();
    sent.extend_from_slice(b"connection: close\r\ncontent-length: 9000000\r\n\r\n");
    sent.resize(sent.len() + 9_000_000, b'x');
    assert!(exchange(&sent).await.starts_with("HTTP/1.1 413 "));
}
