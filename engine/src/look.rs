//! What probes learn together: while nothing has been changed, a question is put to the host once, by whoever asks it first.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::ports::{Clock, StepCx};

/// Between two looks at whether somebody else's question has been answered, in milliseconds.
const WAIT_MS: u64 = 10;

/// Answers that hold for as long as nothing changes the host: of one survey, or of a run until its first effect. Probes of
/// different steps often want to know the same thing, such as what runs in the cluster.
#[derive(Debug, Default)]
pub struct Look(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    over: bool,
    by_question: BTreeMap<String, Slot>,
}

#[derive(Debug)]
enum Slot {
    /// Somebody asks, for as long as this lives: who is cancelled leaves the question to the next one.
    Asked(Weak<()>),
    Known(Arc<dyn Any + Send + Sync>),
}

enum Turn {
    /// The caller asks.
    Mine(Arc<()>),
    Wait,
    Known(Arc<dyn Any + Send + Sync>),
    /// What was learnt does not hold any more.
    Over,
}

impl Look {
    /// Says that something is about to change: from now on everybody asks for himself.
    pub fn end(&self) {
        let mut answers = self.answers();
        answers.over = true;
        answers.by_question.clear();
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, question: &str) -> Turn {
        let mut answers = self.answers();
        if answers.over {
            return Turn::Over;
        }
        match answers.by_question.get(question) {
            Some(Slot::Known(answer)) => return Turn::Known(answer.clone()),
            Some(Slot::Asked(asker)) if asker.strong_count() > 0 => return Turn::Wait,
            _ => {}
        }
        let asker = Arc::new(());
        let slot = Slot::Asked(Arc::downgrade(&asker));
        answers.by_question.insert(question.to_owned(), slot);
        Turn::Mine(asker)
    }

    fn learn(&self, question: &str, answer: Arc<dyn Any + Send + Sync>) {
        let mut answers = self.answers();
        if !answers.over {
            let known = Slot::Known(answer);
            answers.by_question.insert(question.to_owned(), known);
        }
    }

    /// The answer to a question, a failed attempt to get one included. Callers that name a question alike must ask it alike.
    async fn once<T>(&self, clock: &dyn Clock, question: &str, ask: impl Future<Output = T>) -> T
    where
        T: Clone + Send + Sync + 'static,
    {
        loop {
            match self.turn(question) {
                Turn::Wait => clock.sleep(WAIT_MS).await,
                Turn::Over => return ask.await,
                Turn::Known(answer) => {
                    return match answer.downcast::<T>() {
                        Ok(answer) => (*answer).clone(),
                        Err(_) => ask.await,
                    };
                }
                Turn::Mine(asker) => {
                    let answer = ask.await;
                    self.learn(question, Arc::new(answer.clone()));
                    drop(asker);
                    return answer;
                }
            }
        }
    }
}

impl StepCx {
    /// Whether what is asked now may be asked for other steps, too: a survey, or a run before its first effect.
    pub fn looks_together(&self) -> bool {
        self.look.as_ref().is_some_and(|look| !look.answers().over)
    }

    /// Asks a question of which the answer serves every step that asks it under the same name during the same look; outside
    /// of one, asks.
    pub async fn once<T>(&self, question: &str, ask: impl Future<Output = T>) -> T
    where
        T: Clone + Send + Sync + 'static,
    {
        match &self.look {
            Some(look) => look.once(self.clock.as_ref(), question, ask).await,
            None => ask.await,
        }
    }
}
