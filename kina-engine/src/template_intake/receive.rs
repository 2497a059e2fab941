use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::fixtures::{FixtureSet, Overlay, Source};

/// The texts that a template may have: as many as twenty folders that are as full as a folder may be.
const TEXTS_MAX: u64 = 200_000;

/// The content of a template as it came from a client. Only a thread of the reader finds out if it is text.
#[derive(Debug)]
pub(crate) struct ReceivedContent {
    overlays: Vec<ReceivedOverlay>,
}

#[derive(Debug)]
struct ReceivedOverlay {
    name: Vec<u8>,
    /// The name and the text of each source.
    sources: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The reason for which a client's content was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReceived {
    /// The connection ended, or cannot be read.
    #[error("reading the content of a template from the client failed")]
    Socket(#[from] io::Error),
    /// Lengths within the content do not add up to what was announced.
    #[error("the content of the template is not of the length that its client announced")]
    Length,
    /// Too many texts.
    #[error("the template has more than {TEXTS_MAX} texts: join some of its files")]
    TextCount,
}

/// The rest of a content that has a known length.
struct Announced<'a, Reader> {
    reader: &'a mut Reader,
    bytes_left: u64,
    texts_left: u64,
}

/// Reads content of exactly this length, in the form in which [`FixtureSet::parts`] has it.
///
/// # Errors
/// If the connection ends before, or the content is not of that form. Nothing is reserved for a length that goes beyond
/// the announced one.
pub(crate) async fn receive(reader: &mut (impl AsyncRead + Unpin), bytes: u64) -> Result<ReceivedContent, NotReceived> {
    let mut announced = Announced { reader, bytes_left: bytes, texts_left: TEXTS_MAX };
    let mut overlays = Vec::new();
    for _ in 0..announced.number().await? {
        let name = announced.text().await?;
        let mut sources = Vec::new();
        for _ in 0..announced.number().await? {
            sources.push((announced.text().await?, announced.text().await?));
        }
        overlays.push(ReceivedOverlay { name, sources });
    }
    match announced.bytes_left {
        0 => Ok(ReceivedContent { overlays }),
        _ => Err(NotReceived::Length),
    }
}

impl ReceivedContent {
    /// The set, without a copy; `None` if a part of it is no text.
    pub(crate) fn into_set(self) -> Option<FixtureSet> {
        let overlays = self.overlays.into_iter().map(|ReceivedOverlay { name, sources }| {
            let sources = sources.into_iter().map(|(name, text)| {
                Some(Source { name: String::from_utf8(name).ok()?, text: String::from_utf8(text).ok()? })
            });
            Some(Overlay { name: String::from_utf8(name).ok()?, sources: sources.collect::<Option<_>>()? })
        });
        Some(FixtureSet { overlays: overlays.collect::<Option<_>>()? })
    }
}

impl<Reader: AsyncRead + Unpin> Announced<'_, Reader> {
    async fn number(&mut self) -> Result<u64, NotReceived> {
        self.bytes_left = self.bytes_left.checked_sub(8).ok_or(NotReceived::Length)?;
        Ok(self.reader.read_u64().await?)
    }

    async fn text(&mut self) -> Result<Vec<u8>, NotReceived> {
        let length = self.number().await?;
        self.texts_left = self.texts_left.checked_sub(1).ok_or(NotReceived::TextCount)?;
        self.bytes_left = self.bytes_left.checked_sub(length).ok_or(NotReceived::Length)?;
        let mut text = Vec::with_capacity(usize::try_from(length).map_err(|_| NotReceived::Length)?);
        let mut reader = (&mut *self.reader).take(length);
        while (text.len() as u64) < length {
            if reader.read_buf(&mut text).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> FixtureSet {
        let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
        let overlay = |name: &str, sources| Overlay { name: name.to_owned(), sources };
        let first = overlay("crds", vec![source("a.yaml", "kind: A\n"), source("b.yaml", "")]);
        FixtureSet { overlays: vec![first, overlay("größer", Vec::new())] }
    }

    fn sent(set: &FixtureSet) -> Vec<u8> {
        set.parts().flat_map(|part| part.bytes().to_vec()).collect()
    }

    #[tokio::test]
    async fn content_comes_out_as_it_was_sent() {
        for set in [set(), FixtureSet::default()] {
            let bytes = sent(&set);
            assert_eq!(bytes.len() as u64, set.content_bytes());
            let received = receive(&mut bytes.as_slice(), set.content_bytes()).await.expect("received");
            assert_eq!(received.into_set(), Some(set));
        }
    }

    #[tokio::test]
    async fn content_of_another_length_than_announced_is_refused() {
        let bytes = sent(&set());
        for announced in [0, 7, 8, 30, bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
            let refused = receive(&mut bytes.as_slice(), announced).await.expect_err("refused");
            assert!(matches!(refused, NotReceived::Length), "{announced}: {refused}");
        }
        let cut = &bytes[..bytes.len() - 3];
        assert!(matches!(receive(&mut &*cut, bytes.len() as u64).await, Err(NotReceived::Socket(_))));
    }

    #[tokio::test]
    async fn a_length_without_end_takes_no_memory() {
        let bytes = [1_u64.to_be_bytes(), u64::MAX.to_be_bytes()].concat();
        assert!(matches!(receive(&mut bytes.as_slice(), 1 << 20).await, Err(NotReceived::Length)));
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_refused() {
        let mut bytes = sent(&set());
        let name = bytes.windows(4).position(|part| part == b"crds").expect("the name");
        bytes[name] = 0xff;
        let received = receive(&mut bytes.as_slice(), bytes.len() as u64).await.expect("received");
        assert_eq!(received.into_set(), None);
    }
}
