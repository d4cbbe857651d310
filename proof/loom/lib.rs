//! The acker's ledger and the budget of retries, under every order of events that loom finds.
//!
//! Both are the library's own files. What they name of the rest of it stands in below.

#![cfg(test)]
#![expect(dead_code, reason = "these tests call less of the files than the library does")]

extern crate std_by_loom as std;

#[path = "../../src/flow/budget.rs"]
mod budget;
#[path = "../../src/flow/flushes.rs"]
mod flushes;
#[path = "../../src/acker/ledger.rs"]
mod ledger;

mod flow {
    pub(crate) use crate::flushes;
}

mod error {
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Error(pub(crate) String);

    impl Error {
        pub(crate) fn invalid(message: impl Into<String>) -> Self {
            Self(message.into())
        }

        pub(crate) fn dropped() -> Self {
            Self("dropped".to_owned())
        }
    }

    impl std::fmt::Display for Error {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }
}

mod message {
    pub(crate) mod confirmation {
        #[derive(Debug, PartialEq)]
        pub(crate) struct Confirmation;
    }

    pub(crate) mod lease {
        pub(crate) type LeaseId = u8;
    }

    pub(crate) mod limits {
        pub(crate) const MAX_LEASES: usize = 2;

        pub(crate) fn settlement(_: &crate::message::settlement::Settlement) -> Result<(), crate::error::Error> {
            Ok(())
        }
    }

    pub(crate) mod settlement {
        pub(crate) struct Lease(pub(crate) u8);

        impl Lease {
            pub(crate) fn id(&self) -> &u8 {
                &self.0
            }

            pub(crate) fn deadline(&self) -> Option<std::time::Instant> {
                None
            }
        }

        pub(crate) struct Settlement {
            pub(crate) lease: Lease,
        }
    }
}

mod receipt {
    use crate::{error::Error, message::confirmation::Confirmation};

    pub(crate) type Observer = Box<dyn FnOnce(&Result<Confirmation, Error>) + Send>;

    pub(crate) fn stopped() -> Error {
        Error("stopped".to_owned())
    }
}

mod http {
    pub(crate) mod transport {
        pub(crate) fn after(timeout: std::time::Duration) -> tokio::time::Instant {
            tokio::time::Instant::now() + timeout
        }
    }
}

mod orders;
