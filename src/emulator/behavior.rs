//! What the emulator makes of the questions that Cloudflare's documents leave open.

/// A switch for each thing that the service may do in more than one way. The defaults are what is most likely.
///
/// ```
/// use cloudflare_queues::emulator::{Behavior, UnknownLease};
///
/// let behavior = Behavior::new().late_acks(false).unknown_leases(UnknownLease::Reject);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a behavior does nothing until it is given to an emulator"]
pub struct Behavior {
    pub(super) warnings: WarningsForm,
    pub(super) json_bodies: JsonBodies,
    pub(super) unknown_leases: UnknownLease,
    pub(super) late_acks: bool,
    pub(super) late_retries: bool,
    pub(super) counts: bool,
    pub(super) empty_acks: bool,
    pub(super) large_acks: bool,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            warnings: WarningsForm::Map,
            json_bodies: JsonBodies::Text,
            unknown_leases: UnknownLease::Warn,
            late_acks: true,
            late_retries: false,
            counts: true,
            empty_acks: true,
            large_acks: false,
        }
    }
}

impl Behavior {
    /// What is most likely.
    pub fn new() -> Self {
        Self::default()
    }

    /// The form of the warnings of an acknowledgement or a purge. [`WarningsForm::Map`] by default.
    pub fn warnings(mut self, form: WarningsForm) -> Self {
        self.warnings = form;
        self
    }

    /// How `json` bodies are handed out. [`JsonBodies::Text`] by default.
    pub fn json_bodies(mut self, form: JsonBodies) -> Self {
        self.json_bodies = form;
        self
    }

    /// What becomes of a lease that is unknown, malformed, or used up, and of a reference to a message that does not exist.
    /// [`UnknownLease::Warn`] by default.
    pub fn unknown_leases(mut self, unknown: UnknownLease) -> Self {
        self.unknown_leases = unknown;
        self
    }

    /// Whether a message can be acknowledged by a lease that has expired, even if another consumer holds it by now. `true` by
    /// default, as Cloudflare documents.
    pub fn late_acks(mut self, accepted: bool) -> Self {
        self.late_acks = accepted;
        self
    }

    /// Whether a retry by a lease that has expired is counted, although it changes nothing. `false` by default.
    pub fn late_retries(mut self, counted: bool) -> Self {
        self.late_retries = counted;
        self
    }

    /// Whether responses to acknowledgements have counts. `true` by default.
    pub fn counts(mut self, given: bool) -> Self {
        self.counts = given;
        self
    }

    /// Whether an acknowledgement of no lease at all is accepted. `true` by default.
    pub fn empty_acks(mut self, accepted: bool) -> Self {
        self.empty_acks = accepted;
        self
    }

    /// Whether an acknowledgement of more than 100 leases is accepted. `false` by default.
    pub fn large_acks(mut self, accepted: bool) -> Self {
        self.large_acks = accepted;
        self
    }
}

/// The form of the warnings in the response to an acknowledgement or a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningsForm {
    /// A map of lease id to text, the form documented since 2026.
    Map,
    /// A list of texts, the older form.
    List,
}

/// How `json` bodies are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonBodies {
    /// As JSON text, which is what consumers see.
    Text,
    /// As the base64 of it, which is what Cloudflare documents.
    Base64,
}

/// What becomes of an acknowledgement's entry whose lease is unknown, malformed, or used up, and of such an entry of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownLease {
    /// It is not counted, and has a warning.
    Warn,
    /// It is not counted, and nothing is said.
    Ignore,
    /// The whole request is refused with status 400.
    Reject,
}
