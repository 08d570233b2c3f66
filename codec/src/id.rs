//! Which ids there can be. One function a kind, the same for every end and every transport; never who may use them.

/// Longest id of any kind, in bytes.
pub const MAX_LEN: usize = 128;

/// Whether a session can have this id: 1–128 of `A–Z a–z 0–9 . _ ~ : @ -`, and neither `.` nor `..`, which paths eat.
/// Case matters; nothing is normalised.
pub fn is_session(id: &str) -> bool {
    (1..=MAX_LEN).contains(&id.len())
        && id != "."
        && id != ".."
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~:@-".contains(&byte))
}

/// Whether a device can have this id: 1–128 bytes of UTF-8 without control characters. The client chooses it.
pub fn is_device(id: &str) -> bool {
    (1..=MAX_LEN).contains(&id.len()) && is_plain(id)
}

/// Whether a machine can have this id: the rule of devices.
pub fn is_machine(id: &str) -> bool {
    is_device(id)
}

/// Whether `text` can be shown in a log line as it is: no control characters.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_what_a_path_and_a_key_can_hold() {
        for id in ["a", "A-Z.a_z~0:9@-", "...", &"x".repeat(128)] {
            assert!(is_session(id), "{id:?}");
        }
        for id in ["", ".", "..", "a b", "a/b", "a%20", "é", "a\0", "a\n", "a?b", &"x".repeat(129)] {
            assert!(!is_session(id), "{id:?}");
        }
    }

    #[test]
    fn device_ids_are_any_text_of_one_line() {
        for id in ["phone", "Åse’s phone", "a/b c", &"x".repeat(128)] {
            assert!(is_device(id), "{id:?}");
        }
        for id in ["", "two\nlines", "a\0", "\u{85}", &"é".repeat(65)] {
            assert!(!is_device(id), "{id:?}");
        }
    }
}
