//! A descriptor that goes along with a message on a Unix socket (`SCM_RIGHTS`, unix(7)).

#[cfg(feature = "engine")]
use std::io::IoSlice;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
#[cfg(feature = "engine")]
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
#[cfg(feature = "engine")]
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Sends bytes, and the descriptor with the first of them. Returns the number of bytes that were sent.
#[cfg(feature = "engine")]
pub(crate) async fn send(stream: &UnixStream, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
    let send_now = || {
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("bug in kina: there is no space for a descriptor"));
        }
        Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())?)
    };
    stream.async_io(Interest::WRITABLE, send_now).await
}

/// A stream that keeps the descriptor that comes along. An ordinary read would make the system close it.
#[derive(Debug)]
pub(crate) struct DescriptorStream {
    stream: UnixStream,
    received: Option<OwnedFd>,
}

impl DescriptorStream {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, received: None }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Returns the stream, and the last descriptor that has come along. It is closed on exec.
    pub(crate) fn into_parts(self) -> (UnixStream, Option<OwnedFd>) {
        (self.stream, self.received)
    }
}

impl AsyncRead for DescriptorStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, received } = self.get_mut();
        loop {
            ready!(stream.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match stream.try_io(Interest::READABLE, || receive(stream, unfilled, received)) {
                // The readiness was out of date: it is forgotten now, and waited for again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

fn receive(stream: &UnixStream, bytes: &mut [u8], received: &mut Option<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut control, flags())?;
    for part in control.drain() {
        let RecvAncillaryMessage::ScmRights(descriptors) = part else { continue };
        for descriptor in descriptors {
            #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
            rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
            *received = Some(descriptor);
        }
    }
    Ok(message.bytes)
}

/// macOS cannot close a received descriptor on exec from the first moment on.
fn flags() -> RecvFlags {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    RecvFlags::empty()
}

#[cfg(all(test, feature = "engine"))]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream as StdUnixStream;

    use rustix::io::{FdFlags, fcntl_getfd};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_descriptor_arrives_with_the_first_byte_and_is_closed_on_exec() {
        let (mut sender, receiver) = UnixStream::pair().expect("a pair");
        let (mut near, far) = StdUnixStream::pair().expect("a pair");
        let bytes = [b'x'; 300];
        let sent = send(&sender, &bytes, far.as_fd()).await.expect("sent");
        sender.write_all(&bytes[sent..]).await.expect("sent");
        drop((sender, far));

        let mut receiver = DescriptorStream::new(receiver);
        let mut read = Vec::new();
        receiver.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, bytes);
        let received = receiver.into_parts().1.expect("a descriptor");
        assert!(fcntl_getfd(&received).expect("open").contains(FdFlags::CLOEXEC));
        StdUnixStream::from(received).write_all(b"hello").expect("sent");
        let mut said = String::new();
        near.read_to_string(&mut said).expect("read");
        assert_eq!(said, "hello");
    }
}
