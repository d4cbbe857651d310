//! What a reset restores: everything but messages and faults.

use super::{behavior::Behavior, registry::Registry, service::Service, settings::EmulatedQueue};
use crate::flow::contained::lock;

#[derive(Clone, Default)]
pub(super) struct Configuration {
    /// The id, the account and the settings of each queue.
    queues: Vec<(String, String, EmulatedQueue)>,
    registry: Registry,
    behavior: Behavior,
}

impl Service {
    pub(super) fn save_configuration(&self) {
        // Locked to the end, so that a queue that gets another id is saved once.
        let registry = self.registry();
        let settings = |id: &str| self.with_queue(id, |queue, _| queue.settings().clone()).ok();
        let queues = self.queues.ids().into_iter();
        let queues = queues.filter_map(|(id, account)| settings(&id).map(|settings| (id, account, settings)));
        let configuration =
            Configuration { queues: queues.collect(), registry: registry.clone(), behavior: self.behavior() };
        *lock(&self.saved) = configuration;
    }

    /// Deletes all messages, and removes all faults.
    pub(super) fn reset(&self) {
        let saved = lock(&self.saved).clone();
        let mut registry = self.registry();
        self.faults().remove_all();
        for (id, _) in self.queues.ids() {
            // Deleted before dead letters among them can arrive anywhere.
            let _deleted = self.with_queue(&id, |queue, _| queue.clear());
            if !saved.queues.iter().any(|(kept, ..)| *kept == id) {
                self.queues.remove(&id);
            }
        }
        registry.restore(saved.registry);
        // Before the queues, which are restored with their names then, or not at all.
        self.persist_configuration(&registry);
        for (id, account, settings) in saved.queues {
            self.queues.restore(&self.clock, &id, &account, EmulatedQueue { pulls_from: 0, ..settings });
        }
        self.configure(|_| saved.behavior);
    }
}
