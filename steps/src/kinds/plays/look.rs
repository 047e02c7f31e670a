//! One login per machine for a whole list of questions, and what the answers come to.

use std::collections::BTreeMap;

use wiab_engine::outcome::{Failure, Probe, Receipt};

use super::super::at_once::all;
use super::super::login::SSH_FAILED;
use super::{Site, SiteHost};
use crate::host::quote;
use crate::host::shell::{InTime, Shell};

/// Longest list of questions on one machine, in milliseconds: nodetool alone takes seconds.
const ASK_MS: u64 = 90_000;

/// A question: the name of its answer, and a command that runs as root.
pub(crate) type Question<'a> = (&'a str, Vec<&'a str>);

/// A question.
pub(crate) fn question<'a>(name: &'a str, argv: &[&'a str]) -> Question<'a> {
    (name, argv.to_vec())
}

/// What a command answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it ended with 0.
    pub(crate) ok: bool,
    /// Its standard output, without the empty lines around it.
    pub(crate) text: String,
}

/// What a machine answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It cannot be asked, and why.
    Silent(String),
    /// Its answers by name.
    Said(BTreeMap<String, Answer>),
}

impl Told {
    /// An answer; that of a silent machine is an empty no.
    pub(crate) fn answer(&self, name: &str) -> Answer {
        match self {
            Self::Silent(_) => Answer::default(),
            Self::Said(answers) => answers.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Whether a command ended with 0.
    pub(crate) fn yes(&self, name: &str) -> bool {
        self.answer(name).ok
    }

    /// The text of an answer.
    pub(crate) fn text(&self, name: &str) -> String {
        self.answer(name).text
    }
}

const BEGIN: &str = "@@wiab-begin ";
const YES: &str = "@@wiab-yes";
const NO: &str = "@@wiab-no";

/// The line that asks everything: a command that is missing or fails is a no, and the next one follows.
fn script(questions: &[Question<'_>]) -> String {
    let ask = |(name, argv): &Question<'_>| {
        let words: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        format!(
            "printf '{BEGIN}{name}\\n'; {} 2>/dev/null && printf '\\n{YES}\\n' || printf '\\n{NO}\\n'",
            quote(&words)
        )
    };
    let all: Vec<String> = questions.iter().map(ask).collect();
    all.join("; ")
}

fn parse(text: &str) -> BTreeMap<String, Answer> {
    let mut answers = BTreeMap::new();
    let (mut name, mut said) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(begun) = line.strip_prefix(BEGIN) {
            begun.clone_into(&mut name);
            said.clear();
        } else if line == YES || line == NO {
            let answer = Answer {
                ok: line == YES,
                text: said.trim_matches('\n').to_owned(),
            };
            answers.insert(name.clone(), answer);
        } else {
            said.push_str(line);
            said.push('\n');
        }
    }
    answers
}

/// Asks one machine everything in one login.
pub(crate) async fn ask(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    questions: &[Question<'_>],
) -> Result<Told, Failure> {
    let line = script(questions);
    let cmd = site.on(host, &["sh", "-c", &line]).timeout_ms(ASK_MS);
    let output = match sh.in_time(&cmd).await? {
        InTime::Ended(output) => output,
        InTime::No { after_ms } => {
            let said = format!("no answer within {} s", after_ms / 1_000);
            return Ok(Told::Silent(said));
        }
        InTime::NoProgram => return Ok(Told::Silent("`ssh` is not installed".to_owned())),
    };
    if output.code == SSH_FAILED {
        let said = output.error_text();
        let last = said.lines().next_back().unwrap_or("ssh gave no reason");
        return Ok(Told::Silent(last.to_owned()));
    }
    let answers = parse(&output.text());
    if answers.len() < questions.len() {
        let said = output.error_text();
        let last = said.lines().next_back().unwrap_or("it broke off");
        return Ok(Told::Silent(last.to_owned()));
    }
    Ok(Told::Said(answers))
}

/// Asks machines at once, each its own questions; the answers are in their order.
pub(crate) async fn ask_each<'a>(
    sh: Shell<'_>,
    site: &Site,
    asks: Vec<(&'a SiteHost, Vec<Question<'_>>)>,
) -> Result<Vec<(&'a SiteHost, Told)>, Failure> {
    let branches = asks
        .iter()
        .map(|(host, questions)| ask(sh, site, host, questions));
    let told = all(sh, branches.collect()).await.into_iter();
    asks.iter()
        .zip(told)
        .map(|((host, _), told)| Ok((*host, told?)))
        .collect()
}

/// Asks machines the same at once.
pub(crate) async fn ask_all<'a>(
    sh: Shell<'_>,
    site: &Site,
    hosts: impl Iterator<Item = &'a SiteHost>,
    questions: &[Question<'_>],
) -> Result<Vec<(&'a SiteHost, Told)>, Failure> {
    let asks = hosts.map(|host| (host, questions.to_vec())).collect();
    ask_each(sh, site, asks).await
}

/// One machine where an effect follows: one that cannot be asked is a failure.
pub(crate) async fn must_ask(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    questions: &[Question<'_>],
) -> Result<Told, Failure> {
    match ask(sh, site, host, questions).await? {
        Told::Silent(why) => Err(unreachable(site, host, &why)),
        told @ Told::Said(_) => Ok(told),
    }
}

/// A machine does not answer. What was done before that nobody says here.
pub(crate) fn unreachable(site: &Site, host: &SiteHost, why: &str) -> Failure {
    Failure::dirty(format!("{} does not answer: {why}", host.name))
        .retry()
        .hint(format!(
            "look whether it runs (`virsh domstate {0}`, `virsh start {0}`) and whether it lets you in: ssh -i {1} {2}@{3}",
            host.name, site.login.key_path, site.login.user, host.ip
        ))
        .code("cluster.unreachable")
}

/// What a look found, part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What is as wanted.
    pub(crate) there: Vec<String>,
    /// What is not, and how it is instead.
    pub(crate) missing: Vec<String>,
    /// What the receipt says, such as versions.
    pub(crate) notes: Vec<String>,
}

impl Found {
    /// Notes one part.
    pub(crate) fn part(
        &mut self,
        good: bool,
        there: impl Into<String>,
        missing: impl Into<String>,
    ) {
        if good {
            self.there.push(there.into());
        } else {
            self.missing.push(missing.into());
        }
    }

