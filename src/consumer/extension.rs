//! One request that extends leases.

use std::time::{Duration, Instant};

#[cfg(fuzzing)]
use crate::flow::clock::Clock;
use crate::{
    error::Error,
    flow::{clock::Moment, splitting::Splitting},
    message::{confirmation::Confirmation, extend::ExtendOutcome, settlement::Lease},
    queue::Queue,
};

/// A timeout is sent in whole milliseconds.
const ROUNDED: Duration = Duration::from_millis(1);

/// Leases to extend, with the keys of the heartbeat.
pub(super) struct Extension {
    pub(super) leases: Vec<(u64, Lease)>,
    splitting: Splitting,
}

/// What became of a request.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) beats: Vec<Beat>,
    /// The halves of a refused request.
    pub(super) halves: Vec<Extension>,
    pub(super) error: Option<Error>,
}

/// The outcome of extending a lease.
pub(super) struct Beat {
    pub(super) key: u64,
    /// When the request was sent, and until when the lease then lasts.
    pub(super) deadline: Option<(Moment, Instant)>,
    /// Otherwise, the response leaves it open.
    pub(super) is_confirmed: bool,
    pub(super) peers: Peers,
}

/// The leases with which a lease may share its next request. A response that counts only some leases confirms none. So
/// leases are grouped by what the response says about them, and the next response may count all of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peers {
    #[default]
    Any,
    /// Leases that no warning named, and as many were counted.
    Unwarned,
    /// Leases that a warning named, and as many were not counted.
    Warned,
    /// It was refused, or the count did not show which lease of its request failed.
    None,
}

impl Sent {
    /// A request for these leases without an outcome.
    pub(super) fn failed(keys: Vec<u64>) -> Self {
        let beats = keys.into_iter().map(|key| Beat::failed(key, Peers::Any)).collect();
        Self { beats, ..Self::default() }
    }
}

impl Beat {
    fn failed(key: u64, peers: Peers) -> Self {
        Self { key, deadline: None, is_confirmed: false, peers }
    }
}

impl Extension {
    pub(super) fn new(leases: Vec<(u64, Lease)>) -> Self {
        Self { leases, splitting: Splitting::new() }
    }

    pub(super) async fn send(self, queue: Queue, timeout: Duration, sent: Moment) -> Sent {
        let Self { mut leases, splitting } = self;
        let error = match queue.extend(leases.iter().map(|(_, lease)| lease), timeout).await {
            Ok(outcome) => {
                let until = outcome.deadline().unwrap_or(sent.instant + timeout.saturating_sub(ROUNDED));
                return Sent { beats: read(&leases, &outcome, sent, until), ..Sent::default() };
            }
            Err(failed) => failed.error,
        };
        let half = if error.refuses_the_request() { splitting.split_off(&mut leases) } else { None };
        if let Some(half) = half {
            let halves = [leases, half].map(|leases| Self { leases, splitting: splitting.clone() });
            return Sent { halves: halves.into(), ..Sent::default() };
        }
        tracing::warn!(%error, leases = leases.len(), "leases could not be extended");
        let is_alone = leases.len() == 1 && error.refuses_the_request();
        let peers = if is_alone { Peers::None } else { Peers::Any };
        let beats = leases.into_iter().map(|(key, _)| Beat::failed(key, peers)).collect();
        Sent { beats, error: Some(error), ..Sent::default() }
    }
}

fn read(group: &[(u64, Lease)], outcome: &ExtendOutcome, sent: Moment, until: Instant) -> Vec<Beat> {
    let confirmations = outcome.confirmations(group.iter().map(|(_, lease)| lease));
    let unwarned = confirmations.iter().filter(|it| !matches!(it, Confirmation::Warned { .. })).count() as u64;
    let peers = |confirmation: &Confirmation| match (confirmation, outcome.extensions.confirmed) {
        (Confirmation::Confirmed, _) | (_, None) => Peers::Any,
        (Confirmation::Accepted, Some(_)) => Peers::Unwarned,
        (Confirmation::Warned { .. }, Some(counted)) if counted == unwarned => Peers::Warned,
        (Confirmation::Warned { .. } | Confirmation::Unclear { .. }, Some(_)) => Peers::None,
    };
    let beat = |((key, _), confirmation): (&(u64, Lease), &Confirmation)| Beat {
        key: *key,
        // Without a count, a warning may only inform.
        deadline: match confirmation {
            Confirmation::Confirmed | Confirmation::Accepted | Confirmation::Warned { counted: None, .. } => {
                Some((sent, until))
            }
            _ => None,
        },
        is_confirmed: *confirmation == Confirmation::Confirmed,
        peers: peers(confirmation),
    };
    group.iter().zip(&confirmations).map(beat).collect()
}

/// Until when each of these leases lasts, by the response.
#[cfg(fuzzing)]
pub(crate) fn extended(leases: Vec<Lease>, outcome: &ExtendOutcome, until: Instant) -> Vec<Option<Instant>> {
    let group: Vec<_> = leases.into_iter().map(|lease| (0, lease)).collect();
    let beats = read(&group, outcome, Clock::default().now(), until).into_iter();
    // A lease whose extension is only accepted is not known to last any longer.
    beats.map(|beat| Some(beat.deadline.filter(|_| beat.is_confirmed)?.1)).collect()
}
