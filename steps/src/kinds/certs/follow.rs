//! From asking to having: certificates are followed, diagnosed, cured where that is allowed, and followed on.

use wiab_engine::outcome::{Failure, Residue, RetryAdvice};

use super::super::only_looked;
use super::cure::{Cured, Cures, Healer};
use super::verdict::Case;
use super::watch::{News, Watch};
use crate::certs::{NAMESPACE, Ready, Standing};
use crate::kind::Pace;

/// How long trouble without a known cause is waited out after its evidence was taken, in milliseconds.
const HOPE_MS: u64 = 300_000;

/// How long diagnoses and cures may take besides, in milliseconds.
const MARGIN_MS: u64 = 600_000;

/// How long a step takes that follows certificates for so long.
pub(super) fn pace(deadline_ms: u64) -> Pace {
    Pace {
        timeout_ms: deadline_ms.saturating_add(MARGIN_MS),
        usual_ms: 90_000,
        ..Pace::QUICK
    }
}

/// Certificates that are waited for, and how long, in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) names: Vec<&'a str>,
    pub(super) deadline_ms: u64,
}

/// Follows them to their end; what was temporary is gone then.
pub(super) async fn follow(
    case: Case<'_>,
    wanted: Wanted<'_>,
    cures: Option<&Cures>,
) -> Result<Vec<Ready>, Failure> {
    let Some(cures) = cures else {
        // Asking for another attempt is no state that anybody could restore.
        return watched(case, wanted, None).await.map_err(only_looked);
    };
    let mut healer = Healer::new(cures, case);
    let done = watched(case, wanted, Some(&mut healer)).await;
    // A question waits for its answer.
    if let Err(failure) = &done
        && failure.advice == RetryAdvice::AskOperator
        && !healer.has_acted()
    {
        return done.map_err(only_looked);
    }
    let how = match &done {
        Ok(_) => "the certificate is there",
        Err(_) => "the certificate is not waited for any more",
    };
    let settled = cures.settle(case.sh, how).await;
    let residue = if healer.has_acted() {
        Residue::Dirty
    } else {
        Residue::Clean
    };
    match (done, settled) {
        (Ok(ready), Ok(())) => Ok(ready),
        (Err(failure), Ok(())) => Err(Failure { residue, ..failure }),
        (_, Err(failure)) => Err(failure),
    }
}

async fn watched(
    case: Case<'_>,
    wanted: Wanted<'_>,
    mut healer: Option<&mut Healer<'_>>,
) -> Result<Vec<Ready>, Failure> {
    let mut watch = Watch::new(
        case.sh,
        case.toolbox,
        wanted.names.clone(),
        wanted.deadline_ms,
    );
    let mut last: Option<Failure> = None;
    loop {
        match watch.next().await? {
            News::Ready(ready) => return Ok(ready),
            News::Trouble(trouble) => {
                let ranking = case.diagnose(&trouble).await?;
                if let Some(healer) = healer.as_deref_mut() {
                    match healer.heal(&trouble, &ranking).await? {
                        Cured::Yes => {
                            watch.cured();
                            continue;
                        }
                        Cured::Failed(failure) => return Err(failure),
                        Cured::No => {}
                    }
                }
                let failure = case.failure(&trouble, &ranking);
                // While nobody complains, what was merely seen beside it may have nothing to do with the quiet.
                let quiet = trouble.complaint.is_empty();
                let known = ranking
                    .first()
                    .is_some_and(|first| !(quiet && first.standing == Standing::Seen));
                if known || trouble.look.failed.is_some() {
                    return Err(failure);
                }
                // What is not known may still go away by itself.
                watch.hope(HOPE_MS);
                last = Some(failure);
            }
            News::Late => return Err(last.unwrap_or_else(|| late(&wanted, watch.said()))),
        }
    }
}

fn late(wanted: &Wanted<'_>, last: &str) -> Failure {
    let seconds = wanted.deadline_ms / 1_000;
    Failure::clean(format!(
        "certificate {} was not issued within {seconds} s: {last}",
        wanted.names.join(", ")
    ))
    .hint(format!(
        "look at `kubectl describe certificate,order,challenge -n {NAMESPACE}`; then `wiab apply --resume`"
    ))
    .code("cert.late")
}
