//! A program of seven instructions that the kernel runs on each UDP datagram to choose the socket, so that a packet
//! reaches its connection's shard at once. Only an optimisation: `socket.rs` hands over what comes to the wrong shard.
//!
//! The one unsafe block of the transports is here: neither `socket2` nor `rustix` can attach a classic BPF program to a
//! `SO_REUSEPORT` group.
#![allow(unsafe_code)]

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_JA, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_MOD, BPF_RET, SO_ATTACH_REUSEPORT_CBPF,
    SOL_SOCKET, sock_filter, sock_fprog,
};

/// `BPF_A` of `linux/filter.h`: return the accumulator. libc has no constant for it.
const BPF_A: u32 = 0x10;

/// Attaches the program to the `SO_REUSEPORT` group that `socket` is in; result `i` is the group's socket bound as the
/// `i`-th. Call it when all are bound. Needs no privilege.
///
/// # Errors
/// What the system says: some containers forbid it.
pub fn attach(socket: &UdpSocket, shards: usize) -> io::Result<()> {
    let mut program = program(shards);
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` and the instructions that it points to live until the call returns; the kernel copies them, checks
    // them, and writes to neither. The length is the size of the very struct that is passed.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            SOL_SOCKET,
            SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `cid::shard_of` for the kernel; offset 0 is the first byte of the UDP payload. A load beyond the end returns 0.
fn program(shards: usize) -> [sock_filter; 7] {
    let instruction =
        |code: u32, if_true, if_false, k: u32| sock_filter { code: code as u16, jt: if_true, jf: if_false, k };
    [
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        instruction(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 0x80),
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, 1),
        instruction(BPF_JMP | BPF_JA, 0, 0, 1),
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, 6),
        instruction(BPF_ALU | BPF_MOD | BPF_K, 0, 0, shards as u32),
        instruction(BPF_RET | BPF_A, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::quic::{cid::shard_of, endpoint::bind_all};

    #[test]
    fn the_kernel_follows_the_same_rule_as_we_do() {
        for shards in [2, 3] {
            let sockets = bind_all("127.0.0.1:0".parse().unwrap(), shards).unwrap();
            attach(&sockets[0], shards).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(sockets[0].local_addr().unwrap()).unwrap();
            for byte in 0..=255u8 {
                for packet in [[0x40, byte, 7, 7, 7, 7, 7, 7], [0xc0, 7, 7, 7, 7, 7, byte, 7]] {
                    client.send(&packet).unwrap();
                    let owner = shard_of(&packet, shards).unwrap();
                    let mut received = [0; 16];
                    // Loopback delivers before `send` returns, so nothing has to be waited for.
                    assert_eq!(sockets[owner].recv(&mut received).unwrap(), packet.len(), "{packet:?}");
                    assert_eq!(received[..packet.len()], packet);
                }
            }
        }
    }
}
