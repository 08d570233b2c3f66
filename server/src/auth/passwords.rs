//! What passwords cost: argon2id (RFC 9106) on a few threads of its own, with a bounded queue before them. Whoever comes
//! when the queue is full is told to come back. Knows no user and keeps no password.

use std::{collections::VecDeque, io, sync::Arc};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use parking_lot::{Condvar, Mutex};
use syncbridge_codec::ErrorCode;
use tokio::sync::oneshot;

use crate::{admin::Metrics, defaults, hub::Fault};

const SALT: usize = 16;
const HASH: usize = 32;

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// What OWASP's cheat sheet on password storage names as the least (m = 19 MiB, t = 2, p = 1).
    pub const FULL: Self = Self { memory_kib: defaults::PASSWORD_MEMORY_KIB, passes: defaults::PASSWORD_PASSES };
    /// The least that argon2 can do: for `--open`.
    pub const SMALLEST: Self = Self { memory_kib: Params::MIN_M_COST, passes: Params::MIN_T_COST };
}

/// A hash with everything that it takes to check a password against it. In text: a PHC string, as every argon2 library
/// reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hash {
    cost: Cost,
    salt: [u8; SALT],
    hash: [u8; HASH],
}

impl Hash {
    fn of(memory: &mut Vec<Block>, password: &str, salt: [u8; SALT], cost: Cost) -> Result<Self, argon2::Error> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, Some(HASH))?;
        let mut hash = [0; HASH];
        memory.resize(memory.len().max(params.block_count()), Block::default());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            password.as_bytes(),
            &salt,
            &mut hash,
            memory,
        )?;
        Ok(Self { cost, salt, hash })
    }

    fn text(&self) -> String {
        let Cost { memory_kib, passes } = self.cost;
        let (salt, hash) = (STANDARD_NO_PAD.encode(self.salt), STANDARD_NO_PAD.encode(self.hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${hash}")
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$m=")?;
        let (memory, rest) = rest.split_once(",t=")?;
        let (passes, rest) = rest.split_once(",p=1$")?;
        let (salt, hash) = rest.split_once('$')?;
        Some(Self {
            cost: Cost { memory_kib: memory.parse().ok()?, passes: passes.parse().ok()? },
            salt: STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?,
            hash: STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?,
        })
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The password is the one that was hashed.
    pub good: bool,
    /// The hash costs less than one would that is made now (it was made under `--open`, or long ago).
    pub cheap: bool,
}

enum Work {
    Hash(String, oneshot::Sender<Result<String, String>>),
    Verify(String, Hash, oneshot::Sender<Result<bool, String>>),
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    closed: bool,
}

struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
    cost: Cost,
    metrics: Arc<Metrics>,
}

/// See the file's head. Its threads end when it is dropped and their work is done.
pub struct Passwords {
    pool: Arc<Pool>,
    most: usize,
    /// Checked when there is no account: a hash of no password.
    nobody: Hash,
}

impl Passwords {
    /// A pool with `threads` threads, for which at most `most` passwords wait.
    ///
    /// # Errors
    /// A thread cannot be started, or the system gives no randomness.
    pub fn new(cost: Cost, threads: usize, most: usize, metrics: Arc<Metrics>) -> io::Result<Self> {
        let queue = Mutex::default();
        let pool = Arc::new(Pool { queue, wake: Condvar::new(), cost, metrics });
        let (mut salt, mut hash) = ([0; SALT], [0; HASH]);
        getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut hash)).map_err(io::Error::other)?;
        let passwords = Self { pool: Arc::clone(&pool), most, nobody: Hash { cost, salt, hash } };
        for index in 0..threads {
            let pool = Arc::clone(&pool);
            std::thread::Builder::new().name(format!("passwords-{index}")).spawn(move || pool.run())?;
        }
        Ok(passwords)
    }

    /// A password's hash, to be kept.
    ///
    /// # Errors
    /// [`Fault`]: too many wait.
    pub async fn hash(&self, password: String) -> Result<String, Fault> {
        let (answer, done) = oneshot::channel();
        self.push(Work::Hash(password, answer))?;
        outcome(done.await)
    }

    /// Whether a password is the one that was hashed; without a hash the answer is no, and takes as long.
    ///
    /// # Errors
    /// [`Fault`]: too many wait, or the hash is none.
    pub async fn verify(&self, password: String, hash: Option<Arc<str>>) -> Result<Verified, Fault> {
        let hash = match hash {
            None => self.nobody.clone(),
            Some(text) => Hash::parse(&text).ok_or_else(|| failed("a kept hash is none"))?,
        };
        let work = |cost: Cost| u64::from(cost.memory_kib) * u64::from(cost.passes);
        let cheap = work(hash.cost) < work(self.pool.cost);
        let (answer, done) = oneshot::channel();
        self.push(Work::Verify(password, hash, answer))?;
        Ok(Verified { good: outcome(done.await)?, cheap })
    }

    fn push(&self, work: Work) -> Result<(), Fault> {
        let mut queue = self.pool.queue.lock();
        if queue.waiting.len() >= self.most {
            let mut busy = Fault::new(ErrorCode::Busy, "too many passwords wait to be checked");
            busy.retry_after_ms = Some(defaults::PASSWORD_RETRY_MS);
            return Err(busy);
        }
        queue.waiting.push_back(work);
        drop(queue);
        self.pool.wake.notify_one();
        Ok(())
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.pool.queue.lock().closed = true;
        self.pool.wake.notify_all();
    }
}

