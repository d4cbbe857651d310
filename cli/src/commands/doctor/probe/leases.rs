//! What becomes of late leases, and of leases that are extended.

use serde_json::{Value, json};

use super::{Probe, entry};
use crate::exit::Failure;

fn extension(lease: &str, ms: u64) -> Value {
    json!({ "extend": [entry(lease)], "visibility_timeout_ms": ms })
}

impl Probe {
    /// Acknowledgements and retries after a lease has expired.
    pub(super) async fn late(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Late acknowledgements and retries";
        let lease = self.lease().await?;
        self.wait(1.5).await;
        self.tell(
            TOPIC,
            "a late acknowledgement while nobody holds the message",
            "/ack",
            &json!({ "acks": [entry(&lease)] }),
        )
        .await?;
        self.gone(TOPIC).await?;

        let lease = self.lease().await?;
        self.wait(1.5).await;
        let second = self.given().await?;
        self.note(TOPIC, "whether the message came again", yes(second.is_some()));
        self.tell(
            TOPIC,
            "a late acknowledgement while another holds the message",
            "/ack",
            &json!({ "acks": [entry(&lease)] }),
        )
        .await?;
        self.wait(1.5).await;
        self.gone(TOPIC).await?;

        let lease = self.lease().await?;
        self.wait(1.5).await;
        let retry = json!({ "retries": [{ "lease_id": lease, "delay_seconds": 3600 }] });
        self.tell(TOPIC, "a late retry in an hour while nobody holds the message", "/ack", &retry).await?;
        let given = self.given().await?;
        self.note(TOPIC, "whether the message is given out before that", yes(given.is_some()));
        Ok(())
    }

    pub(super) async fn extensions(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Extensions";
        let ms = self.lease_ms();
        let lease = self.lease().await?;
        self.wait_until(0.5).await;
        let reply = self.tell(TOPIC, "an extension after half of a lease", "/extend", &extension(&lease, ms)).await?;
        self.note(TOPIC, "fields of the response, in order", reply.order());
        self.wait_until(1.25).await;
        let given = self.given().await?;
        self.note(TOPIC, "whether the message is given out after 1.25 times the lease", yes(given.is_some()));
        if given.is_none() {
            self.wait_until(1.75).await;
            let given = self.given().await?;
            self.note(TOPIC, "and after 1.75 times (yes: the time counts from the request)", yes(given.is_some()));
        }

        let lease = self.lease().await?;
        self.tell(TOPIC, "an extension to three times the lease", "/extend", &extension(&lease, ms.saturating_mul(3)))
            .await?;
        self.tell(TOPIC, "a second one by the same id", "/extend", &extension(&lease, ms.saturating_mul(3))).await?;
        self.tell(TOPIC, "an acknowledgement by the old id", "/ack", &json!({ "acks": [entry(&lease)] })).await?;
        self.wait_until(3.5).await;
        self.gone(TOPIC).await?;

        let lease = self.lease().await?;
        self.tell(TOPIC, "an extension to a tenth of the lease", "/extend", &extension(&lease, ms / 10)).await?;
        self.wait_until(0.6).await;
        let given = self.given().await?;
        self.note(TOPIC, "whether that made the lease shorter", yes(given.is_some()));

        let lease = self.lease().await?;
        self.wait_until(1.5).await;
        self.tell(TOPIC, "an extension of a lease that has expired", "/extend", &extension(&lease, ms)).await?;
        let given = self.given().await?;
        self.note(TOPIC, "whether the message is given out then", yes(given.is_some()));

        let lease = self.lease().await?;
        let many: Vec<Value> = (0..101).map(|number| entry(&format!("probe-{number}"))).collect();
        for (asked, body) in [
            ("without a time", json!({ "extend": [entry(&lease)] })),
            ("for 0 ms", extension(&lease, 0)),
            ("for 12 h and 1 ms", extension(&lease, 43_200_001)),
            (
                "of a lease twice in a request",
                json!({ "extend": [entry(&lease), entry(&lease)], "visibility_timeout_ms": ms }),
            ),
            ("of a made-up lease", extension("probe", ms)),
            ("of none", json!({ "extend": [], "visibility_timeout_ms": ms })),
            ("of 101 made-up leases", json!({ "extend": many, "visibility_timeout_ms": ms })),
        ] {
            self.tell(TOPIC, &format!("an extension {asked}"), "/extend", &body).await?;
        }
        self.tell(TOPIC, "an acknowledgement after these", "/ack", &json!({ "acks": [entry(&lease)] })).await?;
        Ok(())
    }

    async fn gone(&mut self, topic: &'static str) -> Result<(), Failure> {
        let given = self.given().await?;
        self.note(topic, "whether the message is gone", yes(given.is_none()));
        Ok(())
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
