//! What agents remember: things, what was observed about them, and how they are related, in scopes that do not mix.
//!
//! Memory does nothing without a permit for exactly that operation, names the scope in every SQL statement besides,
//! and does again inside its transaction what a decision rested on: a row that has changed owner, kind or labels
//! since it was judged is left alone. What a search or a list finds stays locked in [`Candidates`] until each row
//! has a permit of its own. Words of a caller never become SQL or full-text syntax.

mod candidates;
mod error;
mod fts_query;
mod limits;
mod settings;
mod sql;
mod store;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use candidates::Candidates;
pub use error::{Fault, MemoryError};
pub use settings::Settings;
pub use view::{Deleted, EntityView, MemoryItem, MemoryView, RelationView, relation_id};

use crate::authz::Permit;
use crate::blocking;
use crate::clock::SharedClock;
use crate::model::{
    DeleteMemory, ListMemory, MemoryKind, MemoryRow, MemoryScope, ReadMemory, SearchMemory,
    WriteMemoryEntity, WriteMemoryRelation,
};
use crate::telemetry::Metrics;
use error::escaped_name;
use fts_query::FtsQuery;
use store::{Pool, Workers};
use view::same_row;

/// The memory of a gateway. Clones share one database; the last one closes it.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
    quotas: Option<Arc<dyn MemoryQuotas>>,
}

/// Bounds that a scope has of its own, below the gateway's: what an agent's definition allows its memory.
pub trait MemoryQuotas: Send + Sync + 'static {
    /// The most entities and the most relations of `scope`; `None` where only the gateway's bound holds.
    fn of(&self, scope: &MemoryScope) -> (Option<u32>, Option<u32>);
}

struct Inner {
    settings: Arc<Settings>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    workers: Arc<Workers>,
}

impl Memory {
    /// Opens the database, making it when it is not there, and starts the threads that use it.
    ///
    /// A file that is damaged or no database is refused. Blocks; call it before serving.
    pub fn open(settings: Settings, clock: SharedClock, metrics: Arc<Metrics>) -> Result<Self, MemoryError> {
        let workers = Arc::new(Workers::open(&settings).inspect_err(|error| count(&metrics, error))?);
        let inner = Arc::new(Inner { settings: Arc::new(settings), clock, metrics, workers });
        Ok(Self { inner, quotas: None })
    }

    /// The same memory, in which scopes have bounds of their own as well.
    #[must_use]
    pub fn with_quotas(self, quotas: Arc<dyn MemoryQuotas>) -> Self {
        Self { quotas: Some(quotas), ..self }
    }

    /// The settings with the bounds of `scope` in them.
    fn settings_for(&self, scope: &MemoryScope) -> Arc<Settings> {
        let settings = &self.inner.settings;
        let (entities, relations) = self.quotas.as_ref().map_or((None, None), |quotas| quotas.of(scope));
        if entities.is_none() && relations.is_none() {
            return Arc::clone(settings);
        }
        let least = |bound: u32, quota: Option<u32>| quota.map_or(bound, |quota| quota.min(bound));
        Arc::new(Settings {
            max_entities: least(settings.max_entities, entities),
            max_relations: least(settings.max_relations, relations),
            ..Settings::clone(settings)
        })
    }

