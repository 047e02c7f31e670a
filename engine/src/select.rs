//! A part of a plan: the steps that were asked for, and those whose outputs they use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::StepId;
use crate::inputs;
use crate::plan::{Plan, StepSpec};

/// Which steps of a plan are wanted. A word is a step's id or the beginning of one up to a `.` or `:`: `net`, `vm.ready`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; empty means all.
    pub only: Vec<String>,
    /// Only these and everything that comes before them; empty means all.
    pub until: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
}

/// Why a part of a plan cannot be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No step has that id and no area that name.
    #[error("the plan has no step and no area `{word}`{}", .near.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?")))]
    Unknown {
        /// The word.
        word: String,
        /// The closest known id or area.
        near: Option<String>,
    },
    /// Nothing is left.
    #[error("no step is left of the plan `{plan}`")]
    Nothing {
        /// The plan.
        plan: String,
    },
}

/// Between a plan's name and its selection.
const SPACE: char = ' ';

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("only", &self.only),
            ("until", &self.until),
            ("skip", &self.skip),
        ];
        let texts: Vec<String> = parts
            .iter()
            .filter(|(_, words)| !words.is_empty())
            .map(|(name, words)| format!("{name}={}", words.join(",")))
            .collect();
        f.write_str(&texts.join(" "))
    }
}

impl Selection {
    /// Whether all steps are wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a step or an area of `plan` has the name `word`.
    pub fn knows(plan: &Plan, word: &str) -> bool {
        plan.steps.iter().any(|step| matches(word, &step.id))
    }

    /// The selection that made a plan, as its name tells: `wiab-staging only=net,vm skip=hp`.
    pub fn of(plan: &Plan) -> Self {
        let mut selection = Self::default();
        for part in plan.name.split(SPACE).skip(1) {
            let Some((name, words)) = part.split_once('=') else {
                continue;
            };
            let words = words.split(',').map(str::to_owned);
            match name {
                "only" => selection.only.extend(words),
                "until" => selection.until.extend(words),
                "skip" => selection.skip.extend(words),
                _ => {}
            }
        }
        selection
    }

    /// The part of `plan` that is wanted: the wanted steps, and those that leave outputs which they use, in the plan's order.
    /// Steps that are left out still order those around them. The plan's name tells the selection.
    pub fn apply(&self, plan: &Plan) -> Result<Plan, SelectError> {
        if self.is_all() {
            return Ok(plan.clone());
        }
        let wanted = self.wanted(plan)?;
        if wanted.is_empty() {
            return Err(SelectError::Nothing {
                plan: plan.name.clone(),
            });
        }
        let kept = with_providers(plan, &wanted);
        let before = ordered_after(plan, &kept);
        let steps = plan.steps.iter().filter(|step| kept.contains(&step.id));
        Ok(Plan {
            name: format!("{}{SPACE}{self}", plan.name),
            steps: steps
                .map(|step| StepSpec {
                    after: before.get(&step.id).cloned().unwrap_or_default(),
                    ..step.clone()
                })
                .collect(),
        })
    }

    /// Steps of a selected plan that are only there because others use their outputs: they are looked at and must be as
    /// wanted already.
    pub fn providers<'a>(&self, plan: &'a Plan) -> Vec<&'a StepSpec> {
        if self.only.is_empty() && self.skip.is_empty() {
            return Vec::new();
        }
        let steps = plan.steps.iter();
        steps
            .filter(|step| {
                let chosen = self.only.is_empty() || matches_any(&self.only, &step.id);
                !chosen || matches_any(&self.skip, &step.id)
            })
            .collect()
    }

    fn wanted(&self, plan: &Plan) -> Result<BTreeSet<StepId>, SelectError> {
        for word in self.only.iter().chain(&self.until).chain(&self.skip) {
            if !Self::knows(plan, word) {
                return Err(unknown(plan, word));
            }
        }
        let ids = || plan.steps.iter().map(|step| &step.id);
        let reach = (!self.until.is_empty()).then(|| {
            let last = ids().filter(|id| matches_any(&self.until, id)).cloned();
            ancestors(plan, last.collect())
        });
        Ok(ids()
            .filter(|id| self.only.is_empty() || matches_any(&self.only, id))
            .filter(|id| reach.as_ref().is_none_or(|reach| reach.contains(*id)))
            .filter(|id| !matches_any(&self.skip, id))
            .cloned()
            .collect())
    }
}

fn matches(word: &str, id: &StepId) -> bool {
    let rest = id.as_str().strip_prefix(word);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
}

fn matches_any(words: &[String], id: &StepId) -> bool {
    words.iter().any(|word| matches(word, id))
}

fn unknown(plan: &Plan, word: &str) -> SelectError {
    let mut known: BTreeSet<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    known.extend(plan.steps.iter().map(|step| step.id.area()));
    SelectError::Unknown {
        word: word.to_owned(),
        near: crate::text::nearest(word, known.into_iter()).map(str::to_owned),
    }
}

/// The steps and everything that they come after.
fn ancestors(plan: &Plan, steps: Vec<StepId>) -> BTreeSet<StepId> {
    let by_id: BTreeMap<&StepId, &StepSpec> =
        plan.steps.iter().map(|step| (&step.id, step)).collect();
    let mut found = BTreeSet::new();
    let mut open = steps;
    while let Some(id) = open.pop() {
        if let Some(step) = by_id.get(&id).filter(|_| found.insert(id.clone())) {
            open.extend(step.after.iter().cloned());
        }
    }
    found
}