impl Pool {
    fn run(&self) {
        // Whoever is connected comes before whoever wants to be: a shard that shares the processor gets most of it.
        if let Err(error) = rustix::process::nice(defaults::PASSWORD_NICE) {
            tracing::debug!(%error, "password threads run like all others");
        }
        // The thread's for good: asked for anew each time, the allocator ends up with many times as much, and the system
        // makes every page of it again.
        let mut memory = Vec::new();
        loop {
            let mut queue = self.queue.lock();
            let work = loop {
                match queue.waiting.pop_front() {
                    Some(work) => break work,
                    None if queue.closed => return,
                    None => self.wake.wait(&mut queue),
                }
            };
            drop(queue);
            // Who does not wait any more does not want to know; a client that hangs up is not worth the work either.
            match work {
                Work::Hash(_, answer) if answer.is_closed() => {}
                Work::Verify(_, _, answer) if answer.is_closed() => {}
                Work::Hash(password, answer) => drop(answer.send(self.hash(&mut memory, &password))),
                Work::Verify(password, kept, answer) => {
                    self.metrics.passwords.increment();
                    let found =
                        Hash::of(&mut memory, &password, kept.salt, kept.cost).map_err(|error| error.to_string());
                    let same = found.map(|found| verify_slices_are_equal(&found.hash, &kept.hash).is_ok());
                    drop(answer.send(same));
                }
            }
        }
    }

    fn hash(&self, memory: &mut Vec<Block>, password: &str) -> Result<String, String> {
        self.metrics.passwords.increment();
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        Hash::of(memory, password, salt, self.cost).map(|hash| hash.text()).map_err(|error| error.to_string())
    }
}

fn outcome<T>(done: Result<Result<T, String>, oneshot::error::RecvError>) -> Result<T, Fault> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed("the thread is gone")),
    }
}

fn failed(error: &str) -> Fault {
    tracing::error!(error, "a password cannot be checked");
    Fault::new(ErrorCode::Internal, "the password cannot be checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cost: Cost, threads: usize, most: usize) -> Passwords {
        Passwords::new(cost, threads, most, Metrics::new(1)).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_every_check_runs_argon2_once() {
        let passwords = pool(Cost::SMALLEST, 1, 8);
        let hash: Arc<str> = passwords.hash("secret".to_owned()).await.unwrap().into();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        let again = passwords.hash("secret".to_owned()).await.unwrap();
        assert_ne!(*hash, *again, "salted");
        for (password, kept, good) in [
            ("secret", Some(&hash), true),
            ("Secret", Some(&hash), false),
            ("", Some(&hash), false),
            ("secret", None, false),
        ] {
            let before = passwords.pool.metrics.passwords.get();
            let verified = passwords.verify(password.to_owned(), kept.cloned()).await.unwrap();
            assert_eq!((verified.good, passwords.pool.metrics.passwords.get() - before), (good, 1), "{password:?}");
        }
    }

    #[tokio::test]
    async fn a_hash_that_costs_less_than_a_new_one_is_told() {
        let small = pool(Cost::SMALLEST, 1, 8);
        let dearer = pool(Cost { memory_kib: 16, passes: 1 }, 1, 8);
        let hash: Arc<str> = small.hash("secret".to_owned()).await.unwrap().into();
        let told = dearer.verify("secret".to_owned(), Some(Arc::clone(&hash))).await.unwrap();
        assert_eq!(told, Verified { good: true, cheap: true });
        let told =
            small.verify("secret".to_owned(), Some(dearer.hash("secret".to_owned()).await.unwrap().into())).await;
        assert_eq!(told, Ok(Verified { good: true, cheap: false }));
    }

    #[tokio::test]
    async fn a_kept_hash_that_is_none_is_our_fault_and_lets_nobody_in() {
        let passwords = pool(Cost::SMALLEST, 1, 8);
        for hash in ["", "$argon2i$v=19$m=8,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", "plain"] {
            let fault = passwords.verify("x".to_owned(), Some(hash.into())).await.unwrap_err();
            assert_eq!(fault.code, ErrorCode::Internal, "{hash:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_sends_people_away_with_a_time_to_come_back() {
        let none = pool(Cost::SMALLEST, 0, 2);
        let (first, second) = (none.hash("a".to_owned()), none.hash("b".to_owned()));
        let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
        let fault = none.verify("c".to_owned(), None).await.unwrap_err();
        assert_eq!((fault.code, fault.retry_after_ms), (ErrorCode::Busy, Some(defaults::PASSWORD_RETRY_MS)));
    }
}
