//! The progress of a waiting client: each step once, and signs of life in between.

use crate::protocol::EngineMessage;

/// The last step that a client was told.
#[derive(Debug, Default)]
pub(super) struct Steps {
    told: Option<String>,
}

impl Steps {
    /// The message for a client whose request is at this step now. A step is reported only if it differs from the last.
    pub(super) fn message(&mut self, step: &str) -> EngineMessage {
        if self.told.as_deref() == Some(step) {
            return EngineMessage::Alive;
        }
        self.told = Some(step.to_owned());
        EngineMessage::Progress { text: step.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_news_once() {
        let mut steps = Steps::default();
        let mut told = Vec::new();
        for step in
            ["building", "building", "building: 10 s", "building: 10 s", "building: 10 s", "booting", "building"]
        {
            match steps.message(step) {
                EngineMessage::Progress { text } => told.push(text),
                EngineMessage::Alive => told.push("-".to_owned()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, ["building", "-", "building: 10 s", "-", "-", "booting", "building"]);
    }
}
