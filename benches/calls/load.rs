//! What a client is to do, handed to it as the arguments of its process.

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) client: String,
    pub(crate) url: String,
    /// `ack`, or for a pull its encoding and size.
    pub(crate) queue: String,
    pub(crate) leases: usize,
    pub(crate) calls: usize,
    pub(crate) in_flight: usize,
}

impl Load {
    pub(crate) fn of(self, client: &str) -> Self {
        Self { client: client.to_owned(), ..self }
    }

    pub(crate) fn to_args(&self) -> [String; 7] {
        let number = |number: usize| number.to_string();
        [
            "run".into(),
            self.client.clone(),
            self.url.clone(),
            self.queue.clone(),
            number(self.leases),
            number(self.calls),
            number(self.in_flight),
        ]
    }

    pub(crate) fn from_args(args: &[String]) -> Result<Self> {
        let [client, url, queue, leases, calls, in_flight] = args else { return Err("six arguments".into()) };
        Ok(Self {
            client: client.clone(),
            url: url.clone(),
            queue: queue.clone(),
            leases: leases.parse()?,
            calls: calls.parse()?,
            in_flight: in_flight.parse()?,
        })
    }

    pub(crate) fn is_pull(&self) -> bool {
        self.queue != "ack"
    }
}
