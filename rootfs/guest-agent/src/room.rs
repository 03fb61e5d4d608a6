//! What the services share: the template, the claim and the agent's supervisor.

use crate::door::Doors;
use crate::kept::Kept;
use crate::logs::Log;
use crate::supervisor::Supervisor;
use crate::template::Template;
use std::sync::{Mutex, MutexGuard};

pub struct Room {
    pub template: Template,
    pub supervisor: Supervisor,
    pub log: Log,
    pub kept: Kept,
    pub doors: Doors,
    identity: Mutex<Identity>,
}

/// What the claims so far have told.
#[derive(Default)]
pub struct Identity {
    pub claimed: bool,
    /// Drawn after the reseed of a `fresh` or `disk` claim; kept in memory only.
    pub boot_nonce: String,
    pub boot_id: String,
    /// The room's environment, as of the last claim.
    pub env: Vec<(String, String)>,
}

impl Room {
    pub fn new(template: Template) -> Room {
        Room {
            template,
            supervisor: Supervisor::new(),
            log: Log::new(),
            kept: Kept::new(),
            doors: Doors::new(),
            identity: Mutex::new(Identity::default()),
        }
    }

    pub fn identity(&self) -> MutexGuard<Identity> {
        self.identity.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The template's environment and, over it, the room's.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut env = self.template.env.clone();
        env.extend(self.identity().env.iter().cloned());
        env
    }
}
