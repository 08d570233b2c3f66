//! A shard's UDP socket that gives packets of other shards' connections to them and takes in its own from them.
//! Sending is the plain socket's. Never looks deeper into a packet than the rule in `cid.rs`.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::cid::shard_of;

/// Packets that wait for one shard: 1,024 × 1.5 KB = 1.5 MiB a shard at most; what comes beyond that is dropped, as by
/// a full socket buffer, and QUIC sends it again.
const INBOX_PACKETS: usize = 1024;

/// What one shard got by hand-over since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handover {
    /// Packets that came to another shard's socket and were given to this one; about 1 µs busy, 10 µs idle, each.
    pub hops: u64,
    /// Packets that were to be given to this shard and were dropped, because its inbox was full. Not among `hops`.
    pub drops: u64,
}

/// The shards' inboxes: how a packet gets from the socket it came to, to the endpoint it is for.
#[derive(Debug)]
pub struct Steering {
    shards: Box<[Inbox]>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    hops: AtomicU64,
    drops: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<(RecvMeta, Box<[u8]>)>,
    /// The endpoint's driver, while it waits. Taken by who wakes it, so that a batch wakes once.
    driver: Option<Waker>,
}

impl Steering {
    /// Inboxes for `shards` shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Inbox::default()).collect() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Figures for metrics, one a shard.
    pub fn handovers(&self) -> Vec<Handover> {
        let read = |inbox: &Inbox| Handover { hops: inbox.hops.load(Relaxed), drops: inbox.drops.load(Relaxed) };
        self.shards.iter().map(read).collect()
    }