/// The steps and those whose outputs they use, directly or not.
fn with_providers(plan: &Plan, wanted: &BTreeSet<StepId>) -> BTreeSet<StepId> {
    let mut kept = wanted.clone();
    let by_id: BTreeMap<&StepId, &StepSpec> =
        plan.steps.iter().map(|step| (&step.id, step)).collect();
    let mut open: Vec<StepId> = wanted.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let Some(step) = by_id.get(&id) else {
            continue;
        };
        if let Ok(value) = serde_json::from_str(&step.inputs) {
            inputs::references(&value, &mut |from, _| {
                if kept.insert(from.clone()) {
                    open.push(from.clone());
                }
            });
        }
    }
    kept
}

/// For each kept step the kept ones that it comes after, directly or through steps that are left out.
fn ordered_after(plan: &Plan, kept: &BTreeSet<StepId>) -> BTreeMap<StepId, Vec<StepId>> {
    let mut nearest: BTreeMap<StepId, BTreeSet<StepId>> = BTreeMap::new();
    for at in crate::graph::order(plan) {
        let Some(step) = plan.steps.get(at) else {
            continue;
        };
        let mut before = BTreeSet::new();
        for id in &step.after {
            if kept.contains(id) {
                before.insert(id.clone());
            } else {
                before.extend(nearest.get(id).into_iter().flatten().cloned());
            }
        }
        nearest.insert(step.id.clone(), before);
    }
    let lists = nearest.into_iter();
    lists
        .filter(|(id, _)| kept.contains(id))
        .map(|(id, before)| (id, before.into_iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::UndoClass;
    use crate::plan::RetryPolicy;

    fn id(text: &str) -> StepId {
        StepId::new(text).unwrap()
    }

    fn step(name: &str, after: &[&str], inputs: &str) -> StepSpec {
        StepSpec {
            id: id(name),
            kind: "k/1".into(),
            summary: String::new(),
            undo_summary: String::new(),
            after: after.iter().map(|name| id(name)).collect(),
            lanes: Vec::new(),
            undo: UndoClass::Reversible,
            idempotent: true,
            retry: RetryPolicy::NEVER,
            timeout_ms: 1,
            usual_ms: 1,
            inputs: inputs.into(),
        }
    }

    /// `host.a` → `net.b` → `vm.c:one`, `vm.c:two` → `hp.d`, which uses an output of `net.b`.
    fn plan() -> Plan {
        Plan {
            name: "p".into(),
            steps: vec![
                step("host.a", &[], "{}"),
                step("net.b", &["host.a"], "{}"),
                step("vm.c:one", &["net.b"], "{}"),
                step("vm.c:two", &["net.b"], "{}"),
                step(
                    "hp.d",
                    &["vm.c:one", "vm.c:two"],
                    r#"{"x":{"$output":["net.b","y"]}}"#,
                ),
            ],
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn select(only: &str, until: &str, skip: &str) -> Result<(String, Vec<String>), SelectError> {
        let selection = Selection {
            only: words(only),
            until: words(until),
            skip: words(skip),
        };
        let part = selection.apply(&plan())?;
        part.check().unwrap();
        assert_eq!(Selection::of(&part), selection);
        let shown = |step: &StepSpec| {
            let after: Vec<&str> = step.after.iter().map(StepId::as_str).collect();
            format!("{} <- {}", step.id, after.join(","))
        };
        let providers = selection.providers(&part);
        let steps = part.steps.iter().map(shown).collect();
        let providers: Vec<&str> = providers.iter().map(|step| step.id.as_str()).collect();
        Ok((providers.join(" "), steps))
    }

    #[test]
    fn parts_keep_their_order_and_what_they_use() {
        let cases = [
            ("hp", "", "", "net.b", &["net.b <- ", "hp.d <- net.b"][..]),
            (
                "vm.c host",
                "",
                "",
                "",
                &["host.a <- ", "vm.c:one <- host.a", "vm.c:two <- host.a"],
            ),
            (
                "",
                "vm.c:one",
                "",
                "",
                &["host.a <- ", "net.b <- host.a", "vm.c:one <- net.b"],
            ),
            (
                "",
                "",
                "vm net.b",
                "net.b",
                &["host.a <- ", "net.b <- host.a", "hp.d <- net.b"],
            ),
            ("vm", "", "vm.c:two", "", &["vm.c:one <- "]),
        ];
        for (only, until, skip, providers, steps) in cases {
            let (found, list) = select(only, until, skip).unwrap();
            assert_eq!(
                (found.as_str(), &list[..]),
                (
                    providers,
                    &steps.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                ),
                "{only}/{until}/{skip}"
            );
        }
        let all = Selection::default();
        assert_eq!(all.apply(&plan()).unwrap(), plan());
        assert!(all.providers(&plan()).is_empty());
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_is_near() {
        assert_eq!(
            select("", "", "nett").unwrap_err().to_string(),
            "the plan has no step and no area `nett`; did you mean `net`?"
        );
        assert!(matches!(
            select("vm", "", "vm"),
            Err(SelectError::Nothing { .. })
        ));
        // Half a word is none.
        assert!(select("ho", "", "").is_err());
    }
}
