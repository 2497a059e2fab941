//! The answers so far, and their output.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::super::{Format, print_lines};
use super::question::{Finding, Question};

const HEADINGS: &str = "question\tanswer\tconsequence";

/// The answers, in the order in which they were found.
pub(super) struct Answers {
    /// Set if they say nothing about a Mac.
    simulated: bool,
    /// The version of the program, if there is one.
    container: Option<String>,
    found: Vec<(Question, Finding)>,
    /// The file that gets each as soon as it is known.
    file: Option<(PathBuf, File)>,
    was_interrupted: bool,
}

impl Answers {
    pub(super) fn begin(simulated: bool, container: Option<String>, file: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            let created = File::create(path).with_context(|| format!("creating {} failed", path.display()))?;
            anyhow::Ok((path.to_owned(), created))
        };
        let file = file.map(create).transpose()?;
        let mut answers = Self { simulated, container, found: Vec::new(), file, was_interrupted: false };
        answers.write(HEADINGS)?;
        Ok(answers)
    }

    pub(super) fn add(&mut self, question: Question, finding: Finding) -> anyhow::Result<()> {
        let line = self.line(question, &finding);
        self.write(&line)?;
        eprintln!("apple-probe: {}", line.replace('\t', "  "));
        self.found.push((question, finding));
        Ok(())
    }

    /// Answers what was not asked: it could not be found out, for this reason.
    pub(super) fn fill_up(&mut self, reason: &str) -> anyhow::Result<()> {
        for question in Question::ALL {
            if !self.has(question) {
                self.add(question, Finding::Unknown(reason.to_owned()))?;
            }
        }
        Ok(())
    }

    /// Notes that not all questions were asked because the user gave up.
    pub(super) fn interrupt(&mut self) {
        self.was_interrupted = true;
    }

    pub(super) fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => print_lines([self.to_json().to_string()]),
            Format::Text => {
                let lines = self.found.iter().map(|(question, finding)| self.line(*question, finding));
                print_lines(std::iter::once(HEADINGS.to_owned()).chain(lines))
            }
        }
    }

    fn has(&self, question: Question) -> bool {
        self.found.iter().any(|(answered, _)| *answered == question)
    }

    fn to_json(&self) -> Value {
        let mut document = json!({
            "kina": kina_engine::VERSION,
            "container": self.container,
            "simulated": self.simulated,
        });
        for (question, finding) in &self.found {
            document[question.name()] = json!({
                "answer": value(finding),
                "consequence": question.consequence(finding),
                "simulated": self.simulated,
            });
        }
        document
    }

    fn line(&self, question: Question, finding: &Finding) -> String {
        let mark = if self.simulated { " (simulated)" } else { "" };
        let consequence = question.consequence(finding);
        // A reason may have several lines.
        let consequence = consequence.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}\t{}{mark}\t{consequence}", question.name(), value(finding))
    }

    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        writeln!(file, "{line}").with_context(|| format!("writing {} failed", path.display()))
    }
}

fn value(finding: &Finding) -> Value {
    match finding {
        // Nothing here is known more exactly.
        Finding::Number(number) => json!((number * 100.0).round() / 100.0),
        Finding::Flag(flag) => json!(flag),
        Finding::Never | Finding::Unknown(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_each_answer_as_soon_as_it_is_known() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("answers.tsv");
        let read = || std::fs::read_to_string(&path).expect("readable");
        let mut answers = Answers::begin(true, Some("an emulator".to_owned()), Some(&path)).expect("begun");
        assert_eq!(read(), format!("{HEADINGS}\n"));
        answers.add(Question::StartMs, Finding::Number(812.345_6)).expect("written");
        let started = read();
        assert!(started.contains("\nstart_ms\t812.35 (simulated)\t"), "{started}");
        answers.fill_up("a reason\nof two lines").expect("written");
        let all = read();
        let lines: Vec<Vec<_>> = all.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), Question::ALL.len() + 1);
        for line in &lines[1..] {
            assert!(line.len() == 3 && line[1].ends_with(" (simulated)") && !line[2].is_empty(), "{line:?}");
        }
        assert!(all.contains("stop_ms\tnull (simulated)\tnot known (a reason of two lines): "), "{all}");
    }

    #[test]
    fn programs_get_values_and_the_mark_of_a_simulation() {
        let mut answers = Answers::begin(true, None, None).expect("begun");
        answers.add(Question::PortReachable, Finding::Flag(true)).expect("added");
        answers.add(Question::AppendVisibleMs, Finding::Never).expect("added");
        let json = answers.to_json();
        assert_eq!(
            (&json["port_reachable"]["answer"], &json["append_visible_ms"]["answer"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!((&json["simulated"], &json["port_reachable"]["simulated"]), (&json!(true), &json!(true)));
        let real = Answers::begin(false, None, None).expect("begun");
        assert!(!real.line(Question::StartMs, &Finding::Number(1.0)).contains("simulated"));
    }
}
