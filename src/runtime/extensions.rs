//! The effects of extensions of MCP: tasks and skills.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::effects::{Caller, EffectError, Effects};
use super::servers::{ServerItems, failed};
use crate::authz::{Denied, Permit, Refusal};
use crate::model::{
    DecisionId, FollowTask, FollowUnknownTask, GetSkill, ListSkills, ReadResource, ReasonCode, SeeTool,
    ServerName, TaskStep,
};
use crate::tools::{CallOptions, TaskAnswer, ToolError};

impl Effects {
    /// Reads the state of a task, answers its questions or ends it. Who may make no call of its tool any more may only end it.
    pub async fn follow_task(
        &self,
        caller: Caller<'_>,
        operation: FollowTask,
        options: CallOptions,
    ) -> Result<(TaskAnswer, DecisionId), EffectError> {
        let (tool, step) = (operation.task.tool.clone(), operation.step);
        let permit = self.admit(caller, operation).await?;
        let decision = permit.decision();
        if step != TaskStep::Cancel {
            let known = self.tools().get(&tool);
            let asked = known.map(|tool| SeeTool { tool: Arc::clone(tool.descriptor()) });
            let seen = self.guard().admit_each(&permit.listing(), asked.into_iter().collect()).await?;
            if seen.into_iter().map(Permit::into_operation).next().is_none() {
                return Err(EffectError::Tool { decision, error: ToolError::NotPermitted { tool } });
            }
        }
        let followed = self.tools().follow_task(permit, options).await;
        followed.map(|answer| (answer, decision)).map_err(failed(decision))
    }

    /// Records a step with a task that is none of the caller's. Who tries names is limited as who calls.
    pub async fn refuse_task(&self, (subject, context): Caller<'_>, step: TaskStep) -> Denied {
        let operation = FollowUnknownTask { step, owner: subject.principal().clone() };
        let refusal = Refusal::because(ReasonCode::TaskUnknown);
        self.guard().refuse(subject, &operation, refusal, context).await
    }

    /// The skills that the caller may get, of all servers or of one.
    pub async fn list_skills(
        &self,
        (subject, context): Caller<'_>,
        only: Option<&ServerName>,
    ) -> Result<ServerItems, EffectError> {
        let permit = self.guard().admit(subject, ListSkills, context).await?;
        let listing = permit.listing();
        let offered = self.tools().skills(permit, only).await;
        let permits = self.guard().admit_each(&listing, offered.questions()).await?;
        Ok(offered.release(permits))
    }

    /// Gets one skill.
    pub async fn get_skill(
        &self,
        caller: Caller<'_>,
        operation: GetSkill,
        options: CallOptions,
    ) -> Result<Map<String, Json>, EffectError> {
        let permit = self.admit(caller, operation).await?;
        let decision = permit.decision();
        self.tools().skill(permit, options).await.map_err(failed(decision))
    }

    /// The entries of a directory of resources that the caller may read, and what else the server said.
    pub async fn read_directory(
        &self,
        (subject, context): Caller<'_>,
        operation: ReadResource,
        options: CallOptions,
    ) -> Result<(Vec<Json>, Map<String, Json>), EffectError> {
        let permit = self.guard().admit(subject, operation, context).await?;
        let (listing, decision) = (permit.listing(), permit.decision());
        let offered = self.tools().directory(permit, options).await.map_err(failed(decision))?;
        let permits = self.guard().admit_each(&listing, offered.questions()).await?;
        Ok(offered.release(permits))
    }
}
