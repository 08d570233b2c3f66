//! The one system call of fan-out: this buffer to that socket, now or not at all. Its own module because it borrows
//! descriptors that the connections' tasks own; nothing else does, and another way to send would take its place here.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{BorrowedFd, RawFd},
};

use rustix::net::{SendFlags, send};

use super::core::Wire;

/// `send` without waiting and without SIGPIPE.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sockets;

impl Wire for Sockets {
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: a shard knows a descriptor only between `Shard::open` and `Shard::remove`, and `Task` calls the
        // latter in its `Drop`, before its link closes the socket. Both happen on this thread.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }
}
