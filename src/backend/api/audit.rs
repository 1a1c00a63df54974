//! `/v1/audit/…`: read-back for whoever judges a run. Reads only.

use serde::Deserialize;

use super::{
    Call, READ, Route,
    json::{
        ChargeJson, ChargesJson, IssueJson, IssuesJson, JobAnswerJson, JobBody, JobJson, JobsJson,
        PageBody, SessionAnswer,
    },
    reply::{Reply, json},
    route,
};
use crate::backend::{
    platform::token::Role,
    wire::{
        AccountKind, ChargesAnswer, Credentials, IssuesAnswer, IssuesAsk, JobAnswer, JobAsk,
        JobsAnswer, LoginAnswer, PageAsk,
    },
};

const AUDITOR: Option<Role> = Some(Role::Auditor);

/// Its paths.
pub const ROUTES: &[Route] = &[
    route!("/v1/audit/jobs", AUDITOR, jobs),
    route!("/v1/audit/charges", AUDITOR, charges),
    route!("/v1/audit/job", AUDITOR, job),
    route!("/v1/audit/issues", AUDITOR, issues),
    route!("/v1/audit/login", None, login),
];

#[derive(Deserialize)]
struct SecretBody {
    secret: String,
}

async fn login(call: Call) -> Reply {
    let body: SecretBody = call.read()?;
    let kind = AccountKind::Auditor.into();
    let ask = Credentials { kind, secret: body.secret, ..Credentials::default() };
    let LoginAnswer { account, token, expires_in_ms } =
        call.node.rpc.call("/core/login/login", &ask, READ).await?;
    json(&SessionAnswer { account, token, expires_in_ms })
}

async fn job(call: Call) -> Reply {
    let body: JobBody = call.read()?;
    let found: JobAnswer =
        call.node.rpc.call("/core/job/get", &JobAsk { job: body.job }, READ).await?;
    json(&JobAnswerJson { job: found.job.as_ref().map(JobJson::of_audit), replayed: false })
}

async fn jobs(call: Call) -> Reply {
    let body: PageBody = call.read()?;
    let ask = PageAsk { after: body.after, limit: body.limit };
    let page: JobsAnswer = call.node.rpc.call("/core/job/page", &ask, READ).await?;
    json(&JobsJson { jobs: page.jobs.iter().map(JobJson::of_audit).collect(), next: page.next })
}

async fn charges(call: Call) -> Reply {
    let body: PageBody = call.read()?;
    let ask = PageAsk { after: body.after, limit: body.limit };
    let page: ChargesAnswer = call.node.rpc.call("/core/charge/page", &ask, READ).await?;
    let charges = page.charges.iter().map(ChargeJson::of).collect();
    json(&ChargesJson { charges, next: page.next })
}

/// What is wrong with live jobs now, as far as the instance that answers has heard.
async fn issues(call: Call) -> Reply {
    let path = "/orchestration/live-issues/list";
    let found: IssuesAnswer = call.node.rpc.call(path, &IssuesAsk {}, READ).await?;
    let issues = found.issues.into_iter().map(IssueJson::from).collect();
    json(&IssuesJson { issues, watched: found.watched })
}
