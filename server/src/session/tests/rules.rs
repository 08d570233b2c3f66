//! The rules of an update, a sentence each (DESIGN §4).

use super::*;