    /// The attributes of a row, for the guard to judge; nothing of its content. `None`: there is no such row.
    pub async fn row(
        &self,
        scope: &MemoryScope,
        kind: MemoryKind,
        id: &str,
    ) -> Result<Option<MemoryRow>, MemoryError> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.inner.run(Pool::Read, move |connection, _| store::row(connection, &scope, kind, &id)).await
    }

    /// Stores a thing. A new one belongs to the permit's principal; one that is there keeps its owner.
    pub async fn write_entity(&self, permit: Permit<WriteMemoryEntity>) -> Result<EntityView, MemoryError> {
        limits::check_entity(&self.inner.settings, permit.operation())?;
        let author = permit.subject().principal().to_string();
        let (write, now) = (permit.into_operation(), self.inner.clock.now_millis());
        let settings = self.settings_for(&write.row.scope);
        self.inner
            .run(Pool::Write, move |connection, cancel| {
                store::write_entity(connection, &settings, write, &author, now, cancel)
            })
            .await
    }

    /// Joins two things that are both in the relation's scope.
    pub async fn write_relation(
        &self,
        permit: Permit<WriteMemoryRelation>,
    ) -> Result<RelationView, MemoryError> {
        limits::check_relation(&self.inner.settings, permit.operation())?;
        let author = permit.subject().principal().to_string();
        let (write, now) = (permit.into_operation(), self.inner.clock.now_millis());
        let settings = self.settings_for(&write.row.scope);
        self.inner
            .run(Pool::Write, move |connection, cancel| {
                store::write_relation(connection, &settings, &write, &author, now, cancel)
            })
            .await
    }

    /// The content of one row, if it is still the row that was judged.
    pub async fn read(&self, permit: Permit<ReadMemory>) -> Result<MemoryView, MemoryError> {
        let judged = permit.into_operation().row;
        let (scope, kind, id) = (judged.scope.clone(), judged.row, Arc::clone(&judged.id));
        let found = self
            .inner
            .run(Pool::Read, move |connection, _| {
                Ok(match kind {
                    MemoryKind::Entity => store::entity(connection, &scope, &id)?.map(MemoryView::Entity),
                    MemoryKind::Relation => {
                        store::relation(connection, &scope, &id)?.map(MemoryView::Relation)
                    }
                })
            })
            .await?;
        match found {
            None => Err(MemoryError::NoSuchRow(escaped_name(&judged.id))),
            Some(view) if same_row(&view.row(), &judged) => Ok(view),
            Some(_) => Err(MemoryError::Changed(escaped_name(&judged.id))),
        }
    }

    /// Deletes one row. Relations of an entity are deleted with it, also those that another principal wrote.
    pub async fn delete(&self, permit: Permit<DeleteMemory>) -> Result<Deleted, MemoryError> {
        let judged = permit.into_operation().row;
        self.inner
            .run(Pool::Write, move |connection, cancel| store::delete(connection, &judged, cancel))
            .await
    }

    /// The things of a scope that have all the words, best first; at most `max_search_results`.
    pub async fn search(&self, permit: Permit<SearchMemory>) -> Result<Candidates, MemoryError> {
        let SearchMemory { scope, words, limit } = permit.into_operation();
        let query = FtsQuery::parse(&scope, &words, &self.inner.settings)?;
        let limit = self.inner.settings.max_search_results.min(limit);
        let found = self
            .inner
            .run(Pool::Read, move |connection, _| store::search(connection, &scope, &query, limit))
            .await?;
        Ok(Candidates::new(found))
    }

    /// The things of a scope by name; at most `max_search_results`.
    pub async fn list(&self, permit: Permit<ListMemory>) -> Result<Candidates, MemoryError> {
        let ListMemory { scope, limit } = permit.into_operation();
        let limit = self.inner.settings.max_search_results.min(limit);
        let found = self
            .inner
            .run(Pool::Read, move |connection, _| store::entities(connection, &scope, limit))
            .await?;
        Ok(Candidates::new(found))
    }

    /// The relations of a scope by id; at most `max_search_results`.
    pub async fn list_relations(
        &self,
        permit: Permit<ListMemory>,
    ) -> Result<Candidates<RelationView>, MemoryError> {
        let ListMemory { scope, limit } = permit.into_operation();
        let limit = self.inner.settings.max_search_results.min(limit);
        let found = self
            .inner
            .run(Pool::Read, move |connection, _| store::relations(connection, &scope, limit))
            .await?;
        Ok(Candidates::new(found))
    }

    /// Takes no more calls, carries out those that wait, and closes the database. Dropping the last clone does the
    /// same, but blocks its thread for it.
    pub async fn close(&self) {
        let workers = Arc::clone(&self.inner.workers);
        // It fails only when the runtime itself is going away, and then the drop closes.
        let _ = blocking::run(move || workers.close()).await;
    }
}

impl Inner {
    async fn run<T, F>(&self, pool: Pool, job: F) -> Result<T, MemoryError>
    where
        T: Send + 'static,
        F: FnOnce(&mut store::Connection, &store::Cancel<'_>) -> Result<T, MemoryError> + Send + 'static,
    {
        self.workers.run(pool, job).await.inspect_err(|error| count(&self.metrics, error))
    }
}

/// An answer of SQLite that should not happen is an event that the operator watches for.
fn count(metrics: &Metrics, error: &MemoryError) {
    if error.fault() == Fault::Operator {
        metrics.sqlite_events.inc();
    }
}
