//! `--only`, `--until`, `--skip`: a part of the plan.

use wiab_engine::plan::Plan;
use wiab_engine::select::{SelectError, Selection};
use wiab_engine::survey::{Finding, Survey};

use crate::app::App;
use crate::cli::SelectArgs;
use crate::exit::Code;
use crate::problem::Problem;

/// Most steps that a message names.
const NAMED_MAX: usize = 5;

impl SelectArgs {
    /// The selection.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            only: self.only.clone(),
            until: self.until.clone(),
            skip: self.skip.clone(),
        }
    }

    /// Refuses a selection beside what already is one.
    pub(crate) fn refuse_with(&self, what: &str) -> Result<(), Problem> {
        if self.selection().is_all() {
            return Ok(());
        }
        Err(Problem::new(
            Code::Usage,
            format!(
                "--only, --until and --skip cannot be used with {what}, which has its steps already"
            ),
        ))
    }
}

/// The wanted part of a plan.
pub(crate) fn part(selection: &Selection, plan: &Plan) -> Result<Plan, Problem> {
    selection.apply(plan).map_err(|error| {
        let code = match error {
            SelectError::Unknown { .. } => Code::Usage,
            SelectError::Nothing { .. } => Code::BadPlan,
        };
        Problem::new(code, error.to_string()).hint("`wiab graph` lists the steps")
    })
}

/// Steps outside the wanted part whose outputs it uses, but which are not as wanted: what is in the way of applying.
pub(crate) fn unready(app: &App, plan: &Plan, survey: &Survey) -> Option<Problem> {
    let selection = Selection::of(plan);
    let missing: Vec<&str> = selection
        .providers(plan)
        .into_iter()
        .filter(|step| {
            !survey
                .findings
                .get(&step.id)
                .is_some_and(Finding::is_satisfied)
        })
        .map(|step| step.id.as_str())
        .collect();
    let first = missing.first()?;
    let more = missing.len().saturating_sub(NAMED_MAX);
    let mut named = missing.get(..NAMED_MAX).unwrap_or(&missing).join(", ");
    if more > 0 {
        named = format!("{named} and {more} more");
    }
    Some(
        Problem::new(
            Code::BadPlan,
            format!("this part of the plan uses outputs of steps outside of it that are not as wanted: {named}"),
        )
        .hint(format!(
            "wiab apply --until {first}{}   does them first; nothing was changed",
            app.suffix()
        )),
    )
}
