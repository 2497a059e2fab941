//! The content of a journal: a head line, then a line for each process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Rises with each change that an older engine would misunderstand.
pub(super) const FORMAT: u32 = 1;

/// A process that the engine started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    pub process_id: u32,
    /// The time of its start, in the system's own format.
    pub start: String,
    /// The group that it leads.
    pub process_group: u32,
    pub component: String,
    pub cluster: String,
    /// The directory that it works in and leaves behind.
    pub state_directory: PathBuf,
}

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) kina_journal: u32,
    /// The scope in which process ids are valid.
    pub(super) numbering: String,
}

/// A journal that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) numbering: String,
    pub(super) records: Vec<ProcessRecord>,
    /// Set if its last line is incomplete.
    pub(super) is_torn: bool,
}

/// The reason for not trusting a journal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Distrust {
    #[error("it is not one of kina's journals")]
    Foreign,
    #[error("it has format {0}, and this version knows formats up to {FORMAT}")]
    Newer(u32),
    #[error("its line {0} cannot be parsed")]
    Damaged(usize),
}

/// The text of one line.
pub(super) fn line(content: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(content)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a journal. Only whole lines count.
pub(super) fn parse(bytes: &[u8]) -> Result<Content, Distrust> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let is_torn = whole < bytes.len();
    let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
    let first: serde_json::Value =
        lines.next().and_then(|head| serde_json::from_slice(head).ok()).ok_or(Distrust::Foreign)?;
    // This number is all that is known of a newer format.
    let format = first.get("kina_journal").and_then(serde_json::Value::as_u64).ok_or(Distrust::Foreign)?;
    match u32::try_from(format) {
        Ok(FORMAT) => {}
        Ok(newer) if FORMAT < newer => return Err(Distrust::Newer(newer)),
        _ => return Err(Distrust::Foreign),
    }
    let head: Head = serde_json::from_value(first).map_err(|_| Distrust::Damaged(1))?;
    let records = lines
        .enumerate()
        .map(|(index, line)| serde_json::from_slice(line).map_err(|_| Distrust::Damaged(index + 2)))
        .collect::<Result<_, _>>()?;
    Ok(Content { numbering: head.numbering, records, is_torn })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ProcessRecord {
        ProcessRecord {
            process_id: 77,
            start: "4711".to_owned(),
            process_group: 77,
            component: "etcd".to_owned(),
            cluster: "cluster-1-1".to_owned(),
            state_directory: "/state/clusters/cluster-1-1".into(),
        }
    }

    fn written(records: usize) -> Vec<u8> {
        let head = line(&Head { kina_journal: FORMAT, numbering: "here".to_owned() }).expect("plain data");
        let records = std::iter::repeat_n(line(&record()).expect("plain data"), records).flatten();
        head.into_iter().chain(records).collect()
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let content = Content { numbering: "here".to_owned(), records: vec![record(), record()], is_torn: false };
        assert_eq!(parse(&written(2)), Ok(content));
    }

    #[test]
    fn a_torn_last_line_is_ignored_wherever_it_is_torn() {
        let bytes = written(2);
        let second = written(1).len();
        for end in second + 1..bytes.len() {
            let content = parse(&bytes[..end]).expect("whole lines before it");
            assert!(content.is_torn && content.records == [record()], "torn at {end}");
        }
    }

    #[test]
    fn other_files_are_not_trusted_as_journals() {
        let head = String::from_utf8(written(0)).expect("text");
        let newer = head.replace(&format!("\"kina_journal\":{FORMAT}"), &format!("\"kina_journal\":{}", FORMAT + 1));
        for (text, expected) in [
            (String::new(), Distrust::Foreign),
            ("\n".to_owned(), Distrust::Foreign),
            ("hello\n".to_owned(), Distrust::Foreign),
            ("{}\n".to_owned(), Distrust::Foreign),
            ("{\"kina_journal\":0}\n".to_owned(), Distrust::Foreign),
            ("{\"kina_journal\":99999999999}\n".to_owned(), Distrust::Foreign),
            (head.trim_end().to_owned(), Distrust::Foreign),
            (format!("{newer}whatever comes\n"), Distrust::Newer(FORMAT + 1)),
            (format!("{{\"kina_journal\":{FORMAT}}}\n"), Distrust::Damaged(1)),
            (format!("{head}nonsense\n"), Distrust::Damaged(2)),
            (format!("{head}\n"), Distrust::Damaged(2)),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert_eq!(parse(&[0xff, b'\n']), Err(Distrust::Foreign));
    }
}
