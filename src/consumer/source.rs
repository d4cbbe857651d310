//! Messages that were pulled and wait, and the pulls that fetch more: what a run and a stream have in common.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tracing::Span;

use super::{
    Stats, Undecided,
    brake::Brake,
    delivery::{Delivery, Origin},
    heartbeat::Heartbeat,
    outcomes::Outcomes,
    pulls::{Pulls, is_final},
    recorder::{Recorder, Total},
    settings::Settings,
};
use crate::{
    acker::Acker,
    error::Error,
    message::{ack::AckRequest, limits},
    queue::Queue,
};

pub(super) struct Source {
    pulls: Pulls,
    waiting: VecDeque<Waiting>,
    recorder: Recorder,
    origin: Arc<Origin>,
}

/// A message that was pulled and that nobody works on.
pub(super) struct Waiting {
    pub(super) delivery: Delivery,
    pub(super) since: Instant,
    /// The span of its pull.
    pub(super) pull: Span,
}

impl Source {
    /// `unconfirmed` collects the leases of a report.
    pub(super) fn new(
        queue: Queue,
        settings: Settings,
        total: &Total,
        failures: &'static str,
        unconfirmed: Option<AckRequest>,
    ) -> Result<Self, Error> {
        limits::pull(&settings.pull)?;
        let acker = Acker::with_options(queue.clone(), settings.acker.clone())?;
        let recorder = Recorder::new(total);
        let brake = Brake::new(failures, settings.bearable_failures);
        let origin = Origin {
            acker,
            heartbeat: Heartbeat::new(queue.clone(), &settings, recorder.handle()),
            outcomes: Outcomes::new(recorder.handle(), brake, unconfirmed),
            settings,
        };
        let pulls = Pulls::new(queue, &origin.settings);
        Ok(Self { pulls, waiting: VecDeque::new(), recorder, origin: Arc::new(origin) })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn stats(&self) -> Stats {
        self.recorder.stats()
    }

    pub(super) fn pulls(&mut self) -> &mut Pulls {
        &mut self.pulls
    }

    pub(super) fn waiting(&self) -> &VecDeque<Waiting> {
        &self.waiting
    }

    /// How many messages wait, or are on their way.
    pub(super) fn ahead(&self) -> usize {
        self.waiting.len().saturating_add(self.pulls.asked())
    }

    /// The next message whose lease is held.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        while let Some(next) = self.waiting.pop_front() {
            if !next.delivery.is_lost() {
                self.pulls.taken(1);
                return Some(next);
            }
            next.delivery.expire();
        }
        None
    }

    /// Messages that were taken wait again, before all others.
    pub(super) fn take_back(&mut self, delivery: Delivery) {
        self.waiting.push_front(Waiting { delivery, since: Instant::now(), pull: Span::none() });
    }

    /// The end of a pull or of a pause. A failure that needs human intervention is returned.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.pulls.poll(context, &self.recorder).map(|pulled| {
            let Some(pulled) = pulled else { return Ok(()) };
            match pulled.result {
                Ok(batch) => {
                    let waits = |message| Waiting {
                        delivery: Delivery::new(message, &self.origin),
                        since: Instant::now(),
                        pull: pulled.span.clone(),
                    };
                    self.waiting.extend(batch.into_iter().map(waits));
                    Ok(())
                }
                Err(error) if is_final(&error) => Err(error),
                Err(_) => Ok(()),
            }
        })
    }

    pub(super) fn gauge(&self, handlers_running: usize, is_full: bool) {
        self.origin.outcomes.gauge(|gauges| {
            gauges.pulls_in_flight = self.pulls.in_flight() as u64;
            gauges.waiting = self.waiting.len() as u64;
            gauges.handlers_running = handlers_running as u64;
            gauges.is_full = is_full;
        });
    }

    /// Nobody will work on the messages that wait: they are undecided.
    pub(super) fn release(&mut self) {
        self.waiting.clear();
    }

    /// Stops pulling. Messages of pulls in flight are undecided, too.
    pub(super) fn stop(&mut self) {
        let pulls = self.pulls.take();
        if self.origin.settings.undecided == Undecided::Retry {
            self.origin.acker.hand_back(pulls);
        }
        self.recorder.end();
    }
}