    /// Notes a machine that cannot be asked; answers whether it was one.
    pub(crate) fn silent(&mut self, host: &SiteHost, told: &Told) -> bool {
        let Told::Silent(why) = told else {
            return false;
        };
        self.missing
            .push(format!("{} does not answer ({why})", host.name));
        true
    }

    /// Whether everything is as wanted.
    pub(crate) fn whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// One line for the receipt.
    pub(crate) fn note(&self) -> String {
        let mut notes = self.notes.clone();
        notes.dedup();
        notes.join(", ")
    }

    /// What a step makes of it.
    pub(crate) fn probe(self) -> Probe {
        if self.whole() {
            return Probe::Satisfied(Receipt::note(self.note()));
        }
        if self.there.is_empty() {
            return Probe::Absent;
        }
        Probe::Partial {
            what: format!(
                "there: {}; not: {}",
                self.there.join(", "),
                self.missing.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_whatever_they_say() {
        let text = "@@wiab-begin a\none\ntwo\n\n@@wiab-yes\n@@wiab-begin b\n\n@@wiab-no\n@@wiab-begin c\nx\n\n@@wiab-yes\n";
        let answers = parse(text);
        assert_eq!(answers["a"].text, "one\ntwo");
        assert!(answers["a"].ok && answers["c"].ok && !answers["b"].ok);
        assert_eq!(answers["b"].text, "");
    }

    #[test]
    fn words_of_questions_are_quoted() {
        let line = script(&[question("x", &["cat", "/a b;rm -rf /"])]);
        assert!(line.contains("cat '/a b;rm -rf /' 2>/dev/null"), "{line}");
    }
}