    fn hand_over(&self, shard: usize, meta: RecvMeta, packet: &[u8]) {
        let inbox = &self.shards[shard];
        let mut waiting = inbox.waiting.lock();
        if waiting.packets.len() >= INBOX_PACKETS {
            drop(waiting);
            inbox.drops.fetch_add(1, Relaxed);
            return;
        }
        waiting.packets.push_back((meta, packet.into()));
        let driver = waiting.driver.take();
        drop(waiting);
        inbox.hops.fetch_add(1, Relaxed);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Hands over the packets of `buf` that are not `own` and moves the others together. One receive may bring many
    /// packets of one sender (GRO), `meta.stride` bytes each but the last; the kernel steers them all by the first.
    fn keep_own(&self, own: usize, buf: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let len = meta.len.min(buf.len());
        let mut kept = 0;
        let mut at = 0;
        while at < len {
            let end = (at + stride).min(len);
            match shard_of(&buf[at..end], self.shards.len()) {
                Some(shard) if shard != own => {
                    let alone = RecvMeta { len: end - at, stride: end - at, ..*meta };
                    self.hand_over(shard, alone, &buf[at..end]);
                }
                _ => {
                    if kept != at {
                        buf.copy_within(at..end, kept);
                    }
                    kept += end - at;
                }
            }
            at = end;
        }
        meta.len = kept;
    }

    /// Moves waiting packets into `bufs`: how many. Without any, the driver is woken by the next.
    fn take_in(&self, own: usize, cx: &Context<'_>, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut waiting = self.shards[own].waiting.lock();
        if waiting.packets.is_empty() {
            match &mut waiting.driver {
                Some(driver) => driver.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return 0;
        }
        let mut taken = 0;
        for (buf, slot) in bufs.iter_mut().zip(metas) {
            let Some((meta, packet)) = waiting.packets.pop_front() else { break };
            // The endpoint's buffers all have one size, and the packet came in one of them.
            let Some(target) = buf.get_mut(..packet.len()) else { break };
            target.copy_from_slice(&packet);
            *slot = meta;
            taken += 1;
        }
        taken
    }
}

/// The socket of one shard.
#[derive(Debug)]
pub struct SteeredSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    shard: usize,
    steering: Arc<Steering>,
}

impl SteeredSocket {
    /// Wraps the socket that was bound as the `shard`-th.
    pub fn new(socket: Arc<dyn AsyncUdpSocket>, shard: usize, steering: Arc<Steering>) -> Self {
        Self { socket, shard, steering }
    }
}

impl AsyncUdpSocket for SteeredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Half the buffers at most, so that a flood of handed-over packets does not shut out the socket's own.
        let half = bufs.len().div_ceil(2);
        let taken = self.steering.take_in(self.shard, cx, &mut bufs[..half], metas);
        let (bufs, metas) = (&mut bufs[taken..], &mut metas[taken..]);
        match self.socket.poll_recv(cx, bufs, metas) {
            Poll::Ready(Ok(received)) => {
                for (buf, meta) in bufs.iter_mut().zip(metas).take(received) {
                    self.steering.keep_own(self.shard, buf, meta);
                }
                Poll::Ready(Ok(taken + received))
            }
            // The driver asks again at once, so a lasting error is seen then.
            Poll::Pending | Poll::Ready(Err(_)) if taken > 0 => Poll::Ready(Ok(taken)),
            other => other,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A batch of packets of four bytes, the last of three, as GRO delivers it; `owners` name their shards.
    fn batch(owners: &[u8]) -> (Vec<u8>, RecvMeta) {
        let mut buf: Vec<u8> = owners.iter().enumerate().flat_map(|(at, owner)| [0x40, *owner, at as u8, 0]).collect();
        buf.pop();
        let meta = RecvMeta { len: buf.len(), stride: 4, ..RecvMeta::default() };
        buf.resize(64, 0xee);
        (buf, meta)
    }

    fn take(steering: &Steering, shard: usize, cx: &Context<'_>, most: usize) -> Vec<Vec<u8>> {
        let mut memory = vec![[0u8; 64]; most];
        let mut bufs: Vec<_> = memory.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
        let mut metas = vec![RecvMeta::default(); most];
        let taken = steering.take_in(shard, cx, &mut bufs, &mut metas);
        (0..taken).map(|at| bufs[at][..metas[at].len].to_vec()).collect()
    }

    #[test]
    fn a_batch_is_split_by_owner_and_no_packet_is_lost_or_changed() {
        let steering = Steering::new(3);
        let (mut buf, mut meta) = batch(&[0, 1, 0, 2, 1]);
        steering.keep_own(0, &mut buf, &mut meta);
        assert_eq!(buf[..meta.len], [0x40, 0, 0, 0, 0x40, 0, 2, 0]);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(take(&steering, 1, &cx, 8), [vec![0x40, 1, 1, 0], vec![0x40, 1, 4]]);
        assert_eq!(take(&steering, 2, &cx, 8), [vec![0x40, 2, 3, 0]]);
        assert_eq!(steering.handovers().iter().map(|figures| figures.hops).collect::<Vec<_>>(), [0, 2, 1]);
    }

    #[test]
    fn a_batch_of_ones_own_is_left_alone_and_one_of_others_becomes_empty() {
        let steering = Steering::new(2);
        let (mut buf, mut meta) = batch(&[1, 3, 5]);
        let before = (buf.clone(), meta.len);
        steering.keep_own(1, &mut buf, &mut meta);
        assert_eq!((&buf, meta.len), (&before.0, before.1));
        steering.keep_own(0, &mut buf, &mut meta);
        assert_eq!(meta.len, 0);
    }

    #[test]
    fn a_waiting_driver_is_woken_once_for_a_batch_and_takes_what_fits() {
        let steering = Steering::new(2);
        let count = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        assert!(take(&steering, 1, &cx, 2).is_empty());
        let (mut buf, mut meta) = batch(&[1, 1, 1]);
        steering.keep_own(0, &mut buf, &mut meta);
        assert_eq!(count.0.load(Relaxed), 1);
        assert_eq!(take(&steering, 1, &cx, 2).len(), 2);
        assert_eq!(take(&steering, 1, &cx, 2).len(), 1);
        assert!(take(&steering, 1, &cx, 2).is_empty());
        let (mut buf, mut meta) = batch(&[1]);
        steering.keep_own(0, &mut buf, &mut meta);
        assert_eq!(count.0.load(Relaxed), 2);
    }

    #[test]
    fn a_full_inbox_drops_and_counts() {
        let steering = Steering::new(2);
        for _ in 0..INBOX_PACKETS + 5 {
            let (mut buf, mut meta) = batch(&[1]);
            steering.keep_own(0, &mut buf, &mut meta);
        }
        assert_eq!(steering.handovers()[1], Handover { hops: INBOX_PACKETS as u64, drops: 5 });
        assert_eq!(take(&steering, 1, &Context::from_waker(Waker::noop()), 2 * INBOX_PACKETS).len(), INBOX_PACKETS);
    }
}
