//! What there is none of yet, and still is asked for.

use crate::qmp::qapi::{qapi_enum, qapi_struct};

qapi_struct! {
    /// A thread that serves devices.
    struct IoThreadInfo {
        /// Its id.
        id: String,
        /// Its number on the host.
        thread_id = "thread-id": i64,
        /// How long it polls at most.
        poll_max_ns = "poll-max-ns": i64,
        /// How polling grows.
        poll_grow = "poll-grow": i64,
        /// How it shrinks.
        poll_shrink = "poll-shrink": i64,
        /// Most requests at once.
        aio_max_batch = "aio-max-batch": i64,
    }

    /// A trusted platform module.
    struct TpmInfo {
        /// Its id.
        id: String,
        /// Its model.
        model: TpmModel,
    }

    /// `query-balloon`.
    struct BalloonInfo {
        /// Bytes that the guest has.
        actual: i64,
    }
}

qapi_enum! {
    /// A model of a trusted platform module.
    enum TpmModel {
        /// The interface of TIS 1.2.
        TpmTis = "tpm-tis",
        /// The command response buffer.
        TpmCrb = "tpm-crb",
    }

    /// A back end of a trusted platform module.
    enum TpmType {
        /// One of the host.
        Passthrough = "passthrough",
        /// Another process.
        Emulator = "emulator",
    }
}
