//! Accelerators: the registry, and the choice of one.
