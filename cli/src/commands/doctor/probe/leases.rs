//! Leases that have expired or are extended.

use serde_json::{Value, json};

use super::{BATCH, Probe, entry};
use crate::exit::Failure;

/// One more than a pull can give.
const MANY: usize = BATCH + 1;
const LATE: &str = "Late acknowledgements and retries";
const EXTENSIONS: &str = "Extensions";

fn extension(lease: &str, ms: u64) -> Value {
    json!({ "extend": [entry(lease)], "visibility_timeout_ms": ms })
}

impl Probe {
    /// Acknowledgements and retries after a lease has expired.
    pub(super) async fn late(&mut self) -> Result<(), Failure> {
        let lease = self.lease().await?;
        self.wait(1.5).await;
        self.tell(
            LATE,
            "a late acknowledgement while nobody holds the message",
            "/ack",
            &json!({ "acks": [entry(&lease)] }),
        )
        .await?;
        self.gone(LATE).await?;

        let lease = self.lease().await?;
        self.wait(1.5).await;
        let retry = json!({ "retries": [{ "lease_id": lease, "delay_seconds": 3600 }] });
        self.tell(LATE, "a late retry in an hour while nobody holds the message", "/ack", &retry).await?;
        let given = self.given().await?;
        self.note(LATE, "whether the message is given out before that", yes(given.is_some()))?;
        self.late_against_another().await
    }

    /// The same while another lease of the message lasts.
    async fn late_against_another(&mut self) -> Result<(), Failure> {
        let (first, _) = self.leased_twice().await?;
        let ack = json!({ "acks": [entry(&first)] });
        self.tell(LATE, "a late acknowledgement while another holds the message", "/ack", &ack).await?;
        self.wait(1.5).await;
        self.gone(LATE).await?;

        let (first, second) = self.leased_twice().await?;
        let retry = json!({ "retries": [entry(&first)] });
        self.tell(LATE, "a late retry while another holds the message", "/ack", &retry).await?;
        let given = self.given().await?;
        self.note(LATE, "whether that took the message from the other", yes(given.is_some()))?;
        let ack = json!({ "acks": [entry(&second)] });
        self.tell(LATE, "an acknowledgement by the other after the late retry", "/ack", &ack).await?;
        self.wait(1.5).await;
        self.gone(LATE).await
    }

    /// Two leases of a message, of which the first has expired.
    async fn leased_twice(&mut self) -> Result<(String, String), Failure> {
        let first = self.lease().await?;
        self.wait(1.5).await;
        let second = self.given().await?;
        self.note(LATE, "whether the message is given out again after its lease", yes(second.is_some()))?;
        Ok((first, second.unwrap_or_default()))
    }

    pub(super) async fn extensions(&mut self) -> Result<(), Failure> {
        let ms = self.lease_ms();
        let lease = self.lease().await?;
        self.wait_until(0.5).await;
        let reply =
            self.tell(EXTENSIONS, "an extension after half of a lease", "/extend", &extension(&lease, ms)).await?;
        self.note(EXTENSIONS, "fields of the response, in order", &reply.order())?;
        self.wait_until(1.25).await;
        let given = self.given().await?;
        self.note(EXTENSIONS, "whether the message is given out after 1.25 times the lease", yes(given.is_some()))?;
        if given.is_none() {
            self.wait_until(1.75).await;
            let given = self.given().await?;
            self.note(
                EXTENSIONS,
                "and after 1.75 times (yes: the time counts from the request)",
                yes(given.is_some()),
            )?;
        }

        let lease = self.lease().await?;
        self.tell(
            EXTENSIONS,
            "an extension to three times the lease",
            "/extend",
            &extension(&lease, ms.saturating_mul(3)),
        )
        .await?;
        self.tell(EXTENSIONS, "a second one by the same id", "/extend", &extension(&lease, ms.saturating_mul(3)))
            .await?;
        self.tell(EXTENSIONS, "an acknowledgement by the old id", "/ack", &json!({ "acks": [entry(&lease)] })).await?;
        self.wait_until(3.5).await;
        self.gone(EXTENSIONS).await?;

        let lease = self.lease().await?;
        self.tell(EXTENSIONS, "an extension to a tenth of the lease", "/extend", &extension(&lease, ms / 10)).await?;
        self.wait_until(0.6).await;
        let given = self.given().await?;
        self.note(EXTENSIONS, "whether that made the lease shorter", yes(given.is_some()))?;

        let lease = self.lease().await?;
        self.wait_until(1.5).await;
        self.tell(EXTENSIONS, "an extension of a lease that has expired", "/extend", &extension(&lease, ms)).await?;
        let given = self.given().await?;
        self.note(EXTENSIONS, "whether the message is given out then", yes(given.is_some()))?;

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
            self.tell(EXTENSIONS, &format!("an extension {asked}"), "/extend", &body).await?;
        }
        self.tell(EXTENSIONS, "an acknowledgement after these", "/ack", &json!({ "acks": [entry(&lease)] })).await?;
        self.repeated_extensions().await
    }

    /// How often, and for how long in total.
    async fn repeated_extensions(&mut self) -> Result<(), Failure> {
        const LONGEST: u64 = 43_200_000;
        let lease = self.lease().await?;
        for asked in
            ["a first extension to 12 h", "a second one, so that the lease lasts longer in total", "a third one"]
        {
            self.wait(0.2).await;
            self.tell(EXTENSIONS, asked, "/extend", &extension(&lease, LONGEST)).await?;
        }
        let ack = json!({ "acks": [entry(&lease)] });
        self.tell(EXTENSIONS, "an acknowledgement after three extensions", "/ack", &ack).await?;
        Ok(())
    }

    /// More leases than a pull can give, none of them made up.
    pub(super) async fn many(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "More than 100 leases";
        let leases = self.leased(MANY, 10).await?;
        let entries = |leases: &[String]| leases.iter().map(|lease| entry(lease)).collect::<Vec<_>>();
        self.tell(TOPIC, "an acknowledgement of 101 leases", "/ack", &json!({ "acks": entries(&leases) })).await?;
        let leases = self.leased(MANY, 10).await?;
        let ms = self.lease_ms();
        let extend = json!({ "extend": entries(&leases), "visibility_timeout_ms": ms });
        self.tell(TOPIC, "an extension of 101 leases", "/extend", &extend).await?;
        for batch in leases.chunks(BATCH) {
            self.raw.post("/ack", &json!({ "acks": entries(batch) })).await?;
        }
        Ok(())
    }

    async fn gone(&mut self, topic: &'static str) -> Result<(), Failure> {
        let given = self.given().await?;
        self.note(topic, "whether the message is gone", yes(given.is_none()))?;
        Ok(())
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
