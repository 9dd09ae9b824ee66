//! Paging against a model that was written from the SDM alone.

mod paging;
mod paging_model;
