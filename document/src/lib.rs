//! stub, see the design note in ARCHITECTURE.md
