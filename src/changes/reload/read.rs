//! What decides, shown to those who may read it.

use std::sync::Arc;

use super::Reloader;
use crate::authz::Permit;
use crate::model::ReadPolicies;
use crate::policy::live::Live;
use crate::policy::version::{Published, VersionError};

/// Publications, newest first, and what is live beside them.
pub struct Publications {
    /// At most as many as were asked for; none where policies come from directories.
    pub published: Vec<Published>,
    /// What decides at this moment.
    pub live: Arc<Live>,
}

impl Reloader {
    /// What decides at this moment. It is not shown without a permit:
    /// ```compile_fail,E0061
    /// fn read(reloader: &caxton::changes::Reloader) {
    ///     let _ = reloader.read();
    /// }
    /// ```
    pub fn read(&self, permit: Permit<ReadPolicies>) -> Arc<Live> {
        let ReadPolicies = permit.into_operation();
        self.policy.live()
    }

    /// The newest `most` publications. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn published(&self, permit: Permit<ReadPolicies>, most: usize) -> Result<Publications, VersionError> {
        let live = self.read(permit);
        let Some((store, _)) = self.loader.store() else {
            return Ok(Publications { published: Vec::new(), live });
        };
        let newest = store.numbers()?.into_iter().rev().take(most);
        let published = newest.map(|number| store.read(number)).collect::<Result<_, _>>()?;
        Ok(Publications { published, live })
    }
}
