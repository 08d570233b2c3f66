//! With `SYNCBRIDGE_TRACE=1`: every message and event as it comes, one a line, for the replay of one seed.

use std::sync::LazyLock;

use bytes::Bytes;
use syncbridge_codec::{Decoder, Message};

use super::clock;

static ON: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SYNCBRIDGE_TRACE").is_some());

/// Says it, if anybody listens.
pub fn say(what: impl FnOnce() -> String) {
    if *ON {
        let what: String = what().chars().take(400).collect();
        eprintln!("{:>6} {what}", clock::now().mono_ms);
    }
}

/// Reads along one stream of frames.
#[derive(Debug)]
pub struct Ear(Decoder);

impl Default for Ear {
    fn default() -> Self {
        Self(Decoder::new(8 << 20))
    }
}

impl Ear {
    pub fn hear(&mut self, who: &str, bytes: &Bytes) {
        if !*ON {
            return;
        }
        self.0.push(bytes.clone());
        while let Ok(Some(frame)) = self.0.next_frame() {
            say(|| format!("{who} {:?}", Message::decode(frame)));
        }
    }
}
